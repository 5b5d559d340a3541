package consensus

import (
	"context"
	"errors"
	"fmt"

	"o3/internal/errs"
)

// ErrOutcomeUnknown is in the chain of an error after which the request may
// have been applied, or may yet be. Any other error of Propose says that it
// was not and will not be.
var ErrOutcomeUnknown = errors.New("the request may or may not have been applied")

// leaderHint is the cause of a NotLeader error.
type leaderHint uint64

func (l leaderHint) Error() string {
	if l == 0 {
		return "no leader is known"
	}
	return fmt.Sprintf("the leader is node %d", uint64(l))
}

// LeaderOf returns the node that a NotLeader error points to; 0 when none is
// known or err is another error.
func LeaderOf(err error) uint64 {
	if h, ok := errors.AsType[leaderHint](err); ok {
		return uint64(h)
	}
	return 0
}

func notLeader(id, leader uint64) error {
	h := leaderHint(leader)
	return &errs.Error{Kind: errs.NotLeader, Op: "consensus", Subject: fmt.Sprintf("node %d", id), Detail: h.Error(), Err: h}
}

func unavailable(detail string, cause error) error {
	return &errs.Error{Kind: errs.Unavailable, Op: "consensus", Detail: detail, Err: cause}
}

func unknown(detail string, cause error) error {
	return unavailable(detail, join(ErrOutcomeUnknown, cause))
}

func join(a, b error) error {
	if b == nil {
		return a
	}
	return errors.Join(a, b)
}

// interrupted translates the end of a caller's context.
func interrupted(ctx context.Context, cause error) error {
	k := errs.Canceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		k = errs.DeadlineExceeded
	}
	return &errs.Error{Kind: k, Op: "consensus", Err: cause}
}

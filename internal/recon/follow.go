package recon

import (
	"context"
	"errors"
	"fmt"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/recon/generation"
)

// broken is an error that waiting does not cure: a new generation is needed.
type broken struct {
	reason Reason
	err    error
}

func (b *broken) Error() string { return string(b.reason) + ": " + b.err.Error() }
func (b *broken) Unwrap() error { return b.err }

// diagnose tells an error of following that waiting may cure from one it does not.
func diagnose(err error) error {
	if b := (*broken)(nil); errors.As(err, &b) || err == nil {
		return err
	}
	switch errs.KindOf(err) {
	case errs.Conflict:
		return &broken{ReasonTruncated, err}
	case errs.PreconditionFailed:
		return &broken{ReasonOther, err}
	case errs.Corrupt, errs.FormatUnknown, errs.FormatTooNew:
		return &broken{ReasonDecode, err}
	}
	return err // unreachable, refused, too busy, stopped
}

// heard is told of each message of the OM, after it was applied, and how long that
// took.
type heard func(m *o3v1.ReadLogResponse, took time.Duration)

// follow applies what the source's log has after g's position, until ctx ends, an
// error, or enough reports that it is enough.
func follow(ctx context.Context, g *generation.Generation, src Source, tell heard, enough func() bool) error {
	errEnough := errors.New("enough")
	pos := g.Position()
	err := src.Follow(ctx, pos.Index, pos.Term, func(m *o3v1.ReadLogResponse) error {
		began := time.Now()
		if err := apply(g, m); err != nil {
			return err
		}
		tell(m, time.Since(began))
		if enough != nil && enough() {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return diagnose(err)
}

// apply applies a message, and compares the state where the message tells of one.
func apply(g *generation.Generation, m *o3v1.ReadLogResponse) error {
	var list []consensus.Entry
	at := g.Position().Index
	if m.State != nil && at == m.State.Index {
		if err := compare(g, m.State); err != nil {
			return err
		}
	}
	for _, e := range m.Entries {
		if e.Index <= at {
			continue
		}
		if e.Index != at+1 {
			return &broken{ReasonGap, errs.New(errs.Corrupt, "log", fmt.Sprintf("entry %d comes after entry %d", e.Index, at))}
		}
		entry := consensus.Entry{Index: e.Index, Term: e.Term}
		if e.Type == o3v1.LogEntry_TYPE_NORMAL {
			var err error
			if entry.Requests, err = consensus.DecodeRequests(e.Data); err != nil {
				return &broken{ReasonDecode, err}
			}
		}
		list, at = append(list, entry), e.Index
		if m.State != nil && e.Index == m.State.Index {
			if err := advance(g, list); err != nil {
				return err
			}
			if err := compare(g, m.State); err != nil {
				return err
			}
			list = nil
		}
	}
	return advance(g, list)
}

func advance(g *generation.Generation, list []consensus.Entry) error {
	if err := g.Apply(list); err != nil {
		if diskFull(err) {
			return &broken{ReasonDisk, err}
		}
		return &broken{ReasonTasks, err}
	}
	return nil
}

// compare fails when the replica is at the index of a state of the OM and is not
// the same.
func compare(g *generation.Generation, s *o3v1.LogState) error {
	pos := g.Position()
	if pos.Index == s.Index && pos.Digest.String() != s.Digest {
		return &broken{ReasonDigest, errs.New(errs.Corrupt, "replica",
			fmt.Sprintf("at index %d its digest is %s; that of node %s is %s", s.Index, pos.Digest, s.NodeId, s.Digest))}
	}
	return nil
}

package bootstrap

import (
	"errors"
	"strings"
	"syscall"

	"o3/internal/errs"
)

// Reason says in a word why a bootstrap failed, for counters.
type Reason string

// The reasons. There are no others.
const (
	ReasonNone        Reason = "none"        // it did not fail
	ReasonInvalid     Reason = "invalid"     // what was asked for cannot be
	ReasonDisabled    Reason = "disabled"    // EnabledKey is false, here or at the source
	ReasonUnreachable Reason = "unreachable" // no source answers
	ReasonDenied      Reason = "denied"      // credentials refused, or no admin's
	ReasonNoImage     Reason = "no-image"    // no source has one that will do
	ReasonFormat      Reason = "format"      // of a later version
	ReasonTarget      Reason = "target"      // the data directory: not empty, in use
	ReasonCut         Reason = "cut"         // every source failed in the middle
	ReasonCorrupt     Reason = "corrupt"     // what came is not what the manifest says
	ReasonDiskFull    Reason = "disk-full"   //
	ReasonHistory     Reason = "history"     // the source's log does not go on from the image
	ReasonDigest      Reason = "digest"      // the state differs from the source's
	ReasonApply       Reason = "apply"       // the node could not be made or put in place
	ReasonTimeout     Reason = "timeout"     //
	ReasonCancelled   Reason = "cancelled"   //
	ReasonKilled      Reason = "killed"      // the process ended; found by the next one
	ReasonOther       Reason = "other"       //
)

// Reasons returns every reason but ReasonNone.
func Reasons() []Reason {
	return []Reason{
		ReasonInvalid, ReasonDisabled, ReasonUnreachable, ReasonDenied, ReasonNoImage, ReasonFormat, ReasonTarget, ReasonCut, ReasonCorrupt,
		ReasonDiskFull, ReasonHistory, ReasonDigest, ReasonApply, ReasonTimeout, ReasonCancelled, ReasonKilled, ReasonOther,
	}
}

// because marks an error with its reason, where the kind does not tell.
func because(r Reason, err error) error {
	if err == nil {
		return nil
	}
	return &reasoned{r, err}
}

type reasoned struct {
	reason Reason
	err    error
}

func (e *reasoned) Error() string { return e.err.Error() }
func (e *reasoned) Unwrap() error { return e.err }

// ReasonOf returns why a bootstrap failed in p.
func ReasonOf(p Phase, err error) Reason {
	if err == nil {
		return ReasonNone
	}
	kind := errs.KindOf(err)
	switch kind { // these come from outside, wherever they meet a phase
	case errs.Canceled:
		return ReasonCancelled
	case errs.DeadlineExceeded:
		return ReasonTimeout
	}
	if e, ok := errors.AsType[*reasoned](err); ok {
		return e.reason
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return ReasonDiskFull
	}
	switch kind {
	case errs.Unauthenticated, errs.Denied:
		if strings.Contains(err.Error(), EnabledKey) {
			return ReasonDisabled
		}
		return ReasonDenied
	case errs.FormatTooNew, errs.FormatUnknown:
		return ReasonFormat
	case errs.ReadOnly:
		return ReasonDiskFull
	case errs.NoSuchSnapshot:
		return ReasonNoImage
	case errs.NotEmpty:
		return ReasonTarget
	case errs.Unavailable, errs.NotLeader, errs.SlowDown:
		if p == Transfer || p == Synchronization {
			return ReasonCut
		}
		return ReasonUnreachable
	case errs.Corrupt, errs.BadDigest:
		return ReasonCorrupt
	case errs.Invalid:
		return ReasonInvalid
	}
	if p == Application || p == Done {
		return ReasonApply
	}
	return ReasonOther
}

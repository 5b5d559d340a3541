package cli

import (
	"o3/internal/errs"
)

// The exit codes. `o3 admin status` has a meaning of its own for 0, 1 and 2.
const (
	ExitOK           = 0
	ExitFailure      = 1
	ExitUsage        = 2
	ExitNotFound     = 3
	ExitExists       = 4
	ExitDenied       = 5
	ExitPrecondition = 6
	ExitLimit        = 7
	ExitUnavailable  = 8
	ExitCorrupt      = 9
	ExitUnsupported  = 10
	ExitInterrupted  = 130
)

// exitMeanings are the codes in words, for the reference.
func exitMeanings() []struct {
	Code int
	Text string
} {
	return []struct {
		Code int
		Text string
	}{
		{ExitOK, "done"},
		{ExitFailure, "a fault of the server or of this program"},
		{ExitUsage, "the command line or a value in it is wrong"},
		{ExitNotFound, "something named does not exist"},
		{ExitExists, "something to be created exists already"},
		{ExitDenied, "no or wrong credentials, or not allowed"},
		{ExitPrecondition, "the state of things forbids it: not empty, changed meanwhile, a directory"},
		{ExitLimit, "a quota or limit is reached, or the server is out of disk space"},
		{ExitUnavailable, "the server cannot be reached or is not ready: try again later"},
		{ExitCorrupt, "stored bytes are damaged"},
		{ExitUnsupported, "not implemented, or written by a later version"},
		{ExitInterrupted, "interrupted"},
	}
}

// exitCode returns the exit code of a kind, and whether the table has it.
func exitCode(k errs.Kind) (int, bool) {
	switch k {
	case errs.OK:
		return ExitOK, true
	case errs.Internal:
		return ExitFailure, true
	case errs.Invalid, errs.InvalidRange, errs.TooSmall, errs.InvalidPart, errs.InvalidPartOrder, errs.InvalidRename:
		return ExitUsage, true
	case errs.NoSuchVolume, errs.NoSuchBucket, errs.NoSuchKey, errs.NoSuchUpload, errs.NoSuchPrincipal,
		errs.NoSuchSnapshot, errs.NoSuchJob, errs.NoSuchConfiguration:
		return ExitNotFound, true
	case errs.VolumeExists, errs.BucketExists, errs.BucketOwnedByYou, errs.KeyExists, errs.PrincipalExists, errs.SnapshotExists:
		return ExitExists, true
	case errs.Unauthenticated, errs.Denied:
		return ExitDenied, true
	case errs.NotEmpty, errs.ParentIsKey, errs.IsDirectory, errs.PreconditionFailed, errs.NotModified, errs.Conflict:
		return ExitPrecondition, true
	case errs.QuotaExceeded, errs.ReadOnly, errs.TooLarge, errs.TooMany:
		return ExitLimit, true
	case errs.NotLeader, errs.Unavailable, errs.SlowDown, errs.DeadlineExceeded:
		return ExitUnavailable, true
	case errs.Corrupt, errs.BadDigest:
		return ExitCorrupt, true
	case errs.NotImplemented, errs.FormatTooNew, errs.FormatUnknown:
		return ExitUnsupported, true
	case errs.Canceled:
		return ExitInterrupted, true
	}
	return ExitFailure, false
}

package recon

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/image"
)

// Source is an OM that is followed.
type Source interface {
	// Name is how status and errors call it.
	Name() string

	// Follow calls f with what the OM's log has after an entry, and goes on as it
	// grows; now and then with nothing new. It returns when ctx ends, with f's
	// error, or when the log cannot be read: of kind Conflict when it does not reach
	// back, PreconditionFailed when it is of another history.
	Follow(ctx context.Context, after, term uint64, f func(*o3v1.ReadLogResponse) error) error

	// Image makes dir a copy of the OM's store at some index, not older than the
	// call, and whole when it returns without an error. What an earlier call has
	// left in dir is used. Files of the directories in reuse need not be sent again;
	// they never change, and dir may share them.
	Image(ctx context.Context, dir string, reuse []string, progress func(done, total int64)) (*image.Manifest, error)
}

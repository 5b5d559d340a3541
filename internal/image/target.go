package image

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// Target is a place outside a node where images are kept: a directory, or a
// bucket. Names are relative, of a-z, A-Z, 0-9 and "-._@/". It must be safe for
// concurrent use.
type Target interface {
	// List calls each for every file whose name begins with prefix, in any
	// order. What is being written is not listed.
	List(ctx context.Context, prefix string, each func(name string, size int64) error) error

	// Open opens a file for reading from its start. One that is absent is an
	// error that matches fs.ErrNotExist.
	Open(ctx context.Context, name string) (io.ReadCloser, error)

	// Put stores the size bytes that r gives as name, replacing what was there:
	// when it returns nil the file is durable, else it is as it was. An error of
	// r ends it with that error.
	Put(ctx context.Context, name string, size int64, r io.Reader) error

	// Remove removes a file; that it is absent is no error.
	Remove(ctx context.Context, name string) error

	// String names the target for people.
	String() string
}

// A target may also have these.
type (
	// locker admits one Export at a time: kind Conflict.
	locker interface {
		Lock(ctx context.Context) (io.Closer, error)
	}
	// roomy refuses with kind ReadOnly when need bytes do not fit.
	roomy interface{ Room(need int64) error }
	// linker takes the file at path, which nobody writes to any more, by another
	// name instead of a copy; linked is false when it cannot.
	linker interface {
		Link(ctx context.Context, name, path string) (linked bool, err error)
	}
)

// Directory is a Target in a directory. A file being written has a name that
// ends in ".part" and is not seen.
type Directory struct {
	FS      vfs.FS // nil means the operating system's
	Dir     string // made when something is put
	Reserve int64  // bytes of the disk left free; 0 means 1 GiB, less than 0 none
}

func (d Directory) fs() vfs.FS { return dirFS(d.FS) }

func (d Directory) path(name string) string {
	return d.fs().PathJoin(append([]string{d.Dir}, strings.Split(name, "/")...)...)
}

// String implements Target.
func (d Directory) String() string { return d.Dir }

// Lock refuses a second export into the directory.
func (d Directory) Lock(context.Context) (io.Closer, error) {
	if err := makeDir(d.fs(), d.Dir); err != nil {
		return nil, diskFault("Export", d.Dir, err)
	}
	l, err := d.fs().Lock(d.path(lockName))
	if err != nil {
		return nil, &errs.Error{Kind: errs.Conflict, Op: "image.Export", Subject: d.Dir, Detail: "another export writes to it", Err: err}
	}
	return l, nil
}

// Room refuses what does not fit on the disk.
func (d Directory) Room(need int64) error {
	return room(d.fs(), "Export", d.Dir, need, orReserve(d.Reserve))
}

// List implements Target.
func (d Directory) List(ctx context.Context, prefix string, each func(string, int64) error) error {
	dir, _, _ := cutLast(prefix)
	return d.list(ctx, dir, prefix, each)
}

func (d Directory) list(ctx context.Context, dir, prefix string, each func(string, int64) error) error {
	names, err := d.fs().List(d.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskFault("List", d.path(dir), err)
	}
	for _, base := range names {
		if err := canceled(ctx); err != nil {
			return err
		}
		name := strings.TrimPrefix(dir+"/"+base, "/")
		st, err := d.fs().Stat(d.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(name, partName):
			continue
		case err != nil:
			return diskFault("List", d.path(name), err)
		case st.IsDir():
			if err := d.list(ctx, name, prefix, each); err != nil {
				return err
			}
		case strings.HasPrefix(name, prefix):
			if err := each(name, st.Size()); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutLast cuts at the last slash.
func cutLast(name string) (dir, base string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// Open implements Target.
func (d Directory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return d.fs().Open(d.path(name), vfs.SequentialReadsOption)
}

// Put implements Target.
func (d Directory) Put(_ context.Context, name string, _ int64, r io.Reader) error {
	path := d.path(name)
	if err := makeDir(d.fs(), d.fs().PathDir(path)); err != nil {
		return diskFault("Export", path, err)
	}
	return diskFault("Export", path, replaceFile(d.fs(), path, r))
}

// Remove implements Target.
func (d Directory) Remove(_ context.Context, name string) error {
	err := d.fs().Remove(d.path(name))
	if err == nil {
		err = syncDir(d.fs(), d.fs().PathDir(d.path(name)))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return diskFault("Remove", d.path(name), err)
}

// isAway says that an error is of the way to a target, or of who may go there:
// nothing is known of the file.
func isAway(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.SlowDown, errs.Denied, errs.Unauthenticated, errs.NoSuchBucket, errs.Canceled, errs.DeadlineExceeded:
		return true
	}
	return false
}

package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// makeDir makes a directory and those above it, durably.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := fsys.PathDir(dir)
	if parent != dir && parent != "." {
		if err := makeDir(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fsys, parent)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeFile writes a file and syncs it; its directory is not synced.
func writeFile(fsys vfs.FS, path string, from io.Reader) error {
	f, err := fsys.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{from}, make([]byte, window))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// partName is the ending of a file that is being written.
const partName = ".part"

// replaceFile writes a file as a whole, durably: a crash leaves the old or the
// new one.
func replaceFile(fsys vfs.FS, path string, from io.Reader) error {
	part := path + partName
	err := writeFile(fsys, part, from)
	if err == nil {
		err = fsys.Rename(part, path)
	}
	if err != nil {
		if rm := fsys.Remove(part); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
		return err
	}
	return syncDir(fsys, fsys.PathDir(path))
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(fsys vfs.FS, path string, limit int64) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, path, limit)
}

func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fault(errs.Corrupt, "read", name, "it has more than %d bytes", limit)
	}
	return raw, err
}

// diskFault gives an error of a file its kind; one that has a kind keeps it.
func diskFault(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	kind := errs.Internal
	if e, ok := errors.AsType[*errs.Error](err); ok {
		kind = e.Kind
	}
	e := &errs.Error{Kind: kind, Op: "image." + op, Subject: subject, Err: err}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e.Kind, e.Detail = errs.ReadOnly, "the disk is full"
	}
	return e
}

// room refuses work that needs more bytes than the disk of dir has above the
// reserve. A disk that cannot say is taken to have them.
func room(fsys vfs.FS, op, dir string, need, reserve int64) error {
	u, err := fsys.GetDiskUsage(dir)
	if err != nil {
		return nil
	}
	if free := int64(min(u.AvailBytes, 1<<62)); free-need < reserve {
		return fault(errs.ReadOnly, op, dir, "%s free, %s needed, and %s must stay free", mib(free), mib(need), mib(reserve))
	}
	return nil
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// orReserve is the default of a reserve: 0 means 1 GiB, less than 0 none.
func orReserve(n int64) int64 {
	if n == 0 {
		return 1 << 30
	}
	return max(n, 0)
}

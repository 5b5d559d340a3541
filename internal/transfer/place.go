package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/zeebo/xxh3"

	"o3/internal/durable"
	"o3/internal/errs"
)

// misfitError says that a file is not what the manifest says.
type misfitError struct{ found Sum }

func (e *misfitError) Error() string { return "the file has checksum " + e.found.String() }

// errUnsynced says that written bytes may not have reached the disk: what the
// file seems to hold says nothing any more.
var errUnsynced = errors.New("the file could not be synced")

func (f *fetch) partName(k key) string { return f.state("parts", k.String()) }
func (f *fetch) haveName(k key) string { return f.state("have", k.String()) }

func (f *fetch) target(p string) string { return filepath.Join(f.o.Dir, filepath.FromSlash(p)) }

// complete reads an item's part file back, and puts it in place if it is what
// the manifest says.
func (f *fetch) complete(ctx context.Context, it *item) error {
	name := f.partName(it.key)
	if _, err := os.Lstat(f.haveName(it.key)); err == nil {
		return f.place(ctx, it, f.haveName(it.key), FromSource) // verified, but there was no room for its copies
	}
	file, err := f.o.Disk.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return local("file "+name, err)
	}
	if err = file.Truncate(it.key.size); err == nil {
		if err = file.Sync(); err != nil {
			err = fmt.Errorf("%w: %w", errUnsynced, err)
		}
	}
	var sum Sum
	if err == nil {
		sum, err = f.hash(ctx, io.NewSectionReader(file, 0, it.key.size), nil)
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return local("file "+name, err)
	case sum != it.key.sum:
		return &misfitError{sum}
	}
	if err := os.Rename(name, f.haveName(it.key)); err != nil {
		return local("file "+name, err)
	}
	return f.place(ctx, it, f.haveName(it.key), FromSource)
}

// forget drops the bytes of an item, which are fetched again.
func (f *fetch) forget(it *item) {
	_ = os.Remove(f.partName(it.key)) // what stays of it is written over
	f.meter.done.Add(-it.key.size)
	f.plan.refetch(it)
}

// place moves a verified file to its item's path, and copies it to the others.
func (f *fetch) place(ctx context.Context, it *item, from string, origin FileOrigin) error {
	for _, p := range f.plan.pending(it) {
		to := f.target(p)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return local("directory "+filepath.Dir(to), err)
		}
		last := len(f.plan.pending(it)) == 1
		source := from
		if !last {
			source = f.state("copy-" + it.key.String())
			if err := f.copyFile(ctx, from, source, it.key); err != nil {
				return err
			}
		}
		if err := os.Rename(source, to); err != nil {
			return local("file "+to, err)
		}
		if !last {
			f.meter.done.Add(it.key.size)
		}
		f.settled(it, p, origin)
	}
	return nil
}

// settled notes that a path of an item is in place.
func (f *fetch) settled(it *item, p string, origin FileOrigin) {
	f.mu.Lock()
	f.verified[p] = it.key
	f.mu.Unlock()
	f.plan.at(it, p)
	f.meter.files.Add(1)
	if l := f.o.Listener.FileDone; l != nil {
		l(File{p, it.key.size, it.key.sum}, origin)
	}
}

// copyFile copies a file that must have the content k, durably.
func (f *fetch) copyFile(ctx context.Context, from, to string, k key) error {
	in, err := os.Open(from)
	if err != nil {
		return local("file "+from, err)
	}
	defer in.Close()
	out, err := f.o.Disk.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return local("file "+to, err)
	}
	sum, err := f.hash(ctx, in, out)
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil && sum != k.sum {
		err = errs.New(errs.Corrupt, "file "+from, fmt.Sprintf("it has checksum %s, expected %s", sum, k.sum))
	}
	if err != nil {
		_ = os.Remove(to)
		return local("file "+to, err)
	}
	return nil
}

// hash reads r to its end, and copies it to w if there is one.
func (f *fetch) hash(ctx context.Context, r io.Reader, w io.WriterAt) (Sum, error) {
	h, buf, off := xxh3.New(), make([]byte, 256<<10), int64(0)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if w != nil || f.looking {
				if werr := f.disk.wait(ctx, n); werr != nil {
					return Sum{}, werr
				}
			}
			_, _ = h.Write(buf[:n]) // it cannot fail
			if w != nil {
				if _, werr := w.WriteAt(buf[:n], off); werr != nil {
					return Sum{}, werr
				}
			}
			off += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return h.Sum128().Bytes(), ctx.Err()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Sum{}, err
		}
	}
}

// pending returns the paths where an item is not yet.
func (p *plan) pending(it *item) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), it.missing...)
}

// at notes that a path of an item is in place.
func (p *plan) at(it *item, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, m := range it.missing {
		if m == name {
			it.missing = append(it.missing[:i:i], it.missing[i+1:]...)
			return
		}
	}
}

// end verifies the set, makes it durable and removes the transfer's own files.
func (f *fetch) end(ctx context.Context) error {
	f.meter.phase(PhaseVerifying)
	dirs := map[string]bool{".": true}
	left := map[string]int64{}
	for i := range f.plan.spec.Files {
		file := &f.plan.spec.Files[i]
		left[file.Path] = file.Size
		for d := path.Dir(file.Path); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	err := f.walk(func(name string, d fs.DirEntry) error {
		size, ours := left[name]
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir() && dirs[name]:
			return ctx.Err()
		case !ours || !info.Mode().IsRegular() || info.Size() != size:
			return errs.New(errs.Corrupt, "file "+name, fmt.Sprintf("somebody else changed it during the transfer: %d bytes, expected %d", info.Size(), size))
		}
		delete(left, name)
		return ctx.Err()
	})
	if err == nil && len(left) > 0 {
		for name := range left {
			err = errs.New(errs.Corrupt, "file "+name, "somebody else removed it during the transfer")
		}
	}
	for d := range dirs {
		if err == nil {
			err = durable.SyncDir(f.target(d))
		}
	}
	if err == nil {
		err = f.seal()
	}
	return local("directory "+f.o.Dir, err)
}

// seal writes the manifest and removes the transfer's own files: the lock's last,
// so that a crash before leaves a transfer to be resumed.
func (f *fetch) seal() error {
	if f.o.Manifest != "" {
		tmp := f.state("manifest.out")
		if err := f.writeFile(tmp, f.plan.spec.Manifest); err != nil {
			return err
		}
		if err := os.Rename(tmp, f.target(f.o.Manifest)); err != nil {
			return err
		}
		if err := durable.SyncDir(f.o.Dir); err != nil {
			return err
		}
	}
	for _, name := range []string{"have", "parts", "journal", "manifest"} {
		if err := os.RemoveAll(f.state(name)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(f.state()); err != nil {
		return err
	}
	return durable.SyncDir(f.o.Dir)
}

func (f *fetch) writeFile(name string, content []byte) error {
	file, err := f.o.Disk.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.WriteAt(content, 0); err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// walk calls visit for all below Dir but the transfer's own files, by path.
func (f *fetch) walk(visit func(name string, d fs.DirEntry) error) error {
	return filepath.WalkDir(f.o.Dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(f.o.Dir, full)
		if err != nil {
			return err
		}
		switch name := filepath.ToSlash(rel); name {
		case ".":
			return nil
		case stateDir:
			return fs.SkipDir
		default:
			return visit(name, d)
		}
	})
}

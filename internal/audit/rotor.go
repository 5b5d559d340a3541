package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"o3/internal/durable"
	"o3/internal/errs"
)

// file is what the log needs of an open file.
type file interface {
	io.ReaderAt
	io.Writer
	io.Closer
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

func openFile(path string) (file, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
}

// rotor is the current file and those before it. It is used by one goroutine.
type rotor struct {
	opts  Options
	f     file  // nil after a rotation that could not open the next file
	size  int64 // bytes of whole lines in f
	dirty bool  // written and not synced
	bad   bool  // f may end in a piece of a line
}

func openRotor(o Options) (*rotor, error) {
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, errs.Wrap(errs.Internal, "audit log", err)
	}
	r := &rotor{opts: o}
	if err := r.open(); err != nil {
		return nil, err
	}
	if err := errors.Join(r.repair(), r.prune()); err != nil {
		return nil, errors.Join(err, r.f.Close())
	}
	return r, nil
}

func (r *rotor) open() error {
	f, err := r.opts.open(r.opts.Path)
	if err != nil {
		return errs.Wrap(errs.Internal, "audit log", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(errs.Wrap(errs.Internal, "audit log", err), f.Close())
	}
	r.f, r.size, r.dirty, r.bad = f, st.Size(), false, false
	return durable.SyncDir(filepath.Dir(r.opts.Path))
}

// repair removes the torn line a crash left at the end, and refuses a file of
// a later version: the version of its last whole line tells.
func (r *rotor) repair() error {
	tail := make([]byte, min(r.size, maxLine))
	if _, err := r.f.ReadAt(tail, r.size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return errs.Wrap(errs.Internal, r.opts.Path, err)
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	if whole == 0 && int64(len(tail)) < r.size {
		return errs.New(errs.FormatUnknown, r.opts.Path, "not an audit log: a line of more than 1 MiB")
	}
	if last := bytes.TrimSuffix(tail[:whole], []byte("\n")); len(last) > 0 {
		if _, err := parse(last[bytes.LastIndexByte(last, '\n')+1:]); errs.KindOf(err) == errs.FormatTooNew {
			return errs.New(errs.FormatTooNew, r.opts.Path, errs.Message(err))
		}
	}
	torn := int64(len(tail) - whole)
	if torn == 0 {
		return nil
	}
	r.size -= torn
	if err := r.f.Truncate(r.size); err != nil {
		return errs.Wrap(errs.Internal, r.opts.Path, err)
	}
	if f := r.opts.Listener.Torn; f != nil {
		f(r.opts.Path, torn)
	}
	return nil
}

// write appends whole lines, to a new file if the current one is full. After
// an error no part of them counts.
func (r *rotor) write(lines []byte) error {
	if r.f == nil {
		if err := r.open(); err != nil {
			return err
		}
	}
	if r.bad {
		if err := r.f.Truncate(r.size); err != nil {
			return err
		}
		r.bad = false
	}
	if r.size > 0 && r.size+int64(len(lines)) > r.opts.MaxSize {
		if err := r.rotate(); err != nil {
			return err
		}
	}
	r.dirty = true
	if _, err := r.f.Write(lines); err != nil {
		r.bad = true
		return err
	}
	r.size += int64(len(lines))
	return nil
}

func (r *rotor) sync() error {
	if !r.dirty || r.f == nil {
		return nil
	}
	r.dirty = false
	return r.f.Sync()
}

func (r *rotor) close() error {
	if r.f == nil {
		return nil
	}
	err := errors.Join(r.sync(), r.f.Close())
	r.f = nil
	return err
}

// rotate gives the current file the next number and begins another. When that
// fails half-way, the next write goes on from there.
func (r *rotor) rotate() error {
	older, err := rotated(r.opts.Path)
	if err != nil {
		return err
	}
	next := 1
	if len(older) > 0 {
		next = older[len(older)-1].number + 1
	}
	name := fmt.Sprintf("%s.%08d", r.opts.Path, next)
	if err := r.close(); err != nil {
		return err
	}
	if err := os.Rename(r.opts.Path, name); err != nil {
		return err
	}
	if err := r.open(); err != nil {
		return err
	}
	deleted, err := r.deleteOld()
	if f := r.opts.Listener.Rotated; f != nil {
		f(name, deleted)
	}
	if err != nil && r.opts.Listener.Failed != nil {
		r.opts.Listener.Failed(err) // the lines themselves are safe
	}
	return nil
}

// prune deletes files beyond the bound, which may have been lowered.
func (r *rotor) prune() error {
	_, err := r.deleteOld()
	return err
}

func (r *rotor) deleteOld() (deleted []string, err error) {
	older, err := rotated(r.opts.Path)
	if err != nil {
		return nil, err
	}
	for len(older) > r.opts.MaxFiles-1 {
		if err := os.Remove(older[0].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return deleted, err
		}
		deleted = append(deleted, older[0].path)
		older = older[1:]
	}
	return deleted, nil
}

type numbered struct {
	path   string
	number int
}

// rotated returns the files before the current one, oldest first.
func rotated(path string) ([]numbered, error) {
	dir, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []numbered
	for _, d := range dir {
		suffix, ok := strings.CutPrefix(d.Name(), filepath.Base(path)+".")
		if n, err := strconv.Atoi(suffix); ok && err == nil && n > 0 && len(suffix) >= 8 {
			out = append(out, numbered{filepath.Join(filepath.Dir(path), d.Name()), n})
		}
	}
	slices.SortFunc(out, func(a, b numbered) int { return a.number - b.number })
	return out, nil
}

package pebblekv

import (
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between the engine and the disk and makes the first failed
// write final. After a failed write or sync nobody knows what is on disk, and
// an engine that tries again could be told of a success that is none, or
// remove files that a half-written manifest names. So from then on:
//
//   - nothing changes on disk: no write, rename, creation or removal;
//   - changes of the log, the manifest and directories seem to succeed, because
//     the engine panics on their errors, or goes on with a state in memory that
//     is in pieces; Commit and Flush look at the failure before they answer;
//   - changes of other files (tables) wait for Close and then fail, because the
//     engine would otherwise try again without a pause. During Open they seem to
//     succeed too, because an engine that fails to open leaves goroutines
//     running into what it has closed; Open looks at the failure at its end.
//
// That is for the store's own directory. Changes of others (a checkpoint, the
// directory above) are their caller's: they fail without an end of the store.
//
// Files opened for reading are not wrapped. The engine forgets to close some
// files when it fails; Close does.
type guardFS struct {
	vfs.FS
	s       *Store
	dir     string      // the store's, clean
	armed   atomic.Bool // Open has succeeded
	closing chan struct{}

	mu   sync.Mutex
	open map[*guardFile]struct{}
}

func newGuardFS(inner vfs.FS, s *Store) *guardFS {
	return &guardFS{FS: inner, s: s, dir: inner.PathJoin(s.opts.Dir), closing: make(chan struct{}), open: map[*guardFile]struct{}{}}
}

// foreign reports whether path is neither the store's directory nor in it.
func (g *guardFS) foreign(path string) bool {
	path = g.FS.PathJoin(path)
	return path != g.dir && g.FS.PathDir(path) != g.dir
}

// Lock takes no lock where none is wanted.
func (g *guardFS) Lock(name string) (io.Closer, error) {
	if g.s.opts.NoLock {
		return io.NopCloser(nil), nil
	}
	return g.FS.Lock(name)
}

// file wraps f and remembers it until it is closed.
func (g *guardFS) file(f vfs.File, path string) vfs.File {
	w := &guardFile{File: f, g: g, path: path, foreign: g.foreign(path)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[w] = struct{}{}
	return w
}

// Close closes the files that are still open.
func (g *guardFS) Close() error {
	g.forget(func(string) bool { return true })
	return nil
}

// forget closes those of the files still open whose path is chosen.
func (g *guardFS) forget(chosen func(path string) bool) {
	g.mu.Lock()
	left := slices.Collect(maps.Keys(g.open))
	g.mu.Unlock()
	for _, f := range left {
		if chosen(f.path) {
			_ = f.Close() // of a file nobody waits for; a failure is noted
		}
	}
}

// release lets waiting operations fail.
func (g *guardFS) release() { close(g.closing) }

// frozen returns the failure after which the disk is left alone.
func (g *guardFS) frozen() error { return g.s.failure.get() }

// hold waits for Close, unless Open is under way, and returns the failure.
func (g *guardFS) hold() error {
	if g.armed.Load() {
		<-g.closing
	}
	return g.frozen()
}

// note makes err, of a change to path, the store's failure.
func (g *guardFS) note(op, path string, err error) error {
	if err != nil {
		g.s.failure.fail(g.s.diskError(op+" "+path, err))
	}
	return err
}

// silent reports whether the engine must not see errors of changing a file.
func (g *guardFS) silent(path string) bool {
	name := g.PathBase(path)
	return !g.armed.Load() || path == g.s.opts.Dir || isMarker(name) ||
		strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST-")
}

// settle syncs the directory before a marker comes or goes.
func (g *guardFS) settle(path string) error {
	return g.note("sync", g.PathDir(path), settle(g.FS, path))
}

// create opens a file for writing with open.
func (g *guardFS) create(op, path string, open func() (vfs.File, error)) (vfs.File, error) {
	if g.foreign(path) {
		f, err := open()
		if err != nil {
			return nil, err
		}
		return g.file(f, path), nil
	}
	if g.frozen() == nil && g.settle(path) == nil {
		f, err := open()
		if g.note(op, path, err) == nil {
			return g.file(f, path), nil
		}
		if !g.silent(path) {
			return nil, err
		}
	}
	if !g.silent(path) {
		return nil, g.hold()
	}
	return g.file(nowhere{}, path), nil
}

func (g *guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.create("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.create("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guardFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return g.create("reuse", name, func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

// OpenDir opens a directory, to sync it.
func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return g.file(f, name), nil
}

func (g *guardFS) Rename(old, name string) error {
	if g.foreign(name) {
		return g.FS.Rename(old, name)
	}
	if g.frozen() == nil {
		err := g.note("rename", name, g.FS.Rename(old, name))
		if err == nil || !g.silent(name) {
			return err
		}
	}
	if g.silent(name) {
		return nil
	}
	return g.hold()
}

func (g *guardFS) Link(old, name string) error {
	if g.frozen() != nil && !g.foreign(name) {
		return g.hold()
	}
	return g.FS.Link(old, name)
}

func (g *guardFS) MkdirAll(dir string, perm os.FileMode) error {
	if g.frozen() != nil && !g.foreign(dir) {
		return g.hold()
	}
	return g.FS.MkdirAll(dir, perm)
}

// Remove and RemoveAll of what is not needed any more may fail without harm.
func (g *guardFS) Remove(name string) error {
	if g.foreign(name) {
		return g.FS.Remove(name)
	}
	if err := g.frozen(); err != nil {
		return err
	}
	if err := g.settle(name); err != nil {
		return err
	}
	return g.FS.Remove(name)
}

func (g *guardFS) RemoveAll(name string) error {
	if err := g.frozen(); err != nil && !g.foreign(name) {
		return err
	}
	return g.FS.RemoveAll(name)
}

// GetDiskUsage is advice only: an error must not fail the store.
func (g *guardFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	u, err := g.FS.GetDiskUsage(path)
	if err != nil {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	return u, nil
}

func (g *guardFS) Unwrap() vfs.FS { return g.FS }

// guardFile is a file opened for writing, or a directory.
type guardFile struct {
	vfs.File
	g       *guardFS
	path    string
	foreign bool
}

func (f *guardFile) silent() bool { return f.g.silent(f.path) }

// change makes one change to the file, if it may.
func (f *guardFile) change(op string, do func() error) error {
	if f.foreign {
		return do()
	}
	if f.g.frozen() == nil {
		err := f.g.note(op, f.path, do())
		if err == nil || !f.silent() {
			return err
		}
	}
	if f.silent() {
		return nil
	}
	return f.g.hold()
}

func (f *guardFile) Write(p []byte) (int, error) {
	n := len(p)
	err := f.change("write", func() (err error) { n, err = f.File.Write(p); return err })
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *guardFile) WriteAt(p []byte, off int64) (int, error) {
	n := len(p)
	err := f.change("write", func() (err error) { n, err = f.File.WriteAt(p, off); return err })
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *guardFile) Sync() error { return f.change("sync", f.File.Sync) }

func (f *guardFile) SyncData() error { return f.change("sync", f.File.SyncData) }

func (f *guardFile) SyncTo(length int64) (full bool, err error) {
	err = f.change("sync", func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// Preallocate is advice, unless it says that the disk is full.
func (f *guardFile) Preallocate(off, length int64) error {
	if f.foreign {
		return f.File.Preallocate(off, length)
	}
	if f.g.frozen() != nil {
		return nil
	}
	if err := f.File.Preallocate(off, length); errors.Is(err, syscall.ENOSPC) {
		_ = f.g.note("preallocate", f.path, err)
		if !f.silent() {
			return err
		}
	}
	return nil
}

// Stat is asked of a log file that is used again.
func (f *guardFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil && !f.foreign && f.silent() {
		_ = f.g.note("stat", f.path, err)
		return emptyInfo{}, nil
	}
	return info, err
}

// Close closes the file also when it may not be changed.
func (f *guardFile) Close() error {
	f.g.mu.Lock()
	delete(f.g.open, f)
	f.g.mu.Unlock()
	err := f.File.Close()
	if f.foreign {
		return err
	}
	if f.g.frozen() != nil {
		return nil
	}
	if f.g.note("close", f.path, err) != nil && f.silent() {
		return nil
	}
	return err
}

// nowhere takes writes and keeps none: a silent file of a store that has
// failed.
type nowhere struct{ vfs.File }

func (nowhere) Close() error                      { return nil }
func (nowhere) Fd() uintptr                       { return vfs.InvalidFd }
func (nowhere) Stat() (vfs.FileInfo, error)       { return emptyInfo{}, nil }
func (nowhere) Read([]byte) (int, error)          { return 0, os.ErrInvalid }
func (nowhere) ReadAt([]byte, int64) (int, error) { return 0, os.ErrInvalid }
func (nowhere) Prefetch(int64, int64) error       { return nil }

// emptyInfo describes an empty file.
type emptyInfo struct{}

func (emptyInfo) Name() string           { return "nowhere" }
func (emptyInfo) Size() int64            { return 0 }
func (emptyInfo) Mode() os.FileMode      { return 0o600 }
func (emptyInfo) ModTime() time.Time     { return time.Time{} }
func (emptyInfo) IsDir() bool            { return false }
func (emptyInfo) Sys() any               { return nil }
func (emptyInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

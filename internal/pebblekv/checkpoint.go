package pebblekv

import (
	"errors"
	"io/fs"
	"runtime"

	"github.com/cockroachdb/pebble/v2"

	"o3/internal/errs"
)

// Checkpoint makes dir, which must not be there yet, a store of its own: the
// state at one commit, not older than the last one before the call. It flushes
// first; table files are hard links where the file system has them, so it takes
// little time and space at once, but its files stay when the store replaces
// them. When it returns nil all of it is durable. A failure leaves no dir and
// does not make the store fail. Commits and reads go on meanwhile. Kinds:
// Conflict (dir is there), ReadOnly (the disk is full).
//
// Open a checkpoint with ReadOnly and NoLock to look at it.
func (s *Store) Checkpoint(dir string) error {
	const op = "pebblekv.Checkpoint"
	if err := s.enter(op); err != nil {
		return err
	}
	defer s.life.RUnlock()
	if err := s.flush(op); err != nil {
		return err
	}
	err := s.checkpoint(dir)
	if errors.Is(err, fs.ErrExist) {
		return &errs.Error{Kind: errs.Conflict, Op: op, Subject: dir, Detail: "the directory is there already"}
	}
	if err == nil {
		err = s.putMarker(dir, s.marker)
	}
	if err != nil {
		s.fs.forget(func(path string) bool { return path == dir || s.fs.PathDir(path) == s.fs.PathJoin(dir) })
		err = errors.Join(err, s.fs.RemoveAll(dir))
	}
	if failed := s.writable(op); failed != nil {
		return failed
	}
	if err != nil {
		e := s.diskError(op, err)
		if e.Kind == errs.Corrupt && errors.Is(err, fs.ErrNotExist) {
			e.Kind, e.Detail = errs.Internal, ""
		}
		e.Subject = dir
		return e
	}
	return nil
}

// checkpoint has the engine make its part. Where a directory of the checkpoint
// cannot be synced, the engine panics with the error, all of its locks given
// back.
func (s *Store) checkpoint(dir string) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			panic(r)
		case error:
			err = r
		default:
			panic(r)
		}
	}()
	return s.db.Checkpoint(dir, pebble.WithFlushedWAL())
}

// Package pebblekv is the kv.Store on disk: a Pebble LSM tree, tuned for
// metadata rows, with the engine's sharp edges behind it.
//
// What it guarantees beyond package kv:
//
//   - No error of the disk ends the process. The first failed write, sync or
//     rename, and any error of background work, makes the store fail: it is
//     told to Listener.Fatal once, every later write returns an error, and
//     nothing in the directory changes any more, so that opening it again
//     recovers what was durable. Reads go on.
//   - A directory is opened only by its own kind of store and never by an older
//     program; a lost database is never replaced by an empty one (see marker).
//   - Stored bytes that fail their checksum are errs.Corrupt with the file's
//     name, never a value.
//   - Point reads of absent keys are answered by the filters of all levels.
//
// A Store owns the goroutines of its engine (flush, compaction, file removal,
// watching for slow disks); they end in Close. Listener functions are called
// from them.
package pebblekv

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"o3/internal/errs"
	"o3/internal/kv"
)

// Store is an open store. It is safe for concurrent use.
type Store struct {
	opts    Options
	db      *pebble.DB
	fs      *guardFS
	failure *failure
	closers []io.Closer // after the database, last first
	marker  marker
	engine  *pebble.Options

	// life guards db: held for reading during a call, for writing by Close.
	life struct {
		sync.RWMutex
		closed bool
	}
	open atomic.Int64 // iterators and snapshots

	getters  *getters      // for Get of the latest state
	writing  atomic.Int64  // commits under way
	latest   atomic.Uint64 // changes before a commit, and when files changed
	filesets atomic.Uint64 // changes when the set of files changed
	stall    stall
}

var _ kv.Store = (*Store)(nil)

// Get implements kv.Reader.
func (s *Store) Get(key []byte) ([]byte, bool, error) { return s.AppendGet(nil, key) }

// AppendGet is Get into memory the caller has: it appends the value to dst.
func (s *Store) AppendGet(dst, key []byte) ([]byte, bool, error) {
	if err := s.enter("pebblekv.Get"); err != nil {
		return dst, false, err
	}
	defer s.life.RUnlock()
	return s.getters.get(dst, key)
}

// Iter implements kv.Reader.
func (s *Store) Iter(lower, upper []byte) (kv.Iterator, error) {
	if err := s.enter("pebblekv.Iter"); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	it, err := s.db.NewIter(bounds(lower, upper))
	return s.newIterator(it, err)
}

// NewBatch implements kv.Store.
func (s *Store) NewBatch() kv.Batch {
	b := &batch{store: s}
	if s.enter("pebblekv.NewBatch") == nil {
		b.b = s.db.NewBatch()
		s.life.RUnlock()
	}
	return b
}

// Snapshot implements kv.Store.
func (s *Store) Snapshot() kv.Snapshot {
	if s.enter("pebblekv.Snapshot") != nil {
		return &snapshot{store: s, closed: true}
	}
	defer s.life.RUnlock()
	snap := s.db.NewSnapshot()
	return s.newSnapshot(snap, snap.NewIter)
}

// Durable implements kv.Store: it shows what has been flushed. Writes that are
// durable only in the write-ahead log are not shown yet.
func (s *Store) Durable() (kv.Snapshot, error) {
	const op = "pebblekv.Durable"
	if err := s.enter(op); err != nil {
		return nil, err
	}
	defer s.life.RUnlock()
	root, err := s.db.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		return nil, s.readError(op, err)
	}
	return s.newSnapshot(root, func(o *pebble.IterOptions) (*pebble.Iterator, error) {
		o.OnlyReadGuaranteedDurable = true
		return root.Clone(pebble.CloneOptions{IterOptions: o})
	}), nil
}

// Flush implements kv.Store. When it returns nil, what was committed before
// the call is in synced table files. It returns early when the store fails.
func (s *Store) Flush() error {
	const op = "pebblekv.Flush"
	if err := s.enter(op); err != nil {
		return err
	}
	defer s.life.RUnlock()
	return s.flush(op)
}

// flush is Flush of a store that is held open.
func (s *Store) flush(op string) error {
	if err := s.writable(op); err != nil {
		return err
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return &errs.Error{Kind: errs.Internal, Op: op, Subject: s.opts.Dir, Err: err}
	}
	select {
	case <-done:
	case <-s.failure.ch:
	}
	s.getters.drop()
	return s.writable(op)
}

// Err returns why the store has failed, or nil.
func (s *Store) Err() error { return s.failure.get() }

// Close implements kv.Store. Rows that were neither flushed nor written to a
// log are lost; call Flush before. A failed store closes too, and returns nil:
// the failure has been told.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.life.closed {
		return nil
	}
	if s.open.Load() > 0 {
		return &errs.Error{
			Kind: errs.Internal, Op: "pebblekv.Close", Subject: s.opts.Dir,
			Detail: "iterators or snapshots are still open",
		}
	}
	s.life.closed = true
	s.getters.drop()
	s.fs.release()
	return s.shut()
}

// shut closes the database and all below it.
func (s *Store) shut() error {
	healthy := s.failure.get() == nil
	err := s.db.Close()
	for i := len(s.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, s.closers[i].Close())
	}
	switch {
	case !healthy:
		return nil
	case s.failure.get() != nil:
		return s.writable("pebblekv.Close") // the close itself failed to write
	case err != nil:
		return &errs.Error{Kind: errs.Internal, Op: "pebblekv.Close", Subject: s.opts.Dir, Err: err}
	}
	return nil
}

// enter begins a call: it holds the database open until life.RUnlock.
func (s *Store) enter(op string) error {
	s.life.RLock()
	if s.life.closed {
		s.life.RUnlock()
		return &errs.Error{Kind: errs.Unavailable, Op: op, Subject: s.opts.Dir, Detail: "the store is closed"}
	}
	return nil
}

// writable returns why the store takes no writes, or nil.
func (s *Store) writable(op string) error {
	if cause := s.failure.get(); cause != nil {
		return &errs.Error{
			Kind: errs.KindOf(cause), Op: op, Subject: s.opts.Dir,
			Detail: "the store has failed and takes no writes until it is opened again", Err: cause,
		}
	}
	if s.opts.ReadOnly {
		return &errs.Error{Kind: errs.Invalid, Op: op, Subject: s.opts.Dir, Detail: "the store was opened read-only"}
	}
	return nil
}

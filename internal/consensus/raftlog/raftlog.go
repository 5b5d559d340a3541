// Package raftlog keeps one node's Raft log: entries, hard state and the base
// record, in a Pebble store of its own whose write-ahead log is synced.
//
// What a Write with entries, a term, a vote or a new base returns from is on
// stable storage, all of it or none. Every entry carries a checksum over its
// index and bytes which is verified whenever it is read from disk; a damaged
// entry is an errs.Corrupt that names the index, never an entry. A tail guard
// (guard.go) tells a log that lost its synced end from one that ended there.
//
// A Log has one writer (the consensus loop) and any number of readers; it
// starts no goroutine itself, Pebble's end with Close. docs/formats/raftlog.md
// describes the bytes.
package raftlog

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

// Version is the newest format this package writes and reads.
const Version = 1

// Options configures a Log.
type Options struct {
	FS     vfs.FS // nil means the operating system's
	Dir    string // directory of the log, created when absent
	NodeID uint64 // the node whose log this is; another node's log is refused

	// Incarnation is what a new log counts its incarnations from, below 1<<63: a
	// log that gets entries of another node's must not count what that one has.
	Incarnation uint64

	CacheBytes    int64 // recent entries kept in memory; 0 means 32 MiB
	MemTableBytes int64 // Pebble's memtable; 0 means 32 MiB

	// Background hears errors of Pebble's background work, which it retries.
	// It must not block. Nil is silent.
	Background func(error)

	readOnly bool // nothing is changed: Verify
}

// Base is where the log begins: the state at Index was not built from this
// log but given, at bootstrap or by an image. Term and Conf (a marshalled
// ConfState) are those at Index. Image, empty at bootstrap, is the manifest
// of the image to install when the state machine is older than Index.
type Base struct {
	Index, Term uint64
	Conf        []byte
	Image       []byte
}

// Write is one atomic change. A Base replaces the whole log: afterwards it is
// empty and starts at Base.Index+1. Entries then replace the tail from their
// first index on. Sync makes the change durable before Write returns; it must
// be set unless Hard is all there is and only its commit index changed.
type Write struct {
	Base    *Base
	Entries []*pb.Entry
	Hard    *pb.HardState
	Sync    bool
}

// Log is an open log.
type Log struct {
	opt         Options
	db          *pebble.DB
	guard       *guard
	incarnation uint64
	broken      error // set once by the writer: nothing is written any more

	mu    sync.RWMutex
	base  Base
	hard  *pb.HardState
	trunc position // the entry before the first one: its index and term
	last  position
	cache cache
	sizes sizes
}

type position struct{ index, term uint64 }

// Open opens or creates the log in o.Dir and counts a new incarnation,
// durably. It refuses a log that is damaged (errs.Corrupt), another node's
// (errs.Invalid) or written by a later version (errs.FormatTooNew).
func Open(o Options) (*Log, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 32 << 20
	}
	if !o.readOnly {
		if err := makeDir(o.FS, o.FS.PathJoin(o.Dir, storeDir)); err != nil {
			return nil, errs.Wrap(errs.Internal, o.Dir, err)
		}
	}
	db, err := openPebble(o)
	if err != nil {
		return nil, corruption("raft log "+o.Dir, err)
	}
	l := &Log{opt: o, db: db, cache: cache{limit: o.CacheBytes}}
	if err := l.load(); err != nil {
		return nil, closing(err, l.db.Close)
	}
	if l.guard, err = openGuard(o.FS, o.FS.PathJoin(o.Dir, guardFile), o.readOnly); err != nil {
		return nil, closing(err, l.db.Close)
	}
	if err := l.guard.check(l.last, l.hard); err != nil {
		return nil, closing(err, l.Close)
	}
	return l, nil
}

// Incarnation counts how often this log was opened; it is never reused.
func (l *Log) Incarnation() uint64 { return l.incarnation }

// Empty reports whether nothing was ever written: no base, entry or vote.
func (l *Log) Empty() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last == position{} && l.trunc == position{} && raft.IsEmptyHardState(l.hard)
}

// Base returns the base record; its Index is 0 when there is none.
func (l *Log) Base() Base {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.base
}

// HardState returns the stored hard state; it is never nil.
func (l *Log) HardState() *pb.HardState {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.hard
}

// Bootstrap makes an empty log the log of a first voter: base {1, 1, conf},
// commit 1, first entry 2. Every later node then starts from an image.
func (l *Log) Bootstrap(conf []byte) error {
	if !l.Empty() {
		return errs.New(errs.Invalid, l.opt.Dir, "only an empty log can be bootstrapped")
	}
	one := uint64(1)
	return l.Write(Write{
		Base: &Base{Index: 1, Term: 1, Conf: conf},
		Hard: &pb.HardState{Term: &one, Vote: new(uint64), Commit: &one},
		Sync: true,
	})
}

// Write performs w. After an error the log must not be written again: what is
// on disk is unknown until it is opened anew; every later Write fails too.
func (l *Log) Write(w Write) error {
	if l.broken != nil {
		return l.broken
	}
	b := l.db.NewBatch()
	defer b.Close()
	after, err := l.fill(b, w)
	if err != nil {
		return l.fail(err)
	}
	if err := commit(b, w.Sync); err != nil {
		return l.fail(err)
	}
	l.adopt(w, after)
	if w.Sync {
		l.guard.note(after, l.hard)
	}
	return nil
}

// fill puts w into b and returns where the log will end.
func (l *Log) fill(b *pebble.Batch, w Write) (position, error) {
	after, first := l.last, l.trunc.index+1
	if w.Base != nil {
		if err := b.DeleteRange(entryKey(0), entryKey(^uint64(0)), nil); err != nil {
			return after, err
		}
		after, first = position{w.Base.Index, w.Base.Term}, w.Base.Index+1
		b.Set([]byte(keyBase), encodeBase(*w.Base), nil)
		b.Set([]byte(keyTrunc), encodePosition(after), nil)
	}
	if n := len(w.Entries); n > 0 {
		lo := w.Entries[0].GetIndex()
		if lo < first || lo > after.index+1 {
			return after, errs.New(errs.Internal, "raft log", fmt.Sprintf("entry %d after %d", lo, after.index))
		}
		hi := w.Entries[n-1]
		if hi.GetIndex() < after.index {
			if err := b.DeleteRange(entryKey(hi.GetIndex()+1), entryKey(after.index+1), nil); err != nil {
				return after, err
			}
		}
		for i, e := range w.Entries {
			if e.GetIndex() != lo+uint64(i) {
				return after, errs.New(errs.Internal, "raft log", fmt.Sprintf("entry %d in place of %d", e.GetIndex(), lo+uint64(i)))
			}
			if err := setEntry(b, e); err != nil {
				return after, err
			}
		}
		after = position{hi.GetIndex(), hi.GetTerm()}
	}
	if !raft.IsEmptyHardState(w.Hard) {
		b.Set([]byte(keyHard), encodeHard(w.Hard), nil)
	}
	return after, nil
}

// adopt makes what was committed visible to readers.
func (l *Log) adopt(w Write, after position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.Base != nil {
		l.base = *w.Base
		l.trunc = position{w.Base.Index, w.Base.Term}
		l.cache.reset()
		l.sizes.reset(w.Base.Index)
	}
	if len(w.Entries) > 0 {
		l.cache.put(w.Entries)
		l.sizes.put(w.Entries)
	}
	if !raft.IsEmptyHardState(w.Hard) {
		l.hard = w.Hard
	}
	l.last = after
}

func (l *Log) fail(err error) error {
	l.broken = corruption("raft log", err)
	return l.broken
}

// TruncateTo drops the entries up to and including index, keeping the term of
// index. It is not synced: a crash may bring them back. An index that is not
// in the log is an error.
func (l *Log) TruncateTo(index uint64) error {
	if l.broken != nil {
		return l.broken
	}
	term, err := l.Term(index)
	if err != nil {
		return errs.Wrap(errs.Internal, fmt.Sprintf("truncate raft log to %d", index), err)
	}
	b := l.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(entryKey(0), entryKey(index+1), nil); err != nil {
		return l.fail(err)
	}
	b.Set([]byte(keyTrunc), encodePosition(position{index, term}), nil)
	if err := commit(b, false); err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trunc = position{index, term}
	l.cache.dropTo(index)
	l.sizes.dropTo(index)
	return nil
}

// BytesAfter estimates the bytes of the entries after index, to about 1 MiB.
func (l *Log) BytesAfter(index uint64) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.sizes.after(index)
}

// Close closes the store. Whatever was written is synced already, and Pebble
// cannot flush on a disk that fails without ending the process. After a failed
// Write it only releases what it can.
func (l *Log) Close() error {
	err := l.guard.close()
	closed := guarded(l.db.Close)
	if l.broken != nil {
		return nil // reported already
	}
	return first(err, closed)
}

func entryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'e'}, index)
}

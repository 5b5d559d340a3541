// Package container is the block store that needs no other software: append-only
// files, called containers, of many blocks each.
//
// A Put is durable when it returns. Blocks of up to Options.SmallSize bytes are
// buffered and share one write and one fdatasync with the others that wait;
// longer ones are streamed, each into a container that is its own meanwhile, so
// that a slow client delays nobody. Nothing of a Put that fails is visible, and
// its place is written over. A Get verifies the checksum of every chunk before
// it gives a byte of it; damage is an error of kind Corrupt. Deletes go to a
// log of their own, also with one fdatasync for all who wait. Containers whose
// live share is small are rewritten under the same id, so blocks keep their ids.
//
// After a power cut every acknowledged Put and Delete is there and nothing else
// is, whatever unsynced data survived; ids are never given twice. An fsync that
// fails stops all writing for ever (Listener.Fatal): what the disk holds is not
// known any more. A full disk, or one below Options.Reserve, refuses Puts with
// kind ReadOnly until there is space again.
//
// Memory: SmallSize (and 16 KiB) for each Put and up to 320 KiB for each reader in progress; per
// block 24 bytes while its container is not sealed yet; after that 4 bytes per
// 170 blocks (once looked at), and one bit per block where blocks were deleted.
//
// A Store owns no goroutines, except while Run runs; Run ends those it started.
package container

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block"
	"o3/internal/errs"
)

// Store is the block store in one directory. It is safe for concurrent use.
type Store struct {
	o    Options
	dir  vfs.File
	lock io.Closer

	life    sync.RWMutex // read-held while something is written; Close takes it
	closed  atomic.Bool
	closing chan struct{} // closed when Close begins: ends reclaim and scrub
	fault   atomic.Pointer[errs.Error]
	halted  chan struct{} // closed once fault is set

	mu      sync.RWMutex
	boxes   map[uint64]*box
	pending []*appender // retired, to be sealed
	seq     struct {
		sync.Mutex
		next, limit uint64
	}

	sealing    sync.Mutex    // one seals at a time
	reclaiming sync.Mutex    // one pass at a time: generations are made by it only
	wake       chan struct{} // something to seal
	dirMu      sync.Mutex    // one Sync of dir at a time

	small   group[*put]
	current *appender // of small; under small.turn
	streams streams
	deletes group[[]tomb]
	log     *deleteLog // under deletes.turn

	handles *handles
	buffers *buffers
	space   *space
	scrub   scrubState
	known   known
	count   counters
	early   []Damage // found by Open, for Verify
}

var _ block.Store = (*Store)(nil)

// Open opens the store in o.Dir, which one process may have open at a time,
// and brings what a crash left into order. Its time depends on the number of
// containers, and on the size of those that were not sealed, not on that of
// the others. Kinds: Invalid (options, or a directory of another node),
// FormatTooNew, Conflict (open elsewhere).
func Open(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	s := &Store{
		o:       o,
		closing: make(chan struct{}),
		halted:  make(chan struct{}),
		wake:    make(chan struct{}, 1),
		boxes:   map[uint64]*box{},
		space:   newSpace(o),
		buffers: newBuffers(shape{o.chunk}, o.SmallSize),
	}
	s.handles = newHandles(o.Handles, func(name string) (vfs.File, error) {
		return o.FS.Open(s.path(name))
	})
	s.small = group[*put]{step: s.commitSmall, size: func(p *put) int64 { return p.record }, max: 8 << 20}
	s.deletes = group[[]tomb]{step: s.commitDeletes, size: func(t []tomb) int64 { return int64(len(t)) * tombSize }, max: 8 << 20}
	if err := s.load(); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *Store) path(name string) string { return s.o.FS.PathJoin(s.o.Dir, name) }

// release gives back what Open took from the system.
func (s *Store) release() error {
	s.handles.close()
	var all []error
	if s.log != nil {
		all = append(all, s.log.file.Close())
	}
	if s.dir != nil {
		all = append(all, s.dir.Close())
	}
	if s.lock != nil {
		all = append(all, s.lock.Close())
	}
	return errors.Join(all...)
}

// Close ends what is being committed, seals what can be sealed, and closes the
// store. Puts still reading from their clients fail; readers stay good until
// they are closed. Run, Reclaim and Scrub should have ended before.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.closing)
	s.life.Lock()
	defer s.life.Unlock()
	if s.current != nil {
		s.retire(s.current)
		s.current = nil
	}
	for _, a := range s.streams.drain() {
		s.retire(a)
	}
	err := s.sealPending()
	if err != nil && errs.KindOf(err) == errs.ReadOnly {
		err = nil // without its index a container is scanned at the next Open
	}
	s.mu.Lock()
	left := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, a := range left {
		err = errors.Join(err, a.file.Close())
	}
	if s.fault.Load() != nil {
		err = s.fault.Load()
	}
	return errors.Join(err, s.release())
}

// Err returns why all writing has stopped, or nil.
func (s *Store) Err() error {
	if f := s.fault.Load(); f != nil {
		return f
	}
	return nil
}

// halt stops all writing: an fsync failed with err, and must not be tried
// again, since the system may have dropped what it could not write.
func (s *Store) halt(what string, err error) error {
	f := &errs.Error{Kind: errs.Unavailable, Op: "container.sync", Subject: what,
		Detail: "an fsync failed: the node must stop writing", Err: err}
	if s.fault.CompareAndSwap(nil, f) {
		close(s.halted)
		s.o.Listener.Fatal(f)
	}
	return s.fault.Load()
}

// usable refuses work on a closed store.
func (s *Store) usable() error {
	if s.closed.Load() {
		return errs.New(errs.Unavailable, "block store", "closed")
	}
	return nil
}

// writable refuses writing on a closed or halted store. The caller holds life.
func (s *Store) writable() error {
	if err := s.usable(); err != nil {
		return err
	}
	return s.Err()
}

// syncData makes what was written to f durable.
func (s *Store) syncData(f vfs.File, name string) error {
	s.count.syncs.Add(1)
	if err := f.SyncData(); err != nil {
		return s.halt(name, err)
	}
	return nil
}

// syncDir makes the names in the directory durable.
func (s *Store) syncDir() error {
	s.dirMu.Lock()
	defer s.dirMu.Unlock()
	s.count.syncs.Add(1)
	if err := s.dir.Sync(); err != nil {
		return s.halt(s.o.Dir, err)
	}
	return nil
}

// box returns a container, nil if there is none of that id.
func (s *Store) box(id uint64) *box {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.boxes[id]
}

// all returns the containers in order of their ids.
func (s *Store) all() []*box {
	s.mu.RLock()
	out := make([]*box, 0, len(s.boxes))
	for _, b := range s.boxes {
		out = append(out, b)
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b *box) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return out
}

// damaged tells of damage, remembers and returns it.
func (s *Store) damaged(d Damage) Damage {
	s.known.note(d)
	s.count.damages.Add(1)
	s.o.Listener.Damaged(d)
	return d
}

// writeFault is the error of a write that failed: a full disk is no fault.
func (s *Store) writeFault(name string, err error) error {
	if vfs.IsNoSpaceError(err) {
		s.space.exhausted()
		return s.space.refusal("the disk is full")
	}
	return &errs.Error{Kind: errs.Internal, Op: "container.write", Subject: name, Err: err}
}

// newSalt returns a number that nobody can guess.
func newSalt() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return le.Uint64(b[:])
}

// canceled is the error of work whose context has ended, nil while it has not.
func canceled(ctx context.Context) error {
	err := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return errs.Wrap(errs.DeadlineExceeded, "", err)
	default:
		return errs.Wrap(errs.Canceled, "", err)
	}
}

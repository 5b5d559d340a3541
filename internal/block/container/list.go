package container

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"o3/internal/block"
)

// List calls f with every live block; see block.Store. A container whose
// blocks cannot be known, because it is damaged, is passed over, and List
// returns an error of kind Corrupt at its end.
func (s *Store) List(ctx context.Context, f func(block.Info) error) error {
	if err := s.usable(); err != nil {
		return err
	}
	var hurt error
	for _, b := range s.all() {
		if err := canceled(ctx); err != nil {
			return err
		}
		err := s.listBox(ctx, b, f)
		if d, ok := errors.AsType[Damage](err); ok {
			hurt = s.damaged(d).err("container.List")
			continue
		}
		if err != nil && !errors.Is(err, errAbsent) {
			return err
		}
	}
	return hurt
}

func (s *Store) listBox(ctx context.Context, b *box, f func(block.Info) error) error {
	v, err := s.look(b, 0)
	if err != nil {
		return err
	}
	defer func() { s.handles.release(v.handle) }()
	from := uint32(0)
	each := func(e entry) error {
		from = e.local + 1
		if from%1024 == 0 {
			if err := canceled(ctx); err != nil {
				return err
			}
		}
		if b.isDead(e.local) {
			return nil
		}
		return f(block.Info{
			ID:      block.ID{Container: b.id, Local: uint64(e.local)},
			Length:  int64(e.length),
			Created: time.Unix(0, e.created),
		})
	}
	err = v.index.from(v.handle, from, each)
	if d, ok := errors.AsType[Damage](err); ok && d.Part == Index {
		healed, herr := s.heal(b, err)
		if herr != nil {
			return herr
		}
		s.handles.release(v.handle)
		v = healed
		err = v.index.from(v.handle, from, each)
	}
	return err
}

// counters are what Stats tells of the past.
type counters struct {
	puts, putBytes, gets, getBytes atomic.Int64
	deletes, syncs, damages        atomic.Int64
	rewrites, freed                atomic.Int64
}

// Stats is the state of a Store. Counters begin at Open.
type Stats struct {
	Containers     int   // of which
	Unsealed       int   // are still written, or wait for their index
	Broken         int   // cannot be read at all
	LiveBlocks     int64 // blocks
	LiveBytes      int64 // their payload
	DeadBlocks     int64 // deleted, their space not freed yet (pending deletes)
	DeadBytes      int64 // their payload
	DiskBytes      int64 // of all container files
	Puts, PutBytes int64 // counters: completed Puts and their bytes
	Gets, GetBytes int64 // opened Gets and the bytes they asked for
	Deletes        int64 // blocks deleted
	Syncs          int64 // fsyncs of files and of the directory
	Damages        int64 // times that damage was met
	Rewrites       int64 // containers rewritten or removed
	Freed          int64 // bytes of disk freed by that
	Free           int64 // bytes free on the disk when last looked at, -1 unknown
	ReadOnly       bool  // Puts are refused for want of space
}

// Stats returns the state of s; it costs a look at every container.
func (s *Store) Stats() Stats {
	c := &s.count
	st := Stats{
		Puts: c.puts.Load(), PutBytes: c.putBytes.Load(), Gets: c.gets.Load(), GetBytes: c.getBytes.Load(),
		Deletes: c.deletes.Load(), Syncs: c.syncs.Load(), Damages: c.damages.Load(),
		Rewrites: c.rewrites.Load(), Freed: c.freed.Load(), ReadOnly: s.space.low.Load(),
	}
	s.space.mu.Lock()
	st.Free = s.space.free
	s.space.mu.Unlock()
	for _, b := range s.all() {
		b.mu.RLock()
		st.Containers++
		switch b.state {
		case writing, retired:
			st.Unsealed++
		case broken:
			st.Broken++
		}
		st.LiveBlocks += b.blocks - b.deadCount
		st.LiveBytes += b.bytes - b.deadBytes
		st.DeadBlocks += b.deadCount
		st.DeadBytes += b.deadBytes
		st.DiskBytes += b.size
		b.mu.RUnlock()
	}
	return st
}

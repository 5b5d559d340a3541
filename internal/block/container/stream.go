package container

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"o3/internal/block"
)

// flushEvery is how much of a long block is written before the disk is told to
// begin; so little is left to wait for at its end.
const flushEvery = 8 << 20

// streams are the open containers of long blocks, one writer each.
type streams struct {
	mu   sync.Mutex
	idle []*appender
	low  int // the fewest idle since the last trim
}

// take returns the fullest idle container, nil if there is none.
func (t *streams) take() *appender {
	t.mu.Lock()
	defer t.mu.Unlock()
	best := -1
	for i, a := range t.idle {
		if best < 0 || a.tail > t.idle[best].tail {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	a := t.idle[best]
	t.idle[best] = t.idle[len(t.idle)-1]
	t.idle = t.idle[:len(t.idle)-1]
	t.low = min(t.low, len(t.idle))
	return a
}

// give keeps a for the next writer.
func (t *streams) give(a *appender) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle = append(t.idle, a)
}

// trim takes out those above limit that nobody needed since the last trim, the
// fullest first. (Whatever has been a peak of writers may come again, and a
// container that ends early stays small for ever.)
func (t *streams) trim(limit int) []*appender {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.low - limit
	t.low = len(t.idle)
	if n <= 0 {
		return nil
	}
	slices.SortFunc(t.idle, func(a, b *appender) int { return cmp.Compare(b.tail, a.tail) })
	out := slices.Clone(t.idle[:n])
	t.idle = slices.Delete(t.idle, 0, n)
	t.low = len(t.idle)
	return out
}

// drain takes out all.
func (t *streams) drain() []*appender {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.idle
	t.idle, t.low = nil, 0
	return out
}

// putStream stores a block that is longer than the buffer, of which the first
// part has been read.
func (s *Store) putStream(in *intake) (block.Info, error) {
	a, err := s.lease()
	if err != nil {
		return block.Info{}, err
	}
	info, err := s.stream(in, a)
	s.giveBack(a, err != nil)
	return info, err
}

// lease returns a container that nobody else writes to.
func (s *Store) lease() (*appender, error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return nil, err
	}
	if a := s.streams.take(); a != nil {
		return a, nil
	}
	return s.newAppender()
}

// giveBack ends a lease; aborted says that bytes behind the tail are garbage.
func (s *Store) giveBack(a *appender, aborted bool) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed.Load() { // Close did not see it, and the file may be another's by now: the next Open seals it
		a.file.Close()
		return
	}
	if aborted && s.Err() == nil {
		cut(a.file, a.tail) // to free the space at once; it would be written over
	}
	if a.tail < s.o.ContainerSize && !a.spoiled {
		s.streams.give(a)
		return
	}
	s.retire(a)
}

// trimStreams retires containers that were not needed for some time.
func (s *Store) trimStreams() {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.writable() != nil {
		return
	}
	for _, a := range s.streams.trim(s.o.Streams) {
		s.retire(a)
	}
}

// stream writes the block at the tail of a: data, checksums, and the header
// last, so that nothing there looks like a record before it is one.
func (s *Store) stream(in *intake, a *appender) (block.Info, error) {
	at := a.tail + recordHead
	flushed := at
	var sums []uint32
	for {
		n := in.n
		if !in.eof {
			n = n / int(a.chunk) * int(a.chunk)
		}
		p := in.buf.b[recordHead : recordHead+n]
		sums = a.appendSums(sums, p)
		if err := s.space.admit(int64(n)); err != nil {
			return block.Info{}, err
		}
		if err := s.writeStream(a, p, at); err != nil {
			return block.Info{}, err
		}
		at += int64(n)
		if at-flushed >= flushEvery {
			if err := s.writeback(a, at); err != nil {
				return block.Info{}, err
			}
			flushed = at
		}
		if in.eof {
			break
		}
		in.n = copy(in.buf.b[recordHead:], in.buf.b[recordHead+n:recordHead+in.n])
		if err := s.fill(in); err != nil {
			return block.Info{}, err
		}
	}
	return s.endStream(a, in.total, sums)
}

func (s *Store) endStream(a *appender, length int64, sums []uint32) (block.Info, error) {
	now := time.Now()
	e := a.next(a.tail, length, now.UnixNano())
	tail := a.appendTail(nil, a.salt, uint64(e.local), length, sums)
	if err := s.writeStream(a, tail, a.tailOffset(e)); err != nil {
		return block.Info{}, err
	}
	head := make([]byte, recordHead)
	a.meta(e).encode(head, a.salt, e.offset)

	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return block.Info{}, err
	}
	if err := a.write(head, e.offset); err != nil {
		a.wipe()
		return block.Info{}, s.writeFault(a.name, err)
	}
	if err := s.syncData(a.file, a.name); err != nil {
		return block.Info{}, err
	}
	a.commit(e.offset+a.record(length), e)
	a.mark()
	return block.Info{
		ID:      block.ID{Container: a.container, Local: uint64(e.local)},
		Length:  length,
		Created: time.Unix(0, e.created),
	}, nil
}

func (s *Store) writeStream(a *appender, p []byte, at int64) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err := a.write(p, at); err != nil {
		a.wipe()
		return s.writeFault(a.name, err)
	}
	return nil
}

// writeback has the disk begin with what was written; an error of it is one of
// fsync, since it may be told once only.
func (s *Store) writeback(a *appender, to int64) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	if _, err := a.file.SyncTo(to); err != nil {
		return s.halt(a.name, err)
	}
	return nil
}

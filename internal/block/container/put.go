package container

import (
	"context"
	"io"
	"time"

	"o3/internal/block"
	"o3/internal/errs"
)

// put is a small block on its way: a record in a buffer, complete but for its
// header.
type put struct {
	buf    *buffer
	length int64
	sums   []uint32
	record int64 // bytes of the record

	id      uint64 // of the container; set by the step that writes it
	local   uint64
	created int64
}

// intake reads a block from its client.
type intake struct {
	ctx   context.Context
	r     io.Reader
	buf   *buffer
	n     int   // bytes of the block in buf, after recordHead
	total int64 // bytes read in all
	eof   bool
}

// Put stores the bytes of r as one block; see block.Store.
func (s *Store) Put(ctx context.Context, r io.Reader, size int64) (block.Info, error) {
	if size > block.MaxSize {
		return block.Info{}, tooLarge()
	}
	hint := 4096
	if size >= 0 {
		hint = int(min(size, int64(s.o.SmallSize)))
	}
	if err := s.admit(ctx, int64(hint)); err != nil {
		return block.Info{}, err
	}
	in := &intake{ctx: ctx, r: r}
	in.buf = s.buffers.get(int(shape{s.o.chunk}.record(int64(hint))) + 16)
	defer func() { s.buffers.put(in.buf) }()
	if err := s.fill(in); err != nil {
		return block.Info{}, err
	}
	var info block.Info
	var err error
	if in.eof {
		info, err = s.putSmall(in)
	} else {
		info, err = s.putStream(in)
	}
	if err != nil {
		return block.Info{}, err
	}
	s.count.puts.Add(1)
	s.count.putBytes.Add(info.Length)
	return info, nil
}

// admit refuses a Put that cannot end well.
func (s *Store) admit(ctx context.Context, n int64) error {
	if err := canceled(ctx); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	return s.space.admit(n)
}

func tooLarge() error {
	return errs.New(errs.TooLarge, "block", "longer than 256 MiB")
}

// fill reads until the buffer holds more than SmallSize bytes or the block
// ends. It keeps memory in proportion to what the client has sent.
func (s *Store) fill(in *intake) error {
	empty := 0
	for in.n <= s.o.SmallSize {
		room := min(s.room(in.buf), s.o.SmallSize+1)
		if in.n >= room && in.buf.from < len(s.buffers.sizes)-1 {
			in.buf = s.buffers.grow(in.buf, recordHead+in.n)
			continue
		}
		if err := canceled(in.ctx); err != nil {
			return err
		}
		n, err := in.r.Read(in.buf.b[recordHead+in.n : recordHead+room])
		in.n += n
		in.total += int64(n)
		if in.total > block.MaxSize {
			return tooLarge()
		}
		if err == io.EOF {
			in.eof = true
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty > 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// room is how many bytes of a block b takes, so that its record fits into b.
func (s *Store) room(b *buffer) int {
	sh := shape{s.o.chunk}
	n := len(b.b) - recordHead
	for over := 1; over > 0; n -= max(over, 0) {
		over = int(sh.record(int64(n))) - len(b.b)
	}
	return n
}

// putSmall stores a block that is in the buffer whole.
func (s *Store) putSmall(in *intake) (block.Info, error) {
	sh := shape{s.o.chunk}
	p := &put{buf: in.buf, length: int64(in.n)}
	var few [8]uint32
	p.sums = sh.appendSums(few[:0], in.buf.b[recordHead:recordHead+in.n])
	p.record = sh.record(p.length)

	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return block.Info{}, err
	}
	if err := s.small.do(p); err != nil {
		return block.Info{}, err
	}
	return block.Info{
		ID:      block.ID{Container: p.id, Local: p.local},
		Length:  p.length,
		Created: time.Unix(0, p.created),
	}, nil
}

// commitSmall is one step of the group: one write, one fdatasync.
func (s *Store) commitSmall(batch []*call[*put]) {
	if err := s.writeSmall(batch); err != nil {
		for _, c := range batch {
			c.err = err
		}
	}
}

func (s *Store) writeSmall(batch []*call[*put]) error {
	if err := s.Err(); err != nil {
		return err
	}
	if s.current == nil {
		a, err := s.newAppender()
		if err != nil {
			return err
		}
		a.ahead = smallAhead
		s.current = a
	}
	a := s.current
	now := time.Now().UnixNano()
	entries := make([]entry, 0, len(batch))
	w := a.writer()
	for _, c := range batch {
		p := c.v
		e := a.next(w.off, p.length, now)
		p.id, p.local, p.created = a.box.id, uint64(e.local), now
		a.meta(e).encode(p.buf.b, a.salt, e.offset)
		rec := a.appendTail(p.buf.b[:recordHead+p.length], a.salt, p.local, p.length, p.sums)
		if err := w.write(rec); err != nil {
			return s.spoil(err)
		}
		entries = append(entries, e)
	}
	if err := w.flush(); err != nil {
		return s.spoil(err)
	}
	if err := s.syncData(a.file, a.name); err != nil {
		return err
	}
	a.commit(w.off, entries...)
	if a.tail >= s.o.ContainerSize {
		s.retire(a)
		s.current = nil
	}
	return nil
}

// spoil gives up the container small blocks go to, since a write to it failed.
func (s *Store) spoil(err error) error {
	a := s.current
	s.current = nil
	a.wipe()
	s.retire(a)
	return s.writeFault(a.name, err)
}

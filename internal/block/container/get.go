package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sync"

	"o3/internal/block"
	"o3/internal/errs"
)

// errAbsent says that a container has no such live block.
var errAbsent = errors.New("no such block")

func isDamage(err error) bool {
	_, ok := errors.AsType[Damage](err)
	return ok
}

// view is a container's file held open, and the index that belongs to it.
type view struct {
	*handle
	place place
	index index
	gen   uint32
}

// look opens a view of b for reading block local (0: any); release it once.
// errAbsent: b is gone, or the block was deleted. One lock covers both
// questions, since a rewriting forgets what it leaves out.
func (s *Store) look(b *box, local uint32) (view, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.gone || b.dead.has(local) {
		return view{}, errAbsent
	}
	if b.damage != nil {
		return view{}, *b.damage
	}
	// Under the lock no rewriting takes the file away.
	h, err := s.handles.acquire(b.place.name)
	if errors.Is(err, fs.ErrNotExist) {
		if s.o.readOnly { // rewritten by the server that runs beside
			return view{}, errAbsent
		}
		return view{}, Damage{File: b.place.name, Part: FileHeader, ID: block.ID{Container: b.id}, Detail: "the file is missing"}
	}
	if err != nil {
		return view{}, fmt.Errorf("container: opening %s: %w", b.place.name, err)
	}
	return view{handle: h, place: b.place, index: b.index, gen: b.gen}, nil
}

// find returns a view of b and the entry of a live block in it. A damaged
// index is replaced by a scan of the file.
func (s *Store) find(b *box, local uint32) (view, entry, error) {
	v, err := s.look(b, local)
	if err != nil {
		return view{}, entry{}, err
	}
	e, ok, err := v.index.find(v.handle, local)
	if isDamage(err) {
		s.handles.release(v.handle)
		if v, err = s.heal(b, err); err != nil {
			return view{}, entry{}, err
		}
		e, ok, err = v.index.find(v.handle, local)
	}
	if err == nil && !ok {
		err = errAbsent
	}
	if err != nil {
		s.handles.release(v.handle)
		return view{}, entry{}, err
	}
	return v, e, nil
}

// heal replaces the damaged index of b by one made from the headers of the
// records, and has the container rewritten.
func (s *Store) heal(b *box, cause error) (view, error) {
	if d, ok := errors.AsType[Damage](cause); ok {
		s.damaged(d)
	}
	v, err := s.look(b, 0)
	if err != nil {
		return view{}, err
	}
	p, ok := v.index.(*pagedIndex)
	if !ok { // another reader was faster
		return v, nil
	}
	got, err := scan(v.handle, v.place, p.seal.tail, p.seal.tail)
	if err != nil {
		s.handles.release(v.handle)
		return view{}, err
	}
	for _, d := range got.damage {
		s.damaged(d)
	}
	v.index = got.entries
	b.mu.Lock()
	if b.index == index(p) {
		b.index, b.force = got.entries, true
	}
	b.mu.Unlock()
	return v, nil
}

// Get returns a range of a block; see block.Store.
func (s *Store) Get(ctx context.Context, ref block.Ref) (io.ReadCloser, error) {
	if err := canceled(ctx); err != nil {
		return nil, err
	}
	if err := s.usable(); err != nil {
		return nil, err
	}
	b := s.box(ref.ID.Container)
	if b == nil || ref.ID.Local == 0 || ref.ID.Local > math.MaxUint32 {
		return nil, absent(ref.ID)
	}
	v, e, err := s.find(b, uint32(ref.ID.Local))
	if err == errAbsent {
		return nil, absent(ref.ID)
	}
	if err != nil {
		return nil, s.readError(ref.ID, err)
	}
	if ref.Offset < 0 || ref.Length < 0 || ref.Offset > int64(e.length) || ref.Length > int64(e.length)-ref.Offset {
		s.handles.release(v.handle)
		return nil, errs.New(errs.InvalidRange, "block "+ref.ID.String(),
			fmt.Sprintf("range %d+%d of a block of %d bytes", ref.Offset, ref.Length, e.length))
	}
	r := &reader{s: s, v: v, e: e, id: ref.ID, at: ref.Offset, end: ref.Offset + ref.Length}
	if err := r.open(); err != nil {
		r.Close()
		return nil, s.readError(ref.ID, err)
	}
	s.count.gets.Add(1)
	s.count.getBytes.Add(ref.Length)
	return r, nil
}

func absent(id block.ID) error {
	return errs.New(errs.NoSuchKey, "block "+id.String(), "there is no such block")
}

// readError is what a user of the block gets for err.
func (s *Store) readError(id block.ID, err error) error {
	d, ok := errors.AsType[Damage](err)
	if !ok {
		return &errs.Error{Kind: errs.Internal, Op: "container.Get", Subject: "block " + id.String(), Err: err}
	}
	if d.ID.Local == 0 {
		d.ID = id
	}
	return s.damaged(d).err("container.Get")
}

// reader reads a range of a block, verified run by run. One goroutine at a time.
type reader struct {
	s   *Store
	v   view
	e   entry
	id  block.ID
	at  int64 // next byte of the block to give
	end int64

	buf  *buffer
	tail *buffer
	sums []byte // checksums of the block's chunks
	run  []byte // verified and not given yet

	once sync.Once
	err  error // of the last read, for ever
}

// oneRead is the size up to which a record is read at once.
const oneRead = 128 << 10

// open verifies the ends of the record, and all of it when it is small.
func (r *reader) open() error {
	pl, e := r.v.place, r.e
	size := pl.record(int64(e.length))
	if size > oneRead || int(size) > r.s.buffers.sizes[len(r.s.buffers.sizes)-1] {
		r.tail = r.s.buffers.get(int(pl.tail(int64(e.length))))
		var err error
		_, r.sums, err = pl.readEnds(r.v.handle, e, r.tail.b[:0])
		return err
	}
	r.buf = r.s.buffers.get(int(size))
	b := r.buf.b[:size]
	if err := readFull(r.v.handle, b, e.offset); err != nil {
		return readFault(err, pl.damage(e, BlockHeader, e.offset, size, "the file ends within the record"))
	}
	if err := pl.checkHead(b[:recordHead], e); err != nil {
		return err
	}
	sums, err := pl.checkTail(b[recordHead+int64(e.length):], e)
	if err != nil {
		return err
	}
	data := b[recordHead : recordHead+int64(e.length)]
	// Only the chunks of the range: damage elsewhere is not this reader's.
	from, to := r.at/pl.chunk*pl.chunk, min((r.end+pl.chunk-1)/pl.chunk*pl.chunk, int64(e.length))
	if from < to {
		if err := pl.checkData(data[from:to], e, from, sums, nil); err != nil {
			return err
		}
	}
	r.run = data[r.at:r.end]
	r.at = r.end
	return nil
}

// fill makes run non-empty, or returns io.EOF.
func (r *reader) fill() error {
	if r.err != nil || len(r.run) > 0 {
		return r.err
	}
	if r.at >= r.end {
		r.err = io.EOF
		return r.err
	}
	if r.buf == nil {
		r.buf = r.s.buffers.get(int(min(r.end-r.at+r.v.place.chunk, math.MaxInt32)))
	}
	from := r.at / r.v.place.chunk * r.v.place.chunk
	p, err := r.v.place.readRun(r.v.handle, r.e, r.buf.b, from, r.end)
	if err == nil {
		err = r.v.place.checkData(p, r.e, from, r.sums, nil)
	}
	if err != nil {
		r.err = r.s.readError(r.id, err)
		return r.err
	}
	to := min(from+int64(len(p)), r.end)
	r.run = p[r.at-from : to-from]
	r.at = to
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.run)
	r.run = r.run[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: large writes, no copy between.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		err := r.fill()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(r.run)
		r.run = r.run[n:]
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Close gives the file and the memory back.
func (r *reader) Close() error {
	r.once.Do(func() {
		r.run = nil
		r.err = errs.New(errs.Invalid, "block "+r.id.String(), "read after close")
		r.s.buffers.put(r.buf)
		r.s.buffers.put(r.tail)
		r.s.handles.release(r.v.handle)
	})
	return nil
}

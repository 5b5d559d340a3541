package s3

import (
	"bytes"
	"context"
	"io"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/errs"
	"o3/internal/s3/checksum"
)

// cleanupTime bounds what is done after a request failed or its client left.
const cleanupTime = 10 * time.Second

// stored is a body that was received whole and is durable, or small enough to
// travel in a command.
type stored struct {
	data    []byte
	extents []*o3v1.Extent
	blocks  []block.ID
	begun   int64 // when the first block was begun, in Unix milliseconds
	result  checksum.Result
}

// checksum returns the additional checksum in the words of the namespace.
func (s *stored) checksum() *o3v1.Checksum {
	d := s.result.Checksum
	if d.Algorithm == checksum.None {
		return nil
	}
	return &o3v1.Checksum{Algorithm: d.Algorithm.String(), Value: d.Sum, Type: checksum.FullObject.String()}
}

// receive reads a body to its end. announce is called once, before the body is
// read, when it is long or of unknown length; it may be nil. If receive fails
// it leaves no block.
func (g *Gateway) receive(r *request, b *body, announce func() error) (*stored, error) {
	if b.size >= 0 && b.size <= g.opts.InlineMax || b.size == 0 {
		data := make([]byte, b.size)
		n, err := readWhole(b, data)
		if err != nil {
			return nil, err
		}
		return &stored{data: data[:n], result: b.Result()}, nil
	}
	var src io.Reader = b
	if b.size < 0 {
		var head bytes.Buffer
		if _, err := io.CopyN(&head, b, g.opts.InlineMax+1); err == io.EOF {
			return &stored{data: head.Bytes(), result: b.Result()}, nil
		} else if err != nil {
			return nil, err
		}
		src = io.MultiReader(&head, b)
	}
	if announce != nil && (b.size < 0 || b.size > g.opts.OpenAbove || b.size > g.opts.BlockSize) {
		if err := announce(); err != nil {
			return nil, err
		}
	}
	s := &stored{begun: time.Now().UnixMilli()}
	if err := g.storeBlocks(r, s, &splitter{src: src, limit: maxPutSize}, b.size); err != nil {
		g.drop(r, s.blocks)
		return nil, err
	}
	s.result = b.Result()
	return s, nil
}

// readWhole reads a body of known length and its end, which verifies it.
func readWhole(b *body, data []byte) (int, error) {
	n := 0
	for {
		var over [1]byte
		p := data[n:]
		if len(p) == 0 {
			p = over[:]
		}
		m, err := b.Read(p)
		n = min(n+m, len(data))
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

// storeBlocks writes the bytes of src as blocks into s.
func (g *Gateway) storeBlocks(r *request, s *stored, src *splitter, size int64) error {
	for !src.done() {
		hint := int64(-1)
		if size >= 0 {
			hint = min(size-src.handed, g.opts.BlockSize)
		}
		src.next(g.opts.BlockSize)
		info, err := g.blocks.Put(r.ctx, src, hint)
		if src.err != nil {
			err = src.err // what the client did, not how the store put it
		}
		if err != nil {
			return err
		}
		s.blocks = append(s.blocks, info.ID)
		s.extents = append(s.extents, &o3v1.Extent{Container: info.ID.Container, Local: info.ID.Local, Length: info.Length})
	}
	return nil
}

// splitter cuts a body into blocks. Each ends with io.EOF, the last one only
// after the body itself has ended as it should.
type splitter struct {
	src    io.Reader
	limit  int64 // of the whole body
	left   int64 // of the block
	total  int64 // bytes read from src
	handed int64 // bytes given to the store
	ahead  [1]byte
	held   bool // ahead holds the first byte of the next block
	ended  bool
	err    error
}

// done reports whether the body has ended and every byte of it was handed out.
func (s *splitter) done() bool { return s.ended && !s.held }

// next begins a block of at most n bytes.
func (s *splitter) next(n int64) { s.left = n }

// Read implements io.Reader.
func (s *splitter) Read(p []byte) (int, error) {
	switch {
	case s.err != nil:
		return 0, s.err
	case s.done():
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	case s.left == 0:
		return 0, s.peek()
	case s.held:
		s.held = false
		p[0] = s.ahead[0]
		s.left--
		s.handed++
		return 1, nil
	}
	n, err := s.src.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	s.total += int64(n)
	s.handed += int64(n)
	return n, s.note(err)
}

// peek looks whether the body goes on after a full block.
func (s *splitter) peek() error {
	for !s.held && !s.ended {
		n, err := s.src.Read(s.ahead[:])
		s.total += int64(n)
		s.held = n == 1
		if err := s.note(err); err != nil && err != io.EOF {
			return err
		}
	}
	return io.EOF
}

// note remembers how the source ended.
func (s *splitter) note(err error) error {
	switch {
	case err == io.EOF:
		s.ended = true
	case err != nil:
		s.err = err
	case s.total > s.limit:
		s.err = tooLarge(s.total, s.limit)
		err = s.err
	}
	return err
}

// committing returns a context for publishing blocks that are durable. A client
// that leaves meanwhile does not end it, but bounds it: the outcome would be
// unknown, and the blocks would lie there until the sweep.
func (r *request) committing() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	stop := context.AfterFunc(r.ctx, func() { time.AfterFunc(cleanupTime, cancel) })
	return ctx, func() { stop(); cancel() }
}

// afterwards returns a context for cleaning up: it outlives the client, not
// the gateway.
func (r *request) afterwards() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.ctx), cleanupTime)
}

// drop deletes blocks that no row will name. What it cannot delete, the sweep
// will.
func (g *Gateway) drop(r *request, blocks []block.ID) {
	if len(blocks) == 0 {
		return
	}
	ctx, cancel := r.afterwards()
	defer cancel()
	if err := g.blocks.Delete(ctx, blocks); err != nil && g.opts.Listener.BlocksLeft != nil {
		g.opts.Listener.BlocksLeft(blocks, err)
	}
}

// dropRefused deletes the blocks of a commit that was refused. If the outcome
// is not known, a row may name them: they stay.
func (g *Gateway) dropRefused(r *request, s *stored, err error) {
	if outcomeKnown(errs.KindOf(err)) {
		g.drop(r, s.blocks)
	}
}

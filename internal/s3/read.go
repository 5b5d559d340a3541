package s3

import (
	"context"
	"io"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/errs"
)

// reader reads a span of a key's bytes: from the row, from blocks, or both. The
// block store verifies every byte before it hands it out.
type reader struct {
	ctx    context.Context
	blocks block.Store
	name   string
	pieces []piece // still to be read
	open   io.ReadCloser
	left   int64 // of open
}

// piece is a range of a block, or bytes that came with the row.
type piece struct {
	ref  block.Ref
	data []byte
}

// newReader returns a reader of span s of key. It reads nothing yet. A row that
// does not add up is an error of kind Corrupt.
func (g *Gateway) newReader(ctx context.Context, key *o3v1.KeyInfo, s span) (*reader, error) {
	r := &reader{ctx: ctx, blocks: g.blocks, name: key.Name}
	if len(key.Extents) == 0 {
		if int64(len(key.Data)) != int64(key.Size) {
			return nil, errs.New(errs.Corrupt, key.Name, "the row holds "+itoa(int64(len(key.Data)))+" of "+itoa(int64(key.Size))+" bytes")
		}
		r.pieces = []piece{{data: key.Data[s.offset : s.offset+s.length]}}
		return r, nil
	}
	r.pieces = make([]piece, 0, len(key.Extents))
	at, end := int64(0), s.offset+s.length
	for _, e := range key.Extents {
		p := piece{ref: block.Ref{ID: block.ID{Container: e.Container, Local: e.Local}, Offset: e.Offset, Length: e.Length}}
		if e.Length < 0 || e.Indirect || e.Container == 0 && int64(len(e.Data)) != e.Length {
			return nil, errs.New(errs.Corrupt, key.Name, "its extents do not name its bytes")
		}
		if e.Container == 0 {
			p.data = e.Data
		}
		from, to := max(at, s.offset), min(at+e.Length, end)
		if from < to {
			p.cut(from-at, to-from)
			r.pieces = append(r.pieces, p)
		}
		at += e.Length
	}
	if at != int64(key.Size) {
		return nil, errs.New(errs.Corrupt, key.Name, "its extents hold "+itoa(at)+" of "+itoa(int64(key.Size))+" bytes")
	}
	return r, nil
}

// cut narrows a piece to length bytes from offset on.
func (p *piece) cut(offset, length int64) {
	if p.ref.ID.Container == 0 {
		p.data = p.data[offset : offset+length]
		return
	}
	p.ref.Offset += offset
	p.ref.Length = length
}

// Read implements io.Reader. It ends with io.EOF after exactly the span.
func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.open != nil {
			n, err := r.open.Read(p[:min(int64(len(p)), r.left)])
			r.left -= int64(n)
			switch {
			case r.left == 0:
				r.Close()
				return n, nil
			case err == io.EOF:
				return n, errs.New(errs.Corrupt, r.name, "a block is shorter than its row says")
			case err != nil || n > 0:
				return n, err
			}
			continue
		}
		if len(r.pieces) == 0 {
			return 0, io.EOF
		}
		if data := r.pieces[0].data; data != nil {
			n := copy(p, data)
			r.pieces[0].data = data[n:]
			if n == len(data) {
				r.pieces = r.pieces[1:]
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		ref := r.pieces[0].ref
		open, err := r.blocks.Get(r.ctx, ref)
		if err != nil {
			return 0, err
		}
		r.open, r.left, r.pieces = open, ref.Length, r.pieces[1:]
	}
}

// Close releases what is open. It may be called at any time, and twice.
func (r *reader) Close() {
	if r.open != nil {
		r.open.Close() // only read from
		r.open = nil
	}
}

// fill reads until p is full or r has ended; the end is no error.
func fill(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// send answers with a span of a key. The first buffer is read, and so verified,
// before the status is sent; what fails later cuts the answer off.
func (g *Gateway) send(r *request, key *o3v1.KeyInfo, s span, status int) (reply, error) {
	src, err := g.newReader(r.ctx, key, s)
	if err != nil {
		return reply{}, err
	}
	if len(src.pieces) == 1 && src.pieces[0].data != nil {
		data := src.pieces[0].data
		return reply{status: status, length: s.length, body: func(w *sink) error {
			_, err := w.Write(data)
			return err
		}}, nil
	}
	buf := g.buffers.Get().(*[bufferSize]byte)
	free := func() {
		src.Close()
		g.buffers.Put(buf)
	}
	n, err := fill(src, buf[:min(s.length, bufferSize)])
	if err != nil {
		free()
		return reply{}, err
	}
	return reply{status: status, length: s.length, close: free, body: func(w *sink) error {
		for left := s.length; ; {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if left -= int64(n); left == 0 {
				return nil
			}
			var err error
			if n, err = fill(src, buf[:min(left, bufferSize)]); err != nil {
				return err
			}
		}
	}}, nil
}

package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// maxParts is how many parts of files one request may ask for.
const maxParts = 256

// part is a range of a file of an image.
type part struct {
	file uint32
	off  int64
	n    int64
}

func formatParts(parts []part) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%d:%d:%d", p.file, p.off, p.n)
	}
	return b.String()
}

// parseParts reads what formatParts wrote, and checks it against files.
func parseParts(s string, files []File) ([]part, error) {
	bad := func(detail string) error { return errs.New(errs.InvalidRange, "parts "+shorten(s), detail) }
	words := strings.Split(s, ",")
	if len(words) > maxParts {
		return nil, bad(fmt.Sprintf("%d of them, at most %d are allowed", len(words), maxParts))
	}
	out := make([]part, len(words))
	for i, w := range words {
		file, rest, ok1 := strings.Cut(w, ":")
		off, n, ok2 := strings.Cut(rest, ":")
		f, err1 := strconv.ParseUint(file, 10, 32)
		o, err2 := strconv.ParseInt(off, 10, 64)
		l, err3 := strconv.ParseInt(n, 10, 64)
		if !ok1 || !ok2 || err1 != nil || err2 != nil || err3 != nil {
			return nil, bad("each is FILE:OFFSET:LENGTH")
		}
		if f >= uint64(len(files)) || o < 0 || l <= 0 || l > files[f].Size || o > files[f].Size-l {
			return nil, bad(fmt.Sprintf("%s is not inside a file of the image", shorten(w)))
		}
		out[i] = part{uint32(f), o, l}
	}
	return out, nil
}

// data answers with parts of files.
func (s *Server) data(w http.ResponseWriter, r *http.Request, who string) error {
	ctx, q := r.Context(), r.URL.Query()
	img, err := s.pins.get(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	defer s.pins.put(img)
	if want := img.sum.String(); q.Get("manifest") != want {
		return errs.New(errs.Conflict, "image "+img.spec.ID, "its manifest has checksum "+want+", not "+shorten(q.Get("manifest")))
	}
	parts, err := parseParts(q.Get("parts"), img.spec.Files)
	if err != nil {
		return err
	}
	chunk, err := strconv.Atoi(q.Get("chunk"))
	if err != nil || chunk < MinChunk {
		return errs.New(errs.Invalid, "chunk "+shorten(q.Get("chunk")), fmt.Sprintf("allowed are %d and more", MinChunk))
	}
	how, err := ParseCompression(q.Get("compress"))
	if err != nil {
		return err
	}
	if s.o.NoCompression {
		how = Compression{}
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	st := &stream{
		s: s, ctx: ctx, img: img, out: s.writer(ctx, w), chunk: min(chunk, s.o.Chunk),
		enc: encoder{how: how}, info: Stream{Who: who, Image: img.spec.ID},
	}
	st.run(parts)
	return nil
}

// enter waits for a stream.
func (s *Server) enter(ctx context.Context) error {
	if s.waiting.Add(1) > int64(s.o.Waiting) {
		s.waiting.Add(-1)
		return errs.New(errs.SlowDown, "image source", "too many requests wait for a stream")
	}
	wait, cancel := context.WithTimeout(ctx, s.o.QueueWait)
	err := s.streams.Acquire(wait, 1)
	cancel()
	s.waiting.Add(-1)
	switch {
	case err == nil:
		s.active.Add(1)
		return nil
	case s.base.Err() != nil:
		return errs.New(errs.Unavailable, "image source", "it is stopping")
	case ctx.Err() != nil:
		return errs.Wrap(errs.Canceled, "image source", err)
	}
	return errs.New(errs.SlowDown, "image source", fmt.Sprintf("all %d streams are taken", s.o.Streams))
}

func (s *Server) leave() {
	s.active.Add(-1)
	s.streams.Release(1)
}

// stream sends parts of files. It reads, packs and sends one chunk at a time:
// two buffers of a chunk are all it holds.
type stream struct {
	s     *Server
	ctx   context.Context
	img   *pin
	out   *writer
	chunk int
	enc   encoder
	info  Stream

	raw    []byte // frame head and content
	packed []byte // frame head and compressed content
	file   Content
	index  uint32 // of file
	count  int64
}

// errGone says that the receiver takes no more.
var errGone = errors.New("the receiver is gone")

func (st *stream) run(parts []part) {
	begun := time.Now()
	l := st.s.o.Listener
	if l.StreamBegin != nil {
		l.StreamBegin(st.info)
	}
	err := st.send(parts)
	if err != nil && !errors.Is(err, errGone) && st.ctx.Err() == nil {
		st.fail(err)
	}
	if st.file != nil {
		_ = st.file.Close() // it was only read
	}
	st.enc.close()
	st.out.close()
	st.info.Sent, st.info.Took = st.out.sent, time.Since(begun)
	if l.StreamEnd != nil {
		l.StreamEnd(st.info, err)
	}
}

func (st *stream) send(parts []part) error {
	longest := int64(0)
	for _, p := range parts {
		longest = max(longest, p.n)
	}
	st.raw = make([]byte, frameLen+min(int64(st.chunk), longest))
	var head [headLen]byte
	putHead(head[:], wireMagic, wireVersion)
	if err := st.out.write(head[:]); err != nil {
		return err
	}
	st.out.flush() // so that the receiver knows it was let in
	for _, p := range parts {
		if err := st.sendPart(p); err != nil {
			return err
		}
	}
	var b [frameLen]byte
	end := endFrame(st.count)
	end.put(b[:])
	return st.out.write(b[:])
}

func (st *stream) sendPart(p part) error {
	f := &st.img.spec.Files[p.file]
	if st.file == nil || st.index != p.file {
		if st.file != nil {
			_ = st.file.Close()
			st.file = nil
		}
		var err error
		if st.file, err = st.img.image.OpenFile(f.Path); err != nil {
			return errs.Wrap(kindOr(err, errs.Internal), "file "+f.Path, err)
		}
		st.index = p.file
	}
	for p.n > 0 {
		n := int(min(p.n, int64(st.chunk)))
		if err := st.s.disk.wait(st.ctx, n); err != nil {
			return err
		}
		raw := st.raw[frameLen : frameLen+n]
		got, err := st.file.ReadAt(raw, p.off)
		if atEnd := err == nil || errors.Is(err, io.EOF); got < n || !atEnd {
			if atEnd {
				return errs.New(errs.Corrupt, "file "+f.Path, fmt.Sprintf("it ends at offset %d, expected %d bytes", p.off+int64(got), f.Size))
			}
			return &errs.Error{Kind: kindOr(err, errs.Internal), Subject: "file " + f.Path, Detail: fmt.Sprintf("offset %d cannot be read", p.off+int64(got)), Err: err}
		}
		if err := st.sendChunk(p.file, p.off, n); err != nil {
			return err
		}
		p.off, p.n = p.off+int64(n), p.n-int64(n)
		st.info.Bytes += int64(n)
	}
	return nil
}

// sendChunk sends the n bytes that are in st.raw.
func (st *stream) sendChunk(file uint32, off int64, n int) error {
	raw := st.raw[frameLen : frameLen+n]
	sum := xxh3.Hash(raw)
	h := frame{kind: frameData, file: file, off: off, raw: uint32(n), stored: uint32(n), rawSum: sum, storedSum: sum}
	out := st.raw[:frameLen+n]
	if st.enc.how.codec != codecNone {
		if st.packed == nil {
			st.packed = make([]byte, frameLen, frameLen+n)
		}
		packed, c, err := st.enc.encode(file, st.packed[:frameLen], raw)
		if err != nil {
			return errs.Wrap(errs.Internal, "compression", err)
		}
		st.packed = packed
		if c != codecNone {
			content := packed[frameLen:]
			h.codec, h.stored, h.storedSum = c, uint32(len(content)), xxh3.Hash(content)
			out = packed
		}
	}
	h.put(out)
	st.count++
	return st.out.write(out)
}

// fail tells the receiver what went wrong in the middle.
func (st *stream) fail(err error) {
	body, _ := json.Marshal(problemOf(err)) // numbers and strings only
	sum := xxh3.Hash(body)
	h := frame{kind: frameError, raw: uint32(len(body)), stored: uint32(len(body)), rawSum: sum, storedSum: sum}
	_ = st.out.write(append(h.append(nil), body...)) // the receiver may be gone
}

func kindOr(err error, k errs.Kind) errs.Kind {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Kind
	}
	return k
}

// writer sends bytes under the server's rate and cuts a receiver that takes
// none.
type writer struct {
	s    *Server
	ctx  context.Context
	w    http.ResponseWriter
	rc   *http.ResponseController
	sent int64
	stop func() bool
}

func (s *Server) writer(ctx context.Context, w http.ResponseWriter) *writer {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := &writer{s: s, ctx: ctx, w: w, rc: http.NewResponseController(w)}
	out.stop = context.AfterFunc(ctx, func() { _ = out.rc.SetWriteDeadline(time.Unix(1, 0)) })
	return out
}

// close lets the connection serve further requests.
func (w *writer) close() {
	if w.stop() {
		_ = w.rc.SetWriteDeadline(time.Time{})
	}
}

func (w *writer) flush() { _ = w.rc.Flush() }

func (w *writer) write(b []byte) error {
	for len(b) > 0 {
		n := len(b)
		if w.s.rate != nil {
			n = min(n, w.s.rate.piece)
		}
		if err := w.s.rate.wait(w.ctx, n); err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		_ = w.rc.SetWriteDeadline(time.Now().Add(w.s.o.Stall))
		if w.ctx.Err() != nil { // the deadline that cuts may have been before this one
			return fmt.Errorf("%w: %w", errGone, w.ctx.Err())
		}
		k, err := w.w.Write(b[:n])
		w.sent += int64(k)
		if err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		b = b[n:]
	}
	return nil
}

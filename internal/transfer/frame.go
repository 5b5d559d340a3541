package transfer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// Every answer is a stream: a head, frames, and a frame that ends it. See
// docs/formats/transfer.md.
const (
	wireMagic   = "o3tf"
	wireVersion = 1
	headLen     = 8
	frameLen    = 48

	frameData  = 1
	frameEnd   = 2
	frameError = 3

	maxProblem = 64 << 10 // bytes of an error
)

// frame is the head of a frame.
type frame struct {
	kind      uint8
	codec     codec
	file      uint32
	off       int64 // of an end frame: how many data frames went before it
	raw       uint32
	stored    uint32
	rawSum    uint64
	storedSum uint64
}

// putHead writes the head of a stream or of a journal.
func putHead(b []byte, magic string, version uint16) {
	copy(b, magic)
	binary.BigEndian.PutUint16(b[4:], version)
	binary.BigEndian.PutUint16(b[6:], uint16(xxh3.Hash(b[:6])))
}

func (h *frame) put(b []byte) {
	b[0], b[1], b[2], b[3] = h.kind, byte(h.codec), 0, 0
	binary.BigEndian.PutUint32(b[4:], h.file)
	binary.BigEndian.PutUint64(b[8:], uint64(h.off))
	binary.BigEndian.PutUint32(b[16:], h.raw)
	binary.BigEndian.PutUint32(b[20:], h.stored)
	binary.BigEndian.PutUint64(b[24:], h.rawSum)
	binary.BigEndian.PutUint64(b[32:], h.storedSum)
	binary.BigEndian.PutUint64(b[40:], xxh3.Hash(b[:40]))
}

// get reads a head. Nothing in it is used before its checksum fits.
func (h *frame) get(b []byte) error {
	if want, got := binary.BigEndian.Uint64(b[40:]), xxh3.Hash(b[:40]); want != got {
		return fmt.Errorf("the head of the frame has checksum %016x, expected %016x", got, want)
	}
	h.kind, h.codec = b[0], codec(b[1])
	h.file = binary.BigEndian.Uint32(b[4:])
	h.off = int64(binary.BigEndian.Uint64(b[8:]))
	h.raw = binary.BigEndian.Uint32(b[16:])
	h.stored = binary.BigEndian.Uint32(b[20:])
	h.rawSum = binary.BigEndian.Uint64(b[24:])
	h.storedSum = binary.BigEndian.Uint64(b[32:])
	return nil
}

// appendFrames appends content as a stream: for answers that fit in memory.
func appendFrames(content []byte, chunk int) []byte {
	out := make([]byte, headLen, headLen+len(content)+(len(content)/chunk+2)*frameLen)
	putHead(out, wireMagic, wireVersion)
	frames := int64(0)
	for off := 0; off < len(content); off += chunk {
		data := content[off:min(off+chunk, len(content))]
		sum := xxh3.Hash(data)
		h := frame{kind: frameData, off: int64(off), raw: uint32(len(data)), stored: uint32(len(data)), rawSum: sum, storedSum: sum}
		out = append(h.append(out), data...)
		frames++
	}
	end := endFrame(frames)
	return end.append(out)
}

// endFrame ends a stream of so many data frames.
func endFrame(frames int64) frame {
	sum := xxh3.Hash(nil)
	return frame{kind: frameEnd, off: frames, rawSum: sum, storedSum: sum}
}

func (h *frame) append(b []byte) []byte {
	b = append(b, make([]byte, frameLen)...)
	h.put(b[len(b)-frameLen:])
	return b
}

// problem is an error on the wire.
type problem struct {
	Kind    errs.Kind `json:"kind"`
	Subject string    `json:"subject,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

// problemOf is what a receiver may know of err.
func problemOf(err error) problem {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return problem{e.Kind, shorten(e.Subject), shorten(e.Detail)}
	}
	return problem{Kind: errs.Internal}
}

func (p problem) error() error {
	if p.Kind == errs.OK || p.Kind.String() == "unknown kind" {
		p.Kind = errs.Internal
	}
	return errs.New(p.Kind, p.Subject, p.Detail)
}

// errCut says that the connection ended where the stream does not.
var errCut = errors.New("the stream was cut")

// frames reads a stream. It holds two buffers of the chunk size.
type frames struct {
	r     io.Reader
	chunk int // bytes a frame may hold
	begun bool
	count int64
	buf   []byte
	plain []byte
	dec   decoder
}

func (f *frames) close() { f.dec.close() }

// next returns the next frame and its content, which is good until the
// following call. The content of an error frame becomes the error. Errors of
// kind Corrupt are damage; errCut is a connection that ended.
func (f *frames) next() (h frame, data []byte, err error) {
	if err := f.head(); err != nil {
		return h, nil, err
	}
	var b [frameLen]byte
	if err := f.full(b[:]); err != nil {
		return h, nil, err
	}
	if err := h.get(b[:]); err != nil {
		return h, nil, damaged("%v", err)
	}
	limit := f.chunk
	if h.kind == frameError {
		limit = maxProblem
	}
	if int64(h.stored) > int64(limit) || int64(h.raw) > int64(limit) {
		return h, nil, damaged("a frame of %d bytes, stored as %d, where at most %d were asked for", h.raw, h.stored, limit)
	}
	if cap(f.buf) < int(h.stored) {
		f.buf = make([]byte, max(int(h.stored), f.chunk))
	}
	stored := f.buf[:h.stored]
	if err := f.full(stored); err != nil {
		return h, nil, err
	}
	data, err = f.content(&h, stored)
	if err != nil {
		return h, nil, err
	}
	switch h.kind {
	case frameData:
		f.count++
		return h, data, nil
	case frameEnd:
		if h.off != f.count || len(data) != 0 {
			return h, nil, damaged("the stream ends after %d frames, expected %d", f.count, h.off)
		}
		return h, nil, nil
	case frameError:
		var p problem
		if err := json.Unmarshal(data, &p); err != nil {
			return h, nil, damaged("an error that cannot be read: %v", err)
		}
		return h, nil, p.error()
	}
	return h, nil, damaged("a frame of unknown type %d", h.kind)
}

func (f *frames) head() error {
	if f.begun {
		return nil
	}
	var b [headLen]byte
	if err := f.full(b[:]); err != nil {
		return err
	}
	if string(b[:4]) != wireMagic {
		return errs.New(errs.FormatUnknown, "transfer stream", fmt.Sprintf("it begins with %q, expected %q", b[:4], wireMagic))
	}
	if want, got := binary.BigEndian.Uint16(b[6:]), uint16(xxh3.Hash(b[:6])); want != got {
		return damaged("the head of the stream has checksum %04x, expected %04x", got, want)
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != wireVersion {
		return errs.New(errs.FormatTooNew, "transfer stream", fmt.Sprintf("version %d, this program reads %d", v, wireVersion))
	}
	f.begun = true
	return nil
}

// content checks and unpacks what a frame holds.
func (f *frames) content(h *frame, stored []byte) ([]byte, error) {
	sum := xxh3.Hash(stored)
	if sum != h.storedSum {
		return nil, damaged("the bytes of the frame have checksum %016x, expected %016x", sum, h.storedSum)
	}
	data := stored
	if h.codec != codecNone {
		if cap(f.plain) < int(h.raw) {
			f.plain = make([]byte, max(int(h.raw), f.chunk))
		}
		var err error
		if data, err = f.dec.decode(h.codec, f.plain[:h.raw], stored); err != nil {
			return nil, damaged("%v", err)
		}
		sum = xxh3.Hash(data)
	}
	if len(data) != int(h.raw) || sum != h.rawSum {
		return nil, damaged("the content has %d bytes and checksum %016x, expected %d and %016x", len(data), sum, h.raw, h.rawSum)
	}
	return data, nil
}

// all reads a stream that fits in memory.
func (f *frames) all(limit int) ([]byte, error) {
	var out []byte
	for {
		h, data, err := f.next()
		switch {
		case err != nil:
			return nil, err
		case h.kind == frameEnd:
			return out, nil
		case h.off != int64(len(out)) || h.file != 0:
			return nil, damaged("a frame for offset %d where %d was expected", h.off, len(out))
		case len(out)+len(data) > limit:
			return nil, damaged("more than %d bytes", limit)
		}
		out = append(out, data...)
	}
}

// full reads len(b) bytes; too few are a cut.
func (f *frames) full(b []byte) error {
	_, err := io.ReadFull(f.r, b)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errCut, err)
}

func damaged(format string, args ...any) error {
	return errs.New(errs.Corrupt, "transfer stream", fmt.Sprintf(format, args...))
}

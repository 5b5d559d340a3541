package transfer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"o3/internal/errs"
)

// codec is how the bytes of a frame are stored; the numbers are on the wire.
type codec uint8

const (
	codecNone codec = 0
	codecZstd codec = 1
	codecS2   codec = 2
)

// Compression is an algorithm and a level: none, s2 with levels 1 to 3, zstd
// with levels 1 to 22. The zero value is none.
type Compression struct {
	codec codec
	level int
}

// ParseCompression reads "none", "s2", "s2:LEVEL", "zstd" or "zstd:LEVEL";
// without a level it is 1 for s2 and 3 for zstd.
func ParseCompression(s string) (Compression, error) {
	name, level, has := strings.Cut(s, ":")
	c, top := Compression{}, 0
	switch name {
	case "none", "":
		if !has {
			return c, nil
		}
	case "s2":
		c, top = Compression{codecS2, 1}, 3
	case "zstd":
		c, top = Compression{codecZstd, 3}, 22
	}
	if has {
		n, err := strconv.Atoi(level)
		if err != nil || n < 1 || n > top {
			top = 0
		}
		c.level = n
	}
	if top == 0 {
		return Compression{}, errs.New(errs.Invalid, "compression "+shorten(s), "allowed are none, s2, s2:1 to s2:3, zstd, zstd:1 to zstd:22")
	}
	return c, nil
}

// String returns what ParseCompression reads.
func (c Compression) String() string {
	switch c.codec {
	case codecS2:
		return "s2:" + strconv.Itoa(c.level)
	case codecZstd:
		return "zstd:" + strconv.Itoa(c.level)
	}
	return "none"
}

// encoder compresses the chunks of one stream and learns, file by file, whether
// that pays: a chunk that does not shrink by an eighth is sent as it is, and so are
// the next ones of its file, the more the more often that was seen.
type encoder struct {
	how  Compression
	zstd *zstd.Encoder

	file   uint32
	misses int
	skip   int
}

// maxSkip is the most chunks sent as they are before another is tried.
const maxSkip = 64

// encode appends raw to dst, compressed, and returns the codec; codecNone means
// that raw is to be sent instead.
func (e *encoder) encode(file uint32, dst, raw []byte) ([]byte, codec, error) {
	if file != e.file {
		e.file, e.misses, e.skip = file, 0, 0
	}
	if e.how.codec == codecNone || len(raw) < 64 {
		return dst, codecNone, nil
	}
	if e.skip > 0 {
		e.skip--
		return dst, codecNone, nil
	}
	out, err := e.pack(dst, raw)
	if err != nil {
		return dst, codecNone, err
	}
	if n := len(out) - len(dst); n > len(raw)-len(raw)/8 {
		e.misses = min(e.misses+1, 6)
		e.skip = min(1<<e.misses, maxSkip)
		return dst, codecNone, nil
	}
	e.misses = 0
	return out, e.how.codec, nil
}

func (e *encoder) pack(dst, raw []byte) ([]byte, error) {
	if e.how.codec == codecZstd {
		if e.zstd == nil {
			z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true),
				zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(e.how.level)), zstd.WithWindowSize(windowFor(len(raw))))
			if err != nil {
				return nil, err
			}
			e.zstd = z
		}
		return e.zstd.EncodeAll(raw, dst), nil
	}
	n := s2.MaxEncodedLen(len(raw))
	if n < 0 {
		return nil, fmt.Errorf("%d bytes are too many for s2", len(raw))
	}
	if cap(dst)-len(dst) < n {
		dst = append(make([]byte, 0, len(dst)+n), dst...)
	}
	room := dst[len(dst) : len(dst)+n]
	var packed []byte
	switch e.how.level {
	case 1:
		packed = s2.Encode(room, raw)
	case 2:
		packed = s2.EncodeBetter(room, raw)
	default:
		packed = s2.EncodeBest(room, raw)
	}
	return dst[:len(dst)+len(packed)], nil
}

// windowFor returns the smallest window, a power of two, that holds n bytes: a
// chunk refers to nothing outside it.
func windowFor(n int) int {
	w := zstd.MinWindowSize
	for w < n {
		w *= 2
	}
	return w
}

func (e *encoder) close() {
	if e.zstd != nil {
		_ = e.zstd.Close() // it writes to nobody
	}
}

// decoder unpacks the chunks of one stream.
type decoder struct{ zstd *zstd.Decoder }

// decode unpacks src into dst, which it must fill: no more memory is taken
// whatever src says.
func (d *decoder) decode(c codec, dst, src []byte) ([]byte, error) {
	switch c {
	case codecZstd:
		if d.zstd == nil {
			z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*MaxChunk), zstd.WithDecodeAllCapLimit(true))
			if err != nil {
				return nil, err
			}
			d.zstd = z
		}
		return d.zstd.DecodeAll(src, dst[:0:len(dst)])
	case codecS2:
		if n, err := s2.DecodedLen(src); err != nil || n != len(dst) {
			return nil, fmt.Errorf("s2 content of %d bytes, expected %d (%v)", n, len(dst), err)
		}
		return s2.Decode(dst, src)
	}
	return nil, fmt.Errorf("unknown compression %d", c)
}

func (d *decoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

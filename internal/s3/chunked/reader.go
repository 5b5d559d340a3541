package chunked

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"o3/internal/s3/sigv4"
)

// Reader decodes an aws-chunked body.
type Reader struct {
	src    *bufio.Reader
	mode   sigv4.Payload
	chain  *sigv4.Stream // nil for unsigned chunks
	opts   Options
	sum    hash.Hash // of a signed chunk, reused
	number int64     // of chunks begun
	last   int64     // size of the chunk before
	total  int64     // decoded bytes of all chunks begun

	chunk   []byte // verified bytes not yet returned, of a signed chunk
	buf     []byte // storage of chunk
	left    int64  // bytes not yet read, of an unsigned chunk
	trailer http.Header
	err     error
}

// NewReader returns a Reader of body. mode must be a streaming mode; chain is
// the request's Identity.Stream, and may be nil for the unsigned mode. Anything
// else is a fault of the caller that could let unverified bytes pass: it panics.
func NewReader(body io.Reader, mode sigv4.Payload, chain *sigv4.Stream, opts Options) *Reader {
	if !mode.Streaming() || mode.Signed() && chain == nil {
		panic("chunked: the payload mode is not a streaming one, or has no chain of signatures")
	}
	if opts.MaxChunk == 0 {
		opts.MaxChunk = DefaultMaxChunk
	}
	if opts.MinChunk == 0 {
		opts.MinChunk = DefaultMinChunk
	}
	r := &Reader{src: bufio.NewReaderSize(body, 4<<10), mode: mode, opts: opts}
	if mode.Signed() {
		r.chain, r.sum = chain, sha256.New()
	}
	return r
}

// Trailer returns the trailing headers. It is complete once Read has returned
// io.EOF; before that, and where the body has none, it is nil.
func (r *Reader) Trailer() http.Header {
	if r.err != io.EOF {
		return nil
	}
	return r.trailer
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 && r.err == nil {
		return 0, nil
	}
	for r.err == nil && len(r.chunk) == 0 && r.left == 0 {
		r.err = r.next()
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.chain != nil {
		n := copy(p, r.chunk)
		r.chunk = r.chunk[n:]
		return n, nil
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case err != nil:
		r.err = cut(err)
	case r.left == 0:
		r.err = r.lineEnd()
	}
	if n > 0 {
		return n, nil // r.err is for the next call
	}
	return 0, r.err
}

// cut names a source that ends too early.
func cut(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return incomplete("The request body terminated unexpectedly.")
	}
	return err
}

// next begins a chunk: it reads the header and, where chunks are signed, the
// data. At the end of the body it returns io.EOF.
func (r *Reader) next() error {
	line, err := r.line()
	if err != nil {
		return cut(err)
	}
	size, signature, err := r.parseHeader(line)
	if err != nil {
		return err
	}
	r.number++
	if err := r.checkSize(size); err != nil {
		return err
	}
	r.last = size
	r.total += size
	var want [64]byte
	copy(want[:], signature)
	if r.chain == nil && size > 0 {
		r.left = size
		return nil
	}
	if r.chain != nil {
		if err := r.signedChunk(size, want[:]); err != nil {
			return err
		}
		if size > 0 {
			return nil
		}
	}
	return r.finish()
}

// parseHeader reads "size" or "size;chunk-signature=…". The signature is nil
// exactly where the mode has none.
func (r *Reader) parseHeader(line []byte) (size int64, signature []byte, err error) {
	digits, extension, signed := bytes.Cut(line, []byte{';'})
	if len(digits) == 0 || len(digits) > 16 {
		return 0, nil, badFraming("a chunk must begin with its size in hex")
	}
	for _, c := range digits {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return 0, nil, badFraming("a chunk must begin with its size in hex")
		}
	}
	size, err = strconv.ParseInt(string(digits), 16, 64)
	if err != nil {
		return 0, nil, r.badSize("The chunk is too large", int64(^uint64(0)>>1))
	}
	if r.chain == nil {
		if signed {
			return 0, nil, badFraming("an unsigned chunk has no extension")
		}
		return size, nil, nil
	}
	signature, ok := bytes.CutPrefix(bytes.TrimSpace(extension), []byte(signatureExtension))
	if !signed || !ok || len(signature) != 64 {
		return 0, nil, mismatch("chunk")
	}
	return size, signature, nil
}

// checkSize refuses a chunk that is too large, that follows one too small, or
// that exceeds the announced length.
func (r *Reader) checkSize(size int64) error {
	if size > 0 && r.number > 1 && r.last < r.opts.MinChunk {
		r.number--
		return r.badSize("Only the last chunk is allowed to have a size less than "+strconv.FormatInt(r.opts.MinChunk, 10)+" bytes", r.last)
	}
	if r.chain != nil && size > r.opts.MaxChunk {
		return r.badSize("A signed chunk may have at most "+strconv.FormatInt(r.opts.MaxChunk, 10)+" bytes", size)
	}
	if size > r.opts.DecodedLength-r.total {
		return incomplete("The request body holds more bytes than x-amz-decoded-content-length announced.")
	}
	return nil
}

func (r *Reader) badSize(message string, size int64) *Error {
	return &Error{Code: codeInvalidChunkSize, Message: message,
		Elements: [][2]string{{"Chunk", strconv.FormatInt(r.number, 10)}, {"BadChunkSize", strconv.FormatInt(size, 10)}}}
}

// signedChunk reads and verifies a chunk; then its bytes are in r.chunk.
func (r *Reader) signedChunk(size int64, signature []byte) error {
	r.sum.Reset()
	r.buf = r.buf[:0]
	for int64(len(r.buf)) < size {
		// Grow as bytes arrive, not by what the header claims.
		step := min(size-int64(len(r.buf)), max(64<<10, int64(len(r.buf))))
		at := len(r.buf)
		r.buf = slices.Grow(r.buf, int(step))[:at+int(step)]
		if _, err := io.ReadFull(r.src, r.buf[at:]); err != nil {
			return cut(err)
		}
		r.sum.Write(r.buf[at:])
	}
	var sum [sha256.Size]byte
	r.sum.Sum(sum[:0])
	if !sigv4.Equal(r.chain.Chunk(sum), signature) {
		return mismatch("chunk")
	}
	if size > 0 {
		if err := r.lineEnd(); err != nil {
			return err
		}
	}
	r.chunk = r.buf
	return nil
}

// line reads a line and returns it without its end, which is "\n" or "\r\n".
// It is good until the next read. A source that ends before the line is io.EOF.
func (r *Reader) line() ([]byte, error) {
	line, err := r.src.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull || len(line) > maxLine:
		return nil, badFraming("a line is too long")
	case err == io.EOF && len(line) == 0:
		return nil, io.EOF
	case err != nil:
		return nil, cut(err)
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

// lineEnd reads the line end after the data of a chunk.
func (r *Reader) lineEnd() error {
	c, err := r.src.ReadByte()
	if err == nil && c == '\r' {
		c, err = r.src.ReadByte()
	}
	if err != nil {
		return cut(err)
	}
	if c != '\n' {
		return badFraming("the data of a chunk must end with a line end, after as many bytes as its header says")
	}
	return nil
}

// finish reads what follows the last chunk and checks that the body is whole.
func (r *Reader) finish() error {
	if r.total != r.opts.DecodedLength {
		return incomplete("You did not provide the number of bytes specified by the x-amz-decoded-content-length HTTP header.")
	}
	if r.mode.Trailer() {
		if err := r.readTrailer(); err != nil {
			return err
		}
	}
	// Line ends may follow, as many as the various clients send; nothing else.
	for i := 0; ; i++ {
		c, err := r.src.ReadByte()
		if err != nil {
			if err == io.EOF {
				return io.EOF
			}
			return cut(err)
		}
		if c != '\r' && c != '\n' || i >= maxTail {
			return badFraming("bytes follow the end of the body")
		}
	}
}

// readTrailer reads the trailing headers up to the empty line after them (in a
// signed trailer: the one after its signature, since some clients send one
// before it too), or up to the end of the source.
func (r *Reader) readTrailer() error {
	trailer := make(http.Header)
	var text []byte // canonical, to be signed
	signature := ""
	for n := 0; ; n++ {
		line, err := r.line()
		if err == io.EOF {
			break // without the empty line; what was announced is checked below
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			if r.chain == nil || signature != "" {
				break
			}
			if n >= maxTrailer {
				return malformedTrailer("no signature")
			}
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !ok || n >= maxTrailer || signature != "":
			return malformedTrailer("not a header line")
		case r.chain != nil && name == trailerSignature:
			signature = value
		case !slices.Contains(r.opts.Trailers, name):
			return malformedTrailer(name + " was not announced in x-amz-trailer")
		case trailer.Get(name) != "" || value == "":
			return malformedTrailer(name + " must be given once, with a value")
		default:
			trailer.Set(name, value)
			text = append(append(append(append(text, name...), ':'), value...), '\n')
		}
	}
	if len(trailer) != len(r.opts.Trailers) {
		return malformedTrailer("not everything announced in x-amz-trailer is there")
	}
	if r.chain != nil {
		if !sigv4.Equal(r.chain.Trailer(sha256.Sum256(text)), []byte(signature)) {
			return mismatch("trailer")
		}
	}
	r.trailer = trailer
	return nil
}

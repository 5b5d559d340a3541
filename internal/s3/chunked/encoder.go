package chunked

import (
	"crypto/sha256"
	"io"
	"strconv"

	"o3/internal/s3/sigv4"
)

// EncoderOptions describes a body to write.
type EncoderOptions struct {
	Length    int64 // of the source, in bytes: what x-amz-decoded-content-length says
	ChunkSize int   // bytes; 0 means 64 KiB; at least 8 KiB
	// Trailer returns names (in lower case) and values of the trailing headers.
	// It is called once, after the source has ended. Nil means none.
	Trailer func() [][2]string
	// TrailerLength is the length of all names and values that Trailer will
	// return, and TrailerCount their number: EncodedLength needs them.
	TrailerLength, TrailerCount int
}

// Encoder is an aws-chunked body made of a source: what the Reader decodes.
type Encoder struct {
	src   io.Reader
	mode  sigv4.Payload
	chain *sigv4.Stream
	opts  EncoderOptions
	data  []byte // of one chunk
	out   []byte // encoded, from at on not yet returned
	at    int
	total int64
	done  bool
	err   error
}

// NewEncoder returns the body. mode must be a streaming mode; chain is what
// Signer.Sign returned, and may be nil for the unsigned mode.
func NewEncoder(src io.Reader, mode sigv4.Payload, chain *sigv4.Stream, opts EncoderOptions) *Encoder {
	if opts.ChunkSize == 0 {
		opts.ChunkSize = 64 << 10
	}
	opts.ChunkSize = max(opts.ChunkSize, DefaultMinChunk)
	return &Encoder{src: src, mode: mode, chain: chain, opts: opts, data: make([]byte, min(int64(opts.ChunkSize), max(opts.Length, 1)))}
}

// EncodedLength returns the length of the body in bytes: its Content-Length.
func (e *Encoder) EncodedLength() int64 {
	frame := func(size int64) int64 {
		n := int64(len(strconv.FormatInt(size, 16))) + 2
		if e.mode.Signed() {
			n += int64(len(";"+signatureExtension)) + 64
		}
		return n
	}
	chunk := int64(e.opts.ChunkSize)
	total := e.opts.Length / chunk * (frame(chunk) + chunk + 2)
	if rest := e.opts.Length % chunk; rest > 0 {
		total += frame(rest) + rest + 2
	}
	total += frame(0)
	if e.mode.Trailer() {
		total += int64(e.opts.TrailerLength) + 3*int64(e.opts.TrailerCount)
		if e.mode.Signed() {
			total += int64(len(trailerSignature)) + 1 + 64 + 2
		}
	}
	return total + 2
}

// Read implements io.Reader. A source that is not Length bytes long is
// io.ErrUnexpectedEOF.
func (e *Encoder) Read(p []byte) (int, error) {
	for e.at == len(e.out) {
		if e.err == nil && e.done {
			e.err = io.EOF
		}
		if e.err != nil {
			return 0, e.err
		}
		e.out, e.at = e.out[:0], 0
		e.err = e.next()
	}
	n := copy(p, e.out[e.at:])
	e.at += n
	return n, nil
}

// next encodes a chunk; after the last of the data, the end of the body.
func (e *Encoder) next() error {
	want := min(int64(len(e.data)), e.opts.Length-e.total)
	n, err := io.ReadFull(e.src, e.data[:want])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return io.ErrUnexpectedEOF // the source is shorter than announced
	}
	if err != nil {
		return err
	}
	e.total += int64(n)
	e.header(e.data[:n])
	if n > 0 {
		e.out = append(append(e.out, e.data[:n]...), "\r\n"...)
		return nil
	}
	var extra [1]byte
	if _, err := io.ReadFull(e.src, extra[:]); err == nil {
		return io.ErrUnexpectedEOF // it is longer
	} else if err != io.EOF {
		return err
	}
	e.done = true
	if e.mode.Trailer() {
		e.trailer()
	}
	e.out = append(e.out, "\r\n"...)
	return nil
}

func (e *Encoder) header(data []byte) {
	e.out = strconv.AppendInt(e.out, int64(len(data)), 16)
	if e.mode.Signed() {
		signature := e.chain.Chunk(sha256.Sum256(data))
		e.out = append(append(e.out, ";"+signatureExtension...), signature[:]...)
	}
	e.out = append(e.out, "\r\n"...)
}

func (e *Encoder) trailer() {
	var text []byte
	if e.opts.Trailer != nil {
		for _, h := range e.opts.Trailer() {
			e.out = append(append(append(append(e.out, h[0]...), ':'), h[1]...), "\r\n"...)
			text = append(append(append(append(text, h[0]...), ':'), h[1]...), '\n')
		}
	}
	if e.mode.Signed() {
		signature := e.chain.Trailer(sha256.Sum256(text))
		e.out = append(append(e.out, trailerSignature+":"...), signature[:]...)
		e.out = append(e.out, "\r\n"...)
	}
}

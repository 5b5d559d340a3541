package checksum

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"strings"
)

// Result is what a Reader found.
type Result struct {
	Size     int64
	MD5      [md5.Size]byte
	Checksum Digest // of Expected.Checksum.Algorithm; None without one
}

// ETag returns the ETag of an object of one part: the MD5 in hex, no quotes.
func (r *Result) ETag() string { return hex.EncodeToString(r.MD5[:]) }

// Reader passes a body through while hashing it. Where the body ends and is not
// what was expected, Read returns an *Error instead of io.EOF: bytes already
// returned must then be dropped by the caller.
type Reader struct {
	src      io.Reader
	expected Expected
	trailer  func() http.Header
	result   Result
	md5      hash.Hash
	sha256   hash.Hash // of a literal x-amz-content-sha256, or nil
	checksum hash.Hash // or nil; the same as sha256 where that is asked for
	err      error
}

// NewReader returns a Reader of src. trailer is called when src has ended, and
// only where the checksum is expected in the trailer; it may be nil otherwise.
func NewReader(src io.Reader, expected Expected, trailer func() http.Header) *Reader {
	r := &Reader{src: src, expected: expected, trailer: trailer, md5: md5.New()}
	if expected.SHA256 != nil {
		r.sha256 = sha256.New()
	}
	switch a := expected.Checksum.Algorithm; {
	case a == SHA256 && r.sha256 != nil:
		r.checksum = r.sha256
	case a != None:
		r.checksum = a.New()
	}
	return r
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.src.Read(p)
	r.hash(p[:n])
	if err != nil {
		r.finish(err)
	}
	return n, r.err
}

func (r *Reader) hash(p []byte) {
	// One pass over what is still in the cache for all hashes.
	const step = 32 << 10
	r.result.Size += int64(len(p))
	for len(p) > 0 {
		part := p[:min(step, len(p))]
		p = p[len(part):]
		r.md5.Write(part)
		if r.sha256 != nil {
			r.sha256.Write(part)
		}
		if r.checksum != nil && r.checksum != r.sha256 {
			r.checksum.Write(part)
		}
	}
}

// finish turns the end of the source into the end of the reader.
func (r *Reader) finish(err error) {
	e := &r.expected
	incomplete := err == io.EOF && e.Length >= 0 && r.result.Size < e.Length
	switch {
	case incomplete || errors.Is(err, io.ErrUnexpectedEOF):
		r.err = &Error{Code: codeIncompleteBody, Message: "You did not provide the number of bytes specified by the Content-Length HTTP header."}
		return
	case err != io.EOF:
		r.err = err
		return
	case e.Length >= 0 && r.result.Size > e.Length:
		r.err = &Error{Code: codeIncompleteBody, Message: "You provided more bytes than specified by the Content-Length HTTP header."}
		return
	}
	r.md5.Sum(r.result.MD5[:0])
	if r.checksum != nil {
		r.result.Checksum = Digest{e.Checksum.Algorithm, r.checksum.Sum(nil)}
	}
	if r.err = r.verify(); r.err == nil {
		r.err = io.EOF
	}
}

// verify compares what was computed with what was expected.
func (r *Reader) verify() error {
	e := &r.expected
	if e.SHA256 != nil {
		if sum := r.sha256.Sum(nil); !bytes.Equal(sum, e.SHA256) {
			return &Error{Code: codeSHA256Mismatch, Message: "The provided 'x-amz-content-sha256' header does not match what was computed.",
				Elements: [][2]string{{"ClientComputedContentSHA256", hex.EncodeToString(e.SHA256)}, {"S3ComputedContentSHA256", hex.EncodeToString(sum)}}}
		}
	}
	if e.MD5 != nil && !bytes.Equal(r.result.MD5[:], e.MD5) {
		return &Error{Code: codeBadDigest, Message: "The Content-MD5 you specified did not match what we received.",
			Elements: [][2]string{{"ExpectedDigest", hex.EncodeToString(e.MD5)}, {"CalculatedDigest", hex.EncodeToString(r.result.MD5[:])}}}
	}
	want := e.Checksum
	if e.InTrailer {
		var err error
		if want, err = r.fromTrailer(); err != nil {
			return err
		}
	}
	if want.Sum != nil && !bytes.Equal(want.Sum, r.result.Checksum.Sum) {
		return &Error{Code: codeBadDigest, Message: "The " + want.Algorithm.String() + " you specified did not match the calculated checksum."}
	}
	return nil
}

func (r *Reader) fromTrailer() (Digest, error) {
	a := r.expected.Checksum.Algorithm
	var values []string
	if r.trailer != nil {
		values = r.trailer()[http.CanonicalHeaderKey(a.Header())]
	}
	if len(values) != 1 {
		return Digest{}, invalidRequest("The trailer holds no value for " + a.Header() + ".")
	}
	return ParseDigest(a, strings.TrimSpace(values[0]))
}

// Done reports whether the whole body was read and is what was expected.
func (r *Reader) Done() bool { return r.err == io.EOF }

// Result returns what was found. It is complete only when Done.
func (r *Reader) Result() Result { return r.result }

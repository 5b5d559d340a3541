package s3

import (
	"io"
	"net/http"

	"o3/internal/s3/checksum"
	"o3/internal/s3/chunked"
	"o3/internal/s3/sigv4"
)

// body is the decoded body of a request: free of aws-chunked framing, hashed,
// and ending with io.EOF only if it is what the client promised.
type body struct {
	*checksum.Reader
	size int64 // -1 when unknown
}

// openBody prepares the body of a request of at most max bytes. Nothing is read
// yet, so that a client that waits for "100 Continue" has not sent it. compute
// is a checksum wanted beside those that the client gives.
func (g *Gateway) openBody(r *request, max int64, compute checksum.Algorithm) (*body, error) {
	mode, sha, err := r.payload()
	if err != nil {
		return nil, err
	}
	expected, err := checksum.FromHeader(r.Request.Header, sha)
	if err != nil {
		return nil, err
	}
	if expected.Checksum.Algorithm == checksum.None {
		expected.Checksum.Algorithm = compute
	}
	return r.frame(mode, expected, max)
}

// frame removes the framing of a body and checks it against what is expected.
func (r *request) frame(mode sigv4.Payload, expected checksum.Expected, max int64) (*body, error) {
	h := r.Request.Header
	b := &body{size: r.ContentLength}
	var src io.Reader = r.in
	var trailer func() http.Header
	if mode.Streaming() {
		opts, err := chunked.OptionsFromHeader(h, mode)
		if err != nil {
			return nil, err
		}
		b.size = opts.DecodedLength
		var chain *sigv4.Stream
		if mode.Signed() {
			chain = r.identity.Stream()
		}
		decoded := chunked.NewReader(src, mode, chain, opts)
		src, trailer = decoded, decoded.Trailer
	} else if _, given := h["X-Amz-Decoded-Content-Length"]; given {
		return nil, refusal("InvalidRequest", "x-amz-decoded-content-length goes with a streaming x-amz-content-sha256 only.")
	} else if expected.InTrailer {
		return nil, refusal("InvalidRequest", "x-amz-trailer goes with a streaming x-amz-content-sha256 only.")
	}
	if b.size > max {
		return nil, tooLarge(b.size, max)
	}
	expected.Length = b.size
	b.Reader = checksum.NewReader(src, expected, trailer)
	return b, nil
}

// payload returns how the body is bound to the signature, and its SHA-256 where
// the client gave one. A request without a signature may still announce a mode.
func (r *request) payload() (sigv4.Payload, string, error) {
	if r.identity != nil {
		return r.identity.Payload, r.identity.PayloadSHA256, nil
	}
	value, err := once(r.Request.Header, "X-Amz-Content-Sha256")
	if value == "" || err != nil {
		return sigv4.PayloadUnsigned, "", err
	}
	mode, err := sigv4.ParsePayload(value)
	switch {
	case err != nil:
		return 0, "", err
	case mode.Signed():
		return 0, "", refusal("InvalidRequest", "A body of signed chunks needs a signed request.")
	case mode == sigv4.PayloadHash:
		return mode, value, nil
	}
	return mode, "", nil
}

// checkLength refuses an object or a part of which neither the length nor the
// end is marked: HTTP takes it for empty, whatever the client meant to store.
func (r *request) checkLength() error {
	if _, given := r.Request.Header["Content-Length"]; r.ContentLength == 0 && !given && r.ProtoMajor == 1 {
		return refusal("MissingContentLength", codes["MissingContentLength"].text)
	}
	return nil
}

func tooLarge(size, max int64) error {
	return refusal("EntityTooLarge", codes["EntityTooLarge"].text).
		with("ProposedSize", itoa(size)).with("MaxSizeAllowed", itoa(max))
}

// documentBody prepares a body that holds an XML document. The decoder reads it
// to its end, within a bound of its own.
func (g *Gateway) documentBody(r *request) (*body, error) {
	return g.openBody(r, maxPutSize, checksum.None)
}

// plainBody is documentBody where the checksum headers are about something
// else than the body.
func (g *Gateway) plainBody(r *request) (*body, error) {
	mode, sha, err := r.payload()
	if err != nil {
		return nil, err
	}
	only := http.Header{}
	if md5, given := r.Request.Header["Content-Md5"]; given {
		only["Content-Md5"] = md5
	}
	expected, err := checksum.FromHeader(only, sha)
	if err != nil {
		return nil, err
	}
	return r.frame(mode, expected, maxPutSize)
}

// Package sigv4 computes and verifies AWS Signature Version 4 as S3 uses it:
// signed headers, presigned queries, and the chain of chunk signatures of a
// streamed body.
//
// Everything here is a function of its arguments: the time is passed in, the
// secret comes from a callback, nothing is read from or written to a network.
// A Verifier, a Signer and a KeyCache are safe for concurrent use and start no
// goroutine; a Stream belongs to one goroutine.
//
// Verify guarantees that the method, the resource, the whole query, the host,
// every x-amz-* header and every header the client listed are those which the
// holder of the secret signed, and that the signature is fresh. It does not
// read the body: Identity.Payload says how the body is bound to the signature,
// and packages checksum and chunked enforce it.
package sigv4

import (
	"net/http"
	"strings"
	"time"
)

// Names and limits of the protocol.
const (
	// Algorithm is the only signing algorithm accepted.
	Algorithm = "AWS4-HMAC-SHA256"
	// TimeFormat is the layout of x-amz-date, always UTC.
	TimeFormat = "20060102T150405Z"
	// DateFormat is the layout of the date of a scope.
	DateFormat = "20060102"
	// EmptySHA256 is the payload hash of an empty body, in hex.
	EmptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	// DefaultSkew is how far a request's clock may be from ours.
	DefaultSkew = 15 * time.Minute
	// MaxExpires is the longest life of a presigned URL.
	MaxExpires = 7 * 24 * time.Hour

	terminal    = "aws4_request"
	serviceS3   = "s3"
	schemeECDSA = "AWS4-ECDSA-P256-SHA256"
)

// Payload says how a body is bound to the signature: the meaning of
// x-amz-content-sha256.
type Payload uint8

// The payload modes.
const (
	// PayloadHash: the header is the SHA-256 of the body, in hex.
	PayloadHash Payload = iota
	// PayloadUnsigned: UNSIGNED-PAYLOAD, the body is not covered.
	PayloadUnsigned
	// PayloadStream: STREAMING-AWS4-HMAC-SHA256-PAYLOAD, signed chunks.
	PayloadStream
	// PayloadStreamTrailer: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, signed
	// chunks and a signed trailer.
	PayloadStreamTrailer
	// PayloadStreamUnsignedTrailer: STREAMING-UNSIGNED-PAYLOAD-TRAILER,
	// unsigned chunks and an unsigned trailer.
	PayloadStreamUnsignedTrailer
)

// payloadWords are the values of x-amz-content-sha256 by Payload.
var payloadWords = [...]string{
	PayloadUnsigned:              "UNSIGNED-PAYLOAD",
	PayloadStream:                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
	PayloadStreamTrailer:         "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
	PayloadStreamUnsignedTrailer: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}

// String returns the header value of p; it is empty for PayloadHash.
func (p Payload) String() string {
	if int(p) < len(payloadWords) {
		return payloadWords[p]
	}
	return ""
}

// Streaming reports whether the body is aws-chunked (see package chunked).
func (p Payload) Streaming() bool { return p >= PayloadStream }

// Signed reports whether the chunks of a streaming body carry signatures.
func (p Payload) Signed() bool { return p == PayloadStream || p == PayloadStreamTrailer }

// Trailer reports whether a streaming body ends with trailing headers.
func (p Payload) Trailer() bool {
	return p == PayloadStreamTrailer || p == PayloadStreamUnsignedTrailer
}

// ParsePayload reads a value of x-amz-content-sha256. The errors carry
// NotImplemented for the ECDSA modes and InvalidArgument for anything unknown.
func ParsePayload(value string) (Payload, error) {
	for p := PayloadUnsigned; int(p) < len(payloadWords); p++ {
		if value == payloadWords[p] {
			return p, nil
		}
	}
	if isHex256(value) {
		return PayloadHash, nil
	}
	if strings.HasPrefix(value, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") {
		return 0, newError(codeNotImplemented, "Signature Version 4A (ECDSA) is not implemented; sign with AWS4-HMAC-SHA256.")
	}
	return 0, newError(codeInvalidArgument, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.").
		with("ArgumentName", headerContentSHA256).with("ArgumentValue", value)
}

// isHex256 reports whether s is 64 hex digits, in either case.
func isHex256(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if unhex(s[i]) > 15 {
			return false
		}
	}
	return true
}

// Scope is what a signing key is good for.
type Scope struct {
	Date    string // YYYYMMDD, UTC
	Region  string
	Service string
}

// String returns the credential scope: date/region/service/aws4_request.
func (s Scope) String() string {
	return s.Date + "/" + s.Region + "/" + s.Service + "/" + terminal
}

// Request is what a signature covers, as it came over the wire.
type Request struct {
	Method   string
	Host     string // the Host header, or :authority
	Path     string // escaped, as sent, without the query; "" means "/"
	RawQuery string // as sent, without "?"
	Header   http.Header
	// ContentLength stands in for a signed content-length header that Header
	// does not hold; negative or zero means there is none.
	ContentLength int64
}

// FromHTTP returns the Request of r, a request that a server received (or that
// a client is about to send). It shares r's header.
func FromHTTP(r *http.Request) Request {
	out := Request{Method: r.Method, Host: r.Host, Header: r.Header, ContentLength: r.ContentLength}
	if strings.HasPrefix(r.RequestURI, "/") {
		out.Path, out.RawQuery, _ = strings.Cut(r.RequestURI, "?")
		return out
	}
	out.Path, out.RawQuery = r.URL.EscapedPath(), r.URL.RawQuery
	if out.Host == "" {
		out.Host = r.URL.Host
	}
	return out
}

// Identity is a verified request: who signed it, what the signature covers and
// how the body is bound to it.
type Identity struct {
	AccessKeyID   string
	Scope         Scope
	SignedAt      time.Time // of x-amz-date, UTC
	Presigned     bool
	Expires       time.Time // end of a presigned URL's life; zero otherwise
	SignedHeaders []string  // lower case, sorted
	Payload       Payload
	PayloadSHA256 string // 64 hex digits as sent, for PayloadHash; else empty

	key  *Key
	seed [64]byte
}

// Stream returns the chain of chunk signatures that starts at this request's
// signature. Each call returns a new chain.
func (id *Identity) Stream() *Stream {
	return newStream(id.key, id.SignedAt.Format(TimeFormat), id.Scope, id.seed)
}

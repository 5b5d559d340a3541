// Package chunked reads and writes the aws-chunked bodies of S3: chunks signed
// one by one (STREAMING-AWS4-HMAC-SHA256-PAYLOAD), the same with a signed
// trailer, and unsigned chunks with an unsigned trailer.
//
// A Reader of a signed body returns no byte before the signature of its chunk
// was verified, and io.EOF only after the last chunk, the trailer, the decoded
// length and the end of the source were. It holds at most one chunk, bounded by
// Options.MaxChunk, and grows to that only as bytes arrive. Nothing here has
// goroutines or shared state; a Reader or an Encoder belongs to one goroutine.
package chunked

import (
	"net/http"
	"strconv"
	"strings"

	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// Bounds, where Options names none.
const (
	DefaultMaxChunk = 16 << 20 // of a signed chunk
	DefaultMinChunk = 8 << 10  // of every chunk but the last: S3's rule

	maxLine    = 1 << 10 // of a chunk header or a trailer line, with its end
	maxTrailer = 16      // lines
	maxTail    = 8       // bytes of line ends after the body is complete

	signatureExtension = "chunk-signature="
	trailerSignature   = "x-amz-trailer-signature"
)

// Options describes a body.
type Options struct {
	// DecodedLength is x-amz-decoded-content-length, zero or more.
	DecodedLength int64
	// Trailers are the names announced in x-amz-trailer, in lower case. The
	// trailer must hold exactly these.
	Trailers []string
	// MaxChunk bounds a signed chunk, in bytes; 0 means DefaultMaxChunk.
	// Unsigned chunks are passed through and have no bound.
	MaxChunk int64
	// MinChunk is the least size of a chunk that is not the last; 0 means
	// DefaultMinChunk, negative means none.
	MinChunk int64
}

// OptionsFromHeader reads x-amz-decoded-content-length and x-amz-trailer of a
// request with the given payload mode, which must be a streaming one. The
// errors carry MissingContentLength, InvalidArgument or InvalidRequest.
func OptionsFromHeader(h http.Header, mode sigv4.Payload) (Options, error) {
	var o Options
	v := h["X-Amz-Decoded-Content-Length"]
	if len(v) == 0 {
		return o, &Error{Code: codeMissingLength, Message: "You must provide the Content-Length HTTP header."}
	}
	n, err := strconv.ParseUint(v[0], 10, 63)
	if err != nil || len(v) != 1 {
		return o, &Error{Code: codeInvalidArgument, Message: "x-amz-decoded-content-length must be a number of bytes.",
			Elements: [][2]string{{"ArgumentName", "x-amz-decoded-content-length"}, {"ArgumentValue", v[0]}}}
	}
	o.DecodedLength = int64(n)
	for _, line := range h["X-Amz-Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				o.Trailers = append(o.Trailers, name)
			}
		}
	}
	if len(o.Trailers) > maxTrailer || len(o.Trailers) > 0 && !mode.Trailer() {
		return o, &Error{Code: codeInvalidRequest, Message: "The value specified in the x-amz-trailer header is not supported"}
	}
	return o, nil
}

// ContentEncoding returns a Content-Encoding header without aws-chunked, which
// is a coding of the request and not of the object.
func ContentEncoding(value string) string {
	var keep []string
	for coding := range strings.SplitSeq(value, ",") {
		coding = strings.TrimSpace(coding)
		if coding != "" && !strings.EqualFold(coding, "aws-chunked") {
			keep = append(keep, coding)
		}
	}
	return strings.Join(keep, ",")
}

// The AWS error codes of this package.
const (
	codeIncompleteBody    = "IncompleteBody"
	codeSignatureMismatch = "SignatureDoesNotMatch"
	codeInvalidChunkSize  = "InvalidChunkSizeError"
	codeMalformedTrailer  = "MalformedTrailerError"
	codeInvalidRequest    = "InvalidRequest"
	codeInvalidArgument   = "InvalidArgument"
	codeMissingLength     = "MissingContentLength"
)

// Codes returns every AWS error code that an Error of this package may carry.
func Codes() []string {
	return []string{
		codeIncompleteBody, codeSignatureMismatch, codeInvalidChunkSize, codeMalformedTrailer,
		codeInvalidRequest, codeInvalidArgument, codeMissingLength,
	}
}

// Error is a refusal in the terms of S3. AWSCode, AWSMessage and AWSElements are
// the methods by which the S3 front recognises an error that names its own
// code.
type Error struct {
	Code     string
	Message  string
	Elements [][2]string // further elements of the XML error, in order
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// AWSCode returns the AWS error code.
func (e *Error) AWSCode() string { return e.Code }

// AWSMessage returns the text for the client.
func (e *Error) AWSMessage() string { return e.Message }

// AWSElements returns the further elements of the XML error.
func (e *Error) AWSElements() [][2]string { return e.Elements }

// Unwrap returns the error as an errs.Error, for edges other than S3.
func (e *Error) Unwrap() error {
	kind := errs.Invalid
	if e.Code == codeSignatureMismatch {
		kind = errs.Unauthenticated
	}
	return errs.New(kind, "", e.Message)
}

func incomplete(message string) *Error { return &Error{Code: codeIncompleteBody, Message: message} }

func badFraming(detail string) *Error {
	return &Error{Code: codeInvalidRequest, Message: "The body is not well-formed aws-chunked: " + detail + "."}
}

func malformedTrailer(detail string) *Error {
	return &Error{Code: codeMalformedTrailer, Message: "The request contained trailing data that was not well-formed or did not conform to our published schema.",
		Elements: [][2]string{{"Detail", detail}}}
}

func mismatch(what string) *Error {
	return &Error{Code: codeSignatureMismatch, Message: "The " + what + " signature we calculated does not match the signature you provided. Check your key and signing method."}
}

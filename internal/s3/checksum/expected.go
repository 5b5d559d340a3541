package checksum

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
)

const (
	headerPrefix       = "x-amz-checksum-"
	headerContentMD5   = "Content-Md5"
	headerSDKAlgorithm = "X-Amz-Sdk-Checksum-Algorithm"
	headerTrailer      = "X-Amz-Trailer"
)

// Expected is what a client promised about a body. The zero value promises
// nothing, and then only the MD5 is computed; use NoLength for Length.
type Expected struct {
	MD5    []byte // of Content-MD5: 16 bytes, or nil
	SHA256 []byte // of a literal x-amz-content-sha256: 32 bytes, or nil

	// Checksum is the checksum to compute, and to compare with where Sum is not
	// nil. A caller may set its Algorithm to have a value computed that the
	// client did not ask for.
	Checksum Digest
	// InTrailer says that the value to compare with comes in the trailer.
	InTrailer bool

	// Length is the number of bytes of the body, or NoLength.
	Length int64
}

// NoLength is the Length of a body of unknown length.
const NoLength = -1

// FromHeader reads Content-MD5, x-amz-checksum-*, x-amz-sdk-checksum-algorithm
// and x-amz-trailer. payloadSHA256 is sigv4's Identity.PayloadSHA256: 64 hex
// digits, or "" where the signature does not fix the body. The errors carry
// InvalidDigest, InvalidRequest or NotImplemented. Length is NoLength.
func FromHeader(h http.Header, payloadSHA256 string) (Expected, error) {
	e := Expected{Length: NoLength}
	if v, ok := h[headerContentMD5]; ok {
		sum, err := base64.StdEncoding.Strict().DecodeString(v[0])
		if err != nil || len(sum) != md5.Size || len(v) != 1 {
			return e, &Error{Code: codeInvalidDigest, Message: "The Content-MD5 you specified is not valid.",
				Elements: [][2]string{{"Content-MD5", v[0]}}}
		}
		e.MD5 = sum
	}
	if payloadSHA256 != "" {
		sum, err := hex.DecodeString(payloadSHA256)
		if err != nil || len(sum) != sha256.Size {
			return e, invalidRequest("Value for x-amz-content-sha256 header is invalid.")
		}
		e.SHA256 = sum
	}
	if err := e.checksumHeader(h); err != nil {
		return e, err
	}
	if err := e.checksumTrailer(h); err != nil {
		return e, err
	}
	return e, e.checkSDKAlgorithm(h)
}

// checksumHeader reads the one x-amz-checksum-<algorithm> header there may be.
func (e *Expected) checksumHeader(h http.Header) error {
	for name, values := range h {
		if len(name) <= len(headerPrefix) || !strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
			continue
		}
		what := strings.ToLower(name[len(headerPrefix):])
		if what == "mode" || what == "type" || what == "algorithm" {
			continue
		}
		a, err := ParseAlgorithm(what)
		if err != nil {
			return err
		}
		if e.Checksum.Algorithm != None || len(values) != 1 {
			return multipleChecksums()
		}
		if e.Checksum, err = ParseDigest(a, values[0]); err != nil {
			return err
		}
	}
	return nil
}

func multipleChecksums() *Error {
	return invalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

// checksumTrailer reads the announcement of a checksum in the trailer.
func (e *Expected) checksumTrailer(h http.Header) error {
	for _, line := range h[headerTrailer] {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			what, ok := strings.CutPrefix(name, headerPrefix)
			if !ok {
				return invalidRequest("The value specified in the x-amz-trailer header is not supported")
			}
			a, err := ParseAlgorithm(what)
			if err != nil {
				return err
			}
			if a == None || e.Checksum.Algorithm != None {
				return multipleChecksums()
			}
			e.Checksum.Algorithm, e.InTrailer = a, true
		}
	}
	return nil
}

// checkSDKAlgorithm refuses an announced algorithm without its value.
func (e *Expected) checkSDKAlgorithm(h http.Header) error {
	v, ok := h[headerSDKAlgorithm]
	if !ok {
		return nil
	}
	a, err := ParseAlgorithm(v[0])
	if err != nil {
		return err
	}
	if len(v) != 1 || a == None {
		return invalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	switch {
	case e.Checksum.Algorithm == a:
		return nil
	case e.Checksum.Algorithm == None && e.MD5 != nil:
		return nil // SDKs name the algorithm even where Content-MD5 takes its place
	case e.Checksum.Algorithm != None:
		return invalidRequest("Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return invalidRequest("x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
}

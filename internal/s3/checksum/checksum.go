// Package checksum computes and verifies the digests of S3 bodies in one pass:
// the MD5 that makes the ETag, Content-MD5, a literal x-amz-content-sha256, and
// the x-amz-checksum-* family, whether announced in a header or in a trailer;
// and it combines the digests of parts into those of a multipart object.
//
// It starts no goroutine and keeps no state but that of a Reader, which belongs
// to one goroutine. A Reader never answers io.EOF for a body that differs from
// what the client promised.
package checksum

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/minio/crc64nvme"
)

// Algorithm is one of the checksums of S3.
type Algorithm uint8

// The algorithms. The numbers may be stored: they are append-only.
const (
	None Algorithm = iota
	CRC32
	CRC32C
	CRC64NVME
	SHA1
	SHA256
	numAlgorithms
)

// algorithms holds what is known of each Algorithm.
var algorithms = [numAlgorithms]struct {
	name string
	size int
	new  func() hash.Hash
	poly uint64 // of a CRC, reflected
}{
	CRC32:     {"CRC32", 4, func() hash.Hash { return crc32.NewIEEE() }, crc32.IEEE},
	CRC32C:    {"CRC32C", 4, func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }, crc32.Castagnoli},
	CRC64NVME: {"CRC64NVME", 8, func() hash.Hash { return crc64nvme.New() }, 0x9a6c9329ac4bc9b5},
	SHA1:      {"SHA1", sha1.Size, sha1.New, 0},
	SHA256:    {"SHA256", sha256.Size, sha256.New, 0},
}

// unsupported are algorithms that clients know and this package does not.
var unsupported = [...]string{"SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"}

// Algorithms returns all algorithms but None.
func Algorithms() []Algorithm { return []Algorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256} }

// String returns the name in the API: CRC32, … It is empty for None.
func (a Algorithm) String() string {
	if a < numAlgorithms {
		return algorithms[a].name
	}
	return ""
}

// Header returns the header of a value: x-amz-checksum-crc32, … None has none.
func (a Algorithm) Header() string {
	if a == None || a >= numAlgorithms {
		return ""
	}
	return headerPrefix + strings.ToLower(algorithms[a].name)
}

// Size returns the length of a value in bytes.
func (a Algorithm) Size() int { return algorithms[a].size }

// New returns a hash of the algorithm, which must not be None. Its Sum is the
// value in the byte order of the API.
func (a Algorithm) New() hash.Hash { return algorithms[a].new() }

// crc reports whether values of parts can be combined into that of the whole.
func (a Algorithm) crc() bool { return algorithms[a].poly != 0 }

// ParseAlgorithm reads the value of x-amz-checksum-algorithm or
// x-amz-sdk-checksum-algorithm, in any case. "" is None. The error carries
// NotImplemented for an algorithm that S3 knows and we do not, else
// InvalidRequest.
func ParseAlgorithm(s string) (Algorithm, error) {
	if s == "" {
		return None, nil
	}
	for a := CRC32; a < numAlgorithms; a++ {
		if strings.EqualFold(s, algorithms[a].name) {
			return a, nil
		}
	}
	for _, name := range unsupported {
		if strings.EqualFold(s, name) {
			return None, notImplemented("Checksum algorithm " + name)
		}
	}
	return None, invalidRequest("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
}

// Digest is a value of an algorithm.
type Digest struct {
	Algorithm Algorithm
	Sum       []byte // Algorithm.Size() bytes
}

// String returns the value in base64, as headers hold it; empty for None.
func (d Digest) String() string {
	if d.Algorithm == None {
		return ""
	}
	return base64.StdEncoding.EncodeToString(d.Sum)
}

// ParseDigest reads a header value of the algorithm. The error is InvalidRequest.
func ParseDigest(a Algorithm, value string) (Digest, error) {
	sum, err := base64.StdEncoding.Strict().DecodeString(value)
	if err != nil || a == None || a >= numAlgorithms || len(sum) != a.Size() {
		return Digest{}, invalidRequest("Value for " + a.Header() + " header is invalid.")
	}
	return Digest{a, sum}, nil
}

// Type says how the checksum of a multipart object is made.
type Type uint8

// The types. The numbers may be stored: they are append-only.
const (
	NoType     Type = iota
	Composite       // the checksum of the checksums of the parts
	FullObject      // the checksum of all bytes
)

// String returns COMPOSITE, FULL_OBJECT or "".
func (t Type) String() string {
	switch t {
	case Composite:
		return "COMPOSITE"
	case FullObject:
		return "FULL_OBJECT"
	}
	return ""
}

// DefaultType returns the type of a multipart upload that names only the
// algorithm: FullObject for CRC64NVME, else Composite.
func (a Algorithm) DefaultType() Type {
	switch a {
	case None:
		return NoType
	case CRC64NVME:
		return FullObject
	}
	return Composite
}

// ParseType reads x-amz-checksum-type for an upload of algorithm a; "" is the
// default type. The SHA algorithms cannot be FULL_OBJECT, CRC64NVME cannot be
// COMPOSITE, and a type needs an algorithm: these errors are InvalidRequest.
func ParseType(a Algorithm, s string) (Type, error) {
	t := NoType
	switch {
	case s == "":
		return a.DefaultType(), nil
	case strings.EqualFold(s, Composite.String()):
		t = Composite
	case strings.EqualFold(s, FullObject.String()):
		t = FullObject
	default:
		return NoType, invalidRequest("Value for x-amz-checksum-type header is invalid.")
	}
	if a == None {
		return NoType, invalidRequest("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	}
	if t == FullObject && !a.crc() || t == Composite && a == CRC64NVME {
		return NoType, invalidRequest("The " + t.String() + " checksum type cannot be used with the " + strings.ToLower(a.String()) + " checksum algorithm.")
	}
	return t, nil
}

package checksum

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"strconv"
)

// MultipartETag returns the ETag of an object of parts with these MD5s: the MD5
// of the MD5s in hex, "-", the number of parts; no quotes.
func MultipartETag(parts [][md5.Size]byte) string {
	h := md5.New()
	for i := range parts {
		h.Write(parts[i][:])
	}
	return hex.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(parts))
}

// Part is the checksum and the length of a part of a multipart object.
type Part struct {
	Sum  []byte
	Size int64
}

// CompositeOf returns the composite checksum of parts: the checksum of their
// checksums. On the wire it is followed by "-" and the number of parts: see
// CompositeString. It panics if a is None.
func CompositeOf(a Algorithm, parts []Part) Digest {
	h := a.New()
	for i := range parts {
		h.Write(parts[i].Sum)
	}
	return Digest{a, h.Sum(nil)}
}

// CompositeString returns a composite checksum as headers and documents hold it.
func CompositeString(d Digest, parts int) string {
	return base64.StdEncoding.EncodeToString(d.Sum) + "-" + strconv.Itoa(parts)
}

// FullObjectOf returns the checksum of the bytes of all parts in order, from
// the checksums and sizes of the parts, without reading them. It reports false
// for an algorithm that is no CRC, and for a sum of the wrong length.
func FullObjectOf(a Algorithm, parts []Part) (Digest, bool) {
	if !a.crc() {
		return Digest{}, false
	}
	size := a.Size()
	f := field{poly: algorithms[a].poly, top: 1 << (8*size - 1)}
	var crc uint64 // of no bytes
	length, shift := int64(0), f.power(0)
	for _, p := range parts {
		if len(p.Sum) != size {
			return Digest{}, false
		}
		if p.Size != length { // parts mostly have one size
			length, shift = p.Size, f.power(p.Size)
		}
		crc = f.multiply(shift, crc) ^ bigEndian(p.Sum)
	}
	sum := make([]byte, size)
	for i := range sum {
		sum[size-1-i] = byte(crc >> (8 * i))
	}
	return Digest{a, sum}, true
}

func bigEndian(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// field is arithmetic on polynomials over GF(2) modulo that of a CRC, in its
// reflected form: the top bit is the coefficient of x^0.
//
// The CRC of A followed by B, both with the usual inversions, is
// crc(A)·x^(8·len(B)) + crc(B), so a checksum of a whole needs only those of the
// parts.
type field struct{ poly, top uint64 }

// multiply returns a·b.
func (f field) multiply(a, b uint64) (product uint64) {
	for bit := f.top; bit != 0 && a != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
			a &^= bit
		}
		if b&1 != 0 {
			b = b>>1 ^ f.poly
		} else {
			b >>= 1
		}
	}
	return product
}

// power returns x^(8·bytes).
func (f field) power(bytes int64) uint64 {
	result, square := f.top, f.top>>8
	for ; bytes > 0; bytes >>= 1 {
		if bytes&1 != 0 {
			result = f.multiply(result, square)
		}
		square = f.multiply(square, square)
	}
	return result
}

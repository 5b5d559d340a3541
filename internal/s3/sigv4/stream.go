package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
)

// Stream is the chain of signatures of an aws-chunked body: each covers the
// one before, so chunks cannot be altered, dropped, repeated or reordered. It
// belongs to one goroutine.
type Stream struct {
	key    *Key
	prefix []byte // "\n" date "\n" scope "\n"
	prev   [64]byte
	buf    []byte
}

func newStream(key *Key, amzDate string, scope Scope, seed [64]byte) *Stream {
	s := &Stream{key: key, prev: seed}
	s.prefix = append(s.prefix, '\n')
	s.prefix = append(s.prefix, amzDate...)
	s.prefix = append(s.prefix, '\n')
	s.prefix = append(s.prefix, scope.String()...)
	s.prefix = append(s.prefix, '\n')
	return s
}

// Chunk returns the signature of the next chunk, whose bytes have the given
// SHA-256, and moves the chain on. The last chunk is the empty one.
func (s *Stream) Chunk(sum [sha256.Size]byte) [64]byte {
	b := append(s.buf[:0], Algorithm+"-PAYLOAD"...)
	b = append(b, s.prefix...)
	b = append(b, s.prev[:]...)
	b = append(b, "\n"+EmptySHA256+"\n"...)
	return s.next(b, sum)
}

// Trailer returns the signature of the trailer, whose canonical form (lines
// "name:value\n") has the given SHA-256, and moves the chain on.
func (s *Stream) Trailer(sum [sha256.Size]byte) [64]byte {
	b := append(s.buf[:0], Algorithm+"-TRAILER"...)
	b = append(b, s.prefix...)
	b = append(b, s.prev[:]...)
	b = append(b, '\n')
	return s.next(b, sum)
}

func (s *Stream) next(b []byte, sum [sha256.Size]byte) [64]byte {
	h := hex256(sum)
	b = append(b, h[:]...)
	s.buf = b
	s.prev = s.key.Sign(b)
	return s.prev
}

// Equal compares a signature with the one a client sent, in constant time.
func Equal(want [64]byte, got []byte) bool {
	return subtle.ConstantTimeCompare(want[:], got) == 1
}

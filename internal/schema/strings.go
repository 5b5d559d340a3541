package schema

import "strings"

// Strings makes many short strings with few allocations: they share buffers, and
// one that is kept keeps its buffer, of up to 8 KiB. The zero value is ready; nil
// makes each string by itself. Not safe for concurrent use; the strings are.
type Strings struct {
	b    strings.Builder
	size int // of the next buffer
}

const (
	firstBuffer = 256
	largeBuffer = 8 << 10
)

// Of returns b as a string.
func (s *Strings) Of(b []byte) string {
	if s == nil || len(b) > largeBuffer {
		return string(b)
	}
	from := s.room(len(b))
	s.b.Write(b)
	return s.b.String()[from:]
}

// Join returns a and b in one string.
func (s *Strings) Join(a, b string) string {
	if a == "" || b == "" || s == nil || len(a)+len(b) > largeBuffer {
		return a + b
	}
	from := s.room(len(a) + len(b))
	s.b.WriteString(a)
	s.b.WriteString(b)
	return s.b.String()[from:]
}

// room makes room for n bytes without moving what is there, and returns where
// they begin.
func (s *Strings) room(n int) int {
	if s.b.Cap()-s.b.Len() < n {
		s.size = min(max(2*s.size, firstBuffer), largeBuffer)
		s.b.Reset()
		s.b.Grow(max(s.size, n))
	}
	return s.b.Len()
}

// Package keys encodes tuples as byte strings whose order is the order of the
// tuples. It is pure.
//
// An unsigned integer is eight bytes, big-endian. A string inside a tuple is
// escaped (0x00 becomes 0x00 0xff) and ends with 0x00 0x01, so a shorter string
// sorts before its extensions; the last string of a tuple may be written raw,
// which keeps the same order at less cost.
package keys

import (
	"encoding/binary"
	"errors"
	"strings"
)

// ErrMalformed says that bytes are not an encoded tuple.
var ErrMalformed = errors.New("keys: malformed tuple")

const (
	escape     = 0x00
	escaped00  = 0xff
	terminator = 0x01
)

// Uint64 appends v to b.
func Uint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// Uint32 appends v to b.
func Uint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// String appends s, escaped and terminated, to b.
func String(b []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, escape)
		if i < 0 {
			break
		}
		b = append(b, s[:i]...)
		b = append(b, escape, escaped00)
		s = s[i+1:]
	}
	b = append(b, s...)
	return append(b, escape, terminator)
}

// TakeUint64 splits a leading integer off b.
func TakeUint64(b []byte) (v uint64, rest []byte, err error) {
	if len(b) < 8 {
		return 0, nil, ErrMalformed
	}
	return binary.BigEndian.Uint64(b), b[8:], nil
}

// TakeUint32 splits a leading integer off b.
func TakeUint32(b []byte) (v uint32, rest []byte, err error) {
	if len(b) < 4 {
		return 0, nil, ErrMalformed
	}
	return binary.BigEndian.Uint32(b), b[4:], nil
}

// TakeString splits a leading escaped string off b.
func TakeString(b []byte) (s string, rest []byte, err error) {
	var out []byte
	for i := 0; i < len(b); i++ {
		if b[i] != escape {
			out = append(out, b[i])
			continue
		}
		if i+1 >= len(b) {
			break
		}
		switch b[i+1] {
		case escaped00:
			out = append(out, escape)
			i++
		case terminator:
			return string(out), b[i+2:], nil
		default:
			return "", nil, ErrMalformed
		}
	}
	return "", nil, ErrMalformed
}

// PrefixEnd returns the first key after every key that starts with prefix, nil
// when there is none (the prefix is empty or all 0xff).
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

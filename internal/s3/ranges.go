package s3

import (
	"errors"
	"math"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
)

// span is the part of an object that a read asks for.
type span struct {
	offset, length int64
	partial        bool // answered 206 with Content-Range
}

// contentRange returns the value of Content-Range in an object of size bytes.
func (s span) contentRange(size int64) string {
	return "bytes " + itoa(s.offset) + "-" + itoa(s.offset+s.length-1) + "/" + itoa(size)
}

// parseRange reads a Range header for an object of size bytes. As RFC 9110
// has it, what is not a range of bytes is no range; several ranges are not
// implemented, here as in S3.
func parseRange(header string, size int64) (span, error) {
	whole := span{0, size, false}
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return whole, nil
	}
	if strings.Contains(spec, ",") {
		return whole, notImplemented("A Range of several parts").with("Header", "Range")
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return whole, nil
	}
	from, errFrom := parsePosition(first)
	to, errTo := parsePosition(last)
	unsatisfiable := refusal("InvalidRange", codes["InvalidRange"].text).
		with("RangeRequested", header).with("ActualObjectSize", itoa(size))
	switch {
	case first == "" && errTo == nil: // the last so many bytes
		if to == 0 || size == 0 {
			return whole, unsatisfiable
		}
		n := min(int64(to), size)
		return span{size - n, n, true}, nil
	case errFrom != nil || last != "" && errTo != nil || last != "" && to < from:
		return whole, nil
	case int64(from) >= size:
		return whole, unsatisfiable
	}
	end := size
	if last != "" && int64(to) < size {
		end = int64(to) + 1
	}
	return span{int64(from), end - int64(from), true}, nil
}

// parsePosition reads a position in an object. One beyond every object is the
// largest that there is.
func parsePosition(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, nil
	}
	return n, err
}

// parseCopyRange reads x-amz-copy-source-range, which must lie within the
// source.
func parseCopyRange(header string, size int64) (span, error) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	from, errFrom := strconv.ParseUint(first, 10, 63)
	to, errTo := strconv.ParseUint(last, 10, 63)
	if !ok || !dash || errFrom != nil || errTo != nil || to < from {
		return span{}, argument("x-amz-copy-source-range", header,
			"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	if int64(to) >= size {
		return span{}, argument("x-amz-copy-source-range", header, "Range specified is not valid for source object of size: "+itoa(size))
	}
	return span{int64(from), int64(to) - int64(from) + 1, true}, nil
}

// partSpan returns where part n of a key lies, and how many parts it has; a key
// that was not uploaded in parts has one, and then parts is 0.
func partSpan(key *o3v1.KeyInfo, n int) (s span, parts int, err error) {
	sizes := key.PartSizes
	if len(sizes) == 0 {
		if n != 1 {
			return s, 0, badPartNumber(n, 1)
		}
		return span{0, int64(key.Size), key.Size > 0}, 0, nil
	}
	if n > len(sizes) {
		return s, 0, badPartNumber(n, len(sizes))
	}
	for _, size := range sizes[:n-1] {
		s.offset += int64(size)
	}
	s.length = int64(sizes[n-1])
	s.partial = s.length > 0
	return s, len(sizes), nil
}

func badPartNumber(n, parts int) error {
	return refusal("InvalidPartNumber", codes["InvalidPartNumber"].text).
		with("ActualPartCount", strconv.Itoa(parts)).with("PartNumberRequested", strconv.Itoa(n))
}

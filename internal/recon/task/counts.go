package task

import (
	"encoding/binary"

	"o3/internal/errs"
)

// Counts is a vector of counters. Slots beyond its end are zero.
type Counts []int64

// At returns the counter of a slot.
func (c Counts) At(slot int) int64 {
	if slot >= len(c) {
		return 0
	}
	return c[slot]
}

// plus adds n to a slot.
func (c *Counts) plus(slot int, n int64) {
	for len(*c) <= slot {
		*c = append(*c, 0)
	}
	(*c)[slot] += n
}

// add adds d, times by.
func (c *Counts) add(d Counts, by int64) {
	for slot, n := range d {
		if n != 0 {
			c.plus(slot, n*by)
		}
	}
}

// zero reports whether all counters are.
func (c Counts) zero() bool {
	for _, n := range c {
		if n != 0 {
			return false
		}
	}
	return true
}

// negative reports whether a counter is below zero, which no sum of rows is.
func (c Counts) negative() bool {
	for _, n := range c {
		if n < 0 {
			return true
		}
	}
	return false
}

// countsVersion is the first byte of a stored vector.
const countsVersion = 1

// append appends c as it is stored: a version, then each slot as a zigzag varint,
// up to the last that is not zero.
func (c Counts) append(b []byte) []byte {
	last := len(c)
	for last > 0 && c[last-1] == 0 {
		last--
	}
	b = append(b, countsVersion)
	for _, n := range c[:last] {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// parseCounts appends to c what append has written.
func parseCounts(c Counts, b []byte) (Counts, error) {
	if len(b) == 0 || b[0] == 0 {
		return nil, errs.New(errs.Corrupt, "counters", "they have no version")
	}
	if b[0] > countsVersion {
		return nil, errs.New(errs.FormatTooNew, "counters", "they were written by a later version")
	}
	for b = b[1:]; len(b) > 0; {
		n, size := binary.Varint(b)
		if size <= 0 {
			return nil, errs.New(errs.Corrupt, "counters", "they end in the middle")
		}
		c, b = append(c, n), b[size:]
	}
	return c, nil
}

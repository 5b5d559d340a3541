// Package report holds the finished report of a snapshot diff in a file: it is
// written once, from top to bottom, and then read in pages that begin at any
// entry, at a cost that does not depend on the report's length. Every byte is
// under a checksum, and what was damaged is refused, never shown. The format is
// in docs/formats/snapdiff-report.md.
//
// The package starts no goroutine. A Writer belongs to one; a Reader is safe
// for concurrent use.
package report

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
	"o3/internal/ns"
)

// Version is the newest version of the file that this program writes and reads.
const Version = 1

const (
	headMagic = "O3DIFF\r\n"
	footMagic = "O3DIFEND"

	headSize   = 64
	footSize   = 72
	recordSize = 24

	blockEntries = 128                           // of one block
	maxBlock     = blockEntries * (maxEntry + 8) // bytes of one block
	maxEntry     = 4 << 20                       // bytes of one entry
)

// The types of an entry, as users write them.
const (
	Create = "+"
	Delete = "-"
	Modify = "M"
	Rename = "R"
)

// Meta says what a report is about. A reader checks that it is what it wants.
type Meta struct {
	JobID    uint64
	Bucket   ns.ObjectID
	From, To ns.Op
	Options  uint64 // a hash of the job's options
}

// Counts are the entries of each type.
type Counts struct {
	Created, Deleted, Modified, Renamed uint64
}

// Total returns the sum.
func (c Counts) Total() uint64 { return c.Created + c.Deleted + c.Modified + c.Renamed }

// Add counts an entry of a type; false for an unknown one.
func (c *Counts) Add(kind string) bool {
	switch kind {
	case Create:
		c.Created++
	case Delete:
		c.Deleted++
	case Modify:
		c.Modified++
	case Rename:
		c.Renamed++
	default:
		return false
	}
	return true
}

// footer is the end of the file.
type footer struct {
	index  uint64 // where the index begins
	counts Counts
	sum    uint64
}

// record is a row of the index: where a block lies.
type record struct {
	offset uint64
	length uint32
	sum    uint64 // of the block
}

func blocksOf(entries uint64) uint64 { return (entries + blockEntries - 1) / blockEntries }

func appendHead(m Meta) []byte {
	b := append(make([]byte, 0, headSize), headMagic...)
	b = binary.BigEndian.AppendUint32(b, Version)
	b = binary.BigEndian.AppendUint32(b, blockEntries)
	for _, v := range []uint64{m.JobID, uint64(m.Bucket), uint64(m.From), uint64(m.To), m.Options} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint64(b, xxh3.Hash(b))
}

func parseHead(name string, b []byte) (m Meta, err error) {
	if len(b) < headSize || string(b[:8]) != headMagic {
		return m, errs.New(errs.FormatUnknown, name, "this is not the report of a snapshot diff")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v > Version {
		return m, errs.New(errs.FormatTooNew, name,
			fmt.Sprintf("snapshot diff report: the file has version %d, this program reads up to %d", v, Version))
	}
	u64 := func(i int) uint64 { return binary.BigEndian.Uint64(b[i:]) }
	if u64(56) != xxh3.Hash(b[:56]) || binary.BigEndian.Uint32(b[8:]) == 0 || binary.BigEndian.Uint32(b[12:]) != blockEntries {
		return m, damaged(name, "the header fails its checksum")
	}
	return Meta{JobID: u64(16), Bucket: ns.ObjectID(u64(24)), From: ns.Op(u64(32)), To: ns.Op(u64(40)), Options: u64(48)}, nil
}

// appendFoot returns the footer of a file with the given header.
func appendFoot(head []byte, f footer) []byte {
	b := make([]byte, 0, footSize)
	for _, v := range []uint64{
		f.index, blocksOf(f.counts.Total()), f.counts.Total(), f.counts.Created, f.counts.Deleted, f.counts.Modified, f.counts.Renamed,
	} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, footSum(head, b))
	return append(b, footMagic...)
}

func footSum(head, foot []byte) uint64 {
	return xxh3.Hash(append(append(make([]byte, 0, headSize+footSize), head...), foot...))
}

// parseFoot reads the footer of a file of size bytes with the given header.
func parseFoot(name string, head, b []byte, size int64) (f footer, err error) {
	u64 := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	if len(b) != footSize || string(b[64:]) != footMagic || u64(7) != footSum(head, b[:56]) {
		return f, damaged(name, "the end of the file is missing or fails its checksum")
	}
	f = footer{index: u64(0), counts: Counts{Created: u64(3), Deleted: u64(4), Modified: u64(5), Renamed: u64(6)}}
	if u64(2) != f.counts.Total() || u64(1) != blocksOf(u64(2)) || f.index+u64(1)*recordSize+footSize != uint64(size) {
		return f, damaged(name, "the end of the file does not fit its length")
	}
	return f, nil
}

// appendRecord appends the index record of block number n.
func appendRecord(b []byte, n uint64, r record) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint64(b, r.offset)
	b = binary.BigEndian.AppendUint32(b, r.length)
	b = binary.BigEndian.AppendUint64(b, r.sum)
	return binary.BigEndian.AppendUint32(b, uint32(xxh3.HashSeed(b[at:], n)))
}

func parseRecord(name string, b []byte, n uint64) (r record, err error) {
	if binary.BigEndian.Uint32(b[20:]) != uint32(xxh3.HashSeed(b[:20], n)) {
		return r, damaged(name, fmt.Sprintf("the index record of block %d fails its checksum", n))
	}
	return record{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint64(b[12:])}, nil
}

func damaged(name, what string) error {
	return errs.New(errs.Corrupt, name, "snapshot diff report: "+what)
}

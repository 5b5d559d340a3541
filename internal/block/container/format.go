package container

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"o3/internal/errs"
)

// Version is the newest format of containers and delete logs this package
// reads and writes; docs/formats/container.md describes it byte by byte. A
// file of a later version is refused by name (kind FormatTooNew).
const Version = 1

const (
	headSize   = 4096 // bytes before the first record of a container file
	headCopyAt = 1024 // second copy of the file header
	markAt     = 512  // how much was known to be durable, while the container is not sealed
	sealAt     = 2048 // the seal, once the container is sealed
	sealCopyAt = 3072 // second copy of the seal

	fileHeadSize = 64
	sealSize     = 64
	markSize     = 32
	recordHead   = 64
	trailerSize  = 24

	pageSize   = 4096
	pageHead   = 16
	entrySize  = 24
	pageBlocks = (pageSize - pageHead) / entrySize

	defaultChunk = 64 << 10

	recordMagic  = 0x6b6c4233 // "3Blk"
	trailerMagic = 0x646e4533 // "3End"
	pageMagic    = 0x78644933 // "3Idx"
)

var (
	fileMagic = [8]byte{'O', '3', 'B', 'L', 'O', 'C', 'K', 'S'}
	sealMagic = [8]byte{'O', '3', 'S', 'E', 'A', 'L', 'E', 'D'}
	markMagic = [8]byte{'O', '3', 'D', 'U', 'R', 'A', 'B', 'L'}
	le        = binary.LittleEndian
	crcTable  = crc32.MakeTable(crc32.Castagnoli)
)

// crc is the CRC-32C of b.
func crc(b []byte) uint32 { return crc32.Checksum(b, crcTable) }

// sum is the CRC-32C of b bound to a file by its salt and to a place in it, so
// that bytes of another file, or of another place, never pass for these.
func sum(salt, place uint64, b []byte) uint32 {
	var k [16]byte
	le.PutUint64(k[0:], salt)
	le.PutUint64(k[8:], place)
	return crc32.Update(crc32.Checksum(k[:], crcTable), crcTable, b)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// fileHead is the header of a container file.
type fileHead struct {
	chunk     uint32 // bytes under one checksum
	container uint64
	salt      uint64 // random; no user ever learns it, so no user data looks like a record
	created   int64
	gen       uint32
	node      uint16
}

func (h fileHead) encode() []byte {
	b := make([]byte, fileHeadSize)
	copy(b, fileMagic[:])
	le.PutUint32(b[8:], Version)
	le.PutUint32(b[12:], h.chunk)
	le.PutUint64(b[16:], h.container)
	le.PutUint64(b[24:], h.salt)
	le.PutUint64(b[32:], uint64(h.created))
	le.PutUint32(b[40:], h.gen)
	le.PutUint16(b[44:], h.node)
	le.PutUint32(b[60:], crc(b[:60]))
	return b
}

// errBad says that bytes are not what their checksum or magic says.
type errBad string

func (e errBad) Error() string { return string(e) }

// decodeFileHead returns errBad for damage and kind FormatTooNew for a file of
// a later version of the program.
func decodeFileHead(name string, b []byte) (fileHead, error) {
	if le.Uint32(b[60:]) != crc(b[:60]) {
		return fileHead{}, errBad("checksum mismatch")
	}
	if [8]byte(b[:8]) != fileMagic {
		return fileHead{}, errBad("not a container")
	}
	if err := checkVersion(name, le.Uint32(b[8:])); err != nil {
		return fileHead{}, err
	}
	h := fileHead{
		chunk:     le.Uint32(b[12:]),
		container: le.Uint64(b[16:]),
		salt:      le.Uint64(b[24:]),
		created:   int64(le.Uint64(b[32:])),
		gen:       le.Uint32(b[40:]),
		node:      le.Uint16(b[44:]),
	}
	if h.chunk == 0 || h.chunk > 1<<24 {
		return fileHead{}, errBad("impossible chunk size")
	}
	return h, nil
}

func checkVersion(name string, v uint32) error {
	if v <= Version {
		return nil
	}
	return errs.New(errs.FormatTooNew, name,
		fmt.Sprintf("format version %d; this program knows up to %d", v, Version))
}

// seal closes a container: what is in it, and where its index lies.
type seal struct {
	tail   int64  // where the records end
	index  int64  // where the index begins
	pages  uint32 // of the index
	blocks uint32
	bytes  int64 // payload of all blocks, live and dead
	sealed int64
	fences uint32 // checksum of the fences
}

// end is where the sealed file ends; bytes after it mean nothing.
func (s seal) end() int64 { return s.index + int64(s.pages)*pageSize + int64(s.pages)*4 }

func (s seal) encode(salt uint64) []byte {
	b := make([]byte, sealSize)
	copy(b, sealMagic[:])
	le.PutUint64(b[8:], uint64(s.tail))
	le.PutUint64(b[16:], uint64(s.index))
	le.PutUint32(b[24:], s.pages)
	le.PutUint32(b[28:], s.blocks)
	le.PutUint64(b[32:], uint64(s.bytes))
	le.PutUint64(b[40:], uint64(s.sealed))
	le.PutUint32(b[48:], s.fences)
	le.PutUint32(b[60:], sum(salt, sealAt, b[:60]))
	return b
}

func decodeSeal(salt uint64, b []byte) (seal, error) {
	if le.Uint32(b[60:]) != sum(salt, sealAt, b[:60]) || [8]byte(b[:8]) != sealMagic {
		return seal{}, errBad("checksum mismatch")
	}
	return seal{
		tail:   int64(le.Uint64(b[8:])),
		index:  int64(le.Uint64(b[16:])),
		pages:  le.Uint32(b[24:]),
		blocks: le.Uint32(b[28:]),
		bytes:  int64(le.Uint64(b[32:])),
		sealed: int64(le.Uint64(b[40:])),
		fences: le.Uint32(b[48:]),
	}, nil
}

// encodeMark says that the records up to tail are durable.
func encodeMark(salt uint64, tail int64) []byte {
	b := make([]byte, markSize)
	copy(b, markMagic[:])
	le.PutUint64(b[8:], uint64(tail))
	le.PutUint32(b[28:], sum(salt, markAt, b[:28]))
	return b
}

// decodeMark returns headSize where there is no mark, or a damaged one: it
// only sharpens what a scan can tell apart.
func decodeMark(salt uint64, b []byte) int64 {
	if le.Uint32(b[28:]) != sum(salt, markAt, b[:28]) || [8]byte(b[:8]) != markMagic {
		return headSize
	}
	return int64(le.Uint64(b[8:]))
}

// recordMeta is the header of a block's record.
type recordMeta struct {
	container uint64
	local     uint64
	length    int64
	created   int64 // unix nanoseconds
	durable   int64 // this much of the file was known to be durable when the record was written
}

func (m recordMeta) encode(b []byte, salt uint64, offset int64) {
	le.PutUint32(b[0:], recordMagic)
	le.PutUint32(b[4:], 0)
	le.PutUint64(b[8:], salt)
	le.PutUint64(b[16:], m.container)
	le.PutUint64(b[24:], m.local)
	le.PutUint64(b[32:], uint64(m.length))
	le.PutUint64(b[40:], uint64(m.created))
	le.PutUint64(b[48:], uint64(m.durable))
	le.PutUint32(b[56:], 0)
	le.PutUint32(b[60:], sum(salt, uint64(offset), b[:60]))
}

func decodeRecordHead(b []byte, salt uint64, offset int64) (recordMeta, error) {
	if le.Uint32(b[0:]) != recordMagic || le.Uint64(b[8:]) != salt ||
		le.Uint32(b[60:]) != sum(salt, uint64(offset), b[:60]) {
		return recordMeta{}, errBad("header checksum mismatch")
	}
	return recordMeta{
		container: le.Uint64(b[16:]),
		local:     le.Uint64(b[24:]),
		length:    int64(le.Uint64(b[32:])),
		created:   int64(le.Uint64(b[40:])),
		durable:   int64(le.Uint64(b[48:])),
	}, nil
}

// shape computes the layout of records whose checksums cover chunk bytes each.
type shape struct{ chunk int64 }

func (s shape) chunks(length int64) int64 { return (length + s.chunk - 1) / s.chunk }

// pad is what stands between the data and its checksums, so that records are
// multiples of eight bytes.
func (s shape) pad(length int64) int64 { return -(length + 4*s.chunks(length)) & 7 }

// tail is what follows the data: padding, a checksum per chunk, the trailer.
func (s shape) tail(length int64) int64 {
	return s.pad(length) + 4*s.chunks(length) + trailerSize
}

func (s shape) record(length int64) int64 { return recordHead + length + s.tail(length) }

// appendTail appends the tail of a record whose chunks have these checksums.
func (s shape) appendTail(b []byte, salt, local uint64, length int64, sums []uint32) []byte {
	from := len(b)
	var zero [8]byte
	b = append(b, zero[:s.pad(length)]...)
	for _, c := range sums {
		b = le.AppendUint32(b, c)
	}
	b = le.AppendUint64(b, local)
	b = le.AppendUint64(b, uint64(length))
	b = le.AppendUint32(b, trailerMagic)
	return le.AppendUint32(b, sum(salt, local, b[from:]))
}

// decodeTail verifies b, the tail of a block, and returns its checksums as
// bytes, four for each chunk.
func (s shape) decodeTail(b []byte, salt, local uint64, length int64) ([]byte, error) {
	n := len(b)
	if le.Uint32(b[n-4:]) != sum(salt, local, b[:n-4]) || le.Uint32(b[n-8:]) != trailerMagic {
		return nil, errBad("checksum mismatch")
	}
	if le.Uint64(b[n-24:]) != local || int64(le.Uint64(b[n-16:])) != length {
		return nil, errBad("names another block")
	}
	return b[s.pad(length) : n-trailerSize], nil
}

// appendSums appends the checksum of each chunk of p, which begins at a chunk.
func (s shape) appendSums(sums []uint32, p []byte) []uint32 {
	for len(p) > 0 {
		n := min(int64(len(p)), s.chunk)
		sums = append(sums, crc(p[:n]))
		p = p[n:]
	}
	return sums
}

package container

import (
	"cmp"
	"io"
	"slices"
	"sort"
	"sync/atomic"
)

// entry says where a block's record lies.
type entry struct {
	local   uint32
	length  uint32
	offset  int64
	created int64 // unix nanoseconds
}

// index finds the entry of a block; it does not know of deletes. find returns
// an error of type Damage when the index itself is damaged.
type index interface {
	find(f io.ReaderAt, local uint32) (e entry, ok bool, err error)
	// from calls yield with the entries from local on, in order, until it
	// returns an error.
	from(f io.ReaderAt, local uint32, yield func(entry) error) error
}

// residentIndex is the index of a container that is not sealed: 24 bytes of
// memory per block, in order of local id (and so of offset).
type residentIndex []entry

func (r residentIndex) search(local uint32) (int, bool) {
	return slices.BinarySearchFunc(r, local, func(e entry, l uint32) int { return cmp.Compare(e.local, l) })
}

func (r residentIndex) find(_ io.ReaderAt, local uint32) (entry, bool, error) {
	// Local ids are dense until a container is rewritten.
	if i := int(local) - 1; i >= 0 && i < len(r) && r[i].local == local {
		return r[i], true, nil
	}
	i, ok := r.search(local)
	if !ok {
		return entry{}, false, nil
	}
	return r[i], true, nil
}

func (r residentIndex) from(_ io.ReaderAt, local uint32, yield func(entry) error) error {
	i, _ := r.search(local)
	for _, e := range r[i:] {
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

// pagedIndex is the index of a sealed container: its pages stay in the file,
// and only the first local id of each is kept: 4 bytes per 170 blocks, read
// when first needed.
type pagedIndex struct {
	seal      seal
	salt      uint64
	container uint64
	file      string
	fences    atomic.Pointer[[]uint32]
}

func (p *pagedIndex) damage(offset, length int64, detail string) Damage {
	d := Damage{File: p.file, Offset: offset, Length: length, Part: Index, Detail: detail}
	d.ID.Container = p.container
	return d
}

func (p *pagedIndex) load(f io.ReaderAt) ([]uint32, error) {
	if known := p.fences.Load(); known != nil {
		return *known, nil
	}
	at := p.seal.index + int64(p.seal.pages)*pageSize
	b := make([]byte, 4*p.seal.pages)
	if err := readFull(f, b, at); err != nil {
		return nil, readFault(err, p.damage(at, int64(len(b)), "the file is too short"))
	}
	if sum(p.salt, uint64(at), b) != p.seal.fences {
		return nil, p.damage(at, int64(len(b)), "checksum mismatch")
	}
	out := make([]uint32, p.seal.pages)
	for i := range out {
		out[i] = le.Uint32(b[4*i:])
	}
	p.fences.Store(&out)
	return out, nil
}

// page reads and verifies page n into b and returns its entries as bytes.
func (p *pagedIndex) page(f io.ReaderAt, b []byte, n int) ([]byte, error) {
	at := p.seal.index + int64(n)*pageSize
	if err := readFull(f, b[:pageSize], at); err != nil {
		return nil, readFault(err, p.damage(at, pageSize, "the file is too short"))
	}
	count := le.Uint32(b[8:])
	if le.Uint32(b) != sum(p.salt, uint64(at), b[4:pageSize]) || le.Uint32(b[4:]) != pageMagic || count > pageBlocks {
		return nil, p.damage(at, pageSize, "checksum mismatch")
	}
	return b[pageHead : pageHead+count*entrySize], nil
}

func decodeEntry(b []byte) entry {
	return entry{
		local:   le.Uint32(b),
		length:  le.Uint32(b[4:]),
		offset:  int64(le.Uint64(b[8:])),
		created: int64(le.Uint64(b[16:])),
	}
}

// start returns the page that would hold local, and whether there is one.
func (p *pagedIndex) start(fences []uint32, local uint32) (int, bool) {
	n := sort.Search(len(fences), func(i int) bool { return fences[i] > local })
	return n - 1, n > 0
}

func (p *pagedIndex) find(f io.ReaderAt, local uint32) (entry, bool, error) {
	fences, err := p.load(f)
	if err != nil {
		return entry{}, false, err
	}
	n, ok := p.start(fences, local)
	if !ok {
		return entry{}, false, nil
	}
	var buf [pageSize]byte
	b, err := p.page(f, buf[:], n)
	if err != nil {
		return entry{}, false, err
	}
	i := sort.Search(len(b)/entrySize, func(i int) bool { return le.Uint32(b[i*entrySize:]) >= local })
	if i == len(b)/entrySize || le.Uint32(b[i*entrySize:]) != local {
		return entry{}, false, nil
	}
	return decodeEntry(b[i*entrySize:]), true, nil
}

func (p *pagedIndex) from(f io.ReaderAt, local uint32, yield func(entry) error) error {
	fences, err := p.load(f)
	if err != nil {
		return err
	}
	first, ok := p.start(fences, local)
	if !ok {
		first = 0
	}
	buf := make([]byte, pageSize)
	for n := first; n < len(fences); n++ {
		b, err := p.page(f, buf, n)
		if err != nil {
			return err
		}
		for ; len(b) > 0; b = b[entrySize:] {
			e := decodeEntry(b)
			if e.local < local {
				continue
			}
			if err := yield(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// encodeIndex returns the bytes of the index of entries at offset, and
// completes s.
func encodeIndex(s *seal, salt uint64, entries []entry, offset int64) []byte {
	s.index = offset
	s.blocks = uint32(len(entries))
	s.bytes = 0
	s.pages = uint32((len(entries) + pageBlocks - 1) / pageBlocks)
	b := make([]byte, int64(s.pages)*pageSize, int64(s.pages)*(pageSize+4))
	for n := range int(s.pages) {
		p := b[n*pageSize : (n+1)*pageSize]
		of := entries[n*pageBlocks : min((n+1)*pageBlocks, len(entries))]
		le.PutUint32(p[4:], pageMagic)
		le.PutUint32(p[8:], uint32(len(of)))
		for i, e := range of {
			q := p[pageHead+i*entrySize:]
			le.PutUint32(q, e.local)
			le.PutUint32(q[4:], e.length)
			le.PutUint64(q[8:], uint64(e.offset))
			le.PutUint64(q[16:], uint64(e.created))
			s.bytes += int64(e.length)
		}
		le.PutUint32(p, sum(salt, uint64(offset)+uint64(n)*pageSize, p[4:]))
		b = le.AppendUint32(b, of[0].local)
	}
	fencesAt := int(s.pages) * pageSize
	s.fences = sum(salt, uint64(offset)+uint64(fencesAt), b[fencesAt:])
	return b
}

// bitset holds the dead blocks of a container: one bit per local id.
type bitset []uint64

func (b bitset) has(i uint32) bool {
	w := int(i >> 6)
	return w < len(b) && b[w]&(1<<(i&63)) != 0
}

func (b *bitset) set(i uint32) {
	w := int(i >> 6)
	if w >= len(*b) {
		*b = append(*b, make([]uint64, w+1-len(*b))...)
	}
	(*b)[w] |= 1 << (i & 63)
}

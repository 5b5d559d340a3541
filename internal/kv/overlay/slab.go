package overlay

import "unsafe"

// slabBytes is the size of a block of a slab; larger values get memory of
// their own. keepSlabs blocks survive a reset.
const (
	slabBytes = 64 << 10
	keepSlabs = 64
)

// slab hands out copies of byte strings. The copies stay where they are until
// reset, after which their memory is used again.
type slab struct {
	blocks [][]byte
	used   int    // blocks in use
	free   []byte // rest of the last of them
}

func (s *slab) copy(b []byte) []byte {
	n := len(b)
	if n > len(s.free) {
		if n > slabBytes/4 {
			return append([]byte(nil), b...)
		}
		s.grow()
	}
	c := s.free[:n:n]
	s.free = s.free[n:]
	copy(c, b)
	return c
}

func (s *slab) grow() {
	if s.used == len(s.blocks) {
		s.blocks = append(s.blocks, make([]byte, slabBytes))
	}
	s.free = s.blocks[s.used]
	s.used++
}

func (s *slab) reset() {
	if len(s.blocks) > keepSlabs {
		clear(s.blocks[keepSlabs:])
		s.blocks = s.blocks[:keepSlabs]
	}
	s.used, s.free = 0, nil
}

// chunkRows is the number of entries made at a time; keepChunks chunks survive
// a reset.
const (
	chunkRows  = 256
	keepChunks = 64
)

// chunks hands out entries, which stay where they are until reset.
type chunks struct {
	all  []*[chunkRows]entry
	used int // entries in use
}

func (c *chunks) next() *entry {
	i := c.used / chunkRows
	if i == len(c.all) {
		c.all = append(c.all, new([chunkRows]entry))
	}
	e := &c.all[i][c.used%chunkRows]
	c.used++
	return e
}

func (c *chunks) reset() {
	for i := 0; i*chunkRows < c.used; i++ {
		clear(c.all[i][:])
	}
	if len(c.all) > keepChunks {
		clear(c.all[keepChunks:])
		c.all = c.all[:keepChunks]
	}
	c.used = 0
}

// stringOf returns b as a string without copying it. b must not change while
// the string is in use: slab bytes do not, and the map is cleared before reset
// gives them away.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

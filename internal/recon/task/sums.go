package task

import (
	"o3/internal/keys"
)

// Sums collects what rows contribute: for each derived key a vector.
type Sums struct {
	all  map[string]*Counts
	size int // bytes held, about

	memo  [memoSize]memo               // of all, by hashes of keys
	stats [maxStats][statKinds]*Counts // of all, by numbers of tables

	// owned takes a key to which no other row contributes: lead bytes of it decide
	// its place, the rest are in the order in which rows come.
	owned func(key []byte, lead int, n int64) error
	mine  map[string]*mine // where owned is nil: those keys
	err   error
	key   []byte
}

// mine is what the only row that contributes to a key gave, and gives now.
type mine struct{ was, is int64 }

type memo struct {
	c     *Counts
	a, b  uint64
	table byte
}

const memoSize = 1 << 9

func newSums() *Sums { return &Sums{all: map[string]*Counts{}, mine: map[string]*mine{}} }

// perKey is about what a key costs beside its bytes.
const perKey = 120

// at returns the vector of a key, made when there is none.
func (s *Sums) at(key []byte) *Counts {
	c := s.all[string(key)]
	if c == nil {
		n := 2
		if key[0] == tableDirect || key[0] == tableTotal {
			n = slotBins + SizeBins
		}
		v := make(Counts, 0, n)
		c = &v
		s.all[string(key)] = c
		s.size += len(key) + perKey + 8*n
	}
	return c
}

// one returns the vector of a key of a table and an id.
func (s *Sums) one(table byte, id uint64) *Counts {
	m := s.find(table, id, 0)
	if m.c == nil {
		s.key = keys.Uint64(append(s.key[:0], table), id)
		*m = memo{s.at(s.key), id, 0, table}
	}
	return m.c
}

// two returns the vector of a key of a table and two ids.
func (s *Sums) two(table byte, a, b uint64) *Counts {
	m := s.find(table, a, b)
	if m.c == nil {
		s.key = keys.Uint64(keys.Uint64(append(s.key[:0], table), a), b)
		*m = memo{s.at(s.key), a, b, table}
	}
	return m.c
}

// find returns the place in the memo; it is empty when something else was there.
func (s *Sums) find(table byte, a, b uint64) *memo {
	h := (a*0x9e3779b97f4a7c15 ^ b*0xc2b2ae3d27d4eb4f ^ uint64(table)<<57) * 0xff51afd7ed558ccd
	m := &s.memo[h>>55]
	if m.table != table || m.a != a || m.b != b {
		m.c = nil
	}
	return m
}

// stat returns the vector of a row of GLOBAL_STATS.
func (s *Sums) stat(k *statKeys, kind int) *Counts {
	c := &s.stats[k.number][kind]
	if *c == nil {
		*c = s.at(k.keys[kind])
	}
	return *c
}

// AddAll adds c, times by, to a derived key.
func (s *Sums) AddAll(key []byte, c Counts, by int64) { s.at(key).add(c, by) }

// Own adds n to the counter of a key to which no other row contributes. Its first
// lead bytes say where it belongs; among those with the same, keys come in the
// order of the rows.
func (s *Sums) Own(key []byte, lead int, n int64) {
	if s.owned != nil {
		if s.err == nil {
			s.err = s.owned(key, lead, n)
		}
		return
	}
	m := s.mine[string(key)]
	if m == nil {
		m = new(mine)
		s.mine[string(key)] = m
	}
	if n < 0 {
		m.was -= n
	} else {
		m.is += n
	}
}

// of returns what was collected for a key.
func (s *Sums) of(key []byte) Counts {
	if c := s.all[string(key)]; c != nil {
		return *c
	}
	return nil
}

// drain gives out and forgets everything but what has an owner, in no order.
func (s *Sums) drain(f func(key []byte, c Counts) error) error {
	for k, c := range s.all {
		if err := f([]byte(k), *c); err != nil {
			return err
		}
	}
	clear(s.all)
	clear(s.memo[:])
	clear(s.stats[:])
	s.size = 0
	return s.err
}

// isSQL reports whether a derived key is of the SQLite file.
func isSQL(key []byte) bool { return key[0] >= sqlTables }

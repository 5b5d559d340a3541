package task

import "bytes"

// Sums collects what rows contribute: for each derived key a vector.
type Sums struct {
	all  map[string]*Counts
	size int // bytes held, about

	// own takes what only one row contributes to, at once; nil: it is collected
	// as the rest, since another version of the row may take it back.
	own func(key []byte, c Counts) error
	err error
	one [1]int64
}

func newSums() *Sums { return &Sums{all: map[string]*Counts{}} }

// perKey is about what a key costs beside its bytes.
const perKey = 120

// Add adds n to a slot of a derived key.
func (s *Sums) Add(key []byte, slot int, n int64) {
	if n == 0 {
		return
	}
	c := s.all[string(key)]
	if c == nil {
		c = new(Counts)
		s.all[string(key)] = c
		s.size += len(key) + perKey
	}
	before := len(*c)
	*c = c.plus(slot, n)
	s.size += 8 * (len(*c) - before)
}

// AddAll adds c, times by, to a derived key.
func (s *Sums) AddAll(key []byte, c Counts, by int64) {
	have := s.all[string(key)]
	if have == nil {
		have = new(Counts)
		s.all[string(key)] = have
		s.size += len(key) + perKey
	}
	before := len(*have)
	*have = have.add(c, by)
	s.size += 8 * (len(*have) - before)
}

// Own adds n to the first slot of a key to which no other row contributes.
func (s *Sums) Own(key []byte, n int64) {
	if s.own == nil {
		s.Add(key, 0, n)
		return
	}
	if s.one[0] = n; s.err == nil {
		s.err = s.own(key, s.one[:])
	}
}

// of returns what was collected for a key.
func (s *Sums) of(key []byte) Counts {
	if c := s.all[string(key)]; c != nil {
		return *c
	}
	return nil
}

// drain gives out and forgets everything, in no order.
func (s *Sums) drain(f func(key []byte, c Counts) error) error {
	for k, c := range s.all {
		if err := f([]byte(k), *c); err != nil {
			return err
		}
	}
	clear(s.all)
	s.size = 0
	return s.err
}

// isSQL reports whether a derived key is of the SQLite file.
func isSQL(key []byte) bool { return bytes.Compare(key, []byte{sqlTables}) >= 0 }

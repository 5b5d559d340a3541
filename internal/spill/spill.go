// Package spill sorts more records than memory holds. A record is a key and a
// value, both byte strings; a Sorter keeps records in memory up to a bound of
// bytes, writes them as sorted runs to files beyond it, and merges the runs.
//
// It is our own because a diff sorts two records for each journal entry on one
// core: the libraries that were measured pass each record through channels and
// bound memory by a count of records, not by their bytes, and stayed under the
// half million journal entries a second that are wanted here.
//
// The package starts no goroutine; a Sorter belongs to one. Its files are gone
// after Close, whatever happened before. A run that is damaged on disk is
// reported, never merged silently.
package spill

import (
	"encoding/binary"
	"errors"
	"slices"

	"o3/internal/errs"
)

// DefaultMemory is the bound of a Sorter's memory, in bytes, where Options
// give none; minMemory is the least that is useful.
const (
	DefaultMemory = 16 << 20
	minMemory     = 64 << 10
)

const (
	blockSize = 256 << 10 // bytes of records that are allocated at a time
	fanIn     = 64        // runs that are merged at a time
	chunk     = 1024      // records that are sorted between two looks at Check
	refBytes  = 24 * 2    // of memory for each record's ref, and its place in the scratch
)

// Options say where and how a Sorter works.
type Options struct {
	Dir    string       // where runs go; it must exist once they are needed
	Memory int          // bytes of records held before a run is written; 0: DefaultMemory
	Check  func() error // asked at least every 1,024 records that are sorted, written or merged; an error ends the work; nil: never
}

// Sorter sorts records by key; records with equal keys stay in the order in
// which they were added.
type Sorter struct {
	o       Options
	blocks  [][]byte
	refs    []ref
	scratch []ref
	used    int // bytes of blocks and refs
	records int64
	spilled int64
	runs    []*run
	merge   *merge
	next    int // of refs, when nothing was spilled
	key     []byte
	value   []byte
	err     error
}

// ref is where a record lies in the blocks: its key, then its value.
type ref struct {
	prefix     uint64 // the first bytes of the key
	block, off uint32
	key, value uint32 // lengths
}

// New returns an empty Sorter.
func New(o Options) *Sorter {
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	o.Memory = max(o.Memory, minMemory)
	if o.Check == nil {
		o.Check = func() error { return nil }
	}
	return &Sorter{o: o}
}

// Len returns how many records were added.
func (s *Sorter) Len() int64 { return s.records }

// Used returns how many bytes of memory the records take that are not in files.
func (s *Sorter) Used() int { return s.used }

// Spilled returns how many bytes were written to files.
func (s *Sorter) Spilled() int64 { return s.spilled }

// Add adds a record, which is copied.
func (s *Sorter) Add(key, value []byte) error {
	n := len(key) + len(value)
	if s.used+n+refBytes > s.o.Memory && len(s.refs) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	last := len(s.blocks) - 1
	if last < 0 || len(s.blocks[last])+n > cap(s.blocks[last]) {
		size := max(min(blockSize, s.o.Memory/8), n)
		s.blocks = append(s.blocks, make([]byte, 0, size))
		s.used += size
		last++
	}
	b := s.blocks[last]
	s.refs = append(s.refs, ref{prefixOf(key), uint32(last), uint32(len(b)), uint32(len(key)), uint32(len(value))})
	s.blocks[last] = append(append(b, key...), value...)
	s.used += refBytes
	s.records++
	return nil
}

func prefixOf(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func (s *Sorter) keyOf(r ref) []byte   { return s.blocks[r.block][r.off : r.off+r.key] }
func (s *Sorter) valueOf(r ref) []byte { return s.blocks[r.block][r.off+r.key : r.off+r.key+r.value] }

// spill writes what is in memory as a run.
func (s *Sorter) spill() error {
	if err := s.sortMemory(); err != nil {
		return err
	}
	r, err := s.newRun(s.o.Memory / 16)
	if err != nil {
		return err
	}
	for i, ref := range s.refs {
		if i%chunk == 0 {
			if err := s.o.Check(); err != nil {
				return err
			}
		}
		if err := r.write(s.keyOf(ref), s.valueOf(ref)); err != nil {
			return err
		}
	}
	s.refs, s.used = s.refs[:0], 0
	s.blocks = nil
	if err := s.endRun(r); err != nil || len(s.runs) < 2*fanIn {
		return err
	}
	return s.mergeOnce() // so that open files stay few
}

func (s *Sorter) newRun(buffer int) (*run, error) {
	r, err := create(s.o.Dir, buffer)
	if err == nil {
		s.runs = append(s.runs, r) // so that Close removes it, whatever follows
	}
	return r, err
}

func (s *Sorter) endRun(r *run) error {
	s.spilled += r.bytes
	return r.end()
}

// Sort ends the adding and makes Next ready.
func (s *Sorter) Sort() error {
	if len(s.runs) == 0 {
		return s.sortMemory()
	}
	if len(s.refs) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.refs, s.scratch = nil, nil
	for len(s.runs) > fanIn {
		if err := s.mergeOnce(); err != nil {
			return err
		}
	}
	var err error
	s.merge, err = openMerge(s.runs, s.o.Memory)
	return err
}

// mergeOnce makes one run of the oldest ones. They are neighbours, so the new
// one goes in their place and equal keys keep their order.
func (s *Sorter) mergeOnce() error {
	// Take as many as leave a full last merge, but at least two.
	n := min(fanIn, max(2, len(s.runs)-fanIn+1))
	first := s.smallest(n)
	old := slices.Clone(s.runs[first : first+n])
	m, err := openMerge(old, s.o.Memory)
	if err != nil {
		return err
	}
	r, err := s.newRun(s.o.Memory / fanIn)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if i%chunk == 0 {
			if err := s.o.Check(); err != nil {
				return err
			}
		}
		ok, err := m.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := r.write(m.key(), m.value()); err != nil {
			return err
		}
	}
	if err := s.endRun(r); err != nil {
		return err
	}
	s.runs = slices.Delete(s.runs, len(s.runs)-1, len(s.runs))
	s.runs = slices.Replace(s.runs, first, first+n, r)
	var all []error
	for _, o := range old {
		all = append(all, o.remove())
	}
	return errors.Join(all...)
}

// smallest returns where n neighbouring runs hold the fewest bytes.
func (s *Sorter) smallest(n int) (first int) {
	least := int64(-1)
	for i := 0; i+n <= len(s.runs); i++ {
		sum := int64(0)
		for _, r := range s.runs[i : i+n] {
			sum += r.bytes
		}
		if least < 0 || sum < least {
			first, least = i, sum
		}
	}
	return first
}

// Next goes to the next record; false at the end or after an error. Key and
// Value are valid until the next call.
func (s *Sorter) Next() bool {
	if s.err != nil {
		return false
	}
	if s.merge != nil {
		var ok bool
		if ok, s.err = s.merge.next(); ok {
			s.key, s.value = s.merge.key(), s.merge.value()
		}
		return ok
	}
	if s.next >= len(s.refs) {
		return false
	}
	r := s.refs[s.next]
	s.next++
	s.key, s.value = s.keyOf(r), s.valueOf(r)
	return true
}

// Key returns the key of the record that Next went to.
func (s *Sorter) Key() []byte { return s.key }

// Value returns the value of the record that Next went to.
func (s *Sorter) Value() []byte { return s.value }

// Err returns the error that ended the reading, nil at the end.
func (s *Sorter) Err() error { return s.err }

// Close frees memory and removes the files. It may be called twice.
func (s *Sorter) Close() error {
	var all []error
	for _, r := range s.runs {
		all = append(all, r.remove())
	}
	s.runs, s.refs, s.scratch, s.blocks, s.merge = nil, nil, nil, nil, nil
	if s.err == nil {
		s.err = errs.New(errs.Internal, "spill", "the sorter is closed")
	}
	return errors.Join(all...)
}

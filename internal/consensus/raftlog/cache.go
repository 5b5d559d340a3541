package raftlog

import (
	"sort"

	pb "go.etcd.io/raft/v3/raftpb"
)

// cache holds a suffix of the log, at most limit bytes of it (and at least
// one entry). The owner's lock guards it.
type cache struct {
	limit int64
	bytes int64
	es    []*pb.Entry
}

func (c *cache) reset() { c.es, c.bytes = nil, 0 }

func (c *cache) first() uint64 { return c.es[0].GetIndex() }

// put appends es, first dropping what they replace.
func (c *cache) put(es []*pb.Entry) {
	lo := es[0].GetIndex()
	if len(c.es) > 0 {
		switch f := c.first(); {
		case lo <= f:
			c.reset()
		case lo < f+uint64(len(c.es)):
			keep := lo - f
			for _, e := range c.es[keep:] {
				c.bytes -= int64(weight(e))
			}
			c.es = c.es[:keep:keep]
		case lo > f+uint64(len(c.es)):
			c.reset()
		}
	}
	for _, e := range es {
		c.es = append(c.es, e)
		c.bytes += int64(weight(e))
	}
	n := 0
	for c.bytes > c.limit && n < len(c.es)-1 {
		c.bytes -= int64(weight(c.es[n]))
		n++
	}
	c.drop(n)
}

func (c *cache) dropTo(index uint64) {
	n := 0
	for n < len(c.es) && c.es[n].GetIndex() <= index {
		c.bytes -= int64(weight(c.es[n]))
		n++
	}
	c.drop(n)
}

// drop forgets the first n entries so that their memory can be freed: the
// array is moved once the dead part outweighs the living.
func (c *cache) drop(n int) {
	clear(c.es[:n])
	c.es = c.es[n:]
	if cap(c.es) > 64 && len(c.es) < cap(c.es)/4 {
		c.es = append([]*pb.Entry(nil), c.es...)
	}
}

func (c *cache) at(i uint64) *pb.Entry {
	if len(c.es) == 0 || i < c.first() || i >= c.first()+uint64(len(c.es)) {
		return nil
	}
	return c.es[i-c.first()]
}

// get returns entries of [lo, hi), limited as in Log.Entries; nil when the
// cache does not hold lo.
func (c *cache) get(lo, hi, max uint64) []*pb.Entry {
	if c.at(lo) == nil {
		return nil
	}
	from := c.es[lo-c.first():]
	if n := hi - lo; uint64(len(from)) > n {
		from = from[:n]
	}
	var size uint64
	for i, e := range from {
		if size += weight(e); i > 0 && size > max {
			from = from[:i]
			break
		}
	}
	return append([]*pb.Entry(nil), from...)
}

// sizes estimates bytes by index: a running total, noted each MiB.
type sizes struct {
	total int64
	marks []mark // ascending in index and total
}

type mark struct {
	index uint64
	total int64 // bytes of all entries up to and including index
}

const markEvery = 1 << 20

func (s *sizes) reset(index uint64) {
	s.total, s.marks = 0, append(s.marks[:0], mark{index, 0})
}

func (s *sizes) grow(index uint64, n int64) {
	s.total += n
	if s.total-s.marks[len(s.marks)-1].total >= markEvery {
		s.marks = append(s.marks, mark{index, s.total})
	}
}

func (s *sizes) put(es []*pb.Entry) {
	lo := es[0].GetIndex()
	for len(s.marks) > 1 && s.marks[len(s.marks)-1].index >= lo {
		s.marks = s.marks[:len(s.marks)-1]
		s.total = s.marks[len(s.marks)-1].total
	}
	for _, e := range es {
		s.grow(e.GetIndex(), int64(weight(e)))
	}
}

// at returns the position of the last mark at or before index.
func (s *sizes) at(index uint64) int {
	return max(0, sort.Search(len(s.marks), func(i int) bool { return s.marks[i].index > index })-1)
}

func (s *sizes) dropTo(index uint64) {
	if i := s.at(index); i > 0 {
		s.marks = append(s.marks[:0], s.marks[i:]...)
	}
}

func (s *sizes) after(index uint64) int64 {
	if len(s.marks) == 0 {
		return 0
	}
	return s.total - s.marks[s.at(index)].total
}

package spill

import (
	"bytes"
	"cmp"
	"slices"
)

// sortMemory sorts refs: by their prefixes first, which no comparison needs to
// look at bytes for; then, where several have the same, by the whole key.
func (s *Sorter) sortMemory() error {
	if cap(s.scratch) < len(s.refs) {
		s.scratch = make([]ref, len(s.refs))
	}
	if err := s.sortPrefixes(); err != nil {
		return err
	}
	for at, n := 0, 0; at < len(s.refs); {
		end := at + 1
		for end < len(s.refs) && s.refs[end].prefix == s.refs[at].prefix {
			end++
		}
		if n += end - at; n >= chunk {
			n = 0
			if err := s.o.Check(); err != nil {
				return err
			}
		}
		if end-at > 1 {
			if err := s.sortKeys(s.refs[at:end], s.scratch[:end-at]); err != nil {
				return err
			}
		}
		at = end
	}
	return nil
}

// sortPrefixes is a radix sort from the last byte to the first. It leaves out
// bytes that all prefixes share, which are most of those of an object id.
func (s *Sorter) sortPrefixes() error {
	var counts [8][256]uint32
	for i := range s.refs {
		p := s.refs[i].prefix
		for b := range counts {
			counts[b][byte(p>>(8*b))]++
		}
	}
	for b := range counts {
		if len(s.refs) == 0 || counts[b][byte(s.refs[0].prefix>>(8*b))] == uint32(len(s.refs)) {
			continue
		}
		var starts [256]uint32
		sum := uint32(0)
		for v, n := range counts[b] {
			starts[v] = sum
			sum += n
		}
		out := s.scratch[:len(s.refs)]
		for part := range slices.Chunk(s.refs, chunk) {
			if err := s.o.Check(); err != nil {
				return err
			}
			for _, r := range part {
				v := byte(r.prefix >> (8 * b))
				out[starts[v]] = r
				starts[v]++
			}
		}
		s.refs, s.scratch = out, s.refs
	}
	return nil
}

// sortKeys sorts refs by their keys: chunks first, then merges of twice the
// width, so that Check is asked in between. other is as long as refs.
func (s *Sorter) sortKeys(refs, other []ref) error {
	n := len(refs)
	for part := range slices.Chunk(refs, chunk) {
		if n > chunk {
			if err := s.o.Check(); err != nil {
				return err
			}
		}
		slices.SortFunc(part, s.compare)
	}
	in := refs
	for width := chunk; width < n; width *= 2 {
		out := other[:0]
		for at := 0; at < n; at += 2 * width {
			mid, end := min(at+width, n), min(at+2*width, n)
			var err error
			if out, err = s.mergeKeys(out, in[at:mid], in[mid:end]); err != nil {
				return err
			}
		}
		in, other = out, in
	}
	if &in[0] != &refs[0] {
		copy(refs, in)
	}
	return nil
}

func (s *Sorter) mergeKeys(out, a, b []ref) ([]ref, error) {
	for n := 0; len(a) > 0 && len(b) > 0; n++ {
		if n%chunk == 0 {
			if err := s.o.Check(); err != nil {
				return nil, err
			}
		}
		if s.compare(b[0], a[0]) < 0 {
			out, b = append(out, b[0]), b[1:]
		} else {
			out, a = append(out, a[0]), a[1:]
		}
	}
	return append(append(out, a...), b...), nil
}

// compare orders records by key; where keys are equal, by when they were added,
// which is where they lie.
func (s *Sorter) compare(a, b ref) int {
	if c := bytes.Compare(s.keyOf(a), s.keyOf(b)); c != 0 {
		return c
	}
	if a.block != b.block {
		return cmp.Compare(a.block, b.block)
	}
	return cmp.Compare(a.off, b.off)
}

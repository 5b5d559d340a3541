package spill

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

// run is a file of sorted records: lengths of key and value, key, value.
type run struct {
	file  *os.File
	w     *bufio.Writer // while it is written
	sum   *xxh3.Hasher  // of what was written
	bytes int64
	head  [2 * binary.MaxVarintLen32]byte
}

func create(dir string, buffer int) (*run, error) {
	f, err := os.CreateTemp(dir, "run-*.spill")
	if err != nil {
		return nil, errs.Wrap(errs.Internal, "scratch directory of a diff", err)
	}
	r := &run{file: f, sum: xxh3.New()}
	r.w = bufio.NewWriterSize(io.MultiWriter(f, r.sum), clamp(buffer))
	return r, nil
}

// clamp keeps a buffer in useful sizes.
func clamp(n int) int { return min(max(n, 4<<10), 256<<10) }

func (r *run) write(key, value []byte) error {
	head := binary.AppendUvarint(r.head[:0], uint64(len(key)))
	head = binary.AppendUvarint(head, uint64(len(value)))
	for _, b := range [...][]byte{head, key, value} {
		n, err := r.w.Write(b)
		r.bytes += int64(n)
		if err != nil {
			return r.fault(err)
		}
	}
	return nil
}

func (r *run) fault(err error) error { return errs.Wrap(errs.Internal, r.file.Name(), err) }

// end makes the run readable.
func (r *run) end() error {
	if err := r.w.Flush(); err != nil {
		return r.fault(err)
	}
	r.w = nil
	return nil
}

// remove closes and deletes the file. It may be called twice.
func (r *run) remove() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return errs.Wrap(errs.Internal, f.Name(), err)
	}
	return nil
}

// reader reads a run from its beginning and checks its bytes.
type reader struct {
	run    *run
	index  int // of the run: decides between equal keys
	r      *bufio.Reader
	sum    *xxh3.Hasher
	prefix uint64
	record []byte
	klen   int
}

func (r *reader) next() (bool, error) {
	klen, err := binary.ReadUvarint(r.r)
	if err == io.EOF {
		if r.sum.Sum64() != r.run.sum.Sum64() {
			return false, r.damaged()
		}
		return false, nil
	}
	vlen, err2 := binary.ReadUvarint(r.r)
	if err = errors.Join(err, err2); err == nil && (klen > uint64(r.run.bytes) || vlen > uint64(r.run.bytes)) {
		return false, r.damaged()
	}
	if err != nil {
		return false, r.fault(err)
	}
	n := int(klen + vlen)
	if cap(r.record) < n {
		r.record = make([]byte, n, 2*n)
	}
	r.record, r.klen = r.record[:n], int(klen)
	if _, err := io.ReadFull(r.r, r.record); err != nil {
		return false, r.fault(err)
	}
	r.prefix = prefixOf(r.record[:klen])
	return true, nil
}

func (r *reader) fault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.damaged()
	}
	return r.run.fault(err)
}

func (r *reader) damaged() error {
	return errs.New(errs.Corrupt, r.run.file.Name(), "the file does not hold what was written")
}

// merge reads runs in the order of their keys.
type merge struct {
	heap    readers
	current *reader // whose record is out; it moves on at the next call
}

func openMerge(runs []*run, memory int) (*merge, error) {
	m := &merge{}
	for i, r := range runs {
		if _, err := r.file.Seek(0, io.SeekStart); err != nil {
			return nil, r.fault(err)
		}
		in := &reader{run: r, index: i, sum: xxh3.New()}
		in.r = bufio.NewReaderSize(io.TeeReader(r.file, in.sum), clamp(memory/(len(runs)+1)))
		ok, err := in.next()
		if err != nil {
			return nil, err
		}
		if ok {
			m.heap = append(m.heap, in)
		}
	}
	heap.Init(&m.heap)
	return m, nil
}

func (m *merge) next() (bool, error) {
	if m.current != nil {
		ok, err := m.current.next()
		if err != nil {
			return false, err
		}
		if ok {
			heap.Fix(&m.heap, 0)
		} else {
			heap.Pop(&m.heap)
		}
		m.current = nil
	}
	if len(m.heap) == 0 {
		return false, nil
	}
	m.current = m.heap[0]
	return true, nil
}

func (m *merge) key() []byte   { return m.current.record[:m.current.klen] }
func (m *merge) value() []byte { return m.current.record[m.current.klen:] }

// readers is a heap: the reader with the least key is first.
type readers []*reader

func (h readers) Len() int { return len(h) }
func (h readers) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.prefix != b.prefix {
		return a.prefix < b.prefix
	}
	if c := bytes.Compare(a.record[:a.klen], b.record[:b.klen]); c != 0 {
		return c < 0
	}
	return a.index < b.index
}
func (h readers) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *readers) Push(x any)   { *h = append(*h, x.(*reader)) }
func (h *readers) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	*h = (*h)[:last]
	return r
}

package task

import (
	"encoding/binary"
	"time"

	"o3/internal/errs"
	"o3/internal/spill"
)

// lanes are the tables to whose rows only one row of the namespace contributes
// each, with the part of a worker's memory that is theirs, in eighths. The rows
// of a lane need hardly be sorted: those that begin alike come in their order
// from each piece, so it is enough to sort by their beginnings and the orders of
// the pieces.
var lanes = [...]struct {
	table byte
	lead  int // bytes after the table's by which they are sorted
	part  int
}{
	{tableChildren, 16, 1},
	{tableContainerKeys, 8, 3},
	{tableLargest, 8, 1},
}

// laneOf returns the number of a table's lane, -1 for none.
var laneOf = func() (of [256]int) {
	for i := range of {
		of[i] = -1
	}
	for i, l := range lanes {
		of[l.table] = i
	}
	return of
}()

// worker sums up what the rows of some pieces contribute, and sorts the sums.
type worker struct {
	plan  *plan
	rows  batch
	sums  *Sums
	memo  int // bytes that sums may hold
	works works

	counts *spill.Sorter
	lanes  [len(lanes)]*spill.Sorter
	order  uint64 // of the piece that is read
	most   int    // rows of the batch that is read
	told   int    // bytes of held that were told of
	key    []byte
	value  []byte
}

// own takes a key that only one row contributes to.
func (w *worker) own(key []byte, lead int, n int64) error {
	lane := laneOf[key[0]]
	w.key = binary.BigEndian.AppendUint64(append(w.key[:0], key[1:lead]...), w.order)
	w.value = append(binary.AppendUvarint(w.value[:0], uint64(n)), key[lead:]...)
	return w.lanes[lane].Add(w.key, w.value)
}

// held returns how many bytes sums and records to be sorted take.
func (w *worker) held() int {
	n := w.sums.size + w.counts.Used()
	for _, l := range w.lanes {
		n += l.Used()
	}
	return n
}

// emit takes a sum.
func (w *worker) emit(key []byte, c Counts) error {
	w.value = c.append(w.value[:0])
	return w.counts.Add(key, w.value)
}

// sum has the tasks add up the rows that were decoded.
func (w *worker) sum() error {
	w.plan.contribute(w.rows.rows, 1, w.sums, w.works)
	w.rows.clear()
	if w.sums.err == nil && w.sums.size > w.memo {
		return w.sums.drain(w.emit)
	}
	return w.sums.err
}

// end sorts.
func (w *worker) end() error {
	if err := w.sums.drain(w.emit); err != nil {
		return err
	}
	if err := w.counts.Sort(); err != nil {
		return err
	}
	for i, l := range lanes {
		began := time.Now()
		if err := w.lanes[i].Sort(); err != nil {
			return err
		}
		if t := w.plan.fills[l.table]; t >= 0 {
			w.works[t].Took += time.Since(began)
		}
	}
	return nil
}

// mergeLane calls f with the rows of a lane of all workers, in order. The key is
// valid during the call.
func mergeLane(lane int, workers []*worker, f func(k []byte, c Counts) error) error {
	live := make([]*spill.Sorter, 0, len(workers))
	for _, w := range workers {
		live = append(live, w.lanes[lane])
	}
	m, err := newMerger(live)
	if err != nil {
		return err
	}
	var k []byte
	var one [1]int64
	for m.least() {
		key, value := m.first.Key(), m.first.Value()
		n, size := binary.Uvarint(value)
		if size <= 0 {
			return errs.New(errs.Corrupt, "derived rows", "one that was sorted is malformed")
		}
		k = append(append(append(k[:0], lanes[lane].table), key[:lanes[lane].lead]...), value[size:]...)
		if one[0] = int64(n); one[0] != 0 {
			if err := f(k, one[:]); err != nil {
				return err
			}
		}
		if err := m.next(); err != nil {
			return err
		}
	}
	return nil
}

// merger reads sorters in the order of their keys.
type merger struct {
	live  []*spill.Sorter
	first *spill.Sorter // with the least key
	at    int           // of it
}

func newMerger(sorters []*spill.Sorter) (*merger, error) {
	m := &merger{}
	for _, s := range sorters {
		if s.Next() {
			m.live = append(m.live, s)
		} else if err := s.Err(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// least finds the least key; false at the end.
func (m *merger) least() bool {
	if len(m.live) == 0 {
		return false
	}
	m.at, m.first = 0, m.live[0]
	for i, s := range m.live[1:] {
		if string(s.Key()) < string(m.first.Key()) {
			m.at, m.first = i+1, s
		}
	}
	return true
}

// next passes over the least key.
func (m *merger) next() error {
	if m.first.Next() {
		return nil
	}
	m.live = append(m.live[:m.at], m.live[m.at+1:]...)
	return m.first.Err()
}

// merged reads the sums of several sorters: each key once, with the sum of what
// they have for it.
type merged struct {
	m    *merger
	key  []byte
	sum  Counts
	one  Counts
	over bool
}

func newMerged(sorters []*spill.Sorter) (*merged, error) {
	m, err := newMerger(sorters)
	if err != nil {
		return nil, err
	}
	r := &merged{m: m}
	return r, r.next()
}

// next goes to the next key; over says that there is none.
func (r *merged) next() (err error) {
	r.sum, r.over = r.sum[:0], true
	for r.m.least() {
		k, value := r.m.first.Key(), r.m.first.Value()
		if r.over {
			r.key, r.over = append(r.key[:0], k...), false
		} else if string(k) != string(r.key) {
			return nil
		}
		if r.one, err = parseCounts(r.one[:0], value); err != nil {
			return err
		}
		r.sum.add(r.one, 1)
		if err := r.m.next(); err != nil {
			return err
		}
	}
	return nil
}

// table calls f with the keys of a table; r must not be beyond them.
func (r *merged) table(table byte, f func(k []byte, c Counts) error) error {
	for !r.over && r.key[0] == table {
		if err := f(r.key, r.sum); err != nil {
			return err
		}
		if err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

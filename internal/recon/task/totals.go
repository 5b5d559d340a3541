package task

import (
	"bytes"

	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/spill"
)

// totals sums up what is in whole subtrees: each directory counts in itself and
// in all above it.
type totals struct {
	rows   kv.Reader
	memory int
	sums   *Sums
	sorter *spill.Sorter
	above  map[schema.DirKey]ns.ObjectID // where directories hang that have others in them, as far as known
	dirs   kv.Iterator                   // of table dirs, beside the directories that come in order
}

func newTotals(rows kv.Reader, sorter *spill.Sorter, memory int) *totals {
	return &totals{rows: rows, memory: memory, sums: newSums(), sorter: sorter, above: map[schema.DirKey]ns.ObjectID{}}
}

func (t *totals) close() error {
	if t.dirs == nil {
		return nil
	}
	return t.dirs.Close()
}

// add adds what is in a directory. Directories come in order.
func (t *totals) add(k []byte, c Counts) error {
	bucket, dir, err := parseDir(k)
	if err != nil {
		return err
	}
	for depth := range maxDepth {
		t.sums.two(tableTotal, uint64(bucket), uint64(dir)).add(c, 1)
		if dir == bucket {
			break
		}
		find := t.parent
		if depth == 0 {
			find = t.own
		}
		if dir, err = find(schema.DirKey{Bucket: bucket, Dir: dir}); err != nil {
			return err
		}
		if dir == 0 {
			break
		}
	}
	if t.sums.size > t.memory {
		return t.sums.drain(t.spill)
	}
	return nil
}

// own returns where the directory hangs that add was given, 0 for nowhere.
func (t *totals) own(k schema.DirKey) (ns.ObjectID, error) {
	if t.dirs == nil {
		it, err := t.rows.Iter([]byte{spaceDirs}, []byte{spaceDirs + 1})
		if err != nil {
			return 0, err
		}
		t.dirs = it
		t.dirs.First()
	}
	key := schema.Dirs.Key(k)
	for range 16 { // the next one is mostly near
		if !t.dirs.Valid() || bytes.Compare(t.dirs.Key(), key) >= 0 {
			break
		}
		t.dirs.Next()
	}
	if t.dirs.Valid() && bytes.Compare(t.dirs.Key(), key) < 0 {
		t.dirs.SeekGE(key)
	}
	if !t.dirs.Valid() || !bytes.Equal(t.dirs.Key(), key) {
		return 0, t.dirs.Err()
	}
	value, err := t.dirs.Value()
	if err != nil {
		return 0, err
	}
	return parentOf(key, value)
}

// maxAbove bounds how many directories' places are remembered.
const maxAbove = 1 << 18

// parent returns where a directory hangs, 0 for nowhere.
func (t *totals) parent(k schema.DirKey) (ns.ObjectID, error) {
	if id, ok := t.above[k]; ok {
		return id, nil
	}
	row, _, err := schema.Dirs.Get(t.rows, k)
	if err != nil {
		return 0, err
	}
	if len(t.above) >= maxAbove {
		clear(t.above)
	}
	id := ns.ObjectID(row.GetParentId())
	t.above[k] = id
	return id, nil
}

func (t *totals) spill(k []byte, c Counts) error { return t.sorter.Add(k, c.append(nil)) }

// each calls f with the totals, in order.
func (t *totals) each(f func(k []byte, c Counts) error) error {
	if err := t.sums.drain(t.spill); err != nil {
		return err
	}
	if err := t.sorter.Sort(); err != nil {
		return err
	}
	m, err := newMerged([]*spill.Sorter{t.sorter})
	if err != nil {
		return err
	}
	return m.table(tableTotal, f)
}

package memkv

import (
	"bytes"

	"github.com/tidwall/btree"
)

// iterator walks a tree within bounds. A nil tree has no rows.
type iterator struct {
	store        *Store // nil when closed
	tree         *tree
	it           btree.IterG[row]
	lower, upper []byte // empty is open
	valid        bool
}

func newIterator(s *Store, t *tree, lower, upper []byte) *iterator {
	s.open.Add(1)
	i := &iterator{store: s, tree: t, lower: bytes.Clone(lower), upper: bytes.Clone(upper)}
	if t != nil {
		i.it = t.Iter()
	}
	return i
}

func (i *iterator) First() bool {
	switch {
	case i.tree == nil || i.store == nil:
		return i.stop(false)
	case len(i.lower) > 0:
		return i.stop(i.it.Seek(row{key: i.lower}))
	}
	return i.stop(i.it.First())
}

func (i *iterator) Last() bool {
	switch {
	case i.tree == nil || i.store == nil:
		return i.stop(false)
	case len(i.upper) > 0:
		return i.before(i.upper)
	}
	return i.stop(i.it.Last())
}

func (i *iterator) SeekGE(key []byte) bool {
	if len(key) == 0 || bytes.Compare(key, i.lower) < 0 {
		return i.First()
	}
	if i.tree == nil || i.store == nil {
		return i.stop(false)
	}
	return i.stop(i.it.Seek(row{key: key}))
}

func (i *iterator) SeekLT(key []byte) bool {
	if len(i.upper) > 0 && bytes.Compare(key, i.upper) > 0 {
		return i.Last()
	}
	if i.tree == nil || i.store == nil || len(key) == 0 {
		return i.stop(false)
	}
	return i.before(key)
}

// before goes to the last row below key.
func (i *iterator) before(key []byte) bool {
	if i.it.Seek(row{key: key}) {
		return i.stop(i.it.Prev())
	}
	return i.stop(i.it.Last()) // every row is below key
}

func (i *iterator) Next() bool { return i.valid && i.stop(i.it.Next()) }

func (i *iterator) Prev() bool { return i.valid && i.stop(i.it.Prev()) }

// stop notes where the tree's iterator stopped: on a row within the bounds or
// outside of them.
func (i *iterator) stop(found bool) bool {
	i.valid = false
	if found {
		k := i.it.Item().key
		i.valid = bytes.Compare(k, i.lower) >= 0 && (len(i.upper) == 0 || bytes.Compare(k, i.upper) < 0)
	}
	return i.valid
}

func (i *iterator) Valid() bool { return i.valid }

func (i *iterator) Key() []byte {
	if !i.valid {
		return nil
	}
	return i.it.Item().key
}

func (i *iterator) Value() ([]byte, error) {
	if !i.valid {
		return nil, nil
	}
	return i.it.Item().value, nil
}

func (i *iterator) Err() error { return nil }

func (i *iterator) Close() error {
	if i.store != nil {
		i.store.open.Add(-1)
		i.store, i.valid = nil, false
	}
	return nil
}

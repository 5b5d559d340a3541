package overlay

import (
	"bytes"

	"github.com/tidwall/btree"

	"o3/internal/kv"
)

// item is a write as an iterator sees it; it does not change afterwards.
type item struct {
	key, value []byte
	ok         bool
}

func (e *entry) item() item { return item{e.key, e.value, e.ok} }

type tree = btree.BTreeG[item]

// sorted returns the writes in order, fixed at this moment. The first call of
// a batch sorts; later ones cost the same however many writes there are,
// because the tree is copied on write.
func (o *Overlay) sorted() *tree {
	if o.order == nil {
		o.order = btree.NewBTreeGOptions(func(a, b item) bool {
			return bytes.Compare(a.key, b.key) < 0
		}, btree.Options{NoLocks: true})
		for _, e := range o.written {
			o.order.Set(e.item())
		}
	}
	return o.order.Copy()
}

// Iter returns an iterator over [lower, upper) of the base and the writer's
// own writes as they are now; later writes do not change what it sees. It must
// be closed before Reset.
func (o *Overlay) Iter(lower, upper []byte) (kv.Iterator, error) {
	base, err := o.base.Iter(lower, upper)
	if err != nil || len(o.written) == 0 {
		return base, err
	}
	t := o.sorted()
	return &iterator{
		base: base, own: t.Iter(),
		lower: bytes.Clone(lower), upper: bytes.Clone(upper),
	}, nil
}

// iterator merges the base and the writes. Going forward, each side stands at
// its first row not before the current key; going backward, at its last row
// not after it. A write hides the base's row of the same key.
type iterator struct {
	base         kv.Iterator
	own          btree.IterG[item]
	ownOK        bool // own stands at a row within the bounds
	baseOK       bool
	lower, upper []byte // empty is open
	backward     bool
	valid        bool
	fromOwn      bool // the current row is a write
}

func (i *iterator) First() bool {
	i.baseOK = i.base.First()
	if len(i.lower) > 0 {
		i.stop(i.own.Seek(item{key: i.lower}))
	} else {
		i.stop(i.own.First())
	}
	return i.settle(false)
}

func (i *iterator) Last() bool {
	i.baseOK = i.base.Last()
	if len(i.upper) > 0 {
		i.stop(i.ownBefore(i.upper))
	} else {
		i.stop(i.own.Last())
	}
	return i.settle(true)
}

func (i *iterator) SeekGE(key []byte) bool {
	if len(key) == 0 || bytes.Compare(key, i.lower) < 0 {
		return i.First()
	}
	i.baseOK = i.base.SeekGE(key)
	i.stop(i.own.Seek(item{key: key}))
	return i.settle(false)
}

func (i *iterator) SeekLT(key []byte) bool {
	if len(i.upper) > 0 && bytes.Compare(key, i.upper) > 0 {
		return i.Last()
	}
	i.baseOK = i.base.SeekLT(key)
	i.stop(len(key) > 0 && i.ownBefore(key))
	return i.settle(true)
}

// ownBefore moves the writes to the last one below key.
func (i *iterator) ownBefore(key []byte) bool {
	if i.own.Seek(item{key: key}) {
		return i.own.Prev()
	}
	return i.own.Last()
}

// stop notes where the writes stopped: at a row, and within the bounds or not.
func (i *iterator) stop(found bool) {
	i.ownOK = false
	if found {
		k := i.own.Item().key
		i.ownOK = bytes.Compare(k, i.lower) >= 0 && (len(i.upper) == 0 || bytes.Compare(k, i.upper) < 0)
	}
}

func (i *iterator) Next() bool {
	if !i.valid {
		return false
	}
	if i.backward { // turn round: both sides to their first row after this one
		key := bytes.Clone(i.Key())
		i.baseOK = i.base.SeekGE(key)
		if i.baseOK && bytes.Equal(i.base.Key(), key) {
			i.baseOK = i.base.Next()
		}
		i.stop(i.own.Seek(item{key: key}))
		if i.ownOK && bytes.Equal(i.own.Item().key, key) {
			i.stop(i.own.Next())
		}
	} else {
		i.leave()
	}
	return i.settle(false)
}

func (i *iterator) Prev() bool {
	if !i.valid {
		return false
	}
	if !i.backward { // turn round: both sides to their last row before this one
		key := bytes.Clone(i.Key())
		i.baseOK = i.base.SeekLT(key)
		i.stop(i.ownBefore(key))
	} else {
		i.leave()
	}
	return i.settle(true)
}

// leave moves the sides that stand at the current key on.
func (i *iterator) leave() {
	if !i.fromOwn {
		i.stepBase()
		return
	}
	if i.baseOK && bytes.Equal(i.base.Key(), i.own.Item().key) {
		i.stepBase()
	}
	i.stepOwn()
}

func (i *iterator) stepBase() {
	if i.backward {
		i.baseOK = i.base.Prev()
	} else {
		i.baseOK = i.base.Next()
	}
}

func (i *iterator) stepOwn() {
	if i.backward {
		i.stop(i.own.Prev())
	} else {
		i.stop(i.own.Next())
	}
}

// settle chooses the side that is next in the direction, passing over deleted
// rows.
func (i *iterator) settle(backward bool) bool {
	i.backward = backward
	for {
		i.valid = false
		if !i.baseOK && (!i.ownOK || i.base.Err() != nil) {
			return false
		}
		i.fromOwn = i.ownFirst()
		if !i.fromOwn || i.own.Item().ok {
			i.valid = true
			return true
		}
		i.leave()
	}
}

// ownFirst reports whether the next row in the direction is a write; at least
// one side has a row.
func (i *iterator) ownFirst() bool {
	if !i.ownOK || !i.baseOK {
		return i.ownOK
	}
	c := bytes.Compare(i.own.Item().key, i.base.Key())
	if i.backward {
		c = -c
	}
	return c <= 0
}

func (i *iterator) Valid() bool { return i.valid }

func (i *iterator) Key() []byte {
	switch {
	case !i.valid:
		return nil
	case i.fromOwn:
		return i.own.Item().key
	}
	return i.base.Key()
}

func (i *iterator) Value() ([]byte, error) {
	switch {
	case !i.valid:
		return nil, nil
	case i.fromOwn:
		return i.own.Item().value, nil
	}
	return i.base.Value()
}

func (i *iterator) Err() error { return i.base.Err() }

func (i *iterator) Close() error {
	i.valid = false
	return i.base.Close()
}

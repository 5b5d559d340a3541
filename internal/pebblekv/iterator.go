package pebblekv

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"o3/internal/kv"
)

// bounds returns the engine's options for [lower, upper); empty is open. The
// engine copies them.
func bounds(lower, upper []byte) *pebble.IterOptions {
	o := &pebble.IterOptions{}
	if len(lower) > 0 {
		o.LowerBound = lower
	}
	if len(upper) > 0 {
		o.UpperBound = upper
	}
	if len(upper) > 0 && bytes.Compare(lower, upper) > 0 {
		o.LowerBound = upper // crossed: nothing lies between
	}
	return o
}

// iterator is an engine's iterator with the rules of package kv.
type iterator struct {
	store *Store // nil when closed
	it    *pebble.Iterator
}

func (s *Store) newIterator(it *pebble.Iterator, err error) (kv.Iterator, error) {
	if err != nil {
		return nil, s.readError("pebblekv.Iter", err)
	}
	s.open.Add(1)
	return &iterator{store: s, it: it}, nil
}

func (i *iterator) First() bool { return i.store != nil && i.it.First() }

func (i *iterator) Last() bool { return i.store != nil && i.it.Last() }

func (i *iterator) SeekGE(key []byte) bool {
	if len(key) == 0 { // the engine, checking itself, looks at the first byte
		return i.First()
	}
	return i.store != nil && i.it.SeekGE(key)
}

func (i *iterator) SeekLT(key []byte) bool {
	if len(key) == 0 {
		key = []byte{0} // no key is below the shortest
	}
	return i.store != nil && i.it.SeekLT(key)
}

func (i *iterator) Next() bool { return i.Valid() && i.it.Next() }

func (i *iterator) Prev() bool { return i.Valid() && i.it.Prev() }

func (i *iterator) Valid() bool { return i.store != nil && i.it.Valid() }

func (i *iterator) Key() []byte {
	if !i.Valid() {
		return nil
	}
	return i.it.Key()
}

func (i *iterator) Value() ([]byte, error) {
	if !i.Valid() {
		return nil, nil
	}
	v, err := i.it.ValueAndErr()
	if err != nil {
		return nil, i.store.readError("pebblekv.Value", err)
	}
	return v, nil
}

func (i *iterator) Err() error {
	if i.store == nil {
		return nil
	}
	if err := i.it.Error(); err != nil {
		return i.store.readError("pebblekv.Iter", err)
	}
	return nil
}

// Close closes the iterator. An error of reading is given by Err.
func (i *iterator) Close() error {
	if i.store == nil {
		return nil
	}
	_ = i.it.Close()
	i.store.open.Add(-1)
	i.store = nil
	return nil
}

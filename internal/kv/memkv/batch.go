package memkv

import (
	"bytes"

	"o3/internal/errs"
)

// write is a row to set, or a key to delete.
type write struct {
	row
	deleted bool
}

// batch collects writes in order.
type batch struct {
	store *Store // nil when committed or closed
	rows  []write
	bytes int
}

func (b *batch) Set(key, value []byte) error {
	if err := b.check("memkv.Set", key, value); err != nil {
		return err
	}
	b.add(write{row: row{bytes.Clone(key), append([]byte{}, value...)}})
	return nil
}

func (b *batch) Delete(key []byte) error {
	if err := b.check("memkv.Delete", key, nil); err != nil {
		return err
	}
	b.add(write{row: row{key: bytes.Clone(key)}, deleted: true})
	return nil
}

func (b *batch) add(w write) {
	b.rows = append(b.rows, w)
	b.bytes += len(w.key) + len(w.value)
}

func (b *batch) check(op string, key, value []byte) error {
	switch {
	case b.store == nil:
		return spent(op)
	case len(key) == 0:
		return &errs.Error{Kind: errs.Invalid, Op: op, Detail: "the key is empty"}
	case len(key) > maxBytes || len(value) > maxBytes:
		return &errs.Error{Kind: errs.TooLarge, Op: op, Detail: "a key or value is above 1 GiB"}
	}
	return nil
}

// Commit makes the rows visible; with sync they are what Crashed keeps.
func (b *batch) Commit(sync bool) error {
	if b.store == nil {
		return spent("memkv.Commit")
	}
	err := b.store.commit(b.rows, sync)
	b.store, b.rows = nil, nil
	return err
}

func (b *batch) Len() int { return b.bytes }

func (b *batch) Close() error {
	b.store, b.rows = nil, nil
	return nil
}

func spent(op string) error {
	return &errs.Error{Kind: errs.Internal, Op: op, Detail: "the batch was committed or closed"}
}

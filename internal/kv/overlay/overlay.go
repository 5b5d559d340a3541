// Package overlay is a single writer's view of a store: what the store holds,
// plus the writer's own writes that are not committed yet. Apply runs on it:
// every request of a log entry reads and writes the overlay, and at the end
// Changes gives the net difference from the base, which becomes one batch.
//
// The overlay remembers each row it read, so a second Get of a key costs a map
// lookup, and the base value of every changed key is known without reading it
// twice. Bytes live in slabs that Reset takes back: what Get returns is valid
// until Reset and must not be changed.
//
// The package is pure: no goroutine, no lock, no clock. An Overlay belongs to
// one goroutine. Its base must not change between New or Reset and the last
// use (a Snapshot, or a Store that has no other writer).
package overlay

import (
	"bytes"
	"slices"

	"o3/internal/errs"
	"o3/internal/kv"
)

// Appender is a base that reads a value into memory the caller has: it
// appends the value of key to dst. A base without it is read through Get.
type Appender interface {
	AppendGet(dst, key []byte) (value []byte, ok bool, err error)
}

// Overlay is a base with uncommitted writes on top. It implements kv.Reader,
// except that Get returns the overlay's own bytes, not a copy.
type Overlay struct {
	base    kv.Reader
	reader  Appender // base, or nil
	rows    map[string]*entry
	entries chunks
	bytes   slab
	scratch []byte
	written []*entry // rows with a write of our own, in order of first write
	order   *tree    // those rows sorted; nil until the first Iter of a batch
	size    int
}

var _ kv.Reader = (*Overlay)(nil)

// entry is what is known of one key.
type entry struct {
	key     []byte
	base    []byte
	value   []byte
	known   bool // base and baseOK were read
	baseOK  bool // the base has the key
	written bool // value and ok are the writer's
	ok      bool // the key has a value
}

// New returns an overlay of base without writes.
func New(base kv.Reader) *Overlay {
	o := &Overlay{rows: make(map[string]*entry)}
	o.Reset(base)
	return o
}

// keepRows is the number of rows up to which Reset keeps the memory of the
// map: clearing one costs its capacity.
const keepRows = 1 << 16

// Reset drops all writes and all that was read, and continues on base. What
// earlier calls of Get and Changes gave is no longer valid; iterators must
// have been closed.
func (o *Overlay) Reset(base kv.Reader) {
	o.base = base
	o.reader, _ = base.(Appender)
	if len(o.rows) > keepRows {
		o.rows = make(map[string]*entry)
	} else {
		clear(o.rows)
	}
	o.entries.reset()
	o.bytes.reset()
	clear(o.written)
	o.written = o.written[:0]
	o.order = nil
	o.size = 0
}

// Get returns the value of key as the writer sees it. The value is valid until
// Reset and must not be changed.
func (o *Overlay) Get(key []byte) ([]byte, bool, error) {
	e := o.rows[string(key)]
	if e == nil {
		if len(key) == 0 {
			return nil, false, nil
		}
		e = o.add(key)
		if err := o.read(e); err != nil {
			return nil, false, err
		}
	}
	if e.written {
		return e.value, e.ok, nil
	}
	if !e.known {
		if err := o.read(e); err != nil {
			return nil, false, err
		}
	}
	return e.base, e.baseOK, nil
}

// Set gives key a value. It copies both.
func (o *Overlay) Set(key, value []byte) error {
	e, err := o.entry("overlay.Set", key)
	if err != nil {
		return err
	}
	o.size += len(value) - len(e.value)
	e.value, e.ok = o.bytes.copy(value), true
	o.note(e)
	return nil
}

// Delete removes key, whether it is there or not.
func (o *Overlay) Delete(key []byte) error {
	e, err := o.entry("overlay.Delete", key)
	if err != nil {
		return err
	}
	o.size -= len(e.value)
	e.value, e.ok = nil, false
	o.note(e)
	return nil
}

// Len returns the bytes of the keys written and of their present values: a
// bound for the batch that Changes makes.
func (o *Overlay) Len() int { return o.size }

// entry finds or makes the entry of key.
func (o *Overlay) entry(op string, key []byte) (*entry, error) {
	if e := o.rows[string(key)]; e != nil {
		return e, nil
	}
	if len(key) == 0 {
		return nil, &errs.Error{Kind: errs.Invalid, Op: op, Detail: "the key is empty"}
	}
	return o.add(key), nil
}

func (o *Overlay) add(key []byte) *entry {
	e := o.entries.next()
	e.key = o.bytes.copy(key)
	o.rows[stringOf(e.key)] = e
	return e
}

// note records that e has a write.
func (o *Overlay) note(e *entry) {
	if !e.written {
		e.written = true
		o.written = append(o.written, e)
		o.size += len(e.key)
	}
	if o.order != nil {
		o.order.Set(e.item())
	}
}

// read fetches e from the base.
func (o *Overlay) read(e *entry) error {
	var v []byte
	var ok bool
	var err error
	if o.reader != nil {
		v, ok, err = o.reader.AppendGet(o.scratch[:0], e.key)
		if err == nil && ok {
			o.scratch = v
			v = o.bytes.copy(v)
		}
	} else {
		v, ok, err = o.base.Get(e.key)
	}
	if err != nil {
		return err
	}
	if !ok {
		v = nil
	}
	e.base, e.baseOK, e.known = v, ok, true
	return nil
}

// Changes calls yield for each key whose value differs from the base, in key
// order, with the old and the new value. A key written back to what it was
// does not appear. An error of yield, or of reading the base, ends it. The
// slices are valid until Reset.
func (o *Overlay) Changes(yield func(key, old []byte, oldOK bool, value []byte, ok bool) error) error {
	slices.SortFunc(o.written, func(a, b *entry) int { return bytes.Compare(a.key, b.key) })
	for _, e := range o.written {
		if !e.known {
			if err := o.read(e); err != nil {
				return err
			}
		}
		if e.ok == e.baseOK && bytes.Equal(e.value, e.base) {
			continue
		}
		if err := yield(e.key, e.base, e.baseOK, e.value, e.ok); err != nil {
			return err
		}
	}
	return nil
}

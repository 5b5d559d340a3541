// Package schema declares the rows of the store: every table with its key
// tuple, its record and the format it appeared in. The key map in the
// documentation, `o3 debug db dump` and the tests derive from these values.
// It is pure.
package schema

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
	"o3/internal/kv"
)

// Format is the newest format of the store this program writes and reads. Format
// 2 has snapshots: the tables since 2, and the counters of them in Bucket. Format
// 3 has leases on the log. Format 4 has lifecycle rules, scans and suspensions. All
// that the formats before have is as it was, so a store of format 1 is one of
// format 4 without any of these.
const Format = 4

// recordVersion is the first byte of every value: the format of its record.
const recordVersion = 1

// Writer is a Reader that also takes writes: what a command sees of the store.
type Writer interface {
	kv.Reader
	Set(key, value []byte) error
	Delete(key []byte) error
}

// Message is a pointer to a record.
type Message[R any] interface {
	*R
	proto.Message
}

// Table is a region of the key space: rows of one record under one kind of key.
type Table[K, R any, P Message[R]] struct {
	space  byte
	name   string
	tuple  string // for people
	since  int
	append func([]byte, K) []byte
	parse  func([]byte) (K, error)
}

// Name returns the table's name.
func (t *Table[K, R, P]) Name() string { return t.name }

// Key returns the encoded key of k.
func (t *Table[K, R, P]) Key(k K) []byte {
	return t.append(append(make([]byte, 0, 64), t.space), k)
}

// ParseKey returns the key that encodes as b.
func (t *Table[K, R, P]) ParseKey(b []byte) (K, error) {
	if len(b) == 0 || b[0] != t.space {
		var none K
		return none, errs.New(errs.Corrupt, t.name, fmt.Sprintf("key %x is not of this table", b))
	}
	k, err := t.parse(b[1:])
	if err != nil {
		return k, errs.New(errs.Corrupt, t.name, fmt.Sprintf("key %x is malformed", b))
	}
	return k, nil
}

// Prefix returns the table byte followed by tuple, the start of some keys.
func (t *Table[K, R, P]) Prefix(tuple ...byte) []byte {
	return append([]byte{t.space}, tuple...)
}

// Get returns the row under k; ok is false when there is none.
func (t *Table[K, R, P]) Get(r kv.Reader, k K) (row P, ok bool, err error) {
	key := t.Key(k)
	value, ok, err := r.Get(key)
	if err != nil || !ok {
		return nil, false, err
	}
	row, err = t.Decode(key, value)
	return row, err == nil, err
}

// Decode decodes the value found under key.
func (t *Table[K, R, P]) Decode(key, value []byte) (P, error) {
	var row R
	if err := t.DecodeInto(key, value, &row); err != nil {
		return nil, err
	}
	return &row, nil
}

// DecodeInto decodes the value found under key into row, which must be zero.
func (t *Table[K, R, P]) DecodeInto(key, value []byte, row P) error {
	if len(value) == 0 || value[0] == 0 {
		return errs.New(errs.Corrupt, t.name, fmt.Sprintf("row %x has no record version", key))
	}
	if value[0] > recordVersion {
		return errs.New(errs.FormatTooNew, t.name,
			fmt.Sprintf("row %x has record version %d, this program reads up to %d", key, value[0], recordVersion))
	}
	if err := unmarshal.Unmarshal(value[1:], row); err != nil {
		return errs.New(errs.Corrupt, t.name, fmt.Sprintf("row %x: %v", key, err))
	}
	return nil
}

var (
	unmarshal = proto.UnmarshalOptions{Merge: true}
	marshal   = proto.MarshalOptions{Deterministic: true}
)

// Encode returns the stored value of row.
func (t *Table[K, R, P]) Encode(row P) ([]byte, error) {
	b := make([]byte, 1, 1+proto.Size(row))
	b[0] = recordVersion
	b, err := marshal.MarshalAppend(b, row)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, t.name, err)
	}
	return b, nil
}

// Put stores row under k.
func (t *Table[K, R, P]) Put(w Writer, k K, row P) error {
	value, err := t.Encode(row)
	if err != nil {
		return err
	}
	return w.Set(t.Key(k), value)
}

// Delete removes the row under k.
func (t *Table[K, R, P]) Delete(w Writer, k K) error { return w.Delete(t.Key(k)) }

// Scan calls f with each row whose encoded key lies in [lower, upper), in
// order, until f returns false.
func (t *Table[K, R, P]) Scan(r kv.Reader, lower, upper []byte, f func(K, P) (bool, error)) error {
	it, err := r.Iter(lower, upper)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		k, err := t.ParseKey(it.Key())
		if err != nil {
			return err
		}
		value, err := it.Value()
		if err != nil {
			return err
		}
		row, err := t.Decode(it.Key(), value)
		if err != nil {
			return err
		}
		if more, err := f(k, row); err != nil || !more {
			return err
		}
	}
	return it.Err()
}

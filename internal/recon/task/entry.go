package task

import (
	"google.golang.org/protobuf/encoding/protowire"

	o3v1 "o3/api/o3/v1"
	"o3/internal/ns"
	"o3/internal/schema"
)

// The version of records, and the numbers of their fields, of which tasks need
// some. TestPart compares with whole records.
const (
	recordVersion = 1

	entryKind       = 1
	entryModifiedMs = 6
	entrySize       = 7
	entryExtents    = 10

	extentContainer = 1
	extentLocal     = 2
	extentIndirect  = 5

	dirParent = 2
)

// field is a field of a record: v of one with a number, data of one with bytes.
type field struct {
	number protowire.Number
	kind   protowire.Type
	v      uint64
	data   []byte
}

// take splits the first field off b; ok is false when b is malformed.
func take(b []byte) (f field, rest []byte, ok bool) {
	tag, n := varint(b)
	if n < 0 {
		return f, nil, false
	}
	b = b[n:]
	f.number, f.kind = protowire.DecodeTag(tag)
	switch f.kind {
	case protowire.VarintType:
		f.v, n = varint(b)
	case protowire.BytesType:
		if f.v, n = varint(b); n > 0 && f.v <= uint64(len(b)-n) {
			f.data = b[n : n+int(f.v)]
			n += int(f.v)
		} else {
			n = -1
		}
	default:
		n = protowire.ConsumeFieldValue(f.number, f.kind, b)
	}
	if n < 0 || f.number < protowire.MinValidNumber {
		return f, nil, false
	}
	return f, b[n:], true
}

// varint is protowire.ConsumeVarint, quick where there is one byte.
func varint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}

// fillEntry decodes what tasks need of an entry. What it cannot read in part is
// decoded whole, which says what is wrong.
func (d *batch) fillEntry(r *Row, key, value []byte) error {
	if ok, err := d.part(r, value); ok || err != nil {
		return err
	}
	d.entry.Reset()
	if err := schema.Entries.DecodeInto(key, value, &d.entry); err != nil {
		return err
	}
	r.Key, r.ModifiedMs, r.Bytes = d.entry.Kind == o3v1.EntryKind_ENTRY_KIND_KEY, d.entry.ModifiedMs, d.entry.Size
	return d.indirect(r, d.entry.Extents)
}

// part decodes a part of an entry; ok is false when it cannot.
func (d *batch) part(r *Row, value []byte) (ok bool, err error) {
	if len(value) == 0 || value[0] != recordVersion {
		return false, nil
	}
	at, elsewhere := len(d.blocks), false
	var f field
	for b := value[1:]; len(b) > 0; {
		if f, b, ok = take(b); !ok {
			return false, nil
		}
		switch {
		case f.kind == protowire.VarintType && f.number == entryKind:
			r.Key = o3v1.EntryKind(f.v) == o3v1.EntryKind_ENTRY_KIND_KEY
		case f.kind == protowire.VarintType && f.number == entryModifiedMs:
			r.ModifiedMs = int64(f.v)
		case f.kind == protowire.VarintType && f.number == entrySize:
			r.Bytes = f.v
		case f.kind == protowire.BytesType && f.number == entryExtents:
			x, ok := extent(f.data)
			if !ok {
				return false, nil
			}
			elsewhere = elsewhere || x.Indirect
			if x.Container != 0 {
				d.blocks = append(d.blocks[:at], count(d.blocks[at:], x.Container)...)
			}
		}
	}
	if elsewhere {
		d.blocks = d.blocks[:at]
		return true, d.indirect(r, d.extents(value))
	}
	r.Containers = d.blocks[at:len(d.blocks):len(d.blocks)]
	return true, nil
}

// extentPart is what tasks need of an extent.
type extentPart struct {
	Container, Local uint64
	Indirect         bool
}

func extent(b []byte) (x extentPart, ok bool) {
	var f field
	for len(b) > 0 {
		if f, b, ok = take(b); !ok {
			return x, false
		}
		if f.kind != protowire.VarintType {
			continue
		}
		switch f.number {
		case extentContainer:
			x.Container = f.v
		case extentLocal:
			x.Local = f.v
		case extentIndirect:
			x.Indirect = protowire.DecodeBool(f.v)
		}
	}
	return x, true
}

// extents returns the extents of an entry of which part has read all fields.
func (d *batch) extents(value []byte) []*o3v1.Extent {
	d.list = d.list[:0]
	for b := value[1:]; len(b) > 0; {
		var f field
		f, b, _ = take(b)
		if f.kind == protowire.BytesType && f.number == entryExtents {
			x, _ := extent(f.data)
			d.list = append(d.list, &o3v1.Extent{Container: x.Container, Local: x.Local, Indirect: x.Indirect})
		}
	}
	return d.list
}

// parentOf returns where a row of dirs says that the directory hangs.
func parentOf(key, value []byte) (ns.ObjectID, error) {
	if len(value) > 0 && value[0] == recordVersion {
		parent, whole := uint64(0), true
		var f field
		for b := value[1:]; len(b) > 0 && whole; {
			if f, b, whole = take(b); whole && f.kind == protowire.VarintType && f.number == dirParent {
				parent = f.v
			}
		}
		if whole {
			return ns.ObjectID(parent), nil
		}
	}
	row, err := schema.Dirs.Decode(key, value)
	return ns.ObjectID(row.GetParentId()), err
}

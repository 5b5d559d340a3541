package schema

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// Scanned is what a lifecycle scan needs of an entry.
type Scanned struct {
	Directory  bool
	Implicit   bool // of a directory
	ObjectID   ns.ObjectID
	Since      ns.Op
	ModifiedMs int64
	Size       uint64 // bytes

	key  []byte // of the row, for errors
	rest []byte // encoded fields from the first after size on
	tags []*o3v1.Pair
}

// entryTags is the field number of Entry's tags.
const entryTags = 12

// DecodeScanned decodes the entry found under key into row. Of a key it reads
// no field behind its size: rows are encoded in the order of the fields. Tags reads them
// when it is called, while key and value are valid.
func DecodeScanned(key, value []byte, row *Scanned) error {
	if len(value) == 0 || value[0] != recordVersion {
		return Entries.DecodeInto(key, value, new(schemapb.Entry)) // which says what is wrong
	}
	*row = Scanned{key: key}
	b := value[1:]
	for len(b) > 0 {
		tag := b[0] // fields up to 15 have tags of one byte
		if tag > entrySize<<3|7 {
			break
		}
		if tag&7 != byte(protowire.VarintType) {
			n := protowire.ConsumeFieldValue(protowire.Number(tag>>3), protowire.Type(tag&7), b[1:])
			if n < 0 {
				return malformed(key, n)
			}
			b = b[1+n:]
			continue
		}
		v, n := protowire.ConsumeVarint(b[1:])
		if n < 0 {
			return malformed(key, n)
		}
		switch tag >> 3 {
		case entryKind:
			row.Directory = o3v1.EntryKind(v) == o3v1.EntryKind_ENTRY_KIND_DIRECTORY
		case entryObjectID:
			row.ObjectID = ns.ObjectID(v)
		case entrySince:
			row.Since = ns.Op(v)
		case entryModifiedMs:
			row.ModifiedMs = int64(v)
		case entrySize:
			row.Size = v
		}
		b = b[1+n:]
	}
	row.rest = b
	if !row.Directory {
		return nil
	}
	return row.fields(func(number protowire.Number, value []byte) bool {
		if number == entryImplicit {
			v, _ := protowire.ConsumeVarint(value)
			row.Implicit = protowire.DecodeBool(v)
		}
		return true
	})
}

// fields calls f with each of the fields that were left, until it returns false.
func (s *Scanned) fields(f func(number protowire.Number, value []byte) bool) error {
	for b := s.rest; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(s.key, n)
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return malformed(s.key, n)
		}
		if !f(number, b[:n]) {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// Tags returns the entry's tags. It may be called until the scan moves on.
func (s *Scanned) Tags() ([]*o3v1.Pair, error) {
	if s.tags != nil || len(s.rest) == 0 {
		return s.tags, nil
	}
	var failed error
	err := s.fields(func(number protowire.Number, value []byte) bool {
		if number != entryTags {
			return number < entryTags
		}
		raw, n := protowire.ConsumeBytes(value)
		pair := &o3v1.Pair{}
		if n < 0 || proto.Unmarshal(raw, pair) != nil {
			failed = errs.New(errs.Corrupt, Entries.name, fmt.Sprintf("row %x: its tags are malformed", s.key))
			return false
		}
		s.tags = append(s.tags, pair)
		return true
	})
	if failed != nil {
		err = failed
	}
	return s.tags, err
}

// ScannedOf returns what a scan needs of a row that is decoded already.
func ScannedOf(e *schemapb.Entry) Scanned {
	return Scanned{
		Directory: e.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY, Implicit: e.Implicit, ObjectID: ns.ObjectID(e.ObjectId),
		Since: ns.Op(e.Since), ModifiedMs: e.ModifiedMs, Size: e.Size, tags: e.Tags,
	}
}

// SplitEntryKey returns the parent and the name in an encoded key of Entries; ok
// is false for any other key. The name is a part of key.
func SplitEntryKey(key []byte) (parent ns.ObjectID, name []byte, ok bool) {
	if len(key) < 17 || key[0] != spaceEntries {
		return 0, nil, false
	}
	return ns.ObjectID(binary.BigEndian.Uint64(key[9:])), key[17:], true
}

// AppendEntryKey appends the encoded key of an entry to b.
func AppendEntryKey(b []byte, bucket, parent ns.ObjectID, name []byte) []byte {
	return append(ids(append(b, spaceEntries), bucket, parent), name...)
}

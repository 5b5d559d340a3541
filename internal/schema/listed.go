package schema

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema/schemapb"
)

// The field numbers of Entry that a listing shows.
const (
	entryKind       = 1
	entryObjectID   = 2
	entrySince      = 3
	entryBorn       = 4
	entryCreatedMs  = 5
	entryModifiedMs = 6
	entrySize       = 7
	entryETag       = 8
	entryOwner      = 9
	entryChecksum   = 14
	entryImplicit   = 16
)

// DecodeListed decodes what a listing shows of the entry found under key into
// row, which must be zero: everything but extents, headers, tags, grants and the
// sizes of parts, which it skips. owner is that of an entry decoded before, whose
// string is used again where it is the same; other strings come from in.
func DecodeListed(key, value []byte, row *schemapb.Entry, owner string, in *Strings) error {
	if len(value) == 0 || value[0] != recordVersion {
		return Entries.DecodeInto(key, value, row) // which says what is wrong
	}
	for b := value[1:]; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(key, n)
		}
		b = b[n:]
		if n = listedField(row, number, kind, b, owner, in); n < 0 {
			return malformed(key, n)
		}
		b = b[n:]
	}
	return nil
}

// listedField decodes one field, and returns its length.
func listedField(row *schemapb.Entry, number protowire.Number, kind protowire.Type, b []byte, owner string, in *Strings) int {
	switch kind {
	case protowire.VarintType:
		v, n := protowire.ConsumeVarint(b)
		switch number {
		case entryKind:
			row.Kind = o3v1.EntryKind(v)
		case entryObjectID:
			row.ObjectId = v
		case entrySince:
			row.Since = v
		case entryBorn:
			row.Born = v
		case entryCreatedMs:
			row.CreatedMs = int64(v)
		case entryModifiedMs:
			row.ModifiedMs = int64(v)
		case entrySize:
			row.Size = v
		case entryImplicit:
			row.Implicit = protowire.DecodeBool(v)
		}
		return n
	case protowire.BytesType:
		v, n := protowire.ConsumeBytes(b)
		switch {
		case n < 0:
		case number == entryETag:
			row.Etag = in.Of(v)
		case number == entryOwner:
			if row.Owner = owner; string(v) != owner {
				row.Owner = string(v)
			}
		case number == entryChecksum:
			row.Checksum = &o3v1.Checksum{}
			if proto.Unmarshal(v, row.Checksum) != nil {
				return -1
			}
		}
		return n
	}
	return protowire.ConsumeFieldValue(number, kind, b)
}

func malformed(key []byte, n int) error {
	return errs.New(errs.Corrupt, Entries.name, fmt.Sprintf("row %x: %v", key, protowire.ParseError(n)))
}

// EntryKeyIn is ParseKey of Entries with the name from in.
func EntryKeyIn(b []byte, in *Strings) (k EntryKey, err error) {
	if len(b) > 0 && b[0] == spaceEntries {
		name, err := takeIDs(b[1:], &k.Bucket, &k.Parent)
		if err == nil {
			k.Name = in.Of(name)
			return k, nil
		}
	}
	return Entries.ParseKey(b) // which says what is wrong
}

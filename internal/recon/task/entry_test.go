package task

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// randomEntry returns an entry with any of its fields.
func randomEntry(rng *rand.Rand, lists []uint64) *schemapb.Entry {
	e := &schemapb.Entry{
		Kind: o3v1.EntryKind(rng.IntN(3)), ObjectId: rng.Uint64() >> rng.IntN(64), Since: rng.Uint64N(1 << 40), Born: rng.Uint64N(9),
		CreatedMs: rng.Int64N(1<<50) - 1<<40, ModifiedMs: rng.Int64N(1<<50) - 1<<40, Size: rng.Uint64() >> rng.IntN(64),
		Etag: string(bytes.Repeat([]byte("e"), rng.IntN(40))), Owner: "owner", Implicit: rng.IntN(2) == 0,
	}
	if rng.IntN(2) == 0 {
		e.Headers = &o3v1.Headers{ContentType: "text/plain"}
		e.Tags = []*o3v1.Pair{{Name: "a", Value: "b"}}
		e.Checksum = &o3v1.Checksum{Algorithm: "CRC32", Value: []byte{1, 2, 3, 4}}
		e.PartSizes = []uint64{5, 1 << 40, 7}
	}
	for range rng.IntN(5) {
		x := &o3v1.Extent{Container: rng.Uint64N(4), Local: rng.Uint64(), Offset: rng.Int64(), Length: rng.Int64()}
		if rng.IntN(6) == 0 {
			x = &o3v1.Extent{Local: lists[rng.IntN(len(lists))], Indirect: true, Length: 5}
		}
		e.Extents = append(e.Extents, x)
	}
	return e
}

// damage returns a value that is shorter, longer, or wrong in a bit.
func damage(rng *rand.Rand, value []byte) []byte {
	switch at := rng.IntN(len(value)); rng.IntN(3) {
	case 0:
		return value[:at]
	case 1:
		value[at] ^= 1 << rng.IntN(8)
		return value
	}
	return append(value, byte(rng.Uint32()))
}

// TestPart: what is decoded of an entry in part is what it holds, and what is
// damaged is refused as it is when decoded whole.
func TestPart(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	store := new(memkv.Store)
	b := store.NewBatch()
	var lists []uint64
	for i := range uint64(4) {
		list, err := proto.Marshal(&schemapb.Extents{Extents: []*o3v1.Extent{{Container: i, Local: 1}, {Container: 2, Local: 2}, {Container: i, Local: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		value, err := schema.Smalls.Encode(&schemapb.Small{Data: list})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Set(schema.Smalls.Key(100+i), value); err != nil {
			t.Fatal(err)
		}
		lists = append(lists, 100+i)
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	d := batch{reader: store}
	damaged, parts := 0, 0
	for n := range 5000 {
		e := randomEntry(rng, lists)
		k := schema.EntryKey{Bucket: ns.ObjectID(rng.Uint64()), Parent: ns.ObjectID(rng.Uint64()), Name: "name"}
		key := schema.Entries.Key(k)
		value, err := schema.Entries.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if rng.IntN(3) == 0 {
			value = damage(rng, value)
		}
		got, gotErr := d.add(key, bytes.Clone(value))
		if ok, _ := (&batch{reader: store}).part(new(Row), value); ok {
			parts++
		}
		whole := new(schemapb.Entry)
		if err := schema.Entries.DecodeInto(key, value, whole); err != nil {
			if gotErr == nil && !stringsOnly(value) {
				t.Fatalf("entry %d, %x: decoded in part, but whole: %v", n, value, err)
			}
			if gotErr != nil && errs.KindOf(gotErr) != errs.KindOf(err) {
				t.Fatalf("entry %d, %x: %v, whole: %v", n, value, gotErr, err)
			}
			damaged++
			continue
		}
		want := Row{Table: spaceEntries, Bucket: k.Bucket, Parent: k.Parent, Tuple: key[1:], Layout: ns.FileSystem,
			Bytes: whole.Size, Key: whole.Kind == o3v1.EntryKind_ENTRY_KIND_KEY, ModifiedMs: whole.ModifiedMs}
		wantErr := new(batch)
		wantErr.reader = store
		if err := wantErr.indirect(&want, whole.Extents); err != nil {
			if gotErr == nil {
				t.Fatalf("entry %d: no error, want %v", n, err)
			}
			continue
		}
		if gotErr != nil {
			t.Fatalf("entry %d, %x: %v", n, value, gotErr)
		}
		if got.Table != want.Table || got.Bucket != want.Bucket || got.Parent != want.Parent || !bytes.Equal(got.Tuple, want.Tuple) || got.Layout != want.Layout ||
			got.Bytes != want.Bytes || got.Key != want.Key || got.ModifiedMs != want.ModifiedMs || !slices.Equal(got.Containers, want.Containers) {
			t.Fatalf("entry %d, %v:\n%+v, want\n%+v", n, whole, got, want)
		}
	}
	if damaged < 100 || parts < 2000 {
		t.Errorf("%d damaged, %d decoded in part: the test has no point", damaged, parts)
	}
}

// stringsOnly reports whether a value is well formed but for the text in its
// strings, which tasks do not look at, or messages of which they need nothing.
func stringsOnly(value []byte) bool {
	for b := value[1:]; len(b) > 0; {
		var ok bool
		if _, b, ok = take(b); !ok {
			return false
		}
	}
	return true
}

// TestDirParent: likewise for directories.
func TestDirParent(t *testing.T) {
	for _, row := range []*schemapb.Dir{{}, {Since: 7, ParentId: 1 << 40, Name: "name/"}, {ParentId: 300}} {
		key := schema.Dirs.Key(schema.DirKey{Bucket: 3, Dir: 4})
		value, err := schema.Dirs.Encode(row)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := parentOf(key, value); err != nil || uint64(id) != row.ParentId {
			t.Errorf("%v: %d, %v", row, id, err)
		}
		for _, bad := range [][]byte{nil, {}, append([]byte{9}, value[1:]...), append(bytes.Clone(value), 0x0a)} {
			if _, err := parentOf(key, bad); err == nil {
				t.Errorf("%x is taken", bad)
			}
		}
	}
}

package schema

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"o3/internal/block"
	"o3/internal/errs"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

var update = flag.Bool("update", false, "write docs/formats/keymap.md")

// TestKeymap keeps the key map in the documentation what the tables say.
func TestKeymap(t *testing.T) {
	const path = "../../docs/formats/keymap.md"
	want := keymap()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the tables say (%v): run go test ./internal/schema -update", path, err)
	}
}

func keymap() string {
	var b strings.Builder
	b.WriteString("<!-- Generated from internal/schema by go test ./internal/schema -update; do not edit. -->\n# The key map\n\n")
	fmt.Fprintf(&b, "Format %d. A key is the table's byte and the key tuple (encoding: package keys); a value is a version byte (%d) and the "+
		"record, a protobuf message of [records.proto](../../internal/schema/schemapb/records.proto). See [rows.md](rows.md).\n\n", Format, recordVersion)
	fmt.Fprintf(&b, "The state digest covers the tables from `0x%02x` up to, but without, `0x%02x`: from there on rows belong to one node.\n\n",
		FirstReplicated()[0], NodeLocal)
	b.WriteString("| Byte | Table | Key | Record | Since format |\n|---|---|---|---|---|\n")
	for _, d := range Tables() {
		fmt.Fprintf(&b, "| `0x%02x` | %s | %s | %s | %d |\n", d.Space, d.Name, d.Tuple, d.Record, d.Since)
	}
	return b.String()
}

// TestTables checks what the tables promise each other.
func TestTables(t *testing.T) {
	var last byte
	names := map[string]bool{}
	for _, d := range Tables() {
		if d.Space <= last || d.Space >= NodeLocal {
			t.Errorf("%s: byte %#x is out of order, used twice or node-local", d.Name, d.Space)
		}
		last = d.Space
		if names[d.Name] || d.Name == "" || d.Tuple == "" || d.Record == "" || d.Since < 1 || d.Since > Format {
			t.Errorf("%+v is incomplete or there twice", d)
		}
		names[d.Name] = true
		if found, ok := TableOf([]byte{d.Space, 1}); !ok || found.Name != d.Name {
			t.Errorf("TableOf finds %s for %s", found.Name, d.Name)
		}
	}
	for _, key := range [][]byte{nil, {0}, {0xff}, {NodeLocal}} {
		if d, ok := TableOf(key); ok {
			t.Errorf("TableOf(%x) is %s", key, d.Name)
		}
	}
}

// roundTrip checks that keys come back as they were and sort as listed, and
// that damaged keys are refused.
func roundTrip[K, R any, P Message[R]](t *testing.T, table *Table[K, R, P], fixed bool, sorted ...K) {
	t.Helper()
	var last []byte
	lower, upper := table.All()
	for _, k := range sorted {
		b := table.Key(k)
		if bytes.Compare(b, last) <= 0 {
			t.Errorf("%s: %+v does not sort after the one before", table.Name(), k)
		}
		if bytes.Compare(b, lower) < 0 || bytes.Compare(b, upper) >= 0 {
			t.Errorf("%s: %+v lies outside the table", table.Name(), k)
		}
		last = b
		got, err := table.ParseKey(b)
		if err != nil || !reflect.DeepEqual(got, k) {
			t.Errorf("%s: %+v comes back as %+v, %v", table.Name(), k, got, err)
		}
		bad := [][]byte{nil, append([]byte{table.space + 1}, b[1:]...)}
		if fixed {
			bad = append(bad, b[:len(b)-1], append(slices.Clone(b), 0), b[:1])
		}
		for _, bad := range bad {
			if _, err := table.ParseKey(bad); errs.KindOf(err) != errs.Corrupt {
				t.Errorf("%s: key %x is taken: %v", table.Name(), bad, err)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	const big = ^uint64(0)
	roundTrip(t, Meta, false, "format", "position")
	roundTrip(t, Volumes, false, "a", "a\x00", "aa", "b")
	roundTrip(t, Users, false, "a", "b")
	roundTrip(t, AccessKeys, false, "A", "B")
	roundTrip(t, Buckets, false, BucketKey{1, "z"}, BucketKey{2, ""}, BucketKey{2, "a"}, BucketKey{256, "a"})
	roundTrip(t, Entries, false, EntryKey{1, 1, "z"}, EntryKey{1, 2, "a"}, EntryKey{1, 2, "a-"}, EntryKey{1, 2, "a/"}, EntryKey{1, 2, "a0"}, EntryKey{2, 1, ""})
	roundTrip(t, Dirs, true, DirKey{1, 2}, DirKey{1, 3}, DirKey{2, 0})
	roundTrip(t, Smalls, true, 0, 1, big)
	roundTrip(t, Refs, true, block.ID{Local: 1}, block.ID{Container: 1}, block.ID{Container: 1, Local: big}, block.ID{Container: big})
	roundTrip(t, Uploads, true, UploadKey{1, "a", 9}, UploadKey{1, "a\x00b", 1}, UploadKey{1, "a\x01", 1}, UploadKey{1, "ab", 1}, UploadKey{1, "ab", 2}, UploadKey{2, "", 0})
	roundTrip(t, Parts, true, PartKey{1, 1, 1}, PartKey{1, 1, 10000}, PartKey{1, 2, 1}, PartKey{2, 0, 0})
	roundTrip(t, OpenKeys, true, OpenKeyKey{1, "a", 9}, OpenKeyKey{1, "ab", 1}, OpenKeyKey{1, "ab", 2})
	roundTrip(t, Deleted, true, OpKey{1, 0}, OpKey{1, 1}, OpKey{2, 0})
	roundTrip(t, DeletedDirs, true, OpKey{1, 0}, OpKey{256, 0})
	roundTrip(t, Clients, true, 0, 1, big)
	roundTrip(t, Snapshots, true, SnapshotKey{1, 2}, SnapshotKey{1, 3}, SnapshotKey{2, 1})
	roundTrip(t, Reclaims, true, SnapshotKey{1, 2}, SnapshotKey{1, 3}, SnapshotKey{2, 1})
	roundTrip(t, SnapshotNames, false, SnapshotNameKey{1, "a"}, SnapshotNameKey{1, "b-1"}, SnapshotNameKey{1, "b"}, SnapshotNameKey{1, "b0"}, SnapshotNameKey{2, "a"}) // as the paths into them
	roundTrip(t, History, true, HistoryKey{EntryKey{1, 1, "a"}, 5}, HistoryKey{EntryKey{1, 1, "a"}, 6}, HistoryKey{EntryKey{1, 1, "a\x00"}, 1}, HistoryKey{EntryKey{1, 1, "a/"}, 1}, HistoryKey{EntryKey{1, 1, "b"}, 256}, HistoryKey{EntryKey{1, 2, ""}, 0})
	roundTrip(t, DirHistory, true, DirHistoryKey{DirKey{1, 2}, 5}, DirHistoryKey{DirKey{1, 2}, 6}, DirHistoryKey{DirKey{1, 3}, 1}, DirHistoryKey{DirKey{2, 0}, 0})
	roundTrip(t, Journal, false, JournalKey{1, 5, 9, "z"}, JournalKey{1, 6, 1, "a"}, JournalKey{1, 6, 1, "a/"}, JournalKey{1, 6, 2, ""}, JournalKey{2, 1, 1, "a"})
	roundTrip(t, Cells, true, CellKey{1, 2, 9}, CellKey{1, 3, 3}, CellKey{1, 3, 4}, CellKey{2, 1, 1})
	roundTrip(t, CellEnds, true, CellKey{1, 3, 3}, CellKey{1, 3, 4}, CellKey{1, 2, 9}, CellKey{2, 1, 1}) // by their ends
	roundTrip(t, DiffJobs, true, DiffJobKey{1, 2, 0, 7}, DiffJobKey{1, 2, 3, 0}, DiffJobKey{1, 2, 3, big}, DiffJobKey{1, 3, 0, 0}, DiffJobKey{2, 0, 0, 0})
	roundTrip(t, Counters, false, "store")
}

// TestRanges: each range holds exactly its rows.
func TestRanges(t *testing.T) {
	in := func(lower, upper []byte, key []byte) bool {
		return bytes.Compare(key, lower) >= 0 && (upper == nil || bytes.Compare(key, upper) < 0)
	}
	lower, upper := Children(1, 2, "a")
	for name, want := range map[string]bool{"a": true, "ab": true, "a/": true, "b": false, "A": false} {
		if in(lower, upper, Entries.Key(EntryKey{1, 2, name})) != want {
			t.Errorf("Children: %q", name)
		}
	}
	if in(lower, upper, Entries.Key(EntryKey{1, 3, "a"})) {
		t.Error("Children holds those of another directory")
	}
	last := ns.ObjectID(^uint64(0))
	for name, c := range map[string]struct {
		lower, upper  []byte
		inside, after []byte
	}{
		"EntriesOf":              {first(EntriesOf(last)), second(EntriesOf(last)), Entries.Key(EntryKey{last, last, "\xff"}), Dirs.Key(DirKey{0, 0})},
		"PartsOf":                {first(PartsOf(1, last)), second(PartsOf(1, last)), Parts.Key(PartKey{1, last, 1}), Parts.Key(PartKey{2, 0, 0})},
		"UploadsOf":              {first(UploadsOf(1)), second(UploadsOf(1)), Uploads.Key(UploadKey{1, "\xff", last}), Uploads.Key(UploadKey{2, "", 0})},
		"OpenKeysOf":             {first(OpenKeysOf(1)), second(OpenKeysOf(1)), OpenKeys.Key(OpenKeyKey{1, "a", 1}), OpenKeys.Key(OpenKeyKey{2, "", 0})},
		"InBucket":               {first(History.InBucket(last)), second(History.InBucket(last)), History.Key(HistoryKey{EntryKey{last, last, "\xff"}, Live}), Journal.Key(JournalKey{})},
		"JournalBetween":         {first(JournalBetween(1, 5, 7)), second(JournalBetween(1, 5, 7)), Journal.Key(JournalKey{1, 7, last, "\xff"}), Journal.Key(JournalKey{1, 8, 0, ""})},
		"JournalBetween's start": {first(JournalBetween(1, 5, 7)), second(JournalBetween(1, 5, 7)), Journal.Key(JournalKey{1, 6, 0, ""}), Journal.Key(JournalKey{1, 5, last, "\xff"})},
		"CellsFrom":              {first(CellsFrom(1, 5)), second(CellsFrom(1, 5)), Cells.Key(CellKey{1, 5, Live}), Cells.Key(CellKey{1, 6, 6})},
		"CellsTo":                {first(CellsTo(1, 5)), second(CellsTo(1, 5)), CellEnds.Key(CellKey{1, 1, 5}), CellEnds.Key(CellKey{1, 5, 6})},
		"SnapshotsNamed":         {first(SnapshotsNamed(1, "ab")), second(SnapshotsNamed(1, "ab")), SnapshotNames.Key(SnapshotNameKey{1, "abc"}), SnapshotNames.Key(SnapshotNameKey{1, "ac"})},
		"BucketsOf":              {first(BucketsOf(1, "a")), second(BucketsOf(1, "a")), Buckets.Key(BucketKey{1, "ab"}), Buckets.Key(BucketKey{1, "b"})},
	} {
		if !in(c.lower, c.upper, c.inside) || in(c.lower, c.upper, c.after) {
			t.Errorf("%s has wrong bounds", name)
		}
	}
}

func first(a, _ []byte) []byte  { return a }
func second(_, b []byte) []byte { return b }

// TestRow: what db dump prints names the key and the fields, and no secret.
func TestRow(t *testing.T) {
	value, err := AccessKeys.Encode(&schemapb.AccessKey{User: "bob", Secret: "hush"})
	if err != nil {
		t.Fatal(err)
	}
	d, _ := TableOf(AccessKeys.Key("AK"))
	text, err := d.Row(AccessKeys.Key("AK"), value)
	if err != nil || strings.Contains(string(text), "hush") || !strings.Contains(string(text), `"bob"`) || !strings.Contains(string(text), "AK") {
		t.Errorf("%s, %v", text, err)
	}
	client, _ := Clients.Encode(&schemapb.Client{Answers: []*schemapb.Answer{{Sequence: 3, Reply: []byte("hush")}}})
	d, _ = TableOf(Clients.Key(1))
	text, err = d.Row(Clients.Key(1), client)
	if err != nil || strings.Contains(string(text), "reply") || !strings.Contains(string(text), "sequence") {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := d.Row(Clients.Key(1), []byte{1, 0xff}); errs.KindOf(err) != errs.Corrupt {
		t.Errorf("a damaged row is printed: %v", err)
	}
}

// TestScan stops where it is told to, and at a damaged row.
func TestScan(t *testing.T) {
	s := new(memkv.Store)
	b := s.NewBatch()
	defer b.Close()
	for i := range uint64(5) {
		value, _ := Smalls.Encode(&schemapb.Small{Data: []byte{byte(i)}})
		if err := b.Set(Smalls.Key(i), value); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Set(Smalls.Key(9), []byte{9}), b.Commit(false)); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	lower, upper := Smalls.All()
	err := Smalls.Scan(s, lower, upper, func(k uint64, _ *schemapb.Small) (bool, error) {
		got = append(got, k)
		return k < 3, nil
	})
	if err != nil || !slices.Equal(got, []uint64{0, 1, 2, 3}) {
		t.Errorf("%v, %v", got, err)
	}
	stop := errors.New("stop")
	err = Smalls.Scan(s, lower, upper, func(uint64, *schemapb.Small) (bool, error) { return true, stop })
	if err != stop {
		t.Errorf("%v", err)
	}
	err = Smalls.Scan(s, lower, upper, func(uint64, *schemapb.Small) (bool, error) { return true, nil })
	if errs.KindOf(err) != errs.FormatTooNew {
		t.Errorf("%v", err)
	}
	row, ok, err := Smalls.Get(s, 2)
	if err != nil || !ok || !proto.Equal(row, &schemapb.Small{Data: []byte{2}}) {
		t.Errorf("%v, %v, %v", row, ok, err)
	}
	if _, ok, err := Smalls.Get(s, 8); ok || err != nil {
		t.Errorf("an absent row: %v, %v", ok, err)
	}
}

// FuzzParseKey: a key that is taken encodes as what it was.
func FuzzParseKey(f *testing.F) {
	f.Add(Uploads.Key(UploadKey{1, "a\x00b", 2}))
	f.Add(Entries.Key(EntryKey{1, 2, "n/"}))
	f.Add(Refs.Key(block.ID{Container: 1, Local: 2}))
	f.Add(History.Key(HistoryKey{EntryKey{1, 2, "n\x00"}, 3}))
	f.Add(SnapshotNames.Key(SnapshotNameKey{1, "daily"}))
	f.Fuzz(func(t *testing.T, key []byte) {
		check(t, key, Uploads)
		check(t, key, Entries)
		check(t, key, Refs)
		check(t, key, OpenKeys)
		check(t, key, Parts)
		check(t, key, SnapshotNames)
		check(t, key, History)
		check(t, key, DirHistory)
		check(t, key, Journal)
		check(t, key, CellEnds)
		check(t, key, DiffJobs)
	})
}

func check[K, R any, P Message[R]](t *testing.T, key []byte, table *Table[K, R, P]) {
	k, err := table.ParseKey(key)
	if err != nil {
		return
	}
	if again := table.Key(k); !bytes.Equal(again, key) {
		t.Fatalf("%s: %x parses as %+v, which encodes as %x", table.Name(), key, k, again)
	}
}

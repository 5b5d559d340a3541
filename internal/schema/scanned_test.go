package schema

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema/schemapb"
)

// TestDecodeScanned compares what a scan reads of random entries with the whole;
// what is damaged where it reads is refused.
func TestDecodeScanned(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var got Scanned
	for range 2000 {
		e := randomEntry(rng)
		value, err := Entries.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := DecodeScanned([]byte("key"), value, &got); err != nil {
			t.Fatal(err)
		}
		want := ScannedOf(e)
		if e.Kind == o3v1.EntryKind_ENTRY_KIND_KEY {
			want.Implicit = false // of a directory alone
		}
		tags, err := got.Tags()
		if err != nil || len(tags) != len(e.Tags) {
			t.Fatalf("tags %v, %v, want %v", tags, err, e.Tags)
		}
		for i := range tags {
			if !proto.Equal(tags[i], e.Tags[i]) {
				t.Fatalf("tag %d is %v, want %v", i, tags[i], e.Tags[i])
			}
		}
		if got.Directory != want.Directory || got.Implicit != want.Implicit || got.ObjectID != want.ObjectID || got.Since != want.Since ||
			got.ModifiedMs != want.ModifiedMs || got.Size != want.Size {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
		cut := value[:1+rng.IntN(len(value))]
		err = DecodeScanned([]byte("key"), cut, &got)
		if _, failed := got.Tags(); err == nil {
			err = failed
		}
		if err != nil && errs.KindOf(err) != errs.Corrupt {
			t.Fatalf("cut to %d of %d bytes: %v", len(cut), len(value), err)
		}
	}
	for what, bad := range map[string][]byte{
		"empty": nil, "newer": {9}, "no length": {1, 0x10, 0xff}, "cut text": {1, 0x08, 1, 0x3a, 5, 'a'},
	} {
		if err := DecodeScanned([]byte("key"), bad, &got); err == nil {
			t.Errorf("%s: %v was decoded", what, bad)
		}
	}
	if err := DecodeScanned([]byte("key"), []byte{1, 0x08, 1, 0x62, 5, 'a'}, &got); err != nil {
		t.Errorf("what a scan does not read is its concern: %v", err)
	}
	if _, err := got.Tags(); errs.KindOf(err) != errs.Corrupt {
		t.Errorf("cut tags: %v", err)
	}
}

// TestSplitEntryKey: what a scan takes of a key is what is in it.
func TestSplitEntryKey(t *testing.T) {
	for _, name := range []string{"a", "dir/", "\x00", "é"} {
		k := EntryKey{Bucket: 1 << 40, Parent: 7, Name: name}
		key := AppendEntryKey(nil, k.Bucket, k.Parent, []byte(name))
		if !bytes.Equal(key, Entries.Key(k)) {
			t.Errorf("%x, want %x", key, Entries.Key(k))
		}
		if parent, got, ok := SplitEntryKey(key); !ok || parent != 7 || string(got) != name {
			t.Errorf("%d %q %v", parent, got, ok)
		}
	}
	for _, bad := range [][]byte{nil, Dirs.Key(DirKey{1, 2}), Entries.Key(EntryKey{})[:16]} {
		if _, _, ok := SplitEntryKey(bad); ok {
			t.Errorf("%x was taken for an entry's key", bad)
		}
	}
}

// TestScanStateNames: a dump shows the state of a scan under the names of the
// design that scans follow.
func TestScanStateNames(t *testing.T) {
	row := &schemapb.LifecycleScanState{
		BucketKey: "/s3v/b", BucketObjID: 2048, LifecycleConfigurationUpdateID: 9, ScanStartTime: 1, ScanEndTime: 2,
		LastScannedKey: "a/k", LastScannedDir: "a", LastScannedDirKey: "/2048/3072/k", LastScannedMpuKey: "m/0000000000000400",
	}
	value, err := LifecycleScans.Encode(row)
	if err != nil {
		t.Fatal(err)
	}
	table, ok := TableOf(LifecycleScans.Key(2048))
	if !ok || table.Name != "lifecycleStateTable" {
		t.Fatalf("%+v", table)
	}
	text, err := table.Row(LifecycleScans.Key(2048), value)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Table, Key string
		Row        map[string]string
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	want := map[string]string{
		"bucketKey": "/s3v/b", "bucketObjID": "2048", "lifecycleConfigurationUpdateID": "9", "scanStartTime": "1", "scanEndTime": "2",
		"lastScannedKey": "a/k", "lastScannedDir": "a", "lastScannedDirKey": "/2048/3072/k", "lastScannedMpuKey": "m/0000000000000400",
	}
	if len(got.Row) != len(want) || got.Key != "2048" {
		t.Errorf("%s", text)
	}
	for name, value := range want {
		if got.Row[name] != value {
			t.Errorf("%s is %q, want %q", name, got.Row[name], value)
		}
	}
}

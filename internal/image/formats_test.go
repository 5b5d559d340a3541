package image

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// fixture is a manifest with every field.
func fixture(t testing.TB) *Manifest {
	t.Helper()
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}})
	if err != nil {
		t.Fatal(err)
	}
	const sum = "00112233445566778899aabbccddeeff"
	return &Manifest{
		ID: "1234-7-89abcdef", CreatedMs: 1772362800123, Node: Node{ID: "om<1>", Number: 3, Store: "ABCDEF"},
		Index: 1234, Term: 7, Op: 99, TimeMs: 1772362700000, Conf: conf, Digest: "89abcdef0123456789abcdef01234567",
		StoreName: "om", Format: 2, FirstIndex: 1000, Blocks: true, Bytes: 1<<40 + 30,
		Files: []File{
			{Path: "blocks/c-0003000000000001.0", Size: 1 << 40, XXH3: sum, Kind: Container, Modified: 1772362600000000001},
			{Path: "blocks/deletes-4", Size: 20, XXH3: sum, Kind: Container},
			{Path: "store/000012.sst", Size: 10, XXH3: sum, Kind: Table},
			{Path: "store/FORMAT", Size: 0, XXH3: sum, Kind: Store},
			{Path: "store/marker.manifest.000001.MANIFEST-000001", Size: 0, XXH3: sum, Kind: Store},
		},
	}
}

// TestFormats: a manifest of every format ever released is read by this program;
// the newest is written byte for byte. The fixtures never change; see
// docs/formats/README.md.
func TestFormats(t *testing.T) {
	want := fixture(t)
	now, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if *makeFormat != "" {
		dir := filepath.Join(formatsDir, *makeFormat)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, ManifestFile), now, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != Version {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), Version, err)
	}
	for _, d := range dirs {
		raw, err := os.ReadFile(filepath.Join(formatsDir, d.Name(), ManifestFile))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(raw); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", d.Name(), got, err)
		}
		if d.Name() == fmt.Sprintf("v%d", Version) && !bytes.Equal(now, raw) {
			t.Errorf("this program writes another manifest: undo the change, or make a new format (docs/formats/README.md).\ngot\n%s\nwant\n%s", now, raw)
		}
	}
}

// reseal gives changed text its right checksum.
func reseal(text string) []byte {
	body := text[:strings.LastIndex(text, sealText)]
	return []byte(body + sealText + hashOf([]byte(body)) + sealEnd)
}

// TestEveryFlippedByteIsRefused, and every shortened manifest.
func TestEveryFlippedByteIsRefused(t *testing.T) {
	raw, err := fixture(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for _, bit := range []byte{1, 0x20, 0x80} {
			b := bytes.Clone(raw)
			b[i] ^= bit
			if _, err := Decode(b); errs.KindOf(err) != errs.Corrupt && errs.KindOf(err) != errs.FormatUnknown {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
		if _, err := Decode(raw[:i]); err == nil {
			t.Fatalf("the first %d bytes are a manifest", i)
		}
	}
	if _, err := Decode(append(bytes.Clone(raw), '\n')); errs.KindOf(err) != errs.Corrupt {
		t.Error(err)
	}
}

// TestManifestsThatCannotBe are refused though their checksum is right.
func TestManifestsThatCannotBe(t *testing.T) {
	raw, err := fixture(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		old, new string
		kind     errs.Kind
		says     string
	}{
		{`"version": 1`, `"version": 2`, errs.FormatTooNew, "it has version 2, this program knows versions up to 1"},
		{`"version": 1`, `"version": 0`, errs.Corrupt, "it has no version"},
		{`o3 image`, `o4 image`, errs.FormatUnknown, "does not begin as a manifest"},
		{`"blocks/deletes-4"`, `"blocks/../../x"`, errs.Corrupt, `the path "blocks/../../x"`},
		{`"blocks/deletes-4"`, `"../blocks/x"`, errs.Corrupt, `the path "../blocks/x"`},
		{`"blocks/deletes-4"`, `"/etc/passwd"`, errs.Corrupt, `the path "/etc/passwd"`},
		{`"blocks/deletes-4"`, `"blocks/a\\b"`, errs.Corrupt, `the path "blocks/a\\b"`},
		{`"blocks/deletes-4"`, `"blocks/.."`, errs.Corrupt, `the path "blocks/.."`},
		{`"blocks/deletes-4"`, `"blocks/"`, errs.Corrupt, `the path "blocks/"`},
		{`"blocks/deletes-4"`, `"blocks/x/y"`, errs.Corrupt, `the path "blocks/x/y"`},
		{`"blocks/deletes-4"`, `"blocks/LOCK"`, errs.Corrupt, `the path "blocks/LOCK"`},
		{`"blocks/deletes-4"`, `"store/deletes-4"`, errs.Corrupt, `the file "store/deletes-4" cannot be of kind`},
		{`"store/FORMAT"`, `"store/000012.sst"`, errs.Corrupt, "cannot be of kind"},
		{`"store/FORMAT"`, `"store/MARKER.manifest.000001.MANIFEST-000001"`, errs.Corrupt, "twice"},
		{`"blocks/deletes-4"`, `"blocks/c-0003000000000001.0"`, errs.Corrupt, "twice"},
		{`"blocks/deletes-4"`, `"blocks/a-4"`, errs.Corrupt, "not in order"},
		{`"blocks": true`, `"blocks": false`, errs.Corrupt, "cannot be of kind"},
		{`"size":20`, `"size":21`, errs.Corrupt, "bytes, not"},
		{`"size":20`, `"size":-20`, errs.Corrupt, "size -20"},
		{`"size":20`, `"size":9223372036854775807`, errs.Corrupt, "overflow"},
		{`"index": 1234`, `"index": 1235`, errs.Corrupt, "the id"},
		{`"log_first_index"`, `"extra": 1, "log_first_index"`, errs.Corrupt, "not in the form"},
		{`"op": 99`, `"op":  99`, errs.Corrupt, "not in the form"},
		{`"number": 3`, `"number": 0`, errs.Corrupt, "number 0"},
		{`"conf": "`, `"conf": "/////`, errs.Corrupt, ""},
	} {
		if !strings.Contains(string(raw), c.old) {
			t.Fatalf("%s is not in the fixture", c.old)
		}
		_, err := Decode(reseal(strings.Replace(string(raw), c.old, c.new, 1)))
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s → %s: %v", c.old, c.new, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	raw, err := fixture(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Contains(b, []byte(sealText)) {
			b = reseal(string(b))
		}
		m, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v: got\n%s\nwant\n%s", err, again, b)
		}
	})
}

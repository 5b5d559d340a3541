package image

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/block/container"
	"o3/internal/errs"
)

// TestDrill is the restore drill: a node with data in both layouts, snapshots
// and multipart uploads is exported while it serves, destroyed, and imported;
// everything is as it was, and the node goes on. A second export writes only
// what is new.
func TestDrill(t *testing.T) {
	top := t.TempDir()
	data, backup := filepath.Join(top, "data"), Directory{Dir: filepath.Join(top, "backup"), Reserve: -1}
	r := start(t, vfs.Default, data)
	r.fill(0)
	k := r.keeper(Options{})
	blocks := ExportOptions{Blocks: filepath.Join(data, "blocks")}
	first, err := Export(t.Context(), r.create(k), backup, blocks)
	if err != nil || first.Written != first.Bytes || !first.Manifest.Blocks {
		t.Fatalf("%+v, %v", first, err)
	}
	r.fill(1)
	want := r.picture()
	pos := r.replica.Position()
	img := r.create(k)
	second, err := Export(t.Context(), img, backup, blocks)
	if err != nil || second.Written == 0 || second.Written >= second.Bytes {
		t.Fatalf("%+v, %v", second, err)
	}
	again, err := Export(t.Context(), img, backup, blocks)
	if err != nil || again.Written != 0 || again.Bytes != second.Bytes {
		t.Errorf("the same image again: %+v, %v", again, err)
	}
	list, err := List(t.Context(), backup, nil)
	if err != nil || len(list) != 2 || list[0].ID != second.Manifest.ID || list[1].ID != first.Manifest.ID {
		t.Errorf("%v, %v", list, err)
	}
	for _, m := range list {
		got, err := VerifyTarget(t.Context(), backup, m.ID, filepath.Join(top, "scratch"), VerifyOptions{Mode: Strict})
		if err != nil || got.Files != len(m.Files) || got.Bytes != m.Bytes || got.Tables == 0 {
			t.Errorf("%+v, %v", got, err)
		}
	}
	r.stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}

	in, err := Import(t.Context(), backup, second.Manifest.ID, ImportOptions{DataDir: data, Strict: true, Reserve: -1})
	if err != nil || in.Fetched != second.Bytes || in.Blocks == 0 || in.Tables == 0 {
		t.Fatalf("%+v, %v", in, err)
	}
	r = start(t, vfs.Default, data)
	if got := r.replica.Position(); got.Digest != pos.Digest || got.Op != pos.Op || got.Index <= pos.Index || got.Term <= pos.Term+apart {
		t.Errorf("restored at %+v, the image is of %+v", got, pos)
	}
	if got := r.picture(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r.sound()
	r.fill(2)
	r.stop()
	r = start(t, vfs.Default, data)
	r.sound()
	if _, err := Import(t.Context(), backup, second.Manifest.ID, ImportOptions{DataDir: data, Reserve: -1}); errs.KindOf(err) != errs.NotEmpty || !strings.Contains(err.Error(), data) {
		t.Errorf("import over a node: %v", err)
	}
}

// TestIdentity: the identity of a restored node is one that it starts with: with
// its blocks it is a new one, without it takes the old blocks up.
func TestIdentity(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	k := r.keeper(Options{})
	img := r.create(k)
	target := Directory{FS: mem, Dir: "/backup"}
	read := func(path string) (id identity) {
		t.Helper()
		raw, err := readSmall(mem, path, 1000)
		if err != nil || json.Unmarshal(raw, &id) != nil {
			t.Fatalf("%s: %s, %v", path, raw, err)
		}
		return id
	}
	load := func(o ImportOptions, e ExportOptions) {
		t.Helper()
		if _, err := Export(t.Context(), img, target, e); err != nil {
			t.Fatal(err)
		}
		o.FS = mem
		if _, err := Import(t.Context(), target, img.Manifest.ID, o); err != nil {
			t.Fatal(err)
		}
	}
	load(ImportOptions{DataDir: "/bare", NodeID: "om7"}, ExportOptions{})
	if got, want := read("/bare/node"), (identity{Format: 1, ID: "om7", Number: 1, Store: "STORE1", Begun: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := mem.Stat("/bare/blocks"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an image without blocks touched the block directory")
	}
	load(ImportOptions{DataDir: "/full", BlockDir: "/elsewhere/b"}, ExportOptions{Blocks: "/data/blocks"})
	id, marker := read("/full/node"), read("/elsewhere/b/node")
	if id.ID != "om1" || id.Store == "STORE1" || id.Store == "" || id.Blocks != "/elsewhere/b" || !id.Begun ||
		marker.Store != id.Store || marker.Number != 1 || marker.Begun || marker.Blocks != "" {
		t.Errorf("%+v, %+v", id, marker)
	}
	if _, err := container.Verify(t.Context(), container.Options{FS: mem, Dir: "/elsewhere/b"}, func(d container.Damage) error { return d }); err != nil {
		t.Error(err)
	}
}

// TestImportRefusesWhatHoldsSomething names the directory and what is in it.
func TestImportRefusesWhatHoldsSomething(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	img := r.create(r.keeper(Options{}))
	target := Directory{FS: mem, Dir: "/backup"}
	out, err := Export(t.Context(), img, target, ExportOptions{Blocks: "/data/blocks"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, put, says string
		o               ImportOptions
	}{
		{"a file", "/a/x", `/a: it holds "x"`, ImportOptions{DataDir: "/a"}},
		{"the namespace of a node", "/b/om/store/FORMAT", `/b: it holds "om"`, ImportOptions{DataDir: "/b"}},
		{"blocks elsewhere", "/c/c-0001000000000001.0", `/c: it holds "c-0001000000000001.0"`, ImportOptions{DataDir: "/d", BlockDir: "/c"}},
		{"another import", "/e/om/IMPORT", "/e: the import of image 5-1-00000000", ImportOptions{DataDir: "/e"}},
		{"no mark", "/f/om/IMPORT", "/f/om/IMPORT: it is not the mark of an import", ImportOptions{DataDir: "/f"}},
	} {
		text := "x"
		if c.name == "another import" {
			text = `{"format":1,"image":"5-1-00000000"}`
		}
		if err := errors.Join(makeDir(mem, mem.PathDir(c.put)), replaceFile(mem, c.put, strings.NewReader(text))); err != nil {
			t.Fatal(err)
		}
		c.o.FS = mem
		_, err := Import(t.Context(), target, out.Manifest.ID, c.o)
		if k := errs.KindOf(err); k != errs.NotEmpty && k != errs.FormatUnknown || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got, err := readSmall(mem, c.put, 1000); string(got) != text {
			t.Errorf("%s: it is %q now, %v", c.name, got, err)
		}
	}
	for id, kind := range map[string]errs.Kind{"7-7-00000000": errs.NoSuchSnapshot, "../x": errs.Invalid, "": errs.Invalid} {
		if _, err := Import(t.Context(), target, id, ImportOptions{FS: mem, DataDir: "/g"}); errs.KindOf(err) != kind {
			t.Errorf("image %q: %v", id, err)
		}
	}
}

// TestFreedBlocksAreMissed: a block that was freed between the image and the copy
// of the containers is found by a strict import.
func TestFreedBlocksAreMissed(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	img := r.create(r.keeper(Options{}))
	resp, err := r.om.GetKey(admin, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: "flat", Key: "a/d1/k5"})
	if err != nil {
		t.Fatal(err)
	}
	e := resp.Key.Extents[0]
	if err := r.blocks.Delete(t.Context(), []block.ID{{Container: e.Container, Local: e.Local}}); err != nil {
		t.Fatal(err)
	}
	target := Directory{FS: mem, Dir: "/backup"}
	if _, err := Export(t.Context(), img, target, ExportOptions{Blocks: "/data/blocks"}); err != nil {
		t.Fatal(err)
	}
	var defects []Defect
	_, err = Import(t.Context(), target, img.Manifest.ID, ImportOptions{
		FS: mem, DataDir: "/new", Strict: true, Defect: func(d Defect) { defects = append(defects, d) },
	})
	if errs.KindOf(err) != errs.Corrupt || len(defects) != 1 || defects[0].What != "blocks" || !strings.Contains(defects[0].Found, "a row names it, but it is not stored") {
		t.Errorf("%v, %v", defects, err)
	}
}

// TestGroupOfOne: an image of a group of three is restored as a group of one.
func TestGroupOfOne(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	r.stop()
	setMembers(t, mem, "/data/om/store", 1, 2, 3)
	s := openRaw(t, mem, "/data/om/store")
	k, err := Open(Options{FS: mem, Dir: "/images", Store: s, Node: om1, Rate: -1, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	img, err := k.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	target := Directory{FS: mem, Dir: "/backup"}
	_, err = Export(t.Context(), img, target, ExportOptions{Blocks: "/data/blocks"})
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if img.Manifest.isAlone() {
		t.Fatal("the image is of a group of one")
	}
	if _, err := Import(t.Context(), target, img.Manifest.ID, ImportOptions{FS: mem, DataDir: "/new", Strict: true}); err != nil {
		t.Fatal(err)
	}
	r = start(t, mem, "/new")
	r.fill(1)
	r.sound()
}

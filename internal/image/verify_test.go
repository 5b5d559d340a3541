package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// taken is an image with a block store in an image's directory, at /img, from a
// target at /backup.
func taken(t *testing.T) (*vfs.MemFS, *Manifest) {
	t.Helper()
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	img := r.create(r.keeper(Options{}))
	out, err := Export(t.Context(), img, Directory{FS: mem, Dir: "/backup"}, ExportOptions{Blocks: "/data/blocks"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range out.Manifest.Files {
		to := inImage(mem, "/img").of(f.Path)
		if err := makeDir(mem, mem.PathDir(to)); err != nil {
			t.Fatal(err)
		}
		if err := fetch(t.Context(), Directory{FS: mem, Dir: "/backup"}, f, mem, to, throttle{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	return mem, out.Manifest
}

func content1(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	raw, err := readSmall(fs, path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write1(t *testing.T, fs vfs.FS, path string, raw []byte) {
	t.Helper()
	if err := replaceFile(fs, path, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
}

// TestEveryDefectIsNamed: whatever byte of whatever file is changed, cut off or
// added, and whatever file is missing or too many, is found in an image's
// directory and at a target, and is named; and Import refuses it by name.
func TestEveryDefectIsNamed(t *testing.T) {
	mem, m := taken(t)
	backup := Directory{FS: mem, Dir: "/backup"}
	if got, err := Verify(t.Context(), "/img", m, VerifyOptions{FS: mem, Mode: Strict}); err != nil || got.Files != len(m.Files) || got.Tables == 0 || got.Blocks == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	verify := func(f File, what string) {
		t.Helper()
		var defects []Defect
		tell := VerifyOptions{FS: mem, Defect: func(d Defect) { defects = append(defects, d) }}
		for i, run := range []func() error{
			func() error { _, err := Verify(t.Context(), "/img", m, tell); return err },
			func() error { _, err := VerifyTarget(t.Context(), backup, m.ID, "", tell); return err },
		} {
			defects = nil
			err := run()
			if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), f.Path) || len(defects) != 1 || defects[0].File != f.Path || defects[0].What != what {
				t.Errorf("%s, %s, place %d: %v, %v", f.Path, what, i, defects, err)
			}
		}
	}
	kinds := map[Kind]bool{}
	for n, f := range m.Files {
		here, there := inImage(mem, "/img").of(f.Path), backup.path(fileAt(f))
		good := content1(t, mem, here)
		both := func(raw []byte) { write1(t, mem, here, raw); write1(t, mem, there, raw) }
		if f.Size > 0 {
			kinds[f.Kind] = true
			for _, at := range []int64{0, f.Size / 2, f.Size - 1} {
				bad := bytes.Clone(good)
				bad[at] ^= 0x10
				both(bad)
				verify(f, "checksum")
			}
			both(good[:len(good)-1])
			verify(f, "size")
		}
		both(append(bytes.Clone(good), 0))
		verify(f, "size")
		if err := errors.Join(mem.Remove(here), mem.Remove(there)); err != nil {
			t.Fatal(err)
		}
		verify(f, "missing")
		_, err := Import(t.Context(), backup, m.ID, ImportOptions{FS: mem, DataDir: fmt.Sprintf("/new%d", n)})
		if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), fileAt(f)) {
			t.Errorf("import without %s: %v", f.Path, err)
		}
		if f.Size > 0 {
			bad := bytes.Clone(good)
			bad[f.Size/2] ^= 1
			write1(t, mem, there, bad)
			_, err = Import(t.Context(), backup, m.ID, ImportOptions{FS: mem, DataDir: fmt.Sprintf("/new%d", n)})
			if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), fileAt(f)) || !strings.Contains(err.Error(), "expected "+f.XXH3) {
				t.Errorf("import of a damaged %s: %v", f.Path, err)
			}
		}
		both(good)
	}
	if len(kinds) != 3 {
		t.Errorf("only %v", kinds)
	}
	write1(t, mem, "/img/store/marker.manifest.000009.MANIFEST-000009", nil)
	_, err := Verify(t.Context(), "/img", m, VerifyOptions{FS: mem})
	if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "store/marker.manifest.000009.MANIFEST-000009: extra") {
		t.Error(err)
	}
	name := backup.path(manifestAt(m.ID))
	good := content1(t, mem, name)
	bad := bytes.Clone(good)
	bad[len(bad)/3] ^= 4
	write1(t, mem, name, bad)
	if _, err := VerifyTarget(t.Context(), backup, m.ID, "", VerifyOptions{FS: mem}); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), manifestAt(m.ID)) {
		t.Error(err)
	}
	write1(t, mem, name, good)
	if _, err := Import(t.Context(), backup, m.ID, ImportOptions{FS: mem, DataDir: "/new0", Strict: true}); err != nil { // all is well again
		t.Error(err)
	}
}

// TestStrictFindsWhatChecksumsCannot: damage from before the manifest was made.
func TestStrictFindsWhatChecksumsCannot(t *testing.T) {
	mem, good := taken(t)
	look := func(m *Manifest, what string) {
		t.Helper()
		if _, err := Verify(t.Context(), "/img", m, VerifyOptions{FS: mem}); err != nil {
			t.Errorf("%s: normal: %v", what, err)
		}
		var found []string
		_, err := Verify(t.Context(), "/img", m, VerifyOptions{FS: mem, Mode: Strict, Defect: func(d Defect) { found = append(found, d.What) }})
		if errs.KindOf(err) != errs.Corrupt || len(found) == 0 || found[0] != what {
			t.Errorf("%s: strict: %v, %v", what, found, err)
		}
	}
	change := func(f File, change func(m *Manifest, f *File, raw []byte)) (m *Manifest, undo func()) {
		m = new(*good)
		m.Files = append([]File(nil), good.Files...)
		path := inImage(mem, "/img").of(f.Path)
		raw := content1(t, mem, path)
		bad := bytes.Clone(raw)
		change(m, m.file(f.Path), bad)
		m.file(f.Path).XXH3 = hashOf(bad)
		write1(t, mem, path, bad)
		return m, func() { write1(t, mem, path, raw) }
	}
	seen := map[Kind]bool{}
	for _, f := range good.Files {
		if f.Size < 5000 && f.Kind != Table || f.Kind == Store || seen[f.Kind] {
			continue
		}
		seen[f.Kind] = true
		m, undo := change(f, func(_ *Manifest, _ *File, raw []byte) { raw[len(raw)/4] ^= 1 })
		look(m, map[Kind]string{Table: "table", Container: "container"}[f.Kind])
		undo()
	}
	if len(seen) != 2 {
		t.Errorf("only %v", seen)
	}
	for what, lie := range map[string]func(m *Manifest){
		"position":   func(m *Manifest) { m.Op++ },
		"membership": func(m *Manifest) { m.Conf = append([]byte{}, m.Conf[:len(m.Conf)-2]...) },
		"format":     func(m *Manifest) { m.Format = 1 },
		"digest":     func(m *Manifest) { m.Digest = strings.Repeat("0", 32) },
	} {
		m := new(*good)
		lie(m)
		look(m, what)
	}
}

// TestStrictRecomputesTheDigest: a row that the digest does not count.
func TestStrictRecomputesTheDigest(t *testing.T) {
	mem := vfs.NewMem()
	s := newState(t, mem, "/store")
	defer s.store.Close()
	value, err := schema.Volumes.Encode(&schemapb.Volume{})
	b := s.store.NewBatch()
	defer b.Close()
	if err := errors.Join(err, b.Set(schema.Volumes.Key("stray"), value), b.Commit(false)); err != nil {
		t.Fatal(err)
	}
	img := create(t, keep(t, mem, s, Options{}))
	defer img.Close()
	if _, err := Verify(t.Context(), img.Dir, img.Manifest, VerifyOptions{FS: mem}); err != nil {
		t.Error(err)
	}
	_, err = Verify(t.Context(), img.Dir, img.Manifest, VerifyOptions{FS: mem, Mode: Strict})
	if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "the state: digest: expected "+img.Manifest.Digest) {
		t.Error(err)
	}
	target := Directory{FS: mem, Dir: "/backup"}
	if _, err := Export(t.Context(), img, target, ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), target, img.Manifest.ID, ImportOptions{FS: mem, DataDir: "/new", Strict: true}); errs.KindOf(err) != errs.Corrupt {
		t.Error(err)
	}
	if _, err := mem.Stat("/new/node"); err == nil {
		t.Error("a refused import left a node")
	}
	if _, err := VerifyTarget(t.Context(), target, img.Manifest.ID, "/scratch", VerifyOptions{FS: mem, Mode: Strict}); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), "digest") {
		t.Error(err)
	}
	if _, err := mem.Stat("/scratch"); err == nil {
		t.Error("the scratch directory was left")
	}
}

// TestVerifyEndsWithItsContext, and so do the others.
func TestVerifyEndsWithItsContext(t *testing.T) {
	mem, m := taken(t)
	backup := Directory{FS: mem, Dir: "/backup"}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	img, err := ReadDir(mem, "/img")
	if errs.KindOf(err) != errs.FormatUnknown {
		t.Errorf("a directory without a manifest: %v", err)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write1(t, mem, "/img/"+ManifestFile, raw)
	if img, err = ReadDir(mem, "/img"); err != nil {
		t.Fatal(err)
	}
	for what, run := range map[string]func() error{
		"verify": func() error { _, err := Verify(ctx, "/img", m, VerifyOptions{FS: mem, Mode: Strict}); return err },
		"target": func() error { _, err := VerifyTarget(ctx, backup, m.ID, "", VerifyOptions{FS: mem}); return err },
		"export": func() error {
			_, err := Export(ctx, img, Directory{FS: mem, Dir: "/other"}, ExportOptions{Blocks: "/data/blocks"})
			return err
		},
		"import": func() error { _, err := Import(ctx, backup, m.ID, ImportOptions{FS: mem, DataDir: "/new"}); return err },
	} {
		if err := run(); errs.KindOf(err) != errs.Canceled {
			t.Errorf("%s: %v", what, err)
		}
	}
}

package pebblekv

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/kv"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: the directory of a store of every format ever released is opened
// by this program. The fixtures never change; see docs/formats/README.md. A
// format is a directory store, as a killed process left it, and a file rows.txt
// with what it holds: quoted key and value on a line each.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		writeFormat(t, filepath.Join(formatsDir, *makeFormat))
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != engineVersion {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), engineVersion, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			dir := filepath.Join(formatsDir, d.Name())
			rows, err := os.ReadFile(filepath.Join(dir, "rows.txt"))
			if err != nil {
				t.Fatal(err)
			}
			t.Run("Open", func(t *testing.T) { testOpenStore(t, dir, string(rows)) })
			t.Run("Marker", func(t *testing.T) { testMarkerFixture(t, dir, d.Name()) })
		})
	}
}

// copyStore returns the options of a copy of the fixture's store.
func copyStore(t *testing.T, dir string) Options {
	t.Helper()
	to := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(to, os.DirFS(filepath.Join(dir, "store"))); err != nil {
		t.Fatal(err)
	}
	return Options{Dir: to, Name: "fixture", Version: 3}
}

// dumpRows prints every row.
func dumpRows(t *testing.T, r kv.Reader) string {
	t.Helper()
	it, err := r.Iter(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var out strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := r.Get(it.Key())
		if err != nil || !ok || string(got) != string(v) {
			t.Fatalf("%q: %q, %v, %v", it.Key(), got, ok, err)
		}
		fmt.Fprintf(&out, "%q %q\n", it.Key(), v)
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// testOpenStore reads the store unchanged, then opens it for writing, goes on,
// and finds all of it again.
func testOpenStore(t *testing.T, dir, rows string) {
	o := copyStore(t, dir)
	o.ReadOnly = true
	s := open(t, o)
	tables := 0
	verify := func() {
		t.Helper()
		tables = 0
		err := s.Verify(t.Context(), func(f File) {
			if tables++; f.Err != nil {
				t.Error(f.Path, f.Err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := dumpRows(t, s); got != rows || s.Version() != 3 {
		t.Errorf("version %d; got\n%s\nwant\n%s", s.Version(), got, rows)
	}
	if verify(); tables < 2 {
		t.Errorf("%d tables", tables)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.ReadOnly, o.DisableWAL = false, true // as the store of a node
	s = open(t, o)
	if got := dumpRows(t, s); got != rows {
		t.Errorf("got\n%s\nwant\n%s", got, rows)
	}
	mustCommit(t, s, false, "zz")
	if err := errors.Join(s.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if got := dumpRows(t, s); !strings.HasPrefix(got, rows) || !strings.HasPrefix(got[len(rows):], `"zz" `) {
		t.Errorf("after more: got\n%s", got)
	}
	verify()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// testMarkerFixture: the marker is read and written byte for byte; one of a
// later engine or version, and one that is none, is refused by name.
func testMarkerFixture(t *testing.T, dir, name string) {
	raw, err := os.ReadFile(filepath.Join(dir, "store", markerFile))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	m, err := parseMarker(text)
	if want := (marker{name: "fixture", version: 3, engine: m.engine, state: ready}); err != nil || m != want || fmt.Sprintf("v%d", m.engine) != name {
		t.Fatalf("%+v, %v", m, err)
	}
	if m.engine == engineVersion && m.text() != text {
		t.Errorf("this program writes another marker: undo the change, or make a new format (docs/formats/README.md).\ngot\n%s\nwant\n%s", m.text(), text)
	}
	changed := func(old, now string) string {
		body, _, _ := strings.Cut(text, "crc32c ")
		return sealed(strings.Replace(body, old, now, 1))
	}
	for _, c := range []struct {
		text string
		kind errs.Kind
		says string
	}{
		{changed(fmt.Sprintf("pebble %d", m.engine), fmt.Sprintf("pebble %d", engineVersion+1)), errs.FormatTooNew, fmt.Sprintf("engine version %d", engineVersion+1)},
		{changed("version 3", "version 4"), errs.FormatTooNew, `the store "fixture" has version 4`},
		{changed("o3 store", "o4 store"), errs.FormatUnknown, "not a marker"},
		{strings.Replace(text, "fixture", "fixtura", 1), errs.Corrupt, "the checksum of the marker is wrong"},
	} {
		o := copyStore(t, dir)
		if err := os.WriteFile(filepath.Join(o.Dir, markerFile), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(o)
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), o.Dir) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
}

// writeFormat writes the fixtures of the newest format into a new directory:
// rows in several tables, replaced and deleted in later ones, and the last of
// them only in the write-ahead log.
func writeFormat(t *testing.T, dir string) {
	t.Helper()
	fs := vfs.NewMem()
	s := open(t, small(Options{FS: fs, Name: "fixture", Version: 3}))
	set := func(sync bool, from, to, step int, value string) {
		b := s.NewBatch()
		defer b.Close()
		for i := from; i < to; i += step {
			change := func() error {
				return b.Set([]byte(row(i)), []byte(strings.Repeat(fmt.Sprintf("%s of %d, ", value, i), 1+i%5)))
			}
			if value == "" {
				change = func() error { return b.Delete([]byte(row(i))) }
			}
			if err := change(); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(sync); err != nil {
			t.Fatal(err)
		}
	}
	flush := func() {
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	set(true, 0, 100, 1, "first")
	flush()
	set(true, 0, 100, 3, "second")
	set(true, 0, 100, 7, "")
	flush()
	set(true, 95, 105, 1, "third")
	set(true, 1, 100, 10, "")
	set(true, 200, 201, 1, "\x00\xff")
	text := dumpRows(t, s)
	if err := errors.Join(os.Mkdir(dir, 0o755), // fails when it is there
		os.WriteFile(filepath.Join(dir, "rows.txt"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(fs, vfs.Default, "/store", filepath.Join(dir, "store")); err != nil { // as if it were killed now
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

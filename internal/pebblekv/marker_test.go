package pebblekv

import (
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// made returns a file system with a closed store of name and version.
func made(t *testing.T, name string, version int) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewMem()
	s := open(t, small(Options{FS: mem, Name: name, Version: version}))
	mustCommit(t, s, true, "a")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return mem
}

func rewrite(t *testing.T, fs vfs.FS, path string, edit func(string) string) {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(edit(string(b)))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// remake gives the marker other content with a right checksum.
func remake(m marker) func(string) string { return func(string) string { return m.text() } }

func TestMarker(t *testing.T) {
	const path = "/store/FORMAT"
	ours := marker{name: "om", version: 3, engine: engineVersion, state: ready}
	newer, engine := ours, ours
	newer.version = 4
	engine.engine = engineVersion + 1
	for _, c := range []struct {
		what   string
		change func(t *testing.T, fs *vfs.MemFS)
		kind   errs.Kind
		says   string
	}{
		{"nothing", func(*testing.T, *vfs.MemFS) {}, errs.OK, ""},
		{"a newer version", func(t *testing.T, fs *vfs.MemFS) { rewrite(t, fs, path, remake(newer)) },
			errs.FormatTooNew, `the store "om" has version 4, this program knows 3`},
		{"a newer engine", func(t *testing.T, fs *vfs.MemFS) { rewrite(t, fs, path, remake(engine)) },
			errs.FormatTooNew, "the store has engine version 2, this program knows 1"},
		{"another name", func(t *testing.T, fs *vfs.MemFS) {
			rewrite(t, fs, path, remake(marker{name: "raft", version: 1, engine: 1, state: ready}))
		}, errs.FormatUnknown, `the directory holds a store named "raft", not "om"`},
		{"another engine", func(t *testing.T, fs *vfs.MemFS) {
			rewrite(t, fs, path, func(string) string {
				return sealed("o3 store\nname om\nversion 1\nengine bolt 1\nstate ready\n")
			})
		}, errs.FormatUnknown, "the marker names another engine"},
		{"a foreign file of that name", func(t *testing.T, fs *vfs.MemFS) {
			rewrite(t, fs, path, func(string) string { return "hello\n" })
		}, errs.FormatUnknown, "not a marker of an o3 store"},
		{"a flipped byte", func(t *testing.T, fs *vfs.MemFS) {
			rewrite(t, fs, path, func(s string) string { return strings.Replace(s, "version 3", "version 1", 1) })
		}, errs.Corrupt, "the checksum of the marker is wrong"},
		{"an empty marker", func(t *testing.T, fs *vfs.MemFS) {
			rewrite(t, fs, path, func(string) string { return "" })
		}, errs.FormatUnknown, "not a marker"},
		{"no marker", func(t *testing.T, fs *vfs.MemFS) {
			if err := fs.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, errs.FormatUnknown, "but no store; give an empty one"},
		{"no database", func(t *testing.T, fs *vfs.MemFS) {
			names, err := fs.List("/store")
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				if n != "FORMAT" {
					if err := fs.Remove("/store/" + n); err != nil {
						t.Fatal(err)
					}
				}
			}
		}, errs.Corrupt, "the database is missing: it was here, and is not"},
	} {
		t.Run(c.what, func(t *testing.T) {
			fs := made(t, "om", 3)
			c.change(t, fs)
			before, _ := fs.List("/store")
			s, err := Open(small(Options{FS: fs, Name: "om", Version: 3}))
			if errs.KindOf(err) != c.kind {
				t.Fatalf("open: %v", err)
			}
			if err == nil {
				if !has(t, s, "a") || s.Version() != 3 {
					t.Error("wrong store")
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "/store") {
				t.Errorf("says %q, want %q", err, c.says)
			}
			after, _ := fs.List("/store")
			if c.what != "no database" && len(before) != len(after) {
				t.Errorf("a refused directory was changed: %q became %q", before, after)
			}
		})
	}
}

// sealed adds a right checksum to the text of a marker.
func sealed(body string) string {
	return body + checksumLine(body)
}

// TestVersionIsRaised: opening an older store makes it one of the newest
// version, once and for all; reading it changes nothing.
func TestVersionIsRaised(t *testing.T) {
	const path = "/store/FORMAT"
	fs := made(t, "om", 1)
	version := func(o Options) int {
		t.Helper()
		o.FS, o.Name = fs, "om"
		s := open(t, small(o))
		defer s.Close()
		if !has(t, s, "a") {
			t.Error("the row is lost")
		}
		return s.Version()
	}
	marker := func() (text string) {
		t.Helper()
		rewrite(t, fs, path, func(s string) string { text = s; return s })
		return text
	}
	old := marker()
	if v := version(Options{Version: 3, ReadOnly: true}); v != 1 || marker() != old {
		t.Errorf("reading raised it: %d, %q", v, marker())
	}
	if v := version(Options{Version: 3}); v != 3 {
		t.Errorf("version %d", v)
	}
	raised := marker()
	if raised != strings.Replace(old, "version 1\n", "version 3\n", 1)[:len(old)-len("00000000\n")]+raised[len(raised)-len("00000000\n"):] {
		t.Errorf("the marker is %q, was %q", raised, old)
	}
	if v := version(Options{Version: 3}); v != 3 || marker() != raised {
		t.Errorf("the second time: %d, %q", v, marker())
	}
	for _, readOnly := range []bool{false, true} {
		_, err := Open(small(Options{FS: fs, Name: "om", Version: 2, ReadOnly: readOnly}))
		if errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), `the store "om" has version 3, this program knows 2`) {
			t.Errorf("an older program, read-only %v: %v", readOnly, err)
		}
	}
}

func TestWrongOptions(t *testing.T) {
	for what, o := range map[string]Options{
		"no directory":   {},
		"name":           {Dir: "/d", Name: "Bad Name"},
		"version":        {Dir: "/d", Version: -1},
		"memtable":       {Dir: "/d", MemTableBytes: 1},
		"negative cache": {Dir: "/d", CacheBytes: -1},
	} {
		o.FS = vfs.NewMem()
		if _, err := Open(o); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("a second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReadOnly(t *testing.T) {
	if _, err := Open(small(Options{ReadOnly: true})); errs.KindOf(err) != errs.FormatUnknown {
		t.Errorf("nothing there: %v", err)
	}
	mem := vfs.NewMem()
	s := open(t, small(Options{FS: mem}))
	mustCommit(t, s, true, "a")
	if err := s.Close(); err != nil { // not flushed: the row is in the log
		t.Fatal(err)
	}
	before, _ := mem.List("/store")
	s = open(t, small(Options{FS: mem, ReadOnly: true}))
	if !has(t, s, "a") {
		t.Error("the row in the log is not there")
	}
	if err := commit(s, false, "b"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("commit: %v", err)
	}
	if err := s.Flush(); errs.KindOf(err) != errs.Invalid {
		t.Errorf("flush: %v", err)
	}
	if err := s.Verify(t.Context(), func(File) {}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after, _ := mem.List("/store"); len(after) != len(before) {
		t.Errorf("%q became %q", before, after)
	}
}

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

func TestVersionIsRaised(t *testing.T) {
	fs := made(t, "om", 1)
	s := open(t, small(Options{FS: fs, Name: "om", Version: 3}))
	if s.Version() != 1 {
		t.Errorf("version %d", s.Version())
	}
	if err := s.SetVersion(4); errs.KindOf(err) != errs.Invalid {
		t.Errorf("above what we know: %v", err)
	}
	if err := s.SetVersion(2); err != nil {
		t.Fatal(err)
	}
	if err := s.SetVersion(1); errs.KindOf(err) != errs.Invalid {
		t.Errorf("back: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(small(Options{FS: fs, Name: "om", Version: 1})); errs.KindOf(err) != errs.FormatTooNew {
		t.Errorf("an older program: %v", err)
	}
	s = open(t, small(Options{FS: fs, Name: "om", Version: 2}))
	if s.Version() != 2 {
		t.Errorf("version %d", s.Version())
	}
	_ = s.Close()
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
	if err := s.SetVersion(1); errs.KindOf(err) != errs.Invalid {
		t.Errorf("set version: %v", err)
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

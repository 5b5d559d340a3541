package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// filled returns a file system with a closed store of several table files, and
// the names of these.
func filled(t *testing.T) (*vfs.MemFS, []string) {
	t.Helper()
	mem := vfs.NewMem()
	s := open(t, small(Options{FS: mem, DisableWAL: true}))
	for i := range 300 {
		mustCommit(t, s, false, row(i))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	var files []string
	if err := s.Verify(t.Context(), func(f File) {
		if f.Err != nil || f.Bytes == 0 {
			t.Errorf("%+v", f)
		}
		files = append(files, f.Path)
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no table files")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return mem, files
}

// TestVerifyFindsEveryByte flips bytes of a table file, one at a time: each is
// found, by open or by verify, with the name of the file.
func TestVerifyFindsEveryByte(t *testing.T) {
	mem, files := filled(t)
	name := files[0]
	good := content(t, mem, name)
	step := 31
	if os.Getenv("O3_NIGHTLY") != "" {
		step = 1
	}
	for at := rand.IntN(step); at < len(good); at += step {
		bad := []byte(good)
		bad[at] ^= 0x10
		store(t, mem, name, bad)
		var told atomic.Int64
		s, err := Open(small(Options{FS: mem, ReadOnly: true, DisableWAL: true,
			Listener: Listener{Corruption: func(p string, _ error) {
				if p == name {
					told.Add(1)
				}
			}}}))
		if err == nil {
			var reported int
			err = s.Verify(t.Context(), func(f File) {
				if f.Err != nil {
					reported++
				}
			})
			if reported != 1 || told.Load() == 0 {
				t.Errorf("byte %d: %d files reported, listener told %d times", at, reported, told.Load())
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), path.Base(name)) {
			t.Errorf("byte %d of %d: %v", at, len(good), err)
		}
	}
}

// TestDamagedBlockIsNotServed: a reader gets errs.Corrupt and the file's name,
// or the right value from an undamaged block.
func TestDamagedBlockIsNotServed(t *testing.T) {
	mem, files := filled(t)
	good := content(t, mem, files[0])
	refused := 0
	for at := 0; at < len(good); at += 97 {
		bad := []byte(good)
		bad[at] ^= 0x01
		store(t, mem, files[0], bad)
		s, err := Open(small(Options{FS: mem, ReadOnly: true, DisableWAL: true}))
		if err != nil {
			continue // damage that open finds
		}
		v, ok, err := s.Get([]byte(row(150)))
		switch {
		case err == nil && ok && string(v) == row(150):
		case errs.KindOf(err) == errs.Corrupt && strings.Contains(err.Error(), path.Base(files[0])):
			refused++
		default:
			t.Errorf("byte %d: %q %v %v", at, v, ok, err)
		}
		it, err := s.Iter(nil, nil)
		n := 0
		if err == nil {
			for ok := it.First(); ok; ok = it.Next() {
				if string(it.Key()) != row(n) {
					t.Errorf("byte %d: row %d is %q", at, n, it.Key())
				}
				n++
			}
			err = it.Err()
			_ = it.Close()
		}
		if (err == nil) != (n == 300) || err != nil && errs.KindOf(err) != errs.Corrupt {
			t.Errorf("byte %d: scan of %d rows, %v", at, n, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if refused == 0 {
		t.Error("no read was refused")
	}
}

func TestMissingFiles(t *testing.T) {
	t.Run("table at open", func(t *testing.T) {
		mem, files := filled(t)
		if err := mem.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		_, err := Open(small(Options{FS: mem, DisableWAL: true}))
		if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Corrupt || e.Subject != files[0] {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("table cut short", func(t *testing.T) {
		mem, files := filled(t)
		good := content(t, mem, files[0])
		store(t, mem, files[0], []byte(good[:len(good)-1]))
		_, err := Open(small(Options{FS: mem, DisableWAL: true}))
		if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Corrupt || e.Subject != files[0] {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("table while open", func(t *testing.T) {
		mem, files := filled(t)
		s := open(t, small(Options{FS: mem, DisableWAL: true, MaxOpenFiles: 1, ReadOnly: true}))
		defer s.Close()
		if err := mem.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		var reported []File
		err := s.Verify(t.Context(), func(f File) { reported = append(reported, f) })
		if e, ok := errors.AsType[*errs.Error](err); !ok || e.Kind != errs.Corrupt || e.Subject != files[0] {
			t.Errorf("verify: %v", err)
		}
		if len(reported) != len(files) {
			t.Errorf("%d files reported, want %d", len(reported), len(files))
		}
	})
	t.Run("manifest damaged", func(t *testing.T) {
		mem, _ := filled(t)
		names, err := mem.List("/store")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if strings.HasPrefix(n, "MANIFEST-") {
				rewrite(t, mem, "/store/"+n, func(s string) string {
					b := []byte(s)
					b[20] ^= 1
					return string(b)
				})
			}
		}
		_, err = Open(small(Options{FS: mem, DisableWAL: true}))
		if errs.KindOf(err) != errs.Corrupt {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("manifest gone", func(t *testing.T) {
		mem, _ := filled(t)
		names, err := mem.List("/store")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if strings.HasPrefix(n, "MANIFEST-") {
				if err := mem.Remove("/store/" + n); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, err = Open(small(Options{FS: mem, DisableWAL: true}))
		if errs.KindOf(err) != errs.Corrupt {
			t.Errorf("open: %v", err)
		}
	})
}

func TestVerifyBesideWritersAndCancelled(t *testing.T) {
	s := open(t, small(Options{DisableWAL: true}))
	defer s.Close()
	for i := range 40 {
		for k := range 50 {
			mustCommit(t, s, false, fmt.Sprintf("%d/%s", i%3, row(k)))
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(t.Context(), func(File) {}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx, func(File) { t.Error("a file after the cancel") }); errs.KindOf(err) != errs.Canceled {
		t.Error(err)
	}
}

func content(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func store(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

package report

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/kv/kvtest"
)

var meta = Meta{JobID: 77, Bucket: 3, From: 10, To: math.MaxUint64, Options: 0xfeed}

// entry is the n-th entry of the reports of these tests.
func entry(n int) *o3v1.DiffEntry {
	e := &o3v1.DiffEntry{Type: string("-R+M"[n%4]), SourcePath: fmt.Sprintf("dir/%d", n), ObjectId: uint64(n), Directory: n%3 == 0}
	if e.Type == Rename {
		e.TargetPath = strings.Repeat("é", n%100) + "\x00"
	}
	return e
}

func write(t *testing.T, path string, n int) {
	t.Helper()
	w, err := NewWriter(path, meta)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := w.Add(entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	size, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != size {
		t.Errorf("%v, want %d bytes: %v", info, size, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func open(t *testing.T, path string) *Reader {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		out = append(out, f.Name())
	}
	return out
}

// TestPages reads pages of any size from anywhere, by two readers at once, and
// compares with what was written.
func TestPages(t *testing.T) {
	rng := rand.New(rand.NewPCG(kvtest.Seed(t), 1))
	for _, n := range []int{0, 1, blockEntries - 1, blockEntries, blockEntries + 1, 10*blockEntries + 7} {
		dir := t.TempDir()
		path := filepath.Join(dir, "report")
		write(t, path, n)
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("%d entries: the directory holds %v", n, got)
		}
		r := open(t, path)
		if err := r.Verify(); err != nil || r.Meta() != meta || r.Entries() != uint64(n) || r.Counts().Deleted != uint64(n+3)/4 {
			t.Errorf("%d entries: %v, %+v, %+v", n, err, r.Meta(), r.Counts())
		}
		var both sync.WaitGroup
		for range 2 {
			asks := make([][2]int, 60)
			for i := range asks {
				asks[i] = [2]int{rng.IntN(n + 3), rng.IntN(3*blockEntries) - 2}
			}
			both.Go(func() {
				for _, a := range asks {
					checkPage(t, r, n, a[0], a[1])
				}
			})
		}
		both.Wait()
	}
}

func checkPage(t *testing.T, r *Reader, total, first, n int) {
	page, err := r.Page(uint64(first), n)
	if want := max(0, min(n, total-first)); err != nil || len(page) != want {
		t.Errorf("page of %d from %d: %d entries, want %d, %v", n, first, len(page), want, err)
	}
	for i, e := range page {
		if !proto.Equal(e, entry(first+i)) {
			t.Errorf("entry %d is %v", first+i, e)
		}
	}
}

// TestEveryByte: whatever byte of a report changes, what is shown is right or
// refused; and a report that was cut anywhere is refused.
func TestEveryByte(t *testing.T) {
	const n = blockEntries + 3
	path := filepath.Join(t.TempDir(), "report")
	write(t, path, n)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	read := func(b []byte) error {
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(bad)
		if err != nil {
			return err
		}
		defer r.Close()
		return r.Verify()
	}
	for at := 0; at < len(raw); at += 1 + at%11 {
		b := []byte(string(raw))
		b[at] ^= 1 << (at % 8)
		switch k := errs.KindOf(read(b)); {
		case at < 8 && k != errs.FormatUnknown:
			t.Errorf("byte %d, of the magic: %v", at, k)
		case at >= 8 && at < 12 && k != errs.FormatTooNew && k != errs.Corrupt:
			t.Errorf("byte %d, of the version: %v", at, k)
		case at >= 12 && k != errs.Corrupt:
			t.Errorf("byte %d of %d: %v", at, len(raw), k)
		}
	}
	for size := 0; size < len(raw); size += 1 + size/3 {
		if k := errs.KindOf(read(raw[:size])); k != errs.Corrupt && k != errs.FormatUnknown {
			t.Errorf("cut to %d bytes: %v", size, k)
		}
	}
	if k := errs.KindOf(read(append([]byte(string(raw)), 0))); k != errs.Corrupt {
		t.Errorf("one byte more: %v", k)
	}
	if err := read(raw); err != nil {
		t.Error(err)
	}
}

// TestUnfinished: before Finish there is nothing under the name, and after Close
// nothing at all; an older report stays until then.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report")
	w, err := NewWriter(path, meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(entry(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unfinished report: %v", err)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil || len(names(t, dir)) != 0 {
		t.Errorf("given up: %v, %v", err, names(t, dir))
	}
	if err := w.Add(entry(1)); err == nil {
		t.Error("an entry was added to a closed report")
	}
	if _, err := w.Finish(); err == nil {
		t.Error("a closed report was finished")
	}
	write(t, path, 5)
	w, err = NewWriter(path, meta)
	if err != nil || open(t, path).Entries() != 5 {
		t.Errorf("while a second one is written: %v", err)
	}
	if err := w.Close(); err != nil || open(t, path).Entries() != 5 {
		t.Errorf("after the second was given up: %v", err)
	}
	if _, err := NewWriter(filepath.Join(dir, "absent", "report"), meta); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

func TestRefusedEntries(t *testing.T) {
	w, err := NewWriter(filepath.Join(t.TempDir(), "report"), meta)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Add(&o3v1.DiffEntry{Type: "x", SourcePath: "a"}); errs.KindOf(err) != errs.Internal {
		t.Errorf("an unknown type: %v", err)
	}
	if err := w.Add(&o3v1.DiffEntry{Type: Create, SourcePath: strings.Repeat("a", maxEntry)}); errs.KindOf(err) != errs.TooLarge {
		t.Errorf("a long path: %v", err)
	}
}

func TestToken(t *testing.T) {
	for _, n := range []uint64{0, 1, 5000, math.MaxUint64} {
		token := EncodeToken(7, n)
		if got, err := DecodeToken(token, 7); err != nil || got != n {
			t.Errorf("%d: %d, %v", n, got, err)
		}
		for i := range token {
			b := []byte(token)
			if b[i]++; b[i] == '{' || b[i] == '[' || b[i] == ':' {
				b[i] = 'A'
			}
			if got, err := DecodeToken(string(b), 7); errs.KindOf(err) != errs.Invalid {
				t.Errorf("%s for %s: %d, %v", b, token, got, err)
			}
		}
	}
	if got, err := DecodeToken("", 7); got != 0 || err != nil {
		t.Errorf("no token: %d, %v", got, err)
	}
	for token, want := range map[string]string{
		EncodeToken(8, 1): "another job", "300000000000000000042": "snapshot diff", "!": "snapshot diff", "AQ": "cut",
		EncodeToken(7, 1) + "AAAA": "cut", EncodeToken(7, 1)[:20]: "cut", "Ag": "version 2", "AA": "version 0",
	} {
		if _, err := DecodeToken(token, 7); errs.KindOf(err) != errs.Invalid || !strings.Contains(errs.Message(err), want) {
			t.Errorf("%s: %v", token, err)
		}
	}
}

// BenchmarkPage reads a page of 5,000 at the end of a long report.
func BenchmarkPage(b *testing.B) {
	path := filepath.Join(b.TempDir(), "report")
	w, err := NewWriter(path, meta)
	if err != nil {
		b.Fatal(err)
	}
	const n = 1_000_000
	for i := range n {
		if err := w.Add(entry(i)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Finish(); err != nil {
		b.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for b.Loop() {
		if page, err := r.Page(n-5000, 5000); err != nil || len(page) != 5000 {
			b.Fatal(err)
		}
	}
}

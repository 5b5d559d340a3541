package spill

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"o3/internal/errs"
	"o3/internal/kv/kvtest"
)

type record struct{ key, value []byte }

func records(rng *rand.Rand, n, keySpace int) []record {
	out := make([]record, n)
	for i := range out {
		key := []byte(fmt.Sprintf("%0*d", rng.IntN(12), rng.IntN(keySpace)))
		if rng.IntN(4) == 0 {
			key = bytes.Repeat([]byte{byte(rng.IntN(3))}, rng.IntN(20))
		}
		out[i] = record{key, fmt.Appendf(nil, "value %d %s", i, bytes.Repeat([]byte("x"), rng.IntN(40)))}
	}
	return out
}

func fill(t *testing.T, s *Sorter, all []record) {
	t.Helper()
	for _, r := range all {
		if err := s.Add(r.key, r.value); err != nil {
			t.Fatal(err)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	out, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSort compares with a stable sort in memory: sorts that fit, that need
// runs, and that need runs of runs.
func TestSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(kvtest.Seed(t), 1))
	for _, n := range []int{0, 1, 2, 1023, 1024, 1025, 5000, 150_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := t.TempDir()
			s := New(Options{Dir: dir, Memory: 1}) // the least there is
			all := records(rng, n, n/2+1)
			fill(t, s, all)
			most := len(files(t, dir))
			if err := s.Sort(); err != nil {
				t.Fatal(err)
			}
			slices.SortStableFunc(all, func(a, b record) int { return bytes.Compare(a.key, b.key) })
			for i, want := range all {
				if !s.Next() || !bytes.Equal(s.Key(), want.key) || !bytes.Equal(s.Value(), want.value) {
					t.Fatalf("record %d: %q %q, %v, want %q %q", i, s.Key(), s.Value(), s.Err(), want.key, want.value)
				}
			}
			if s.Next() || s.Err() != nil || s.Len() != int64(n) {
				t.Errorf("after the last: %v, %d records", s.Err(), s.Len())
			}
			if (s.Spilled() > 0) != (n >= 1000) || most > 2*fanIn {
				t.Errorf("%d bytes were spilled, in %d files", s.Spilled(), most)
			}
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Error(err)
			}
			if left := files(t, dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestCheck: an error of Check ends every part of the work soon, and nothing is
// left behind.
func TestCheck(t *testing.T) {
	stop := errors.New("stop")
	all := records(rand.New(rand.NewPCG(1, 1)), 4000, 1000)
	calls := 0
	sort := func(dir string, limit int) (err error) {
		calls = 0
		s := New(Options{Dir: dir, Memory: 1, Check: func() error {
			if calls++; calls == limit {
				return stop
			}
			return nil
		}})
		defer func() { err = errors.Join(err, s.Close()) }()
		for _, r := range all {
			if err := s.Add(r.key, r.value); err != nil {
				return err
			}
		}
		return s.Sort()
	}
	dir := t.TempDir()
	if err := sort(dir, 0); err != nil {
		t.Fatal(err)
	}
	asked := calls
	if asked < 2*len(all)/chunk { // once to sort, once to write
		t.Errorf("asked %d times for %d records", asked, len(all))
	}
	for limit := 1; limit <= asked; limit++ {
		if err := sort(dir, limit); !errors.Is(err, stop) || calls != limit {
			t.Fatalf("stopped at call %d: %v after %d calls", limit, err, calls)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Fatalf("stopped at call %d: left behind: %v", limit, left)
		}
	}
}

// TestDamage: a run that is not what was written is reported.
func TestDamage(t *testing.T) {
	for what, harm := range map[string]func(f *os.File, size int64) error{
		"a flipped byte": func(f *os.File, size int64) error {
			var b [1]byte
			if _, err := f.ReadAt(b[:], size/2); err != nil {
				return err
			}
			b[0] ^= 0x10
			_, err := f.WriteAt(b[:], size/2)
			return err
		},
		"a lost tail":   func(f *os.File, size int64) error { return f.Truncate(size - 3) },
		"an empty file": func(f *os.File, _ int64) error { return f.Truncate(0) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := New(Options{Dir: dir, Memory: 1})
			defer s.Close()
			fill(t, s, records(rand.New(rand.NewPCG(2, 2)), 20_000, 1000))
			runs := files(t, dir)
			if len(runs) < 3 {
				t.Fatal(runs)
			}
			f, err := os.OpenFile(runs[1], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			info, err := f.Stat()
			if err := errors.Join(err, harm(f, info.Size()), f.Close()); err != nil {
				t.Fatal(err)
			}
			err = s.Sort()
			for err == nil && s.Next() {
			}
			if err = errors.Join(err, s.Err()); errs.KindOf(err) != errs.Corrupt {
				t.Errorf("read to the end: %v", err)
			}
		})
	}
}

// TestNoDirectory: where runs cannot be written the error says so.
func TestNoDirectory(t *testing.T) {
	s := New(Options{Dir: filepath.Join(t.TempDir(), "absent"), Memory: 1})
	defer s.Close()
	var err error
	for i := 0; err == nil && i < 100_000; i++ {
		err = s.Add([]byte("key"), []byte("value"))
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestLongRecords: a record may be longer than the memory.
func TestLongRecords(t *testing.T) {
	s := New(Options{Dir: t.TempDir(), Memory: 1})
	defer s.Close()
	long := bytes.Repeat([]byte("v"), 1<<20)
	for _, k := range []string{"c", "a", "b"} {
		fill(t, s, []record{{[]byte(k), long}, {[]byte(k), nil}})
	}
	if err := s.Sort(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"a", "b", "c"} {
		for _, want := range [][]byte{long, nil} {
			if !s.Next() || string(s.Key()) != k || !bytes.Equal(s.Value(), want) {
				t.Fatalf("%s: %q with %d bytes, %v", k, s.Key(), len(s.Value()), s.Err())
			}
		}
	}
}

func BenchmarkSort(b *testing.B) {
	const n = 2_000_000
	for range b.N {
		rng := rand.New(rand.NewPCG(1, 1))
		s := New(Options{Dir: b.TempDir(), Memory: 12 << 20})
		key, value := make([]byte, 17), make([]byte, 31)
		for range n {
			for i := range 8 {
				key[i] = byte(rng.Uint32())
			}
			if err := s.Add(key, value); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Sort(); err != nil {
			b.Fatal(err)
		}
		for s.Next() {
		}
		if err := errors.Join(s.Err()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(s.Spilled())/(1<<20), "MiB-spilled")
		_ = s.Close()
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

package pebblekv

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
)

// pair commits one batch that says n in two rows.
func pair(t testing.TB, s *Store, n int) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close()
	v := fmt.Appendf(nil, "%06d%s", n, strings.Repeat("x", 500))
	if err := errors.Join(b.Set([]byte("a"), v), b.Set(fmt.Appendf(nil, "n%06d", n), v), b.Set([]byte("z"), v), b.Commit(false)); err != nil {
		t.Fatal(err)
	}
}

// count returns what the pairs of a checkpoint say, all of which must agree.
func count(t testing.TB, o Options) int {
	t.Helper()
	o.ReadOnly, o.NoLock = true, true
	s := open(t, o)
	defer s.Close()
	a, _, err := s.Get([]byte("a"))
	z, _, err2 := s.Get([]byte("z"))
	if err := errors.Join(err, err2); err != nil || string(a) != string(z) || len(a) < 6 {
		t.Fatalf("a is %.6s, z is %.6s, %v", a, z, err)
	}
	var n int
	fmt.Sscanf(string(a[:6]), "%d", &n)
	for i := range n + 2 {
		_, ok, err := s.Get(fmt.Appendf(nil, "n%06d", i))
		if err != nil || ok != (i <= n) {
			t.Fatalf("at %d: row %d: %v, %v", n, i, ok, err)
		}
	}
	if err := s.Verify(t.Context(), func(File) {}); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCheckpoint: a checkpoint made while rows are committed holds whole
// batches, a prefix of them, and all from before the call; it outlives what the
// store does afterwards, and reading it changes nothing.
func TestCheckpoint(t *testing.T) {
	for name, o := range map[string]Options{"WAL": {}, "NoWAL": {DisableWAL: true}} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			o.FS, o.Name, o.Version = mem, "om", 2
			o = small(o)
			s := open(t, o)
			defer s.Close()
			var wg sync.WaitGroup
			began := make(chan int)
			wg.Go(func() {
				defer close(began)
				for n := range 3000 {
					pair(t, s, n)
					if n%500 == 250 {
						began <- n
					}
				}
			})
			least := map[string]int{}
			for n := range began {
				dir := fmt.Sprintf("/images/%d/store", n)
				if err := s.Checkpoint(dir); err != nil {
					t.Fatal(err)
				}
				least[dir] = n
			}
			wg.Wait()
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			still := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && strings.HasPrefix(op.Path, "/images") {
					t.Errorf("reading does %v to %s", op.Kind, op.Path)
				}
				return nil
			}))
			for dir, n := range least {
				c := o
				c.Dir, c.FS = dir, still
				if got := count(t, c); got < n {
					t.Errorf("%s holds only up to %d", dir, got)
				}
			}
			if len(least) != 6 {
				t.Errorf("%d checkpoints", len(least))
			}
			err := s.Checkpoint("/images/250/store")
			if errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "/images/250/store") {
				t.Error(err)
			}
			c := o // one that is opened to write goes its own way
			c.Dir = "/images/250/store"
			w := open(t, c)
			pair(t, w, 9999)
			if err := errors.Join(w.Flush(), w.Close()); err != nil {
				t.Error(err)
			}
			pair(t, s, 3000)
		})
	}
}

// TestCheckpointFails: a disk that fails under a checkpoint leaves no directory
// and a store that goes on, whichever operation it was.
func TestCheckpointFails(t *testing.T) {
	mem := vfs.NewMem()
	var at, ops int
	hit := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !strings.HasPrefix(op.Path, "/images") || op.Kind.ReadOrWrite() != errorfs.OpIsWrite ||
			op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpRemoveAll || op.Kind == errorfs.OpLink ||
			op.Kind == errorfs.OpFilePreallocate || op.Kind == errorfs.OpFileSyncTo {
			return nil // a link that fails is copied
		}
		if ops++; ops == at {
			hit = true
			return syscall.ENOSPC
		}
		return nil
	}))
	s := open(t, small(Options{FS: fs, DisableWAL: true, Listener: Listener{Fatal: func(err error) { t.Error("fatal:", err) }}}))
	rounds := 0
	for at = 1; ; at++ {
		pair(t, s, at-1)
		ops, hit = 0, false
		err := s.Checkpoint("/images/x")
		if !hit {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		rounds++
		if errs.KindOf(err) != errs.ReadOnly {
			t.Errorf("operation %d: %v", at, err)
		}
		if _, err := mem.Stat("/images/x"); err == nil {
			t.Errorf("operation %d left a directory", at)
		}
	}
	if rounds < 10 || s.Err() != nil {
		t.Errorf("%d operations, %v", rounds, s.Err())
	}
	if err := s.Close(); err != nil { // a store that still compacts takes files from under a second reader
		t.Fatal(err)
	}
	if got := count(t, small(Options{FS: mem})); got < 1 {
		t.Error(got)
	}
}

func TestNoLockNeedsReadOnly(t *testing.T) {
	if _, err := Open(Options{Dir: "/x", NoLock: true}); errs.KindOf(err) != errs.Invalid {
		t.Error(err)
	}
}

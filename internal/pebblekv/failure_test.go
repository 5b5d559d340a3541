package pebblekv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/kv/kvtest"
)

// faults injects an error into changes of the disk.
type faults struct {
	at     int64 // the change that fails, from 1; 0 is never
	sticky bool  // and all later ones
	match  func(errorfs.Op) bool
	err    error
	seen   atomic.Int64
	hit    atomic.Int64
}

func (f *faults) String() string { return fmt.Sprintf("change %d", f.at) }

func (f *faults) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpLock {
		return nil
	}
	if f.match != nil && !f.match(op) {
		return nil
	}
	n := f.seen.Add(1)
	if f.at != 0 && (n == f.at || f.sticky && n > f.at) {
		f.hit.Add(1)
		return f.err
	}
	return nil
}

func ofFile(suffix string, kinds ...errorfs.OpKind) func(errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		ok := len(kinds) == 0
		for _, k := range kinds {
			ok = ok || op.Kind == k
		}
		return ok && strings.Contains(op.Path, suffix)
	}
}

func mustCommit(t testing.TB, s *Store, sync bool, keys ...string) {
	t.Helper()
	if err := commit(s, sync, keys...); err != nil {
		t.Fatal(err)
	}
}

// commit writes keys with their own name as the value.
func commit(s *Store, sync bool, keys ...string) error {
	b := s.NewBatch()
	defer b.Close()
	for _, k := range keys {
		if err := b.Set([]byte(k), []byte(k)); err != nil {
			return err
		}
	}
	return b.Commit(sync)
}

func has(t testing.TB, s kv.Reader, key string) bool {
	t.Helper()
	v, ok, err := s.Get([]byte(key))
	if err != nil || ok && string(v) != key {
		t.Fatalf("get %s: %q, %v", key, v, err)
	}
	return ok
}

// TestDiskFull: the disk fills up while a flush writes its table. The store
// fails, says so, answers reads, closes, and opens again when there is room.
func TestDiskFull(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{
		"creating the table": ofFile(".sst", errorfs.OpCreate),
		"writing the table":  ofFile(".sst", errorfs.OpFileWrite),
		"the manifest":       ofFile("MANIFEST", errorfs.OpFileWrite),
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			s := open(t, small(Options{FS: mem, DisableWAL: true}))
			mustCommit(t, s, false, "before")
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			full := &faults{at: 1, sticky: true, match: match, err: syscall.ENOSPC}
			toggle := &errorfs.Toggle{Injector: full}
			var told atomic.Int64
			s = open(t, small(Options{FS: errorfs.Wrap(mem, toggle), DisableWAL: true,
				Listener: Listener{Fatal: func(error) { told.Add(1) }}}))
			mustCommit(t, s, false, "lost")
			toggle.On()
			err := s.Flush()
			if errs.KindOf(err) != errs.ReadOnly || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full") {
				t.Fatalf("flush: %v", err)
			}
			if told.Load() != 1 {
				t.Errorf("Fatal was called %d times", told.Load())
			}
			if err := commit(s, false, "refused"); errs.KindOf(err) != errs.ReadOnly {
				t.Errorf("commit: %v", err)
			}
			if errs.KindOf(s.Err()) != errs.ReadOnly || !s.Metrics().Failed {
				t.Errorf("Err: %v", s.Err())
			}
			if !has(t, s, "before") || !has(t, s, "lost") || has(t, s, "refused") {
				t.Error("reads are wrong after the failure")
			}
			hits := full.hit.Load()
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if n := full.hit.Load(); n != hits || n > 1 {
				t.Errorf("the disk was tried %d times, %d of them at close", n, n-hits)
			}

			s = open(t, small(Options{FS: mem, DisableWAL: true}))
			defer s.Close()
			if !has(t, s, "before") || has(t, s, "lost") {
				t.Error("not what was durable")
			}
			mustCommit(t, s, false, "after")
			if err := s.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCompactionFails: compaction is tried once, not for ever.
func TestCompactionFails(t *testing.T) {
	toggle := &errorfs.Toggle{Injector: &faults{
		at: 1, sticky: true, err: syscall.EIO,
		match: func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".sst") },
	}}
	failed := make(chan struct{})
	s := open(t, small(Options{DisableWAL: true, FS: errorfs.Wrap(vfs.NewMem(), toggle),
		Listener: Listener{
			Compacted: func(int, uint64, uint64, time.Duration) { toggle.On() },
			Fatal:     func(error) { close(failed) },
		}}))
	var err error
	for i := 0; err == nil; i++ {
		if err = commit(s, false, fmt.Sprintf("%d", i%7), fmt.Sprintf("%d", i)); err == nil {
			err = s.Flush()
		}
	}
	<-failed
	if errs.KindOf(err) != errs.Internal || !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestFailedSyncIsFatal: after a sync of the log has failed, a later one that
// succeeds proves nothing; so there is none.
func TestFailedSyncIsFatal(t *testing.T) {
	for _, suffix := range []string{".log", ".sst", "MANIFEST"} {
		t.Run(suffix, func(t *testing.T) {
			once := &faults{at: 1, err: syscall.EIO,
				match: ofFile(suffix, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo)}
			toggle := &errorfs.Toggle{Injector: once}
			mem := vfs.NewMem()
			s := open(t, small(Options{FS: errorfs.Wrap(mem, toggle)}))
			mustCommit(t, s, true, "before")
			toggle.On()
			err := commit(s, true, "unknown")
			if err == nil {
				err = s.Flush()
			}
			if !errors.Is(err, syscall.EIO) || once.hit.Load() == 0 {
				t.Fatalf("not failed: %v", err)
			}
			if err := commit(s, true, "refused"); err == nil {
				t.Error("a commit after a failed sync")
			}
			if err := s.Flush(); err == nil {
				t.Error("a flush after a failed sync")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = open(t, small(Options{FS: mem}))
			defer s.Close()
			if !has(t, s, "before") || has(t, s, "refused") {
				t.Error("not what was durable")
			}
		})
	}
}

// TestAnyChangeFails fails the n-th change of the disk, for every n, once or
// from then on, while a store is made or opened again and used, and then cuts
// the power. Whatever happens, nothing panics or hangs, and what was
// acknowledged as durable is there, as a prefix.
func TestAnyChangeFails(t *testing.T) {
	seed := kvtest.Seed(t)
	for i := range 8 {
		c := cut{noWAL: i&1 != 0, sticky: i&2 != 0, again: i&4 != 0}
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			n := int64(1)
			for c.run(t, n, rand.New(rand.NewPCG(seed, uint64(n)))) {
				n++
			}
			t.Logf("%d changes", n-1)
		})
	}
}

// cut is one way to fail.
type cut struct {
	noWAL  bool
	sticky bool // all later changes fail too
	again  bool // the store was there before
}

func (c cut) options(fs vfs.FS) Options { return small(Options{FS: fs, DisableWAL: c.noWAL}) }

// run fails the n-th change and checks what is left. It returns whether there
// was such a change.
func (c cut) run(t *testing.T, n int64, rng *rand.Rand) bool {
	disk := vfs.NewCrashableMem()
	from := 0
	if c.again {
		from, _ = c.churn(t, disk, 0)
	}
	f := &faults{at: n, sticky: c.sticky, err: syscall.ENOSPC}
	durable, tried := c.churn(t, errorfs.Wrap(disk, f), from)
	after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	c.checkPrefix(t, after, n, durable, tried)
	return f.hit.Load() > 0
}

// churn opens a store that has rows up to from, and writes 12 more in order,
// with flushes. It returns how many were acknowledged as durable and how many
// were tried.
func (c cut) churn(t *testing.T, fs vfs.FS, from int) (durable, tried int) {
	durable, tried = from, from
	s, err := Open(c.options(fs))
	if err != nil {
		return durable, tried
	}
	defer func() {
		if err := s.Close(); err != nil && s.Err() == nil {
			t.Errorf("close: %v", err)
		}
	}()
	for i := from; i < from+12; i++ {
		tried = i + 1
		if err := commit(s, !c.noWAL, row(i)); err != nil {
			return durable, tried
		}
		if !c.noWAL {
			durable = i + 1
		}
		if i%4 == 3 {
			if err := s.Flush(); err != nil {
				return durable, tried
			}
			durable = i + 1
		}
	}
	return durable, tried
}

// checkPrefix opens what the power cut left.
func (c cut) checkPrefix(t *testing.T, fs vfs.FS, n int64, durable, tried int) {
	t.Helper()
	s, err := Open(c.options(fs))
	if err != nil {
		t.Fatalf("change %d: open after the cut: %v", n, err)
	}
	defer s.Close()
	there := 0
	for there < 30 && has(t, s, row(there)) {
		there++
	}
	for i := there; i < 30; i++ {
		if has(t, s, row(i)) {
			t.Errorf("change %d: row %d is there and row %d is not", n, i, there)
		}
	}
	if there < durable || there > tried {
		t.Errorf("change %d: %d rows; durable were %d, tried %d", n, there, durable, tried)
	}
	if err := s.Verify(t.Context(), func(File) {}); err != nil {
		t.Errorf("change %d: %v", n, err)
	}
	mustCommit(t, s, false, "works")
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
}

func row(i int) string { return fmt.Sprintf("row%03d", i) }

// checkPrefix opens what the power cut left.
func checkPrefix(t *testing.T, o Options, fs vfs.FS, n int64, durable, tried int) {
	t.Helper()
	o.FS = fs
	s, err := Open(small(o))
	if err != nil {
		t.Fatalf("change %d: open after the cut: %v", n, err)
	}
	defer s.Close()
	there := 0
	for there < 20 && has(t, s, row(there)) {
		there++
	}
	for i := there; i < 20; i++ {
		if has(t, s, row(i)) {
			t.Errorf("change %d: row %d is there and row %d is not", n, i, there)
		}
	}
	if there < durable || there > tried {
		t.Errorf("change %d: %d rows; durable were %d, tried %d", n, there, durable, tried)
	}
	if err := s.Verify(t.Context(), func(File) {}); err != nil {
		t.Errorf("change %d: %v", n, err)
	}
	mustCommit(t, s, false, "works")
	if err := s.Flush(); err != nil {
		t.Error(err)
	}
}

// TestWritersWaitAndAreLetGo: commits wait while flushes cannot keep up, and
// the failure of the flush ends their waiting.
func TestWritersWaitAndAreLetGo(t *testing.T) {
	held := make(chan struct{})
	hold := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			<-held
			return syscall.ENOSPC
		}
		return nil
	})
	waiting := make(chan struct{})
	var once sync.Once
	var ended atomic.Int64
	s := open(t, small(Options{DisableWAL: true, FS: errorfs.Wrap(vfs.NewMem(), hold), Listener: Listener{
		StallBegin: func(reason string) {
			if reason != "memtables" {
				t.Errorf("waits for %s", reason)
			}
			once.Do(func() { close(waiting) })
		},
		StallEnd: func(string, time.Duration) { ended.Add(1) },
	}}))
	var g sync.WaitGroup
	for w := range 3 {
		g.Go(func() {
			big := strings.Repeat("x", 10_000)
			for i := 0; ; i++ {
				err := commit(s, false, fmt.Sprintf("%d/%d/%s", w, i, big))
				if errs.KindOf(err) == errs.ReadOnly {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if i > 10_000 {
					t.Error("nothing holds the writers")
					return
				}
			}
		})
	}
	<-waiting
	if !has(t, s, "nothing") && s.Metrics().Stalls == 0 { // reads do not wait
		t.Error("no stall is counted")
	}
	close(held)
	g.Wait()
	if ended.Load() == 0 {
		t.Error("StallEnd was not called")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

package container

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/block"
	"o3/internal/errs"
)

// faults makes operations of a file system fail while on is set.
type faults struct {
	on   atomic.Bool
	fail func(errorfs.Op) error
}

func (f *faults) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(o errorfs.Op) error {
		if !f.on.Load() {
			return nil
		}
		return f.fail(o)
	}))
}

func kinds(err error, of ...errorfs.OpKind) func(errorfs.Op) error {
	return func(o errorfs.Op) error {
		for _, k := range of {
			if o.Kind == k && strings.Contains(o.Path, "blocks") {
				return err
			}
		}
		return nil
	}
}

// TestFailedSync: an fsync that fails stops all writing, is told once, is never
// tried again, and leaves reading as it was.
func TestFailedSync(t *testing.T) {
	for _, long := range []bool{false, true} {
		for _, victim := range []string{"put", "delete"} {
			mem := vfs.NewCrashableMem()
			f := &faults{}
			var syncs atomic.Int64
			f.fail = func(o errorfs.Op) error {
				if o.Kind == errorfs.OpFileSyncData || o.Kind == errorfs.OpFileSync {
					syncs.Add(1)
					return syscall.EIO
				}
				return nil
			}
			var fatal atomic.Int64
			o := tiny(f.wrap(mem))
			o.Listener.Fatal = func(error) { fatal.Add(1) }
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			want := fill(t, s, 4)
			f.on.Store(true)
			data := make([]byte, 10)
			if long {
				data = make([]byte, 5000)
			}
			put := func() error { _, err := s.Put(t.Context(), bytes.NewReader(data), -1); return err }
			var dropped block.ID
			for id := range want {
				dropped = id
			}
			drop := func() error { return s.Delete(t.Context(), []block.ID{dropped}) }
			first := put
			if victim == "delete" {
				first = drop
			}
			if err := first(); errs.KindOf(err) != errs.Unavailable || !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s: %v", victim, err)
			}
			f.on.Store(false) // the disk is well again: too late
			for range 3 {
				if put() == nil || drop() == nil {
					t.Fatal("wrote after a failed fsync")
				}
			}
			if _, err := s.Reclaim(t.Context()); err == nil {
				t.Fatal("reclaimed after a failed fsync")
			}
			if fatal.Load() != 1 || syncs.Load() != 1 || s.Err() == nil {
				t.Fatalf("told %d times, %d fsyncs, %v", fatal.Load(), syncs.Load(), s.Err())
			}
			if err := s.Run(t.Context()); !errors.Is(err, syscall.EIO) {
				t.Fatalf("run: %v", err)
			}
			if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 {
				t.Fatalf("%v, %v", corrupt, err)
			}
			if err := s.Close(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("close: %v", err)
			}
			s = open(t, tiny(mem))
			delete(want, dropped) // not acknowledged: it may be there or not
			if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 {
				t.Fatalf("reopened: %v, %v", corrupt, err)
			}
		}
	}
}

// TestDiskFull: a Put that finds no space fails with ReadOnly, what was
// acknowledged stays, and writing goes on when there is space again.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{10, 900, 5000, 20_000} {
			mem := vfs.NewCrashableMem()
			f := &faults{fail: kinds(syscall.ENOSPC, errorfs.OpFileWriteAt, errorfs.OpCreate)}
			var states []bool
			o := tiny(f.wrap(mem))
			o.Listener.ReadOnly = func(on bool, _ int64) { states = append(states, on) }
			s, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			want := fill(t, s, 6)
			f.on.Store(true)
			for range 3 {
				_, err := s.Put(t.Context(), bytes.NewReader(make([]byte, size)), -1)
				if errs.KindOf(err) != errs.ReadOnly {
					t.Fatalf("put of %d bytes on a full disk: %v", size, err)
				}
				time.Sleep(2 * fullPause) // of the bubble's clock
			}
			f.on.Store(false)
			for id, data := range fill(t, s, 3) {
				want[id] = data
			}
			if len(states) == 0 || states[0] != true || states[len(states)-1] != false {
				t.Fatalf("the listener heard %v", states)
			}
			if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 {
				t.Fatalf("%v, %v", corrupt, err)
			}
			after := killed(mem)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			for _, fs := range []*vfs.MemFS{mem, after} {
				clean(t, fs)
				s := open(t, tiny(fs))
				if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 {
					t.Fatalf("%v, %v", corrupt, err)
				}
				if n := s.Stats().LiveBlocks; n != int64(len(want)) {
					t.Fatalf("%d blocks, want %d: one that failed is there", n, len(want))
				}
				s.Close()
			}
		}
	})
}

// TestDiskFullText: what is refused after a full disk says that, and not that
// a reserve was reached which nobody asked for.
func TestDiskFullText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 5 << 20, TotalBytes: 1 << 40})
		f := &faults{fail: kinds(syscall.ENOSPC, errorfs.OpFileWriteAt, errorfs.OpCreate)}
		o := tiny(f.wrap(mem))
		o.Reserve = -1
		s := open(t, o)
		put := func() error {
			_, err := s.Put(t.Context(), strings.NewReader("0123456789"), 10)
			return err
		}
		f.on.Store(true)
		for _, want := range []string{"the disk is full; ", "the disk was full a moment ago; it is tried again within 1.2s; "} {
			err := put()
			if text := errs.Message(err); errs.KindOf(err) != errs.ReadOnly || !strings.Contains(text, want) || strings.Contains(text, "reserve") {
				t.Errorf("%v: want %q", err, want)
			}
		}
		f.on.Store(false)
		time.Sleep(fullPause + spaceEvery)
		if err := put(); err != nil {
			t.Error(err)
		}
	})
}

// TestFullWhileSealing: without space for its index a container stays as it
// is, and the next Open makes the index.
func TestFullWhileSealing(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f := &faults{fail: kinds(syscall.ENOSPC, errorfs.OpFileWriteAt, errorfs.OpCreate)}
	s, err := Open(tiny(f.wrap(mem)))
	if err != nil {
		t.Fatal(err)
	}
	want := fill(t, s, 6)
	f.on.Store(true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clean(t, mem)
	s = open(t, tiny(mem))
	if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 {
		t.Fatalf("%v, %v", corrupt, err)
	}
}

// TestReserve: below the reserve Puts are refused with a clear text, Deletes
// are not, and writing resumes only when an eighth more is free.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		free := func(n uint64) {
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: n, TotalBytes: 1 << 40})
			time.Sleep(2 * spaceEvery)
		}
		o := tiny(fs)
		o.Reserve = 800 << 20
		s := open(t, o)
		put := func() (block.ID, error) {
			i, err := s.Put(t.Context(), strings.NewReader("0123456789"), 10)
			return i.ID, err
		}
		free(800 << 20)
		id, err := put()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []uint64{799 << 20, 810 << 20, 899 << 20} {
			free(n)
			_, err := put()
			if errs.KindOf(err) != errs.ReadOnly || !strings.Contains(errs.Message(err), "the reserve is 800.0 MiB") {
				t.Fatalf("%d free: %v", n, err)
			}
		}
		if err := s.Delete(t.Context(), []block.ID{id}); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); !st.ReadOnly || st.Free != 899<<20 {
			t.Fatalf("%+v", st)
		}
		free(900 << 20)
		if _, err := put(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReserveStopsLongBlock: a stream that reaches the reserve ends, and its
// space is written over.
func TestReserveStopsLongBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2 << 30, TotalBytes: 1 << 40})
		s := open(t, tiny(fs)) // the default reserve: 1 GiB
		r, w := io.Pipe()
		done := make(chan error)
		go func() {
			_, err := s.Put(t.Context(), r, -1)
			r.CloseWithError(err)
			done <- err
		}()
		for range 4 {
			w.Write(make([]byte, 3000))
		}
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 40})
		time.Sleep(time.Second)
		for {
			if _, err := w.Write(make([]byte, 3000)); err != nil {
				break
			}
		}
		if err := <-done; errs.KindOf(err) != errs.ReadOnly {
			t.Fatal(err)
		}
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2 << 30, TotalBytes: 1 << 40})
		time.Sleep(time.Second)
		before := s.Stats().DiskBytes
		data := content(12345)
		if _, err := s.Put(t.Context(), bytes.NewReader(append(data, make([]byte, 4000)...)), -1); err != nil {
			t.Fatal(err)
		}
		if n := len(s.all()); n != 1 {
			t.Fatalf("%d containers, %d bytes before: the space of the aborted block was not used again", n, before)
		}
	})
}

// TestWriteFails: a disk error fails the Puts it hits and no others.
func TestWriteFails(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f := &faults{fail: kinds(syscall.EIO, errorfs.OpFileWriteAt)}
	s := open(t, tiny(f.wrap(mem)))
	want := fill(t, s, 5)
	for _, n := range []int{10, 5000} {
		f.on.Store(true)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := s.Put(t.Context(), bytes.NewReader(make([]byte, n)), -1); !errors.Is(err, syscall.EIO) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		f.on.Store(false)
		for id, data := range fill(t, s, 5) {
			want[id] = data
		}
	}
	if corrupt, err := served(s, want); err != nil || len(corrupt) > 0 || s.Stats().LiveBlocks != int64(len(want)) {
		t.Fatalf("%v, %v, %+v", corrupt, err, s.Stats())
	}
}

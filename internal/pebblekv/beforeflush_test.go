package pebblekv

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestBeforeFlush: whatever makes rows durable, the caller hears of it before, and
// can forbid it.
func TestBeforeFlush(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var calls atomic.Int64
	var refuse atomic.Bool
	no := errors.New("no")
	s := open(t, small(Options{FS: mem, Dir: "s", DisableWAL: true, BeforeFlush: func() error {
		calls.Add(1)
		if refuse.Load() {
			return no
		}
		return nil
	}}))
	value := make([]byte, 1<<10)
	for i := 0; calls.Load() == 0; i++ { // the engine flushes by itself when memory is full
		if i > 1<<20 {
			t.Fatal("nothing was ever flushed")
		}
		b := s.NewBatch()
		if err := errors.Join(b.Set([]byte{byte(i), byte(i >> 8), byte(i >> 16)}, value), b.Commit(false), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	before := calls.Load()
	if err := s.Flush(); err != nil || calls.Load() == before {
		t.Fatal(err, calls.Load())
	}
	refuse.Store(true)
	b := s.NewBatch()
	if err := errors.Join(b.Set([]byte("late"), nil), b.Commit(false), b.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); !errors.Is(err, no) {
		t.Errorf("%v", err)
	}
	_ = s.Close() // it has failed
	left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	s = open(t, small(Options{FS: left, Dir: "s", DisableWAL: true}))
	defer s.Close()
	if _, ok, err := s.Get([]byte("late")); ok || err != nil {
		t.Errorf("what was refused is durable: %v", err)
	}
	if _, ok, err := s.Get([]byte{0, 0, 0}); !ok || err != nil {
		t.Errorf("what was durable is lost: %v", err)
	}
}

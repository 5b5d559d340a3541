package pebblekv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestLoad: what is loaded is there with its commit, durably and not before, among
// what is there already; what is closed without one, or cut off, leaves nothing.
func TestLoad(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := open(t, small(Options{FS: mem, Dir: "s", DisableWAL: true}))
	defer s.Close()
	pair(t, s, 1)
	key := func(i int) []byte { return fmt.Appendf(nil, "k%06d", i) }
	l, err := s.NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := l.Add(key(i), make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add(key(7), nil); err == nil {
		t.Error("rows that are not in order are taken")
	}
	if _, ok, err := s.Get(key(3)); ok || err != nil {
		t.Error("a row is there before the commit", err)
	}
	_ = l.Close()                                                   // it tells of the row again
	if err := mem.MkdirAll(s.opts.Dir+"/load", 0o700); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	l, err = s.NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := l.Add(key(i), key(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Commit(), l.Close()); err != nil {
		t.Fatal(err)
	}
	pair(t, s, 2)
	left := open(t, small(Options{FS: mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))}), Dir: "s", DisableWAL: true}))
	defer left.Close()
	for name, s := range map[string]*Store{"now": s, "after a power cut": left} {
		it, err := s.Iter([]byte("k"), []byte("l"))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			if v, err := it.Value(); err != nil || string(v) != string(it.Key()) {
				t.Fatalf("%s: %s is %q, %v", name, it.Key(), v, err)
			}
			n++
		}
		if err := errors.Join(it.Err(), it.Close()); err != nil || n != 5000 {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
	}
	if _, err := mem.Stat(s.opts.Dir + "/load"); err == nil {
		t.Error("the directory of the load is left")
	}
}

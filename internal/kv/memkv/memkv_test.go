package memkv_test

import (
	"testing"

	"o3/internal/kv"
	"o3/internal/kv/kvtest"
	"o3/internal/kv/memkv"
)

func TestContract(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.Store { return new(memkv.Store) })
}

func TestCrashedKeepsWhatIsDurable(t *testing.T) {
	s := new(memkv.Store)
	write := func(k string, sync bool) {
		b := s.NewBatch()
		if err := b.Set([]byte(k), []byte("v")); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(sync); err != nil {
			t.Fatal(err)
		}
	}
	has := func(s *memkv.Store, k string, want bool) {
		t.Helper()
		if _, ok, err := s.Get([]byte(k)); err != nil || ok != want {
			t.Errorf("%s is there: %v, %v", k, ok, err)
		}
	}
	has(s.Crashed(), "a", false)
	write("a", false)
	has(s.Crashed(), "a", false)
	write("b", true)
	write("c", false)
	c := s.Crashed()
	has(c, "a", true)
	has(c, "b", true)
	has(c, "c", false)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	has(s.Crashed(), "c", true)
	has(c, "c", false) // a crash is a store of its own
	d := c.NewBatch()
	_ = d.Set([]byte("d"), nil)
	if err := d.Commit(false); err != nil {
		t.Fatal(err)
	}
	has(c, "d", true)
	has(s, "d", false)
	has(c.Crashed(), "a", true)
}

func BenchmarkStore(b *testing.B) {
	const n = 100_000
	s := new(memkv.Store)
	kvtest.Load(b, s, n)
	kvtest.Bench(b, s, n)
}

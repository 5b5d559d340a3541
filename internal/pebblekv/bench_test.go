package pebblekv

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"o3/internal/kv/kvtest"
)

// BenchmarkStore measures a store without a log, as the namespace uses it, of
// a million rows; with O3_NIGHTLY set, of ten million. EngineGet is the
// engine's own Get, which does not use the filters of the last level.
func BenchmarkStore(b *testing.B) {
	n := 1_000_000
	if os.Getenv("O3_NIGHTLY") != "" {
		n = 10_000_000
	}
	s := open(b, Options{Dir: b.TempDir(), DisableWAL: true, CacheBytes: 512 << 20, MemTableBytes: 64 << 20})
	kvtest.Load(b, s, n)
	// Settle, so that runs can be compared.
	if err := s.db.Compact(b.Context(), []byte{0}, []byte{0xff}, true); err != nil {
		b.Fatal(err)
	}
	m := s.Metrics()
	b.Logf("%d rows, %.1f bytes on disk each, %d tables in L6", n, float64(m.DiskBytes)/float64(n), m.Levels[6].Files)
	engineGet := func(from, span uint64, want bool) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			rng := rand.New(rand.NewPCG(1, 2))
			var k []byte
			for b.Loop() {
				k = kvtest.Key(k, from+rng.Uint64N(span))
				_, c, err := s.db.Get(k)
				if want != (err == nil) || !want && !errors.Is(err, pebble.ErrNotFound) {
					b.Fatal(err)
				}
				if c != nil {
					if err := c.Close(); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
	}
	b.Run("EngineGet/hit", engineGet(0, uint64(n), true))
	b.Run("EngineGet/miss", engineGet(uint64(n), 1<<40, false))
	kvtest.Bench(b, s, n)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMetrics is what a commit pays when it looks whether it must wait.
func BenchmarkMetrics(b *testing.B) {
	s := open(b, small(Options{DisableWAL: true}))
	kvtest.Load(b, s, 50_000)
	for b.Loop() {
		s.behind()
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

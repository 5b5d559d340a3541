package kvtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"o3/internal/kv"
)

// Key returns the key of row i: 24 bytes, spread over the key space, as hashed
// object names are. Keys of different i differ.
func Key(dst []byte, i uint64) []byte {
	h := i * 0x9e3779b97f4a7c15 // odd: a permutation of the 64-bit numbers
	dst = append(dst[:0], 0x20)
	dst = binary.BigEndian.AppendUint16(dst, uint16(h>>54)) // 1,024 buckets
	dst = append(dst, "/object-"...)
	dst = binary.BigEndian.AppendUint64(dst, h)
	return binary.BigEndian.AppendUint32(dst, uint32(i))
}

// Value returns the value of row i: 200 bytes, half of them random.
func Value(dst []byte, i uint64) []byte {
	dst = append(dst[:0], make([]byte, 200)...)
	rng := rand.NewPCG(i, 1)
	for n := 0; n < 100; n += 8 {
		binary.LittleEndian.PutUint64(dst[n:], rng.Uint64())
	}
	return dst
}

// Load writes rows 0..n-1, 1,000 to a batch, and flushes.
func Load(tb testing.TB, s kv.Store, n int) {
	tb.Helper()
	var k, v []byte
	for i := 0; i < n; {
		b := s.NewBatch()
		for range 1000 {
			if i == n {
				break
			}
			k, v = Key(k, uint64(i)), Value(v, uint64(i))
			if err := b.Set(k, v); err != nil {
				tb.Fatal(err)
			}
			i++
		}
		if err := b.Commit(false); err != nil {
			tb.Fatal(err)
		}
		closeAll(tb, b)
	}
	flush(tb, s)
}

// Bench measures s, which holds rows 0..n-1 of Load: point reads that hit and
// miss, from the store and from a snapshot, scans, and batches. Results are
// per row.
func Bench(b *testing.B, s kv.Store, n int) {
	get := func(r kv.Reader, from, span uint64, want bool) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			rng := rand.New(rand.NewPCG(1, 2))
			var k []byte
			for b.Loop() {
				k = Key(k, from+rng.Uint64N(span))
				if _, ok, err := r.Get(k); err != nil || ok != want {
					b.Fatal(ok, err)
				}
			}
		}
	}
	snap := s.Snapshot()
	b.Run("Get/hit", get(s, 0, uint64(n), true))
	b.Run("Get/miss", get(s, uint64(n), 1<<40, false))
	b.Run("SnapshotGet/hit", get(snap, 0, uint64(n), true))
	b.Run("SnapshotGet/miss", get(snap, uint64(n), 1<<40, false))
	b.Run("Get/hit/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			rng := rand.New(rand.NewPCG(rand.Uint64(), 2))
			var k []byte
			for pb.Next() {
				k = Key(k, rng.Uint64N(uint64(n)))
				if _, ok, err := s.Get(k); err != nil || !ok {
					b.Error(ok, err)
					return
				}
			}
		})
	})
	closeAll(b, snap)
	b.Run("Scan", func(b *testing.B) { benchScan(b, s) })
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("Batch/%d", size), func(b *testing.B) { benchBatch(b, s, n, size) })
	}
}

// benchScan reads rows in order, starting again at the end.
func benchScan(b *testing.B, s kv.Store) {
	it := iter(b, s, "", "")
	defer closeIter(b, it)
	bytes := 0
	for b.Loop() {
		if !it.Next() && !it.First() {
			b.Fatal("no rows", it.Err())
		}
		v, err := it.Value()
		if err != nil {
			b.Fatal(err)
		}
		bytes += len(v)
	}
	if bytes == 0 {
		b.Fatal("nothing read")
	}
}

// benchBatch writes new rows in batches of size.
func benchBatch(b *testing.B, s kv.Store, n, size int) {
	b.ReportAllocs()
	var k, v []byte
	next := uint64(n) << 20
	batch, rows := s.NewBatch(), 0
	for b.Loop() {
		next++
		k, v = Key(k, next), Value(v, next)
		if err := batch.Set(k, v); err != nil {
			b.Fatal(err)
		}
		if rows++; rows == size {
			if err := batch.Commit(false); err != nil {
				b.Fatal(err)
			}
			closeAll(b, batch)
			batch, rows = s.NewBatch(), 0
		}
	}
	closeAll(b, batch)
}

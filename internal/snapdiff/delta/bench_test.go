package delta_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/pebblekv"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/snapdiff/delta"
)

// BenchmarkDelta computes diffs of many and of few changes in buckets with many
// and with few other rows, on a store on disk. The store is made once for each
// size, outside of what is measured.
//
//	go test ./internal/snapdiff/delta -run '^$' -bench Delta -benchtime 1x
func BenchmarkDelta(b *testing.B) {
	for _, size := range []struct{ touches, rows int }{
		{10_000, 100_000}, {10_000, 1_000_000}, {1_000_000, 100_000},
	} {
		b.Run(fmt.Sprintf("touches=%d/rows=%d", size.touches, size.rows), func(b *testing.B) {
			store := benchStore(b, size.touches, size.rows)
			for _, mode := range []struct {
				name          string
				full, ordered bool
			}{{"efficient", false, false}, {"ordered", false, true}, {"full", true, false}} {
				b.Run(mode.name, func(b *testing.B) {
					bench(b, store, mode.full, mode.ordered, size.touches, size.rows)
				})
			}
		})
	}
}

const (
	benchBucket = ns.ObjectID(1 << 10)
	benchFrom   = ns.Op(1 << 30)
)

func bench(b *testing.B, store kv.Store, full, ordered bool, touches, rows int) {
	var spilled int64
	for b.Loop() {
		snapshot := store.Snapshot()
		lines := 0
		result, err := delta.Compute(b.Context(), delta.Options{
			Reader: snapshot, Bucket: benchBucket, Layout: ns.FileSystem, From: benchFrom, To: schema.Live,
			Full: full, Ordered: ordered, Dir: b.TempDir(),
			Sink: func(*o3v1.DiffEntry) error { lines++; return nil },
		})
		if err != nil || lines < touches {
			b.Fatal(lines, err)
		}
		spilled = result.Spilled
		for _, p := range delta.Phases() {
			if took, ok := result.Took[p]; ok {
				b.ReportMetric(float64(took/time.Microsecond)/1000, string(p)+"-ms")
			}
		}
		if err := snapshot.Close(); err != nil {
			b.Fatal(err)
		}
	}
	n := touches
	if full {
		n = rows + touches
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(spilled)/(1<<20), "MiB-spilled")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapSys)/(1<<20), "MiB-heap")
}

// benchStore makes a bucket of rows keys in directories of a thousand, four
// levels deep, and touches of as many others: a third each made, overwritten
// and renamed.
func benchStore(b *testing.B, touches, rows int) kv.Store {
	store, err := pebblekv.Open(pebblekv.Options{Dir: b.TempDir(), DisableWAL: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	w := &filler{b: b, store: store, batch: store.NewBatch()}
	rng := rand.New(rand.NewPCG(1, 2))
	dirs := make([]ns.ObjectID, max(1, (rows+touches)/1000))
	for i := range dirs {
		parent := benchBucket
		if i > 0 && i%4 > 0 {
			parent = dirs[i-1]
		}
		dirs[i] = ns.ObjectID(1<<20 + i)
		name := fmt.Sprintf("directory-%06d/", i)
		fill(w, schema.Dirs, schema.DirKey{Bucket: benchBucket, Dir: dirs[i]}, &schemapb.Dir{Since: 1, ParentId: uint64(parent), Name: name})
		fill(w, schema.Entries, schema.EntryKey{Bucket: benchBucket, Parent: parent, Name: name}, &schemapb.Entry{
			Kind: o3v1.EntryKind_ENTRY_KIND_DIRECTORY, ObjectId: uint64(dirs[i]), Since: 1,
		})
	}
	key := func(id uint64, since ns.Op, etag uint64) *schemapb.Entry {
		return &schemapb.Entry{
			Kind: o3v1.EntryKind_ENTRY_KIND_KEY, ObjectId: id, Since: uint64(since), Born: 1, Size: 4096, Owner: "root",
			Etag: fmt.Sprintf("%032x", etag), Extents: []*o3v1.Extent{{Container: id, Local: etag, Length: 4096}},
		}
	}
	at := func(i int, name string) schema.EntryKey {
		return schema.EntryKey{Bucket: benchBucket, Parent: dirs[i%len(dirs)], Name: fmt.Sprintf("%s-%08d.parquet", name, i)}
	}
	for i := range rows {
		fill(w, schema.Entries, at(i, "other"), key(1<<40+uint64(i), 2, 0))
	}
	for i := range touches {
		op, id := benchFrom+1+ns.Op(i), 1<<41+rng.Uint64N(1<<40)
		touch := func(k schema.EntryKey, t *schemapb.Touch) {
			t.ModifiedMs = 1_700_000_000_000
			fill(w, schema.Journal, schema.JournalKey{Bucket: benchBucket, Op: op, Parent: k.Parent, Name: k.Name}, t)
		}
		k := at(i, "part")
		old := schema.HistoryKey{EntryKey: k, Until: op}
		switch i % 3 {
		case 0:
			touch(k, &schemapb.Touch{NewId: id, NewTag: rng.Uint64()})
			fill(w, schema.Entries, k, key(id, op, 0))
		case 1:
			touch(k, &schemapb.Touch{OldId: id, NewId: id, OldSince: 2, OldTag: rng.Uint64(), NewTag: rng.Uint64()})
			fill(w, schema.History, old, key(id, 2, 0))
			fill(w, schema.Entries, k, key(id, op, 1))
		case 2:
			tag := rng.Uint64()
			touch(k, &schemapb.Touch{OldId: id, OldSince: 2, OldTag: tag})
			fill(w, schema.History, old, key(id, 2, 0))
			to := at(i, "moved")
			touch(to, &schemapb.Touch{NewId: id, NewTag: tag})
			fill(w, schema.Entries, to, key(id, op, 0))
		}
	}
	w.flush()
	if err := store.Flush(); err != nil {
		b.Fatal(err)
	}
	return store
}

// filler puts rows, in batches.
type filler struct {
	b     *testing.B
	store kv.Store
	batch kv.Batch
}

func fill[K, R any, P schema.Message[R]](w *filler, table *schema.Table[K, R, P], k K, row P) {
	value, err := table.Encode(row)
	if err == nil {
		err = w.batch.Set(table.Key(k), value)
	}
	if err != nil {
		w.b.Fatal(err)
	}
	if w.batch.Len() > 4<<20 {
		w.flush()
	}
}

func (w *filler) flush() {
	if err := w.batch.Commit(false); err != nil {
		w.b.Fatal(err)
	}
	w.batch = w.store.NewBatch()
}

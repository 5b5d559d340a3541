package task_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/pebblekv"
	"o3/internal/recon/task"
	"o3/internal/recon/task/tasktest"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// namespace writes a bucket of keys as S3 clients leave them, in a tree of
// directories of a hundred keys each.
func namespace(b testing.TB, s kv.Store, keys int) {
	b.Helper()
	const bucket = ns.ObjectID(1 << 20)
	ok := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	batch := s.NewBatch()
	put := func(key, value []byte, err error) {
		ok(err)
		ok(batch.Set(key, value))
		if batch.Len() > 1<<20 {
			ok(batch.Commit(false))
			ok(batch.Close())
			batch = s.NewBatch()
		}
	}
	value, err := schema.Buckets.Encode(&schemapb.Bucket{ObjectId: uint64(bucket), Layout: uint32(ns.FileSystem)})
	put(schema.Buckets.Key(schema.BucketKey{Volume: 1, Name: "bench"}), value, err)
	rng := rand.New(rand.NewPCG(1, 2))
	parent := bucket
	for n := range keys {
		if n%100 == 0 {
			dir := bucket + 1 + ns.ObjectID(n)
			at := schema.EntryKey{Bucket: bucket, Parent: bucket, Name: fmt.Sprintf("directory-%08d/", n)}
			if n%1000 != 0 { // ten in a row hang in the first of them
				at.Parent = bucket + 1 + ns.ObjectID(n-n%1000)
			}
			value, err := schema.Dirs.Encode(&schemapb.Dir{ParentId: uint64(at.Parent), Name: at.Name})
			put(schema.Dirs.Key(schema.DirKey{Bucket: bucket, Dir: dir}), value, err)
			value, err = schema.Entries.Encode(&schemapb.Entry{Kind: o3v1.EntryKind_ENTRY_KIND_DIRECTORY, ObjectId: uint64(dir)})
			put(schema.Entries.Key(at), value, err)
			parent = dir
		}
		var etag [16]byte
		binary.NativeEndian.PutUint64(etag[:], rng.Uint64())
		binary.NativeEndian.PutUint64(etag[8:], rng.Uint64())
		value, err := schema.Entries.Encode(&schemapb.Entry{
			Kind: o3v1.EntryKind_ENTRY_KIND_KEY, ObjectId: 1<<40 + uint64(n), Since: uint64(n), Size: 1 << (n % 24), Etag: hex.EncodeToString(etag[:]), Owner: "root",
			CreatedMs: 1_700_000_000_000, ModifiedMs: 1_700_000_000_000 + int64(n)<<10,
			Extents: []*o3v1.Extent{{Container: 1<<48 | rng.Uint64N(uint64(keys/1000)), Local: uint64(n), Length: 1 << (n % 24)}},
		})
		put(schema.Entries.Key(schema.EntryKey{Bucket: bucket, Parent: parent, Name: fmt.Sprintf("part-%08d.parquet", n)}), value, err)
	}
	ok(batch.Commit(false))
	ok(batch.Close())
	ok(s.Flush())
}

func open(b testing.TB) *pebblekv.Store {
	b.Helper()
	s, err := pebblekv.Open(pebblekv.Options{Dir: b.TempDir(), DisableWAL: true, DiskSlowAfter: -1, CacheBytes: 64 << 20, MemTableBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// cpu is what the process has used of processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRebuild builds the tables of all tasks from a million keys, beside a
// raw scan of the same rows.
func BenchmarkRebuild(b *testing.B) {
	const keys = 1_000_000
	rows := open(b)
	namespace(b, rows, keys)
	b.Run("scan", func(b *testing.B) {
		before := cpu(b)
		for b.Loop() {
			it, err := rows.Iter(nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for ok := it.First(); ok; ok = it.Next() {
				n++
			}
			if err := it.Close(); err != nil || n < keys {
				b.Fatal(n, err)
			}
		}
		b.ReportMetric((cpu(b)-before).Seconds()*1e9/keys/float64(b.N), "cpu-ns/key")
		b.ReportMetric(float64(b.N)*keys/b.Elapsed().Seconds(), "keys/s")
	})
	b.Run("all", func(b *testing.B) {
		var took, write time.Duration
		before := cpu(b)
		for b.Loop() {
			set, err := task.OpenSet(open(b), tasktest.NewSQL(), task.All(), rows)
			if err != nil {
				b.Fatal(err)
			}
			out, err := set.Rebuild(context.Background(), rows, 1, task.RebuildOptions{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			write += out.Write
			took = 0
			for _, w := range out.Tasks {
				took += w.Took
			}
		}
		b.ReportMetric((cpu(b)-before).Seconds()*1e9/keys/float64(b.N), "cpu-ns/key")
		b.ReportMetric(took.Seconds()*1e9/keys, "tasks-ns/key")
		b.ReportMetric(float64(b.N)*keys/write.Seconds(), "written-keys/s")
		b.ReportMetric(float64(b.N)*keys/b.Elapsed().Seconds(), "keys/s")
	})
}

package verify_test

import (
	"fmt"
	"slices"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// addPast makes the bucket zzz/past with history: d/ was renamed to e/ after the
// snapshot one; e/k was overwritten after each of three snapshots, of which the
// last is deleted and not reclaimed yet; and a diff job.
func (w *world) addPast() {
	w.Must(w.t, &o3v1.CreateVolumeRequest{Volume: "zzz"})
	w.Must(w.t, &o3v1.CreateBucketRequest{Volume: "zzz", Bucket: "past", Layout: "FILE_SYSTEM_OPTIMIZED"})
	take := func(name string) uint64 {
		a := w.Must(w.t, &o3v1.CreateSnapshotRequest{Volume: "zzz", Bucket: "past", Name: name})
		return a.Body.(*o3v1.CreateSnapshotResponse).Snapshot.Op
	}
	w.commitIn("zzz", "past", "d/k", 1)
	w.commitIn("zzz", "past", "top", 1)
	one := take("one")
	w.Must(w.t, &o3v1.RenameKeyRequest{Volume: "zzz", Bucket: "past", From: "d", To: "e"})
	w.commitIn("zzz", "past", "e/k", 1)
	two := take("two")
	w.commitIn("zzz", "past", "e/k", 1)
	w.Must(w.t, &o3v1.DeleteKeysRequest{Volume: "zzz", Bucket: "past", Keys: []*o3v1.DeleteKey{{Key: "top"}}})
	take("three")
	w.commitIn("zzz", "past", "e/k", 1)
	w.Must(w.t, &o3v1.DeleteSnapshotRequest{Volume: "zzz", Bucket: "past", Name: "three"})
	w.Must(w.t, &commandpb.CreateDiffJob{Volume: "zzz", Bucket: "past", From: "one", FromOp: one, To: "two", ToOp: two})
}

// past picks the row of history of a name that ended first.
func past(name string) func(schema.HistoryKey, *schemapb.Entry) bool {
	return func(k schema.HistoryKey, _ *schemapb.Entry) bool { return k.Name == name }
}

func pastBucket(k schema.BucketKey, _ *schemapb.Bucket) bool { return k.Name == "past" }

// again puts a row under another key.
func again[K, R any, P schema.Message[R]](t *schema.Table[K, R, P], key func(*K)) func(kv.Batch, K, P) error {
	return func(b kv.Batch, k K, row P) error {
		key(&k)
		return t.Put(write{Batch: b}, k, row)
	}
}

// pastDamages are mistakes in the rows of snapshots. The usage of zzz/past is wrong
// after some of them: its counters, those of its volume and of the store.
var pastDamages = []damage{
	{"a name leads nowhere", change(schema.SnapshotNames, any1, put(schema.SnapshotNames, func(n *schemapb.SnapshotName) { n.Op += 1000 })),
		[]string{"snapshots zzz/past: snapshot of op", "snapshots name one"}},
	{"a snapshot has no name", change(schema.SnapshotNames, any1, remove(schema.SnapshotNames)), []string{"snapshots zzz/past: snapshot of op"}},
	{"a name too many", change(schema.SnapshotNames, any1, again(schema.SnapshotNames, func(k *schema.SnapshotNameKey) { k.Name = "other" })),
		[]string{"snapshots name other"}},
	{"a snapshot is missing", change(schema.Snapshots, func(_ schema.SnapshotKey, s *schemapb.Snapshot) bool { return s.Name == "one" }, remove(schema.Snapshots)),
		[]string{"snapshots name one", "history zzz/past: ", "cells zzz/past: cell ", "usage zzz/past", "usage store"}},
	{"a snapshot is live and deleted", change(schema.Reclaims, any1, func(b kv.Batch, k schema.SnapshotKey, r *schemapb.Reclaim) error {
		return schema.Snapshots.Put(write{Batch: b}, k, r.Snapshot)
	}), []string{"snapshots zzz/past: snapshot of op", "usage zzz/past", "usage store"}},
	{"a record of a deleted snapshot is lost", change(schema.Reclaims, any1, remove(schema.Reclaims)),
		[]string{"history zzz/past: k until op", "usage zzz/past", "usage store"}},
	{"a record forgets what it has not read", change(schema.Reclaims, any1, put(schema.Reclaims, func(r *schemapb.Reclaim) { r.Trimming = true })),
		[]string{"history zzz/past: k until op"}},
	{"a record is of no bucket", change(schema.Reclaims, any1, again(schema.Reclaims, func(k *schema.SnapshotKey) { k.Bucket++ })),
		[]string{"tree deleted snapshot three", "usage store"}},
	{"a row of history is lost", change(schema.History, past("top"), remove(schema.History)), []string{"usage zzz/past", "usage store"}},
	{"a row of history began late", change(schema.History, past("top"), put(schema.History, func(e *schemapb.Entry) { e.Since += 1 << 40 })),
		[]string{"history zzz/past: top until op", "usage store"}},
	{"a row of history that nobody sees", change(schema.History, past("top"), func(b kv.Batch, k schema.HistoryKey, e *schemapb.Entry) error {
		e.Since = uint64(k.Until) - 1
		return schema.History.Put(write{Batch: b}, k, e)
	}), []string{"history zzz/past: top until op"}},
	{"a row of history of another object", change(schema.History, past("top"), put(schema.History, func(e *schemapb.Entry) { e.ObjectId++ })),
		[]string{"history zzz/past: top until op"}},
	{"a row of history has another size", change(schema.History, past("top"), put(schema.History, func(e *schemapb.Entry) { e.Size = 11 })),
		[]string{"row zzz/past: top until op"}},
	{"rows of history overlap", func(w *world) {
		// the row of e/k that ended last now begins with the bucket
		var last schema.HistoryKey
		_ = fsmtest.Scan(w.Store, schema.History, func(k schema.HistoryKey, _ *schemapb.Entry) error {
			if k.Name == "k" {
				last = k
			}
			return nil
		})
		change(schema.History, func(k schema.HistoryKey, _ *schemapb.Entry) bool { return k == last },
			put(schema.History, func(e *schemapb.Entry) { e.Since = 1 }))(w)
	}, []string{"history zzz/past: k until op"}},
	{"a live row is older than history", change(schema.Entries, named("k"), put(schema.Entries, func(e *schemapb.Entry) { e.Since = 1 })),
		[]string{"history zzz/past: k until op"}},
	{"the journal does not tell of a row", change(schema.Journal, func(k schema.JournalKey, _ *schemapb.Touch) bool { return k.Name == "top" }, remove(schema.Journal)),
		[]string{"history zzz/past: top until op", "usage zzz/past", "usage store"}},
	{"the journal tells of another object", change(schema.Journal, func(k schema.JournalKey, _ *schemapb.Touch) bool { return k.Name == "top" }, put(schema.Journal, func(j *schemapb.Touch) { j.OldId++ })),
		[]string{"history zzz/past: top until op"}},
	{"a touch of the future", change(schema.Journal, func(k schema.JournalKey, _ *schemapb.Touch) bool { return k.Name == "top" }, again(schema.Journal, func(k *schema.JournalKey) { k.Op = 1 << 40 })),
		[]string{"history zzz/past: touch of top", "usage zzz/past", "usage store"}},
	{"a journal without a snapshot", change(schema.Journal, any1, func(b kv.Batch, k schema.JournalKey, j *schemapb.Touch) error {
		k.Bucket, k.Op = 3<<10, 1 // of the first bucket
		return schema.Journal.Put(write{Batch: b}, k, j)
	}), []string{"history s3v/flat", "usage s3v/flat", "usage store"}},
	{"a row of directory history is lost", change(schema.DirHistory, any1, remove(schema.DirHistory)),
		[]string{"tree zzz/past: k until op", "usage zzz/past", "usage store"}},
	{"a directory hung elsewhere", change(schema.DirHistory, any1, put(schema.DirHistory, func(d *schemapb.Dir) { d.Name = "x/" })),
		[]string{"tree zzz/past: directory ", "history zzz/past: directory "}},
	{"a cell has no end", change(schema.CellEnds, any1, remove(schema.CellEnds)), []string{"cells zzz/past: cell ["}},
	{"an end has no cell", change(schema.CellEnds, any1, again(schema.CellEnds, func(k *schema.CellKey) { k.Last++ })), []string{"cells cellEnds ["}},
	{"a cell is between no snapshots", change(schema.Cells, any1, func(b kv.Batch, k schema.CellKey, c *schemapb.Cell) error {
		k.Last++
		w := write{Batch: b}
		if err := schema.CellEnds.Put(w, k, &schemapb.CellEnd{}); err != nil {
			return err
		}
		c.Bytes, c.Names = 0, 0
		return schema.Cells.Put(w, k, c)
	}), []string{"cells zzz/past: cell ["}},
	{"a cell's bytes", change(schema.Cells, any1, put(schema.Cells, func(c *schemapb.Cell) { c.Bytes++ })), []string{"usage zzz/past", "usage volume zzz"}},
	{"a cell's names", change(schema.Cells, any1, put(schema.Cells, func(c *schemapb.Cell) { c.Names-- })), []string{"usage zzz/past", "usage volume zzz"}},
	{"a bucket's snapshots", change(schema.Buckets, pastBucket, put(schema.Buckets, func(b *schemapb.Bucket) { b.LiveSnapshots++ })), []string{"usage zzz/past"}},
	{"a bucket's newest snapshot", change(schema.Buckets, pastBucket, put(schema.Buckets, func(b *schemapb.Bucket) { b.NewestSnapshot-- })), []string{"usage zzz/past"}},
	{"a bucket's deleted snapshots", change(schema.Buckets, pastBucket, put(schema.Buckets, func(b *schemapb.Bucket) { b.Reclaims = 0 })), []string{"usage zzz/past"}},
	{"a bucket's snapshot bytes", change(schema.Buckets, pastBucket, put(schema.Buckets, func(b *schemapb.Bucket) { b.SnapshotBytes++ })), []string{"usage zzz/past"}},
	{"a bucket's snapshot names", change(schema.Buckets, pastBucket, put(schema.Buckets, func(b *schemapb.Bucket) { b.SnapshotNames++ })), []string{"usage zzz/past"}},
	{"a bucket's history rows", change(schema.Buckets, pastBucket, put(schema.Buckets, func(b *schemapb.Bucket) { b.HistoryRows++ })), []string{"usage zzz/past"}},
	{"a bucket's journal rows", change(schema.Buckets, pastBucket, put(schema.Buckets, func(b *schemapb.Bucket) { b.JournalRows++ })), []string{"usage zzz/past"}},
	{"the store's counters are lost", change(schema.Counters, any1, remove(schema.Counters)), []string{"usage store"}},
	{"the store's bytes of history", change(schema.Counters, any1, put(schema.Counters, func(c *schemapb.Counters) { c.HistoryBytes-- })), []string{"usage store"}},
	{"the store's bytes of the journal", change(schema.Counters, any1, put(schema.Counters, func(c *schemapb.Counters) { c.JournalBytes++ })), []string{"usage store"}},
	{"a block of history is freed", change(schema.History, past("top"), func(b kv.Batch, _ schema.HistoryKey, e *schemapb.Entry) error {
		return schema.Deleted.Put(write{Batch: b}, schema.OpKey{Op: 1, N: 8}, &schemapb.DeletedBlocks{Extents: e.Extents})
	}), []string{"refs block "}},
	{"a block of history is lost", func(w *world) {
		change(schema.History, past("top"), func(_ kv.Batch, _ schema.HistoryKey, e *schemapb.Entry) error { return w.lose(e.Extents) })(w)
	}, []string{"blocks block "}},
	{"a diff job is of no bucket", change(schema.DiffJobs, any1, again(schema.DiffJobs, func(k *schema.DiffJobKey) { k.Bucket++ })), []string{"tree diff job "}},
	{"a row of history does not decode", change(schema.History, past("top"), func(b kv.Batch, k schema.HistoryKey, _ *schemapb.Entry) error {
		return b.Set(schema.History.Key(k), []byte{1, 0xff})
	}), []string{"row history/"}},
}

// TestPendingReclaimIsNoDamage: at every step of a reclaim the store is sound.
func TestPendingReclaimIsNoDamage(t *testing.T) {
	w := newWorld(t)
	w.Must(t, &o3v1.DeleteSnapshotRequest{Volume: "zzz", Bucket: "past", Name: "one"})
	w.Must(t, &o3v1.DeleteSnapshotRequest{Volume: "zzz", Bucket: "past", Name: "two"})
	for round := 0; ; round++ {
		if problems, _ := w.check(); len(problems) > 0 {
			t.Fatalf("round %d: %q", round, problems)
		}
		var left []schema.SnapshotKey
		_ = fsmtest.Scan(w.Store, schema.Reclaims, func(k schema.SnapshotKey, _ *schemapb.Reclaim) error {
			left = append(left, k)
			return nil
		})
		if len(left) == 0 {
			if round < 8 {
				t.Errorf("only %d steps", round)
			}
			break
		}
		k := left[round%len(left)]
		w.Must(t, &commandpb.ReclaimSnapshot{BucketId: uint64(k.Bucket), SnapshotOp: uint64(k.Op), Limit: 1})
	}
	rows := map[string]uint64{}
	_, report := w.check()
	for _, table := range []string{"history", "dirHistory", "journal", "reclaims", "snapshots"} {
		rows[table] = report.Rows[table]
	}
	if fmt.Sprint(rows) != "map[dirHistory:0 history:0 journal:0 reclaims:0 snapshots:0]" {
		t.Errorf("left: %v", rows)
	}
}

// TestNamesOfHistory keeps the picks of this file in step with its world.
func TestNamesOfHistory(t *testing.T) {
	w := newWorld(t)
	var names []string
	_ = fsmtest.Scan(w.Store, schema.History, func(k schema.HistoryKey, _ *schemapb.Entry) error {
		names = append(names, k.Name)
		return nil
	})
	if want := []string{"d/", "top", "k", "k", "k"}; !slices.Equal(names, want) {
		t.Errorf("history of %q, want %q", names, want)
	}
	b, ok, err := schema.Buckets.Get(w.Store, schema.BucketKey{Volume: ns.ObjectID(2 << 10), Name: "flat"})
	if err != nil || !ok || b.ObjectId != 3<<10 {
		t.Errorf("the first bucket is %v, %v", b, err)
	}
}

package task_test

import (
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/recon/task"
	"o3/internal/recon/task/tasktest"
)

// build returns tables built from rows, and what the tasks did.
func build(t *testing.T, rows, tables kv.Store, o task.RebuildOptions) (text string, out task.Rebuilt) {
	t.Helper()
	sql := tasktest.NewSQL()
	set, err := task.OpenSet(tables, sql, task.All(), rows)
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = t.TempDir()
	if out, err = set.Rebuild(t.Context(), rows, 1, o); err != nil {
		t.Fatal(err)
	}
	if text, err = tasktest.Print(tables, sql); err != nil {
		t.Fatal(err)
	}
	return text, out
}

// TestRebuildAlike: however many workers there are and whatever memory holds, the
// tables are the same, and so is what the tasks tell of themselves.
func TestRebuildAlike(t *testing.T) {
	rows := new(memkv.Store)
	namespace(t, rows, 30_000)
	want, one := build(t, rows, new(memkv.Store), task.RebuildOptions{Workers: 1})
	if one.Spilled > 0 {
		t.Errorf("%d bytes were spilled", one.Spilled)
	}
	for _, o := range []task.RebuildOptions{{Workers: 5}, {Workers: 3, Memory: 1 << 10}} {
		got, out := build(t, rows, open(t), o) // which takes rows in order only
		if got != want {
			t.Errorf("%+v: %d bytes of tables differ from %d", o, len(got), len(want))
		}
		if o.Memory > 0 && out.Spilled == 0 {
			t.Errorf("%+v: nothing was spilled", o)
		}
		for i, w := range out.Tasks {
			if w.Rows != one.Tasks[i].Rows || w.Written != one.Tasks[i].Written || w.Task != one.Tasks[i].Task {
				t.Errorf("%+v: %+v, want %+v", o, w, one.Tasks[i])
			}
		}
	}
	// What the tasks tell is what is in the tables.
	written, read := map[string]int64{}, map[string]int64{"ContainerKeyMapperTask": one.Rows["entries"], "NSSummaryTask": one.Rows["entries"] + one.Rows["dirs"]}
	for _, table := range task.Tables() {
		for _, of := range task.All() {
			for _, name := range of.Tables {
				if name == table.Name && of.Name != "FileSizeCountTaskOBS" { // the bucket is a tree
					written[of.Name] += int64(strings.Count("\n"+want, "\n"+string("0123456789abcdef"[table.First>>4])+string("0123456789abcdef"[table.First&15])))
				}
			}
		}
	}
	sum := int64(0)
	for _, w := range one.Tasks {
		if w.Written != written[w.Task] {
			t.Errorf("%s wrote %d rows, it says %d", w.Task, written[w.Task], w.Written)
		}
		if n, ok := read[w.Task]; ok && (w.Rows != n || w.Took <= 0) {
			t.Errorf("%+v, it was given %d rows", w, n)
		}
		sum += w.Written
	}
	if one.Written != sum || sum == 0 || one.Read <= 0 || one.Write <= 0 {
		t.Errorf("%d rows written in %v and %v; by the tasks %d", one.Written, one.Read, one.Write, sum)
	}
}

// TestApplied: each run is told, with what it was.
func TestApplied(t *testing.T) {
	store := new(memkv.Store)
	m, err := fsm.Open(store, fsm.Position{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := task.OpenSet(new(memkv.Store), tasktest.NewSQL(), task.All(), store)
	if err != nil {
		t.Fatal(err)
	}
	var told []map[string]task.Work
	set.Applied = func(all []task.Work) {
		one := map[string]task.Work{}
		for _, w := range all {
			one[w.Task] = w
		}
		told = append(told, one)
	}
	m.Watch(set.Apply)
	d := fsmtest.New(t, new(memkv.Store))
	d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "bucket", Layout: "OBS"})
	for i := range uint64(2) { // made, and replaced
		d.Must(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bucket", Key: "k", Size: 5, Etag: "e", DeadlineMs: 1 << 60, Extents: []*o3v1.Extent{{Container: 1 << 48, Local: 1 + i, Length: 5}}})
	}
	for i := range d.Log {
		if _, err := m.Apply(d.Log[i : i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != len(d.Log) {
		t.Fatalf("%d runs, %d entries", len(told), len(d.Log))
	}
	made, replaced := told[len(told)-2], told[len(told)-1]
	for name, want := range map[string][2]int64{ // rows of the first, derived rows of the first
		"ContainerKeyMapperTask": {1, 2}, "FileSizeCountTaskOBS": {1, 1}, "FileSizeCountTaskFSO": {1, 0}, "NSSummaryTask": {1, 3}, "SnapshotInsightTask": {0, 0},
	} {
		if w := made[name]; w.Rows != want[0] || w.Written != want[1] {
			t.Errorf("a key was made: %+v, want %d rows, %d derived", w, want[0], want[1])
		}
		if w := replaced[name]; w.Rows != 2*want[0] {
			t.Errorf("a key was replaced: %+v, want %d rows", w, 2*want[0])
		}
	}
	if w := replaced["ContainerKeyMapperTask"]; w.Written != 0 {
		t.Errorf("%+v: nothing of it changed", w)
	}
}

package task_test

import (
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/memkv"
	"o3/internal/recon/task"
	"o3/internal/recon/task/tasktest"
)

// TestOtherTasks: tables that a program with other tasks has built, by a rebuild or
// from the first entry on, are not whole, nor brought forward.
func TestOtherTasks(t *testing.T) {
	all := task.All()
	for _, rebuilt := range []bool{false, true} {
		rows, tables, sql := new(memkv.Store), new(memkv.Store), tasktest.NewSQL()
		d := fsmtest.New(t, rows)
		follow := func(tasks []task.Task, whole bool, want errs.Kind) {
			t.Helper()
			set, err := task.OpenSet(tables, sql, tasks, rows)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := set.Whole(); err != nil || got != whole {
				t.Errorf("rebuilt %v: %d tasks: whole %v, want %v (%v)", rebuilt, len(tasks), got, whole, err)
			}
			after, _, err := set.Cursors()
			if err != nil {
				t.Fatal(err)
			}
			if err := set.Apply(fsm.Run{After: after, Index: after + 1}, rows); errs.KindOf(err) != want {
				t.Errorf("rebuilt %v: %d tasks: %v, want %v", rebuilt, len(tasks), err, want)
			}
		}
		some := all[:len(all)-1] // without one that has tables of its own
		if rebuilt {
			d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
			set, err := task.OpenSet(tables, sql, some, rows)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := set.Rebuild(t.Context(), rows, d.Machine.Position().Index, task.RebuildOptions{Dir: t.TempDir()}); err != nil {
				t.Fatal(err)
			}
		}
		follow(some, true, errs.OK)
		follow(some, true, errs.OK)
		follow(all, false, errs.Conflict)
		follow(some[1:], false, errs.Conflict)
		follow(some, true, errs.OK)
	}
}

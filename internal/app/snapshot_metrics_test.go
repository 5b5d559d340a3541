package app

import (
	"testing"

	o3v1 "o3/api/o3/v1"
)

// TestSnapshotMetrics: /metrics counts what is done with snapshots and diffs.
func TestSnapshotMetrics(t *testing.T) {
	t.Parallel()
	o, release := walled("ozone.om.snapshot.diff.thread.pool.size=1", "ozone.snapshot.deleting.service.interval=1d")
	s := start(t, o)
	t.Cleanup(release)
	want := func(when string, value float64, name string, with ...string) {
		t.Helper()
		if got := s.metric(name, with...); got != value {
			t.Errorf("%s: %s %q is %v, want %v", when, name, with, got, value)
		}
	}
	edit := func(f func(*o3v1.DiffSpec)) *o3v1.DiffSpec { return photosDiff(f) }
	s.changes(50) // made, between old and new
	s.drop50()    // and deleted again
	full := edit(func(d *o3v1.DiffSpec) { d.Full = true })
	back := edit(func(d *o3v1.DiffSpec) { d.From, d.To = d.To, d.From })
	live := edit(func(d *o3v1.DiffSpec) { d.From, d.To = "new", "" })
	s.submitRunning(photosDiff())
	s.submit(full)
	s.submit(live) // turned away
	s.submit(photosDiff())
	for name, n := range map[string]float64{
		"o3_snapshots": 2, "o3_snapshots_deleted": 0, "o3_snapshot_history_rows": 50, "o3_snapshot_journal_rows": 100,
		"numSnapshotDiffJobs": 2, "o3_snapdiff_rejected_total": 1, "o3_snapdiff_running": 1, "o3_snapdiff_queue_length": 1,
		"o3_snapdiff_finished_total": 0, "o3_snapdiff_jobs": 2, "o3_snapdiff_entries_total": 0,
	} {
		want("while one runs", n, name)
	}
	want("while one runs", 1, "o3_snapdiff_jobs", `state="QUEUED"`)
	want("while one runs", 1, "o3_snapdiff_jobs", `state="IN_PROGRESS"`)
	if _, err := s.om.CancelDiff(t.Context(), &o3v1.CancelDiffRequest{Spec: full}); err != nil {
		t.Fatal(err)
	}
	want("cancelled", 1, "o3_snapdiff_finished_total", `state="CANCELLED"`)
	want("cancelled", 1, "o3_snapdiff_jobs", `state="CANCELLED"`)
	want("cancelled", 0, "o3_snapdiff_queue_length")
	release()
	for _, d := range []*o3v1.DiffSpec{photosDiff(), back, live} {
		if j := s.diff(d).Job; j.State != diffDone || j.TotalEntries != 50 {
			t.Errorf("%v", j)
		}
	}
	wait(t, "no thread is busy", func() bool { return s.metric("o3_snapdiff_running") == 0 })
	want("done", 3, "o3_snapdiff_finished_total", `state="DONE"`)
	want("done", 50, "o3_snapdiff_entries_total", `type="create"`)
	want("done", 100, "o3_snapdiff_entries_total", `type="delete"`)
	want("done", 0, "o3_snapdiff_entries_total", `type="modify"`)
	want("done", 3, "o3_snapdiff_phase_seconds_count", `phase="REPORT_WRITING"`)
	want("done", 2, "o3_snapdiff_phase_seconds_count", `phase="JOURNAL_SCAN"`)
	want("done", 1, "o3_snapdiff_phase_seconds_count", `phase="FULL_SCAN"`)
	want("done", 4, "numSnapshotDiffJobs")
	want("done", 0, "o3_snapdiff_failures_total")
	if n := s.metric("o3_snapdiff_rows_total"); n < 150 {
		t.Errorf("%v rows read", n)
	}
	s.deleteSnapshot("old")
	want("deleted", 1, "o3_snapshots")
	want("deleted", 1, "o3_snapshots_deleted")
	if lag := s.metric("o3_snapshot_reclaim_lag_seconds"); lag <= 0 || lag > 60 {
		t.Errorf("a lag of %v s", lag)
	}
}

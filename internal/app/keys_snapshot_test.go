package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/snapdiff"
)

const (
	diffQueued   = o3v1.DiffState_DIFF_STATE_QUEUED
	diffRuns     = o3v1.DiffState_DIFF_STATE_IN_PROGRESS
	diffDone     = o3v1.DiffState_DIFF_STATE_DONE
	diffFailed   = o3v1.DiffState_DIFF_STATE_FAILED
	diffRejected = o3v1.DiffState_DIFF_STATE_REJECTED
)

// snapshot makes a snapshot of bucket photos.
func (s *server) snapshot(name string) error {
	_, err := s.om.CreateSnapshot(s.t.Context(), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "photos", Name: name})
	return err
}

func (s *server) deleteSnapshot(name string) {
	s.t.Helper()
	if _, err := s.om.DeleteSnapshot(s.t.Context(), &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "photos", Name: name}); err != nil {
		s.t.Fatal(err)
	}
}

// changes makes the snapshots old and new of bucket photos, n new keys apart.
func (s *server) changes(n int) {
	s.t.Helper()
	s.bucket("photos", "FILE_SYSTEM_OPTIMIZED")
	if err := s.snapshot("old"); err != nil {
		s.t.Fatal(err)
	}
	var wg sync.WaitGroup
	for from := range 16 { // side by side, so that they share syncs
		wg.Go(func() {
			for i := from; i < n; i += 16 {
				if err := s.commit("photos", fmt.Sprintf("new %05d", i), []byte("1")); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.snapshot("new"); err != nil {
		s.t.Fatal(err)
	}
}

func photosDiff(edits ...func(*o3v1.DiffSpec)) *o3v1.DiffSpec {
	d := &o3v1.DiffSpec{Volume: "s3v", Bucket: "photos", From: "old", To: "new"}
	for _, edit := range edits {
		edit(d)
	}
	return d
}

func (s *server) submit(d *o3v1.DiffSpec) *o3v1.DiffJob {
	s.t.Helper()
	resp, err := s.om.SubmitDiff(s.t.Context(), &o3v1.SubmitDiffRequest{Spec: d})
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.Job
}

func (s *server) diffPage(d *o3v1.DiffSpec, size uint32) *o3v1.GetDiffResponse {
	s.t.Helper()
	resp, err := s.om.GetDiff(s.t.Context(), &o3v1.GetDiffRequest{Spec: d, PageSize: size})
	if err != nil {
		s.t.Fatal(err)
	}
	return resp
}

// diff submits and waits until the job is over.
func (s *server) diff(d *o3v1.DiffSpec) (page *o3v1.GetDiffResponse) {
	s.t.Helper()
	s.submit(d)
	wait(s.t, "the diff is over", func() bool {
		page = s.diffPage(d, 0)
		return page.Job.State != diffQueued && page.Job.State != diffRuns
	})
	wait(s.t, "no thread is busy", func() bool { return s.metric("o3_snapdiff_running") == 0 }) // it counts what it did, too
	return page
}

// wall is a store whose snapshots are not to be had until it is down: a diff that
// runs waits for one.
type wall struct {
	kv.Store
	down chan struct{}
}

func (w wall) Snapshot() kv.Snapshot {
	<-w.down
	return w.Store.Snapshot()
}

// walled makes diffs stop at a wall until release is called.
func walled(set ...string) (o settings, release func()) {
	down := make(chan struct{})
	return settings{set: set, hooks: hooks{diffs: func(o *snapdiff.Options) { o.Store = wall{o.Store, down} }}}, sync.OnceFunc(func() { close(down) })
}

// submitRunning submits a diff and waits until it runs.
func (s *server) submitRunning(d *o3v1.DiffSpec) {
	s.t.Helper()
	s.submit(d)
	wait(s.t, "the diff runs", func() bool { return s.diffPage(d, 0).Job.State == diffRuns })
}

func TestKeySnapshotLimit(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{"ozone.om.fs.snapshot.max.limit=2", "ozone.snapshot.deleting.service.interval=1d"}})
	plain := start(t, settings{})
	for _, s := range []*server{s, plain} {
		s.bucket("photos", "")
		for _, name := range []string{"one", "two"} {
			if err := s.snapshot(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	kind(t, s.snapshot("three"), errs.TooMany, "ozone.om.fs.snapshot.max.limit is 2")
	s.deleteSnapshot("one")
	kind(t, s.snapshot("three"), errs.TooMany) // it is not reclaimed yet
	if err := plain.snapshot("three"); err != nil {
		t.Error(err)
	}
	if live, gone := s.metric("o3_snapshots"), s.metric("o3_snapshots_deleted"); live != 1 || gone != 1 || plain.metric("o3_snapshots") != 3 {
		t.Errorf("%v live, %v deleted; %v", live, gone, plain.metric("o3_snapshots"))
	}
}

func TestKeySnapshotReclaim(t *testing.T) {
	t.Parallel()
	const interval, batch = "ozone.snapshot.deleting.service.interval", "ozone.snapshot.key.deleting.limit.per.task"
	for _, c := range []struct {
		set          []string
		reclaims     bool
		fewest, most int // commands for 50 rows, twice looked at
	}{
		{[]string{interval + "=20ms", batch + "=5"}, true, 10, 30},
		{[]string{interval + "=20ms"}, true, 1, 1},
		{[]string{interval + "=1d"}, false, 0, 0},
	} {
		s := start(t, settings{set: c.set})
		s.changes(50)
		s.drop50()
		if n := s.metric("o3_snapshot_history_rows"); n != 50 {
			t.Errorf("%v: %v rows of history", c.set, n)
		}
		if n := s.metric("o3_snapshot_journal_rows"); n != 100 || s.metric("o3_snapshot_journal_bytes") < 100*20 || s.metric("o3_snapshot_history_bytes") < 50*20 {
			t.Errorf("%v: %v rows of the journal", c.set, n)
		}
		before := s.node.replica.Position().Op
		s.deleteSnapshot("new")
		if !c.reclaims {
			list, err := s.om.ListSnapshots(t.Context(), &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: "photos", Deleted: true})
			if err != nil || len(list.Snapshots) != 1 || list.Snapshots[0].State != "DELETED" || s.metric("o3_snapshots_deleted") != 1 {
				t.Errorf("%v: %v, %v", c.set, list, err)
			}
			wait(t, "the lag shows", func() bool { return s.metric("o3_snapshot_reclaim_lag_seconds") > 0 })
			continue
		}
		wait(t, "all is reclaimed", func() bool { return s.metric("o3_snapshots_deleted") == 0 })
		wait(t, "it is counted", func() bool { return s.metric("o3_snapshots_reclaimed_total") > 0 })
		commands := int(s.node.replica.Position().Op-before) - 1
		if commands < c.fewest || commands > c.most || s.metric("o3_snapshot_history_rows") != 0 {
			t.Errorf("%v: %d commands; %v rows of history", c.set, commands, s.metric("o3_snapshot_history_rows"))
		}
		if n := s.metric("o3_snapshots_reclaimed_total"); n != 1 {
			t.Errorf("%v reclaimed", n)
		}
		if rows, freed := s.metric("o3_snapshot_reclaimed_rows_total"), s.metric("o3_snapshot_freed_history_rows_total"); rows < 50 || freed != 50 {
			t.Errorf("%v rows looked at, %v freed", rows, freed)
		}
		if s.metric("o3_snapshot_reclaim_lag_seconds") != 0 {
			t.Error("a lag, with nothing to reclaim")
		}
	}
}

// drop50 deletes what changes(50) made.
func (s *server) drop50() {
	s.t.Helper()
	req := &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "photos"}
	for i := range 50 {
		req.Keys = append(req.Keys, &o3v1.DeleteKey{Key: fmt.Sprintf("new %05d", i)})
	}
	if _, err := s.om.DeleteKeys(s.t.Context(), req); err != nil {
		s.t.Fatal(err)
	}
}

// TestKeyDiffThreads: of jobs that cannot end, as many run as there are threads,
// as many wait, and the next is turned away.
func TestKeyDiffThreads(t *testing.T) {
	t.Parallel()
	for _, threads := range []int{1, 3} {
		o, release := walled(fmt.Sprintf("ozone.om.snapshot.diff.thread.pool.size=%d", threads))
		s := start(t, o)
		t.Cleanup(release) // before the node ends
		s.changes(10)
		for i := range threads {
			s.submitRunning(photosDiff(func(d *o3v1.DiffSpec) { d.Prefix = fmt.Sprint(i) }))
		}
		if n := s.metric("o3_snapdiff_running"); int(n) != threads {
			t.Errorf("%v run", n)
		}
		for i := range threads {
			if j := s.submit(photosDiff(func(d *o3v1.DiffSpec) { d.Prefix = fmt.Sprint("waits", i) })); j.State != diffQueued {
				t.Errorf("%d threads: %v", threads, j)
			}
		}
		if j := s.submit(photosDiff(func(d *o3v1.DiffSpec) { d.Prefix = "more" })); j.State != diffRejected || !strings.Contains(j.Reason, "retry later") {
			t.Errorf("%d threads: %v", threads, j)
		}
		if q, n := s.metric("o3_snapdiff_queue_length"), s.metric("o3_snapdiff_jobs", "QUEUED"); int(q) != threads || int(n) != threads {
			t.Errorf("%v in the queue, %v QUEUED", q, n)
		}
		if n := s.metric("o3_snapdiff_jobs", "IN_PROGRESS"); int(n) != threads || s.metric("o3_snapdiff_rejected_total") != 1 {
			t.Errorf("%v IN_PROGRESS", n)
		}
		release()
		wait(t, "all are done", func() bool { return int(s.metric("o3_snapdiff_finished_total", "DONE")) == 2*threads })
		if n := s.metric("numSnapshotDiffJobs"); int(n) != 2*threads {
			t.Errorf("%v submitted", n)
		}
	}
}

func TestKeyDiffPage(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]int{"ozone.om.snapshot.diff.max.page.size=7": 7, "ozone.om.snapshot.diff.max.page.size=5000": 20} {
		s := start(t, settings{set: []string{set}})
		s.changes(20)
		s.diff(photosDiff())
		for asked, want := range map[uint32]int{0: want, 3: 3, 1 << 31: want} {
			page := s.diffPage(photosDiff(), asked)
			if len(page.Entries) != want || (page.NextToken == "") != (want == 20) || page.Job.TotalEntries != 20 {
				t.Errorf("%s: asked for %d, got %d entries; %v", set, asked, len(page.Entries), page.Job)
			}
		}
		if n := s.metric("o3_snapdiff_entries_total", "create"); n != 20 || s.metric("o3_snapdiff_entries_total") != 20 {
			t.Errorf("%v created", n)
		}
	}
}

func TestKeyDiffWait(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]int64{"": 60_000, "ozone.om.snapshot.diff.job.default.wait.time=7s": 7_000} {
		o, release := walled()
		if set != "" {
			o.set = []string{set}
		}
		s := start(t, o)
		t.Cleanup(release)
		s.changes(5)
		s.submitRunning(photosDiff())
		if j := s.diffPage(photosDiff(), 0).Job; j.WaitMs != want {
			t.Errorf("%q: %v", set, j)
		}
		release()
	}
}

// TestKeyDiffCleanup: a report is kept for its time, and removed by the first
// cleanup after it.
func TestKeyDiffCleanup(t *testing.T) {
	t.Parallel()
	const keep, every = "ozone.om.snapshot.diff.job.report.persistent.time", "ozone.om.snapshot.diff.cleanup.service.run.interval"
	for _, c := range []struct {
		set  []string
		goes bool
	}{
		{[]string{keep + "=1s", every + "=50ms"}, true},
		{[]string{keep + "=1s", every + "=1h"}, false},
		{[]string{keep + "=1h", every + "=50ms"}, false},
	} {
		s := start(t, settings{set: c.set})
		s.changes(5)
		job := s.submit(photosDiff())
		path := filepath.Join(s.Data, "om", "snapdiff", job.JobId+".diff")
		gone := func() bool {
			_, err := os.Stat(path)
			_, get := s.om.GetDiff(t.Context(), &o3v1.GetDiffRequest{Spec: photosDiff()})
			return os.IsNotExist(err) && errs.KindOf(get) == errs.NoSuchJob
		}
		if c.goes { // maybe before anybody has seen it
			wait(t, "the report is removed", func() bool { return gone() && s.metric("o3_snapdiff_finished_total", "DONE") == 1 })
			continue
		}
		s.diff(photosDiff())
		if _, err := os.Stat(path); err != nil {
			t.Fatal(err)
		}
		late := time.Now().Add(1200 * time.Millisecond)
		wait(t, "time passes", func() bool { return time.Now().After(late) })
		if gone() {
			t.Errorf("%v: removed", c.set)
		}
	}
}

func TestKeyDiffLimit(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.snapshot.diff.max.allowed.keys.changed.per.job"
	for limit, state := range map[int]o3v1.DiffState{9: diffFailed, 10: diffDone} {
		s := start(t, settings{set: []string{fmt.Sprintf("%s=%d", key, limit)}})
		s.changes(10)
		job := s.diff(photosDiff()).Job
		if job.State != state || state == diffFailed && !strings.Contains(job.Reason, fmt.Sprintf("%s is %d", key, limit)) {
			t.Errorf("%d: %v", limit, job)
		}
		if n := s.metric("o3_snapdiff_finished_total", strings.TrimPrefix(state.String(), "DIFF_STATE_")); n != 1 {
			t.Errorf("%d: %v ended so", limit, n)
		}
	}
}

// TestKeyForceFullDiff: the report is the same, though all rows are read.
func TestKeyForceFullDiff(t *testing.T) {
	t.Parallel()
	var reports []string
	for _, force := range []bool{false, true} {
		s := start(t, settings{set: []string{fmt.Sprintf("ozone.om.snapshot.force.full.diff=%t", force)}})
		s.bucket("photos", "FILE_SYSTEM_OPTIMIZED")
		for i := range 30 {
			if err := s.commit("photos", fmt.Sprintf("kept %d", i), nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range []error{s.snapshot("old"), s.commit("photos", "kept 7", []byte("1")), s.commit("photos", "new", nil), s.snapshot("new")} {
			if step != nil {
				t.Fatal(step)
			}
		}
		var lines []string
		for _, e := range s.diff(photosDiff()).Entries {
			lines = append(lines, e.Type+" "+e.SourcePath)
		}
		reports = append(reports, strings.Join(lines, ", "))
		if rows := s.metric("o3_snapdiff_rows_total"); (rows > 30) != force {
			t.Errorf("force %v: %v rows read", force, rows)
		}
		phase := map[bool]string{false: "JOURNAL_SCAN", true: "FULL_SCAN"}[force]
		if n := s.metric("o3_snapdiff_phase_seconds_count", phase); n != 1 || s.metric("o3_snapdiff_phase_seconds_count") != 5 {
			t.Errorf("force %v: %v times %s", force, n, phase)
		}
	}
	if reports[0] != "+ new, M kept 7" || reports[1] != reports[0] {
		t.Errorf("%q", reports)
	}
}

func TestKeyDiffDir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "precious")
	if err := os.WriteFile(foreign, []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, settings{set: []string{"ozone.om.snapshot.diff.db.dir=" + dir}})
	s.changes(5)
	job := s.diff(photosDiff()).Job
	if _, err := os.Stat(filepath.Join(dir, job.JobId+".diff")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.Data, "om", "snapdiff")); err == nil {
		t.Error("there is a directory in the data directory too")
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
}

func TestKeyDiffMemory(t *testing.T) {
	t.Parallel()
	for size, spills := range map[string]bool{"1MB": true, "32MB": false} {
		s := start(t, settings{set: []string{"ozone.om.snapshot.diff.max.memory.per.job=" + size}})
		s.changes(6000)
		if page := s.diff(photosDiff()); page.Job.TotalEntries != 6000 {
			t.Errorf("%v", page.Job)
		}
		if n := s.metric("o3_snapdiff_spilled_bytes_total"); (n > 0) != spills {
			t.Errorf("memory %s: %v bytes spilled", size, n)
		}
	}
}

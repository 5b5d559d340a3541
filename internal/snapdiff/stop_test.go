package snapdiff_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/reclaim"
	"o3/internal/snapdiff"
)

// checkRows is how many rows a job may read between two looks at whether to go on.
const checkRows = 1000

// TestStopAnywhere cancels a job, or deletes one of its snapshots, at each look
// that it takes at whether to go on, in each phase: it never takes a second, and
// reads no more than 1,000 rows between two.
func TestStopAnywhere(t *testing.T) {
	for name, s := range map[string]*o3v1.DiffSpec{
		"journal": spec(inTree), "full": spec(inTree, full), "ordered": spec(inTree, ordered), "reversed": spec(inTree, reversed),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, snapdiff.Options{MemoryBytes: 1 << 16, CleanupInterval: 1000 * time.Hour}, 2100, func(t *testing.T, r *rig) {
				stop := func(at int, how func(id string)) (looks int, job *o3v1.DiffJob) {
					rows, id := 0, ""
					ready := make(chan struct{})
					look := func() { // twice for each look: for one snapshot, then the other
						<-ready
						if rows > checkRows {
							t.Errorf("%d rows before look %d", rows, looks)
						}
						rows = 0
						if looks++; looks == at {
							how(id)
						}
					}
					r.gate.set(look, func() { rows++ })
					id = r.submit(s, queued).JobId
					close(ready)
					synctest.Wait()
					r.gate.set(nil, nil)
					resp, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: s, JobId: id})
					r.ok(err)
					if q, n := r.Stats(); q+n > 0 {
						t.Errorf("%d wait, %d run", q, n)
					}
					return looks, resp.Job
				}
				all, job := stop(0, nil)
				if job.State != done || all < 20 {
					t.Fatalf("%d looks: %v", all, job)
				}
				_, err := r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: s})
				r.ok(err)
				for at := 1; at <= all; at += 1 + all/11 {
					looks, job := stop(at, func(id string) {
						_, err := r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: s, JobId: id})
						r.ok(err)
					})
					if job.State != cancelled || looks > at+1 {
						t.Errorf("cancelled at look %d: %d looks, %v", at, looks, job)
					}
					if r.hasReport(job.JobId) {
						t.Errorf("cancelled at look %d: there is a report", at)
					}
				}
				r.onlyReports()
			})
		})
	}
}

// TestSnapshotDeleted: a job whose snapshot is deleted fails at its next look,
// with a reason that names the snapshot; one that waits fails when its turn
// comes; one that is done is still read, by its id.
func TestSnapshotDeleted(t *testing.T) {
	for _, gone := range []string{"old", "new"} {
		for _, s := range []*o3v1.DiffSpec{spec(), spec(full), spec(reversed)} {
			inBubble(t, snapdiff.Options{Threads: 1}, 1500, func(t *testing.T, r *rig) {
				ready := r.diff(spec(ordered)).Job.JobId
				rows := 0
				r.gate.set(nil, func() {
					if rows++; rows == 100 {
						r.deleteSnapshot("flat", gone)
					}
				})
				id := r.submit(s, queued).JobId
				waits := r.submit(spec(inTree), queued).JobId
				synctest.Wait()
				byID := &o3v1.DiffSpec{Volume: "s3v", Bucket: "flat"}
				job := r.get(byID, id, failed).Job
				if want := "snapshot " + gone + " (op "; !strings.Contains(job.Reason, want) || !strings.Contains(job.Reason, "deleted before the diff was done") || job.WaitMs != 0 {
					t.Errorf("%v", job)
				}
				if rows > 100+checkRows+1500 { // the other job reads 1,500
					t.Errorf("%d rows", rows)
				}
				r.get(spec(inTree), waits, done)
				if got := r.get(byID, ready, done); len(got.Entries) != 1500 {
					t.Errorf("%d entries of the job that was done", len(got.Entries))
				}
				if _, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: s}); errs.KindOf(err) != errs.NoSuchSnapshot {
					t.Errorf("by the names: %v", err)
				}
				if e := r.endings(); !slices.Contains(e, failed) {
					t.Errorf("heard %v", e)
				}
			})
		}
	}
}

// TestSnapshotDeletedInQueue: the job fails before it reads a row.
func TestSnapshotDeletedInQueue(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 1}, 10, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		r.submit(spec(inTree), queued)
		synctest.Wait()
		id := r.submit(spec(), queued).JobId
		r.deleteSnapshot("flat", "new")
		release()
		synctest.Wait()
		r.get(&o3v1.DiffSpec{Volume: "s3v", Bucket: "flat"}, id, failed)
		// The same names, another snapshot: another job.
		r.snapshot("flat", "new")
		if got := r.diff(spec()); got.Job.JobId == id || len(got.Entries) != 10 {
			t.Errorf("%v", got.Job)
		}
	})
}

// TestHandles: what a deleted snapshot saw is not reclaimed while a job that
// compares it runs, and is when the job has ended.
func TestHandles(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 1}, 3000, func(t *testing.T, r *rig) {
		rc := reclaim.New(reclaim.Options{Store: r.gate.Store, Namespace: r.om, Holds: r.Holds, Leads: r.leads.Load})
		deleted := func() int {
			resp, err := r.om.ListSnapshots(ctx, &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: "flat", Deleted: true})
			r.ok(err)
			return len(resp.Snapshots)
		}
		release := r.gate.hold()
		running := r.submit(spec(), queued).JobId
		synctest.Wait()
		r.submit(spec(ordered), queued) // waits: it holds nothing
		r.deleteSnapshot("flat", "old")
		r.ok(rc.Reclaim(ctx))
		if deleted() != 1 {
			t.Error("reclaimed under a running job")
		}
		release()
		synctest.Wait()
		r.get(&o3v1.DiffSpec{Volume: "s3v", Bucket: "flat"}, running, failed)
		r.ok(rc.Reclaim(ctx))
		if deleted() != 0 {
			t.Error("not reclaimed, though no job runs")
		}
	})
}

// TestDiskFull: a job that cannot write fails, says why, and leaves nothing; the
// next try, with room, succeeds.
func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	inBubble(t, snapdiff.Options{Threads: 1}, 1000, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		r.submit(spec(inTree), queued)
		synctest.Wait()
		id := r.submit(spec(), queued).JobId
		r.ok(os.Symlink("/dev/full", r.report(id)+".tmp"))
		release()
		synctest.Wait()
		if got := r.get(spec(), id, failed).Job; !strings.Contains(got.Reason, "no space left on device") {
			t.Errorf("%v", got)
		}
		r.onlyReports()
		if got := r.diff(spec()); got.Job.JobId == id || len(got.Entries) != 1000 {
			t.Errorf("%v", got.Job)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if i := slices.IndexFunc(r.finished, func(f snapdiff.Finished) bool { return f.Job.State == failed }); i < 0 || r.finished[i].Err == nil {
			t.Error("the operator does not hear of it")
		}
	})
}

// TestNoDirectory: a job whose directory is gone fails and says why.
func TestNoDirectory(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 2, func(t *testing.T, r *rig) {
		r.ok(os.RemoveAll(r.o.Dir))
		id := r.submit(spec(), queued).JobId
		synctest.Wait()
		if got := r.get(spec(), id, failed).Job; !strings.Contains(got.Reason, "no such file or directory") {
			t.Errorf("%v", got)
		}
		r.ok(os.MkdirAll(r.o.Dir, 0o700))
	})
}

// TestTooManyChanges: the bound on changes fails a job, which says the key.
func TestTooManyChanges(t *testing.T) {
	inBubble(t, snapdiff.Options{MaxChanges: 9}, 10, func(t *testing.T, r *rig) {
		id := r.submit(spec(), queued).JobId
		synctest.Wait()
		if got := r.get(spec(), id, failed).Job; !strings.Contains(got.Reason, "ozone.om.snapshot.diff.max.allowed.keys.changed.per.job") {
			t.Errorf("%v", got)
		}
	})
}

// TestRestart: jobs that wait and run when the node stops go on at the next
// start under their ids, and their reports are those of a node that never did.
func TestRestart(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 1, CleanupInterval: 1000 * time.Hour}, 3000, func(t *testing.T, r *rig) {
		want := r.diff(spec(ordered)).Entries
		_, err := r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: spec(ordered)})
		r.ok(err)
		rows, reached, wall := 0, make(chan struct{}), make(chan struct{})
		r.gate.set(nil, func() {
			if rows++; rows == 2500 {
				close(reached)
				<-wall
			}
		})
		running := r.submit(spec(ordered), queued).JobId
		<-reached
		waiting := r.submit(spec(), queued).JobId
		gone := r.submitMore(spec(full))
		go r.stop()
		synctest.Wait()
		close(wall)
		synctest.Wait()
		r.gate.set(nil, nil)
		// What a crash leaves besides.
		for _, name := range []string{"scratch-1/run-1", running + ".diff.tmp", running + ".diff.index.tmp"} {
			path := filepath.Join(r.o.Dir, name)
			r.ok(errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("half"), 0o600)))
		}
		foreign := filepath.Join(r.o.Dir, "precious.txt")
		r.ok(os.WriteFile(foreign, []byte("of somebody else"), 0o600))

		release := r.gate.hold()
		r.run()
		if _, err := os.Stat(foreign); err != nil {
			t.Errorf("what is not ours is gone: %v", err)
		}
		r.ok(os.Remove(foreign))
		if got := r.get(spec(ordered), running, inProgress); got.Job.Phase != "JOURNAL_SCAN" {
			t.Errorf("%v", got.Job)
		}
		r.get(spec(), waiting, queued)
		if gone != rejected {
			t.Errorf("a third was %v", gone)
		}
		release()
		synctest.Wait()
		got := r.get(spec(ordered), running, done)
		if fmt.Sprint(got.Entries) != fmt.Sprint(want) {
			t.Error("the report is another")
		}
		r.get(spec(), waiting, done)
		r.stop()
		r.run() // nothing is left to do
		if q, n := r.Stats(); q+n != 0 {
			t.Errorf("%d wait, %d run", q, n)
		}
		if got := r.get(spec(ordered), running, done); len(got.Entries) != len(want) {
			t.Error("the report is gone")
		}
	})
}

func (r *rig) submitMore(s *o3v1.DiffSpec) o3v1.DiffState {
	r.t.Helper()
	resp, err := r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: s})
	r.ok(err)
	return resp.Job.State
}

// TestWaitsAfterRestart: a job that ran when the node stopped and waits for a
// thread now says that it waits.
func TestWaitsAfterRestart(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 2}, 10, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		r.submit(spec(), queued)
		synctest.Wait()
		second := r.submit(spec(ordered), queued).JobId
		synctest.Wait()
		r.get(spec(ordered), second, inProgress)
		go r.stop()
		synctest.Wait()
		release()
		synctest.Wait()
		r.o.Threads = 1
		release = r.gate.hold()
		r.run()
		r.get(spec(ordered), second, queued)
		list, err := r.ListDiffs(ctx, &o3v1.ListDiffsRequest{Volume: "s3v", Bucket: "flat", States: []o3v1.DiffState{queued}})
		if err != nil || len(list.Jobs) != 1 || list.Jobs[0].JobId != second {
			t.Errorf("%v, %v", list, err)
		}
		release()
		synctest.Wait()
		r.get(spec(ordered), second, done)
	})
}

// TestLeaderChange: a node that leads no more lets go of its jobs, and takes
// them up when it leads again, even while the old try is still ending.
func TestLeaderChange(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 2}, 3000, func(t *testing.T, r *rig) {
		rows, wall := 0, make(chan struct{})
		r.gate.set(nil, func() {
			if rows++; rows == 500 {
				<-wall
			}
		})
		first := r.submit(spec(), queued).JobId
		synctest.Wait()
		r.gate.set(nil, nil)
		r.leads.Store(false)
		second := r.submit(spec(inTree), queued).JobId
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if q, n := r.Stats(); q != 0 || n != 1 {
			t.Errorf("%d wait, %d run", q, n)
		}
		r.leads.Store(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if q, n := r.Stats(); q != 1 || n != 1 { // the first waits for its own end
			t.Errorf("%d wait, %d run", q, n)
		}
		r.get(spec(), first, queued)
		close(wall)
		synctest.Wait()
		if got := r.get(spec(), first, done); len(got.Entries) != 3000 {
			t.Errorf("%d entries", len(got.Entries))
		}
		r.get(spec(inTree), second, done)
		if e := r.endings(); len(e) != 2 {
			t.Errorf("ended: %v", e)
		}
	})
}

// TestFaultsPass: a job that meets a fault of the moment, in whatever proposal,
// before it is applied or after, is not failed, but tried again.
func TestFaultsPass(t *testing.T) {
	for _, kind := range []errs.Kind{errs.NotLeader, errs.Unavailable, errs.DeadlineExceeded} {
		for after := range 2 {
			for n := range 3 { // the submission, the beginning, the end
				t.Run(fmt.Sprintf("%v %d of %d", kind, after, n), func(t *testing.T) {
					inBubble(t, snapdiff.Options{}, 10, func(t *testing.T, r *rig) {
						proposals := 0
						fail := func(command.Kind) error {
							if proposals++; proposals == n+1 {
								return errs.New(kind, "log", "planted")
							}
							return nil
						}
						if after == 1 {
							r.log.fail(nil, fail)
						} else {
							r.log.fail(fail, nil)
						}
						resp, err := r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: spec()})
						if n == 0 {
							refused(t, "submit", err, kind)
							if after == 0 {
								resp, err = r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: spec()})
								r.ok(err)
							}
						} else {
							r.ok(err)
						}
						time.Sleep(5 * time.Second)
						synctest.Wait()
						got := r.get(spec(), "", done)
						if len(got.Entries) != 10 || resp != nil && resp.Job.JobId != got.Job.JobId {
							t.Errorf("%v, submitted %v", got.Job, resp)
						}
						if e := r.endings(); len(e) > 1 {
							t.Errorf("ended: %v", e)
						}
					})
				})
			}
		}
	}
}

// TestEnds: a service that is told to stop does, whatever it is at, and Run
// waits for all it started.
func TestEnds(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 3}, 1000, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		for _, s := range []*o3v1.DiffSpec{spec(), spec(ordered), spec(full), spec(inTree), spec(reversed)} {
			r.submit(s, queued)
		}
		synctest.Wait()
		var wg sync.WaitGroup
		wg.Go(r.stop)
		synctest.Wait()
		release()
		wg.Wait()
		if q, n := r.Stats(); n != 0 || q != 2 {
			t.Errorf("%d wait, %d run", q, n)
		}
		if len(r.endings()) != 0 {
			t.Errorf("ended: %v", r.endings())
		}
	})
}

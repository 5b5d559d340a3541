package snapdiff_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/snapdiff"
)

// TestStates: with one thread and one place to wait, of three jobs one runs, one
// waits and one is turned away, without a trace.
func TestStates(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 1, WaitTime: 7 * time.Second}, 10, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		runs := r.submit(spec(), queued)
		synctest.Wait()
		waits := r.submit(spec(reversed), queued)
		synctest.Wait()
		turned := r.submit(spec(ordered), rejected)
		if turned.JobId != "" || !strings.Contains(turned.Reason, "retry later") || turned.WaitMs != 7000 {
			t.Errorf("turned away: %v", turned)
		}
		if got := r.get(spec(), runs.JobId, inProgress).Job; got.Phase != "JOURNAL_SCAN" || got.StartedMs == 0 || got.WaitMs != 7000 {
			t.Errorf("running: %v", got)
		}
		if got := r.get(spec(reversed), "", queued).Job; got.JobId != waits.JobId || got.Phase != "" || got.StartedMs != 0 || got.WaitMs != 7000 {
			t.Errorf("waiting: %v", got)
		}
		if _, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(ordered)}); errs.KindOf(err) != errs.NoSuchJob {
			t.Errorf("the job that was turned away: %v", err)
		}
		if q, n := r.Stats(); q != 1 || n != 1 {
			t.Errorf("%d wait, %d run", q, n)
		}
		// What waits can be cancelled, and makes room.
		c, err := r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: spec(reversed)})
		if err != nil || c.Job.State != cancelled || c.Job.JobId != waits.JobId || c.Message != "the job is cancelled" {
			t.Errorf("%v, %v", c, err)
		}
		later := r.submit(spec(ordered), queued)
		release()
		synctest.Wait()
		got := r.get(spec(), runs.JobId, done)
		if got.Job.TotalEntries != 10 || len(got.Entries) != 10 || got.Job.Percent != 100 || got.Job.FinishedMs == 0 || got.Job.WaitMs != 0 {
			t.Errorf("done: %v with %d entries", got.Job, len(got.Entries))
		}
		r.get(spec(ordered), later.JobId, done)
		if got := r.get(spec(reversed), waits.JobId, cancelled).Job; got.Reason != "cancelled by request" || got.FinishedMs == 0 {
			t.Errorf("cancelled: %v", got)
		}
		if r.submitted != 3 || r.rejected != 1 || !slices.Equal(r.endings(), []o3v1.DiffState{cancelled, done, done}) {
			t.Errorf("heard: %d submitted, %d rejected, %v", r.submitted, r.rejected, r.endings())
		}
		if f := r.finished[1]; f.Counts.Created != 9 || f.Counts.Modified != 1 || f.Rows != 10 || len(f.Phases) != 5 || f.Job.JobId != runs.JobId {
			t.Errorf("told: %+v", f)
		}
		if len(r.troubles) > 0 {
			t.Errorf("troubles: %q", r.troubles)
		}
	})
}

// TestProgress: who asks while a job runs learns the phase, how much is done and
// how long it may take.
func TestProgress(t *testing.T) {
	for _, s := range []*o3v1.DiffSpec{spec(inTree), spec(inTree, full)} {
		inBubble(t, snapdiff.Options{}, 5000, func(t *testing.T, r *rig) {
			release := r.gate.hold()
			id := r.submit(s, queued).JobId
			synctest.Wait()
			var phases []string
			last := new(o3v1.DiffJob)
			watch := func() {
				time.Sleep(time.Second)
				got := r.get(s, id, inProgress).Job
				if got.Percent < last.Percent || got.Percent >= 100 {
					t.Errorf("after %v %%: %v", last.Percent, got)
				}
				if got.Percent >= 1 && (got.EtaMs <= 0 || got.EtaMs > 600_000) || got.WaitMs < 100 || got.WaitMs > 60_000 || got.EtaMs > 0 && got.WaitMs > max(got.EtaMs, 100) {
					t.Errorf("ask again when? %v", got)
				}
				if got.Phase != last.Phase {
					phases = append(phases, got.Phase)
				}
				last = got
			}
			release()
			r.gate.set(watch, nil)
			time.Sleep(time.Hour)
			synctest.Wait()
			r.get(s, id, done)
			want := "JOURNAL_SCAN SORT_AND_JOIN PATH_RESOLUTION ORDERING REPORT_WRITING"
			if s.Full {
				want = "FULL_SCAN SORT_AND_JOIN PATH_RESOLUTION ORDERING REPORT_WRITING"
			}
			if got := strings.Join(phases, " "); got != want {
				t.Errorf("phases %q", got)
			}
			if last.Percent < 90 {
				t.Errorf("just before the end: %v", last)
			}
		})
	}
}

// TestOneJob: fifty who ask at once for the same get one job, even where there
// is place for no other; who asks for other options gets another.
func TestOneJob(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 1}, 10, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		r.submit(spec(inTree), queued) // keeps the thread busy
		var mu sync.Mutex
		var all []*o3v1.SubmitDiffResponse
		for range 50 {
			go func() {
				resp, err := r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: spec(func(s *o3v1.DiffSpec) { s.Types = []string{"M", "+", "M"} })})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				all = append(all, resp)
			}()
		}
		synctest.Wait()
		made := 0
		for _, a := range all {
			if a.Job.JobId != all[0].Job.JobId || a.Job.State != queued {
				t.Errorf("%v, not %v", a, all[0])
			}
			if !a.Existed {
				made++
			}
		}
		if made != 1 || len(all) != 50 || r.rejected != 0 {
			t.Errorf("%d answers, %d jobs made, %d turned away", len(all), made, r.rejected)
		}
		release()
		synctest.Wait()
		ids := map[string]bool{all[0].Job.JobId: true}
		for i, s := range []*o3v1.DiffSpec{
			spec(), spec(full), spec(ordered), spec(reversed), spec(toLive), spec(func(s *o3v1.DiffSpec) { s.Prefix = "dir/" }),
			spec(func(s *o3v1.DiffSpec) { s.Types = []string{"M"} }),
		} {
			if id := r.diff(s).Job.JobId; ids[id] {
				t.Errorf("%v shares the job %s", s, id)
			} else {
				ids[id] = true
			}
			if len(ids) != i+2 {
				t.Errorf("%d jobs", len(ids))
			}
		}
		// The same in other words is the same.
		for _, s := range []*o3v1.DiffSpec{
			spec(func(s *o3v1.DiffSpec) { s.Types = []string{"+", "M"} }), spec(func(s *o3v1.DiffSpec) { s.Prefix = "./dir/" }),
			spec(func(s *o3v1.DiffSpec) { s.Types = []string{"R", "+", "-", "M"} }),
		} {
			if id := r.submit(s, done).JobId; !ids[id] {
				t.Errorf("%v is another job", s)
			}
		}
	})
}

// TestClaimEnds: who waits for another to submit the same goes when its caller
// goes.
func TestClaimEnds(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 2, func(t *testing.T, r *rig) {
		wall := make(chan struct{})
		r.log.fail(func(k kind) error { <-wall; return nil }, nil)
		var first error
		go func() { _, first = r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: spec()}) }()
		synctest.Wait()
		over, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := r.SubmitDiff(over, &o3v1.SubmitDiffRequest{Spec: spec()})
		refused(t, "the second", err, errs.DeadlineExceeded)
		close(wall)
		synctest.Wait()
		r.ok(first)
		r.get(spec(), "", done)
	})
}

// TestResubmit: a job that was cancelled or failed is submitted anew, with
// another id.
func TestResubmit(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 10, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		first := r.submit(spec(), queued)
		synctest.Wait()
		if c, err := r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: spec(), JobId: first.JobId}); err != nil || c.Job.State != cancelled {
			t.Fatal(c, err)
		}
		second := r.submit(spec(), queued)
		if second.JobId == first.JobId {
			t.Error("the id is that of the cancelled job")
		}
		release()
		synctest.Wait()
		r.get(spec(), second.JobId, done)
		if _, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(), JobId: first.JobId}); errs.KindOf(err) != errs.NoSuchJob {
			t.Errorf("the cancelled job: %v", err)
		}
		c, err := r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: spec()})
		if err != nil || c.Job.State != done || c.Message != "the job is already DONE" {
			t.Errorf("%v, %v", c, err)
		}
	})
}

// TestForget: a job that is over is dropped with its report, one that runs is not.
func TestForget(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 10, func(t *testing.T, r *rig) {
		release := r.gate.hold()
		id := r.submit(spec(), queued).JobId
		synctest.Wait()
		_, err := r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: spec()})
		refused(t, "a running job", err, errs.Conflict, "IN_PROGRESS", "cancel it first")
		release()
		synctest.Wait()
		if !r.hasReport(id) {
			t.Fatal("there is no report")
		}
		_, err = r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: spec()})
		r.ok(err)
		if r.hasReport(id) {
			t.Error("the report is still there")
		}
		for what, err := range map[string]error{
			"get":    second(r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec()})),
			"cancel": second(r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: spec(), JobId: id})),
			"forget": second(r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: spec(), JobId: id})),
		} {
			refused(t, what, err, errs.NoSuchJob)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestList pages through the jobs of a bucket, all or those in some states.
func TestList(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 10, func(t *testing.T, r *rig) {
		want := map[string]o3v1.DiffState{}
		for i := range 7 {
			s := spec(func(s *o3v1.DiffSpec) { s.Prefix = fmt.Sprint(i) })
			if i == 3 {
				release := r.gate.hold()
				id := r.submit(s, queued).JobId
				_, err := r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: s})
				r.ok(err)
				release()
				want[id] = cancelled
				continue
			}
			want[r.diff(s).Job.JobId] = done
		}
		r.diff(spec(inTree)) // not of this bucket
		list := func(limit uint32, states ...o3v1.DiffState) map[string]o3v1.DiffState {
			got, token := map[string]o3v1.DiffState{}, ""
			for pages := 0; ; pages++ {
				resp, err := r.ListDiffs(ctx, &o3v1.ListDiffsRequest{Volume: "s3v", Bucket: "flat", Limit: limit, States: states, Token: token})
				r.ok(err)
				if limit > 0 && len(resp.Jobs) > int(limit) || pages > 10 {
					t.Fatalf("page %d has %d jobs", pages, len(resp.Jobs))
				}
				for _, j := range resp.Jobs {
					if _, twice := got[j.JobId]; twice {
						t.Errorf("%s comes twice", j.JobId)
					}
					got[j.JobId] = j.State
				}
				if token = resp.NextToken; token == "" {
					return got
				}
			}
		}
		for _, limit := range []uint32{0, 1, 2, 7, 100, 1 << 31} {
			if got := list(limit); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("limit %d: %v, want %v", limit, got, want)
			}
		}
		if got := list(2, cancelled, queued); len(got) != 1 {
			t.Errorf("cancelled: %v", got)
		}
		if got := list(2, failed); len(got) != 0 {
			t.Errorf("failed: %v", got)
		}
		resp, err := r.ListDiffs(ctx, &o3v1.ListDiffsRequest{Volume: "s3v", Bucket: "flat", Limit: 1})
		r.ok(err)
		for _, bad := range []*o3v1.ListDiffsRequest{
			{Volume: "s3v", Bucket: "flat", Token: "x"}, {Volume: "s3v", Bucket: "flat", Token: resp.NextToken + "0"},
			{Volume: "s3v", Bucket: "tree", Token: resp.NextToken},
		} {
			_, err := r.ListDiffs(ctx, bad)
			refused(t, bad.String(), err, errs.Invalid, "listing of this bucket's diffs")
		}
	})
}

// TestBadRequests: each is refused with what is wrong about it, and nothing noted.
func TestBadRequests(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 2, func(t *testing.T, r *rig) {
		for _, c := range []struct {
			spec  *o3v1.DiffSpec
			kind  errs.Kind
			words string
		}{
			{nil, errs.Invalid, "names no snapshot to start from"},
			{spec(func(s *o3v1.DiffSpec) { s.From = "" }), errs.Invalid, "names no snapshot to start from"},
			{spec(func(s *o3v1.DiffSpec) { s.To = "old" }), errs.Invalid, "between a snapshot and itself"},
			{spec(func(s *o3v1.DiffSpec) { s.Types = []string{"+", "X"} }), errs.Invalid, `"X"`},
			{spec(func(s *o3v1.DiffSpec) { s.From = "nope" }), errs.NoSuchSnapshot, "nope"},
			{spec(func(s *o3v1.DiffSpec) { s.To = "nope" }), errs.NoSuchSnapshot, "nope"},
			{spec(func(s *o3v1.DiffSpec) { s.Bucket = "nope" }), errs.NoSuchBucket, "nope"},
			{spec(func(s *o3v1.DiffSpec) { s.Volume = "nope" }), errs.NoSuchVolume, "nope"},
		} {
			for what, err := range map[string]error{
				"submit": second(r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: c.spec})),
				"get":    second(r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: c.spec})),
				"cancel": second(r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: c.spec})),
				"forget": second(r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: c.spec})),
			} {
				refused(t, fmt.Sprintf("%s %v", what, c.spec), err, c.kind, c.words)
			}
		}
		for _, id := range []string{"nope", "00000000000000ff", ""} {
			_, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(), JobId: id})
			refused(t, id, err, errs.NoSuchJob, "never submitted")
		}
		list, err := r.ListDiffs(ctx, &o3v1.ListDiffsRequest{Volume: "s3v", Bucket: "flat"})
		if err != nil || len(list.Jobs) != 0 {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// TestWhoMay: whoever may read the bucket may compare it; nobody else, and
// nobody unknown.
func TestWhoMay(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 2, func(t *testing.T, r *rig) {
		everybody := []*o3v1.Grant{{Grantee: "*", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_ALL}}}
		_, err := r.om.UpdateBucket(ctx, &o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "tree", SetGrants: true, Grants: everybody})
		r.ok(err)
		for _, c := range []struct {
			who, bucket string
			may         bool
		}{
			{"root", "flat", true}, {"owner", "flat", true}, {"reader", "flat", true}, {"stranger", "flat", false}, {"", "flat", false},
			{"stranger", "tree", true}, {"", "tree", false},
		} {
			ctx, s := as(c.who), spec(func(s *o3v1.DiffSpec) { s.Bucket = c.bucket })
			for i, err := range []error{
				second(r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: proto.CloneOf(s)})),
				second(r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: s})),
				second(r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: s})),
				second(r.ListDiffs(ctx, &o3v1.ListDiffsRequest{Volume: "s3v", Bucket: c.bucket})),
			} {
				if c.may && err != nil || !c.may && errs.KindOf(err) != errs.Denied {
					t.Errorf("call %d by %q on %s: %v", i, c.who, c.bucket, err)
				}
			}
			synctest.Wait()
			if _, err := r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: s}); c.may && err != nil || !c.may && errs.KindOf(err) != errs.Denied {
				t.Errorf("forget by %q on %s: %v", c.who, c.bucket, err)
			}
		}
		// A job is ended by who asked for it or controls the bucket, by no other reader.
		s := spec(func(s *o3v1.DiffSpec) { s.Bucket = "flat" })
		_, err = r.SubmitDiff(as("owner"), &o3v1.SubmitDiffRequest{Spec: proto.CloneOf(s)})
		r.ok(err)
		synctest.Wait()
		for i, err := range []error{
			second(r.CancelDiff(as("reader"), &o3v1.CancelDiffRequest{Spec: s})), second(r.ForgetDiff(as("reader"), &o3v1.ForgetDiffRequest{Spec: s})),
		} {
			if errs.KindOf(err) != errs.Denied {
				t.Errorf("call %d by a reader on the owner's job: %v", i, err)
			}
		}
		_, err = r.ForgetDiff(as("root"), &o3v1.ForgetDiffRequest{Spec: s})
		r.ok(err)
	})
}

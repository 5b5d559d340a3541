package snapdiff_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/snapdiff"
	"o3/internal/snapdiff/render"
	"o3/internal/snapdiff/report"
)

// pages returns a report, read in pages of size; between calls f after each.
func (r *rig) pages(s *o3v1.DiffSpec, id string, size uint32, between func()) (lines []string, sizes []int) {
	r.t.Helper()
	token := ""
	for {
		resp, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: s, JobId: id, PageSize: size, Token: token})
		r.ok(err)
		if resp.Job.State != done {
			r.t.Fatalf("%v", resp.Job)
		}
		for _, e := range resp.Entries {
			lines = append(lines, render.Line(e))
		}
		sizes = append(sizes, len(resp.Entries))
		if token = resp.NextToken; token == "" {
			return lines, sizes
		}
		if between != nil {
			between()
		}
	}
}

// TestPages: any page size gives the same report, and no page has more entries
// than is allowed, whatever is asked for.
func TestPages(t *testing.T) {
	inBubble(t, snapdiff.Options{MaxPage: 300}, 1000, func(t *testing.T, r *rig) {
		id := r.diff(spec()).Job.JobId
		want, sizes := r.pages(spec(), id, 0, nil)
		if len(want) != 1000 || fmt.Sprint(sizes) != "[300 300 300 100]" {
			t.Fatalf("%d lines in pages of %v", len(want), sizes)
		}
		for asked, pages := range map[uint32]int{1: 1000, 7: 143, 250: 4, 300: 4, 301: 4, 1 << 31: 4, 1<<32 - 1: 4} {
			got, sizes := r.pages(spec(), "", asked, nil)
			if strings.Join(got, "\n") != strings.Join(want, "\n") || len(sizes) != pages {
				t.Errorf("pages of %d: %d lines in %d pages", asked, len(got), len(sizes))
			}
		}
		// Two at once, each at its own pace, while others write, submit and clean.
		var wg sync.WaitGroup
		for _, size := range []uint32{90, 111} {
			wg.Go(func() {
				got, _ := r.pages(spec(), id, size, func() { time.Sleep(time.Duration(size) * time.Second) })
				if strings.Join(got, "\n") != strings.Join(want, "\n") {
					t.Errorf("pager of %d: another report", size)
				}
			})
		}
		for i := range 10 {
			time.Sleep(50 * time.Second)
			r.commit("flat", fmt.Sprint("meanwhile", i), 1)
			r.submit(spec(), done)
			r.ok(r.Clean(ctx))
		}
		wg.Wait()
	})
}

// TestEmptyReport: no difference is a report too.
func TestEmptyReport(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 1, func(t *testing.T, r *rig) {
		r.snapshot("flat", "newer")
		got := r.diff(spec(func(s *o3v1.DiffSpec) { s.From, s.To = "new", "newer" }))
		if len(got.Entries) != 0 || got.NextToken != "" || got.Job.TotalEntries != 0 {
			t.Errorf("%v", got)
		}
	})
}

// TestReversed: the other way round, what was created is deleted.
func TestReversed(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 3, func(t *testing.T, r *rig) {
		for want, s := range map[string]*o3v1.DiffSpec{
			"+\t./dir/new 00000,+\t./dir/new 00001,M\t./changed": spec(),
			"-\t./dir/new 00000,-\t./dir/new 00001,M\t./changed": spec(reversed),
		} {
			got, _ := r.pages(s, r.diff(s).Job.JobId, 0, nil)
			if strings.Join(got, ",") != want {
				t.Errorf("%v: %q", s, got)
			}
		}
	})
}

// TestTokens: a token that is not of this job's report is refused, with why.
func TestTokens(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 20, func(t *testing.T, r *rig) {
		id := r.diff(spec()).Job.JobId
		other := r.diff(spec(ordered)).Job.JobId
		n, err := command.ParseUploadID(id)
		r.ok(err)
		of := func(id string) string {
			resp, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(), JobId: id, PageSize: 5})
			r.ok(err)
			return resp.NextToken
		}
		good := of(id)
		for token, words := range map[string]string{
			"nonsense":                         "",
			good + "A":                         "",
			good[:len(good)-1]:                 "",
			strings.ToLower(good):              "",
			of(other):                          "it belongs to another job",
			report.EncodeToken(uint64(n), 20):  "it begins at entry 20 of 20",
			report.EncodeToken(uint64(n), 1e9): "it begins at entry 1000000000 of 20",
		} {
			_, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(), JobId: id, Token: token})
			refused(t, token, err, errs.Invalid, "page token", words)
		}
	})
}

// TestBigPage: a page of long names stays small enough for a message.
func TestBigPage(t *testing.T) {
	inBubble(t, snapdiff.Options{MaxPage: 100_000}, 1, func(t *testing.T, r *rig) {
		long := strings.Repeat("x", 900)
		for i := range 40 {
			r.commit("tree", fmt.Sprintf("%02d", i), 1)
		}
		r.snapshot("tree", "newer")
		id := r.diff(spec(inTree, func(s *o3v1.DiffSpec) { s.From, s.To = "new", "newer" })).Job.JobId
		// A report with more and longer names than the namespace would take long to make.
		rd, err := report.Open(r.report(id))
		r.ok(err)
		w, err := report.NewWriter(r.report(id), rd.Meta())
		r.ok(err)
		r.ok(rd.Close())
		for i := range 40_000 {
			r.ok(w.Add(&o3v1.DiffEntry{Type: "+", SourcePath: fmt.Sprintf("%s%d", long, i), ObjectId: uint64(i)}))
		}
		_, err = w.Finish()
		r.ok(err)
		seen, token := 0, ""
		for {
			resp, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(inTree), JobId: id, Token: token})
			r.ok(err)
			if n := proto.Size(resp); n > 17<<20 {
				t.Errorf("a page of %d bytes", n)
			}
			for _, e := range resp.Entries {
				if e.ObjectId != uint64(seen) {
					t.Fatalf("entry %d, want %d", e.ObjectId, seen)
				}
				seen++
			}
			if token = resp.NextToken; token == "" {
				break
			}
		}
		if seen != 40_000 {
			t.Errorf("%d entries", seen)
		}
	})
}

// TestReportLost: a report that is not on this node is computed again, once,
// under the same id, and is the same; who was in the middle of it goes on.
func TestReportLost(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 1, Queue: 1}, 200, func(t *testing.T, r *rig) {
		id := r.diff(spec(ordered)).Job.JobId
		want, err := os.ReadFile(r.report(id))
		r.ok(err)
		page, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(ordered), PageSize: 50})
		r.ok(err)
		r.ok(os.Remove(r.report(id)))

		release := r.gate.hold()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				resp, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(ordered), PageSize: 50, Token: page.NextToken})
				if err != nil || resp.Job.JobId != id || resp.Job.State != queued && resp.Job.State != inProgress || len(resp.Entries) != 0 {
					t.Errorf("%v, %v", resp, err)
				}
			})
		}
		wg.Wait()
		release()
		synctest.Wait()
		got, err := os.ReadFile(r.report(id))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the report is another: %v", err)
		}
		next, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(ordered), PageSize: 50, Token: page.NextToken})
		if err != nil || len(next.Entries) != 50 || next.Job.TotalEntries != 200 {
			t.Errorf("%v, %v", next.Job, err)
		}

		// While as many jobs wait as may, it is for later.
		r.ok(os.Remove(r.report(id)))
		release = r.gate.hold()
		r.submit(spec(inTree), queued)
		synctest.Wait()
		r.submit(spec(full), queued)
		if got := r.get(spec(ordered), id, rejected).Job; got.JobId != id || !strings.Contains(got.Reason, "retry later") || got.WaitMs == 0 {
			t.Errorf("%v", got)
		}
		release()
		synctest.Wait()
		r.get(spec(ordered), id, queued)
		synctest.Wait()
		r.get(spec(ordered), id, done)

		// Without its snapshots it cannot be.
		r.ok(os.Remove(r.report(id)))
		r.deleteSnapshot("flat", "new")
		if got := r.get(&o3v1.DiffSpec{Volume: "s3v", Bucket: "flat"}, id, failed).Job; !strings.Contains(got.Reason, "its report is lost, and snapshot new (op ") {
			t.Errorf("%v", got)
		}
	})
}

// TestReportDamaged: what is damaged is refused by its name, never shown, and
// the way out is told.
func TestReportDamaged(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 500, func(t *testing.T, r *rig) {
		id := r.diff(spec()).Job.JobId
		other := r.diff(spec(ordered)).Job.JobId
		good, err := os.ReadFile(r.report(id))
		r.ok(err)
		foreign, err := os.ReadFile(r.report(other))
		r.ok(err)
		flipped := bytes.Clone(good)
		flipped[len(flipped)/3] ^= 1
		newer := bytes.Clone(good)
		newer[11]++
		for what, c := range map[string]struct {
			data []byte
			kind errs.Kind
		}{
			"a bit flipped":  {flipped, errs.Corrupt},
			"cut":            {good[:len(good)-1], errs.Corrupt},
			"empty":          {nil, errs.FormatUnknown},
			"of another job": {foreign, errs.Corrupt},
			"newer":          {newer, errs.FormatTooNew},
		} {
			r.ok(os.WriteFile(r.report(id), c.data, 0o600))
			_, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec()})
			refused(t, what, err, c.kind, id+".diff")
			if c.kind != errs.FormatTooNew && what != "of another job" {
				refused(t, what, err, c.kind, "forget the job and submit it again")
			}
		}
		_, err = r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: spec()})
		r.ok(err)
		if got := r.diff(spec()); len(got.Entries) != 500 {
			t.Errorf("%v", got.Job)
		}
	})
}

// TestLive: a diff against the live bucket says which op that stood at, is not
// touched by what comes later, and is made anew for who submits it after a
// change.
func TestLive(t *testing.T) {
	inBubble(t, snapdiff.Options{}, 10, func(t *testing.T, r *rig) {
		for _, s := range []*o3v1.DiffSpec{spec(toLive), spec(toLive, full, inTree)} {
			n := 10
			if s.Bucket == "tree" {
				n++ // the directory
			}
			id := r.diff(s).Job.JobId
			got := r.get(s, id, done)
			if at := uint64(r.log.machine.Position().Op); len(got.Entries) != n || got.Job.ToOp < at-2 || got.Job.ToOp > at {
				t.Errorf("at op %d: %v", at, got.Job)
			}
			if again := r.submit(s, done); again.JobId != id {
				t.Errorf("nothing has changed: %v", again)
			}
			r.commit(s.Bucket, "later", 1)
			if again := r.get(s, id, done); len(again.Entries) != n {
				t.Errorf("%d entries", len(again.Entries))
			}
			second := r.diff(s)
			if second.Job.JobId == id || len(second.Entries) != n+1 || second.Job.ToOp <= got.Job.ToOp {
				t.Errorf("%v", second.Job)
			}
			// A lost report is not to be had again: the bucket may be another.
			r.ok(os.Remove(r.report(second.Job.JobId)))
			if lost := r.get(s, "", failed).Job; !strings.Contains(lost.Reason, "its report is lost") || lost.JobId != second.Job.JobId {
				t.Errorf("%v", lost)
			}
			if third := r.diff(s); third.Job.JobId == second.Job.JobId || len(third.Entries) != n+1 {
				t.Errorf("%v", third.Job)
			}
		}
	})
}

// TestCleanup: reports are kept for their time, how other jobs ended for an
// interval; then row and file are gone. What is not ours stays.
func TestCleanup(t *testing.T) {
	inBubble(t, snapdiff.Options{KeepReports: 10 * time.Hour, CleanupInterval: time.Hour, MaxChanges: 100}, 10, func(t *testing.T, r *rig) {
		stray := fmt.Sprintf("%016x", 1<<40)
		r.ok(os.WriteFile(r.report(stray), []byte("of a job that nobody knows"), 0o600))
		r.ok(os.WriteFile(r.report("my-own"), []byte("a file of the user"), 0o600))
		kept := r.diff(spec()).Job.JobId
		release := r.gate.hold()
		dropped := r.submit(spec(ordered), queued).JobId
		synctest.Wait()
		_, err := r.CancelDiff(ctx, &o3v1.CancelDiffRequest{Spec: spec(ordered)})
		r.ok(err)
		time.Sleep(30 * time.Minute)
		release()
		synctest.Wait()
		exists := func(id string) bool {
			_, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: spec(), JobId: id})
			if err != nil && errs.KindOf(err) != errs.NoSuchJob {
				t.Error(err)
			}
			return err == nil
		}
		at := 30 * time.Minute
		until := func(when time.Duration) { time.Sleep(when - at); at = when; synctest.Wait() }
		until(90 * time.Minute)
		if !exists(kept) || !exists(dropped) || r.hasReport(stray) || !r.hasReport("my-own") {
			t.Errorf("after one cleanup: %v %v %v %v", exists(kept), exists(dropped), r.hasReport(stray), r.hasReport("my-own"))
		}
		until(150 * time.Minute)
		if exists(dropped) || !exists(kept) {
			t.Errorf("after two: %v %v", exists(dropped), exists(kept))
		}
		r.leads.Store(false) // another node's cleanup
		until(20 * time.Hour)
		if !exists(kept) || !r.hasReport(kept) {
			t.Error("a node that does not lead forgot a job")
		}
		r.leads.Store(true)
		until(22 * time.Hour)
		if exists(kept) || r.hasReport(kept) {
			t.Errorf("after its time: %v, report %v", exists(kept), r.hasReport(kept))
		}
		if got := r.diff(spec()).Job.JobId; got == kept {
			t.Error("the same id")
		}
		r.ok(os.Remove(r.report("my-own")))
		if len(r.troubles) > 0 {
			t.Errorf("troubles: %q", r.troubles)
		}
	})
}

// TestCleanupRace cleans all the time while jobs are made, read, forgotten
// and made again: no report goes that somebody has a right to.
func TestCleanupRace(t *testing.T) {
	inBubble(t, snapdiff.Options{Threads: 2, Queue: 100, CleanupInterval: 24 * time.Hour}, 5, func(t *testing.T, r *rig) {
		var work, clean sync.WaitGroup
		over := make(chan struct{})
		clean.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Microsecond):
				}
				if err := r.Clean(ctx); err != nil {
					t.Error(err)
				}
			}
		})
		for i := range 4 {
			work.Go(func() {
				for n := range 15 {
					s := spec(func(s *o3v1.DiffSpec) { s.Prefix = "dir/new 0000"[:2*i+n%2] })
					resp, err := r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: s})
					r.ok(err)
					for state := resp.Job.State; state != done; {
						got, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: s, JobId: resp.Job.JobId})
						r.ok(err)
						if state = got.Job.State; state == done && len(got.Entries) < 4 {
							t.Errorf("%v: %d entries", s, len(got.Entries))
						}
						time.Sleep(time.Millisecond)
					}
					_, err = r.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: s, JobId: resp.Job.JobId})
					r.ok(err)
				}
			})
		}
		work.Wait()
		close(over)
		clean.Wait()
		files, err := os.ReadDir(r.o.Dir)
		if err != nil || len(files) != 0 {
			t.Errorf("%v, %v", files, err)
		}
	})
}

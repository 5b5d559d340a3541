package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
)

// past is a namespace with snapshots and diffs that follow a plan.
type past struct {
	*rpctest.Memory

	mu       sync.Mutex
	live     []*o3v1.SnapshotInfo
	deleted  []*o3v1.SnapshotInfo
	jobs     []*o3v1.DiffJob
	submits  int
	rejects  bool
	states   []o3v1.DiffState // of the next looks at the job; then DONE
	reason   string
	waitMs   int64
	entries  []string
	page     int
	asked    []*o3v1.GetDiffRequest
	restored []*o3v1.RestoreSnapshotRequest
	pages    []*o3v1.RestoreSnapshotResponse
	broken   error
}

func newPast(t *testing.T) (*past, *client.Client) {
	t.Helper()
	p := &past{Memory: rpctest.NewMemory(), page: 2}
	return p, dial(t, client.Options{}, rpctest.Start(t, p.Memory, rpc.Options{Backend: p}))
}

func (p *past) ListSnapshots(_ context.Context, r *o3v1.ListSnapshotsRequest) (*o3v1.ListSnapshotsResponse, error) {
	out := &o3v1.ListSnapshotsResponse{}
	list := p.live
	if r.Deleted {
		list = p.deleted
	}
	for _, s := range list {
		switch {
		case !r.Deleted && (s.Name <= r.StartAfter || !strings.HasPrefix(s.Name, r.Prefix)), r.Deleted && s.Op <= r.AfterOp:
		case len(out.Snapshots) == p.page:
			out.Truncated = true
		default:
			out.Snapshots = append(out.Snapshots, s)
		}
	}
	return out, nil
}

func (p *past) ListDiffs(_ context.Context, r *o3v1.ListDiffsRequest) (*o3v1.ListDiffsResponse, error) {
	out := &o3v1.ListDiffsResponse{}
	for _, j := range p.jobs {
		switch {
		case j.JobId < r.Token:
		case len(out.Jobs) == p.page:
			out.NextToken = j.JobId
			return out, nil
		default:
			out.Jobs = append(out.Jobs, j)
		}
	}
	return out, nil
}

func (p *past) SubmitDiff(_ context.Context, r *o3v1.SubmitDiffRequest) (*o3v1.SubmitDiffResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.submits++
	if p.rejects {
		return &o3v1.SubmitDiffResponse{Job: p.job(r.Spec, "", o3v1.DiffState_DIFF_STATE_REJECTED)}, nil
	}
	return &o3v1.SubmitDiffResponse{Job: p.job(r.Spec, "7", o3v1.DiffState_DIFF_STATE_QUEUED)}, nil
}

func (p *past) job(spec *o3v1.DiffSpec, id string, state o3v1.DiffState) *o3v1.DiffJob {
	return &o3v1.DiffJob{
		JobId: id, Volume: spec.Volume, Bucket: spec.Bucket, From: spec.From, To: spec.To, State: state, Reason: p.reason, WaitMs: p.waitMs,
	}
}

func (p *past) GetDiff(_ context.Context, r *o3v1.GetDiffRequest) (*o3v1.GetDiffResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r)
	if p.submits == 0 {
		return nil, errs.New(errs.NoSuchJob, "diff", "it was never submitted")
	}
	state := o3v1.DiffState_DIFF_STATE_DONE
	if len(p.states) > 0 {
		state, p.states = p.states[0], p.states[1:]
	}
	out := &o3v1.GetDiffResponse{Job: p.job(r.Spec, "7", state)}
	if state != o3v1.DiffState_DIFF_STATE_DONE {
		return out, nil
	}
	first := 0
	if r.Token != "" {
		if _, err := fmt.Sscan(r.Token, &first); err != nil {
			return nil, errs.New(errs.Invalid, "page token "+r.Token, "is not one")
		}
	}
	n := p.page
	if r.PageSize > 0 {
		n = min(n, int(r.PageSize))
	}
	for _, path := range p.entries[first:min(first+n, len(p.entries))] {
		out.Entries = append(out.Entries, &o3v1.DiffEntry{Type: "+", SourcePath: path})
	}
	if first+n < len(p.entries) {
		out.NextToken = fmt.Sprint(first + n)
	}
	return out, nil
}

func (p *past) RestoreSnapshot(_ context.Context, r *o3v1.RestoreSnapshotRequest) (*o3v1.RestoreSnapshotResponse, error) {
	p.restored = append(p.restored, r)
	if len(p.restored) > len(p.pages) {
		return nil, p.broken
	}
	return p.pages[len(p.restored)-1], nil
}

// TestSnapshotPages: the listings go on where a page ended, and stop when the
// caller does.
func TestSnapshotPages(t *testing.T) {
	p, c := newPast(t)
	for i := range 5 {
		p.live = append(p.live, &o3v1.SnapshotInfo{Name: fmt.Sprintf("s%d", i), Op: uint64(100 - i)})
		p.deleted = append(p.deleted, &o3v1.SnapshotInfo{Name: "same", Op: uint64(10 * (i + 1))})
		p.jobs = append(p.jobs, &o3v1.DiffJob{JobId: fmt.Sprint(i)})
	}
	var got []string
	req := &o3v1.ListSnapshotsRequest{Prefix: "s"}
	for s, err := range c.Snapshots(t.Context(), req) {
		ok(t, err)
		got = append(got, s.Name)
	}
	for s, err := range c.Snapshots(t.Context(), &o3v1.ListSnapshotsRequest{Deleted: true}) {
		ok(t, err)
		got = append(got, fmt.Sprint(s.Op))
	}
	for j, err := range c.Diffs(t.Context(), &o3v1.ListDiffsRequest{}) {
		ok(t, err)
		got = append(got, "job"+j.JobId)
	}
	for j, err := range c.Diffs(t.Context(), &o3v1.ListDiffsRequest{}) {
		ok(t, err)
		got = append(got, j.JobId)
		break
	}
	want := strings.Fields("s0 s1 s2 s3 s4 10 20 30 40 50 job0 job1 job2 job3 job4 0")
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if req.StartAfter != "" {
		t.Error("the caller's request was changed")
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var between = &o3v1.DiffSpec{Volume: "s3v", Bucket: "photos", From: "s1", To: "s2"}

func entriesOf(t *testing.T, c *client.Client, opts client.DiffOptions) ([]string, error) {
	t.Helper()
	var got []string
	for e, err := range c.DiffEntries(t.Context(), between, opts) {
		if err != nil {
			return got, err
		}
		got = append(got, e.SourcePath)
	}
	return got, nil
}

// TestDiffEntries: a diff is submitted once, waited for, and read page by page,
// also when its report is lost half-way.
func TestDiffEntries(t *testing.T) {
	p, c := newPast(t)
	p.entries, p.waitMs = strings.Fields("a b c d e"), 1
	p.states = []o3v1.DiffState{o3v1.DiffState_DIFF_STATE_QUEUED, o3v1.DiffState_DIFF_STATE_IN_PROGRESS}
	var seen []string
	got, err := entriesOf(t, c, client.DiffOptions{Progress: func(j *o3v1.DiffJob) { seen = append(seen, strings.TrimPrefix(j.State.String(), "DIFF_STATE_")) }})
	ok(t, err)
	if !slices.Equal(got, p.entries) || p.submits != 1 || !slices.Equal(seen, []string{"QUEUED", "IN_PROGRESS", "DONE"}) {
		t.Errorf("%v, %d submits, %v", got, p.submits, seen)
	}
	for _, q := range p.asked {
		if q.JobId != "7" {
			t.Errorf("a page of another job was asked for: %v", q)
		}
	}

	got = nil
	for e, err := range c.DiffEntries(t.Context(), between, client.DiffOptions{Attach: true, Token: "1", PageSize: 1}) {
		ok(t, err)
		if got = append(got, e.SourcePath); len(got) == 2 {
			p.mu.Lock()
			p.states = []o3v1.DiffState{o3v1.DiffState_DIFF_STATE_QUEUED}
			p.mu.Unlock()
		}
	}
	if !slices.Equal(got, p.entries[1:]) || p.submits != 1 {
		t.Errorf("%v, %d submits", got, p.submits)
	}

	p.asked = nil
	for range c.DiffEntries(t.Context(), between, client.DiffOptions{}) {
		break
	}
	if len(p.asked) != 1 {
		t.Errorf("%d pages were asked for, one was read", len(p.asked))
	}
	p.asked = nil
	if _, err := entriesOf(t, c, client.DiffOptions{Token: "x"}); errs.KindOf(err) != errs.Invalid {
		t.Error(err)
	}
}

// TestDiffEnds: what ends without a report ends the caller's wait, at once and
// at any page.
func TestDiffEnds(t *testing.T) {
	for _, x := range []struct {
		state  o3v1.DiffState
		kind   errs.Kind
		detail string
	}{
		{o3v1.DiffState_DIFF_STATE_FAILED, errs.Conflict, "FAILED: why"},
		{o3v1.DiffState_DIFF_STATE_CANCELLED, errs.Conflict, "CANCELLED: why"},
		{o3v1.DiffState_DIFF_STATE_REJECTED, errs.SlowDown, "REJECTED: why"},
	} {
		p, c := newPast(t)
		p.entries, p.reason, p.waitMs = strings.Fields("a b c"), "why", time.Hour.Milliseconds()
		p.rejects = x.state == o3v1.DiffState_DIFF_STATE_REJECTED
		p.states = []o3v1.DiffState{x.state}
		_, err := entriesOf(t, c, client.DiffOptions{})
		e, is := errors.AsType[*client.DiffError](err)
		if !is || e.Job.State != x.state || errs.KindOf(err) != x.kind || !strings.HasSuffix(err.Error(), "diff of /s3v/photos from s1 to s2: "+x.detail) {
			t.Errorf("%v: %v", x.state, err)
		}
		p.states = []o3v1.DiffState{x.state}
		if _, err2 := c.WaitDiff(t.Context(), between, nil); err2 == nil || err2.Error() != err.Error() {
			t.Errorf("%v: %v", x.state, err2)
		}
		if p.rejects {
			continue
		}
		p.states = []o3v1.DiffState{o3v1.DiffState_DIFF_STATE_DONE, x.state}
		got, err := entriesOf(t, c, client.DiffOptions{})
		if len(got) != 2 || errs.KindOf(err) != x.kind {
			t.Errorf("%v between pages: %v, %v", x.state, got, err)
		}
	}
	p, c := newPast(t)
	if _, err := entriesOf(t, c, client.DiffOptions{Attach: true}); errs.KindOf(err) != errs.NoSuchJob || p.submits != 0 {
		t.Error(err, p.submits)
	}
	p.states = []o3v1.DiffState{99}
	if _, err := entriesOf(t, c, client.DiffOptions{}); errs.KindOf(err) != errs.NotImplemented {
		t.Error(err)
	}
	// Who leaves does not wait the hour out.
	p.states, p.waitMs = slices.Repeat([]o3v1.DiffState{o3v1.DiffState_DIFF_STATE_QUEUED}, 1000), time.Hour.Milliseconds()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.WaitDiff(ctx, between, func(*o3v1.DiffJob) { cancel() })
	if errs.KindOf(err) != errs.Canceled {
		t.Error(err)
	}
}

// TestRestore: pages are asked for until there are no more, each is told, and
// an error says how far it got.
func TestRestore(t *testing.T) {
	p, c := newPast(t)
	p.broken = errs.New(errs.NoSuchSnapshot, "s1", "")
	p.pages = []*o3v1.RestoreSnapshotResponse{
		{Removed: 1, NextToken: "r"},
		{Restored: 2, Bytes: 10, Unchanged: 3, NextToken: "t", Refused: []*o3v1.RestoreRefusal{{Path: "x"}, {Path: "y"}}},
		{Restored: 4, Bytes: 5, Refused: []*o3v1.RestoreRefusal{{Path: "z"}}},
	}
	var told []string
	tell := func(page *o3v1.RestoreSnapshotResponse) {
		for _, r := range page.Refused {
			told = append(told, r.Path)
		}
		told = append(told, ".")
	}
	req := &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: "photos", Name: "s1", Exact: true}
	sum, refused, err := c.Restore(t.Context(), req, tell)
	ok(t, err)
	if sum.Restored != 6 || sum.Unchanged != 3 || sum.Removed != 1 || sum.Bytes != 15 || len(sum.Refused) != 0 || refused != 3 || strings.Join(told, "") != ".xy.z." {
		t.Errorf("%v, %d, %v", sum, refused, told)
	}
	if req.Token != "" || p.restored[1].Token != "r" || p.restored[2].Token != "t" || !p.restored[2].Exact {
		t.Errorf("%v", p.restored)
	}
	p.restored, p.pages = nil, p.pages[:2]
	sum, refused, err = c.Restore(t.Context(), req, nil)
	if errs.KindOf(err) != errs.NoSuchSnapshot || sum.Restored != 2 || sum.Removed != 1 || refused != 2 {
		t.Errorf("%v, %d, %v", sum, refused, err)
	}
}

// TestWaitsAreBounded: the client asks soon at first, then less and less often,
// and never later than the server says.
func TestWaitsAreBounded(t *testing.T) {
	p, c := newPast(t)
	p.waitMs = 20
	p.states = slices.Repeat([]o3v1.DiffState{o3v1.DiffState_DIFF_STATE_IN_PROGRESS}, 25)
	began := time.Now()
	_, err := c.WaitDiff(t.Context(), between, nil)
	ok(t, err)
	// Waits of 10 ms, 20 ms, 20 ms…; of twice the last each, up to five seconds, they were 85 s.
	if took := time.Since(began); took < 10*time.Millisecond+24*20*time.Millisecond || took > 60*time.Second {
		t.Errorf("25 waits took %v", took)
	}
}

package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
)

// jobs is a namespace with one diff, in the state that a test says.
type jobs struct {
	*rpctest.Memory
	state o3v1.DiffState
	left  int // how often it is still seen waiting
}

func (j *jobs) job(spec *o3v1.DiffSpec) *o3v1.DiffJob {
	out := &o3v1.DiffJob{JobId: "7", Volume: spec.Volume, Bucket: spec.Bucket, From: "s1", FromOp: 1, To: "s2", ToOp: 2, State: j.state, Reason: "why", WaitMs: 60_000, Percent: 12.5, Phase: "SORT_JOIN"}
	if j.left--; j.left >= 0 {
		out.State = o3v1.DiffState_DIFF_STATE_IN_PROGRESS
	}
	return out
}

func (j *jobs) GetSnapshot(_ context.Context, r *o3v1.GetSnapshotRequest) (*o3v1.GetSnapshotResponse, error) {
	return &o3v1.GetSnapshotResponse{Snapshot: &o3v1.SnapshotInfo{Name: r.Name, Op: uint64(r.Name[1] - '0')}}, nil
}

func (j *jobs) SubmitDiff(_ context.Context, r *o3v1.SubmitDiffRequest) (*o3v1.SubmitDiffResponse, error) {
	return &o3v1.SubmitDiffResponse{Job: j.job(r.Spec)}, nil
}

func (j *jobs) GetDiff(_ context.Context, r *o3v1.GetDiffRequest) (*o3v1.GetDiffResponse, error) {
	return &o3v1.GetDiffResponse{Job: j.job(r.Spec)}, nil
}

func (j *jobs) ListDiffs(_ context.Context, r *o3v1.ListDiffsRequest) (*o3v1.ListDiffsResponse, error) {
	return &o3v1.ListDiffsResponse{Jobs: []*o3v1.DiffJob{j.job(&o3v1.DiffSpec{Volume: r.Volume, Bucket: r.Bucket})}}, nil
}

func (j *jobs) CancelDiff(_ context.Context, r *o3v1.CancelDiffRequest) (*o3v1.CancelDiffResponse, error) {
	return &o3v1.CancelDiffResponse{Job: j.job(r.Spec), Message: "the job is already " + stateOf(j.job(r.Spec))}, nil
}

// TestDiffStates: what each state of a diff prints, and the exit code.
func TestDiffStates(t *testing.T) {
	const (
		running   = o3v1.DiffState_DIFF_STATE_IN_PROGRESS
		done      = o3v1.DiffState_DIFF_STATE_DONE
		failed    = o3v1.DiffState_DIFF_STATE_FAILED
		rejected  = o3v1.DiffState_DIFF_STATE_REJECTED
		cancelled = o3v1.DiffState_DIFF_STATE_CANCELLED
	)
	for _, c := range []struct {
		line  string
		state o3v1.DiffState
		left  int
		code  int
		says  string
	}{
		{"diff /v/b s1 s2", running, 0, 0, "Submitted: Diff of /v/b from s1 to s2 is IN_PROGRESS, sort join, 12.5%. Wait for it with --follow"},
		{"diff /v/b s1 s2", rejected, 0, ExitUnavailable, "o3: slow down: diff of /v/b from s1 to s2: REJECTED: why"},
		{"diff /v/b s1 s2 --follow", rejected, 0, ExitUnavailable, "REJECTED: why"},
		{"diff /v/b s1 s2 --follow", failed, 3, ExitPrecondition, "o3: conflict: diff of /v/b from s1 to s2: FAILED: why"},
		{"diff /v/b s1 s2 --follow", cancelled, 3, ExitPrecondition, "CANCELLED: why"},
		{"diff /v/b s1 s2 --follow", done, 3, 0, "Difference between snapshot: s1 and snapshot: s2\n"},
		{"diff /v/b s1 s2 --follow --json", failed, 3, ExitPrecondition, `{"error":{"kind":"conflict","subject":"diff of /v/b from s1 to s2","detail":"FAILED: why"}}`},
		{"diff /v/b s1 s2 -r", running, 0, ExitUnavailable, "Diff of /v/b from s1 to s2 is IN_PROGRESS, sort join, 12.5%; look again in 1m0s.\n"},
		{"diff /v/b s1 s2 -r", failed, 0, ExitPrecondition, "FAILED: why"},
		{"diff /v/b s1 s2 -r --json", running, 0, ExitUnavailable, `"jobStatus":"IN_PROGRESS","waitTimeInMs":60000,"reason":"why","subStatus":"SORT_JOIN","progressPercent":12.5}`},
		{"diff /v/b s1 s2 -r --json", failed, 0, ExitPrecondition, `"jobStatus":"FAILED","waitTimeInMs":60000,"reason":"why"}`},
		{"list-diff /v/b", running, 0, 0, "7    s1    s2  -        IN_PROGRESS             12.5%    -     -        why\n"},
		{"cancel-diff /v/b s1 s2", cancelled, 0, 0, "Diff of /v/b from s1 to s2 is cancelled.\n"},
		{"cancel-diff /v/b --job 7", cancelled, 0, 0, "Diff of /v/b from s1 to s2 is cancelled.\n"},
		{"cancel-diff /v/b --job 7", done, 0, ExitPrecondition, "o3: conflict: job 7: the job is already DONE"},
		{"cancel-diff /v/b s1 s3", running, 0, ExitNotFound, "none waits or runs"},
	} {
		j := &jobs{Memory: rpctest.NewMemory(), state: c.state, left: c.left}
		s := rpctest.Start(t, j.Memory, rpc.Options{Backend: j})
		var out bytes.Buffer
		args := append([]string{"sh", "snapshot"}, strings.Fields(c.line)...)
		args = append(args, "--endpoint", s.URL, "--access-key", rpctest.RootKey, "--secret-key", rpctest.RootSecret)
		if code := Run(t.Context(), args, IO{Stdout: &out, Stderr: &out}, DepsForTest()); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s of one that is %v: exit code %d, want %d:\n%swant\n%s", c.line, c.state, code, c.code, &out, c.says)
		}
	}
}

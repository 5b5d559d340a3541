package cli

import (
	"context"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
)

// The states of diffs that are not over, and of those that are.
var (
	diffsActive = []o3v1.DiffState{o3v1.DiffState_DIFF_STATE_QUEUED, o3v1.DiffState_DIFF_STATE_IN_PROGRESS}
	diffsOver   = []o3v1.DiffState{o3v1.DiffState_DIFF_STATE_DONE, o3v1.DiffState_DIFF_STATE_FAILED, o3v1.DiffState_DIFF_STATE_CANCELLED}
)

type diffList struct {
	Path      string   `arg:"" help:"/volume/bucket"`
	State     []string `placeholder:"STATE,..." aliases:"job-status" xor:"states" help:"Those in these states: queued, in_progress, done, failed, cancelled (default: queued,in_progress)."`
	AllStates bool     `aliases:"all-status" xor:"states" help:"All that are known."`
	Limit     uint64   `placeholder:"N" help:"At most so many; 0 is all."`
}

// states returns what to ask for; none are all.
func (c *diffList) states() ([]o3v1.DiffState, error) {
	if c.AllStates {
		return nil, nil
	}
	if len(c.State) == 0 {
		return diffsActive, nil
	}
	var out []o3v1.DiffState
	for _, word := range c.State {
		name := strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(word), "-", "_"))
		n, ok := o3v1.DiffState_value["DIFF_STATE_"+name]
		if !ok || n == 0 {
			return nil, errs.New(errs.Invalid, "--state "+word, "must be of queued, in_progress, done, failed, cancelled")
		}
		out = append(out, o3v1.DiffState(n))
	}
	return out, nil
}

// Run lists the diffs.
func (c *diffList) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 2)
	if err != nil {
		return err
	}
	states, err := c.states()
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	t := s.table("JOB", "FROM", "TO", "OPTIONS", "STATE", "SUBMITTED", "PERCENT", "LEFT", "ENTRIES", "REASON")
	for j, err := range o3.Diffs(ctx, &o3v1.ListDiffsRequest{Volume: p.volume, Bucket: p.bucket, States: states, Limit: pageOf(c.Limit)}) {
		if err != nil {
			return err
		}
		if c.Limit > 0 && uint64(t.rows) == c.Limit {
			s.remark("There are more: use a larger --limit.")
			break
		}
		if err := t.row(j, diffCells(j)...); err != nil {
			return err
		}
	}
	if t.rows == 0 && len(c.State) == 0 && !c.AllStates {
		s.remark("No diff waits or runs; --all-states shows those that are over.")
	}
	return t.end()
}

// diffCells is a diff as a row.
func diffCells(j *o3v1.DiffJob) []any {
	to, share, left, entries := j.To, "-", "-", any("-")
	if to == "" {
		to = "(live)"
	}
	switch j.State {
	case o3v1.DiffState_DIFF_STATE_IN_PROGRESS:
		share = percentage(j.Percent)
		if j.EtaMs > 0 {
			left = shortTime(j.EtaMs)
		}
	case o3v1.DiffState_DIFF_STATE_DONE:
		share, entries = percentage(100), j.TotalEntries
	}
	return []any{j.JobId, j.From, to, diffFlags(j), stateOf(j), when(j.CreatedMs), share, left, entries, j.Reason}
}

// diffFlags are the options of a diff as flags.
func diffFlags(j *o3v1.DiffJob) string {
	var out []string
	if j.Ordered {
		out = append(out, "--ordered")
	}
	if j.Full {
		out = append(out, "--full")
	}
	if j.Prefix != "" {
		out = append(out, "--prefix="+j.Prefix)
	}
	if len(j.Types) > 0 {
		out = append(out, "--type="+strings.Join(j.Types, ","))
	}
	if out == nil {
		return "-"
	}
	return strings.Join(out, " ")
}

// shortTime shows milliseconds as people do.
func shortTime(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if d >= 10*time.Second {
		d = d.Round(time.Second)
	} else {
		d = d.Round(100 * time.Millisecond)
	}
	return d.String()
}

// diffName names a diff by its pair or by its id.
type diffName struct {
	Path string `arg:"" help:"/volume/bucket"`
	From string `arg:"" optional:"" help:"Name of the snapshot it starts from"`
	To   string `arg:"" optional:"" help:"Name of the snapshot it compares with (default: the live bucket)"`
	Job  string `placeholder:"ID" help:"Id of the diff, instead of the snapshots."`

	diffOptions
}

// id returns the job's id.
func (c *diffName) id(ctx context.Context, o3 *client.Client, p path, states []o3v1.DiffState, absent string) (string, error) {
	switch {
	case c.Job == "" && c.From == "":
		return "", errs.New(errs.Invalid, "no diff", "name the snapshots it compares, or its id with --job")
	case c.Job != "" && (c.From != "" || c.given()):
		return "", errs.New(errs.Invalid, "--job "+c.Job, "says which diff it is; give neither snapshots nor options with it")
	case c.Job != "":
		return c.Job, nil
	}
	j, err := c.findJob(ctx, o3, p, c.From, c.To, states, absent)
	return j.GetJobId(), err
}

type diffCancel struct{ diffName }

// Run stops the diff.
func (c *diffCancel) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	id, err := c.id(ctx, o3, p, diffsActive, "none waits or runs")
	if err != nil {
		return err
	}
	r, err := o3.CancelDiff(ctx, &o3v1.CancelDiffRequest{JobId: id, Spec: &o3v1.DiffSpec{Volume: p.volume, Bucket: p.bucket}})
	if err != nil {
		return err
	}
	if r.Job.State != o3v1.DiffState_DIFF_STATE_CANCELLED {
		return errs.New(errs.Conflict, "job "+id, r.Message)
	}
	return s.done(r.Job, "%s is cancelled.", jobLabel(r.Job))
}

type diffForget struct{ diffName }

// Run drops the diff.
func (c *diffForget) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	id, err := c.id(ctx, o3, p, diffsOver, "none is over; one that waits or runs must be cancelled first")
	if err != nil {
		return err
	}
	r, err := o3.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{JobId: id, Spec: &o3v1.DiffSpec{Volume: p.volume, Bucket: p.bucket}})
	if err != nil {
		return err
	}
	return s.done(r, "Diff %s of /%s/%s and its report are dropped.", id, p.volume, p.bucket)
}

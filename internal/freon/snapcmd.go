package freon

import (
	"context"
	"fmt"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/cli"
	"o3/internal/errs"
)

type snapDiffCmd struct {
	loadFlags
	omFlags
	Changes int  `default:"1000" help:"Keys that each client writes between two snapshots; at most 1000000."`
	Ordered bool `help:"Ask for reports that can be replayed."`
	Full    bool `help:"Have all rows compared."`
	Page    int  `default:"5000" help:"Entries of one page; at most 100000."`
}

// snapOps are the turns that each client takes, over and over.
var snapOps = []string{"write", "snapshot", "diff", "delete"}

// Run runs the load.
func (c *snapDiffCmd) Run(ctx context.Context, s *cli.Session) error {
	if err := checks(&c.loadFlags); err != nil {
		return err
	}
	for flag, v := range map[string][2]int{"--changes": {c.Changes, 1_000_000}, "--page": {c.Page, 100_000}} {
		if v[0] < 1 || v[0] > v[1] {
			return errs.New(errs.Invalid, fmt.Sprintf("%s %d", flag, v[0]), fmt.Sprintf("it must be from 1 to %d", v[1]))
		}
	}
	l, err := newOMLoad(ctx, s, &c.loadFlags, c.omFlags)
	if err != nil {
		return err
	}
	return c.measure(ctx, s, l.about("snapdiff"), job{ops: snapOps, open: func(ctx context.Context, i int) (stepper, error) {
		client := &snapClient{omClient: l.client(i), cmd: c, number: i}
		client.newest, err = client.snapshot(ctx)
		return client, err
	}})
}

// snapClient writes keys of its own, snapshots the bucket, and has it compared
// with its snapshot before.
type snapClient struct {
	*omClient
	cmd            *snapDiffCmd
	number         int
	turn, written  int
	before, newest string // snapshots
}

// step takes one turn. A write is one key.
func (c *snapClient) step(ctx context.Context, _ uint64) (o outcome) {
	o.op = c.turn
	switch snapOps[c.turn] {
	case "write":
		o = c.create(ctx, uint64(c.number)*1_000_000+uint64(c.written))
		o.op = 0
		if c.written++; o.err == nil && c.written < c.cmd.Changes {
			return o
		}
		c.written = 0
	case "snapshot":
		c.before = c.newest
		c.newest, o.err = c.snapshot(ctx)
	case "diff":
		o.items, o.err = c.diff(ctx)
	case "delete":
		o.err = c.limited(ctx, func(ctx context.Context) error {
			_, err := c.o3.DeleteSnapshot(ctx, &o3v1.DeleteSnapshotRequest{Volume: c.where.Volume, Bucket: c.where.Bucket, Name: c.before})
			return err
		})
	}
	if o.err == nil {
		c.turn = (c.turn + 1) % len(snapOps)
	}
	return o
}

func (c *snapClient) snapshot(ctx context.Context) (name string, err error) {
	err = c.limited(ctx, func(ctx context.Context) error {
		r, err := c.o3.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: c.where.Volume, Bucket: c.where.Bucket})
		name = r.GetSnapshot().GetName()
		return err
	})
	return name, err
}

// diff has the last two snapshots compared, reads the whole report and forgets
// it; it returns the number of entries.
func (c *snapClient) diff(ctx context.Context) (entries int64, err error) {
	spec := &o3v1.DiffSpec{
		Volume: c.where.Volume, Bucket: c.where.Bucket, From: c.before, To: c.newest, Ordered: c.cmd.Ordered, Full: c.cmd.Full,
	}
	err = c.limited(ctx, func(ctx context.Context) error {
		if err := c.submit(ctx, spec); err != nil {
			return err
		}
		req := &o3v1.GetDiffRequest{Spec: spec, PageSize: uint32(c.cmd.Page)}
		for {
			r, err := c.o3.GetDiff(ctx, req)
			if err != nil {
				return err
			}
			switch r.Job.State {
			case o3v1.DiffState_DIFF_STATE_QUEUED, o3v1.DiffState_DIFF_STATE_IN_PROGRESS:
				if err := wait(ctx, min(r.Job.WaitMs, 10)); err != nil {
					return err
				}
				continue
			case o3v1.DiffState_DIFF_STATE_DONE:
			default:
				return errs.New(errs.Unavailable, "diff "+r.Job.JobId, r.Job.Reason)
			}
			entries += int64(len(r.Entries))
			if req.Token = r.NextToken; req.Token == "" {
				_, err := c.o3.ForgetDiff(ctx, &o3v1.ForgetDiffRequest{Spec: spec})
				return err
			}
		}
	})
	return entries, err
}

// submit submits a diff until it is taken.
func (c *snapClient) submit(ctx context.Context, spec *o3v1.DiffSpec) error {
	for {
		r, err := c.o3.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: spec})
		if err != nil || r.Job.State != o3v1.DiffState_DIFF_STATE_REJECTED {
			return err
		}
		if err := wait(ctx, 10); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, ms int64) error {
	t := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package cli

import (
	"context"
	"fmt"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// The exit codes of `o3 admin status`, as monitors know them.
const (
	statusGood     = 0
	statusWarning  = 1
	statusCritical = 2
)

// lowDisk is the share of free disk space, in percent, below which status
// warns.
const lowDisk = 10

type statusCmd struct{}

// Help documents the exit codes.
func (c *statusCmd) Help() string {
	return "Exit code 0: all is well. 1: something to look at (a problem the server names, less than 10 % of the disk free). " +
		"2: critical (unreachable, credentials refused, no leader, read-only, blocks damaged or failed). " +
		"The server is asked once, with 5 seconds to answer."
}

// Run shows the state.
func (c *statusCmd) Run(ctx context.Context, s *Session) error {
	o3, err := s.dial(-1)
	if err != nil {
		return c.critical(s, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := o3.Status(ctx, &o3v1.StatusRequest{})
	if err != nil {
		return c.critical(s, err)
	}
	level, reasons := judge(r)
	s.code = level
	fields := []field{{"Status", []string{"good", "WARNING", "CRITICAL"}[level]}}
	for _, reason := range reasons {
		fields = append(fields, field{"Look at", reason})
	}
	b := r.Blocks
	if b == nil {
		b = new(o3v1.BlockStatusResponse)
	}
	up := time.Duration(r.NowMs-r.StartedMs) * time.Millisecond
	fields = append(fields,
		field{"Node", fmt.Sprintf("%s, %s, version %s, up %v", r.NodeId, r.Role, r.Version, up.Round(time.Second))},
		field{"Log", fmt.Sprintf("applied %d of %d, durable %d, first %d, term %d", r.AppliedIndex, r.CommitIndex, r.DurableIndex, r.FirstIndex, r.Term)},
		field{"State", fmt.Sprintf("op %d, digest %s, format %d", r.Op, first(r.Digest, "-"), r.Format)},
		field{"Namespace", fmt.Sprintf("%d volumes, %d buckets, %d keys, %d directories, %s", r.Volumes, r.Buckets, r.Keys, r.Directories, size(r.Bytes))},
		field{"Pending", fmt.Sprintf("%d directories to purge, %d blocks to free", r.PendingDirectories, r.PendingBlockDeletes)},
		field{"Blocks", fmt.Sprintf("%s, %d in %d containers, %s live, %s dead, scrub %s", blockState(b), b.Blocks, b.Containers, size(b.LiveBytes), size(b.DeadBytes), scrubState(b))},
		field{"Disk", fmt.Sprintf("%s free of %s; store %s, log %s", size(r.DiskFreeBytes), size(r.DiskTotalBytes), size(r.StoreDiskBytes), size(r.LogDiskBytes))},
	)
	for _, e := range r.Endpoints {
		fields = append(fields, field{"Endpoint", e})
	}
	return s.describe(r, fields...)
}

// critical reports that there was no status to be had.
func (c *statusCmd) critical(s *Session, err error) error {
	if errs.KindOf(err) == errs.Invalid {
		return err // the command line or the configuration is wrong: that says nothing of the server
	}
	s.finish(err)
	s.code = statusCritical
	return nil
}

// judge says how bad a status is, and why.
func judge(r *o3v1.StatusResponse) (level int, reasons []string) {
	note := func(l int, why string) {
		level = max(level, l)
		reasons = append(reasons, why)
	}
	if r.Leader == 0 {
		note(statusCritical, "no leader is known")
	}
	if r.ReadOnly {
		note(statusCritical, "the node is read-only")
	}
	if r.Blocks.GetFailed() {
		note(statusCritical, "the block store has failed")
	}
	if n := r.Blocks.GetDamaged(); n > 0 {
		note(statusCritical, fmt.Sprintf("%d blocks are damaged: see o3 admin block status", n))
	}
	if r.DiskTotalBytes > 0 && r.DiskFreeBytes < r.DiskTotalBytes/100*lowDisk {
		note(statusWarning, fmt.Sprintf("less than %d %% of the disk is free", lowDisk))
	}
	for _, p := range r.Problems {
		note(statusWarning, p.Name+": "+p.Value)
	}
	return level, reasons
}

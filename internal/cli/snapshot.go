package cli

import (
	"context"
	"fmt"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

type snapshotCmd struct {
	Create     snapshotCreate  `cmd:"" help:"Make a snapshot of a bucket, in an instant."`
	List       snapshotList    `cmd:"" help:"List the snapshots of a bucket."`
	Info       snapshotInfo    `cmd:"" help:"Describe a snapshot, what it shows and what it holds."`
	Rename     snapshotRename  `cmd:"" help:"Give a snapshot another name."`
	Delete     snapshotDelete  `cmd:"" help:"Delete a snapshot; its space is reclaimed in the background."`
	Restore    snapshotRestore `cmd:"" help:"Put back a key, a prefix or the whole bucket as a snapshot has it."`
	Diff       snapshotDiff    `cmd:"" help:"Compare two snapshots, or a snapshot with the live bucket."`
	ListDiff   diffList        `cmd:"" aliases:"listDiff" help:"List the diffs of a bucket that wait or run, or others."`
	CancelDiff diffCancel      `cmd:"" aliases:"cancelDiff" help:"Stop a diff that waits or runs."`
	ForgetDiff diffForget      `cmd:"" aliases:"forgetDiff" help:"Drop a diff that is over, and its report."`
}

type snapshotCreate struct {
	Path string `arg:"" help:"/volume/bucket"`
	Name string `arg:"" optional:"" help:"Name of the snapshot (default: s and the time in UTC)"`
}

// Run creates the snapshot.
func (c *snapshotCreate) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: p.volume, Bucket: p.bucket, Name: c.Name})
	if err != nil {
		return err
	}
	return s.done(r.Snapshot, "Created snapshot %s of /%s/%s.", r.Snapshot.Name, p.volume, p.bucket)
}

type snapshotList struct {
	Path       string `arg:"" help:"/volume/bucket"`
	Prefix     string `help:"Only names that begin so."`
	All        bool   `help:"Also those that are deleted and still being reclaimed."`
	StartAfter string `placeholder:"NAME" help:"Only names after this one."`
	Limit      uint64 `placeholder:"N" help:"At most so many; 0 is all."`
}

// Run lists the snapshots: the live ones, then those being reclaimed.
func (c *snapshotList) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	head := []string{"NAME", "STATE", "CREATED", "KEYS", "DIRECTORIES", "BYTES", "EXCLUSIVE"}
	if c.All {
		head = append(head, "RECLAIMED")
	}
	t := s.table(head...)
	for _, deleted := range []bool{false, true} {
		if deleted && !c.All {
			break
		}
		q := &o3v1.ListSnapshotsRequest{Volume: p.volume, Bucket: p.bucket, Prefix: c.Prefix, Limit: pageOf(c.Limit), Deleted: deleted}
		if !deleted {
			q.StartAfter = c.StartAfter
		}
		for i, err := range o3.Snapshots(ctx, q) {
			if err != nil {
				return err
			}
			if deleted && !strings.HasPrefix(i.Name, c.Prefix) {
				continue
			}
			if c.Limit > 0 && uint64(t.rows) == c.Limit {
				s.remark("There are more: use --start-after or a larger --limit.")
				return t.end()
			}
			if err := t.row(i, c.cells(i)...); err != nil {
				return err
			}
		}
	}
	return t.end()
}

func (c *snapshotList) cells(i *o3v1.SnapshotInfo) []any {
	cells := []any{i.Name, i.State, when(i.CreatedMs), i.UsedKeys, i.UsedDirectories, i.UsedBytes, i.ExclusiveBytes}
	switch {
	case !c.All:
	case i.DeletedMs == 0:
		cells = append(cells, "-")
	default:
		cells = append(cells, percentage(i.ReclaimedPercent))
	}
	return cells
}

// percentage shows a share; it is 100 % only when nothing is left.
func percentage(p float64) string {
	if p < 100 {
		p = min(p, 99.9)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", p), ".0") + "%"
}

type snapshotInfo struct {
	Path string `arg:"" help:"/volume/bucket"`
	Name string `arg:"" help:"Name of the snapshot"`
}

// Run describes the snapshot.
func (c *snapshotInfo) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.GetSnapshot(ctx, &o3v1.GetSnapshotRequest{Volume: p.volume, Bucket: p.bucket, Name: c.Name})
	if err != nil {
		return err
	}
	i := r.Snapshot
	pending := ""
	if i.PendingDirectories > 0 {
		pending = fmt.Sprintf("not exact yet: %d deleted directories are being purged", i.PendingDirectories)
	}
	return s.describe(i,
		field{"Name", i.Name}, field{"Volume", i.Volume}, field{"Bucket", i.Bucket}, field{"State", i.State},
		field{"Snapshot id", i.SnapshotId}, field{"Owner", i.Owner}, field{"Created", when(i.CreatedMs)}, field{"Taken at op", i.Op},
		field{"Keys", i.UsedKeys}, field{"Directories", i.UsedDirectories}, field{"Bytes", i.UsedBytes},
		field{"Exclusive bytes", i.ExclusiveBytes}, field{"Exclusive names", i.ExclusiveNames}, field{"Sizes", pending},
		field{"Read it under", fmt.Sprintf("/%s/%s/.snapshot/%s/", i.Volume, i.Bucket, i.Name)},
	)
}

type snapshotRename struct {
	Path string `arg:"" help:"/volume/bucket"`
	From string `arg:"" name:"old" help:"Name of the snapshot"`
	To   string `arg:"" name:"new" help:"New name"`
}

// Run renames the snapshot.
func (c *snapshotRename) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 2)
	if err != nil {
		return err
	}
	if c.To == "" {
		return errs.New(errs.Invalid, `new name ""`, "may not be empty")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.RenameSnapshot(ctx, &o3v1.RenameSnapshotRequest{Volume: p.volume, Bucket: p.bucket, From: c.From, To: c.To})
	if err != nil {
		return err
	}
	return s.done(r.Snapshot, "Renamed snapshot %s of /%s/%s to %s.", c.From, p.volume, p.bucket, r.Snapshot.Name)
}

type snapshotDelete struct {
	Path string `arg:"" help:"/volume/bucket"`
	Name string `arg:"" help:"Name of the snapshot"`
}

// Run deletes the snapshot.
func (c *snapshotDelete) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.DeleteSnapshot(ctx, &o3v1.DeleteSnapshotRequest{Volume: p.volume, Bucket: p.bucket, Name: c.Name})
	if err != nil {
		return err
	}
	return s.done(r.Snapshot, "Deleted snapshot %s of /%s/%s; %s that only it held is being reclaimed.",
		c.Name, p.volume, p.bucket, size(r.Snapshot.ExclusiveBytes))
}

package snapdiff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/snapdiff/delta"
	"o3/internal/snapdiff/report"
	"o3/internal/view"
)

const (
	queued     = o3v1.DiffState_DIFF_STATE_QUEUED
	inProgress = o3v1.DiffState_DIFF_STATE_IN_PROGRESS
	done       = o3v1.DiffState_DIFF_STATE_DONE
	failed     = o3v1.DiffState_DIFF_STATE_FAILED
	rejected   = o3v1.DiffState_DIFF_STATE_REJECTED
	cancelled  = o3v1.DiffState_DIFF_STATE_CANCELLED
)

// work computes a job, and notes how it ended.
func (s *Service) work(ctx context.Context, j *job) {
	defer s.end(j)
	change := &commandpb.UpdateDiffJob{Expected: []o3v1.DiffState{queued, inProgress}, State: inProgress}
	if _, err := s.update(ctx, j.key, j.id, change); err != nil {
		s.over(ctx, j, err)
		return
	}
	result, pinned, err := s.compute(ctx, j)
	if err != nil {
		s.over(ctx, j, err)
		return
	}
	change = &commandpb.UpdateDiffJob{
		Expected: []o3v1.DiffState{inProgress}, State: done, Entries: result.Counts.Total(), PinnedOp: uint64(pinned),
	}
	info, err := s.update(ctx, j.key, j.id, change)
	if err != nil {
		s.over(ctx, j, err)
		return
	}
	s.finished(Finished{Job: info, Counts: result.Counts, Rows: result.RowsRead, Spill: result.Spilled, Phases: result.Took})
}

// over notes that a job ended without a report, unless somebody ended it or it
// is to go on elsewhere or later. A report that was written stays until it is
// written anew or the job is forgotten: the job may be done all the same.
func (s *Service) over(ctx context.Context, j *job, err error) {
	if ctx.Err() != nil { // cancelled, the node stops, or another leads
		if context.Cause(ctx) == errCancelled {
			s.failed("remove report", s.removeReport(j.id))
		}
		return
	}
	switch kind := errs.KindOf(err); {
	case kind == errs.NoSuchJob || kind == errs.Conflict:
		return // it was forgotten or ended by somebody
	case passes(err):
		s.lose(j)
		return
	}
	change := &commandpb.UpdateDiffJob{Expected: []o3v1.DiffState{queued, inProgress}, State: failed, Reason: reason(err)}
	info, noted := s.update(ctx, j.key, j.id, change)
	switch kind := errs.KindOf(noted); {
	case noted == nil:
		s.finished(Finished{Job: info, Err: err})
	case kind == errs.NoSuchJob || kind == errs.Conflict || ctx.Err() != nil:
	default:
		s.failed("update", noted)
		s.lose(j)
	}
}

// reason is what users are told of a failure. What the system says of a disk is
// no secret, and helps.
func reason(err error) string {
	out := errs.Message(err)
	if what, ok := errors.AsType[syscall.Errno](err); ok {
		out += ": " + what.Error()
	}
	return out
}

func (s *Service) finished(f Finished) {
	if s.o.Listener.Finished != nil {
		s.o.Listener.Finished(f)
	}
}

// update has a job's state changed by the service itself.
func (s *Service) update(ctx context.Context, key schema.DiffJobKey, id uint64, c *commandpb.UpdateDiffJob) (*o3v1.DiffJob, error) {
	c.Key, c.JobId = protoKey(key), id
	reply, err := om.Execute[commandpb.UpdateDiffJobReply](ctx, s.o.Namespace, command.UpdateDiffJob, c)
	return reply.GetJob(), err
}

func protoKey(k schema.DiffJobKey) *commandpb.DiffJobKey {
	return &commandpb.DiffJobKey{BucketId: uint64(k.Bucket), FromOp: uint64(k.From), ToOp: uint64(k.To), Options: k.Options}
}

func (s *Service) reportPath(id uint64) string {
	return filepath.Join(s.o.Dir, command.UploadID(ns.ObjectID(id))+ReportSuffix)
}

// compute writes the report of a job from one consistent state of the store.
func (s *Service) compute(ctx context.Context, j *job) (result delta.Result, pinned ns.Op, err error) {
	state := s.o.Store.Snapshot()
	defer state.Close()
	row, bucket, err := s.describe(state, j)
	if err != nil {
		return result, 0, err
	}
	check := func() error { return s.check(ctx, row) }
	if err := check(); err != nil {
		return result, 0, err
	}
	pos, _, err := fsm.ReadPosition(state)
	if err != nil {
		return result, 0, err
	}
	to := j.key.To
	if to == 0 {
		to, pinned = pos.Op, pos.Op
	}
	scratch, err := os.MkdirTemp(s.o.Dir, scratchPrefix)
	if err != nil {
		return result, 0, errs.Wrap(errs.Internal, "scratch space", err)
	}
	defer func() { s.failed("remove scratch space", os.RemoveAll(scratch)) }()
	out, err := report.NewWriter(s.reportPath(j.id), s.meta(j.key, j.id, pinned))
	if err != nil {
		return result, 0, err
	}
	defer func() { s.failed("close report", out.Close()) }()
	o := delta.Options{
		Reader: state, Bucket: j.key.Bucket, Layout: ns.Layout(bucket.Row.Layout), From: j.key.From, To: to,
		Full: row.Row.Full || s.o.ForceFull, Ordered: row.Row.Ordered, Prefix: row.Row.Prefix, Types: row.Row.Types,
		Dir: scratch, MemoryBytes: s.o.MemoryBytes, MaxKeys: s.o.MaxChanges, Rows: rowsOf(bucket),
		Check: check, Progress: func(phase delta.Phase, n, of int64) { s.progress(j, phase, n, of) }, Sink: out.Add,
	}
	first := delta.JournalScan
	if o.Full || o.From > o.To {
		first = delta.FullScan
	}
	s.progress(j, first, 0, 0)
	if result, err = delta.Compute(ctx, o); err != nil {
		return result, 0, err
	}
	// What was read holds if both snapshots are still there, now that all is read.
	if err := s.o.Namespace.Read(ctx, func(view.View) error { return nil }); err != nil {
		return result, 0, err
	}
	if err := check(); err != nil {
		return result, 0, err
	}
	_, err = out.Finish()
	return result, pinned, err
}

// rowsOf estimates the rows that a full scan reads.
func rowsOf(b view.Bucket) int64 {
	return int64(b.Row.UsedKeys + b.Row.UsedDirectories + b.Row.SnapshotNames)
}

// describe returns a job and its bucket as state has them.
func (s *Service) describe(state kv.Reader, j *job) (view.DiffJob, view.Bucket, error) {
	v := view.New(state)
	found, ok, err := v.DiffJob(j.key)
	if err == nil && (!ok || found.Row.JobId != j.id) {
		err = errs.New(errs.NoSuchJob, command.UploadID(ns.ObjectID(j.id)), "")
	}
	if err != nil {
		return found, view.Bucket{}, err
	}
	b, err := v.Bucket(found.Row.Volume, found.Row.Bucket)
	return found, b, err
}

// check fails once the job is stopped or one of its snapshots is deleted.
func (s *Service) check(ctx context.Context, j view.DiffJob) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	gone, err := s.gone(j.Key)
	if err == nil && gone != 0 {
		err = errs.New(errs.NoSuchSnapshot, side(&j, gone), "it was deleted before the diff was done")
	}
	return err
}

// gone returns the op of a snapshot of the job that is deleted, 0 for none.
func (s *Service) gone(key schema.DiffJobKey) (ns.Op, error) {
	v := view.New(s.o.Store)
	for _, k := range handles(key) {
		live, err := v.IsSnapshot(k.Bucket, k.Op)
		if err != nil || !live {
			return k.Op, err
		}
	}
	return 0, nil
}

// side names a snapshot of a job as it was called when the job was submitted.
func side(j *view.DiffJob, op ns.Op) string {
	name := j.Row.To
	if op == j.Key.From {
		name = j.Row.From
	}
	return fmt.Sprintf("snapshot %s (op %d)", name, op)
}

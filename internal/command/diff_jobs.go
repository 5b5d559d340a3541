package command

import (
	"fmt"
	"slices"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// createDiffJob makes a job QUEUED, unless one that asks for the same is there
// and is not past.
func createDiffJob(t *Tx, c *commandpb.CreateDiffJob) (*commandpb.CreateDiffJobReply, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if err := t.mustLive(b, c.From, ns.Op(c.FromOp)); err != nil {
		return nil, err
	}
	if c.ToOp != 0 {
		if err := t.mustLive(b, c.To, ns.Op(c.ToOp)); err != nil {
			return nil, err
		}
	}
	key := schema.DiffJobKey{Bucket: b.id(), From: ns.Op(c.FromOp), To: ns.Op(c.ToOp), Options: c.Options}
	row, ok, err := schema.DiffJobs.Get(t.w, key)
	if err != nil {
		return nil, err
	}
	reply := &commandpb.CreateDiffJobReply{Key: diffJobKey(key)}
	if ok {
		past, err := Past(t.w, key, row)
		if err != nil {
			return nil, err
		}
		if !past {
			reply.Job, reply.Existed = DiffJobInfo(key, row), true
			return reply, nil
		}
	}
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	row = &schemapb.DiffJob{
		JobId: uint64(id), Volume: c.Volume, Bucket: c.Bucket, From: c.From, To: c.To, Full: c.Full, Ordered: c.Ordered,
		Prefix: c.Prefix, Types: c.Types, State: uint32(o3v1.DiffState_DIFF_STATE_QUEUED), Owner: t.principal, CreatedMs: t.now,
	}
	t.wrote()
	reply.Job = DiffJobInfo(key, row)
	return reply, schema.DiffJobs.Put(t.w, key, row)
}

// mustLive refuses a snapshot that is not live any more.
func (t *Tx) mustLive(b *bucketState, name string, at ns.Op) error {
	_, live, err := schema.Snapshots.Get(t.w, schema.SnapshotKey{Bucket: b.id(), Op: at})
	if err == nil && !live {
		err = errs.New(errs.NoSuchSnapshot, b.path()+"/"+ns.SnapshotPrefix+"/"+name, "it was deleted meanwhile")
	}
	return err
}

// Over reports whether a job in this state has ended without a report.
func Over(s o3v1.DiffState) bool {
	return s == o3v1.DiffState_DIFF_STATE_FAILED || s == o3v1.DiffState_DIFF_STATE_CANCELLED || s == o3v1.DiffState_DIFF_STATE_REJECTED
}

// Past reports whether a job that is there may be asked for anew: it failed or
// was cancelled, or it compared with the live bucket and that has changed since.
func Past(r kv.Reader, k schema.DiffJobKey, row *schemapb.DiffJob) (bool, error) {
	state := o3v1.DiffState(row.State)
	if k.To != 0 || state != o3v1.DiffState_DIFF_STATE_DONE {
		return Over(state), nil
	}
	lower := schema.Journal.Key(schema.JournalKey{Bucket: k.Bucket, Op: ns.Op(row.PinnedOp) + 1})
	_, upper := schema.Journal.InBucket(k.Bucket)
	changed := false
	err := schema.Journal.Scan(r, lower, upper, func(schema.JournalKey, *schemapb.Touch) (bool, error) {
		changed = true
		return false, nil
	})
	return changed, err
}

// updateDiffJob moves a job to another state, if it is in one of those expected.
func updateDiffJob(t *Tx, c *commandpb.UpdateDiffJob) (*commandpb.UpdateDiffJobReply, error) {
	key, row, err := t.diffJob(c.Key, c.JobId)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.Expected, o3v1.DiffState(row.State)) {
		return nil, errs.New(errs.Conflict, "job "+UploadID(ns.ObjectID(row.JobId)),
			fmt.Sprintf("it is %s", StateName(o3v1.DiffState(row.State))))
	}
	row.State, row.Reason = uint32(c.State), c.Reason
	switch c.State {
	case o3v1.DiffState_DIFF_STATE_QUEUED:
		row.StartedMs, row.FinishedMs, row.Entries = 0, 0, 0
	case o3v1.DiffState_DIFF_STATE_IN_PROGRESS:
		row.StartedMs, row.PinnedOp = t.now, c.PinnedOp
	default:
		row.FinishedMs, row.Entries = t.now, c.Entries
		if c.PinnedOp != 0 {
			row.PinnedOp = c.PinnedOp
		}
	}
	t.wrote()
	return &commandpb.UpdateDiffJobReply{Job: DiffJobInfo(key, row)}, schema.DiffJobs.Put(t.w, key, row)
}

// forgetDiffJob drops the row of a job. One that is running must be cancelled
// first.
func forgetDiffJob(t *Tx, c *commandpb.ForgetDiffJob) (*commandpb.ForgetDiffJob, error) {
	key, row, err := t.diffJob(c.Key, c.JobId)
	if err != nil {
		return nil, err
	}
	switch s := o3v1.DiffState(row.State); s {
	case o3v1.DiffState_DIFF_STATE_QUEUED, o3v1.DiffState_DIFF_STATE_IN_PROGRESS:
		return nil, errs.New(errs.Conflict, "job "+UploadID(ns.ObjectID(row.JobId)),
			fmt.Sprintf("it is %s; cancel it first", StateName(s)))
	}
	t.wrote()
	return nil, schema.DiffJobs.Delete(t.w, key)
}

func (t *Tx) diffJob(k *commandpb.DiffJobKey, id uint64) (schema.DiffJobKey, *schemapb.DiffJob, error) {
	key := schema.DiffJobKey{
		Bucket: ns.ObjectID(k.GetBucketId()), From: ns.Op(k.GetFromOp()), To: ns.Op(k.GetToOp()), Options: k.GetOptions(),
	}
	row, ok, err := schema.DiffJobs.Get(t.w, key)
	if err == nil && (!ok || row.JobId != id) {
		err = errs.New(errs.NoSuchJob, UploadID(ns.ObjectID(id)), "")
	}
	return key, row, err
}

// dropDiffJobs drops the jobs of a bucket that is going away.
func (t *Tx) dropDiffJobs(b *bucketState) error {
	var found []schema.DiffJobKey
	lower, upper := schema.DiffJobs.InBucket(b.id())
	err := schema.DiffJobs.Scan(t.w, lower, upper, func(k schema.DiffJobKey, _ *schemapb.DiffJob) (bool, error) {
		found = append(found, k)
		return true, nil
	})
	for _, k := range found {
		if err == nil {
			err = schema.DiffJobs.Delete(t.w, k)
		}
	}
	return err
}

func diffJobKey(k schema.DiffJobKey) *commandpb.DiffJobKey {
	return &commandpb.DiffJobKey{BucketId: uint64(k.Bucket), FromOp: uint64(k.From), ToOp: uint64(k.To), Options: k.Options}
}

// StateName returns the state of a job as users see it.
func StateName(s o3v1.DiffState) string { return s.String()[len("DIFF_STATE_"):] }

// DiffJobInfo describes a job as it is stored.
func DiffJobInfo(k schema.DiffJobKey, r *schemapb.DiffJob) *o3v1.DiffJob {
	to := uint64(k.To)
	if to == 0 {
		to = r.PinnedOp
	}
	return &o3v1.DiffJob{
		JobId: UploadID(ns.ObjectID(r.JobId)), Volume: r.Volume, Bucket: r.Bucket, From: r.From, To: r.To,
		Full: r.Full, Ordered: r.Ordered, Prefix: r.Prefix, Types: r.Types,
		State: o3v1.DiffState(r.State), Reason: r.Reason, Owner: r.Owner,
		CreatedMs: r.CreatedMs, StartedMs: r.StartedMs, FinishedMs: r.FinishedMs, TotalEntries: r.Entries,
		FromOp: uint64(k.From), ToOp: to,
	}
}

package view

import (
	"bytes"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Snapshot is a live snapshot of a bucket.
type Snapshot struct {
	Op  ns.Op
	Row *schemapb.Snapshot
}

// Snapshot returns the live snapshot of b with this name. Kind NoSuchSnapshot:
// there is none.
func (v View) Snapshot(b Bucket, name string) (Snapshot, error) {
	at, ok, err := schema.SnapshotNames.Get(v.r, schema.SnapshotNameKey{Bucket: b.ID(), Name: name})
	if err != nil {
		return Snapshot{}, err
	}
	if ok {
		row, ok, err := schema.Snapshots.Get(v.r, schema.SnapshotKey{Bucket: b.ID(), Op: ns.Op(at.Op)})
		if ok || err != nil {
			return Snapshot{ns.Op(at.Op), row}, err
		}
	}
	return Snapshot{}, errs.New(errs.NoSuchSnapshot, b.VolumeName+"/"+b.Name+"/"+ns.SnapshotPrefix+"/"+name, "")
}

// IsSnapshot reports whether op is that of a live snapshot of b.
func (v View) IsSnapshot(bucket ns.ObjectID, op ns.Op) (bool, error) {
	_, ok, err := schema.Snapshots.Get(v.r, schema.SnapshotKey{Bucket: bucket, Op: op})
	return ok, err
}

// SnapshotInfo describes a live snapshot of b.
func (v View) SnapshotInfo(b Bucket, s Snapshot) (*o3v1.SnapshotInfo, error) {
	row, _, err := schema.Buckets.Get(v.r, schema.BucketKey{Volume: ns.ObjectID(b.Volume.ObjectId), Name: b.Name})
	if err != nil || row == nil {
		row = b.Row
	}
	alone, err := command.Exclusive(v.r, b.ID(), s.Op)
	return command.SnapshotInfo(b.VolumeName, b.Name, row, s.Op, s.Row, alone), err
}

// Snapshots returns up to limit live snapshots of b, in the order of SnapshotNames, whose
// names start with prefix and follow after.
func (v View) Snapshots(b Bucket, prefix, after string, limit int) (out []*o3v1.SnapshotInfo, more bool, err error) {
	err = v.SnapshotNames(b, prefix, after, func(name string, at ns.Op) (bool, error) {
		if more = len(out) == limit; more {
			return false, nil
		}
		s, err := v.Snapshot(b, name)
		if err != nil {
			return false, err
		}
		info, err := v.SnapshotInfo(b, s)
		out = append(out, info)
		return true, err
	})
	return out, more, err
}

// SnapshotNames calls f with the name and op of each live snapshot of b, in the
// order of the paths into them, whose name starts with prefix and follows after, until f returns false.
func (v View) SnapshotNames(b Bucket, prefix, after string, f func(name string, at ns.Op) (bool, error)) error {
	lower, upper := schema.SnapshotsNamed(b.ID(), prefix)
	if after != "" {
		next := append(schema.SnapshotNames.Key(schema.SnapshotNameKey{Bucket: b.ID(), Name: after}), 0)
		if bytes.Compare(next, lower) > 0 {
			lower = next
		}
	}
	return schema.SnapshotNames.Scan(v.r, lower, upper, func(k schema.SnapshotNameKey, n *schemapb.SnapshotName) (bool, error) {
		return f(k.Name, ns.Op(n.Op))
	})
}

// DeletedSnapshots returns up to limit snapshots of b that are being reclaimed,
// the oldest first, that were made after op after.
func (v View) DeletedSnapshots(b Bucket, after ns.Op, limit int) (out []*o3v1.SnapshotInfo, more bool, err error) {
	_, upper := schema.Reclaims.InBucket(b.ID())
	lower := schema.Reclaims.Key(schema.SnapshotKey{Bucket: b.ID(), Op: after + 1})
	err = schema.Reclaims.Scan(v.r, lower, upper, func(k schema.SnapshotKey, r *schemapb.Reclaim) (bool, error) {
		if more = len(out) == limit; more {
			return false, nil
		}
		out = append(out, command.ReclaimInfo(b.Row, k.Op, r))
		return true, nil
	})
	return out, more, err
}

// Counters returns the store-wide tally.
func (v View) Counters() (*schemapb.Counters, error) {
	row, ok, err := schema.Counters.Get(v.r, schema.CountersKey)
	if !ok {
		row = &schemapb.Counters{}
	}
	return row, err
}

// DiffJob is a snapshot diff and its key.
type DiffJob struct {
	Key schema.DiffJobKey
	Row *schemapb.DiffJob
}

// Info describes the job as it is stored.
func (j DiffJob) Info() *o3v1.DiffJob { return command.DiffJobInfo(j.Key, j.Row) }

// IsPast reports whether the job may be asked for anew.
func (v View) IsPast(j DiffJob) (bool, error) { return command.Past(v.r, j.Key, j.Row) }

// DiffJobs calls f with every diff job from key on, of one bucket or (bucket 0)
// of all, until f returns false.
func (v View) DiffJobs(bucket ns.ObjectID, from schema.DiffJobKey, f func(DiffJob) (bool, error)) error {
	lower, upper := schema.DiffJobs.All()
	if bucket != 0 {
		lower, upper = schema.DiffJobs.InBucket(bucket)
	}
	if from != (schema.DiffJobKey{}) {
		lower = schema.DiffJobs.Key(from)
	}
	return schema.DiffJobs.Scan(v.r, lower, upper, func(k schema.DiffJobKey, r *schemapb.DiffJob) (bool, error) {
		return f(DiffJob{k, r})
	})
}

// DiffJob returns the job that compares what key says.
func (v View) DiffJob(key schema.DiffJobKey) (DiffJob, bool, error) {
	row, ok, err := schema.DiffJobs.Get(v.r, key)
	return DiffJob{key, row}, ok, err
}

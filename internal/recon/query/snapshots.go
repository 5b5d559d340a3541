package query

import (
	"bytes"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// Snapshot is one of a bucket, and what it holds.
type Snapshot struct {
	Volume             string  `json:"volume"`
	Bucket             string  `json:"bucket"`
	Name               string  `json:"name"`
	SnapshotID         string  `json:"snapshotId"`
	Op                 string  `json:"op" doc:"the point in time"`
	State              string  `json:"state" enum:"ACTIVE,DELETED" doc:"DELETED: its rows are being dropped"`
	CreationTime       int64   `json:"creationTime"`
	DeletionTime       int64   `json:"deletionTime" doc:"0: it is not deleted"`
	Owner              string  `json:"owner"`
	UsedBytes          int64   `json:"usedBytes" doc:"what the bucket held then"`
	UsedKeys           int64   `json:"usedKeys"`
	UsedDirectories    int64   `json:"usedDirectories"`
	ExclusiveBytes     int64   `json:"exclusiveBytes" doc:"what only it holds: what deleting it would free"`
	ExclusiveNames     int64   `json:"exclusiveNames"`
	PendingDirectories int64   `json:"pendingDirectories" doc:"deleted directories of the bucket still to be purged: until there are none, sizes are not exact"`
	ReclaimedPercent   float64 `json:"reclaimedPercent" doc:"of a deleted one"`
}

func snapshotOf(i *o3v1.SnapshotInfo) Snapshot {
	return Snapshot{
		i.Volume, i.Bucket, i.Name, i.SnapshotId, id(ns.ObjectID(i.Op)), i.State, i.CreatedMs, i.DeletedMs, i.Owner,
		int64(i.UsedBytes), int64(i.UsedKeys), int64(i.UsedDirectories), int64(i.ExclusiveBytes), int64(i.ExclusiveNames),
		int64(i.PendingDirectories), i.ReclaimedPercent,
	}
}

// SnapshotsResponse answers /snapshots.
type SnapshotsResponse struct {
	Fresh
	Snapshots []Snapshot `json:"snapshots"`
	Cursor    string     `json:"cursor" doc:"of the next page; empty: there is none"`
}

// SnapshotsOptions says which snapshots are asked for.
type SnapshotsOptions struct {
	Volume, Bucket string
	Page
}

// Snapshots lists live snapshots by bucket and age, then the deleted ones that are
// being reclaimed. Buckets come in the order of their ids.
func Snapshots(v *generation.View, o SnapshotsOptions) (SnapshotsResponse, error) {
	r := SnapshotsResponse{Snapshots: []Snapshot{}}
	b, one, err := oneBucket(v, o.Volume, o.Bucket)
	if err != nil {
		return r, err
	}
	table, after, err := snapshotCursor(o.After)
	if err != nil {
		return r, err
	}
	l := snapshotList{v: v, o: o, r: &r, n: newNames(v), left: o.rows()}
	if one {
		l.only = b.ID()
	}
	if table == "live" {
		more, err := l.live(after)
		if err != nil || !more {
			return r, err
		}
		after = nil
	}
	return r, l.deleted(after)
}

// snapshotCursor reads /live/bucket id/op or /deleted/bucket id/op.
func snapshotCursor(s string) (table string, after *schema.SnapshotKey, err error) {
	if s == "" {
		return "live", nil, nil
	}
	for _, table := range []string{"live", "deleted"} {
		rest, ok := strings.CutPrefix(s, "/"+table)
		if !ok {
			continue
		}
		bucket, rest, ok := takeNumber(rest)
		op, rest, good := takeNumber(rest)
		if ok && good && rest == "" {
			return table, &schema.SnapshotKey{Bucket: ns.ObjectID(bucket), Op: ns.Op(op)}, nil
		}
	}
	return "", nil, badCursor("cursor", s, "/live/bucket id/op or /deleted/bucket id/op")
}

// snapshotList is a call of Snapshots.
type snapshotList struct {
	v    *generation.View
	o    SnapshotsOptions
	r    *SnapshotsResponse
	n    *names
	only ns.ObjectID // bucket; 0: any
	left int
	last schema.SnapshotKey

	bucket view.Bucket // of the row before
}

// full reports whether the page ends, before a row of a table.
func (l *snapshotList) full(table string) bool {
	if len(l.r.Snapshots) < l.o.limit() && l.left > 0 {
		l.left--
		return false
	}
	l.r.Cursor = "/" + table + "/" + id(l.last.Bucket) + "/" + id(ns.ObjectID(l.last.Op))
	return true
}

// bounds returns those of a table's rows.
func (l *snapshotList) bounds(inBucket func(ns.ObjectID) ([]byte, []byte), all func() ([]byte, []byte), key func(schema.SnapshotKey) []byte, after *schema.SnapshotKey) (lower, upper []byte) {
	lower, upper = all()
	if l.only != 0 {
		lower, upper = inBucket(l.only)
	}
	if after != nil {
		if next := append(key(*after), 0); bytes.Compare(next, lower) > 0 {
			lower = next
		}
	}
	return lower, upper
}

// of returns the bucket of a row, if it is wanted.
func (l *snapshotList) of(k schema.SnapshotKey) (b view.Bucket, ok bool, err error) {
	if l.bucket.Row == nil || l.bucket.ID() != k.Bucket {
		volume, name, err := l.n.title(k.Bucket)
		if err != nil || volume == "" || l.o.Volume != "" && volume != l.o.Volume {
			return b, false, err
		}
		if l.bucket, err = l.v.Bucket(volume, name); err != nil {
			return b, false, err
		}
	}
	return l.bucket, true, nil
}

func (l *snapshotList) live(after *schema.SnapshotKey) (more bool, err error) {
	t := schema.Snapshots
	lower, upper := l.bounds(t.InBucket, t.All, t.Key, after)
	more = true
	if after != nil {
		l.last = *after
	}
	if bytes.Compare(lower, upper) >= 0 {
		return true, nil
	}
	err = t.Scan(l.v.Rows, lower, upper, func(k schema.SnapshotKey, row *schemapb.Snapshot) (bool, error) {
		if more = !l.full("live"); !more {
			return false, nil
		}
		l.last = k
		b, ok, err := l.of(k)
		if err != nil || !ok {
			return err == nil, err
		}
		info, err := l.v.SnapshotInfo(b, view.Snapshot{Op: k.Op, Row: row})
		if err == nil {
			l.r.Snapshots = append(l.r.Snapshots, snapshotOf(info))
		}
		return true, err
	})
	return more, err
}

func (l *snapshotList) deleted(after *schema.SnapshotKey) error {
	t := schema.Reclaims
	lower, upper := l.bounds(t.InBucket, t.All, t.Key, after)
	l.last = schema.SnapshotKey{Bucket: l.only}
	if after != nil {
		l.last = *after
	}
	if bytes.Compare(lower, upper) >= 0 {
		return nil
	}
	return t.Scan(l.v.Rows, lower, upper, func(k schema.SnapshotKey, row *schemapb.Reclaim) (bool, error) {
		if l.full("deleted") {
			return false, nil
		}
		l.last = k
		b, ok, err := l.of(k)
		if err != nil || !ok {
			return err == nil, err
		}
		l.r.Snapshots = append(l.r.Snapshots, snapshotOf(command.ReclaimInfo(b.Row, k.Op, row)))
		return true, nil
	})
}

// SnapshotSpace is what the snapshots of a bucket hold.
type SnapshotSpace struct {
	Volume    string `json:"volume"`
	Bucket    string `json:"bucket"`
	HeldBytes int64  `json:"heldBytes" doc:"of keys that only snapshots still have"`
	HeldNames int64  `json:"heldNames"`
	Snapshots int64  `json:"snapshots" doc:"live ones"`
	Deleted   int64  `json:"deleted" doc:"deleted ones that are being reclaimed"`
}

// SnapshotSpaceResponse answers /snapshots/buckets.
type SnapshotSpaceResponse struct {
	Fresh
	Buckets []SnapshotSpace `json:"buckets"`
	Cursor  string          `json:"cursor" doc:"of the next page; empty: there is none"`
}

// SnapshotSpaces lists the buckets that have snapshots, in the order of their ids.
func SnapshotSpaces(v *generation.View, p Page) (SnapshotSpaceResponse, error) {
	r := SnapshotSpaceResponse{Buckets: []SnapshotSpace{}}
	var after, last ns.ObjectID
	if p.After != "" {
		x, rest, ok := takeNumber(p.After)
		if !ok || rest != "" {
			return r, badCursor("cursor", p.After, "/bucket id")
		}
		after = ns.ObjectID(x)
	}
	n := newNames(v)
	err := task.SnapshotSpaces(v.Derived, after, func(bucket ns.ObjectID, h task.Held) (bool, error) {
		if len(r.Buckets) >= p.limit() {
			r.Cursor = "/" + id(last)
			return false, nil
		}
		last = bucket
		volume, name, err := n.title(bucket)
		r.Buckets = append(r.Buckets, SnapshotSpace{volume, name, h.Bytes, h.Names, h.Snapshots, h.Deleted})
		return true, err
	})
	return r, err
}

package command

import (
	"fmt"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// volumeState is a volume's row, kept decoded for the length of a batch.
type volumeState struct {
	name  string
	row   *schemapb.Volume
	dirty bool
}

// bucketState is a bucket's row, kept decoded for the length of a batch.
type bucketState struct {
	key    schema.BucketKey
	volume *volumeState
	row    *schemapb.Bucket
	dirty  bool
	gap    gap
}

func (b *bucketState) id() ns.ObjectID { return ns.ObjectID(b.row.ObjectId) }
func (b *bucketState) fso() bool       { return ns.Layout(b.row.Layout) == ns.FileSystem }
func (b *bucketState) path() string    { return b.volume.name + "/" + b.key.Name }

func (t *Tx) volume(name string) (*volumeState, error) {
	if v, ok := t.volumes[name]; ok {
		return v, nil
	}
	row, ok, err := schema.Volumes.Get(t.w, name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errs.New(errs.NoSuchVolume, name, "")
	}
	v := &volumeState{name: name, row: row}
	t.volumes[name] = v
	return v, nil
}

// bucket returns the bucket a request names; one made anew since the leader
// looked is refused.
func (t *Tx) bucket(volume, name string) (*bucketState, error) {
	b, err := t.anyBucket(volume, name)
	if err != nil {
		return nil, err
	}
	if t.bucketID != 0 && b.row.ObjectId != t.bucketID {
		return nil, errs.New(errs.Conflict, b.path(), "the bucket was made anew meanwhile; look again and retry")
	}
	return b, nil
}

// anyBucket returns the bucket of that name, whichever it is.
func (t *Tx) anyBucket(volume, name string) (*bucketState, error) {
	v, err := t.volume(volume)
	if err != nil {
		return nil, err
	}
	key := schema.BucketKey{Volume: ns.ObjectID(v.row.ObjectId), Name: name}
	if b, ok := t.buckets[key]; ok {
		return b, nil
	}
	row, ok, err := schema.Buckets.Get(t.w, key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errs.New(errs.NoSuchBucket, volume+"/"+name, "")
	}
	b := &bucketState{key: key, volume: v, row: row}
	t.buckets[key] = b
	return b, nil
}

// usage is a change of a bucket's counters.
type usage struct {
	bytes, keys, dirs, uploadBytes, uploads, openKeys, pendingDirs int64
	heldBytes, heldNames                                           int64 // by snapshots alone
}

// room refuses a change that a quota of the bucket or its volume forbids. A
// change that frees on balance is always allowed.
func (t *Tx) room(b *bucketState, u usage) error {
	bytes, names := u.bytes+u.uploadBytes+u.heldBytes, u.keys+u.dirs+u.heldNames
	row, v := b.row, b.volume.row
	for _, q := range []struct {
		subject, unit string
		quota, used   uint64
		delta         int64
	}{
		{"bucket " + b.path(), "bytes", row.QuotaBytes, row.UsedBytes + row.UploadBytes + row.SnapshotBytes, bytes},
		{"bucket " + b.path(), "names", row.QuotaNames, row.UsedKeys + row.UsedDirectories + row.SnapshotNames, names},
		{"volume " + b.volume.name, "bytes", v.QuotaBytes, v.UsedBytes, bytes},
		{"volume " + b.volume.name, "names", v.QuotaNames, v.UsedNames, names},
	} {
		if q.quota != 0 && q.delta > 0 && q.used+uint64(q.delta) > q.quota {
			return errs.New(errs.QuotaExceeded, q.subject,
				fmt.Sprintf("%d of %d %s are used, the request needs %d more", q.used, q.quota, q.unit, q.delta))
		}
	}
	return nil
}

// charge applies a change to the counters of the bucket and its volume. A
// volume's used bytes count everything its buckets' quotas count.
func (t *Tx) charge(b *bucketState, u usage) {
	row, v := b.row, b.volume.row
	add(&row.UsedBytes, u.bytes)
	add(&row.UsedKeys, u.keys)
	add(&row.UsedDirectories, u.dirs)
	add(&row.UploadBytes, u.uploadBytes)
	add(&row.Uploads, u.uploads)
	add(&row.OpenKeys, u.openKeys)
	add(&row.PendingDirectories, u.pendingDirs)
	add(&row.SnapshotBytes, u.heldBytes)
	add(&row.SnapshotNames, u.heldNames)
	add(&v.UsedBytes, u.bytes+u.uploadBytes+u.heldBytes)
	add(&v.UsedNames, u.keys+u.dirs+u.heldNames)
	b.dirty, b.volume.dirty = true, true
	t.wrote()
}

func add(counter *uint64, delta int64) { *counter += uint64(delta) }

package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

func createBucket(t *Tx, c *o3v1.CreateBucketRequest) (*o3v1.CreateBucketResponse, error) {
	if err := ns.CheckBucketName("bucket", c.Bucket); err != nil {
		return nil, err
	}
	layout, ok := ns.ParseLayout(c.Layout)
	if !ok {
		return nil, errs.New(errs.Invalid, fmt.Sprintf("layout %q", c.Layout),
			"must be OBJECT_STORE or FILE_SYSTEM_OPTIMIZED")
	}
	v, err := t.volume(c.Volume)
	if err != nil {
		return nil, err
	}
	owner := orElse(c.Owner, t.principal)
	if b, err := t.anyBucket(c.Volume, c.Bucket); err == nil {
		kind := errs.BucketExists
		if b.row.Owner == owner {
			kind = errs.BucketOwnedByYou
		}
		return nil, errs.New(kind, c.Volume+"/"+c.Bucket, "")
	} else if errs.KindOf(err) != errs.NoSuchBucket {
		return nil, err
	}
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	row := &schemapb.Bucket{
		ObjectId: uint64(id), Since: uint64(t.op), Layout: uint32(layout), Owner: owner,
		CreatedMs: t.now, ModifiedMs: t.now,
		QuotaBytes: c.QuotaBytes, QuotaNames: c.QuotaNames, Grants: c.Grants, Tags: c.Tags,
	}
	key := schema.BucketKey{Volume: ns.ObjectID(v.row.ObjectId), Name: c.Bucket}
	t.buckets[key] = &bucketState{key: key, volume: v, row: row, dirty: true}
	v.row.Buckets++
	v.dirty = true
	t.wrote()
	return &o3v1.CreateBucketResponse{Bucket: BucketInfo(c.Volume, c.Bucket, row)}, nil
}

func updateBucket(t *Tx, c *o3v1.UpdateBucketRequest) (*o3v1.UpdateBucketResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	row := b.row
	if c.Owner != nil {
		row.Owner = *c.Owner
	}
	if c.QuotaBytes != nil {
		row.QuotaBytes = *c.QuotaBytes
	}
	if c.QuotaNames != nil {
		row.QuotaNames = *c.QuotaNames
	}
	if c.SetGrants {
		row.Grants = c.Grants
	}
	if c.SetTags {
		row.Tags = c.Tags
	}
	row.ModifiedMs, row.Since = t.now, uint64(t.op)
	b.dirty = true
	t.wrote()
	return &o3v1.UpdateBucketResponse{Bucket: BucketInfo(c.Volume, c.Bucket, row)}, nil
}

// deleteBucket refuses while anything of the bucket is left: keys, directories,
// uploads, subtrees being purged, snapshots and what they hold.
func deleteBucket(t *Tx, c *o3v1.DeleteBucketRequest) (*o3v1.DeleteBucketResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	row := b.row
	for _, left := range []struct {
		n    uint64
		what string
	}{
		{row.LiveSnapshots, "snapshots"},
		{row.PendingDirectories, "deleted directories that are still being purged; retry soon"},
		{row.UsedKeys, "keys"},
		{row.UsedDirectories, "directories"},
		{row.Uploads, "multipart uploads"},
		{row.Reclaims, "deleted snapshots that are still being reclaimed; retry soon"},
	} {
		if left.n > 0 {
			return nil, errs.New(errs.NotEmpty, b.path(), fmt.Sprintf("the bucket has %d %s", left.n, left.what))
		}
	}
	if err := t.dropOpenKeys(b); err != nil {
		return nil, err
	}
	if err := t.dropDiffJobs(b); err != nil {
		return nil, err
	}
	if err := t.forgetLifecycle(b); err != nil {
		return nil, err
	}
	b.volume.row.Buckets--
	b.volume.dirty = true
	delete(t.buckets, b.key)
	t.wrote()
	return &o3v1.DeleteBucketResponse{}, schema.Buckets.Delete(t.w, b.key)
}

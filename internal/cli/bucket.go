package cli

import (
	"context"
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
)

type bucketCmd struct {
	Create bucketCreate `cmd:"" help:"Create a bucket."`
	List   bucketList   `cmd:"" help:"List the buckets of a volume."`
	Info   bucketInfo   `cmd:"" help:"Describe a bucket and its usage."`
	Update bucketUpdate `cmd:"" help:"Change owner, quotas, grants or tags of a bucket."`
	Delete bucketDelete `cmd:"" help:"Delete an empty bucket."`

	Lifecycle bucketLifecycle `cmd:"" help:"The rules by which keys of a bucket expire."`
}

type bucketCreate struct {
	Path       string            `arg:"" help:"/volume/bucket"`
	Layout     string            `placeholder:"LAYOUT" help:"OBJECT_STORE (flat names) or FILE_SYSTEM_OPTIMIZED (a tree with atomic rename); default: as the server is configured."`
	Owner      string            `placeholder:"USER" help:"Owner (default: you)."`
	QuotaBytes Bytes             `placeholder:"SIZE" help:"Most bytes of all its keys; 0 is no limit."`
	QuotaNames uint64            `placeholder:"N" help:"Most keys and directories; 0 is no limit."`
	Grant      Grants            `placeholder:"USER:PERMISSION,..." help:"Who else may do what; * is everybody."`
	Tag        map[string]string `placeholder:"NAME=VALUE" help:"Tags."`
}

// Run creates the bucket.
func (c *bucketCreate) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 2)
	if err != nil {
		return err
	}
	layout := c.Layout
	if layout != "" {
		l, ok := ns.ParseLayout(layout)
		if !ok {
			return errs.New(errs.Invalid, "--layout "+layout, "must be OBJECT_STORE (OBS) or FILE_SYSTEM_OPTIMIZED (FSO)")
		}
		layout = l.String()
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.CreateBucket(ctx, &o3v1.CreateBucketRequest{
		Volume: p.volume, Bucket: p.bucket, Layout: layout, Owner: c.Owner,
		QuotaBytes: uint64(c.QuotaBytes), QuotaNames: c.QuotaNames, Grants: c.Grant.list, Tags: pairs(c.Tag),
	})
	if err != nil {
		return err
	}
	return s.done(r.Bucket, "Created bucket /%s/%s, layout %s.", p.volume, p.bucket, r.Bucket.Layout)
}

type bucketList struct {
	Path       string `arg:"" help:"/volume"`
	Prefix     string `help:"Only names that begin so."`
	StartAfter string `placeholder:"NAME" help:"Only names after this one."`
	Limit      uint64 `placeholder:"N" help:"At most so many; 0 is all."`
}

// Run lists the buckets.
func (c *bucketList) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 1)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	t := s.table("NAME", "LAYOUT", "OWNER", "KEYS", "DIRECTORIES", "BYTES", "CREATED")
	for b, err := range o3.Buckets(ctx, &o3v1.ListBucketsRequest{Volume: p.volume, Prefix: c.Prefix, StartAfter: c.StartAfter, Limit: pageOf(c.Limit)}) {
		if err != nil {
			return err
		}
		if c.Limit > 0 && uint64(t.rows) == c.Limit {
			s.remark("There are more: use --start-after or a larger --limit.")
			break
		}
		if err := t.row(b, b.Name, b.Layout, b.Owner, b.UsedKeys, b.UsedDirectories, b.UsedBytes, when(b.CreatedMs)); err != nil {
			return err
		}
	}
	return t.end()
}

type bucketInfo struct {
	Path string `arg:"" help:"/volume/bucket"`
}

// Run describes the bucket.
func (c *bucketInfo) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 2)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.GetBucket(ctx, &o3v1.GetBucketRequest{Volume: p.volume, Bucket: p.bucket})
	if err != nil {
		return err
	}
	b := r.Bucket
	return s.describe(b,
		field{"Name", b.Name}, field{"Volume", b.Volume}, field{"Layout", b.Layout}, field{"Owner", b.Owner},
		field{"Object id", b.ObjectId}, field{"Created", when(b.CreatedMs)}, field{"Modified", when(b.ModifiedMs)},
		field{"Keys", b.UsedKeys}, field{"Directories", b.UsedDirectories}, field{"Bytes", b.UsedBytes},
		field{"Unfinished uploads", size(b.UploadBytes)}, field{"Deleted directories pending", b.PendingDirectories},
		field{"Snapshots", b.Snapshots}, field{"Held by snapshots alone", fmt.Sprintf("%s, %d names", size(b.SnapshotBytes), b.SnapshotNames)},
		field{"Snapshots being reclaimed", b.Reclaims},
		field{"Quota of bytes", quota(size(b.QuotaBytes), b.QuotaBytes)}, field{"Quota of names", quota(b.QuotaNames, b.QuotaNames)},
		field{"Grants", showGrants(b.Grants)}, field{"Tags", showPairs(b.Tags)},
	)
}

type bucketUpdate struct {
	Path       string            `arg:"" help:"/volume/bucket"`
	Owner      *string           `placeholder:"USER" help:"New owner."`
	QuotaBytes *Bytes            `placeholder:"SIZE" help:"Most bytes; 0 is no limit."`
	QuotaNames *uint64           `placeholder:"N" help:"Most keys and directories; 0 is no limit."`
	Grant      Grants            `placeholder:"USER:PERMISSION,..." help:"Replaces all grants; '' takes them away."`
	Tag        map[string]string `placeholder:"NAME=VALUE" help:"Replaces all tags." xor:"tags"`
	NoTags     bool              `help:"Take all tags away." xor:"tags"`
}

// Run changes the bucket.
func (c *bucketUpdate) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 2)
	if err != nil {
		return err
	}
	tags := len(c.Tag) > 0 || c.NoTags
	if c.Owner == nil && c.QuotaBytes == nil && c.QuotaNames == nil && !c.Grant.set && !tags {
		return nothingToChange("--owner, --quota-bytes, --quota-names, --grant, --tag or --no-tags")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.UpdateBucket(ctx, &o3v1.UpdateBucketRequest{
		Volume: p.volume, Bucket: p.bucket, Owner: c.Owner, QuotaBytes: (*uint64)(c.QuotaBytes), QuotaNames: c.QuotaNames,
		SetGrants: c.Grant.set, Grants: c.Grant.list, SetTags: tags, Tags: pairs(c.Tag),
	})
	if err != nil {
		return err
	}
	return s.done(r.Bucket, "Updated bucket /%s/%s.", p.volume, p.bucket)
}

func nothingToChange(flags string) error {
	return errs.New(errs.Invalid, "nothing to change", "give "+flags)
}

type bucketDelete struct {
	Path string `arg:"" help:"/volume/bucket"`
}

// Run deletes the bucket.
func (c *bucketDelete) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 2)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.DeleteBucket(ctx, &o3v1.DeleteBucketRequest{Volume: p.volume, Bucket: p.bucket})
	if err != nil {
		return err
	}
	return s.done(r, "Deleted bucket /%s/%s.", p.volume, p.bucket)
}

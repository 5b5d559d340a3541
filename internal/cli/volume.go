package cli

import (
	"context"

	o3v1 "o3/api/o3/v1"
)

type shCmd struct {
	Volume   volumeCmd   `cmd:"" help:"Volumes hold buckets."`
	Bucket   bucketCmd   `cmd:"" help:"Buckets hold keys."`
	Key      keyCmd      `cmd:"" help:"Keys are named bytes."`
	Snapshot snapshotCmd `cmd:"" help:"Snapshots keep a bucket as it was."`
}

type volumeCmd struct {
	Create volumeCreate `cmd:"" help:"Create a volume."`
	List   volumeList   `cmd:"" help:"List the volumes."`
	Info   volumeInfo   `cmd:"" help:"Describe a volume."`
	Update volumeUpdate `cmd:"" help:"Change owner, quotas or grants of a volume."`
	Delete volumeDelete `cmd:"" help:"Delete an empty volume."`
}

type volumeCreate struct {
	Path       string `arg:"" help:"/volume"`
	Owner      string `placeholder:"USER" help:"Owner (default: you)."`
	QuotaBytes Bytes  `placeholder:"SIZE" help:"Most bytes of all its keys; 0 is no limit."`
	QuotaNames uint64 `placeholder:"N" help:"Most keys and directories; 0 is no limit."`
	Grant      Grants `placeholder:"USER:PERMISSION,..." help:"Who else may do what; * is everybody."`
}

// Run creates the volume.
func (c *volumeCreate) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 1)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.CreateVolume(ctx, &o3v1.CreateVolumeRequest{
		Volume: p.volume, Owner: c.Owner, QuotaBytes: uint64(c.QuotaBytes), QuotaNames: c.QuotaNames, Grants: c.Grant.list,
	})
	if err != nil {
		return err
	}
	return s.done(r.Volume, "Created volume /%s.", r.Volume.Name)
}

type volumeList struct {
	Prefix     string `help:"Only names that begin so."`
	StartAfter string `placeholder:"NAME" help:"Only names after this one."`
	Limit      uint64 `placeholder:"N" help:"At most so many; 0 is all."`
}

// Run lists the volumes.
func (c *volumeList) Run(ctx context.Context, s *Session) error {
	o3, err := s.Client()
	if err != nil {
		return err
	}
	t := s.table("NAME", "OWNER", "BUCKETS", "NAMES", "BYTES", "CREATED")
	for v, err := range o3.Volumes(ctx, &o3v1.ListVolumesRequest{Prefix: c.Prefix, StartAfter: c.StartAfter, Limit: pageOf(c.Limit)}) {
		if err != nil {
			return err
		}
		if c.Limit > 0 && uint64(t.rows) == c.Limit {
			s.remark("There are more: use --start-after or a larger --limit.")
			break
		}
		if err := t.row(v, v.Name, v.Owner, v.Buckets, v.UsedNames, v.UsedBytes, when(v.CreatedMs)); err != nil {
			return err
		}
	}
	return t.end()
}

// pageOf returns the page size for a listing of limit lines and one more, so
// that the end is known.
func pageOf(limit uint64) uint32 {
	if limit == 0 || limit >= 1000 {
		return 0
	}
	return uint32(limit) + 1
}

type volumeInfo struct {
	Path string `arg:"" help:"/volume"`
}

// Run describes the volume.
func (c *volumeInfo) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 1)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.GetVolume(ctx, &o3v1.GetVolumeRequest{Volume: p.volume})
	if err != nil {
		return err
	}
	v := r.Volume
	return s.describe(v,
		field{"Name", v.Name}, field{"Owner", v.Owner}, field{"Object id", v.ObjectId},
		field{"Created", when(v.CreatedMs)}, field{"Modified", when(v.ModifiedMs)},
		field{"Buckets", v.Buckets}, field{"Names", v.UsedNames}, field{"Bytes", v.UsedBytes},
		field{"Quota of bytes", quota(size(v.QuotaBytes), v.QuotaBytes)}, field{"Quota of names", quota(v.QuotaNames, v.QuotaNames)},
		field{"Grants", showGrants(v.Grants)},
	)
}

type volumeUpdate struct {
	Path       string  `arg:"" help:"/volume"`
	Owner      *string `placeholder:"USER" help:"New owner."`
	QuotaBytes *Bytes  `placeholder:"SIZE" help:"Most bytes; 0 is no limit."`
	QuotaNames *uint64 `placeholder:"N" help:"Most keys and directories; 0 is no limit."`
	Grant      Grants  `placeholder:"USER:PERMISSION,..." help:"Replaces all grants; '' takes them away."`
}

// Run changes the volume.
func (c *volumeUpdate) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 1)
	if err != nil {
		return err
	}
	if c.Owner == nil && c.QuotaBytes == nil && c.QuotaNames == nil && !c.Grant.set {
		return nothingToChange("--owner, --quota-bytes, --quota-names or --grant")
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.UpdateVolume(ctx, &o3v1.UpdateVolumeRequest{
		Volume: p.volume, Owner: c.Owner, QuotaBytes: (*uint64)(c.QuotaBytes), QuotaNames: c.QuotaNames,
		SetGrants: c.Grant.set, Grants: c.Grant.list,
	})
	if err != nil {
		return err
	}
	return s.done(r.Volume, "Updated volume /%s.", r.Volume.Name)
}

type volumeDelete struct {
	Path string `arg:"" help:"/volume"`
}

// Run deletes the volume.
func (c *volumeDelete) Run(ctx context.Context, s *Session) error {
	p, err := parsePath(c.Path, 1)
	if err != nil {
		return err
	}
	o3, err := s.Client()
	if err != nil {
		return err
	}
	r, err := o3.DeleteVolume(ctx, &o3v1.DeleteVolumeRequest{Volume: p.volume})
	if err != nil {
		return err
	}
	return s.done(r, "Deleted volume /%s.", p.volume)
}

package om

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// CreateVolume makes a volume. Admins only.
func (s *Service) CreateVolume(ctx context.Context, r *o3v1.CreateVolumeRequest) (*o3v1.CreateVolumeResponse, error) {
	if err := requireAdmin(ctx, "create volume "+r.Volume); err != nil {
		return nil, err
	}
	if err := checkGrants(r.Grants); err != nil {
		return nil, err
	}
	return propose[o3v1.CreateVolumeResponse](ctx, s, request{kind: command.CreateVolume, body: r, stamp: r.Stamp})
}

// GetVolume describes a volume to those who have any permission on it.
func (s *Service) GetVolume(ctx context.Context, r *o3v1.GetVolumeRequest) (*o3v1.GetVolumeResponse, error) {
	resp := &o3v1.GetVolumeResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		row, err := v.Volume(r.Volume)
		if err != nil {
			return err
		}
		if !seesVolume(ctx, row) {
			return denied(access.FromContext(ctx), "volume "+r.Volume, "lacks READ")
		}
		resp.Volume = command.VolumeInfo(r.Volume, row)
		return nil
	})
}

func seesVolume(ctx context.Context, row *schemapb.Volume) bool {
	p := access.FromContext(ctx)
	for _, need := range []o3v1.Permission{read, list, create, write} {
		if access.Allowed(p, need, ofVolume(row)) {
			return true
		}
	}
	return false
}

// ListVolumes lists the volumes that the caller has any permission on.
func (s *Service) ListVolumes(ctx context.Context, r *o3v1.ListVolumesRequest) (*o3v1.ListVolumesResponse, error) {
	resp := &o3v1.ListVolumesResponse{}
	return resp, s.read(ctx, func(v view.View) (err error) {
		keep := func(row *schemapb.Volume) bool { return seesVolume(ctx, row) }
		resp.Volumes, resp.Truncated, err = v.Volumes(r.Prefix, r.StartAfter, limit(r.Limit, 10_000), keep)
		return err
	})
}

// UpdateVolume changes owner, quotas and grants. Quotas and owners are an
// admin's to change, grants also the owner's.
func (s *Service) UpdateVolume(ctx context.Context, r *o3v1.UpdateVolumeRequest) (*o3v1.UpdateVolumeResponse, error) {
	p := access.FromContext(ctx)
	if r.Owner != nil || r.QuotaBytes != nil || r.QuotaNames != nil {
		if err := requireAdmin(ctx, "change owner or quota of volume "+r.Volume); err != nil {
			return nil, err
		}
	}
	if err := checkGrants(r.Grants); err != nil {
		return nil, err
	}
	err := s.peek(func(v view.View) error {
		row, err := v.Volume(r.Volume)
		if err == nil && !access.Allowed(p, control, ofVolume(row)) {
			err = denied(p, "volume "+r.Volume, "lacks ALL")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return propose[o3v1.UpdateVolumeResponse](ctx, s, request{kind: command.UpdateVolume, body: r, stamp: r.Stamp})
}

// DeleteVolume deletes an empty volume. Admins only.
func (s *Service) DeleteVolume(ctx context.Context, r *o3v1.DeleteVolumeRequest) (*o3v1.DeleteVolumeResponse, error) {
	if err := requireAdmin(ctx, "delete volume "+r.Volume); err != nil {
		return nil, err
	}
	return propose[o3v1.DeleteVolumeResponse](ctx, s, request{kind: command.DeleteVolume, body: r, stamp: r.Stamp})
}

// CreateBucket makes a bucket in a volume the caller may create in.
func (s *Service) CreateBucket(ctx context.Context, r *o3v1.CreateBucketRequest) (*o3v1.CreateBucketResponse, error) {
	p := access.FromContext(ctx)
	if r.Owner != "" && r.Owner != p.User || r.QuotaBytes != 0 || r.QuotaNames != 0 {
		if err := requireAdmin(ctx, "set owner or quota of bucket "+r.Bucket); err != nil {
			return nil, err
		}
	}
	if err := checkGrants(r.Grants); err != nil {
		return nil, err
	}
	err := s.peek(func(v view.View) error {
		row, err := v.Volume(r.Volume)
		if err == nil && (p.Anonymous() || !access.Allowed(p, create, ofVolume(row))) {
			err = denied(p, "volume "+r.Volume, "lacks CREATE")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.Layout == "" {
		r.Layout = s.o.DefaultLayout.String()
	}
	return propose[o3v1.CreateBucketResponse](ctx, s, request{kind: command.CreateBucket, body: r, stamp: r.Stamp})
}

// GetBucket describes a bucket to those who have any permission on it.
func (s *Service) GetBucket(ctx context.Context, r *o3v1.GetBucketRequest) (*o3v1.GetBucketResponse, error) {
	resp := &o3v1.GetBucketResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := v.Bucket(r.Volume, r.Bucket)
		if err != nil {
			return err
		}
		if !seesBucket(ctx, b) {
			return denied(access.FromContext(ctx), "bucket "+r.Bucket, "lacks READ")
		}
		resp.Bucket = b.Info()
		return nil
	})
}

func seesBucket(ctx context.Context, b view.Bucket) bool {
	p := access.FromContext(ctx)
	for _, need := range []o3v1.Permission{read, list, write, remove} {
		if access.Allowed(p, need, ofVolume(b.Volume), ofBucket(b)) {
			return true
		}
	}
	return false
}

// ListBuckets lists a volume's buckets: all of them to those who may list the
// volume, with Owned those the caller has any permission on.
func (s *Service) ListBuckets(ctx context.Context, r *o3v1.ListBucketsRequest) (*o3v1.ListBucketsResponse, error) {
	p := access.FromContext(ctx)
	if p.Anonymous() {
		return nil, denied(p, "list buckets of volume "+r.Volume, "sign the request")
	}
	resp := &o3v1.ListBucketsResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		vol, err := v.Volume(r.Volume)
		if err != nil {
			return err
		}
		all := access.Allowed(p, list, ofVolume(vol))
		if !all && !r.Owned {
			return denied(p, "volume "+r.Volume, "lacks LIST")
		}
		keep := func(row *schemapb.Bucket) bool {
			return all || seesBucket(ctx, view.Bucket{VolumeName: r.Volume, Volume: vol, Row: row})
		}
		resp.Buckets, resp.Truncated, err = v.Buckets(r.Volume, r.Prefix, r.StartAfter, limit(r.Limit, 10_000), keep)
		return err
	})
}

// UpdateBucket changes owner, quotas, grants and tags. Owner and quotas are an
// admin's or the volume owner's to change.
func (s *Service) UpdateBucket(ctx context.Context, r *o3v1.UpdateBucketRequest) (*o3v1.UpdateBucketResponse, error) {
	p := access.FromContext(ctx)
	if err := checkGrants(r.Grants); err != nil {
		return nil, err
	}
	if r.Owner != nil && *r.Owner == "" {
		return nil, errs.New(errs.Invalid, "owner", "may not be empty")
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, control)
	if err != nil {
		return nil, err
	}
	if r.Owner != nil || r.QuotaBytes != nil || r.QuotaNames != nil {
		err := s.peek(func(v view.View) error {
			vol, err := v.Volume(r.Volume)
			if err == nil && !access.Allowed(p, control, ofVolume(vol)) {
				err = denied(p, "owner or quota of bucket "+r.Bucket, "needs the role admin or ALL on the volume")
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return propose[o3v1.UpdateBucketResponse](ctx, s, request{command.UpdateBucket, r, r.Stamp, id})
}

// DeleteBucket deletes an empty bucket.
func (s *Service) DeleteBucket(ctx context.Context, r *o3v1.DeleteBucketRequest) (*o3v1.DeleteBucketResponse, error) {
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, control)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.DeleteBucketResponse](ctx, s, request{command.DeleteBucket, r, r.Stamp, id})
}

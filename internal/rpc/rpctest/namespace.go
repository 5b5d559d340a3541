package rpctest

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
)

// CreateVolume implements o3v1connect.OMHandler.
func (m *Memory) CreateVolume(ctx context.Context, q *o3v1.CreateVolumeRequest) (*o3v1.CreateVolumeResponse, error) {
	return write(ctx, m, "CreateVolume", q.Stamp, true, func() (*o3v1.CreateVolumeResponse, error) {
		if err := ns.CheckBucketName("volume", q.Volume); err != nil {
			return nil, err
		}
		if m.volumes[q.Volume] != nil {
			return nil, errs.New(errs.VolumeExists, q.Volume, "")
		}
		v := &o3v1.VolumeInfo{
			Name: q.Volume, ObjectId: m.next(), Owner: orCaller(ctx, q.Owner), CreatedMs: now(), ModifiedMs: now(),
			QuotaBytes: q.QuotaBytes, QuotaNames: q.QuotaNames, Grants: q.Grants,
		}
		m.volumes[q.Volume] = v
		return &o3v1.CreateVolumeResponse{Volume: v}, nil
	})
}

func orCaller(ctx context.Context, owner string) string {
	if owner == "" {
		return access.FromContext(ctx).User
	}
	return owner
}

// GetVolume implements o3v1connect.OMHandler.
func (m *Memory) GetVolume(_ context.Context, q *o3v1.GetVolumeRequest) (*o3v1.GetVolumeResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, err := m.volume(q.Volume)
	if err != nil {
		return nil, err
	}
	return &o3v1.GetVolumeResponse{Volume: proto.CloneOf(v)}, nil
}

// ListVolumes implements o3v1connect.OMHandler.
func (m *Memory) ListVolumes(_ context.Context, q *o3v1.ListVolumesRequest) (*o3v1.ListVolumesResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := new(o3v1.ListVolumesResponse)
	names, more := page(m.volumes, q.Prefix, q.StartAfter, q.Limit)
	for _, name := range names {
		v, err := m.volume(name)
		if err != nil {
			return nil, err
		}
		r.Volumes = append(r.Volumes, proto.CloneOf(v))
	}
	r.Truncated = more
	return r, nil
}

// UpdateVolume implements o3v1connect.OMHandler.
func (m *Memory) UpdateVolume(ctx context.Context, q *o3v1.UpdateVolumeRequest) (*o3v1.UpdateVolumeResponse, error) {
	return write(ctx, m, "UpdateVolume", q.Stamp, true, func() (*o3v1.UpdateVolumeResponse, error) {
		v, err := m.volume(q.Volume)
		if err != nil {
			return nil, err
		}
		if q.Owner != nil {
			v.Owner = *q.Owner
		}
		if q.QuotaBytes != nil {
			v.QuotaBytes = *q.QuotaBytes
		}
		if q.QuotaNames != nil {
			v.QuotaNames = *q.QuotaNames
		}
		if q.SetGrants {
			v.Grants = q.Grants
		}
		v.ModifiedMs = now()
		return &o3v1.UpdateVolumeResponse{Volume: v}, nil
	})
}

// DeleteVolume implements o3v1connect.OMHandler.
func (m *Memory) DeleteVolume(ctx context.Context, q *o3v1.DeleteVolumeRequest) (*o3v1.DeleteVolumeResponse, error) {
	return write(ctx, m, "DeleteVolume", q.Stamp, true, func() (*o3v1.DeleteVolumeResponse, error) {
		v, err := m.volume(q.Volume)
		if err != nil {
			return nil, err
		}
		if v.Buckets > 0 {
			return nil, errs.New(errs.NotEmpty, q.Volume, "the volume holds buckets")
		}
		delete(m.volumes, q.Volume)
		return &o3v1.DeleteVolumeResponse{}, nil
	})
}

// CreateBucket implements o3v1connect.OMHandler.
func (m *Memory) CreateBucket(ctx context.Context, q *o3v1.CreateBucketRequest) (*o3v1.CreateBucketResponse, error) {
	return write(ctx, m, "CreateBucket", q.Stamp, false, func() (*o3v1.CreateBucketResponse, error) {
		if err := ns.CheckBucketName("bucket", q.Bucket); err != nil {
			return nil, err
		}
		if _, err := m.volume(q.Volume); err != nil {
			return nil, err
		}
		at := q.Volume + "/" + q.Bucket
		if m.buckets[at] != nil {
			return nil, errs.New(errs.BucketOwnedByYou, at, "")
		}
		layout := q.Layout
		if layout == "" {
			layout = ns.FileSystem.String()
		}
		if _, ok := ns.ParseLayout(layout); !ok {
			return nil, errs.New(errs.Invalid, "layout "+layout, "must be OBJECT_STORE or FILE_SYSTEM_OPTIMIZED")
		}
		m.buckets[at] = &bucket{keys: map[string]*object{}, info: &o3v1.BucketInfo{
			Volume: q.Volume, Name: q.Bucket, ObjectId: m.next(), Layout: layout, Owner: orCaller(ctx, q.Owner), CreatedMs: now(),
			ModifiedMs: now(), QuotaBytes: q.QuotaBytes, QuotaNames: q.QuotaNames, Grants: q.Grants, Tags: q.Tags,
		}}
		return &o3v1.CreateBucketResponse{Bucket: m.buckets[at].info}, nil
	})
}

// GetBucket implements o3v1connect.OMHandler.
func (m *Memory) GetBucket(_ context.Context, q *o3v1.GetBucketRequest) (*o3v1.GetBucketResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.bucket(q.Volume, q.Bucket)
	if err != nil {
		return nil, err
	}
	return &o3v1.GetBucketResponse{Bucket: proto.CloneOf(b.info)}, nil
}

// ListBuckets implements o3v1connect.OMHandler.
func (m *Memory) ListBuckets(_ context.Context, q *o3v1.ListBucketsRequest) (*o3v1.ListBucketsResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.volume(q.Volume); err != nil {
		return nil, err
	}
	mine := map[string]*bucket{}
	for at, b := range m.buckets {
		if name, ok := strings.CutPrefix(at, q.Volume+"/"); ok {
			b.count()
			mine[name] = b
		}
	}
	r := new(o3v1.ListBucketsResponse)
	names, more := page(mine, q.Prefix, q.StartAfter, q.Limit)
	for _, name := range names {
		r.Buckets = append(r.Buckets, proto.CloneOf(mine[name].info))
	}
	r.Truncated = more
	return r, nil
}

// UpdateBucket implements o3v1connect.OMHandler.
func (m *Memory) UpdateBucket(ctx context.Context, q *o3v1.UpdateBucketRequest) (*o3v1.UpdateBucketResponse, error) {
	return write(ctx, m, "UpdateBucket", q.Stamp, false, func() (*o3v1.UpdateBucketResponse, error) {
		b, err := m.bucket(q.Volume, q.Bucket)
		if err != nil {
			return nil, err
		}
		if q.Owner != nil {
			b.info.Owner = *q.Owner
		}
		if q.QuotaBytes != nil {
			b.info.QuotaBytes = *q.QuotaBytes
		}
		if q.QuotaNames != nil {
			b.info.QuotaNames = *q.QuotaNames
		}
		if q.SetGrants {
			b.info.Grants = q.Grants
		}
		if q.SetTags {
			b.info.Tags = q.Tags
		}
		b.info.ModifiedMs = now()
		return &o3v1.UpdateBucketResponse{Bucket: b.info}, nil
	})
}

// DeleteBucket implements o3v1connect.OMHandler.
func (m *Memory) DeleteBucket(ctx context.Context, q *o3v1.DeleteBucketRequest) (*o3v1.DeleteBucketResponse, error) {
	return write(ctx, m, "DeleteBucket", q.Stamp, false, func() (*o3v1.DeleteBucketResponse, error) {
		b, err := m.bucket(q.Volume, q.Bucket)
		if err != nil {
			return nil, err
		}
		if len(b.keys) > 0 {
			return nil, errs.New(errs.NotEmpty, q.Volume+"/"+q.Bucket, "the bucket holds keys")
		}
		delete(m.buckets, q.Volume+"/"+q.Bucket)
		return &o3v1.DeleteBucketResponse{}, nil
	})
}

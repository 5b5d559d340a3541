package om

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/ns"
	"o3/internal/view"
)

// CreateSnapshot makes a snapshot of a bucket. Its owner and admins only.
func (s *Service) CreateSnapshot(ctx context.Context, r *o3v1.CreateSnapshotRequest) (*o3v1.CreateSnapshotResponse, error) {
	id, err := s.mayKeep(ctx, r.Stamp, r.Volume, r.Bucket, control)
	if err != nil {
		return nil, err
	}
	r.MaxTotal = uint64(s.o.MaxSnapshots)
	return propose[o3v1.CreateSnapshotResponse](ctx, s, request{command.CreateSnapshot, r, r.Stamp, id})
}

// RenameSnapshot gives a snapshot another name. The bucket's owner and admins
// only.
func (s *Service) RenameSnapshot(ctx context.Context, r *o3v1.RenameSnapshotRequest) (*o3v1.RenameSnapshotResponse, error) {
	id, err := s.mayKeep(ctx, r.Stamp, r.Volume, r.Bucket, control)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.RenameSnapshotResponse](ctx, s, request{command.RenameSnapshot, r, r.Stamp, id})
}

// DeleteSnapshot deletes a snapshot; its space is reclaimed in the background.
// The bucket's owner and admins only.
func (s *Service) DeleteSnapshot(ctx context.Context, r *o3v1.DeleteSnapshotRequest) (*o3v1.DeleteSnapshotResponse, error) {
	id, err := s.mayKeep(ctx, r.Stamp, r.Volume, r.Bucket, control)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.DeleteSnapshotResponse](ctx, s, request{command.DeleteSnapshot, r, r.Stamp, id})
}

// GetSnapshot describes a live snapshot.
func (s *Service) GetSnapshot(ctx context.Context, r *o3v1.GetSnapshotRequest) (*o3v1.GetSnapshotResponse, error) {
	resp := &o3v1.GetSnapshotResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := s.Readable(ctx, r.Volume, r.Bucket)
		if err != nil {
			return err
		}
		at, err := v.Snapshot(b, r.Name)
		if err != nil {
			return err
		}
		resp.Snapshot, err = v.SnapshotInfo(b, at)
		return err
	})
}

// ListSnapshots lists a bucket's snapshots: the live ones in the order of the
// paths into them, or those that are being reclaimed, the oldest first.
func (s *Service) ListSnapshots(ctx context.Context, r *o3v1.ListSnapshotsRequest) (*o3v1.ListSnapshotsResponse, error) {
	resp := &o3v1.ListSnapshotsResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := s.Readable(ctx, r.Volume, r.Bucket)
		if err != nil {
			return err
		}
		n := limit(r.Limit, 10_000)
		if r.Deleted {
			resp.Snapshots, resp.Truncated, err = v.DeletedSnapshots(b, ns.Op(r.AfterOp), n)
		} else {
			resp.Snapshots, resp.Truncated, err = v.Snapshots(b, r.Prefix, r.StartAfter, n)
		}
		return err
	})
}

// Readable returns a bucket whose snapshots the caller of ctx may see and
// compare: who may read it, and is known. Whatever is granted to everybody,
// strangers do not make the node work.
func (s *Service) Readable(ctx context.Context, volume, bucket string) (view.Bucket, error) {
	if err := mustBeKnown(ctx, "snapshots of "+volume+"/"+bucket); err != nil {
		return view.Bucket{}, err
	}
	return s.bucketFor(ctx, volume, bucket, read)
}

// mayKeep is mayWrite, for calls about snapshots.
func (s *Service) mayKeep(ctx context.Context, stamp *o3v1.Stamp, volume, bucket string, need o3v1.Permission) (ns.ObjectID, error) {
	if err := mustBeKnown(ctx, "snapshots of "+volume+"/"+bucket); err != nil {
		return 0, err
	}
	id, _, err := s.mayWrite(ctx, stamp, volume, bucket, need)
	return id, err
}

func mustBeKnown(ctx context.Context, act string) error {
	if p := access.FromContext(ctx); p.Anonymous() {
		return denied(p, act, "needs a signature")
	}
	return nil
}

// Controls refuses a caller who is neither the bucket's owner nor an admin, nor
// has all permissions on it.
func (s *Service) Controls(ctx context.Context, volume, bucket string) error {
	_, err := s.bucketFor(ctx, volume, bucket, control)
	return err
}

// Read calls f with a view of everything that was applied when Read was called.
func (s *Service) Read(ctx context.Context, f func(view.View) error) error { return s.read(ctx, f) }

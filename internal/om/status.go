package om

import (
	"context"
	"errors"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// Status describes the node at one glance. Admins only.
func (s *Service) Status(ctx context.Context, _ *o3v1.StatusRequest) (*o3v1.StatusResponse, error) {
	if err := requireAdmin(ctx, "status"); err != nil {
		return nil, err
	}
	resp := &o3v1.StatusResponse{Format: schema.Format}
	if err := s.count(resp); err != nil {
		return nil, err
	}
	if s.o.Blocks != nil {
		resp.Blocks = s.o.Blocks.BlockStatus()
	}
	if s.o.ReadOnly != nil {
		if why := s.o.ReadOnly(); why != "" {
			resp.ReadOnly = true
			resp.Problems = append(resp.Problems, &o3v1.Pair{Name: "read-only", Value: why})
		}
	}
	if s.o.Status != nil {
		s.o.Status(ctx, resp)
	}
	return resp, nil
}

// maxCounted bounds the rows that Status reads of one table.
const maxCounted = 100_000

// count fills in the totals from the buckets' counters.
func (s *Service) count(resp *o3v1.StatusResponse) error {
	snap := s.o.Store.Snapshot()
	defer snap.Close()
	pos, _, err := fsm.ReadPosition(snap)
	if err != nil {
		return err
	}
	resp.Op, resp.Digest, resp.AppliedIndex = uint64(pos.Op), pos.Digest.String(), pos.Index
	lower, upper := schema.Volumes.All()
	err = schema.Volumes.Scan(snap, lower, upper, func(string, *schemapb.Volume) (bool, error) {
		resp.Volumes++
		return resp.Volumes < maxCounted, nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Buckets.All()
	err = schema.Buckets.Scan(snap, lower, upper, func(_ schema.BucketKey, b *schemapb.Bucket) (bool, error) {
		resp.Buckets++
		resp.Keys += b.UsedKeys
		resp.Directories += b.UsedDirectories
		resp.Bytes += b.UsedBytes
		resp.PendingDirectories += b.PendingDirectories
		return resp.Buckets < maxCounted, nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Deleted.All()
	return schema.Deleted.Scan(snap, lower, upper, func(_ schema.OpKey, d *schemapb.DeletedBlocks) (bool, error) {
		resp.PendingBlockDeletes += uint64(len(d.Extents))
		return resp.PendingBlockDeletes < maxCounted, nil
	})
}

// BlockStatus describes the node's block store. Admins only.
func (s *Service) BlockStatus(ctx context.Context, _ *o3v1.BlockStatusRequest) (*o3v1.BlockStatusResponse, error) {
	if err := requireAdmin(ctx, "block status"); err != nil {
		return nil, err
	}
	if s.o.Blocks == nil {
		return nil, errs.New(errs.NotImplemented, "block status", "this node has no block store")
	}
	return s.o.Blocks.BlockStatus(), nil
}

// StartScrub begins a scrub of the node's blocks in the background. Admins only.
func (s *Service) StartScrub(ctx context.Context, _ *o3v1.StartScrubRequest) (*o3v1.StartScrubResponse, error) {
	if err := requireAdmin(ctx, "start scrub"); err != nil {
		return nil, err
	}
	if s.o.Blocks == nil {
		return nil, errs.New(errs.NotImplemented, "scrub", "this node has no block store")
	}
	return &o3v1.StartScrubResponse{}, s.o.Blocks.StartScrub()
}

// Ready reports whether the node serves: a read went through the log.
func (s *Service) Ready(ctx context.Context) error {
	err := s.read(ctx, func(v view.View) error { return nil })
	if errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.Unavailable, "log", "no leader confirmed within the deadline")
	}
	return err
}

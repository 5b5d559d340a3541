package client

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
)

// Snapshots yields the live snapshots of a bucket in the order of the paths
// into them; with req.Deleted those that are being reclaimed, the oldest first.
func (c *Client) Snapshots(ctx context.Context, req *o3v1.ListSnapshotsRequest) iter.Seq2[*o3v1.SnapshotInfo, error] {
	return pages(req, func(req *o3v1.ListSnapshotsRequest) ([]*o3v1.SnapshotInfo, bool, error) {
		r, err := c.ListSnapshots(ctx, req)
		if n := len(r.GetSnapshots()); n > 0 {
			req.StartAfter, req.AfterOp = r.Snapshots[n-1].Name, r.Snapshots[n-1].Op
		}
		return r.GetSnapshots(), r.GetTruncated(), err
	})
}

// Diffs yields the diff jobs of a bucket.
func (c *Client) Diffs(ctx context.Context, req *o3v1.ListDiffsRequest) iter.Seq2[*o3v1.DiffJob, error] {
	return pages(req, func(req *o3v1.ListDiffsRequest) ([]*o3v1.DiffJob, bool, error) {
		r, err := c.ListDiffs(ctx, req)
		req.Token = r.GetNextToken()
		return r.GetJobs(), req.Token != "", err
	})
}

// Restore restores a key, a prefix or a bucket from a snapshot, page by page.
// It calls progress (nil: nothing) after each with the page alone, so that sums
// are the caller's, and returns the sum of all without the names that were
// refused, of which there may be any number; their count is the second result.
//
// A restore is not one change: what an error or the end of ctx leaves behind is
// restored in part, and the same call again goes on with what is missing.
func (c *Client) Restore(ctx context.Context, req *o3v1.RestoreSnapshotRequest, progress func(page *o3v1.RestoreSnapshotResponse)) (sum *o3v1.RestoreSnapshotResponse, refused uint64, err error) {
	req, sum = proto.CloneOf(req), &o3v1.RestoreSnapshotResponse{}
	for {
		page, err := c.RestoreSnapshot(ctx, req)
		if err != nil {
			return sum, refused, err
		}
		sum.Restored += page.Restored
		sum.Unchanged += page.Unchanged
		sum.Removed += page.Removed
		sum.Bytes += page.Bytes
		refused += uint64(len(page.Refused))
		if progress != nil {
			progress(page)
		}
		if page.NextToken == "" {
			return sum, refused, nil
		}
		req.Token = page.NextToken
	}
}

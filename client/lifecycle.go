package client

import (
	"context"
	"iter"
	"slices"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
)

// LifecycleStates yields where the lifecycle scans of buckets stand. first (nil:
// nothing) is called with the first page, which tells how the service is.
func (c *Client) LifecycleStates(ctx context.Context, req *o3v1.LifecycleStatusRequest, first func(*o3v1.LifecycleStatusResponse)) iter.Seq2[*o3v1.LifecycleBucketStatus, error] {
	return pages(req, func(req *o3v1.LifecycleStatusRequest) ([]*o3v1.LifecycleBucketStatus, bool, error) {
		r, err := c.LifecycleStatus(ctx, req)
		if err == nil && req.Token == "" && first != nil {
			first(r)
		}
		req.Token = r.GetNextToken()
		return r.GetBuckets(), req.Token != "", err
	})
}

// Preview returns all that a lifecycle scan of a bucket would do, by rule. After
// each part it calls progress (nil: nothing) with the sum so far, which has a
// token while it is not all. Of each rule it names the first req.Samples things.
func (c *Client) Preview(ctx context.Context, req *o3v1.PreviewLifecycleRequest, progress func(*o3v1.PreviewLifecycleResponse)) (*o3v1.PreviewLifecycleResponse, error) {
	req = proto.CloneOf(req)
	sum := &o3v1.PreviewLifecycleResponse{}
	for {
		part, err := c.PreviewLifecycle(ctx, req)
		if err != nil {
			return nil, err
		}
		sum.AtMs, sum.Trash, sum.NextToken = part.AtMs, part.Trash, part.NextToken
		sum.EstimatedRows = max(sum.EstimatedRows, part.EstimatedRows)
		sum.Rows += part.Rows
		for _, p := range part.Rules {
			addPreview(sum, p, int(req.Samples))
		}
		if progress != nil {
			progress(sum)
		}
		if part.NextToken == "" {
			return sum, nil
		}
		req.Token, req.AtMs = part.NextToken, part.AtMs
	}
}

// addPreview adds what a rule would do in a part.
func addPreview(sum *o3v1.PreviewLifecycleResponse, p *o3v1.LifecyclePreview, samples int) {
	i := slices.IndexFunc(sum.Rules, func(have *o3v1.LifecyclePreview) bool { return have.Rule == p.Rule })
	if i < 0 {
		i = len(sum.Rules)
		sum.Rules = append(sum.Rules, &o3v1.LifecyclePreview{Rule: p.Rule, Id: p.Id})
	}
	have := sum.Rules[i]
	have.Keys += p.Keys
	have.Bytes += p.Bytes
	have.Directories += p.Directories
	have.Uploads += p.Uploads
	have.UploadBytes += p.UploadBytes
	if samples == 0 {
		samples = 10 // as the server has it
	}
	have.First = append(have.First, p.First[:min(len(p.First), max(0, samples-len(have.First)))]...)
}

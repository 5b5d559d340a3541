package app

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/om"
)

// remote is the namespace as RPC callers have it. They cannot name blocks:
// only the gateway, which wrote them, knows whose they are, and a block named
// by a stranger would show them other people's bytes and free them with the
// stranger's key.
type remote struct{ *om.Service }

// CommitKey takes bytes that travel along.
func (r remote) CommitKey(ctx context.Context, c *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	if len(c.Extents) > 0 {
		return nil, noBlocks(c.Key)
	}
	return r.Service.CommitKey(ctx, c)
}

// CommitPart takes bytes that travel along.
func (r remote) CommitPart(ctx context.Context, c *o3v1.CommitPartRequest) (*o3v1.CommitPartResponse, error) {
	if len(c.Extents) > 0 {
		return nil, noBlocks(c.Key)
	}
	return r.Service.CommitPart(ctx, c)
}

func noBlocks(key string) error {
	return errs.New(errs.Denied, key, "blocks are named by the node that wrote them; send the bytes through /s3/")
}

package app

import (
	"context"
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/lifecycle"
	"o3/internal/om"
	"o3/internal/snapdiff"
)

// maxData is how many bytes may travel along with a call, in bytes: they are
// kept in the store's rows.
const maxData = 1 << 20

// remote is the namespace as RPC callers have it. They cannot name blocks:
// only the gateway, which wrote them, knows whose they are, and a block named
// by a stranger would show them other people's bytes and free them with the
// stranger's key.
type remote struct {
	*om.Service
	diffs
	cycles
	*images
}

// diffs is the part of the API that the service of snapshot diffs answers.
type diffs = *snapdiff.Service

// cycles is the part that the lifecycle service answers.
type cycles = *lifecycle.Service

// CommitKey takes bytes that travel along.
func (r remote) CommitKey(ctx context.Context, c *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	if err := travelling(c.Key, c.Extents, c.Data); err != nil {
		return nil, err
	}
	return r.Service.CommitKey(ctx, c)
}

// CommitPart takes bytes that travel along.
func (r remote) CommitPart(ctx context.Context, c *o3v1.CommitPartRequest) (*o3v1.CommitPartResponse, error) {
	if err := travelling(c.Key, c.Extents, c.Data); err != nil {
		return nil, err
	}
	return r.Service.CommitPart(ctx, c)
}

// travelling refuses what cannot come with a call.
func travelling(key string, extents []*o3v1.Extent, data []byte) error {
	switch {
	case len(extents) > 0:
		return errs.New(errs.Denied, key, "blocks are named by the node that wrote them; send the bytes through /s3/")
	case len(data) > maxData:
		return errs.New(errs.TooLarge, key, fmt.Sprintf("%d bytes, at most %d travel with a call; send them through /s3/", len(data), maxData))
	}
	return nil
}

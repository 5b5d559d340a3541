package client

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
)

// The listings, page by page as they are consumed. Each starts where req says
// and ends with the first error; req.Limit is the size of a page.

// Volumes yields the volumes.
func (c *Client) Volumes(ctx context.Context, req *o3v1.ListVolumesRequest) iter.Seq2[*o3v1.VolumeInfo, error] {
	return pages(req, func(req *o3v1.ListVolumesRequest) ([]*o3v1.VolumeInfo, bool, error) {
		r, err := c.ListVolumes(ctx, req)
		if n := len(r.GetVolumes()); n > 0 {
			req.StartAfter = r.Volumes[n-1].Name
		}
		return r.GetVolumes(), r.GetTruncated(), err
	})
}

// Buckets yields the buckets of a volume.
func (c *Client) Buckets(ctx context.Context, req *o3v1.ListBucketsRequest) iter.Seq2[*o3v1.BucketInfo, error] {
	return pages(req, func(req *o3v1.ListBucketsRequest) ([]*o3v1.BucketInfo, bool, error) {
		r, err := c.ListBuckets(ctx, req)
		if n := len(r.GetBuckets()); n > 0 {
			req.StartAfter = r.Buckets[n-1].Name
		}
		return r.GetBuckets(), r.GetTruncated(), err
	})
}

// Item is a line of a listing of keys: a key or, with a delimiter, a common
// prefix of keys.
type Item struct {
	Key    *o3v1.KeyInfo // nil for a prefix
	Prefix string
}

// Name returns the key's name, or the prefix.
func (i Item) Name() string {
	if i.Key == nil {
		return i.Prefix
	}
	return i.Key.Name
}

// Keys yields keys and common prefixes in byte order.
func (c *Client) Keys(ctx context.Context, req *o3v1.ListKeysRequest) iter.Seq2[Item, error] {
	return pages(req, func(req *o3v1.ListKeysRequest) ([]Item, bool, error) {
		r, err := c.ListKeys(ctx, req)
		req.Token = r.GetNextToken()
		return merge(r), r.GetTruncated(), err
	})
}

// merge puts the two lists of a page in one order.
func merge(r *o3v1.ListKeysResponse) []Item {
	keys, prefixes := r.GetKeys(), r.GetCommonPrefixes()
	out := make([]Item, 0, len(keys)+len(prefixes))
	for len(keys)+len(prefixes) > 0 {
		if len(prefixes) == 0 || len(keys) > 0 && keys[0].Name < prefixes[0] {
			out, keys = append(out, Item{Key: keys[0]}), keys[1:]
		} else {
			out, prefixes = append(out, Item{Prefix: prefixes[0]}), prefixes[1:]
		}
	}
	return out
}

// Uploads yields the unfinished uploads of a bucket, without common prefixes.
func (c *Client) Uploads(ctx context.Context, req *o3v1.ListUploadsRequest) iter.Seq2[*o3v1.UploadInfo, error] {
	return pages(req, func(req *o3v1.ListUploadsRequest) ([]*o3v1.UploadInfo, bool, error) {
		r, err := c.ListUploads(ctx, req)
		req.KeyMarker, req.UploadIdMarker = r.GetNextKeyMarker(), r.GetNextUploadIdMarker()
		return r.GetUploads(), r.GetTruncated(), err
	})
}

// Parts yields the parts of an upload.
func (c *Client) Parts(ctx context.Context, req *o3v1.ListPartsRequest) iter.Seq2[*o3v1.PartInfo, error] {
	return pages(req, func(req *o3v1.ListPartsRequest) ([]*o3v1.PartInfo, bool, error) {
		r, err := c.ListParts(ctx, req)
		if n := len(r.GetParts()); n > 0 {
			req.NumberMarker = r.Parts[n-1].Number
		}
		return r.GetParts(), r.GetTruncated(), err
	})
}

// Users yields the users.
func (c *Client) Users(ctx context.Context, req *o3v1.ListUsersRequest) iter.Seq2[*o3v1.UserInfo, error] {
	return pages(req, func(req *o3v1.ListUsersRequest) ([]*o3v1.UserInfo, bool, error) {
		r, err := c.ListUsers(ctx, req)
		if n := len(r.GetUsers()); n > 0 {
			req.StartAfter = r.Users[n-1].Name
		}
		return r.GetUsers(), r.GetTruncated(), err
	})
}

// AccessKeys yields access keys, without their secrets.
func (c *Client) AccessKeys(ctx context.Context, req *o3v1.ListAccessKeysRequest) iter.Seq2[*o3v1.AccessKeyInfo, error] {
	return pages(req, func(req *o3v1.ListAccessKeysRequest) ([]*o3v1.AccessKeyInfo, bool, error) {
		r, err := c.ListAccessKeys(ctx, req)
		if n := len(r.GetKeys()); n > 0 {
			req.StartAfter = r.Keys[n-1].Id
		}
		return r.GetKeys(), r.GetTruncated(), err
	})
}

// pages yields what page returns until a page is the last. page moves its
// copy of the request on.
func pages[Q proto.Message, T any](req Q, page func(Q) (items []T, more bool, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		req := proto.CloneOf(req)
		for more := true; more; {
			var items []T
			var err error
			items, more, err = page(req)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

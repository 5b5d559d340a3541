package om

import (
	"context"
	"fmt"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/view"
)

// OpenKey notes that a large key is being written.
func (s *Service) OpenKey(ctx context.Context, r *o3v1.OpenKeyRequest) (*o3v1.OpenKeyResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.OpenKeyResponse](ctx, s, request{command.OpenKey, r, r.Stamp, id})
}

// CommitKey publishes a key. An empty key whose name ends in a slash is a
// directory of a file-system bucket.
func (s *Service) CommitKey(ctx context.Context, r *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, layout, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	if layout == ns.FileSystem && r.Size == 0 && strings.HasSuffix(r.Key, "/") && r.If == nil {
		d := &o3v1.CreateDirectoryRequest{
			Stamp: r.Stamp, Volume: r.Volume, Bucket: r.Bucket, Path: r.Key, MayExist: true,
			Headers: r.Headers, Tags: r.Tags,
		}
		resp, err := propose[o3v1.CreateDirectoryResponse](ctx, s, request{command.CreateDirectory, d, r.Stamp, id})
		if err != nil {
			return nil, err
		}
		s.foretell(r.Volume, r.Bucket, resp.Key)
		return &o3v1.CommitKeyResponse{Key: resp.Key}, nil
	}
	r.DeadlineMs = s.deadline(r.DataMs)
	resp, err := propose[o3v1.CommitKeyResponse](ctx, s, request{command.CommitKey, r, r.Stamp, id})
	s.foretell(r.Volume, r.Bucket, resp.GetKey())
	return resp, err
}

// deadline returns until when blocks written at dataMs may be named. The sweep
// frees blocks twice as old. A client whose clock is ahead gets no more time.
func (s *Service) deadline(dataMs int64) int64 {
	return min(dataMs, time.Now().UnixMilli()) + s.o.SweepGrace.Milliseconds()/2
}

// AbandonKey forgets a key that was being written.
func (s *Service) AbandonKey(ctx context.Context, r *o3v1.AbandonKeyRequest) (*o3v1.AbandonKeyResponse, error) {
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.AbandonKeyResponse](ctx, s, request{command.AbandonKey, r, r.Stamp, id})
}

// GetKey describes a key and where its bytes are.
func (s *Service) GetKey(ctx context.Context, r *o3v1.GetKeyRequest) (*o3v1.GetKeyResponse, error) {
	resp := &o3v1.GetKeyResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		_, e, err := s.mayRead(ctx, v, r.Volume, r.Bucket, r.Key)
		if err != nil {
			return err
		}
		resp.Key = e.Info()
		s.foretell(r.Volume, r.Bucket, resp.Key)
		if resp.Key.Extents, err = v.Extents(e.Row); err != nil || !r.WithData {
			return err
		}
		return fill(v, resp.Key)
	})
}

// fill adds the bytes that lie in the store to a key's description.
func fill(v view.View, k *o3v1.KeyInfo) error {
	data, all, err := v.Data(k.Extents)
	if err != nil {
		return err
	}
	if all {
		k.Data, k.Extents = data, nil
		return nil
	}
	for i, e := range k.Extents {
		if e.Container != 0 {
			continue
		}
		data, err := v.Small(e)
		if err != nil {
			return err
		}
		k.Extents[i] = &o3v1.Extent{Local: e.Local, Offset: e.Offset, Length: e.Length, Data: data}
	}
	return nil
}

// ListKeys returns a page of a listing.
func (s *Service) ListKeys(ctx context.Context, r *o3v1.ListKeysRequest) (*o3v1.ListKeysResponse, error) {
	resp := &o3v1.ListKeysResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := s.bucketFor(ctx, r.Volume, r.Bucket, list)
		if err != nil {
			return err
		}
		infos, page, err := v.ListInfo(b, view.ListOptions{
			Prefix: r.Prefix, Delimiter: r.Delimiter, StartAfter: r.StartAfter, Token: r.Token,
			Limit: limit(r.Limit, 10_000), MaxRows: s.o.MaxListRows, Directories: r.Directories, Full: r.Full,
		})
		if err != nil {
			return err
		}
		resp.Keys, resp.CommonPrefixes, resp.Truncated = infos, page.Prefixes, page.Truncated
		resp.NextToken, resp.NextMarker = page.NextToken, page.Marker
		return nil
	})
}

// DeleteKeys deletes keys and directories, each with its own answer.
func (s *Service) DeleteKeys(ctx context.Context, r *o3v1.DeleteKeysRequest) (*o3v1.DeleteKeysResponse, error) {
	if len(r.Keys) > command.MaxDeletes {
		return nil, errs.New(errs.Invalid, "keys", fmt.Sprintf("%d keys, at most %d are allowed", len(r.Keys), command.MaxDeletes))
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, remove)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.DeleteKeysResponse](ctx, s, request{command.DeleteKeys, r, r.Stamp, id})
}

// RenameKey moves a key or directory within its bucket.
func (s *Service) RenameKey(ctx context.Context, r *o3v1.RenameKeyRequest) (*o3v1.RenameKeyResponse, error) {
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.RenameKeyResponse](ctx, s, request{command.RenameKey, r, r.Stamp, id})
}

// CopyKey makes a key of another's bytes. The source is checked again when the
// copy is applied: it must be the row the caller was allowed to read.
func (s *Service) CopyKey(ctx context.Context, r *o3v1.CopyKeyRequest) (*o3v1.CopyKeyResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, err := s.mayCopy(ctx, r.Stamp, r.FromVolume, r.FromBucket, r.FromKey, r.Volume, r.Bucket)
	if err != nil {
		return nil, err
	}
	resp, err := propose[o3v1.CopyKeyResponse](ctx, s, request{command.CopyKey, r, r.Stamp, id})
	s.foretell(r.Volume, r.Bucket, resp.GetKey())
	return resp, err
}

// mayCopy checks that the caller may read the source and write to the bucket,
// whose id it returns; see mayWrite.
func (s *Service) mayCopy(ctx context.Context, stamp *o3v1.Stamp, fromVolume, fromBucket, fromKey, volume, bucket string) (ns.ObjectID, error) {
	id, _, err := s.mayWrite(ctx, stamp, volume, bucket, write)
	if err != nil {
		return 0, err
	}
	err = s.peek(func(v view.View) error {
		_, _, err := s.mayRead(ctx, v, fromVolume, fromBucket, fromKey)
		if err == nil {
			return nil
		}
		if known, kerr := v.Answered(stamp); kerr == nil && known {
			id, err = noBucket, nil
		}
		return err
	})
	return id, err
}

// UpdateKey changes what is about a key. Its grants and owner are for those who
// control the bucket.
func (s *Service) UpdateKey(ctx context.Context, r *o3v1.UpdateKeyRequest) (*o3v1.UpdateKeyResponse, error) {
	need := write
	if r.SetGrants || r.Owner != nil {
		need = control
	}
	if err := checkGrants(r.Grants); err != nil {
		return nil, err
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, need)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.UpdateKeyResponse](ctx, s, request{command.UpdateKey, r, r.Stamp, id})
}

// CreateDirectory makes a directory in a file-system bucket.
func (s *Service) CreateDirectory(ctx context.Context, r *o3v1.CreateDirectoryRequest) (*o3v1.CreateDirectoryResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.CreateDirectoryResponse](ctx, s, request{command.CreateDirectory, r, r.Stamp, id})
}

package om

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/view"
)

// CreateUpload begins a multipart upload.
func (s *Service) CreateUpload(ctx context.Context, r *o3v1.CreateUploadRequest) (*o3v1.CreateUploadResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	resp, err := propose[o3v1.CreateUploadResponse](ctx, s, request{command.CreateUpload, r, r.Stamp, id})
	s.foretellUpload(r.Volume, r.Bucket, resp.GetUpload())
	return resp, err
}

// CommitPart publishes a part whose bytes are durable.
func (s *Service) CommitPart(ctx context.Context, r *o3v1.CommitPartRequest) (*o3v1.CommitPartResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	r.DeadlineMs = s.deadline(r.DataMs)
	return propose[o3v1.CommitPartResponse](ctx, s, request{command.CommitPart, r, r.Stamp, id})
}

// CopyPart makes a part of a range of another key's bytes.
func (s *Service) CopyPart(ctx context.Context, r *o3v1.CopyPartRequest) (*o3v1.CopyPartResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, err := s.mayCopy(ctx, r.Stamp, r.FromVolume, r.FromBucket, r.FromKey, r.Volume, r.Bucket)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.CopyPartResponse](ctx, s, request{command.CopyPart, r, r.Stamp, id})
}

// GetUpload describes an unfinished upload.
func (s *Service) GetUpload(ctx context.Context, r *o3v1.GetUploadRequest) (*o3v1.GetUploadResponse, error) {
	resp := &o3v1.GetUploadResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := s.bucketFor(ctx, r.Volume, r.Bucket, write)
		if err != nil {
			return err
		}
		resp.Upload, _, err = v.Upload(b, r.Key, r.UploadId)
		s.foretellUpload(r.Volume, r.Bucket, resp.Upload)
		return err
	})
}

// ListUploads returns a page of a bucket's unfinished uploads.
func (s *Service) ListUploads(ctx context.Context, r *o3v1.ListUploadsRequest) (*o3v1.ListUploadsResponse, error) {
	resp := &o3v1.ListUploadsResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := s.bucketFor(ctx, r.Volume, r.Bucket, list)
		if err != nil {
			return err
		}
		page, err := v.Uploads(b, view.UploadOptions{
			Prefix: r.Prefix, Delimiter: r.Delimiter, KeyMarker: r.KeyMarker, UploadMarker: r.UploadIdMarker,
			Limit: limit(r.Limit, 10_000),
		})
		resp.Uploads, resp.CommonPrefixes, resp.Truncated = page.Uploads, page.Prefixes, page.Truncated
		resp.NextKeyMarker, resp.NextUploadIdMarker = page.NextKey, page.NextID
		return err
	})
}

// ListParts returns a page of an upload's parts.
func (s *Service) ListParts(ctx context.Context, r *o3v1.ListPartsRequest) (*o3v1.ListPartsResponse, error) {
	resp := &o3v1.ListPartsResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := s.bucketFor(ctx, r.Volume, r.Bucket, write)
		if err != nil {
			return err
		}
		info, id, err := v.Upload(b, r.Key, r.UploadId)
		if err != nil {
			return err
		}
		resp.Upload = info
		s.foretellUpload(r.Volume, r.Bucket, info)
		resp.Parts, resp.Truncated, err = v.Parts(b, id, r.NumberMarker, limit(r.Limit, command.MaxParts), r.Full)
		return err
	})
}

// CompleteUpload makes a key of an upload's parts.
func (s *Service) CompleteUpload(ctx context.Context, r *o3v1.CompleteUploadRequest) (*o3v1.CompleteUploadResponse, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	resp, err := propose[o3v1.CompleteUploadResponse](ctx, s, request{command.CompleteUpload, r, r.Stamp, id})
	s.foretell(r.Volume, r.Bucket, resp.GetKey())
	return resp, err
}

// AbortUpload gives up an upload and its parts.
func (s *Service) AbortUpload(ctx context.Context, r *o3v1.AbortUploadRequest) (*o3v1.AbortUploadResponse, error) {
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, write)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.AbortUploadResponse](ctx, s, request{command.AbortUpload, r, r.Stamp, id})
}

package om

import (
	"context"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
	"o3/internal/ns"
	"o3/internal/view"
)

// SetLifecycle gives a bucket a lifecycle configuration in the place of any it
// has. For those who control the bucket.
func (s *Service) SetLifecycle(ctx context.Context, r *o3v1.SetLifecycleRequest) (*o3v1.SetLifecycleResponse, error) {
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, control)
	if err != nil {
		return nil, err
	}
	rules := r.Configuration.GetRules()
	if err := rule.Validate(rules); err != nil {
		return nil, err
	}
	r = &o3v1.SetLifecycleRequest{
		Stamp: r.Stamp, Volume: r.Volume, Bucket: r.Bucket,
		Configuration: &o3v1.LifecycleConfiguration{Rules: rule.WithIDs(rules)},
	}
	if err := rule.Complete(r.Configuration.Rules); err != nil { // the ids may have made it too long
		return nil, err
	}
	return propose[o3v1.SetLifecycleResponse](ctx, s, request{command.SetLifecycle, r, r.Stamp, id})
}

// GetLifecycle returns a bucket's lifecycle configuration to those who control
// the bucket. Kind NoSuchConfiguration: it has none.
func (s *Service) GetLifecycle(ctx context.Context, r *o3v1.GetLifecycleRequest) (*o3v1.GetLifecycleResponse, error) {
	resp := &o3v1.GetLifecycleResponse{}
	return resp, s.read(ctx, func(v view.View) error {
		b, err := v.Bucket(r.Volume, r.Bucket)
		if err != nil {
			return err
		}
		if p := access.FromContext(ctx); !access.Allowed(p, control, ofVolume(b.Volume), ofBucket(b)) {
			return denied(p, "lifecycle configuration of bucket "+r.Bucket, "lacks ALL")
		}
		row, ok, err := v.Lifecycle(b.ID())
		if err == nil && !ok {
			err = errs.New(errs.NoSuchConfiguration, r.Volume+"/"+r.Bucket, "the bucket has no lifecycle configuration")
		}
		if err != nil {
			return err
		}
		resp.Configuration = &o3v1.LifecycleConfiguration{Rules: row.Rules}
		resp.UpdateId, resp.UpdatedMs = row.UpdateId, row.ModifiedMs
		return nil
	})
}

// DeleteLifecycle takes a bucket's lifecycle configuration away, if it has one.
// For those who control the bucket.
func (s *Service) DeleteLifecycle(ctx context.Context, r *o3v1.DeleteLifecycleRequest) (*o3v1.DeleteLifecycleResponse, error) {
	id, _, err := s.mayWrite(ctx, r.Stamp, r.Volume, r.Bucket, control)
	if err != nil {
		return nil, err
	}
	return propose[o3v1.DeleteLifecycleResponse](ctx, s, request{command.DeleteLifecycle, r, r.Stamp, id})
}

// foretell says of a key of a bucket when a lifecycle rule makes it expire. A
// configuration that cannot be read foretells nothing: the key is there all the
// same.
func (s *Service) foretell(volume, bucket string, k *o3v1.KeyInfo) {
	rules := s.rules(volume, bucket)
	if rules == nil || k == nil {
		return
	}
	if _, _, old := ns.CutSnapshot(k.Name); old {
		return
	}
	e, ok, err := rules.Expiry(&rule.Object{
		Path: k.Name, Size: k.Size, ModifiedMs: k.ModifiedMs, Tags: rule.Pairs(k.Tags),
		Directory: k.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY,
	}, rule.Never)
	if ok && err == nil {
		k.ExpiresMs, k.ExpiresBy = &e.AtMs, rules.ID(e.Rule)
	}
}

// foretellUpload is foretell for a multipart upload.
func (s *Service) foretellUpload(volume, bucket string, u *o3v1.UploadInfo) {
	rules := s.rules(volume, bucket)
	if rules == nil || u == nil {
		return
	}
	if e, ok := rules.Abort(u.Name, u.CreatedMs, rule.Never); ok {
		u.AbortsMs, u.AbortsBy = &e.AtMs, rules.ID(e.Rule)
	}
}

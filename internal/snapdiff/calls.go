package snapdiff

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/snapdiff/report"
	"o3/internal/view"
)

// find returns the job that an id, or else a spec, means.
func (s *Service) find(ctx context.Context, spec *o3v1.DiffSpec, id string) (*view.DiffJob, error) {
	what := "diff " + id
	if id == "" {
		var err error
		if spec, err = checkSpec(spec); err != nil {
			return nil, err
		}
		what += spec.From + " to " + spec.To
	}
	b, err := s.o.Namespace.Readable(ctx, spec.GetVolume(), spec.GetBucket())
	if err != nil {
		return nil, err
	}
	var found *view.DiffJob
	err = s.o.Namespace.Read(ctx, func(v view.View) error {
		if id != "" {
			return v.DiffJobs(b.ID(), schema.DiffJobKey{}, func(j view.DiffJob) (bool, error) {
				if idOf(j) == id {
					found = &j
				}
				return found == nil, nil
			})
		}
		key, err := keyOf(v, b, spec)
		if err != nil {
			return err
		}
		j, ok, err := v.DiffJob(key)
		if ok {
			found = &j
		}
		return err
	})
	if err == nil && found == nil {
		err = errs.New(errs.NoSuchJob, what, "it was never submitted with these options, or is forgotten")
	}
	return found, err
}

func idOf(j view.DiffJob) string { return command.UploadID(ns.ObjectID(j.Row.JobId)) }

// GetDiff tells where a job stands and, once it is done, returns a page.
func (s *Service) GetDiff(ctx context.Context, r *o3v1.GetDiffRequest) (*o3v1.GetDiffResponse, error) {
	found, err := s.find(ctx, r.Spec, r.JobId)
	if err != nil {
		return nil, err
	}
	first, err := report.DecodeToken(r.Token, found.Row.JobId)
	if err != nil {
		return nil, err
	}
	resp := &o3v1.GetDiffResponse{Job: found.Info()}
	if resp.Job.State == done {
		if err := s.readPage(ctx, found, first, r.PageSize, resp); err != nil {
			return nil, err
		}
	}
	s.fill(found.Key, resp.Job)
	return resp, nil
}

// mayEnd refuses a caller who neither asked for the job nor controls its bucket.
func (s *Service) mayEnd(ctx context.Context, j *view.DiffJob) error {
	if p := access.FromContext(ctx); !p.Anonymous() && p.User == j.Row.Owner {
		return nil
	}
	return s.o.Namespace.Controls(ctx, j.Row.Volume, j.Row.Bucket)
}

// CancelDiff stops a job that waits or runs. Who asked for it may, and who
// controls the bucket.
func (s *Service) CancelDiff(ctx context.Context, r *o3v1.CancelDiffRequest) (*o3v1.CancelDiffResponse, error) {
	found, err := s.find(ctx, r.Spec, r.JobId)
	if err != nil {
		return nil, err
	}
	if err := s.mayEnd(ctx, found); err != nil {
		return nil, err
	}
	if state := o3v1.DiffState(found.Row.State); state == queued || state == inProgress {
		reply, err := om.Propose[commandpb.UpdateDiffJobReply](ctx, s.o.Namespace, command.UpdateDiffJob, found.Key.Bucket, &commandpb.UpdateDiffJob{
			Key: protoKey(found.Key), JobId: found.Row.JobId,
			Expected: []o3v1.DiffState{queued, inProgress}, State: cancelled, Reason: errCancelled.Error(),
		})
		if err == nil {
			s.drop(found.Key, found.Row.JobId, errCancelled)
			s.finished(Finished{Job: reply.Job})
			return &o3v1.CancelDiffResponse{Job: reply.Job, Message: "the job is cancelled"}, nil
		}
		if errs.KindOf(err) != errs.Conflict {
			return nil, err
		}
		// It ended just now.
		if found, err = s.find(ctx, r.Spec, idOf(*found)); err != nil {
			return nil, err
		}
	}
	info := found.Info()
	s.fill(found.Key, info)
	return &o3v1.CancelDiffResponse{Job: info, Message: "the job is already " + command.StateName(info.State)}, nil
}

// maxList bounds the jobs of one page of a listing.
const maxList = 10_000

// ListDiffs lists the jobs of a bucket.
func (s *Service) ListDiffs(ctx context.Context, r *o3v1.ListDiffsRequest) (*o3v1.ListDiffsResponse, error) {
	b, err := s.o.Namespace.Readable(ctx, r.Volume, r.Bucket)
	if err != nil {
		return nil, err
	}
	from, err := parseListToken(b.ID(), r.Token)
	if err != nil {
		return nil, err
	}
	limit := 1000
	if r.Limit > 0 {
		limit = int(min(r.Limit, maxList))
	}
	resp := &o3v1.ListDiffsResponse{}
	err = s.o.Namespace.Read(ctx, func(v view.View) error {
		return v.DiffJobs(b.ID(), from, func(j view.DiffJob) (bool, error) {
			info := j.Info()
			s.fill(j.Key, info)
			if len(r.States) > 0 && !slices.Contains(r.States, info.State) {
				return true, nil
			}
			if len(resp.Jobs) == limit {
				resp.NextToken = listToken(j.Key)
				return false, nil
			}
			resp.Jobs = append(resp.Jobs, info)
			return true, nil
		})
	})
	return resp, err
}

func listToken(k schema.DiffJobKey) string {
	return fmt.Sprintf("%x-%x-%x-%x", uint64(k.Bucket), uint64(k.From), uint64(k.To), k.Options)
}

func parseListToken(bucket ns.ObjectID, token string) (k schema.DiffJobKey, err error) {
	if token == "" {
		return k, nil
	}
	n, err := fmt.Sscanf(token, "%x-%x-%x-%x", (*uint64)(&k.Bucket), (*uint64)(&k.From), (*uint64)(&k.To), &k.Options)
	if err != nil || n != 4 || listToken(k) != token || k.Bucket != bucket {
		return k, errs.New(errs.Invalid, fmt.Sprintf("token %.64q", token), "is not one that a listing of this bucket's diffs returned")
	}
	return k, nil
}

// ForgetDiff drops a job that is over, and its report. That it is gone already
// is no error. Who asked for it may, and who controls the bucket.
func (s *Service) ForgetDiff(ctx context.Context, r *o3v1.ForgetDiffRequest) (*o3v1.ForgetDiffResponse, error) {
	found, err := s.find(ctx, r.Spec, r.JobId)
	if err != nil {
		return nil, err
	}
	if err := s.mayEnd(ctx, found); err != nil {
		return nil, err
	}
	_, err = om.Propose[commandpb.ForgetDiffJob](ctx, s.o.Namespace, command.ForgetDiffJob, found.Key.Bucket, forgetting(found))
	return &o3v1.ForgetDiffResponse{}, s.forgotten(found, err)
}

func forgetting(j *view.DiffJob) *commandpb.ForgetDiffJob {
	return &commandpb.ForgetDiffJob{Key: protoKey(j.Key), JobId: j.Row.JobId}
}

// forgotten removes the report of a job whose row is dropped, unless err says
// that it is not.
func (s *Service) forgotten(j *view.DiffJob, err error) error {
	if err != nil && errs.KindOf(err) != errs.NoSuchJob {
		return err
	}
	return s.removeReport(j.Row.JobId)
}

func (s *Service) removeReport(id uint64) error {
	if err := os.Remove(s.reportPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap(errs.Internal, "report", err)
	}
	return nil
}

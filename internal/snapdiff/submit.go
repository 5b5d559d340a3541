package snapdiff

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/snapdiff/report"
	"o3/internal/view"
)

// SubmitDiff asks for a diff. A job for the same that waits, runs or is done is
// the answer, unless it compared with the live bucket and that has changed
// since; when too many wait, the answer is REJECTED and nothing is noted.
func (s *Service) SubmitDiff(ctx context.Context, r *o3v1.SubmitDiffRequest) (*o3v1.SubmitDiffResponse, error) {
	spec, err := checkSpec(r.Spec)
	if err != nil {
		return nil, err
	}
	key, info, err := s.current(ctx, spec)
	if err != nil || info != nil {
		return &o3v1.SubmitDiffResponse{Job: info, Existed: true}, err
	}
	release, err := s.claim(ctx, key)
	if err != nil {
		return nil, err
	}
	defer release()
	// Whoever had the claim before has made the job, perhaps.
	if key, info, err = s.current(ctx, spec); err != nil || info != nil {
		return &o3v1.SubmitDiffResponse{Job: info, Existed: true}, err
	}
	return s.create(ctx, key, spec)
}

// current returns the job that is the answer to spec, nil for none.
func (s *Service) current(ctx context.Context, spec *o3v1.DiffSpec) (key schema.DiffJobKey, info *o3v1.DiffJob, err error) {
	b, err := s.o.Namespace.Readable(ctx, spec.Volume, spec.Bucket)
	if err != nil {
		return key, nil, err
	}
	err = s.o.Namespace.Read(ctx, func(v view.View) error {
		if key, err = keyOf(v, b, spec); err != nil {
			return err
		}
		j, ok, err := v.DiffJob(key)
		if err != nil || !ok {
			return err
		}
		past, err := v.IsPast(j)
		if !past {
			info = j.Info()
			s.fill(key, info)
		}
		return err
	})
	return key, info, err
}

// keyOf returns what spec means.
func keyOf(v view.View, b view.Bucket, spec *o3v1.DiffSpec) (schema.DiffJobKey, error) {
	k := schema.DiffJobKey{Bucket: b.ID(), Options: options(spec)}
	from, err := v.Snapshot(b, spec.From)
	if err != nil {
		return k, err
	}
	k.From = from.Op
	if spec.To != "" {
		to, err := v.Snapshot(b, spec.To)
		if err != nil {
			return k, err
		}
		k.To = to.Op
	}
	return k, nil
}

// create makes a job, if there is a place for it.
func (s *Service) create(ctx context.Context, key schema.DiffJobKey, spec *o3v1.DiffSpec) (*o3v1.SubmitDiffResponse, error) {
	if !s.place() {
		return &o3v1.SubmitDiffResponse{Job: s.reject(key, spec)}, nil
	}
	defer s.unplace()
	reply, err := om.Propose[commandpb.CreateDiffJobReply](ctx, s.o.Namespace, command.CreateDiffJob, key.Bucket, &commandpb.CreateDiffJob{
		Volume: spec.Volume, Bucket: spec.Bucket, From: spec.From, To: spec.To, FromOp: uint64(key.From), ToOp: uint64(key.To),
		Full: spec.Full, Ordered: spec.Ordered, Prefix: spec.Prefix, Types: spec.Types, Options: key.Options,
	})
	if err != nil {
		s.lose(nil) // it may have been made nevertheless
		return nil, err
	}
	id, err := parseID(reply.Job.JobId)
	if err != nil {
		return nil, err
	}
	if !reply.Existed {
		s.enqueue(key, id)
		if s.o.Listener.Submitted != nil {
			s.o.Listener.Submitted()
		}
	}
	s.fill(key, reply.Job)
	return &o3v1.SubmitDiffResponse{Job: reply.Job, Existed: reply.Existed}, nil
}

func parseID(id string) (uint64, error) {
	n, err := command.ParseUploadID(id)
	if err != nil {
		return 0, errs.Wrap(errs.Internal, "job "+id, err)
	}
	return uint64(n), nil
}

func (s *Service) reject(key schema.DiffJobKey, spec *o3v1.DiffSpec) *o3v1.DiffJob {
	info := &o3v1.DiffJob{
		Volume: spec.Volume, Bucket: spec.Bucket, From: spec.From, To: spec.To, Full: spec.Full, Ordered: spec.Ordered,
		Prefix: spec.Prefix, Types: spec.Types, State: rejected, FromOp: uint64(key.From), ToOp: uint64(key.To),
		Reason: s.busy(),
	}
	s.fill(key, info)
	return info
}

// busy tells of a rejection, and returns the reason.
func (s *Service) busy() string {
	if s.o.Listener.Rejected != nil {
		s.o.Listener.Rejected()
	}
	return fmt.Sprintf("%d jobs may run and %d wait, and so many do; retry later", s.o.Threads, s.o.Queue)
}

var types = []string{report.Create, report.Delete, report.Modify, report.Rename}

// checkSpec refuses a spec that is malformed, and puts it in one form.
func checkSpec(spec *o3v1.DiffSpec) (*o3v1.DiffSpec, error) {
	if spec == nil || spec.From == "" {
		return nil, errs.New(errs.Invalid, "diff", "names no snapshot to start from")
	}
	if spec.From == spec.To {
		return nil, errs.New(errs.Invalid, "diff of "+spec.From, "is between a snapshot and itself: there is no difference")
	}
	for _, t := range spec.Types {
		if !slices.Contains(types, t) {
			return nil, errs.New(errs.Invalid, fmt.Sprintf("type %q", t), "must be one of "+strings.Join(types, " "))
		}
	}
	out := &o3v1.DiffSpec{
		Volume: spec.Volume, Bucket: spec.Bucket, From: spec.From, To: spec.To, Full: spec.Full, Ordered: spec.Ordered,
		Prefix: strings.TrimPrefix(spec.Prefix, "./"), Types: slices.Compact(slices.Sorted(slices.Values(spec.Types))),
	}
	if len(out.Types) == len(types) {
		out.Types = nil
	}
	return out, nil
}

// options returns a hash of how a report is to be.
func options(spec *o3v1.DiffSpec) uint64 {
	return xxh3.HashString(fmt.Sprintf("%t %t %q %q", spec.Full, spec.Ordered, spec.Prefix, spec.Types))
}

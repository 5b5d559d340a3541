package snapdiff

import (
	"cmp"
	"context"
	"slices"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/view"
)

// follow takes the jobs up when the node begins to lead, lets go of them when it
// no longer does, and finds those that were lost in between.
func (s *Service) follow(ctx context.Context) {
	tick := time.NewTicker(s.o.LeadInterval)
	defer tick.Stop()
	for due := true; ; {
		if !s.o.Leads() {
			s.letGo()
			due = true
		} else if s.takeLost() || due {
			err := s.resume(ctx)
			if due = err != nil; due && ctx.Err() == nil && !passes(err) {
				s.failed("resume", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// resume queues the jobs that are not over, the oldest first.
func (s *Service) resume(ctx context.Context) error {
	var found []view.DiffJob
	err := s.o.Namespace.Read(ctx, func(v view.View) error {
		return v.DiffJobs(0, schema.DiffJobKey{}, func(j view.DiffJob) (bool, error) {
			switch o3v1.DiffState(j.Row.State) {
			case queued, inProgress:
				found = append(found, j)
			}
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b view.DiffJob) int { return cmp.Compare(a.Row.JobId, b.Row.JobId) })
	for _, j := range found {
		s.enqueue(j.Key, j.Row.JobId)
	}
	return nil
}

// passes tells faults of the moment, which are no fault of the job: it is tried
// again.
func passes(err error) bool {
	switch errs.KindOf(err) {
	case errs.NotLeader, errs.Unavailable, errs.SlowDown, errs.Canceled, errs.DeadlineExceeded:
		return true
	}
	return false
}

// interrupted is the error of a call whose context ended.
func interrupted(ctx context.Context) error {
	kind := errs.Canceled
	if ctx.Err() == context.DeadlineExceeded {
		kind = errs.DeadlineExceeded
	}
	return errs.Wrap(kind, "snapshot diff", context.Cause(ctx))
}

package snapdiff

import (
	"context"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/view"
)

func (s *Service) cleanLoop(ctx context.Context) {
	tick := time.NewTicker(s.o.CleanupInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := s.Clean(ctx); ctx.Err() == nil {
			s.failed("clean", err)
		}
	}
}

// Clean forgets jobs that are over: those that are done when their reports were
// kept long enough, the others after one interval, in which whoever waits sees
// how they ended. It removes reports without a job too. Only a leader forgets
// jobs; reports are every node's own.
func (s *Service) Clean(ctx context.Context) error {
	ids, err := reports(s.o.Dir) // before the jobs: a new one's is not among them
	if err != nil {
		return err
	}
	known := map[string]bool{}
	var due []view.DiffJob
	now := time.Now()
	err = view.New(s.o.Store).DiffJobs(0, schema.DiffJobKey{}, func(j view.DiffJob) (bool, error) {
		known[idOf(j)] = true
		if s.due(j, now) {
			due = append(due, j)
		}
		return ctx.Err() == nil, nil
	})
	if err == nil && ctx.Err() != nil {
		err = interrupted(ctx)
	}
	if err != nil {
		return err
	}
	if err := removeStrays(s.o.Dir, ids, known); err != nil {
		return err
	}
	if !s.o.Leads() {
		return nil
	}
	for _, j := range due {
		_, err := om.Execute[commandpb.ForgetDiffJob](ctx, s.o.Namespace, command.ForgetDiffJob, forgetting(&j))
		if errs.KindOf(err) == errs.Conflict {
			continue // it is computed again, for somebody who asked just now
		}
		if err := s.forgotten(&j, err); err != nil {
			return err
		}
	}
	return nil
}

// due reports whether a job has been over for long enough to be forgotten.
func (s *Service) due(j view.DiffJob, now time.Time) bool {
	state, keep := o3v1.DiffState(j.Row.State), s.o.CleanupInterval
	if state == done {
		keep = s.o.KeepReports
	}
	return (state == done || command.Over(state)) && j.Row.FinishedMs < now.Add(-keep).UnixMilli()
}

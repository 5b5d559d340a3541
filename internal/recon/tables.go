package recon

import (
	"context"
	"errors"
	"sync"

	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/validate"
)

// endOfLog is how a stage ends whose log cannot be followed.
func endOfLog(j job, b *broken) error {
	how := staging.EndSource
	switch {
	case b.reason == ReasonTasks, b.reason == ReasonDisk:
		how = staging.EndTask
	case j.kind == staging.Incremental && b.reason == ReasonTruncated:
		how = staging.EndRefused
	}
	return end(how, b)
}

// taskNames returns the tasks of a generation.
func (s *Service) taskNames() (names []string) {
	for _, t := range s.tasks() {
		names = append(names, t.Name)
	}
	return names
}

// onStagingStart tells the tasks that a stage begins.
func (s *Service) onStagingStart(st *stage) error {
	for _, name := range s.taskNames() {
		st.tasks = append(st.tasks, name)
		if hook := s.o.Staging.Hooks.OnStagingStart; hook != nil {
			if err := hook(st.job.id, name); err != nil {
				s.taskFailed(st, name, err)
				return end(staging.EndTask, err)
			}
		}
	}
	return nil
}

// onStagingComplete tells those that were told of the beginning how a stage has ended.
func (s *Service) onStagingComplete(st *stage, success bool) {
	if hook := s.o.Staging.Hooks.OnStagingComplete; hook != nil {
		for _, name := range st.tasks {
			hook(st.job.id, name, success)
		}
	}
	st.tasks = nil
}

// reprocessToStaging has all tasks fill the tables of a stage from its replica.
func (s *Service) reprocessToStaging(ctx context.Context, st *stage) error {
	if err := s.onStagingStart(st); err != nil {
		return err
	}
	s.step(st, PhaseRebuild)
	o := s.o.Rebuild
	limits := s.limits(st)
	o.Memory, o.Workers = limits.Memory, limits.Threads
	s.expect(ctx, st)
	o.Held = func(bytes int) { s.holds(st, bytes) }
	o.Progress = func(table string, n int64) {
		s.rebuildProgress(st, table, n)
		if s.o.Rebuild.Progress != nil {
			s.o.Rebuild.Progress(table, n)
		}
	}
	o.Turn = func(ctx context.Context) (int, func(), error) { return s.turn(ctx, st) }
	began := s.clock.Now()
	var err error
	if st.rebuilt, err = st.g.Rebuild(ctx, o); err == nil {
		s.pace(ctx, st)
		err = context.Cause(ctx)
	}
	s.tasksDone(st, s.clock.Now().Sub(began), err)
	return end(staging.EndTask, err)
}

// validateStagingData compares the tables of a stage with what the namespace says of itself,
// and checks what is stored.
func (s *Service) validateStagingData(ctx context.Context, st *stage) error {
	if err := st.g.Verify(ctx); err != nil {
		return end(staging.EndValidation, err)
	}
	v, err := st.g.Inspect(ctx)
	if err != nil {
		return end(staging.EndValidation, err)
	}
	err = s.look(ctx, st, v)
	if err = errors.Join(err, v.Close()); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return end(staging.EndValidation, err)
}

func (s *Service) look(ctx context.Context, st *stage, v *generation.View) error {
	problems, err := validate.Tables(ctx, v)
	if err != nil {
		return err
	}
	for _, p := range problems {
		s.taskFailed(st, p.Task, validate.Error([]validate.Problem{p}))
	}
	if err := validate.Error(problems); err != nil {
		return err
	}
	if hook := s.o.Staging.Hooks.ValidateStagingData; hook != nil {
		for _, name := range s.taskNames() {
			if err := hook(st.job.id, name, v); err != nil {
				s.taskFailed(st, name, err)
				return err
			}
		}
	}
	return nil
}

// inPlace makes a stage of the generation in force itself, or of one that comes
// into force before it has tables: nobody is shown those until they are whole.
func (s *Service) inPlace(ctx context.Context, st *stage) error {
	cur, _ := s.now()
	var err error
	if st.job.kind == staging.Full || cur == nil {
		cur, err = s.replace(ctx, st)
	} else {
		cur, err = s.hold(st, cur)
	}
	if err != nil {
		return err
	}
	cur.follow.Lock() // its follower has gone, since it is paused
	defer cur.follow.Unlock()
	if err := s.move(staging.Processing, "", ""); err != nil {
		return end(staging.EndTask, err)
	}
	st.g = cur.g
	err = s.rebuildHeld(ctx, st)
	st.g = nil // it is in force, whatever becomes of the stage
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cur.g.Withhold(s.withheld(err.Error()))
		return err
	}
	s.end(st)
	began := s.clock.Now()
	if err := s.move(staging.Committing, "", ""); err != nil {
		return end(staging.EndSwitch, err)
	}
	s.step(st, PhaseSwitch)
	cur.g.Withhold(nil)
	s.take(&served{name: cur.name, g: cur.g, follow: cur.follow})
	s.committed(st, s.clock.Now().Sub(began))
	return nil
}

func (s *Service) rebuildHeld(ctx context.Context, st *stage) error {
	if err := s.reprocessToStaging(ctx, st); err != nil {
		return err
	}
	s.step(st, PhaseValidate)
	if err := s.validateStagingData(ctx, st); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return end(staging.EndTask, s.move(staging.ReadyToCommit, "", ""))
}

// hold has the tables of the generation in force withheld, and nobody follow with
// it.
func (s *Service) hold(st *stage, cur *served) (*served, error) {
	held := &served{name: cur.name, g: cur.g, follow: cur.follow, paused: true}
	s.take(held)
	cur.follow.Lock() // until its follower has gone
	defer cur.follow.Unlock()
	held.g.Withhold(s.withheld("stage " + st.job.id))
	return held, nil
}

// replace puts a generation in force of which only the replica is there.
func (s *Service) replace(ctx context.Context, st *stage) (*served, error) {
	if err := s.createStagingArea(ctx, st); err != nil {
		return nil, err
	}
	s.files.Lock()
	defer s.files.Unlock()
	before := s.inForce()
	st.g.Withhold(s.withheld("stage " + st.job.id))
	if err := s.mark(marker{Generation: st.job.id, SinceMs: s.clock.Now().UnixMilli()}); err != nil {
		return nil, end(staging.EndSwitch, err)
	}
	held := &served{name: st.job.id, g: st.g, follow: new(sync.Mutex), paused: true}
	st.g = nil
	if old := s.take(held); old != nil {
		s.retire(old, false)
		s.switched(old.name, st.job.id)
	}
	if before.Previous != "" {
		s.discard("previous generation", before.Previous, "tables are rebuilt in place")
	}
	return held, nil
}

package recon

import (
	"context"
	"errors"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/staging"
)

// guard watches over a stage until inner ends: its time, what the machine has, its
// files; and tells how far it is.
func (s *Service) guard(inner context.Context, st *stage) {
	st.wg.Go(func() { s.every(inner, s.o.Staging.ProgressInterval, s.report) })
	st.wg.Go(func() { s.every(inner, s.o.Staging.HealthInterval, func() { s.examine(st) }) })
	if s.o.Staging.Timeout > 0 {
		st.wg.Go(func() { s.expire(inner, st) })
	}
}

func (s *Service) every(ctx context.Context, d time.Duration, f func()) {
	for {
		fired, stop := s.clock.Timer(d)
		select {
		case <-fired:
			f()
		case <-ctx.Done():
			stop()
			return
		}
	}
}

func (s *Service) report() {
	if s.o.Listener.StagingProgress != nil {
		s.o.Listener.StagingProgress(s.Staging())
	}
}

// expire ends a stage that takes too long. The time it waits for OMs that do not
// answer does not count.
func (s *Service) expire(inner context.Context, st *stage) {
	for {
		s.mu.Lock()
		left := s.o.Staging.Timeout - (s.clock.Now().Sub(st.began) - st.idle)
		waiting := st.waiting
		s.mu.Unlock()
		if left <= 0 && !waiting {
			st.cancel(errTimeout)
			return
		}
		if left <= 0 {
			left = s.o.MaxBackoff
		}
		fired, stop := s.clock.Timer(left)
		select {
		case <-fired:
		case <-inner.Done():
			stop()
			return
		}
	}
}

// examine is a look at what the machine has for a stage, and at its files.
func (s *Service) examine(st *stage) {
	s.files.Lock()
	s.checkMarker()
	s.files.Unlock()
	if at, err := s.d.at(st.job.id); err == nil && s.made(st) && !s.d.exists(at) {
		st.cancel(end(staging.EndTask, errs.New(errs.Corrupt, at, "the stage's directory is gone")))
		return
	}
	why := s.short()
	if why != "" {
		s.giveUp()
		why = s.short()
	}
	s.mu.Lock()
	if s.stage != st { // it came to its end meanwhile
		s.mu.Unlock()
		return
	}
	from := st.breaker.Look(why)
	to := st.breaker.Step
	st.why = why
	switch {
	case to == staging.StepPaused && st.paused == nil:
		st.paused = make(chan struct{})
	case to != staging.StepPaused && st.paused != nil:
		close(st.paused)
		st.paused = nil
	}
	st.freeTurns()
	s.mu.Unlock()
	if from != to && s.o.Listener.Breaker != nil {
		s.o.Listener.Breaker(st.job.id, from, to, why)
	}
	if to == staging.StepFailed && from != to {
		st.cancel(end(staging.EndResources, errors.New(why)))
	}
}

// made reports whether the stage has a directory of its own.
func (s *Service) made(st *stage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.progress.phase != "" && (!st.job.inPlace || st.job.kind == staging.Full)
}

// inUse reports whether a stage is bringing its image.
func (s *Service) inUse() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stage != nil && s.stage.progress.phase == PhaseImage
}

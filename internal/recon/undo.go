package recon

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"o3/internal/recon/staging"
)

// ending is how far a stage was that came to nothing.
type ending struct {
	id    string
	tasks map[string]TaskProgress
	rows  map[string]int64
}

// rollbackStagingArea clears away a stage that came to nothing.
func (s *Service) rollbackStagingArea(st *stage, err error) {
	e := (*ended)(nil)
	errors.As(err, &e)
	j := st.job
	s.mu.Lock()
	st.over = true
	begun := s.record.StagingID == j.id && s.record.State.Running()
	s.record.Error = err.Error()
	s.last = ending{j.id, maps.Clone(st.progress.tasks), maps.Clone(st.progress.rows)}
	s.told.failures++
	s.mu.Unlock()
	now := s.clock.Now()
	due, failed := s.retries().Next(e.how, j.attempt, now)
	j.waitsForDisk = e.how == staging.EndDisk
	j.freeThen, _ = s.space()
	if failed && s.o.Staging.Fallback && !j.inPlace && e.how != staging.EndCancelled {
		j.inPlace, due, failed = true, now, false
	}
	if begun {
		s.failed("move", s.move(staging.RollingBack, string(e.how), err.Error()))
	}
	s.closeStage(st)
	s.onStagingComplete(st, false)
	if j.id != s.inForce().Generation {
		s.cleanupStagingData(j, e)
	} else if j.kind == staging.Full {
		j.kind = staging.Local // its replica is in force already
	}
	s.finished(st, err)
	if !begun { // not even its beginning could be written
		if !due.IsZero() {
			s.later(next(j), due)
		}
		return
	}
	s.settle(j, e.how, err.Error(), due, failed)
}

func next(j job) job {
	j.attempt++
	return j
}

// settle ends a stage that was rolled back, after j was tried.
func (s *Service) settle(j job, how staging.Ending, detail string, due time.Time, failed bool) {
	to := staging.None
	s.mu.Lock()
	s.record.RetryMs, s.record.InPlace, s.record.Attempt = 0, j.inPlace, j.attempt
	if s.record.Error == "" {
		s.record.Error = detail
	}
	switch {
	case failed:
		to = staging.Failed
	case !due.IsZero():
		s.record.RetryMs = due.UnixMilli()
		detail = fmt.Sprintf("it is tried again at %s", due.UTC().Format(time.RFC3339))
	}
	if to == staging.None && !due.IsZero() && (s.queue == nil || !s.queue.kind.Covers(j.kind)) { // else what comes next does it
		s.due = s.again(next(j), due)
	}
	s.mu.Unlock()
	s.failed("move", s.move(to, string(how), detail))
}

// cleanupStagingData removes a stage, or keeps it to be looked at.
func (s *Service) cleanupStagingData(j job, e *ended) {
	if !s.d.exists(s.d.path(j.id)) {
		return
	}
	s.files.Lock()
	defer s.files.Unlock()
	if e.how.Keeps() {
		for name := range s.keptStages() {
			s.discard("kept stage", name, "another one is kept")
		}
		err := s.d.keep(j.id, string(e.how), e.Error(), s.clock.Now())
		if err == nil {
			return
		}
		s.failed("keep "+j.id, err)
	}
	if hook := s.o.Staging.Hooks.CleanupStagingData; hook != nil {
		for _, name := range s.taskNames() {
			hook(j.id, name)
		}
	}
	if e.how == staging.EndImage || e.how == staging.EndTimeout || e.how == staging.EndDisk {
		s.failed("salvage the image of "+j.id, s.d.salvage(j.id, false))
	}
	s.discard("stage", j.id, e.Error())
}

func (s *Service) retries() staging.Retries {
	o := s.o.Staging
	return staging.Retries{Off: o.NoAutoRetry, Max: o.MaxRetries, Delay: o.RetryDelay}
}

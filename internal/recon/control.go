package recon

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/staging"
)

// CancelStaging cancels the stage that is being made and the one that comes next,
// or is due later. It reports whether there was any. What was made of it is removed.
func (s *Service) CancelStaging() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	any := s.queue != nil || s.retry != nil
	if s.retry != nil {
		r := s.record
		r.RetryMs = 0
		s.record = r
		s.forget = true
	}
	s.queue, s.retry = nil, nil
	if st := s.stage; st != nil && !st.over {
		st.cancel(errCancelled)
		any = true
	}
	s.nudge()
	return any
}

// RetryStaging has the last stage, which came to nothing, made again at once; clean
// has it made from nothing. Kind Conflict: none came to nothing, or one is being
// made.
func (s *Service) RetryStaging(clean bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stage != nil || s.queue != nil:
		return errs.New(errs.Conflict, "staging", "a stage is being made")
	case s.retry != nil:
		j := *s.retry
		j.clean, j.manual = clean, true
		s.queue, s.retry = &j, nil
	case s.record.State == staging.Failed || s.record.State == staging.None && s.record.Error != "":
		j := jobOf(s.record, 1)
		j.id, j.clean, j.manual, j.inPlace = generationName(s.next), clean, true, false
		s.next++
		s.queue = &j
	default:
		return errs.New(errs.Conflict, "staging", "no stage has failed")
	}
	s.nudge()
	return nil
}

// Rollback puts the generation before the one in force into force again, which is
// kept in its stead, and brings it up to date by the log. Who looks at one goes on
// doing so; nobody is refused. Kind Conflict: none is kept, or a stage is being
// made.
func (s *Service) Rollback(ctx context.Context) (from, to string, err error) {
	if err := s.lockIdle(ctx); err != nil {
		return "", "", err
	}
	defer s.exec.Unlock()
	began := s.clock.Now()
	s.files.Lock()
	defer s.files.Unlock()
	m := s.inForce()
	cur, _ := s.now()
	if m.Previous == "" || cur == nil {
		return "", "", errs.New(errs.Conflict, "rollback", "no generation before the one in force is kept")
	}
	if r := s.closingOf(m.Previous); r != nil { // somebody looks at it still
		select {
		case <-r.closed:
		case <-ctx.Done():
			return "", "", context.Cause(ctx)
		}
	}
	g, err := s.openGeneration(ctx, m.Previous)
	if err != nil {
		return "", "", err
	}
	if built, berr := g.Built(); berr != nil || !built {
		berr = errors.Join(berr, errs.New(errs.Corrupt, m.Previous, "its derived tables are older than its replica, or of another version"))
		return "", "", errors.Join(berr, g.Close())
	}
	if err := s.mark(marker{Generation: m.Previous, SinceMs: began.UnixMilli(), Previous: m.Generation}); err != nil {
		return "", "", errors.Join(err, g.Close())
	}
	old := s.take(&served{name: m.Previous, g: g, follow: new(sync.Mutex)})
	s.retire(old, true)
	s.switched(m.Generation, m.Previous)
	if s.o.Listener.RolledBack != nil {
		s.o.Listener.RolledBack(m.Generation, m.Previous, s.clock.Now().Sub(began))
	}
	return m.Generation, m.Previous, nil
}

// lockIdle locks s.exec, which looks and other rollbacks hold for a moment, unless
// a stage holds it.
func (s *Service) lockIdle(ctx context.Context) error {
	for !s.exec.TryLock() {
		s.mu.Lock()
		busy := s.stage != nil
		s.mu.Unlock()
		if busy {
			return errs.New(errs.Conflict, "rollback", "a stage is being made")
		}
		t := time.NewTimer(time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
	return nil
}

// retired is a generation that is being closed.
type retired struct {
	closed chan struct{}
	remove bool // Service.mu guards it
}

// retire closes a generation that is not in force any more, when nobody looks at
// it, and removes it unless it is to be kept.
func (s *Service) retire(old *served, keep bool) {
	r := &retired{closed: make(chan struct{}), remove: !keep}
	s.mu.Lock()
	s.retired[old.name] = r
	s.mu.Unlock()
	s.closing.Go(func() {
		old.follow.Lock() // its follower has gone
		s.failed("flush "+old.name, old.g.FlushIfSound())
		s.failed("close "+old.name, old.g.Close())
		old.follow.Unlock()
		s.mu.Lock()
		delete(s.retired, old.name)
		remove := r.remove
		s.mu.Unlock()
		close(r.closed)
		if remove {
			s.failed("remove "+old.name, s.d.remove(old.name))
		}
	})
}

func (s *Service) closingOf(name string) *retired {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retired[name]
}

// discard removes a generation or a stage, at once or when it is closed.
func (s *Service) discard(what, name, why string) {
	s.mu.Lock()
	r := s.retired[name]
	if r != nil {
		r.remove = true
	}
	s.mu.Unlock()
	at, err := s.d.at(name)
	if err != nil {
		at = s.d.path(name)
	}
	if r == nil {
		if err := s.d.remove(name); err != nil {
			s.failed("remove "+name, err)
			return
		}
	}
	if s.o.Listener.Removed != nil {
		s.o.Listener.Removed(what, at, why)
	}
}

// keptStages returns the stages that are kept to be looked at.
func (s *Service) keptStages() map[string]*Kept {
	all, err := s.d.generations()
	switch {
	case errors.Is(err, fs.ErrNotExist): // before the first start has made it
		return nil
	case err != nil:
		s.failed("list "+s.d.dir, err)
		return nil
	}
	out := map[string]*Kept{}
	for name := range all {
		if k := s.d.kept(name); k != nil {
			out[name] = k
		}
	}
	return out
}

// inForce returns the marker.
func (s *Service) inForce() marker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.marker
}

// results is what came of the stages since the start of the process.
type results struct {
	operations, successful, failures uint64
	took, switching                  time.Duration
}

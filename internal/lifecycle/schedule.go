package lifecycle

import (
	"context"
	"time"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// task is a bucket that has rules.
type task struct {
	id             ns.ObjectID
	volume, bucket string

	// Guarded by Service.mu.
	due       time.Time // of its next turn
	suspended bool
	queued    bool
	running   bool
	failures  int // since something went well
	err       error
	errAt     time.Time
	progress  progress

	// Of the worker that has it.
	cursor  cursor
	unsaved string // an error that no command has saved yet
	overdue uint64 // the scan that was told to be
}

// follow finds out what is due while the node leads.
func (s *Service) follow(ctx context.Context) {
	var looked time.Time
	var seen uint64
	leading := false
	for {
		now := time.Now()
		switch {
		case !s.o.Leads():
			if leading {
				s.letGo()
			}
			leading = false
		case s.mustLook(leading, now.Sub(looked), &seen):
			if err := s.lookAll(ctx); err == nil {
				leading, looked = true, now
			} else if ctx.Err() == nil && !passes(err) {
				s.failed("", err)
			}
		}
		if leading {
			s.enqueue(time.Now())
		}
		wait := time.NewTimer(s.o.LeadInterval)
		select {
		case <-wait.C:
		case <-s.wake:
		case <-ctx.Done():
			wait.Stop()
			return
		}
		wait.Stop()
	}
}

// mustLook reports whether the scans of all buckets are to be looked at.
func (s *Service) mustLook(leading bool, since time.Duration, seen *uint64) bool {
	s.mu.Lock()
	look := s.look
	s.look = false
	s.mu.Unlock()
	if s.o.Changes != nil {
		if n := s.o.Changes(); n != *seen {
			*seen, look = n, true
		}
	}
	return look || !leading || since >= s.o.LookInterval
}

// letGo forgets what only a leader knows.
func (s *Service) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tasks)
	for _, t := range s.queue {
		t.queued = false
	}
	s.queue = nil
}

// lookAll reads which buckets have rules and when they are due.
func (s *Service) lookAll(ctx context.Context) error {
	type seen struct {
		rules     *schemapb.LifecycleConfiguration
		due       time.Time
		suspended bool
	}
	found := map[ns.ObjectID]seen{}
	err := s.o.Namespace.Read(ctx, func(v view.View) error {
		_, all, err := v.LifecycleSuspension(schema.EveryBucket)
		if err != nil {
			return err
		}
		err = v.Lifecycles(0, func(id ns.ObjectID, rules *schemapb.LifecycleConfiguration) (bool, error) {
			state, ok, err := v.LifecycleScan(id)
			if err != nil {
				return false, err
			}
			found[id] = seen{rules, s.dueAt(rules, state, ok), all}
			return true, ctx.Err()
		})
		if err != nil || all {
			return err
		}
		return v.LifecycleSuspensions(func(id ns.ObjectID, _ *schemapb.LifecycleSuspension) (bool, error) {
			if f, ok := found[id]; ok {
				f.suspended = true
				found[id] = f
			}
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.tasks {
		if _, ok := found[id]; !ok {
			delete(s.tasks, id)
		}
	}
	for id, f := range found {
		t := s.tasks[id]
		if t == nil {
			t = &task{id: id, volume: f.rules.Volume, bucket: f.rules.Bucket}
			s.tasks[id] = t
		}
		t.suspended = f.suspended
		if !t.running && t.failures == 0 {
			t.due = f.due
		}
	}
	return nil
}

// dueAt returns when a bucket's turn is: at once, unless its scan by these rules
// has reached its end.
func (s *Service) dueAt(rules *schemapb.LifecycleConfiguration, state *schemapb.LifecycleScanState, ok bool) time.Time {
	if !ok || state.LifecycleConfigurationUpdateID != rules.UpdateId || state.Phase != phaseDone {
		return time.Time{}
	}
	return time.UnixMilli(int64(state.ScanEndTime)).Add(s.o.Interval)
}

// enqueue queues the buckets whose turn it is.
func (s *Service) enqueue(now time.Time) {
	if !s.o.Window.Open(now) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if !t.queued && !t.running && !t.suspended && !t.due.After(now) {
			if t.failures == 0 {
				t.progress.moved = now
			}
			s.push(t)
		}
	}
}

// push puts a bucket at the end of the queue.
func (s *Service) push(t *task) {
	t.queued = true
	s.queue = append(s.queue, t)
	select {
	case s.ready <- struct{}{}:
	default: // as many wake-ups wait as there are workers
	}
}

// next waits for a bucket whose turn it is; nil when ctx ends.
func (s *Service) next(ctx context.Context) *task {
	for ctx.Err() == nil {
		if t := s.pop(); t != nil {
			return t
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
		}
	}
	return nil
}

func (s *Service) pop() *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		t := s.queue[0]
		s.queue = s.queue[1:]
		t.queued = false
		if s.tasks[t.id] != t || t.suspended {
			continue
		}
		t.running = true
		s.running++
		return t
	}
	return nil
}

// may reports whether the work on a bucket may go on.
func (s *Service) may(ctx context.Context, t *task) bool {
	if ctx.Err() != nil || !s.o.Leads() || !s.o.Window.Open(time.Now()) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tasks[t.id] == t && !t.suspended
}

// work gives a bucket its turn, and says when its next is.
func (s *Service) work(ctx context.Context, t *task) {
	began := time.Now()
	again, err := s.turn(ctx, t)
	now := time.Now()
	if s.o.Listener.Turned != nil {
		s.o.Listener.Turned(Turn{t.volume, t.bucket, now.Sub(began), err})
	}
	s.mu.Lock()
	t.running = false
	s.running--
	look, tell := false, false
	switch {
	case ctx.Err() != nil:
	case err == nil:
		t.failures, t.err = 0, nil
		t.due = again
		if s.tasks[t.id] == t && !t.suspended && !t.due.After(now) && s.o.Window.Open(now) {
			s.push(t)
		}
	default:
		// What is stored is not what this node took for it; or something failed.
		// Either way nothing is lost: the next turn starts at what is stored.
		t.cursor = cursor{}
		t.failures++
		look = stale(err)
		if !look || t.failures > 3 {
			t.err, t.errAt, tell = err, now, errs.KindOf(err) != errs.NotLeader
			t.due = now.Add(s.retryAfter(t.failures))
		} else {
			t.due = now
		}
	}
	s.mu.Unlock()
	if tell {
		s.failed(t.volume+"/"+t.bucket, err)
	}
	if look {
		s.poke()
	}
}

// retryAfter returns how long to wait after so many failures in a row.
func (s *Service) retryAfter(failures int) time.Duration {
	d := s.o.RetryMin
	for range min(failures-1, 30) {
		if d *= 2; d >= s.o.RetryMax {
			return s.o.RetryMax
		}
	}
	return d
}

// stale tells that what is stored is not what the work was begun on.
func stale(err error) bool {
	switch errs.KindOf(err) {
	case errs.Conflict, errs.NoSuchConfiguration, errs.NoSuchBucket, errs.NoSuchVolume:
		return true
	}
	return false
}

// passes tells faults of the moment.
func passes(err error) bool {
	switch errs.KindOf(err) {
	case errs.NotLeader, errs.Unavailable, errs.SlowDown, errs.Canceled, errs.DeadlineExceeded:
		return true
	}
	return false
}

package snapdiff

import (
	"context"
	"errors"
	"slices"
	"time"

	"o3/internal/schema"
)

// job is a diff that waits or runs on this node.
type job struct {
	key     schema.DiffJobKey
	id      uint64
	stop    context.CancelCauseFunc // of one that runs; nil while it waits
	started time.Time
	phase   string
	percent float64
}

// Why a running job was stopped.
var (
	errCancelled = errors.New("cancelled by request")
	errNotLeader = errors.New("the node does not lead any more")
)

// place promises a place to a job that is about to be submitted, if there is one.
func (s *Service) place() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs)+s.taken >= s.o.Threads+s.o.Queue {
		return false
	}
	s.taken++
	return true
}

// unplace takes a promise back.
func (s *Service) unplace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
}

// claim waits until nobody else submits what key says, and keeps others from it
// until release is called: they find the job then.
func (s *Service) claim(ctx context.Context, key schema.DiffJobKey) (release func(), err error) {
	mine := make(chan struct{})
	for {
		s.mu.Lock()
		other := s.claims[key]
		if other == nil {
			s.claims[key] = mine
		}
		s.mu.Unlock()
		if other == nil {
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.claims, key)
				close(mine)
			}, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, interrupted(ctx)
		}
	}
}

// enqueue has a job wait for a thread. One that waits or runs already is left;
// one with another id is not wanted any more, since a key has one job only.
func (s *Service) enqueue(key schema.DiffJobKey, id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.jobs[key]; have != nil {
		if have.id == id {
			return
		}
		s.dropLocked(have, errCancelled)
	}
	j := &job{key: key, id: id}
	s.jobs[key] = j
	s.queue = append(s.queue, j)
	s.wakeOne()
}

// wakeOne has a thread look at the queue.
func (s *Service) wakeOne() {
	select {
	case s.wake <- struct{}{}:
	default: // as many as there are threads will look anyway
	}
}

// next returns the job that has waited longest, and the context it runs in; nil
// when ctx ends. From then on the job holds its snapshots. end must be called.
func (s *Service) next(ctx context.Context) (context.Context, *job) {
	for ctx.Err() == nil {
		if run, j := s.begin(ctx); j != nil {
			return run, j
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	return ctx, nil
}

// begin takes the first job of the queue whose id no thread is busy with: one
// that was stopped may be back before its thread has noticed.
func (s *Service) begin(ctx context.Context) (context.Context, *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.queue, func(j *job) bool { return s.active[j.id] == nil })
	if i < 0 {
		return ctx, nil
	}
	j := s.queue[i]
	s.queue = slices.Delete(s.queue, i, i+1)
	if len(s.queue) > 0 {
		s.wakeOne()
	}
	ctx, j.stop = context.WithCancelCause(ctx)
	j.started = time.Now()
	s.active[j.id] = j
	for _, k := range handles(j.key) {
		s.held[k]++
	}
	return ctx, j
}

// end forgets a job that ran, and its handles.
func (s *Service) end(j *job) {
	j.stop(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[j.key] == j {
		delete(s.jobs, j.key)
	}
	delete(s.active, j.id)
	for _, k := range handles(j.key) {
		if s.held[k]--; s.held[k] == 0 {
			delete(s.held, k)
		}
	}
	s.wakeOne()
}

func handles(k schema.DiffJobKey) []schema.SnapshotKey {
	out := []schema.SnapshotKey{{Bucket: k.Bucket, Op: k.From}}
	if k.To != 0 {
		out = append(out, schema.SnapshotKey{Bucket: k.Bucket, Op: k.To})
	}
	return out
}

// Holds reports whether a running job holds a snapshot: what only it sees must
// not be reclaimed yet.
func (s *Service) Holds(k schema.SnapshotKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[k] > 0
}

// drop stops a job that waits or runs here, because of cause.
func (s *Service) drop(key schema.DiffJobKey, id uint64, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[key]; j != nil && j.id == id {
		s.dropLocked(j, cause)
	}
}

func (s *Service) dropLocked(j *job, cause error) {
	delete(s.jobs, j.key)
	s.queue = slices.DeleteFunc(s.queue, func(q *job) bool { return q == j })
	if j.stop != nil {
		j.stop(cause)
	}
}

// letGo stops all jobs: they are the next leader's.
func (s *Service) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		s.dropLocked(j, errNotLeader)
	}
}

// lose notes that the store may have a job, not over, that does not wait or run
// here: it is looked for at the next look at who leads.
func (s *Service) lose(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j != nil && s.jobs[j.key] == j {
		delete(s.jobs, j.key)
	}
	s.lost = true
}

// takeLost returns what lose noted, and forgets it.
func (s *Service) takeLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost
	s.lost = false
	return lost
}

// Stats says how many jobs wait and run on this node.
func (s *Service) Stats() (queued, running int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue), len(s.active)
}

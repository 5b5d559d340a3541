package recon

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
)

// Service is Recon without its edges.
type Service struct {
	o     Options
	d     *directory
	clock Clock
	wake  chan struct{} // the builder has something new to look at; holds one
	exec  sync.Mutex    // held while a stage is made, and by Rollback
	files sync.Mutex    // held while the marker is changed, and what is kept is given up

	mu      sync.Mutex
	current *served // nil: none yet
	status  Status
	changed chan struct{} // closed and made anew when current changes
	next    uint64        // number of the next generation
	closing sync.WaitGroup
	retired map[string]*retired // generations that are being closed

	marker marker         // as in the file
	record staging.Record // likewise
	stage  *stage         // that is being made
	queue  *job           // that comes next
	retry  *job           // that is due later
	due    *job           // that becomes retry when the stage is over
	forget bool           // the record still has a retry that was cancelled
	needs  *ask           // what those who follow wait for; nil: nothing
	last   ending         // of the last stage that came to nothing
	told   results
	rows   map[string]int64 // that the last rebuild has read, by table
}

// served is a generation that answers come from.
type served struct {
	name   string
	g      *generation.Generation
	follow *sync.Mutex // held by whoever brings it forward
	paused bool        // it is rebuilt in place, and not followed
}

// New returns a Service; Run makes it work.
func New(o Options) *Service {
	o = o.withDefaults()
	d := &directory{fs: o.Generation.FS, dir: o.Dir, base: o.Staging.BasePath}
	if d.fs == nil {
		d.fs = vfs.Default
	}
	d.own = vfs.Root(d.fs) == vfs.Default
	return &Service{
		o: o, d: d, clock: o.Staging.Clock, wake: make(chan struct{}, 1), changed: make(chan struct{}), next: 1,
		status: Status{State: StateStarting}, record: staging.New(), retired: map[string]*retired{},
	}
}

// Run follows the OM until ctx ends, when it returns nil, or until the directory
// cannot be used.
func (s *Service) Run(ctx context.Context) (err error) {
	for _, dir := range []string{s.d.dir, s.d.base} {
		if err := s.d.make(dir); err != nil {
			return errs.Wrap(errs.Internal, dir, err)
		}
	}
	lock, err := s.d.fs.Lock(s.d.path(lockFile))
	if err != nil {
		return errs.Wrap(errs.Unavailable, s.d.dir+": another process uses it", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.build(ctx) })
	g.Go(func() error { return s.keepFollowing(ctx) })
	g.Go(func() error { return s.watch(ctx) })
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if cur := s.take(nil); cur != nil {
		err = errors.Join(err, cur.g.FlushIfSound(), cur.g.Close())
	}
	s.closing.Wait()
	return err
}

// take puts a generation into force and returns the one before.
func (s *Service) take(next *served) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current
	s.current, s.status.Generation = next, ""
	if next != nil && !next.paused {
		s.needs = nil // those who follow find out what they can do with this one
	}
	if next != nil {
		s.status.Generation = next.name
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return old
}

// now returns the generation in force, and a channel that is closed when there is
// another.
func (s *Service) now() (*served, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.changed
}

// View takes a look at what Recon knows; the caller closes it. Kind Unavailable
// as long as there is nothing.
func (s *Service) View(ctx context.Context) (*generation.View, error) {
	for {
		cur, changed := s.now()
		if cur == nil {
			return nil, errs.New(errs.Unavailable, "Recon", s.why())
		}
		v, err := cur.g.View(ctx)
		if err == nil {
			return v, nil
		}
		select {
		case <-changed: // it was closed under us: the next one is there
		default:
			return nil, err
		}
	}
}

// why says why there is nothing to answer from.
func (s *Service) why() string {
	st := s.Status()
	text := "it has not read the namespace yet"
	if b := st.Building; b != nil {
		text += ": " + string(b.Phase)
	}
	if st.Error != "" {
		text += "; " + st.Error
	}
	return text
}

// Status returns how the Service is.
func (s *Service) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	if s.current != nil {
		pos := s.current.g.Position()
		st.Index, st.Op, st.Digest, st.Time = pos.Index, uint64(pos.Op), pos.Digest.String(), time.UnixMilli(pos.TimeMs).UTC()
	}
	if need := s.needed(); need != "" {
		st.Error = strings.TrimPrefix(st.Error+"; "+need, "; ")
	}
	if s.stage != nil && s.stage.building != nil {
		b := *s.stage.building
		st.Building = &b
	}
	return st
}

func (s *Service) failed(what string, err error) {
	if err != nil && s.o.Listener.Failed != nil {
		s.o.Listener.Failed(what, err)
	}
}

// set changes the state, and what went wrong.
func (s *Service) set(to State, err error) {
	s.mu.Lock()
	from := s.status.State
	s.status.State, s.status.Error = to, ""
	if err != nil {
		s.status.Error = err.Error()
	}
	s.mu.Unlock()
	if from != to && s.o.Listener.State != nil {
		s.o.Listener.State(from, to, err)
	}
}

// tell notes what the OM told of itself.
func (s *Service) tell(m *o3v1.ReadLogResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Commit = max(m.CommitIndex, s.status.Commit)
	s.status.Heard = s.clock.Now()
	if st := m.State; st != nil {
		s.status.Compared = max(s.status.Compared, st.Index)
	}
}

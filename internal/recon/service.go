package recon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	o3v1 "o3/api/o3/v1"
	"o3/internal/durable"
	"o3/internal/errs"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
)

// Options configures a Service. Dir and Sources are required; a zero field means
// its default.
type Options struct {
	Dir     string   // of the generations; made if it is absent
	Sources []Source // asked in this order; at least one

	Rebuild    task.RebuildOptions // Dir is chosen by the Service
	Generation generation.Options  // likewise

	FlushInterval time.Duration // between flushes of what was applied; 10 s
	Backoff       time.Duration // before an OM that did not answer is asked again, doubled each time; 500 ms
	MaxBackoff    time.Duration // 30 s

	Listener Listener
}

// Listener hears what a Service does. Nil fields are silent. Calls are
// synchronous and must not block.
type Listener struct {
	State    func(from, to State, why error)
	Applied  func(entries int, took time.Duration)
	Building func(b Building)               // a step of it begins
	Built    func(s Synced, r task.Rebuilt) // or came to nothing
	Switched func(from, to string)          // generations; "" is none
	Failed   func(what string, err error)   // something beside went wrong, which is tried again
}

// Service is Recon without its edges.
type Service struct {
	o    Options
	asks chan ask // for a new generation; holds one

	mu      sync.Mutex
	current *served // nil: none yet
	status  Status
	built   *Building
	changed chan struct{} // closed and made anew when current changes
	next    uint64        // number of the next generation
	closing sync.WaitGroup
}

// served is a generation that answers come from.
type served struct {
	name string
	g    *generation.Generation
}

// ask is a wish for a new generation.
type ask struct {
	reason Reason
	detail string
	local  bool // from our own replica; else from an image of the OM
}

// New returns a Service; Run makes it work.
func New(o Options) *Service {
	if o.FlushInterval == 0 {
		o.FlushInterval = 10 * time.Second
	}
	if o.Backoff == 0 {
		o.Backoff = 500 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 30 * time.Second
	}
	return &Service{o: o, asks: make(chan ask, 1), changed: make(chan struct{}), next: 1, status: Status{State: StateStarting}}
}

// Run follows the OM until ctx ends, when it returns nil, or until the directory
// cannot be used.
func (s *Service) Run(ctx context.Context) (err error) {
	if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
		return errs.Wrap(errs.Internal, s.o.Dir, err)
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.build(ctx) })
	g.Go(func() error { return s.keepFollowing(ctx) })
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if cur := s.take(nil, ""); cur != nil {
		err = errors.Join(err, cur.g.Flush(), cur.g.Close())
	}
	s.closing.Wait()
	return err
}

// open opens the generation in force, and removes what was left of others.
func (s *Service) open(ctx context.Context) error {
	name, err := readCurrent(s.o.Dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.o.Dir)
	if err != nil {
		return errs.Wrap(errs.Internal, s.o.Dir, err)
	}
	if err := os.RemoveAll(filepath.Join(s.o.Dir, currentFile+durable.NewSuffix)); err != nil {
		return errs.Wrap(errs.Internal, s.o.Dir, err)
	}
	for _, e := range entries {
		m := generationForm.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		s.next = max(s.next, number(m[1])+1)
		if e.Name() != name {
			if err := os.RemoveAll(filepath.Join(s.o.Dir, e.Name())); err != nil {
				return errs.Wrap(errs.Internal, filepath.Join(s.o.Dir, e.Name()), err)
			}
		}
	}
	if name == "" {
		s.wish(ask{reason: ReasonFirst})
		return nil
	}
	g, err := s.openGeneration(ctx, name)
	if err != nil {
		s.failed("open "+name, err)
		s.wish(ask{reason: ReasonDamaged, detail: err.Error()})
		return nil
	}
	built, err := g.Built()
	if err != nil || !built {
		s.failed("open "+name, errs.New(errs.Corrupt, name, "its derived tables are older than its replica"))
		_, err = g.Rebuild(ctx, s.o.Rebuild)
	}
	if err != nil {
		s.wish(ask{reason: ReasonDamaged, detail: err.Error()})
		return g.Close()
	}
	s.take(&served{name, g}, name)
	return nil
}

func number(digits string) (n uint64) {
	for _, d := range digits {
		n = n*10 + uint64(d-'0')
	}
	return n
}

func (s *Service) openGeneration(ctx context.Context, name string) (*generation.Generation, error) {
	o := s.o.Generation
	o.Dir = filepath.Join(s.o.Dir, name)
	return generation.Open(ctx, o)
}

// take puts a generation into force and returns the one before.
func (s *Service) take(next *served, name string) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current
	s.current, s.status.Generation = next, name
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

// wish asks for a new generation, unless that is asked for already.
func (s *Service) wish(a ask) bool {
	select {
	case s.asks <- a:
		return true
	default:
		return false
	}
}

// Sync has the namespace brought from the OM anew. It reports whether it will be;
// else a sync is due anyway.
func (s *Service) Sync() bool { return s.manual(ask{reason: ReasonManual}) }

// Reinit has the derived tables built anew from the replica that is here.
func (s *Service) Reinit() bool { return s.manual(ask{reason: ReasonRebuild, local: true}) }

func (s *Service) manual(a ask) bool {
	s.mu.Lock()
	busy := s.built != nil
	s.mu.Unlock()
	return !busy && s.wish(a)
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
	if s.built != nil {
		b := *s.built
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
	s.status.Heard = time.Now()
	if st := m.State; st != nil {
		s.status.Compared = max(s.status.Compared, st.Index)
	}
}

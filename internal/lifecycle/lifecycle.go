// Package lifecycle makes the rules of buckets happen: on the node that leads it
// scans each bucket that has a lifecycle configuration, and deletes, moves to
// trash or aborts what has expired; it sets trash aside and empties it; it says
// where scans stand and what one would do.
//
// A scan is a replicated row. It moves on by commands that deal with what they
// name and note, in the same op, where they end: so a scan that is cut short
// anywhere goes on from there, on whichever node leads, and deals with nothing
// twice. What a command covers is exactly what lies between two such notes;
// nothing is passed over because something failed. A scan reaches its end only
// when every row was read without an error.
//
// Buckets take turns: as many as there are workers at a time, each for a slice
// of time, with at most one command under way. Time is the wall clock's; whether
// something has expired is decided by the time at which its scan began.
//
// Run owns the package's goroutines. A Service is safe for concurrent use.
package lifecycle

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema/schemapb"
)

// Options configures a Service. Namespace and Leads are required; a zero field
// means its default.
type Options struct {
	Namespace *om.Service
	Leads     func() bool // whether this node leads now
	Off       bool        // nothing is scanned: Run only waits. Preview and status are answered

	// Changes returns a number that grows when configurations of buckets change.
	// Nil: they are looked at every LookInterval only.
	Changes func() uint64

	Interval     time.Duration // from the end of a bucket's scan to its next; 24 h
	Timeout      time.Duration // after which a scan is told as overdue; it goes on; 2 h
	Workers      int           // buckets that are scanned at once; 5
	Batch        int           // victims of one command, at most command.MaxStepVictims; 1,000
	AbortParts   int           // parts of multipart uploads that one command drops; an upload is not divided; 1,000
	SaveInterval time.Duration // after which a scan that found nothing is saved; 5 min
	SaveRows     uint64        // or after so many rows; 100,000
	Rate         float64       // victims per second, of all buckets; 0: no bound
	Window       Window        // of work; the zero value: always
	Day          time.Duration // length of a day of rules; 24 h

	Trash           bool          // keys and directories are moved to trash, not deleted; else what lies there is not looked at
	TrashCheckpoint time.Duration // how often what is in trash is set aside; 1 h
	TrashKeep       time.Duration // from being set aside to being deleted; 24 h. Negative: trash is not looked at

	Slice        time.Duration // of work on a bucket before another has its turn; 2 s
	StepTimeout  time.Duration // of one command; 1 min
	RetryMin     time.Duration // after a failure, doubled by each more; 1 s
	RetryMax     time.Duration // at most; 5 min
	LeadInterval time.Duration // between looks at who leads and what changed; 1 s
	LookInterval time.Duration // between looks at all buckets' scans; 1 min
	PreviewSlice time.Duration // of one call of a preview; 1 s
	PreviewRows  uint64        // that it looks at before it looks at the clock; 256

	Listener Listener
}

// Listener hears what a Service does. Nil fields are silent. Calls are
// synchronous, from several goroutines, and must not block.
type Listener struct {
	Began   func(Scan)                    // a scan began; a scan that goes on is not told
	Looked  func(rows, dirs, uploads int) // since it was called last
	Stepped func(Step)
	Ended   func(Scan)
	Overdue func(Scan) // once for each scan, on each node
	Turned  func(Turn)
	Emptied func(Emptied)
	Failed  func(bucket string, err error) // it is tried again
}

// Scan is a scan of a bucket.
type Scan struct {
	Volume, Bucket string
	State          *schemapb.LifecycleScanState // not to be changed
}

// Step is a command of a scan that was applied.
type Step struct {
	Scan
	Victims []*commandpb.LifecycleVictim
	Reply   *commandpb.LifecycleStepReply
	Rules   *schemapb.LifecycleConfiguration
	Before  []*schemapb.LifecycleRuleCounters // of the scan, before it
	Took    time.Duration                     // until it was applied
	Waited  time.Duration                     // for the bound on the rate
}

// ByRule returns what the command did, by rule.
func (s Step) ByRule() (out []*schemapb.LifecycleRuleCounters) {
	for _, now := range s.State.Rules {
		did := proto.CloneOf(now)
		for _, old := range s.Before {
			if old.Rule == now.Rule {
				subtract(did, old)
			}
		}
		if !proto.Equal(did, &schemapb.LifecycleRuleCounters{Rule: now.Rule, Id: now.Id}) {
			out = append(out, did)
		}
	}
	return out
}

func subtract(c, less *schemapb.LifecycleRuleCounters) {
	c.DeletedKeys -= less.DeletedKeys
	c.DeletedBytes -= less.DeletedBytes
	c.DeletedDirs -= less.DeletedDirs
	c.MovedKeys -= less.MovedKeys
	c.MovedBytes -= less.MovedBytes
	c.MovedDirs -= less.MovedDirs
	c.AbortedUploads -= less.AbortedUploads
	c.AbortedBytes -= less.AbortedBytes
	c.Skipped -= less.Skipped
}

// Turn is how the work on a bucket ended that it had its turn for.
type Turn struct {
	Volume, Bucket string
	Took           time.Duration
	Err            error
}

// Emptied is what was done to a trash of a bucket.
type Emptied struct {
	Volume, Bucket, Owner, Checkpoint string
	Keys, Bytes                       uint64 // of an object-store bucket
	Gone                              bool   // false: it was only set aside
}

func (o *Options) setDefaults() {
	setDefault(&o.Interval, 24*time.Hour)
	setDefault(&o.Timeout, 2*time.Hour)
	setDefault(&o.Workers, 5)
	setDefault(&o.Batch, command.MaxStepVictims)
	o.Batch = min(o.Batch, command.MaxStepVictims)
	setDefault(&o.AbortParts, 1000)
	setDefault(&o.SaveInterval, 5*time.Minute)
	setDefault(&o.SaveRows, 100_000)
	setDefault(&o.Day, 24*time.Hour)
	setDefault(&o.TrashCheckpoint, time.Hour)
	setDefault(&o.TrashKeep, 24*time.Hour)
	setDefault(&o.Slice, 2*time.Second)
	setDefault(&o.StepTimeout, time.Minute)
	setDefault(&o.RetryMin, time.Second)
	setDefault(&o.RetryMax, 5*time.Minute)
	setDefault(&o.LeadInterval, time.Second)
	setDefault(&o.LookInterval, time.Minute)
	setDefault(&o.PreviewSlice, time.Second)
	setDefault(&o.PreviewRows, tickRows)
}

func setDefault[T comparable](p *T, v T) {
	if *p == *new(T) {
		*p = v
	}
}

// Service scans buckets.
type Service struct {
	o       Options
	limit   *rate.Limiter
	most    int           // victims of one command
	preview chan struct{} // places of previews that run
	wake    chan struct{} // something may be due

	mu      sync.Mutex
	tasks   map[ns.ObjectID]*task // of the buckets that have rules, while the node leads
	queue   []*task               // those that wait for a worker
	ready   chan struct{}         // something is in the queue
	running int
	look    bool // what is stored may be news
}

// New returns a service; Run starts it.
func New(o Options) *Service {
	o.setDefaults()
	s := &Service{
		o: o, most: o.Batch, limit: rate.NewLimiter(rate.Inf, 0), tasks: map[ns.ObjectID]*task{},
		wake: make(chan struct{}, 1), ready: make(chan struct{}, o.Workers), preview: make(chan struct{}, o.Workers),
	}
	if o.Rate > 0 {
		// Many small commands disturb others less than a few large ones.
		s.most = max(1, min(o.Batch, int(o.Rate/10)))
		s.limit = rate.NewLimiter(rate.Limit(o.Rate), s.most)
	}
	return s
}

// Run scans buckets until ctx ends. Scans that are cut short stay as they are in
// the store, and go on at the next start. It returns nil.
func (s *Service) Run(ctx context.Context) error {
	if s.o.Off {
		<-ctx.Done()
		return nil
	}
	var g errgroup.Group
	for range s.o.Workers {
		g.Go(func() error {
			for t := s.next(ctx); t != nil; t = s.next(ctx) {
				s.work(ctx, t)
			}
			return nil
		})
	}
	g.Go(func() error { s.follow(ctx); return nil })
	g.Go(func() error { s.trashLoop(ctx); return nil })
	return g.Wait()
}

// Stats returns how many buckets are being scanned, and how many wait.
func (s *Service) Stats() (running, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running, len(s.queue)
}

// Buckets returns how many buckets have rules, as far as this node knows: while it
// leads.
func (s *Service) Buckets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks)
}

func (s *Service) failed(what string, err error) {
	if err != nil && s.o.Listener.Failed != nil {
		s.o.Listener.Failed(what, err)
	}
}

// poke has the service look at once at what is due.
func (s *Service) poke() {
	s.mu.Lock()
	s.look = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Package snapdiff compares two points in time of a bucket: it takes jobs,
// queues them, computes their reports and serves these in pages.
//
// A job is a replicated row, so it outlives a restart and its node; its report
// is a file of the node that computed it, and is computed again, under the same
// id, where it is missing. Reports do not change: two who page through one at
// once see the same.
//
// Run owns the package's goroutines: the threads that compute, one that follows
// leadership and one that cleans up. Jobs run on the leader only. A Service is
// safe for concurrent use.
package snapdiff

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	o3v1 "o3/api/o3/v1"
	"o3/internal/kv"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/snapdiff/delta"
	"o3/internal/snapdiff/report"
)

// Options configures a Service. Store, Namespace, Leads and Dir are required; a
// zero field means its default.
type Options struct {
	Store     kv.Store
	Namespace *om.Service
	Leads     func() bool // whether this node leads now
	Dir       string      // of reports and of what does not fit into memory; made if absent

	Threads         int           // jobs that run at once; 10
	Queue           int           // jobs that may wait; as many as run
	MaxPage         int           // entries of a page; 5,000
	WaitTime        time.Duration // after which a client asks again; 1 min
	KeepReports     time.Duration // from the end of a job that is done to its removal; 7 d
	CleanupInterval time.Duration // between cleanups, and how long other jobs stay; 1 h
	LeadInterval    time.Duration // between looks at who leads; 1 s
	MaxChanges      int64         // changed keys of one job; 1,000,000,000
	ForceFull       bool          // never trust the journal
	MemoryBytes     int           // of one job; 32 MiB

	Listener Listener
}

// Listener hears what a Service does. Nil fields are silent. Calls are
// synchronous and must not block.
type Listener struct {
	Submitted func()
	Rejected  func()
	Finished  func(Finished)
	Failed    func(task string, err error) // of the service itself; tried again
}

// Finished is how a job ended on this node.
type Finished struct {
	Job    *o3v1.DiffJob
	Counts report.Counts
	Rows   int64 // read
	Spill  int64 // bytes
	Phases map[delta.Phase]time.Duration
	Err    error // of one that failed; it may hold what is for operators only
}

func (o *Options) setDefaults() {
	setDefault(&o.Threads, 10)
	setDefault(&o.Queue, o.Threads)
	setDefault(&o.MaxPage, 5000)
	setDefault(&o.WaitTime, time.Minute)
	setDefault(&o.KeepReports, 7*24*time.Hour)
	setDefault(&o.CleanupInterval, time.Hour)
	setDefault(&o.LeadInterval, time.Second)
	setDefault(&o.MaxChanges, 1_000_000_000)
	setDefault(&o.MemoryBytes, 32<<20)
}

func setDefault[T comparable](p *T, v T) {
	if *p == *new(T) {
		*p = v
	}
}

// Service runs snapshot diffs.
type Service struct {
	o    Options
	wake chan struct{} // a job may be waiting

	mu     sync.Mutex
	jobs   map[schema.DiffJobKey]*job // waiting and running here, and wanted
	queue  []*job                     // those that wait
	active map[uint64]*job            // those that a thread is busy with, wanted or not
	held   map[schema.SnapshotKey]int // handles of active jobs
	taken  int                        // places promised to jobs that are being submitted
	claims map[schema.DiffJobKey]chan struct{}
	lost   bool // see lose
}

// New returns a service; Run starts it.
func New(o Options) *Service {
	o.setDefaults()
	return &Service{
		o: o, wake: make(chan struct{}, o.Threads), jobs: map[schema.DiffJobKey]*job{}, active: map[uint64]*job{},
		held: map[schema.SnapshotKey]int{}, claims: map[schema.DiffJobKey]chan struct{}{},
	}
}

// Run computes jobs until ctx ends. Jobs that are interrupted stay as they are
// in the store, and go on at the next start.
func (s *Service) Run(ctx context.Context) error {
	if err := prepareDir(s.o.Dir); err != nil {
		return err
	}
	var g errgroup.Group
	for range s.o.Threads {
		g.Go(func() error {
			for run, j := s.next(ctx); j != nil; run, j = s.next(ctx) {
				s.work(run, j)
			}
			return nil
		})
	}
	g.Go(func() error { s.follow(ctx); return nil })
	g.Go(func() error { s.cleanLoop(ctx); return nil })
	return g.Wait()
}

func (s *Service) failed(task string, err error) {
	if err != nil && s.o.Listener.Failed != nil {
		s.o.Listener.Failed(task, err)
	}
}

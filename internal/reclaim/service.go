// Package reclaim gives space back: it purges what lies below deleted
// directories, drops what only deleted snapshots saw, frees the bytes of blocks
// that no row names, forgets idle client sessions and open keys that nobody
// finished, and sweeps blocks that were written but never named. It changes the
// namespace only by proposing commands, in small batches, and only while its
// node leads.
//
// Run owns the package's goroutines. Every step is repeatable: a crash between
// freeing bytes and dropping their row frees them once more, which is no error.
package reclaim

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"o3/internal/block"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema"
)

// Options configures a Service. Store, Namespace, Blocks and Leads are required;
// a zero field means its default.
type Options struct {
	Store     kv.Store
	Namespace *om.Service
	Blocks    block.Store
	Leads     func() bool // whether this node leads now

	PurgeInterval   time.Duration // between looks for deleted directories; 1 s
	PurgeBatch      uint32        // rows one command purges; 2,000
	FreeInterval    time.Duration // between looks for deleted blocks; 10 s
	FreeBatch       int           // blocks freed at once; 1,000
	FreeGrace       time.Duration // from a block's deletion to its end; 10 min. Negative: none
	ExpireInterval  time.Duration // between looks for idle sessions and open keys; 10 min
	ExpireBatch     uint32        // rows one command expires; 1,000
	ClientExpiry    time.Duration // idle time after which answers are forgotten; 24 h
	OpenKeyExpiry   time.Duration // age after which an open key is dropped; 7 d
	ReclaimInterval time.Duration // between looks for deleted snapshots; 5 s
	ReclaimBatch    uint32        // rows one command looks at; 2,000
	SweepInterval   time.Duration // between sweeps; 24 h. Negative: never
	SweepGrace      time.Duration // age below which a sweep leaves a block alone: that of om.Options; 24 h

	// OldestRead returns the op that was applied when the oldest read still
	// running began, and false when none runs: what was deleted later is kept.
	// Nil: none ever runs.
	OldestRead func() (ns.Op, bool)

	// Holds reports whether somebody reads a deleted snapshot still: what only it
	// saw is left until they are done. Nil: nobody ever does.
	Holds func(schema.SnapshotKey) bool

	Listener Listener
}

// Listener hears what a Service does. Nil fields are silent. Calls are
// synchronous and must not block.
type Listener struct {
	Purged  func(rows int)
	Freed   func(blocks int, bytes int64)
	Expired func(clients, openKeys int)
	Swept   func(Sweep)

	// Reclaimed tells of a command: the rows it looked at, the rows of history it
	// dropped, and whether the deleted snapshot is gone.
	Reclaimed func(rows, freed int, done bool)
	Failed    func(task string, err error) // the task is tried again at its next interval
}

func (o *Options) setDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.PurgeInterval, time.Second)
	set(&o.FreeInterval, 10*time.Second)
	set(&o.FreeGrace, 10*time.Minute)
	set(&o.ExpireInterval, 10*time.Minute)
	set(&o.ReclaimInterval, 5*time.Second)
	set(&o.ClientExpiry, 24*time.Hour)
	set(&o.OpenKeyExpiry, 7*24*time.Hour)
	set(&o.SweepInterval, 24*time.Hour)
	set(&o.SweepGrace, 24*time.Hour)
	if o.PurgeBatch == 0 {
		o.PurgeBatch = 2000
	}
	if o.ReclaimBatch == 0 {
		o.ReclaimBatch = 2000
	}
	if o.FreeBatch == 0 {
		o.FreeBatch = 1000
	}
	if o.ExpireBatch == 0 {
		o.ExpireBatch = 1000
	}
}

// Service runs the tasks.
type Service struct{ o Options }

// New returns a service; Run starts it.
func New(o Options) *Service {
	o.setDefaults()
	return &Service{o}
}

// Run runs every task at its interval until ctx ends. It returns nil.
func (s *Service) Run(ctx context.Context) error {
	var g errgroup.Group
	for _, task := range []struct {
		name     string
		interval time.Duration
		run      func(context.Context) error
	}{
		{"purge", s.o.PurgeInterval, s.Purge},
		{"reclaim", s.o.ReclaimInterval, s.Reclaim},
		{"free", s.o.FreeInterval, s.Free},
		{"expire", s.o.ExpireInterval, s.Expire},
		{"sweep", s.o.SweepInterval, func(ctx context.Context) error { _, err := s.Sweep(ctx); return err }},
	} {
		g.Go(func() error {
			s.every(ctx, task.name, task.interval, task.run)
			return nil
		})
	}
	return g.Wait()
}

func (s *Service) every(ctx context.Context, name string, interval time.Duration, run func(context.Context) error) {
	if interval < 0 {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !s.o.Leads() {
			continue
		}
		if err := run(ctx); err != nil && ctx.Err() == nil && s.o.Listener.Failed != nil {
			s.o.Listener.Failed(name, err)
		}
	}
}

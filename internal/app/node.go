package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"o3/internal/audit"
	"o3/internal/block/container"
	"o3/internal/config"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/lifecycle"
	"o3/internal/ns"
	"o3/internal/obs"
	"o3/internal/om"
	"o3/internal/pebblekv"
	"o3/internal/reclaim"
	"o3/internal/replica"
	"o3/internal/rpc"
	"o3/internal/s3"
	"o3/internal/schema"
	"o3/internal/snapdiff"
	"o3/internal/tlsconf"
)

// node is a node's components, in the order they are made.
type node struct {
	cfg      *config.Config
	obs      *obs.Obs
	started  time.Time
	id       identity
	halted   chan error // a component failed for good
	takeover takeover
	closers  []func() error

	tracing *obs.Tracing
	audit   *audit.Log
	trail   trail
	store   *pebblekv.Store
	replica *replica.Replica
	blocks  *container.Store
	log     *consensus.Node
	om      *om.Service
	reclaim *reclaim.Service
	diffs   *snapdiff.Service
	cycles  *lifecycle.Service
	images  *images
	holds   *logHolds

	transfers *transfers
	reads     reads
	scrubs    chan struct{}

	gateway    *s3.Gateway
	api        *rpc.Server
	s3TLS      *tlsconf.Source
	omTLS      *tlsconf.Source
	s3Listener net.Listener
	omListener net.Listener
	requests   gate
	recon      *console // nil without the role
	consoleID  consoleIdentity
	space      space
	hooks      hooks
}

// halt stops the node because of err; later calls change nothing.
func (n *node) halt(what string) func(error) {
	return func(err error) {
		n.obs.Log.Error("the node must stop", "component", what, "error", err)
		select {
		case n.halted <- fmt.Errorf("%s: %w", what, err):
		default:
		}
	}
}

func (n *node) closing(f func() error) { n.closers = append(n.closers, f) }

// close closes what was opened, the last first.
func (n *node) close() (err error) {
	for i := len(n.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, n.closers[i]())
	}
	n.closers = nil
	return err
}

// checkGroup refuses what this version cannot do.
func (n *node) checkGroup() error {
	if nodes := n.cfg.Raft.Nodes; len(nodes) > 1 {
		return errs.New(errs.NotImplemented, fmt.Sprintf("ozone.om.nodes with %d nodes", len(nodes)),
			"this version runs a group of one OM; leave the key unset")
	}
	return nil
}

func (n *node) dir(parts ...string) string {
	return filepath.Join(append([]string{n.cfg.Node.DataDir}, parts...)...)
}

func (n *node) openTracing() (err error) {
	n.tracing, err = n.obs.StartTracing(context.Background(), obs.TracingOptions{
		Endpoint: n.cfg.Tracing.Endpoint, SampleRatio: n.cfg.Tracing.SampleRatio, Node: n.cfg.OM.NodeID, Version: Version,
	})
	if err != nil {
		return err
	}
	n.closing(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return n.tracing.Close(ctx)
	})
	return nil
}

func (n *node) openStore() (err error) {
	o := pebblekv.Options{
		Dir: n.dir("om", "store"), Name: "om", Version: schema.Format, DisableWAL: true,
		CacheBytes: n.cfg.DB.CacheSize, MemTableBytes: int(n.cfg.DB.MemtableSize),
		Listener: n.obs.Store(n.halt("store")),
	}
	if n.hooks.store != nil {
		n.hooks.store(&o)
	}
	n.store, err = pebblekv.Open(o)
	if err != nil {
		return err
	}
	n.closing(n.store.Close)
	n.obs.SampleStore(n.store)
	n.replica, err = replica.Open(n.store)
	n.reads.applied = func() ns.Op { return n.replica.Position().Op }
	return err
}

// allDead is a live share that only a container without a live block is below.
const allDead = 1e-12

func (n *node) openBlocks() (err error) {
	b := n.cfg.Block
	reserve := b.Reserve
	if reserve == 0 {
		reserve = -1
	}
	o := container.Options{
		Dir: b.Dir, Node: n.id.Number, ContainerSize: b.ContainerSize, Reserve: reserve,
		ReclaimInterval: b.RewriteInterval, ReclaimBelow: max(1-b.RewriteThreshold, allDead), ReclaimRate: b.RewriteRate,
		ScrubInterval: never(b.ScrubInterval), ScrubRate: b.ScrubRate,
		Listener: n.obs.Blocks(n.halt("blocks"), func(bool) {}), // n.space tells the node
	}
	if n.hooks.blocks != nil {
		n.hooks.blocks(&o)
	}
	n.blocks, err = container.Open(o)
	if err != nil {
		return err
	}
	n.closing(n.blocks.Close)
	n.obs.SampleBlocks(n.blocks)
	return nil
}

// never makes of a duration that means "off" when zero one that means it when
// negative.
func never(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func (n *node) openLog() (err error) {
	r := n.cfg.Raft
	o := consensus.Options{
		ID: uint64(n.id.Number), Machine: n.replica, Dir: n.dir("om", "raft"), Bootstrap: []uint64{uint64(n.id.Number)},
		MaxEntryBytes: int(r.EntryMaxSize), MaxQueueRequests: r.PendingLimit, RetainEntries: uint64(r.LogKeep),
		Listener: n.obs.Consensus(n.halt("raft")),
	}
	if n.hooks.log != nil {
		n.hooks.log(&o)
	}
	n.log, err = consensus.Open(o)
	if err != nil {
		return err
	}
	n.closing(n.log.Close)
	n.obs.SampleConsensus(n.log)
	n.holds = &logHolds{n: n, have: map[string]bool{}}
	n.replica.FollowHolds(n.holds.follow)
	n.obs.SampleLogHolds(n.holds.held)
	return n.holds.follow()
}

func (n *node) makeServices() error {
	layout, _ := ns.ParseLayout(n.cfg.OM.DefaultLayout)
	n.scrubs = make(chan struct{}, 1)
	n.space = space{
		dirs: []string{n.cfg.Node.DataDir, n.cfg.Block.Dir}, reserve: uint64(n.cfg.Block.Reserve), free: diskSpace,
		tell: func(why string) { n.obs.Log.Warn("space: the node's writes", "refused", why != "", "why", why) },
	}
	n.space.look()
	n.om = om.New(om.Options{
		MaxSnapshots: n.cfg.Snapshot.Limit,
		Store:        n.store, Log: n.log, DefaultLayout: layout, MaxListRows: n.cfg.OM.ListScanLimit,
		Settings: n.replica.Settings, SweepGrace: n.cfg.Block.SweepGrace, ReadOnly: n.space.refused, Guard: n.trail.guard,
		Status: n.status, Blocks: blockAdmin{n}, LifecycleDay: n.cfg.Lifecycle.Day,
	})
	s, b, snap := n.cfg.Service, n.cfg.Block, n.cfg.Snapshot
	diffs := snapdiff.Options{
		Store: n.store, Namespace: n.om, Leads: n.leads, Dir: snap.DiffDir, Threads: snap.DiffThreads, MaxPage: snap.DiffMaxPage,
		WaitTime: snap.DiffWait, KeepReports: snap.DiffKeep, CleanupInterval: snap.DiffCleanup, MaxChanges: int64(snap.DiffMaxChanges),
		ForceFull: snap.ForceFull, MemoryBytes: int(snap.DiffMemory), Listener: n.obs.SnapDiff(),
	}
	if n.hooks.diffs != nil {
		n.hooks.diffs(&diffs)
	}
	n.diffs = snapdiff.New(diffs)
	n.obs.SampleSnapshots(n.store, n.diffs)
	n.makeLifecycle()
	n.reclaim = reclaim.New(reclaim.Options{
		Store: n.store, Namespace: n.om, Blocks: n.blocks, Leads: n.leads,
		PurgeInterval: s.DirDeleteInterval, PurgeBatch: uint32(s.DirDeleteBatch),
		FreeInterval: s.KeyDeleteInterval, FreeBatch: s.KeyDeleteBatch, FreeGrace: never(b.FreeGrace),
		ExpireInterval: min(s.OpenKeyInterval, n.cfg.Raft.RetryCacheTTL), ExpireBatch: uint32(s.OpenKeyBatch),
		ClientExpiry: n.cfg.Raft.RetryCacheTTL, OpenKeyExpiry: s.OpenKeyExpire,
		SweepInterval: never(b.SweepInterval), SweepGrace: b.SweepGrace,
		ReclaimInterval: snap.ReclaimInterval, ReclaimBatch: uint32(snap.ReclaimBatch), Holds: n.diffs.Holds,
		OldestRead: n.reads.oldest, Listener: n.obs.Reclaim(),
	})
	n.obs.Health.Register(obs.Check{Name: "raft", Needed: true, Run: func(ctx context.Context) (string, error) {
		return "", n.om.Ready(ctx)
	}})
	n.obs.Health.Register(obs.Check{Name: "blocks", Needed: true, Run: func(context.Context) (string, error) {
		return "", n.blocks.Err()
	}})
	n.obs.Health.Register(obs.Check{Name: "space", Run: func(context.Context) (string, error) {
		if why := n.space.refused(); why != "" {
			return "", errs.New(errs.ReadOnly, "this node", why)
		}
		return "", nil
	}})
	return nil
}

func (n *node) leads() bool { return n.log.Status().Role == consensus.Leader }

// cores are the activities that the edges need.
func (n *node) cores() map[string]func(context.Context) error {
	if !n.cfg.Node.Has(config.RoleOM) {
		return map[string]func(context.Context) error{"forget": n.forget, "audit": n.trail.run, "watch": n.watch, "recon": n.runRecon}
	}
	return map[string]func(context.Context) error{
		"raft":    n.log.Run,
		"blocks":  n.blocks.Run,
		"reclaim": n.afterwards(n.reclaim.Run),
		"diffs":   n.diffs.Run,
		"cycles":  n.afterwards(n.cycles.Run),
		"forget":  n.forget,
		"images":  n.images.keeper.Run,
		"exports": n.images.run,
		"backups": n.images.schedule,
		"holds":   n.holds.run,
		"audit":   n.trail.run,
		"space":   n.space.run,
		"flush":   n.flush,
		"scrub":   n.scrub,
		"watch":   n.watch,
		"recon":   n.runRecon,
	}
}

// flush makes what was applied durable every interval, so that a restart has
// little to replay; and once more at the end.
func (n *node) flush(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.DB.FlushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return n.replica.Flush()
		}
		durable, err := n.replica.Durable()
		if err != nil {
			return err
		}
		if durable.Index < n.replica.Applied().Index {
			if err := n.replica.Flush(); err != nil {
				return err
			}
		}
	}
}

// scrub runs the scrubs that an operator asks for.
func (n *node) scrub(ctx context.Context) error {
	for {
		select {
		case <-n.scrubs:
		case <-ctx.Done():
			return nil
		}
		if _, err := n.blocks.Scrub(ctx); err != nil && ctx.Err() == nil {
			n.obs.Log.Error("scrub", "error", err)
		}
	}
}

// edges are the listeners.
func (n *node) edges() map[string]func(context.Context) error {
	out := map[string]func(context.Context) error{}
	if n.s3Listener != nil {
		out["s3"] = n.serveS3
	}
	if n.omListener != nil {
		out["om"] = func(ctx context.Context) error {
			defer context.AfterFunc(ctx, n.obs.Health.Stop)()
			defer context.AfterFunc(ctx, n.transfers.close)() // long streams do not hold a shutdown up
			return n.api.Serve(ctx, n.omListener)
		}
	}
	if n.recon != nil {
		out["recon"] = n.recon.serve
	}
	return out
}

// serveS3 answers S3 clients until ctx ends, then lets requests in flight
// finish for the grace.
func (n *node) serveS3(ctx context.Context) error {
	handler := n.obs.Observe(obs.HTTP{Listener: "s3", RequestID: "x-amz-request-id", Tracer: n.tracer("s3")}, n.gateway)
	srv := &http.Server{
		Handler: n.requests.wrap(handler), ReadHeaderTimeout: n.cfg.S3.HeaderTimeout, IdleTimeout: n.cfg.S3.ConnectionIdle,
		MaxHeaderBytes: 64 << 10, ErrorLog: n.obs.HTTPErrors("s3"),
	}
	return n.serveHTTP(ctx, srv, n.s3Listener, n.s3TLS)
}

// serveHTTP lets srv answer until ctx ends, and then finish for the grace.
func (n *node) serveHTTP(ctx context.Context, srv *http.Server, l net.Listener, certificates *tlsconf.Source) error {
	if certificates != nil {
		srv.TLSConfig = certificates.Server()
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		n.obs.Health.Stop()
		grace, cancel := context.WithTimeout(context.Background(), n.cfg.Node.ShutdownGrace)
		defer cancel()
		err := srv.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close() // the grace is over: the rest is cut off
		}
		done <- err
	}()
	var err error
	if certificates != nil {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

package consensus

import (
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/consensus/raftlog"
	"o3/internal/errs"
)

// Node is one node of a group. Its methods are safe for concurrent use.
type Node struct {
	opt Options
	log *raftlog.Log
	sm  StateMachine

	in      inbox
	hand    handoff
	flights flights
	holds   holds
	fetch   fetchSlot
	waiters waiters

	// machine is held while an image replaces the state machine, and shared by
	// whatever asks it beside the applier.
	machine sync.RWMutex

	applied atomic.Uint64            // applied to the state machine
	commit  atomic.Uint64            // known to be committed
	durable atomic.Uint64            // what the machine would keep
	solo    atomic.Uint64            // group of one: reads at an applied index from here on need ask nobody; 0: they do
	role    atomic.Pointer[roleView] // never nil
	peers   atomic.Pointer[groupView]
	busy    atomic.Bool // Run or a Stepper drives this node
	stopped chan struct{}
	stopErr error // valid once stopped is closed
	stop    sync.Once

	// The rest belongs to the loop.
	rn       *raft.RawNode
	hard     *pb.HardState // given to Raft at start
	conf     *pb.ConfState // in force in Raft
	confAt   uint64        // index of the entry that made it so, 0 at start
	queue    []*Proposal   // taken from the inbox, not yet packed
	sequence uint64
	clock    uint64 // ticks
	current  bool   // leading, and an entry of this term is committed
	reads    readers
	change   *change
	intake   intake
	watch    map[uint64]*watched
	heard    map[uint64]uint64 // tick of the last message, by peer
	first    bool              // the first turn is still to come
}

// Open opens the node's log, brings the state machine and the log together
// and prepares Raft; it starts no goroutine. It refuses, with errs.Corrupt, a
// log that does not fit the state machine: neither is ever cut to fit.
func Open(o Options) (*Node, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	log, err := raftlog.Open(raftlog.Options{
		FS: o.FS, Dir: o.Dir, NodeID: o.ID, CacheBytes: o.LogCacheBytes,
		MemTableBytes: o.LogMemTableBytes, Background: o.Listener.Trouble,
	})
	if err != nil {
		return nil, err
	}
	n := &Node{
		opt: o, log: log, sm: o.Machine, first: true, stopped: make(chan struct{}),
		watch: map[uint64]*watched{}, heard: map[uint64]uint64{},
	}
	n.in.init(o)
	n.hand.wake = make(chan struct{}, 1)
	n.fetch.wake = make(chan struct{}, 1)
	n.flights.m = map[uint64]*flight{}
	n.holds.m = map[string]uint64{}
	n.role.Store(&roleView{changed: make(chan struct{})})
	n.peers.Store(&groupView{})
	if err := n.start(); err != nil {
		n.end(err)
		return nil, joinErrors(err, log.Close())
	}
	return n, nil
}

// Close closes the log. Run must have returned.
func (n *Node) Close() error {
	n.end(unavailable("the node is closed", nil))
	return n.log.Close()
}

// ID returns the node's id.
func (n *Node) ID() uint64 { return n.opt.ID }

// Deliver takes messages that arrived for this node. It never blocks; beyond
// the inbox's bound messages are dropped, which Raft bears.
func (n *Node) Deliver(ms []Message) {
	dropped := 0
	for _, m := range ms {
		if m.To != n.opt.ID || !n.in.message(m) {
			dropped++
		}
	}
	if dropped > 0 && n.opt.Listener.Dropped != nil {
		n.opt.Listener.Dropped("messages", dropped)
	}
}

// Unreachable tells the node that messages to a peer were lost, so that it
// probes instead of streaming. Reporting a healthy peer costs a little time.
func (n *Node) Unreachable(peer uint64) {
	n.in.task(func() { n.rn.ReportUnreachable(peer) })
}

// end makes every caller that waits, or will, get an error. The first one
// counts.
func (n *Node) end(err error) {
	n.stop.Do(func() {
		n.stopErr = err
		n.solo.Store(0)
		close(n.stopped)
		left := n.in.close(err)
		for _, p := range append(left.proposals, n.queue...) {
			p.finish(nil, unavailable("the node stopped before the request was taken up", err))
		}
		n.flights.failAll(unknown("the node stopped", err), true)
		for _, r := range append(left.reads, n.reads.all()...) {
			r.finish(0, unavailable("the node stopped", err))
		}
		if n.change != nil {
			n.change.finish(0, unknown("the node stopped", err))
		}
		n.queue, n.change = nil, nil
	})
}

func joinErrors(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func halted(what string, err error) error {
	if errs.KindOf(err) == errs.Internal {
		return &errs.Error{Kind: errs.Internal, Op: "consensus", Subject: what, Err: err}
	}
	return err
}

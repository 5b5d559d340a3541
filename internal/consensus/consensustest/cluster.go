// Package consensustest runs a group of consensus nodes in one goroutine and
// without time, over a network and disks that fail, and judges what they did.
//
// A Cluster is driven by Step: one tick for everybody. All chances come from
// one seed. Only Pebble's background work is not under control; it decides
// which unsynced bytes a crash can take, not whether a run is right.
package consensustest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/consensus"
	"o3/internal/consensus/raftnet"
)

// Config configures a Cluster.
type Config struct {
	Seed  uint64
	Nodes int                      // first voters, with ids 1 to Nodes
	Tune  func(*consensus.Options) // adjusts the options of each start; may be nil
	Chaos bool                     // steps of a node are interleaved at random, and some skipped
}

// Cluster is a group of nodes.
type Cluster struct {
	Net    *raftnet.Network
	Oracle *Oracle
	Rng    *rand.Rand

	cfg     Config
	now     int64
	members map[uint64]*Member
	ids     []uint64
	ops     []*Op
	opCount int
}

// Member is a node with its disk and its machine, up or down.
type Member struct {
	ID      uint64
	Machine *Machine
	FS      *vfs.MemFS
	Paused  bool
	Err     error // why it halted, or would not start

	step      *consensus.Stepper // nil: down
	bootstrap []uint64
}

// Up reports whether the node runs.
func (m *Member) Up() bool { return m.step != nil }

// Stepper returns the node's stepper; nil when it is down.
func (m *Member) Stepper() *consensus.Stepper { return m.step }

// Node returns the node; nil when it is down.
func (m *Member) Node() *consensus.Node {
	if m.step == nil {
		return nil
	}
	return m.step.Node()
}

// New starts a group.
func New(cfg Config) (*Cluster, error) {
	rng := rand.New(rand.NewPCG(cfg.Seed, 0x6f33))
	c := &Cluster{Net: raftnet.New(rng), Oracle: NewOracle(), Rng: rng, cfg: cfg, members: map[uint64]*Member{}}
	var voters []uint64
	for i := range cfg.Nodes {
		voters = append(voters, uint64(i+1))
	}
	for _, id := range voters {
		if err := c.Join(id, voters); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Join starts a new node: a first voter when bootstrap names it, else one that
// waits to be added.
func (c *Cluster) Join(id uint64, bootstrap []uint64) error {
	m := &Member{ID: id, Machine: NewMachine(id, c.Oracle), FS: vfs.NewCrashableMem(), bootstrap: bootstrap}
	c.members[id] = m
	c.ids = append(c.ids, id)
	return c.Start(id)
}

// Member returns a node's member; nil when there is none.
func (c *Cluster) Member(id uint64) *Member { return c.members[id] }

// IDs returns the ids of all members.
func (c *Cluster) IDs() []uint64 { return slices.Clone(c.ids) }

// Machines returns the machines of the nodes that run.
func (c *Cluster) Machines() (ms []*Machine) {
	for _, id := range c.ids {
		if c.members[id].Up() {
			ms = append(ms, c.members[id].Machine)
		}
	}
	return ms
}

// Start starts a node that is down.
func (c *Cluster) Start(id uint64) error {
	m := c.members[id]
	o := consensus.Options{
		ID: id, Machine: m.Machine, Images: images{m.Machine, c}, FS: m.FS, Dir: "raft",
		Bootstrap: m.bootstrap, Transport: c.Net.Endpoint(), LogMemTableBytes: 256 << 10,
		RetainEntries: 8, TruncateStep: 4, WatchTicks: 5, StallTicks: 100, LogCacheBytes: 4 << 10,
	}
	if c.cfg.Tune != nil {
		c.cfg.Tune(&o)
	}
	n, err := consensus.Open(o)
	if err != nil {
		m.Err = err
		return err
	}
	m.step, m.Err, m.Paused = n.Stepper(), nil, false
	return nil
}

// Stop stops a node in good order.
func (c *Cluster) Stop(id uint64) error {
	m := c.members[id]
	n := m.Node()
	m.step = nil
	c.Net.Forget(id)
	return n.Close()
}

// Crash cuts a node's power: each unsynced block survives with the given
// probability in percent, and the machine keeps what it had flushed or more.
func (c *Cluster) Crash(id uint64, survive int) {
	m := c.members[id]
	after := m.FS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survive, RNG: c.Rng})
	n := m.Node()
	m.step = nil
	c.Net.Forget(id)
	n.Close() // its writes go to the disk that is no more
	m.FS = after
	m.Machine.Crash(c.Rng)
}

// Close closes all nodes.
func (c *Cluster) Close() {
	for _, id := range c.ids {
		if c.members[id].Up() {
			c.Stop(id)
		}
	}
}

// Step lets one tick pass: messages arrive, every node does what it can,
// clients look at their answers.
func (c *Cluster) Step() {
	c.now++
	c.Net.Tick()
	ids := slices.Clone(c.ids)
	c.Rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids {
		m := c.members[id]
		if !m.Up() || m.Paused {
			continue
		}
		m.Node().Deliver(c.Net.Collect(id))
		m.step.Tick()
		if err := c.drain(m); err != nil {
			m.Err = err
			m.Node().Close()
			m.step = nil
		}
	}
	c.settleOps()
}

// Steps is Step n times.
func (c *Cluster) Steps(n int) {
	for range n {
		c.Step()
	}
}

// drain lets a node work until it has nothing to do; in chaos, not always that
// long.
func (c *Cluster) drain(m *Member) error {
	for busy := true; busy; {
		busy = false
		for _, do := range []func() (bool, error){m.step.Turn, m.step.Apply} {
			if c.cfg.Chaos && c.Rng.IntN(4) == 0 {
				continue
			}
			worked, err := do()
			if err != nil {
				return err
			}
			busy = busy || worked
		}
	}
	if !c.cfg.Chaos || c.Rng.IntN(3) == 0 {
		m.step.Fetch(context.Background())
	}
	if c.cfg.Chaos && c.Rng.IntN(10) == 0 {
		m.Machine.Flush()
	}
	if c.now%3 == 0 {
		return m.step.Maintain()
	}
	return nil
}

// Leader returns the leader that the most recent term names; 0 when none runs.
func (c *Cluster) Leader() (id uint64) {
	var term uint64
	for _, i := range c.ids {
		if n := c.members[i].Node(); n != nil {
			if r, _ := n.Role(); r.Role == consensus.Leader && r.Term > term && !c.members[i].Paused {
				id, term = i, r.Term
			}
		}
	}
	return id
}

// Until steps until done, at most limit times.
func (c *Cluster) Until(limit int, done func() bool) bool {
	for range limit {
		if done() {
			return true
		}
		c.Step()
	}
	return done()
}

// Settle heals the network, starts every node and steps until all machines
// are at the same index as a leader that has nothing left to do.
func (c *Cluster) Settle(limit int) error {
	c.Net.SetFaults(raftnet.Faults{})
	c.Net.Heal()
	for _, id := range c.ids {
		m := c.members[id]
		m.Paused = false
		if !m.Up() {
			if err := c.Start(id); err != nil {
				return fmt.Errorf("node %d does not start: %w", id, err)
			}
		}
	}
	quiet := 0
	ok := c.Until(limit, func() bool {
		if c.now%20 == 0 {
			c.Admit()
		}
		if c.level() {
			quiet++
		} else {
			quiet = 0
		}
		return quiet > 25
	})
	if !ok {
		return fmt.Errorf("not level after %d ticks: %s", limit, c.Describe())
	}
	return nil
}

// Admit asks the leader to add the nodes that are not members, and to promote
// the learners.
func (c *Cluster) Admit() {
	l := c.members[c.Leader()]
	if l == nil {
		return
	}
	s := l.Node().Status()
	for _, id := range c.ids {
		switch {
		case slices.Contains(s.Voters, id):
		case slices.Contains(s.Learners, id):
			l.step.Promote(id)
		default:
			l.step.AddLearner(id)
		}
	}
}

func (c *Cluster) level() bool {
	l := c.Leader()
	if l == 0 {
		return false
	}
	s := c.members[l].Node().Status()
	if len(s.Voters) != len(c.members) {
		return false
	}
	for _, m := range c.members {
		if !m.Up() || m.Node().Applied() != s.Last {
			return false
		}
	}
	return true
}

// Describe says how each node is.
func (c *Cluster) Describe() (s string) {
	for _, id := range c.ids {
		m := c.members[id]
		if !m.Up() {
			s += fmt.Sprintf("[%d down %v] ", id, m.Err)
			continue
		}
		st := m.Node().Status()
		s += fmt.Sprintf("[%d %s term %d applied %d log %d-%d leader %d] ", id, st.Role, st.Term, st.Applied, st.First, st.Last, st.Leader)
		if len(st.Peers) > 0 {
			s += fmt.Sprintf("%+v ", st.Peers)
		}
	}
	return s
}

// images are a machine's, fetched over the cluster's network.
type images struct {
	*Machine
	c *Cluster
}

// Fetch implements consensus.Images.
func (i images) Fetch(_ context.Context, from uint64, offer consensus.ImageMeta, progress func(uint64)) (consensus.ImageMeta, error) {
	src := i.c.members[from]
	if src == nil || !src.Up() || src.Paused || !i.c.Net.Connected(from, i.id) {
		return offer, fmt.Errorf("node %d cannot be reached", from)
	}
	progress(1)
	if i.c.cfg.Chaos && i.c.Rng.IntN(4) == 0 {
		return offer, fmt.Errorf("the transfer from node %d was cut", from)
	}
	return i.stage(src.Machine, offer)
}

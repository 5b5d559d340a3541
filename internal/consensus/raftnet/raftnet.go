// Package raftnet is a network between the nodes of a group in one process,
// for tests: it drops, delays, duplicates and reorders messages and cuts
// links, all from one random source and in ticks, so that a run repeats.
//
// Messages are copied through their wire form. A Network starts no goroutine;
// it is safe for concurrent use, but repeats only when used from one goroutine.
package raftnet

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/consensus"
)

// Faults says what happens to each message. Zero values mean nothing does.
type Faults struct {
	Drop      float64 // probability that it is lost
	Duplicate float64 // probability that it arrives twice
	Delay     int     // up to so many ticks, at random
	Reorder   bool    // those that arrive in the same tick arrive in any order
}

// Network carries messages.
type Network struct {
	mu      sync.Mutex
	rng     *rand.Rand
	now     int
	sent    int
	faults  Faults
	cut     map[link]bool
	packets map[uint64][]packet // by receiver
	tap     func(consensus.Message) bool
}

type link struct{ from, to uint64 }

type packet struct {
	msg   consensus.Message
	due   int
	order uint64
}

// New returns a network without faults that takes its chances from rng.
func New(rng *rand.Rand) *Network {
	return &Network{rng: rng, cut: map[link]bool{}, packets: map[uint64][]packet{}}
}

// SetFaults replaces the faults; messages under way keep their fate.
func (n *Network) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// Tap makes f see every message sent; those for which it returns false are
// lost. Nil ends it.
func (n *Network) Tap(f func(consensus.Message) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = f
}

// Cut cuts both directions between a and b. Messages under way are lost.
func (n *Network) Cut(a, b uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{a, b}], n.cut[link{b, a}] = true, true
}

// CutOneWay cuts the direction from a to b.
func (n *Network) CutOneWay(a, b uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{a, b}] = true
}

// Heal mends all links.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// Connected reports whether a message from a would reach b.
func (n *Network) Connected(a, b uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[link{a, b}]
}

// Forget drops what is under way to id, as when its process dies.
func (n *Network) Forget(id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.packets, id)
}

// Tick lets one tick of time pass.
func (n *Network) Tick() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now++
}

// Endpoint returns the transport of a node.
func (n *Network) Endpoint() consensus.Transport { return endpoint{n} }

type endpoint struct{ n *Network }

// Send implements consensus.Transport.
func (e endpoint) Send(ms []consensus.Message) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	for _, m := range ms {
		e.n.send(m)
	}
}

func (n *Network) send(m consensus.Message) {
	if n.tap != nil && !n.tap(m) || n.cut[link{m.From, m.To}] || n.chance(n.faults.Drop) {
		return
	}
	n.post(m)
	if n.chance(n.faults.Duplicate) {
		n.post(m)
	}
}

func (n *Network) chance(p float64) bool { return p > 0 && n.rng.Float64() < p }

func (n *Network) post(m consensus.Message) {
	p := packet{msg: clone(m), due: n.now + 1}
	if n.faults.Delay > 0 {
		p.due += n.rng.IntN(n.faults.Delay + 1)
	}
	n.sent++
	p.order = uint64(n.sent)
	if n.faults.Reorder {
		p.order = n.rng.Uint64()
	}
	n.packets[m.To] = append(n.packets[m.To], p)
}

// Collect returns the messages that have reached id, in their order of
// arrival.
func (n *Network) Collect(id uint64) []consensus.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	var here []packet
	rest := n.packets[id][:0]
	for _, p := range n.packets[id] {
		switch {
		case n.cut[link{p.msg.From, id}]:
		case p.due <= n.now:
			here = append(here, p)
		default:
			rest = append(rest, p)
		}
	}
	n.packets[id] = rest
	slices.SortFunc(here, func(a, b packet) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.order, b.order))
	})
	ms := make([]consensus.Message, len(here))
	for i, p := range here {
		ms[i] = p.msg
	}
	return ms
}

func clone(m consensus.Message) consensus.Message {
	if m.Raft == nil {
		return m
	}
	b, err := proto.Marshal(m.Raft)
	if err != nil {
		panic(fmt.Sprintf("raftnet: %v", err))
	}
	c := &pb.Message{}
	if err := proto.Unmarshal(b, c); err != nil {
		panic(fmt.Sprintf("raftnet: %v", err))
	}
	m.Raft = c
	return m
}

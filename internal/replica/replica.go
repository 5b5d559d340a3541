// Package replica is a node's copy of the namespace: the state machine over the
// store on disk, in the form the consensus drives it. The store runs without a
// write-ahead log, because the Raft log is one: a power cut loses a suffix of
// what was applied, which the log replays.
//
// A Replica owns no goroutines but those of its store. Apply is called by one
// goroutine; every other method is safe for concurrent use.
package replica

import (
	"sync/atomic"

	"o3/internal/consensus"
	"o3/internal/fsm"
	"o3/internal/kv"
)

// Replica is a state machine on disk.
type Replica struct {
	store   kv.Store
	machine *fsm.Machine
	pos     atomic.Pointer[fsm.Position]

	settings atomic.Uint64

	holds       uint64 // of the machine, when followHolds was called last
	followHolds func() error
}

// Open returns the replica that store holds; an empty store becomes one at the
// start position.
func Open(store kv.Store) (*Replica, error) {
	m, err := fsm.Open(store, fsm.Position{})
	if err != nil {
		return nil, err
	}
	r := &Replica{store: store, machine: m}
	r.publish()
	return r, nil
}

func (r *Replica) publish() {
	pos := r.machine.Position()
	r.pos.Store(&pos)
	r.settings.Store(r.machine.Settings())
}

// Settings returns fsm.Machine.Settings as of what is applied.
func (r *Replica) Settings() uint64 { return r.settings.Load() }

// FollowHolds has f called whenever a command changed the leases on the log, by
// the goroutine that applies, when the change can be read. Its error stops the
// replica. It is called before the first Apply of a running node, or never.
func (r *Replica) FollowHolds(f func() error) { r.followHolds, r.holds = f, r.machine.Holds() }

// Watch is fsm.Machine.Watch.
func (r *Replica) Watch(f func(fsm.Run, kv.Reader) error) { r.machine.Watch(f) }

// Position returns what is applied.
func (r *Replica) Position() fsm.Position { return *r.pos.Load() }

// Apply implements consensus.StateMachine.
func (r *Replica) Apply(entries []consensus.Entry) ([][][]byte, error) {
	list := make([]fsm.Entry, len(entries))
	for i, e := range entries {
		list[i] = fsm.Entry{Index: e.Index, Term: e.Term, Conf: e.Conf, Requests: e.Requests}
	}
	results, err := r.machine.Apply(list)
	if err != nil {
		return nil, err
	}
	r.publish()
	if now := r.machine.Holds(); r.followHolds != nil && now != r.holds {
		r.holds = now
		return results, r.followHolds()
	}
	return results, nil
}

// Applied implements consensus.StateMachine.
func (r *Replica) Applied() consensus.Position { return position(r.Position()) }

// Durable implements consensus.StateMachine: what a power cut now would leave.
func (r *Replica) Durable() (consensus.Position, error) {
	snap, err := r.store.Durable()
	if err != nil {
		return consensus.Position{}, err
	}
	defer snap.Close()
	pos, _, err := fsm.ReadPosition(snap)
	return position(pos), err
}

// Flush implements consensus.StateMachine.
func (r *Replica) Flush() error { return r.store.Flush() }

func position(p fsm.Position) consensus.Position {
	return consensus.Position{Index: p.Index, Term: p.Term, Conf: p.Conf}
}

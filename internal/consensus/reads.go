package consensus

import (
	"context"
	"encoding/binary"

	"go.etcd.io/raft/v3"
)

// Read is a ReadIndex on its way.
type Read struct {
	done  chan struct{}
	index uint64
	err   error
	since uint64 // tick at which the loop took it
	token uint64 // of the first round it shares
}

// Done is closed when Result can be asked.
func (r *Read) Done() <-chan struct{} { return r.done }

// Result returns the outcome; it must not be called before Done is closed.
func (r *Read) Result() (uint64, error) { return r.index, r.err }

func (r *Read) finish(index uint64, err error) {
	r.index, r.err = index, err
	close(r.done)
}

// ReadIndex returns an index such that a read of the state at or after it
// (see WaitApplied) sees every request answered before the call, on any node
// of the group. In a group of one it takes two loads of memory and the index
// is applied already; else one round to a majority, shared by all that wait.
// Errors: Unavailable (no leader, no majority), SlowDown, Canceled,
// DeadlineExceeded.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	if index, ok := n.readAlone(); ok {
		return index, nil
	}
	r := n.SubmitRead()
	select {
	case <-r.done:
		return r.Result()
	case <-ctx.Done():
		return 0, interrupted(ctx, nil)
	}
}

// SubmitRead is ReadIndex without the wait.
func (n *Node) SubmitRead() *Read {
	r := &Read{done: make(chan struct{})}
	if index, ok := n.readAlone(); ok {
		r.finish(index, nil)
	} else if err := n.in.read(r); err != nil {
		r.finish(0, err)
	}
	return r
}

// readAlone answers in a group of one. solo is set while this node is the only
// voter and leads, to an entry of its term: whatever was answered before is
// applied by then. solo is loaded first: had the node ceased to be alone since,
// the index would still cover all that was answered up to that load.
func (n *Node) readAlone() (uint64, bool) {
	if n.opt.faults.ReadLocally && n.role.Load().Role == Leader {
		return n.applied.Load(), true
	}
	if solo := n.solo.Load(); solo != 0 {
		if applied := n.applied.Load(); applied >= solo {
			return applied, true
		}
	}
	return 0, false
}

// readers belong to the loop: those that come while a round is under way share
// the next. An answer to a round is good for all who were there when it began.
type readers struct {
	waiting []*Read
	round   []*Read
	token   uint64 // names the newest round; never reused in this incarnation
	asked   uint64 // tick of the newest round
}

func (r *readers) add(rs []*Read, now uint64) {
	for _, x := range rs {
		x.since = now
	}
	r.waiting = append(r.waiting, rs...)
}

func (r *readers) all() []*Read { return append(r.round, r.waiting...) }

// ask starts a round when one is due. Rounds vanish silently when the leader
// changes or messages are lost: after a while there is a new one for all who
// wait, under a new name; after two election timeouts they are told.
func (n *Node) ask() {
	r := &n.reads
	if len(r.round) == 0 && len(r.waiting) == 0 {
		return
	}
	r.round = n.expire(r.round)
	r.waiting = n.expire(r.waiting)
	patience := uint64(max(2*n.opt.HeartbeatTick, n.opt.ElectionTick/3))
	if len(r.round) > 0 && n.clock-r.asked < patience {
		return
	}
	v := n.role.Load()
	if v.Leader == 0 || v.Role == Leader && !n.current {
		return
	}
	r.token++
	r.asked = n.clock
	for _, x := range r.waiting {
		x.token = r.token
	}
	r.round, r.waiting = append(r.round, r.waiting...), nil
	if len(r.round) == 0 {
		return
	}
	n.rn.ReadIndex(n.readContext())
}

func (n *Node) expire(rs []*Read) []*Read {
	kept := rs[:0]
	for _, x := range rs {
		if n.clock-x.since > uint64(2*n.opt.ElectionTick) {
			x.finish(0, unavailable("no majority confirmed the leader", leaderHint(n.role.Load().Leader)))
			continue
		}
		kept = append(kept, x)
	}
	clear(rs[len(kept):])
	return kept
}

// readContext names the round among all nodes, incarnations and rounds.
func (n *Node) readContext() []byte {
	b := binary.BigEndian.AppendUint64(nil, n.opt.ID)
	b = binary.BigEndian.AppendUint64(b, n.log.Incarnation())
	return binary.BigEndian.AppendUint64(b, n.reads.token)
}

// roundOf returns the round a context names; ok is false when another node's.
func (n *Node) roundOf(context []byte) (token uint64, ok bool) {
	mine := n.readContext()
	if len(context) != len(mine) || string(context[:16]) != string(mine[:16]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(context[16:]), true
}

// answered finishes the reads that were there when an answered round began.
func (n *Node) answered(states []raft.ReadState) {
	r := &n.reads
	for _, s := range states {
		token, ok := n.roundOf(s.RequestCtx)
		if !ok {
			continue
		}
		kept := r.round[:0]
		for _, x := range r.round {
			if x.token > token {
				kept = append(kept, x)
				continue
			}
			x.finish(s.Index, nil)
		}
		clear(r.round[len(kept):])
		r.round = kept
	}
}

package consensus

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"o3/internal/errs"
)

// holds keep the log for receivers that this node's Raft does not know of.
type holds struct {
	mu    sync.Mutex
	m     map[string]uint64
	floor uint64 // the log may have been truncated up to here
}

func (h *holds) copy() map[string]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.m)
}

// Hold keeps the entries after index, and the term of index, in this node's
// log until Release(name) or until the node closes. Holding a name again moves
// it. It fails with Conflict when they are gone already. Holds are not stored:
// what must outlive a restart (a lease) is the caller's to repeat, before the
// machine's next Flush.
func (n *Node) Hold(name string, index uint64) error {
	h := &n.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	first, _ := n.log.FirstIndex()
	if gone := max(first-1, h.floor); index < gone {
		return errs.New(errs.Conflict, name, fmt.Sprintf("entries after %d are wanted, the log starts after %d", index, gone))
	}
	h.m[name] = index
	return nil
}

// Release ends a hold.
func (n *Node) Release(name string) {
	n.holds.mu.Lock()
	defer n.holds.mu.Unlock()
	delete(n.holds.m, name)
}

// truncate drops the part of the log that nobody needs, when it is worth it.
func (n *Node) truncate() error {
	first, _ := n.log.FirstIndex()
	safe := n.durable.Load()
	if n.opt.faults.TruncateApplied {
		safe = n.applied.Load()
	}
	if safe < first-1+n.opt.TruncateStep {
		return nil
	}
	floor := min(n.needed(safe), n.applied.Load())
	n.holds.mu.Lock()
	for _, i := range n.holds.m {
		floor = min(floor, i)
	}
	if floor < first-1+n.opt.TruncateStep {
		n.holds.mu.Unlock()
		return nil
	}
	n.holds.floor = floor
	n.holds.mu.Unlock()
	if err := n.log.TruncateTo(floor); err != nil {
		return err
	}
	if l := n.opt.Listener.Truncated; l != nil {
		l(floor + 1)
	}
	return nil
}

// needed lowers floor to what slow receivers still want: a tail for everybody,
// the image on offer, and for each living peer what it has not got, within
// bounds.
func (n *Node) needed(floor uint64) uint64 {
	last, _ := n.log.LastIndex()
	floor = min(floor, last-min(last, n.opt.RetainEntries))
	if n.role.Load().Role != Leader {
		return floor
	}
	n.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		switch {
		case id == n.opt.ID:
		case p.State == tracker.StateSnapshot:
			floor = min(floor, p.PendingSnapshot)
		case n.alive(id) && n.log.BytesAfter(p.Match) <= n.opt.MaxLagBytes:
			floor = min(floor, p.Match)
		}
	})
	return floor
}

// maintain asks what the machine would keep, and makes it flush when the log
// grows too long for it.
func (n *Node) maintain() error {
	n.machine.RLock()
	defer n.machine.RUnlock()
	if err := n.measure(); err != nil {
		return err
	}
	d := n.durable.Load()
	if n.log.BytesAfter(d) < n.opt.FlushBytes && n.applied.Load() < d+n.opt.FlushEntries {
		return nil
	}
	began := time.Now()
	if err := n.sm.Flush(); err != nil {
		return halted("flushing the state machine", err)
	}
	if l := n.opt.Listener.Flushed; l != nil {
		l(time.Since(began))
	}
	return n.measure()
}

func (n *Node) measure() error {
	pos, err := n.sm.Durable()
	if err != nil {
		return halted("asking what is durable", err)
	}
	n.durable.Store(pos.Index)
	return nil
}

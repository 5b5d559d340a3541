package consensus

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// watched is what the leader knows of a peer that was offered an image. Raft
// itself waits for its answer for ever: if the offer, the answer or the
// receiver is lost, only a failure report makes it try again (RULES E10-E13).
type watched struct {
	since   uint64 // tick of the offer, or of the last progress
	asked   uint64 // tick of the last question
	heard   bool
	idle    int // answers in a row that it fetches nothing
	last    Answer
	verdict string // why to give up; empty: wait
}

// watchPeers asks the peers that install an image how they get on, and
// reports failure for those that do not.
func (n *Node) watchPeers() {
	if n.role.Load().Role != Leader {
		return
	}
	var failed []uint64
	n.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if p.State != tracker.StateSnapshot {
			delete(n.watch, id)
			return
		}
		w := n.watch[id]
		if w == nil {
			w = &watched{since: n.clock, asked: n.clock}
			n.watch[id] = w
		}
		if n.clock-w.since >= uint64(n.opt.StallTicks) {
			w.verdict = "no progress"
		}
		if w.verdict != "" {
			failed = append(failed, id)
			return
		}
		if n.clock-w.asked >= uint64(n.opt.WatchTicks) {
			w.asked = n.clock
			n.opt.Transport.Send([]Message{{From: n.opt.ID, To: id, Ask: &Ask{}}})
		}
	})
	for _, id := range failed {
		if l := n.opt.Listener.ImageFail; l != nil {
			l(id, n.watch[id].verdict)
		}
		delete(n.watch, id)
		n.rn.ReportSnapshot(id, raft.SnapshotFailure)
	}
}

// judge takes a peer's answer.
func (n *Node) judge(from uint64, a Answer) {
	w := n.watch[from]
	if w == nil {
		return
	}
	switch {
	case w.heard && a.Incarnation != w.last.Incarnation:
		w.verdict = "the node was restarted"
	case !a.Fetching:
		// Once may be a message that is still under way.
		if w.idle++; w.idle >= 2 {
			w.verdict = "the node installs nothing"
		}
	default:
		w.idle = 0
	}
	if !w.heard || a.Progress != w.last.Progress || a.Applied != w.last.Applied {
		w.since = n.clock
	}
	w.heard, w.last = true, a
}

// progress answers a leader's question.
func (n *Node) progress() *Answer {
	n.hand.mu.Lock()
	installing := n.hand.image != nil
	n.hand.mu.Unlock()
	return &Answer{
		Incarnation: n.log.Incarnation(),
		Applied:     n.applied.Load(),
		Fetching:    installing || n.fetch.busy(),
		Progress:    n.fetch.progress.Load(),
	}
}

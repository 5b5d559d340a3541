package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

// handoff tells the applier how far to apply. It holds no entries.
type handoff struct {
	wake chan struct{}

	mu    sync.Mutex
	to    uint64     // committed and synced here
	done  uint64     // applied; only the applier writes it
	confs []confAt   // memberships made by entries in (done, to], ascending
	image *ImageMeta // to be installed first
}

// confAt is a membership and the entry that made it.
type confAt struct {
	index uint64
	conf  []byte
}

func (h *handoff) give(to uint64, confs []confAt) {
	h.mu.Lock()
	h.to = to
	h.confs = append(h.confs, confs...)
	h.mu.Unlock()
	poke(h.wake)
}

func (h *handoff) giveImage(m ImageMeta) {
	h.mu.Lock()
	h.to, h.confs, h.image = m.Index, nil, &m
	h.mu.Unlock()
	poke(h.wake)
}

// applyTurn applies one batch of entries, or installs one image.
func (n *Node) applyTurn() (worked bool, err error) {
	h := &n.hand
	h.mu.Lock()
	done, to, image, confs := h.done, h.to, h.image, h.confs
	h.mu.Unlock()
	if image != nil {
		return true, n.applyImage(*image)
	}
	if done >= to {
		return false, nil
	}
	raw, err := n.log.Entries(done+1, to+1, uint64(n.opt.MaxApplyBytes))
	if errors.Is(err, raft.ErrCompacted) && n.log.Base().Index > done {
		return false, nil // an image took the log's place; it is about to be handed over
	}
	if err != nil {
		return true, err
	}
	entries, ids, err := decodeEntries(raw, done, confs)
	if err != nil {
		return true, err
	}
	began := time.Now()
	results, err := n.sm.Apply(entries)
	if err != nil {
		return true, halted(fmt.Sprintf("applying entries %d to %d", done+1, entries[len(entries)-1].Index), err)
	}
	requests, err := matching(entries, results)
	if err != nil {
		return true, err
	}
	last := entries[len(entries)-1].Index
	n.reached(last)
	n.deliver(ids, results)
	if l := n.opt.Listener.Applied; l != nil {
		l(Applied{Index: last, Entries: len(entries), Requests: requests, Took: time.Since(began)})
	}
	return true, nil
}

// reached notes that everything up to index is applied, before anybody is
// answered.
func (n *Node) reached(index uint64) {
	h := &n.hand
	h.mu.Lock()
	h.done = index
	for len(h.confs) > 0 && h.confs[0].index <= index {
		h.confs = h.confs[1:]
	}
	if len(h.confs) == 0 {
		h.confs = nil
	}
	h.mu.Unlock()
	n.applied.Store(index)
	n.waiters.reached(index)
}

func (n *Node) applyImage(m ImageMeta) error {
	if err := n.install(m); err != nil {
		return err
	}
	n.hand.mu.Lock()
	if n.hand.image != nil && n.hand.image.Index == m.Index {
		n.hand.image = nil
	}
	n.hand.mu.Unlock()
	n.reached(m.Index)
	return nil
}

// decodeEntries makes Entries of log entries, checking that they follow done
// without a gap.
func decodeEntries(raw []*pb.Entry, done uint64, confs []confAt) ([]Entry, []batchID, error) {
	entries, ids := make([]Entry, len(raw)), make([]batchID, len(raw))
	for i, e := range raw {
		if want := done + 1 + uint64(i); e.GetIndex() != want {
			return nil, nil, errs.New(errs.Corrupt, "raft log", fmt.Sprintf("entry %d where %d belongs", e.GetIndex(), want))
		}
		entries[i] = Entry{Index: e.GetIndex(), Term: e.GetTerm()}
		switch {
		case e.GetType() != pb.EntryNormal:
			for len(confs) > 0 && confs[0].index < e.GetIndex() {
				confs = confs[1:]
			}
			if len(confs) == 0 || confs[0].index != e.GetIndex() {
				return nil, nil, errs.New(errs.Internal, "raft log", fmt.Sprintf("no membership was noted for entry %d", e.GetIndex()))
			}
			entries[i].Conf = confs[0].conf
		case len(e.GetData()) > 0:
			var err error
			if ids[i], entries[i].Requests, err = decodePayload(e.GetData()); err != nil {
				return nil, nil, fmt.Errorf("entry %d: %w", e.GetIndex(), err)
			}
		}
	}
	return entries, ids, nil
}

// matching checks that there is a result for each request.
func matching(entries []Entry, results [][][]byte) (requests int, err error) {
	if len(results) != len(entries) {
		return 0, errs.New(errs.Internal, "state machine", fmt.Sprintf("%d results for %d entries", len(results), len(entries)))
	}
	for i, e := range entries {
		if len(results[i]) != len(e.Requests) {
			return 0, errs.New(errs.Internal, "state machine", fmt.Sprintf("entry %d: %d results for %d requests", e.Index, len(results[i]), len(e.Requests)))
		}
		requests += len(e.Requests)
	}
	return requests, nil
}

// deliver answers the callers of batches proposed here.
func (n *Node) deliver(ids []batchID, results [][][]byte) {
	room := false
	for i, id := range ids {
		if id.node != n.opt.ID || id.incarnation != n.log.Incarnation() {
			continue
		}
		f, held := n.flights.take(id.sequence)
		if f == nil {
			continue
		}
		room = room || held
		for j, p := range f.proposals {
			p.finish(results[i][j], nil)
		}
	}
	if room {
		poke(n.in.wake)
	}
}

// Applied returns the index applied last.
func (n *Node) Applied() uint64 { return n.applied.Load() }

// WaitApplied returns once the entry at index is applied here.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	if n.applied.Load() >= index {
		return nil
	}
	w := n.waiters.add(index)
	defer n.waiters.remove(w)
	if n.applied.Load() >= index {
		return nil
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return interrupted(ctx, nil)
	case <-n.stopped:
		return unavailable("the node stopped", n.stopErr)
	}
}

// waiters wait for an index to be applied.
type waiters struct {
	mu sync.Mutex
	m  map[*waiter]struct{}
}

type waiter struct {
	index uint64
	done  chan struct{}
}

func (w *waiters) add(index uint64) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[*waiter]struct{}{}
	}
	x := &waiter{index, make(chan struct{})}
	w.m[x] = struct{}{}
	return x
}

func (w *waiters) remove(x *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.m, x)
}

func (w *waiters) reached(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.m {
		if x.index <= index {
			delete(w.m, x)
			close(x.done)
		}
	}
}

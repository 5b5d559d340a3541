package consensus

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"o3/internal/errs"
)

// Proposal is a request on its way. Done is closed when it has an outcome.
type Proposal struct {
	request []byte
	state   atomic.Uint32 // queued, taken or withdrawn
	done    chan struct{}
	result  []byte
	err     error
}

const (
	queued uint32 = iota
	taken
	withdrawn
)

// Done is closed when Result can be asked.
func (p *Proposal) Done() <-chan struct{} { return p.done }

// Result returns the outcome; it must not be called before Done is closed.
func (p *Proposal) Result() ([]byte, error) { return p.result, p.err }

func (p *Proposal) finish(result []byte, err error) {
	p.result, p.err = result, err
	close(p.done)
}

// Propose replicates request and returns what the state machine answered. It
// keeps request until the call returns and beyond; the caller must not change
// it. Errors: NotLeader (see LeaderOf), SlowDown, TooLarge, Unavailable,
// Canceled, DeadlineExceeded. When ErrOutcomeUnknown is in the chain the
// request may have been applied, else it was not and will not be.
func (n *Node) Propose(ctx context.Context, request []byte) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, interrupted(ctx, nil)
	}
	p := n.Submit(request)
	select {
	case <-p.done:
		return p.Result()
	case <-ctx.Done():
	}
	if p.state.CompareAndSwap(queued, withdrawn) {
		return nil, interrupted(ctx, nil)
	}
	select {
	case <-p.done:
		return p.Result()
	default:
		return nil, interrupted(ctx, ErrOutcomeUnknown)
	}
}

// Submit is Propose without the wait.
func (n *Node) Submit(request []byte) *Proposal {
	p := &Proposal{request: request, done: make(chan struct{})}
	if len(request) > n.opt.MaxEntryBytes {
		p.finish(nil, errs.New(errs.TooLarge, "request", fmt.Sprintf("%d bytes; at most %d go in a log entry", len(request), n.opt.MaxEntryBytes)))
	} else if v := n.role.Load(); v.Role != Leader && v.Leader != 0 {
		p.finish(nil, notLeader(n.opt.ID, v.Leader))
	} else if err := n.in.proposal(p); err != nil {
		p.finish(nil, err)
	}
	return p
}

// pack makes entries of the requests that wait: those that came while the last
// entry was synced share one.
func (n *Node) pack() error {
	if len(n.queue) == 0 {
		return nil
	}
	v := n.role.Load()
	if v.Role != Leader {
		n.refuseQueue(v)
		return nil
	}
	if n.rn.BasicStatus().LeadTransferee != 0 {
		return nil // they wait for the new leader's term, or for the transfer to fail
	}
	for len(n.queue) > 0 && n.flights.room(n.opt.MaxFlightBytes) {
		batch, rest := n.cut()
		n.queue = rest
		if len(batch.proposals) == 0 {
			continue
		}
		n.sequence++
		id := batchID{n.opt.ID, n.log.Incarnation(), n.sequence}
		requests := make([][]byte, len(batch.proposals))
		for i, p := range batch.proposals {
			requests[i] = p.request
		}
		n.flights.add(id.sequence, batch)
		if err := n.rn.Propose(encodePayload(id, requests)); err != nil {
			n.flights.take(id.sequence)
			for _, p := range batch.proposals {
				p.finish(nil, unavailable("the request was dropped and not applied", err))
			}
		}
	}
	if len(n.queue) == 0 {
		n.queue = nil
	}
	return nil
}

// cut takes one entry's worth off the queue.
func (n *Node) cut() (*flight, []*Proposal) {
	f := &flight{}
	i, left, leftBytes := 0, 0, 0
	for ; i < len(n.queue) && len(f.proposals) < n.opt.MaxEntryRequests; i++ {
		p := n.queue[i]
		if len(f.proposals) > 0 && f.bytes+len(p.request) > n.opt.MaxEntryBytes {
			break
		}
		left++
		leftBytes += len(p.request)
		if !p.state.CompareAndSwap(queued, taken) {
			continue
		}
		f.proposals = append(f.proposals, p)
		f.bytes += len(p.request)
	}
	n.in.packed(left, leftBytes)
	return f, n.queue[i:]
}

// refuseQueue answers what waits when this node does not lead. Without a
// leader it keeps them while an election runs, for at most two timeouts.
func (n *Node) refuseQueue(v *roleView) {
	if v.Leader == 0 && n.clock-v.since < uint64(2*n.opt.ElectionTick) {
		return
	}
	bytes := 0
	for _, p := range n.queue {
		bytes += len(p.request)
		if !p.state.CompareAndSwap(queued, taken) {
			continue
		}
		if v.Leader == 0 {
			p.finish(nil, unavailable("the group has no leader; the request was not applied", leaderHint(0)))
		} else {
			p.finish(nil, notLeader(n.opt.ID, v.Leader))
		}
	}
	n.in.packed(len(n.queue), bytes)
	n.queue = nil
}

// flight is one entry's requests between packing and their answers.
type flight struct {
	proposals []*Proposal
	bytes     int
	committed bool // an answer will come, whoever leads
}

// flights are shared by the loop, which adds, and the applier, which answers.
type flights struct {
	mu    sync.Mutex
	m     map[uint64]*flight
	bytes int
	held  bool // the loop waits for room
}

func (f *flights) add(seq uint64, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[seq] = fl
	f.bytes += fl.bytes
}

// take removes and returns a flight; woken says that the loop waited for room.
func (f *flights) take(seq uint64) (fl *flight, woken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl = f.m[seq]
	if fl == nil {
		return nil, false
	}
	delete(f.m, seq)
	f.bytes -= fl.bytes
	woken, f.held = f.held, false
	return fl, woken
}

func (f *flights) commit(seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.m[seq]; fl != nil {
		fl.committed = true
	}
}

func (f *flights) room(limit int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = f.bytes >= limit
	return !f.held
}

// failAll answers the flights not known to be committed, or all, with err.
func (f *flights) failAll(err error, committedToo bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for seq, fl := range f.m {
		if fl.committed && !committedToo {
			continue
		}
		delete(f.m, seq)
		f.bytes -= fl.bytes
		for _, p := range fl.proposals {
			p.finish(nil, err)
		}
	}
}

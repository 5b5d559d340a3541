package peer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	raftv1 "o3/api/o3/raft/v1"
	"o3/internal/consensus"
)

// queue holds what waits to be sent to one node.
type queue struct {
	id   uint64
	wake chan struct{}

	mu    sync.Mutex
	ms    []consensus.Message
	bytes int
}

func (q *queue) put(m consensus.Message, limit int) bool {
	size := m.Size()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ms) > 0 && q.bytes+size > limit {
		return false
	}
	q.ms = append(q.ms, m)
	q.bytes += size
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns a frame's worth.
func (q *queue) take(limit int) []consensus.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.ms) && (n == 0 || size+q.ms[n].Size() <= limit) {
		size += q.ms[n].Size()
		n++
	}
	ms := q.ms[:n:n]
	if q.ms, q.bytes = q.ms[n:], q.bytes-size; len(q.ms) == 0 {
		q.ms = nil
	}
	return ms
}

// drop empties the queue and returns how much was in it.
func (q *queue) drop() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.ms)
	q.ms, q.bytes = nil, 0
	return n
}

// serve keeps a stream to one node while there is something to say.
func (p *Peers) serve(ctx context.Context, q *queue) {
	select {
	case <-p.bound:
	case <-ctx.Done():
		return
	}
	t := transport(p.opt, q.id)
	defer t.CloseIdleConnections()
	h := &http.Client{Transport: t}
	const least = 20 * time.Millisecond
	wait := least
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		err := p.stream(ctx, h, q)
		if ctx.Err() != nil {
			return
		}
		if l := p.opt.Listener.Disconnected; l != nil {
			l(q.id, err)
		}
		p.target.Unreachable(q.id)
		if time.Since(began) > p.opt.MaxBackoff {
			wait = least
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, p.opt.MaxBackoff)
		if n := q.drop(); n > 0 { // they are old by now
			if l := p.opt.Listener.Dropped; l != nil {
				l(q.id, n)
			}
		}
	}
}

// stream opens a stream and sends until it breaks.
func (p *Peers) stream(ctx context.Context, h *http.Client, q *queue) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := p.client(h, q.id)
	if err != nil {
		return err
	}
	s, err := c.Deliver(ctx)
	if err != nil {
		return err
	}
	frame := &raftv1.DeliverRequest{Cluster: p.opt.Cluster, From: p.opt.ID, To: q.id}
	for first := true; ; first = false {
		for {
			ms := q.take(p.opt.FrameBytes)
			if len(ms) == 0 {
				break
			}
			if frame.Messages, err = encode(ms); err != nil {
				return err
			}
			if err := s.Send(frame); err != nil {
				if errors.Is(err, io.EOF) { // the answer says why
					_, err = s.CloseAndReceive()
				}
				return err
			}
			frame = &raftv1.DeliverRequest{}
		}
		if l := p.opt.Listener.Connected; first && l != nil {
			l(q.id)
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func encode(ms []consensus.Message) ([]*raftv1.Message, error) {
	out := make([]*raftv1.Message, len(ms))
	for i, m := range ms {
		switch {
		case m.Raft != nil:
			b, err := proto.Marshal(m.Raft)
			if err != nil {
				return nil, err
			}
			out[i] = &raftv1.Message{Kind: &raftv1.Message_Raft{Raft: b}}
		case m.Ask != nil:
			out[i] = &raftv1.Message{Kind: &raftv1.Message_Ask{Ask: &raftv1.Ask{}}}
		default:
			a := m.Answer
			out[i] = &raftv1.Message{Kind: &raftv1.Message_Answer{Answer: &raftv1.Answer{
				Incarnation: a.Incarnation, Applied: a.Applied, Fetching: a.Fetching, Progress: a.Progress,
			}}}
		}
	}
	return out, nil
}

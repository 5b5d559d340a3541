package transfer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Phase is what a transfer does.
type Phase string

// The phases.
const (
	PhaseAsking       Phase = "asking the sources"
	PhaseLooking      Phase = "looking for what is here already"
	PhaseTransferring Phase = "transferring"
	PhaseWaiting      Phase = "waiting for space"
	PhaseVerifying    Phase = "verifying"
	PhaseDone         Phase = "done"
)

// Progress is how far a transfer is.
type Progress struct {
	Phase  Phase
	Source string // asked now or last
	Image  string

	Files, FilesDone int   // of the image; done: verified and in place
	Bytes, Done      int64 // of the image; done: here and verified by chunk or file
	Sent             int64 // bytes that came over the network, frames and repetitions included
	Reused           int64 // bytes of Done that were in Options.Reuse
	Resumed          int64 // bytes of Done that an earlier transfer left

	Rate int64         // bytes/s that came over the network, over the last ten seconds
	ETA  time.Duration // until the end at the rate at which Done grows; 0: unknown

	Need, Free int64 // while waiting for space: bytes still to be written, bytes that may be
}

// meter counts. It is safe for concurrent use.
type meter struct {
	listener *Listener
	sent     atomic.Int64
	done     atomic.Int64
	files    atomic.Int64

	telling sync.Mutex // held through a change and the call that tells it: calls come in the order of what they tell

	mu   sync.Mutex
	now  Progress // what is not counted above
	past []sample
}

type sample struct {
	at         time.Time
	sent, done int64
}

// window is the time over which rates are taken.
const window = 10 * time.Second

func (m *meter) snapshot() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.look()
}

func (m *meter) look() Progress {
	p := m.now
	p.Sent, p.Done, p.FilesDone = m.sent.Load(), m.done.Load(), int(m.files.Load())
	if len(m.past) > 1 {
		a, b := m.past[0], m.past[len(m.past)-1]
		if s := b.at.Sub(a.at).Seconds(); s > 0 {
			p.Rate = int64(float64(b.sent-a.sent) / s)
			if grow := float64(b.done-a.done) / s; grow >= 1 {
				p.ETA = time.Duration(float64(p.Bytes-p.Done) / grow * float64(time.Second))
			}
		}
	}
	return p
}

// update changes what is not counted, and tells.
func (m *meter) update(change func(p *Progress)) {
	m.telling.Lock()
	defer m.telling.Unlock()
	m.mu.Lock()
	change(&m.now)
	p := m.look()
	m.mu.Unlock()
	if m.listener.Progress != nil {
		m.listener.Progress(p)
	}
}

// phase changes the phase, and tells if it is another.
func (m *meter) phase(to Phase) {
	m.mu.Lock()
	same := m.now.Phase == to
	m.mu.Unlock()
	if !same {
		m.update(func(p *Progress) { p.Phase, p.Need, p.Free = to, 0, 0 })
	}
}

// run takes samples and tells at each interval until ctx ends.
func (m *meter) run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-t.C:
			m.mu.Lock()
			m.past = append(m.past, sample{at, m.sent.Load(), m.done.Load()})
			for len(m.past) > 2 && at.Sub(m.past[0].at) > window {
				m.past = m.past[1:]
			}
			m.mu.Unlock()
			m.update(func(*Progress) {})
		}
	}
}

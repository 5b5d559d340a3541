package consensus

import (
	"sync"

	"o3/internal/errs"
)

// inbox holds what callers and the network want of the loop.
type inbox struct {
	wake chan struct{} // holds one token when there may be something

	maxProposals, maxProposalBytes, maxMessageBytes int

	mu       sync.Mutex
	closed   error
	mail     mail
	onTick   []func() // become tasks with the next tick
	msgBytes int
	waiting  int // proposals taken in and not yet packed, here or in the loop
	bytes    int
}

// mail is the inbox's content, handed to the loop at once.
type mail struct {
	proposals []*Proposal
	reads     []*Read
	messages  []Message
	tasks     []func()
	ticks     int
}

func (m *mail) empty() bool {
	return len(m.proposals)+len(m.reads)+len(m.messages)+len(m.tasks)+m.ticks == 0
}

func (b *inbox) init(o Options) {
	b.wake = make(chan struct{}, 1)
	b.maxProposals, b.maxProposalBytes, b.maxMessageBytes = o.MaxQueueRequests, o.MaxQueueBytes, o.MaxInboxBytes
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (b *inbox) proposal(p *Proposal) error {
	b.mu.Lock()
	if b.closed != nil {
		b.mu.Unlock()
		return unavailable("the node stopped", b.closed)
	}
	if b.waiting >= b.maxProposals || b.waiting > 0 && b.bytes+len(p.request) > b.maxProposalBytes {
		b.mu.Unlock()
		return errs.New(errs.SlowDown, "consensus", "too many requests wait to be logged")
	}
	b.waiting++
	b.bytes += len(p.request)
	b.mail.proposals = append(b.mail.proposals, p)
	b.mu.Unlock()
	poke(b.wake)
	return nil
}

// packed frees the room of proposals that left the queue.
func (b *inbox) packed(count, bytes int) {
	b.mu.Lock()
	b.waiting -= count
	b.bytes -= bytes
	b.mu.Unlock()
}

func (b *inbox) read(r *Read) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return unavailable("the node stopped", b.closed)
	}
	if len(b.mail.reads) >= b.maxProposals {
		return errs.New(errs.SlowDown, "consensus", "too many reads wait")
	}
	b.mail.reads = append(b.mail.reads, r)
	poke(b.wake)
	return nil
}

func (b *inbox) message(m Message) bool {
	size := m.Size()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil || b.msgBytes > 0 && b.msgBytes+size > b.maxMessageBytes {
		return false
	}
	b.msgBytes += size
	b.mail.messages = append(b.mail.messages, m)
	poke(b.wake)
	return true
}

// task queues f for the loop; false when the node has stopped, and f will not run.
func (b *inbox) task(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return false
	}
	b.mail.tasks = append(b.mail.tasks, f)
	poke(b.wake)
	return true
}

// later queues f for the next tick.
func (b *inbox) later(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onTick = append(b.onTick, f)
}

// tick counts one tick, but never more than most that were not yet seen: a
// loop held up by its disk must not mistake its own pause for the leader's.
func (b *inbox) tick(most int) {
	b.mu.Lock()
	b.mail.ticks = min(b.mail.ticks+1, most)
	b.mail.tasks, b.onTick = append(b.mail.tasks, b.onTick...), nil
	b.mu.Unlock()
	poke(b.wake)
}

func (b *inbox) take() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.mail
	b.mail, b.msgBytes = mail{}, 0
	return m
}

// close refuses everything from now on and returns what was left.
func (b *inbox) close(err error) mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.mail
	b.closed, b.mail = err, mail{}
	return m
}

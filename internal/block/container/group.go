package container

import "sync"

// group lets concurrent callers share one expensive step (an fsync): whoever
// comes while a step is under way waits, and the first of those who wait
// performs the next step for all of them. It has no goroutine of its own.
type group[T any] struct {
	step func(batch []*call[T]) // sets err of each call
	size func(T) int64
	max  int64 // bound of the sum of sizes in one batch

	mu    sync.Mutex
	queue []*call[T]
	busy  bool

	turn sync.Mutex // held during step; others take it to keep steps away
}

type call[T any] struct {
	v    T
	err  error
	wake chan bool // true: done; false: lead the next step
}

// do returns when a step that contained v has ended, with its error.
func (g *group[T]) do(v T) error {
	c := &call[T]{v: v}
	g.mu.Lock()
	g.queue = append(g.queue, c)
	if g.busy {
		c.wake = make(chan bool, 1)
		g.mu.Unlock()
		if <-c.wake {
			return c.err
		}
		g.mu.Lock()
	}
	g.busy = true
	batch := g.take()
	g.mu.Unlock()

	g.turn.Lock()
	g.step(batch)
	g.turn.Unlock()

	g.mu.Lock()
	if len(g.queue) > 0 {
		g.queue[0].wake <- false
	} else {
		g.busy = false
	}
	g.mu.Unlock()
	for _, other := range batch {
		if other != c {
			other.wake <- true
		}
	}
	return c.err
}

// take removes the next batch from the queue; the caller, whose call is the
// first of it, holds mu.
func (g *group[T]) take() []*call[T] {
	var total int64
	n := 0
	for n < len(g.queue) {
		total += g.size(g.queue[n].v)
		if n > 0 && total > g.max {
			break
		}
		n++
	}
	batch := g.queue[:n:n]
	g.queue = g.queue[n:]
	if len(g.queue) == 0 {
		g.queue = nil
	}
	return batch
}

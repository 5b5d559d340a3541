package freon

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"o3/internal/errs"
)

// job is load of one kind.
type job struct {
	ops []string // names of the kinds of operation; outcome.op is an index of it

	// open returns what one client of the load does. It is called before time
	// runs, once for each of the clients.
	open func(ctx context.Context, client int) (stepper, error)
}

// stepper is one client. It belongs to one goroutine.
type stepper interface {
	// step does an operation, within a time it bounds itself. n counts the
	// operations of all clients from 0. ctx ends with the run.
	step(ctx context.Context, n uint64) outcome
	close()
}

// outcome is what became of an operation.
type outcome struct {
	op    int
	bytes int64 // of content, moved in either direction
	items int64 // keys of a listing
	err   error // see failure
}

// errDone ends the client that returns it: nothing is left to do.
var errDone = errors.New("nothing left to do")

// plan says how much load, and until when.
type plan struct {
	clients   int
	count     int64         // operations to measure; 0: as many as the time allows
	duration  time.Duration // of the measurement, at most
	warmup    time.Duration // before it, not measured
	rate      float64       // operations per second that are due, whatever happens to earlier ones; 0: each client waits for its answer
	maxErrors int64         // the run ends after more than these

	begun func()      // called when the measurement begins, once
	ended func()      // called when its last operation is over, once
	done  func(int64) // called with operations that are done
}

// tally is what one client counted, and the sum over all.
type tally struct {
	latency  []histogram // by kind of operation, of those that succeeded
	bytes    []int64
	items    []int64
	failures failures
	last     time.Time // the end of the last operation
}

func newTally(ops int) *tally {
	return &tally{latency: make([]histogram, ops), bytes: make([]int64, ops), items: make([]int64, ops), failures: failures{}}
}

func (t *tally) add(o outcome, took time.Duration, end time.Time) {
	t.last = end
	if o.err != nil {
		t.failures.add(o.op, o.err)
		return
	}
	t.latency[o.op].add(took)
	t.bytes[o.op] += o.bytes
	t.items[o.op] += o.items
}

func (t *tally) merge(o *tally) {
	for i := range t.latency {
		t.latency[i].merge(&o.latency[i])
		t.bytes[i] += o.bytes[i]
		t.items[i] += o.items[i]
	}
	t.failures.merge(o.failures)
	if o.last.After(t.last) {
		t.last = o.last
	}
}

// measured is the outcome of a run.
type measured struct {
	*tally
	took     time.Duration // of the measurement
	unbegun  int64         // operations that were due and not begun, with a rate
	gaveUp   bool          // there were too many errors
	canceled bool
}

// load is a run that goes on.
type load struct {
	plan
	start    time.Time // of the warm-up
	measure  time.Time // of the measurement
	end      time.Time
	mu       sync.Mutex
	next     uint64 // under mu: number of the next operation
	tickets  int64  // under mu: operations claimed that are measured
	failed   atomic.Int64
	stop     context.CancelFunc
	begin    sync.Once
	gaveUp   atomic.Bool
	finished atomic.Bool
}

// run puts the load of j on the server. It fails only if a client cannot be
// opened; errors of operations are counted.
func run(ctx context.Context, p plan, j job) (*measured, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	steppers := make([]stepper, 0, p.clients)
	defer func() {
		for _, s := range steppers {
			s.close()
		}
	}()
	for i := range p.clients {
		s, err := j.open(ctx, i)
		if err != nil {
			return nil, err
		}
		steppers = append(steppers, s)
	}
	l := &load{plan: p, stop: stop}
	l.start = time.Now()
	l.measure = l.start.Add(p.warmup)
	l.end = l.measure.Add(p.duration)
	tallies := make([]*tally, p.clients)
	var clients sync.WaitGroup
	for i, s := range steppers {
		tallies[i] = newTally(len(j.ops))
		clients.Go(func() { l.client(ctx, s, tallies[i]) })
	}
	clients.Wait()
	l.begin.Do(l.begun) // a run that ended in the warm-up
	p.ended()
	sum := newTally(len(j.ops))
	for _, t := range tallies {
		sum.merge(t)
	}
	m := &measured{tally: sum, gaveUp: l.gaveUp.Load(), canceled: ctx.Err() != nil && !l.gaveUp.Load()}
	if sum.last.After(l.measure) {
		m.took = sum.last.Sub(l.measure)
	}
	if p.rate > 0 && !m.canceled && !m.gaveUp && !l.finished.Load() {
		due := int64(p.rate * p.duration.Seconds())
		if p.count > 0 {
			due = min(due, p.count)
		}
		m.unbegun = max(0, due-min(l.tickets, due)) // the clients are over: no lock
	}
	return m, nil
}

// claim is an operation that a client is to do.
type claim struct {
	n       uint64
	due     time.Time
	measure bool
}

// claim takes the next operation; ok is false when none is left. Number and
// ticket go together, so that count operations are those numbered 0 to count-1
// when none is a warm-up.
func (l *load) claim() (c claim, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.n, c.due = l.next, time.Now()
	if l.rate > 0 {
		c.due = l.start.Add(time.Duration(float64(c.n) / l.rate * float64(time.Second)))
	}
	c.measure = !c.due.Before(l.measure)
	if !c.due.Before(l.end) || c.measure && l.count > 0 && l.tickets == l.count {
		return c, false
	}
	l.next++
	if c.measure {
		l.tickets++
	}
	return c, true
}

// unclaim says that an operation was not done.
func (l *load) unclaim(c claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.measure {
		l.tickets--
	}
}

// client is one client's life.
func (l *load) client(ctx context.Context, s stepper, t *tally) {
	for ctx.Err() == nil {
		c, ok := l.claim()
		if !ok {
			return
		}
		if !l.await(ctx, c.due) {
			l.unclaim(c)
			return
		}
		if c.measure {
			l.begin.Do(l.begun)
		}
		o := s.step(ctx, c.n)
		end := time.Now()
		if errors.Is(o.err, errDone) {
			l.unclaim(c)
			l.finished.Store(true)
			return
		}
		if ctx.Err() != nil && o.err != nil {
			return // cut off, not failed
		}
		if c.measure {
			t.add(o, end.Sub(c.due), end)
			l.done(1)
		}
		if o.err != nil && l.failed.Add(1) > l.maxErrors {
			if !c.measure { // else a server that is down from the start would leave no trace
				t.add(o, end.Sub(c.due), end)
			}
			l.gaveUp.Store(true)
			l.stop()
			return
		}
	}
}

// await waits until an operation is due, unless that is past. It returns false
// when the run is over before.
func (l *load) await(ctx context.Context, due time.Time) bool {
	if l.rate <= 0 {
		return true
	}
	now := time.Now()
	if !now.Before(l.end) {
		return false // what is due and not begun is counted, not done late
	}
	wait := due.Sub(now)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// each does count operations of j and stops at the first that fails: it
// prepares what a run needs.
func each(ctx context.Context, clients int, count int64, j job, done func(int64)) error {
	nothing := func() {}
	m, err := run(ctx, plan{
		clients: int(min(int64(clients), max(count, 1))), count: count, duration: maxDuration,
		begun: nothing, ended: nothing, done: done,
	}, j)
	switch {
	case err != nil:
		return err
	case len(m.failures) > 0:
		return m.failures.err("preparing")
	case m.canceled:
		return errs.New(errs.Canceled, "preparing", "interrupted")
	}
	return nil
}

package recon_test

import (
	"sync"
	"time"
)

// clock is the time of a test: it passes when the test says so. Timers of less than
// a second fire at once: they are waits for an OM.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*timer]bool
	set    chan struct{} // closed and made anew when a timer is set
}

type timer struct {
	at time.Time
	d  time.Duration
	c  chan time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), timers: map[*timer]bool{}, set: make(chan struct{})}
}

// Now implements recon.Clock.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Timer implements recon.Clock.
func (c *clock) Timer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c.now.Add(d), d, make(chan time.Time, 1)}
	if d < time.Second {
		t.c <- c.now
		return t.c, func() {}
	}
	c.timers[t] = true
	close(c.set)
	c.set = make(chan struct{})
	return t.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.timers, t)
	}
}

// advance lets time pass.
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t := range c.timers {
		if !t.at.After(c.now) {
			t.c <- c.now
			delete(c.timers, t)
		}
	}
}

// waiting waits until so many wait so long.
func (c *clock) waiting(d time.Duration, many int) {
	for {
		c.mu.Lock()
		set, n := c.set, 0
		for t := range c.timers {
			if t.d == d {
				n++
			}
		}
		c.mu.Unlock()
		if n >= many {
			return
		}
		<-set
	}
}

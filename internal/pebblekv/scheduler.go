package pebblekv

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler lets as many compactions run as the engine asks for, and none once
// the store has failed: one that cannot succeed would be tried again at once,
// for ever.
//
// Locks of the engine come before mu; granting is held without locks of the
// engine, and calls it.
type scheduler struct {
	failure *failure
	db      pebble.DBForCompaction
	grants  sync.WaitGroup
	// granting serialises grant.
	granting sync.Mutex

	mu struct {
		sync.Mutex
		running int
		stopped bool
	}
}

var (
	_ pebble.CompactionScheduler   = (*scheduler)(nil)
	_ pebble.CompactionGrantHandle = (*scheduler)(nil)
)

// Register is called once, before anything else.
func (c *scheduler) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister returns when no call of the engine is under way or will come.
func (c *scheduler) Unregister() {
	c.mu.Lock()
	c.mu.stopped = true
	c.mu.Unlock()
	c.grants.Wait()
	c.granting.Lock() // a grant by Done ends
	defer c.granting.Unlock()
}

// TrySchedule asks to run a compaction now. When refused, it waits for a
// grant.
func (c *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.room() {
		return false, nil
	}
	c.mu.running++
	return true, c
}

// room reports whether one more may run. The caller holds mu.
func (c *scheduler) room() bool {
	return !c.mu.stopped && c.failure.get() == nil && c.mu.running < c.db.GetAllowedWithoutPermission()
}

// UpdateGetAllowedWithoutPermission is called, with locks of the engine held,
// when more may be allowed.
func (c *scheduler) UpdateGetAllowedWithoutPermission() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room() {
		c.grants.Go(c.grant)
	}
}

// grant starts compactions that wait, while there is room.
func (c *scheduler) grant() {
	c.granting.Lock()
	defer c.granting.Unlock()
	for {
		c.mu.Lock()
		room := c.room()
		c.mu.Unlock()
		if !room {
			return
		}
		if waiting, _ := c.db.GetWaitingCompaction(); !waiting || !c.db.Schedule(c) {
			return
		}
		c.mu.Lock()
		c.mu.running++
		c.mu.Unlock()
	}
}

// Done ends a compaction.
func (c *scheduler) Done() {
	c.mu.Lock()
	c.mu.running--
	c.mu.Unlock()
	c.grant()
}

// Started, MeasureCPU and CumulativeStats would let us pace a compaction.
func (c *scheduler) Started() {}

func (c *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

func (c *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}

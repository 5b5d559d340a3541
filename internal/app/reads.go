package app

import (
	"sync"
	"time"
)

// reads knows which reads of objects run, so that no block is freed under one.
// It is safe for concurrent use.
type reads struct {
	mu struct {
		sync.Mutex
		next    uint64
		running map[uint64]time.Time
	}
}

// begin notes a read; the result ends it.
func (r *reads) begin() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.running == nil {
		r.mu.running = map[uint64]time.Time{}
	}
	id := r.mu.next
	r.mu.next++
	r.mu.running[id] = time.Now()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.mu.running, id)
	}
}

// oldest returns when the oldest read began; ok is false when none runs.
func (r *reads) oldest() (t time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, began := range r.mu.running {
		if !ok || began.Before(t) {
			t, ok = began, true
		}
	}
	return t, ok
}

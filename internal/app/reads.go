package app

import (
	"sync"

	"o3/internal/ns"
)

// reads knows which reads of objects run, so that no block is freed under one.
// It is safe for concurrent use.
type reads struct {
	applied func() ns.Op // the op that is applied now

	mu struct {
		sync.Mutex
		next    uint64
		running map[uint64]ns.Op // what was applied when it began
	}
}

// begin notes a read, before it looks a key up; the result ends it.
func (r *reads) begin() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.running == nil {
		r.mu.running = map[uint64]ns.Op{}
	}
	id := r.mu.next
	r.mu.next++
	r.mu.running[id] = r.applied()
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.mu.running, id)
	}
}

// oldest returns what was applied when the oldest read began; ok is false when
// none runs.
func (r *reads) oldest() (op ns.Op, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, began := range r.mu.running {
		if !ok || began < op {
			op, ok = began, true
		}
	}
	return op, ok
}

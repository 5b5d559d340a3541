package pebblekv

import (
	"sync"
	"sync/atomic"
	"time"
)

// When commits wait: while so many memtables are full, or level 0 is so deep
// that reads suffer.
const (
	stopMemTables = 4
	stopSublevels = 20
)

// stall makes commits wait while background work has fallen behind. The
// engine can do that itself, but then nothing ends the wait when the store
// fails.
type stall struct {
	unseen atomic.Int64 // bytes committed since somebody last looked
	look   atomic.Bool  // files changed since

	count  atomic.Int64
	waited atomic.Int64 // nanoseconds

	mu sync.Mutex
	ch chan struct{} // closed by wake; nil while nobody waits
}

// wake lets waiting commits look again.
func (w *stall) wake() {
	w.look.Store(true)
	w.mu.Lock()
	if w.ch != nil {
		close(w.ch)
		w.ch = nil
	}
	w.mu.Unlock()
}

// next returns a channel that the next wake closes.
func (w *stall) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch == nil {
		w.ch = make(chan struct{})
	}
	return w.ch
}

// admit waits until n more bytes may be committed, or the store has failed.
// Looking at the engine costs some microseconds, so it looks when files
// changed, and otherwise once per eighth of a memtable.
func (s *Store) admit(op string, n int) error {
	w := &s.stall
	if w.unseen.Add(int64(n)) < int64(s.opts.MemTableBytes/8) && !w.look.Load() {
		return nil
	}
	var began time.Time
	var first string
	for {
		changed := w.next() // before looking, so that no change is missed
		w.look.Store(false)
		reason := s.behind()
		if reason == "" {
			w.unseen.Store(0)
			break
		}
		w.look.Store(true) // others must look too
		if first == "" {
			first, began = reason, time.Now()
			w.count.Add(1)
			s.opts.Listener.StallBegin(reason)
		}
		select {
		case <-changed:
		case <-s.failure.ch:
		}
		if s.failure.get() != nil {
			break
		}
	}
	if first != "" {
		took := time.Since(began)
		w.waited.Add(int64(took))
		s.opts.Listener.StallEnd(first, took)
	}
	return s.writable(op)
}

// behind returns what has fallen behind, or "".
func (s *Store) behind() string {
	m := s.db.Metrics()
	switch {
	case m.MemTable.Size >= uint64(stopMemTables*s.opts.MemTableBytes):
		return "memtables"
	case m.Levels[0].Sublevels >= stopSublevels:
		return "level 0"
	}
	return ""
}

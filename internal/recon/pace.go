package recon

import (
	"context"
	"runtime"

	"o3/internal/recon/staging"
)

// turn lets a thread of a rebuild read a batch, when the breaker lets it.
func (s *Service) turn(ctx context.Context, st *stage) (rows int, done func(), err error) {
	runtime.Gosched() // requests that wait for a processor come first
	for {
		s.pace(ctx, st)
		s.mu.Lock()
		limits := st.limits.Within(st.breaker.Step)
		if st.freed == nil {
			st.freed = make(chan struct{})
		}
		freed, free := st.freed, st.paused == nil && st.turns < limits.Threads
		if free {
			st.turns++
		}
		s.mu.Unlock()
		if free {
			return limits.Batch, func() { s.endTurn(st) }, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return 0, nil, context.Cause(ctx)
		}
	}
}

func (s *Service) endTurn(st *stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.turns--
	st.freeTurns()
}

// freeTurns has those who wait for a turn look again; Service.mu is held.
func (st *stage) freeTurns() {
	if st.freed != nil {
		close(st.freed)
		st.freed = nil
	}
}

// pace holds a stage up while the breaker pauses it.
func (s *Service) pace(ctx context.Context, st *stage) {
	s.mu.Lock()
	paused := st.paused
	s.mu.Unlock()
	if paused == nil {
		return
	}
	select {
	case <-paused:
	case <-ctx.Done():
	}
}

// plan makes out what a stage may take.
func (s *Service) plan(st *stage) {
	o := s.o.Staging
	used, limit := s.memory(func(uint64) uint64 { return uint64(float64(s.o.Rebuild.Memory) / o.MemoryFactor) })
	available := uint64(0)
	if limit > 0 {
		available = max(limit-min(used, limit), 1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.limits = staging.Plan(available, o.MemoryFactor, o.BatchMultiplier, o.Threads, s.o.Rebuild.Memory)
}

// limits returns what a stage may take now.
func (s *Service) limits(st *stage) staging.Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.limits.Within(st.breaker.Step)
}

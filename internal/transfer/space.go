package transfer

import (
	"context"
	"sync"
)

// space makes the streams wait while the target's disk is full.
type space struct {
	mu   sync.Mutex // held while waiting: the others wait behind it
	flag sync.Mutex
	hit  bool // a write failed for want of space
}

// ranOut notes that a write failed for want of space.
func (s *space) ranOut() {
	s.flag.Lock()
	defer s.flag.Unlock()
	s.hit = true
}

func (s *space) clear() bool {
	s.flag.Lock()
	defer s.flag.Unlock()
	hit := s.hit
	s.hit = false
	return hit
}

// room returns when what the plan still needs, and the reserve, fit on the disk.
// After a write that failed it waits at least once, whatever the disk says: a
// quota may be what is full. The phase is back to transferring with the next
// bytes that are written.
func (f *fetch) room(ctx context.Context) error {
	f.space.mu.Lock()
	defer f.space.mu.Unlock()
	for {
		need := f.plan.need()
		free, err := f.o.Disk.Free(f.o.Dir)
		if err != nil {
			return local("directory "+f.o.Dir, err)
		}
		if !f.space.clear() && free-f.o.Reserve >= need {
			return ctx.Err()
		}
		f.meter.update(func(p *Progress) { p.Phase, p.Need, p.Free = PhaseWaiting, need, max(free-f.o.Reserve, 0) })
		if err := pause(ctx, f.o.SpaceEvery); err != nil {
			return err
		}
	}
}

package recon

import (
	"context"
	"fmt"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/staging"
)

// spareMemory returns how much of so much memory is to stay free.
func spareMemory(limit uint64) uint64 { return limit / 10 }

// space returns the free bytes where stages are made; ok is false where that is
// not known.
func (s *Service) space() (free uint64, ok bool) {
	if f := s.o.Staging.Space; f != nil {
		free, _, err := f(s.d.base)
		return free, err == nil
	}
	u, err := s.d.fs.GetDiskUsage(s.d.base)
	return u.AvailBytes, err == nil
}

// short says what of the machine there is too little of, "" for nothing.
func (s *Service) short() string {
	if free, ok := s.space(); ok && free < s.o.Staging.Reserve {
		return fmt.Sprintf("the disk of %s has %.1f MiB free, and %.1f MiB are to stay so", s.d.base, mib(free), mib(s.o.Staging.Reserve))
	}
	if used, limit := s.memory(spareMemory); limit > 0 && used > limit-spareMemory(limit) {
		return fmt.Sprintf("the process has %.1f MiB of %.1f MiB", mib(used), mib(limit))
	}
	return ""
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }

// roomFor refuses to begin a stage on a disk that has too little, when what can be
// given up has been.
func (s *Service) roomFor(st *stage) error {
	s.giveUp()
	if free, ok := s.space(); ok && free < s.o.Staging.Reserve {
		return end(staging.EndDisk, errs.New(errs.ReadOnly, "stage", s.short()))
	}
	return nil
}

// giveUp removes what is kept for other times while the disk has too little: an
// image of no stage, a stage that failed, the generation before.
func (s *Service) giveUp() {
	s.files.Lock()
	defer s.files.Unlock()
	s.giveUpHeld()
}

func (s *Service) giveUpHeld() {
	const why = "the disk is needed"
	low := func() bool {
		free, ok := s.space()
		return ok && free < s.o.Staging.Reserve
	}
	if low() && !s.inUse() {
		s.failed("remove image", s.discardSalvage(why))
	}
	for name := range s.keptStages() {
		if low() {
			s.discard("kept stage", name, why)
		}
	}
	if low() {
		s.dropPrevious(why)
	}
}

// dropPrevious gives up the generation before. s.files is held.
func (s *Service) dropPrevious(why string) {
	m := s.inForce()
	if m.Previous == "" {
		return
	}
	name := m.Previous
	m.Previous = ""
	if err := s.mark(m); err != nil {
		s.failed("write "+s.d.path(currentFile), err)
		return
	}
	s.discard("previous generation", name, why)
}

// watch looks at marker, disk and memory now and then, and gives up in time what
// is kept.
func (s *Service) watch(ctx context.Context) error {
	for {
		fired, stop := s.clock.Timer(s.o.Staging.HealthInterval)
		select {
		case <-fired:
			s.tend()
		case <-ctx.Done():
			stop()
			return nil
		}
	}
}

// tend is one look.
func (s *Service) tend() {
	s.files.Lock()
	defer s.files.Unlock()
	s.checkMarker()
	s.giveUpHeld()
	now, keep := s.clock.Now(), s.o.Staging.Retention
	if m := s.inForce(); m.Previous != "" && now.Sub(time.UnixMilli(m.SinceMs)) >= keep {
		s.dropPrevious("the generation in force has served long enough")
	}
	for name, k := range s.keptStages() {
		if now.Sub(k.Since) >= keep {
			s.discard("kept stage", name, "it was kept long enough")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.retry; r != nil && r.waitsForDisk && r.due.After(now) && s.roomSince(r) {
		r.due = now
		s.nudge()
	}
}

// roomSince reports whether the disk has room again for a stage that had none.
func (s *Service) roomSince(j *job) bool {
	free, ok := s.space()
	return ok && free >= s.o.Staging.Reserve && free > j.freeThen
}

// checkMarker puts the marker right if somebody has changed it. s.files is held.
func (s *Service) checkMarker() {
	m := s.inForce()
	if m.Generation == "" {
		return
	}
	m.Format = currentFormat
	got, err := s.d.readCurrent()
	if err == nil && got == m {
		return
	}
	if err == nil {
		err = errs.New(errs.Corrupt, s.d.path(currentFile), fmt.Sprintf("it names %q; %s is in force", got.Generation, m.Generation))
	}
	s.failed("read "+s.d.path(currentFile), err)
	s.failed("write "+s.d.path(currentFile), s.mark(m))
}

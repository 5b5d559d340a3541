package container

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
)

const (
	markEvery = time.Second
	trimEvery = 10 * time.Second

	scrubRetry = time.Minute // longest wait after a scrub that failed
)

// Run does the work in the background until ctx ends: it seals full
// containers, frees dead space every Options.ReclaimInterval and scrubs every
// Options.ScrubInterval. It returns nil when ctx has ended, and the cause at
// once when an fsync has failed. Call it once, and Close after it.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-s.halted:
			return s.Err()
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error { return s.runSeals(ctx) })
	g.Go(func() error { return s.runReclaim(ctx) })
	g.Go(func() error { return s.runScrub(ctx) })
	return g.Wait()
}

// fatal keeps what must end Run; the rest is told and tried again.
func (s *Store) fatal(ctx context.Context, what string, err error) error {
	if err == nil || ctx.Err() != nil || errs.KindOf(err) == errs.Conflict { // somebody else does it
		return nil
	}
	if s.Err() != nil {
		return s.Err()
	}
	s.o.Listener.Failed(what, 0, err)
	return nil
}

func (s *Store) runSeals(ctx context.Context) error {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	trim := time.NewTicker(trimEvery)
	defer trim.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-trim.C:
			s.trimStreams()
		case <-s.wake:
			if err := s.fatal(ctx, "seal", s.sealPending()); err != nil {
				return err
			}
		case <-tick.C:
			s.markSmall()
		}
	}
}

// markSmall notes how far the container of the small blocks is durable.
func (s *Store) markSmall() {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.writable() != nil {
		return
	}
	s.small.turn.Lock()
	defer s.small.turn.Unlock()
	if s.current != nil {
		s.current.mark()
	}
}

func (s *Store) runReclaim(ctx context.Context) error {
	tick := time.NewTicker(s.o.ReclaimInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			_, err := s.Reclaim(ctx)
			if err := s.fatal(ctx, "reclaim", err); err != nil {
				return err
			}
		}
	}
}

func (s *Store) runScrub(ctx context.Context) error {
	if s.o.ScrubInterval < 0 {
		return nil
	}
	for {
		timer := time.NewTimer(s.untilScrub())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		_, err := s.Scrub(ctx)
		if err := s.fatal(ctx, "scrub", err); err != nil {
			return err
		}
		if err != nil { // do not spin on a disk that fails
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(min(s.o.ReclaimInterval, scrubRetry)):
			}
		}
	}
}

// untilScrub is the time to the next scrub; one that was interrupted goes on
// at once.
func (s *Store) untilScrub() time.Duration {
	r := s.ScrubStatus()
	if r.Started.IsZero() || r.Finished.IsZero() {
		return 0
	}
	return time.Until(r.Started.Add(s.o.ScrubInterval))
}

package recon

import (
	"context"
	"errors"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/recon/staging"
)

// keepFollowing follows the OM with the generation in force, whichever it is.
func (s *Service) keepFollowing(ctx context.Context) error {
	backoff := s.o.Backoff
	for at := 0; ctx.Err() == nil; {
		cur, changed := s.now()
		if cur == nil || cur.paused {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		src := s.o.Sources[at%len(s.o.Sources)]
		heard, err := s.followOne(ctx, cur, changed, src)
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-changed:
			continue
		default:
		}
		if b := (*broken)(nil); errors.As(err, &b) {
			if s.o.Listener.Broken != nil {
				s.o.Listener.Broken(b.reason, b.err)
			}
			s.set(StateSyncing, b.err)
			s.wish(ask{kind: s.remedy(b.reason), reason: b.reason, detail: b.err.Error()})
			select { // nothing can be followed until there is another generation
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if heard {
			backoff = s.o.Backoff
		}
		s.set(StateRetrying, err)
		if !heard && !cur.g.Agrees() {
			s.wish(ask{kind: staging.Local, reason: ReasonDamaged, detail: "after a crash the tables are ahead of the replica, and the OM does not answer"})
		}
		at++ // the next source, if there is one
		fired, stop := s.clock.Timer(backoff)
		select {
		case <-fired:
		case <-changed:
		case <-ctx.Done():
		}
		stop()
		backoff = min(2*backoff, s.o.MaxBackoff)
	}
	return nil
}

// logBytes returns how many bytes of the log a message has.
func logBytes(m *o3v1.ReadLogResponse) (n int) {
	for _, e := range m.Entries {
		n += len(e.Data)
	}
	return n
}

// remedy is what a generation is made of when the one in force can be followed no
// more.
func (s *Service) remedy(r Reason) staging.Kind {
	if r == ReasonDisk && !s.o.Staging.Disabled {
		return staging.Incremental // there is nothing wrong with it: it could not be written
	}
	return staging.Full
}

// followOne follows one source until it fails or there is another generation; it
// reports whether anything was heard.
func (s *Service) followOne(ctx context.Context, cur *served, changed <-chan struct{}, src Source) (any bool, err error) {
	cur.follow.Lock()
	defer cur.follow.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	flushed, applied := s.clock.Now(), cur.g.Position().Index
	err = follow(ctx, cur.g, src, func(m *o3v1.ReadLogResponse, took time.Duration) {
		if !any {
			any = true
			s.mu.Lock()
			s.status.Source, s.needs = src.Name(), nil
			s.mu.Unlock()
			s.set(StateFollowing, nil)
		}
		s.tell(m)
		if len(m.Entries) > 0 && s.o.Listener.Applied != nil {
			s.o.Listener.Applied(len(m.Entries), logBytes(m), took)
		}
		if index := cur.g.Position().Index; index > applied && s.clock.Now().Sub(flushed) >= s.o.FlushInterval {
			s.failed("flush", cur.g.Flush())
			flushed, applied = s.clock.Now(), index
		}
	}, nil)
	return any, err
}

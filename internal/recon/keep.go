package recon

import (
	"context"
	"errors"
	"time"

	o3v1 "o3/api/o3/v1"
)

// keepFollowing follows the OM with the generation in force, whichever it is.
func (s *Service) keepFollowing(ctx context.Context) error {
	backoff := s.o.Backoff
	for at := 0; ctx.Err() == nil; {
		cur, changed := s.now()
		if cur == nil {
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
			s.set(StateSyncing, b.err)
			s.wish(ask{reason: b.reason, detail: b.err.Error()})
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
		at++ // the next source, if there is one
		wait := time.NewTimer(backoff)
		select {
		case <-wait.C:
		case <-changed:
		case <-ctx.Done():
		}
		wait.Stop()
		backoff = min(2*backoff, s.o.MaxBackoff)
	}
	return nil
}

// followOne follows one source until it fails or there is another generation; it
// reports whether anything was heard.
func (s *Service) followOne(ctx context.Context, cur *served, changed <-chan struct{}, src Source) (any bool, err error) {
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
	flushed, applied := time.Now(), cur.g.Position().Index
	err = follow(ctx, cur.g, src, func(m *o3v1.ReadLogResponse, took time.Duration) {
		if !any {
			any = true
			s.mu.Lock()
			s.status.Source = src.Name()
			s.mu.Unlock()
			s.set(StateFollowing, nil)
		}
		s.tell(m)
		if len(m.Entries) > 0 && s.o.Listener.Applied != nil {
			s.o.Listener.Applied(len(m.Entries), took)
		}
		if index := cur.g.Position().Index; index > applied && time.Since(flushed) >= s.o.FlushInterval {
			s.failed("flush", cur.g.Flush())
			flushed, applied = time.Now(), index
		}
	}, nil)
	return any, err
}

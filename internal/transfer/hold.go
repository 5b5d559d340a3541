package transfer

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// Lease keeps an image at its source, and what its receiver needs after it.
type Lease struct {
	c     *client
	image string
	ttl   atomic.Int64 // nanoseconds, as the source said last
	own   *http.Transport
	lost  func(error) // hears of a renewal that failed; may be nil
}

// take takes the lease.
func (l *Lease) take(ctx context.Context) error {
	ttl, err := l.c.hold(ctx, l.image)
	if err == nil {
		l.ttl.Store(int64(ttl))
	}
	return err
}

// Image returns the image's id.
func (l *Lease) Image() string { return l.image }

// Run renews the lease, three times in its life, until ctx ends, and returns
// nil. A renewal that fails is tried again at the next turn; should the source
// have let go meanwhile, it takes the lease anew if it can.
func (l *Lease) Run(ctx context.Context) error {
	for {
		if pause(ctx, max(time.Duration(l.ttl.Load())/3, time.Millisecond)) != nil {
			return nil
		}
		if err := l.take(ctx); err != nil && ctx.Err() == nil && l.lost != nil {
			l.lost(err)
		}
	}
}

// Release ends the lease. Should it fail, the lease expires by itself.
func (l *Lease) Release(ctx context.Context) error {
	defer l.own.CloseIdleConnections()
	return l.c.release(ctx, l.image)
}

package transfer

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// throttle bounds bytes per second over all that share it. A nil throttle
// bounds nothing. It admits at most a fifth of a second's bytes at once.
type throttle struct {
	limit *rate.Limiter
	piece int // bytes asked for at a time, so that many share it evenly
}

// newThrottle returns a throttle for so many bytes per second; 0 or less means
// no bound.
func newThrottle(perSecond int64) *throttle {
	if perSecond <= 0 {
		return nil
	}
	piece := int(min(max(perSecond/20, 1), 64<<10))
	burst := int(min(max(perSecond/5, int64(piece)), 1<<30))
	return &throttle{rate.NewLimiter(rate.Limit(perSecond), burst), piece}
}

// wait returns when n bytes may pass.
func (t *throttle) wait(ctx context.Context, n int) error {
	if t == nil {
		return ctx.Err()
	}
	for n > 0 {
		k := min(n, t.piece)
		r := t.limit.ReserveN(time.Now(), k)
		if d := r.Delay(); d > 0 {
			if err := pause(ctx, d); err != nil {
				r.Cancel()
				return err
			}
		}
		n -= k
	}
	return ctx.Err()
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

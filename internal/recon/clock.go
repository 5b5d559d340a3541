package recon

import "time"

// Clock is the time. Tests have one of their own.
type Clock interface {
	Now() time.Time

	// Timer returns a channel that is sent to once, after d, and what gives it up.
	Timer(d time.Duration) (fired <-chan time.Time, stop func())
}

type realClock struct{}

// Now implements Clock.
func (realClock) Now() time.Time { return time.Now() }

// Timer implements Clock.
func (realClock) Timer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

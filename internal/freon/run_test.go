package freon

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pretend is a stepper whose operations take as long as they are told.
type pretend func(n uint64) (time.Duration, error)

func (p pretend) step(ctx context.Context, n uint64) outcome {
	took, err := p(n)
	select {
	case <-time.After(took):
		return outcome{bytes: 10, err: err}
	case <-ctx.Done():
		return outcome{err: ctx.Err()}
	}
}

func (p pretend) close() {}

// runPretend runs p on fake time.
func runPretend(t *testing.T, ctx context.Context, p plan, do pretend) (*measured, int64) {
	t.Helper()
	var done atomic.Int64
	nothing := func() {}
	p.begun, p.ended, p.done = nothing, nothing, func(n int64) { done.Add(n) }
	m, err := run(ctx, p, job{ops: []string{"op"}, open: func(context.Context, int) (stepper, error) { return do, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return m, done.Load()
}

func TestRun(t *testing.T) {
	boom := errors.New("boom")
	always := func(took time.Duration, err error) pretend {
		return func(uint64) (time.Duration, error) { return took, err }
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		plan    plan
		do      pretend
		count   uint64 // that succeeded
		failed  int64
		took    time.Duration
		p50     time.Duration
		max     time.Duration
		unbegun int64
		gaveUp  bool
	}{
		{"time ends it", plan{clients: 4, duration: time.Second}, always(10*ms, nil), 400, 0, time.Second, 10 * ms, 10 * ms, 0, false},
		{"what was begun is finished", plan{clients: 1, duration: time.Second}, always(300*ms, nil), 4, 0, 1200 * ms, 300 * ms, 300 * ms, 0, false},
		{"the count ends it", plan{clients: 4, duration: time.Hour, count: 10}, always(10*ms, nil), 10, 0, 30 * ms, 10 * ms, 10 * ms, 0, false},
		{"a warm-up is not counted", plan{clients: 1, duration: time.Second, warmup: time.Second}, always(100*ms, nil), 10, 0, time.Second, 100 * ms, 100 * ms, 0, false},
		{"a warm-up does not count", plan{clients: 1, duration: time.Hour, warmup: time.Second, count: 3}, always(100*ms, nil), 3, 0, 300 * ms, 100 * ms, 100 * ms, 0, false},
		{"a rate that is met", plan{clients: 4, duration: time.Second, rate: 100}, always(10*ms, nil), 100, 0, time.Second, 10 * ms, 10 * ms, 0, false},
		// Operation n is due at 10n ms and begins at 20n ms: latency grows to 50 × 10 + 20 ms, and half are not begun.
		{"a rate that is not", plan{clients: 1, duration: time.Second, rate: 100}, always(20*ms, nil), 50, 0, time.Second, 260 * ms, 510 * ms, 50, false},
		{"a rate with a count", plan{clients: 4, duration: time.Hour, rate: 100, count: 7}, always(10*ms, nil), 7, 0, 70 * ms, 10 * ms, 10 * ms, 0, false},
		{"a rate after a warm-up", plan{clients: 4, duration: time.Second, warmup: time.Second, rate: 100}, always(10*ms, nil), 100, 0, time.Second, 10 * ms, 10 * ms, 0, false},
		{"errors are counted", plan{clients: 1, duration: time.Second, maxErrors: 100}, func(n uint64) (time.Duration, error) {
			if n%2 == 0 {
				return 5 * ms, boom
			}
			return 20 * ms, nil
		}, 40, 40, time.Second, 20 * ms, 20 * ms, 0, false},
		{"too many errors end it", plan{clients: 1, duration: time.Hour, maxErrors: 2}, always(ms, boom), 0, 3, 3 * ms, 0, 0, 0, true},
		{"in a warm-up too", plan{clients: 1, duration: time.Hour, warmup: time.Hour}, always(ms, boom), 0, 1, 0, 0, 0, 0, true},
		{"nothing left to do", plan{clients: 3, duration: time.Hour, rate: 1000}, func(n uint64) (time.Duration, error) {
			if n >= 20 {
				return 0, errDone
			}
			return ms, nil
		}, 20, 0, 20 * ms, ms, ms, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, done := runPretend(t, t.Context(), c.plan, c.do)
				h := &m.latency[0]
				near := func(got, want time.Duration) bool { return got >= want*98/100 && got <= want*102/100 }
				if h.n != c.count || m.failures.of(0) != c.failed || m.took != c.took || m.unbegun != c.unbegun || m.gaveUp != c.gaveUp || m.canceled {
					t.Errorf("%d done, %d failed in %v, %d unbegun, gave up %v, canceled %v", h.n, m.failures.of(0), m.took, m.unbegun, m.gaveUp, m.canceled)
				}
				if !near(h.at(.5), c.p50) || h.max != c.max {
					t.Errorf("p50 %v, max %v", h.at(.5), h.max)
				}
				if want := int64(h.n) + c.failed; done != want && c.plan.warmup == 0 {
					t.Errorf("%d shown as done, want %d", done, want)
				}
				if m.bytes[0] != 10*int64(h.n) {
					t.Errorf("%d bytes", m.bytes[0])
				}
			})
		})
	}
}

// TestRunIsCanceled: an interrupted run reports what it has; what was cut off
// is no error.
func TestRunIsCanceled(t *testing.T) {
	for _, rate := range []float64{0, 10} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second+time.Millisecond)
			defer cancel()
			m, _ := runPretend(t, ctx, plan{clients: 1, duration: time.Hour, rate: rate}, func(uint64) (time.Duration, error) { return 100 * time.Millisecond, nil })
			if m.latency[0].n != 10 || len(m.failures) > 0 || !m.canceled || m.gaveUp || m.unbegun != 0 {
				t.Errorf("rate %v: %d done, %v, canceled %v", rate, m.latency[0].n, m.failures, m.canceled)
			}
		})
	}
}

// TestOpenFails: a client that cannot begin ends the run, and those that did
// are closed.
func TestOpenFails(t *testing.T) {
	boom := errors.New("boom")
	closed := 0
	_, err := run(t.Context(), plan{clients: 3, duration: time.Hour}, job{ops: []string{"op"}, open: func(_ context.Context, i int) (stepper, error) {
		if i == 2 {
			return nil, boom
		}
		return closing{&closed}, nil
	}})
	if !errors.Is(err, boom) || closed != 2 {
		t.Errorf("%v, %d closed", err, closed)
	}
}

type closing struct{ n *int }

func (c closing) step(context.Context, uint64) outcome { return outcome{} }
func (c closing) close()                               { *c.n++ }

// TestNumbers: what is prepared is all of the keys, also when a client that has
// taken a number is slow to begin.
func TestNumbers(t *testing.T) {
	for range 300 {
		const count = 200
		var done [2 * count]atomic.Int64
		do := pretend(func(n uint64) (time.Duration, error) {
			done[n].Add(1)
			return 0, nil
		})
		j := job{ops: []string{"op"}, open: func(context.Context, int) (stepper, error) { return do, nil }}
		if err := each(t.Context(), 64, count, j, func(int64) {}); err != nil {
			t.Fatal(err)
		}
		for n := range done {
			want := int64(0)
			if n < count {
				want = 1
			}
			if got := done[n].Load(); got != want {
				t.Fatalf("operation %d was done %d times, want %d", n, got, want)
			}
		}
	}
}

package recon_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"o3/internal/errs"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
)

// TestDiskFull: the disk is full from any operation on, while the log is applied
// and a stage is made. What there was serves on, the reason is told, and when
// there is room again everything goes on by itself.
func TestDiskFull(t *testing.T) {
	rounds := 25
	if os.Getenv("O3_NIGHTLY") != "" {
		rounds = 600
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	o, d := newOM(t, seed), newDisk()
	o.work(60)
	var left atomic.Int64 // operations until the disk is full; less than 0: it does not come to be
	left.Store(-1)
	d.watch(func(string) error {
		if left.Load() >= 0 && left.Add(-1) < 0 {
			d.full.Store(true)
		}
		return nil
	})
	var told atomic.Int64
	tell := func(text string) {
		if strings.Contains(text, "no space left") || strings.Contains(text, "read-only") || strings.Contains(text, "bytes free") || strings.Contains(text, "MiB free") {
			told.Add(1)
		}
	}
	r := o.on(t, d, func(opts *recon.Options) {
		opts.Staging.Reserve = 1 << 20
		opts.Listener = recon.Listener{
			Failed:     func(_ string, err error) { tell(err.Error()) },
			Transition: func(tr staging.Transition) { tell(tr.Detail) },
			State: func(_, _ recon.State, why error) {
				if why != nil {
					tell(why.Error())
				}
			},
		}
	})
	r.settled()
	r.check()
	reached := 0
	for i := range rounds {
		before := told.Load()
		left.Store(int64(rng.IntN(250)))
		kind := []staging.Kind{staging.Full, staging.Local, staging.Incremental}[i%3]
		o.work(5 + rng.IntN(30))
		if _, err := r.Trigger(recon.Trigger{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		r.eventually(func() bool { return d.full.Load() && told.Load() > before || left.Load() >= 0 && r.quiet() })
		if d.full.Load() {
			reached++
			for range 5 {
				r.check() // it serves
			}
		}
		left.Store(-1)
		d.full.Store(false)
		o.work(5)
		r.settled()
		r.check()
		if t.Failed() {
			t.Fatalf("round %d, %s", i, kind)
		}
	}
	if reached < rounds/2 {
		t.Errorf("the disk was full in %d of %d rounds: the test has lost its reach", reached, rounds)
	}
}

// quiet reports whether no stage is made or due.
func (r *rig) quiet() bool {
	st := r.Staging()
	return !st.State.Running() && st.Queued == "" && st.RetryAt == nil
}

func (r *rig) eventually(f func() bool) {
	r.t.Helper()
	r.until("what is waited for", func(recon.Status) bool { return f() })
}

// wrong fails a validation as often as n says.
func wrong(n *int) func(string, string, *generation.View) error {
	return func(_, name string, _ *generation.View) error {
		if *n > 0 {
			*n--
			return errs.New(errs.Corrupt, name, "the numbers are wrong")
		}
		return nil
	}
}

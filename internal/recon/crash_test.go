package recon_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"o3/internal/errs"
	"o3/internal/recon"
	"o3/internal/recon/staging"
)

// TestPowerCuts: a power cut before any operation on the disk, during changes from
// the log, a stage of each kind, its switch, a rollback, and the removal of what
// is not kept any more, leaves a whole generation that serves, which the log
// brings up to date; what was being made is made again or was never begun.
func TestPowerCuts(t *testing.T) {
	every := 60
	if os.Getenv("O3_NIGHTLY") != "" {
		every = 1
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	o, d := newOM(t, seed), newDisk()
	o.work(60)
	c := &cutting{d: d, rng: rand.New(rand.NewPCG(seed, 3)), every: every}
	d.op = c.cut
	r := o.on(t, d, nil)
	r.settled()
	c.mu.Lock()
	c.on = true
	c.mu.Unlock()
	for _, kind := range []staging.Kind{staging.Full, staging.Incremental, staging.Local} {
		o.work(20)
		r.settled()
		if _, err := r.Trigger(recon.Trigger{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		r.settled()
	}
	if _, _, err := r.Rollback(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.settled()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.on = false
	c.mu.Unlock()
	o.work(10)
	t.Logf("%d operations, %d looks at what is left", c.ops, len(c.left))
	served := map[string]bool{}
	for i, left := range c.left {
		op := fmt.Sprintf("cut %d, before %s", i, short(c.op[i]))
		served[lookAfter(t, o, left, op)] = true
		if t.Failed() {
			t.FailNow()
		}
	}
	if len(served) < 3 {
		t.Errorf("only %v ever served after a cut: the test has lost its reach", served)
	}
}

// lookAfter starts on what a cut has left, and returns which generation served
// first.
func lookAfter(t *testing.T, o *om, left *disk, op string) string {
	var first string
	r := o.on(t, left, func(opts *recon.Options) {
		opts.Listener.Failed = func(what string, err error) {
			if strings.HasPrefix(what, "open") {
				t.Errorf("%s: %s: %v", op, what, err)
			}
		}
	})
	first = r.until(op, func(s recon.Status) bool { return s.Generation != "" }).Generation
	if st := r.Status(); st.Syncs > 0 && st.LastSync.Reason == recon.ReasonFirst {
		t.Errorf("%s: what was there was not found", op)
	}
	if v, err := r.View(context.Background()); err == nil {
		if err := errors.Join(truth(v), v.Close()); err != nil {
			t.Errorf("%s: at once: %v", op, err)
		}
	} else if errs.KindOf(err) != errs.Unavailable { // it waits for the log
		t.Errorf("%s: at once: %v", op, err)
	}
	r.settled()
	r.check()
	if err := r.stop(); err != nil {
		t.Errorf("%s: %v", op, err)
	}
	names, err := left.mem.List("/recon")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	if n := len(slices.DeleteFunc(names, func(s string) bool { return !strings.HasPrefix(s, "generation-") })); n > 2 {
		t.Errorf("%s: left %v", op, names)
	}
	return first
}

// settled waits until everything of the OM is reflected and no stage is made, or
// due.
func (r *rig) settled() {
	r.t.Helper()
	r.current()
	r.until("no stage", func(recon.Status) bool { return r.quiet() })
	r.current()
}

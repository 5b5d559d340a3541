package recon_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
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
	d.watch(c.cut)
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

// TestDirectoryIsSynced: the names of a stage's files, that of SQLite's among them,
// are durable before the marker names the stage.
func TestDirectoryIsSynced(t *testing.T) {
	o, d := newOM(t, 1), newDisk()
	o.work(20)
	var mu sync.Mutex
	synced := map[string]bool{} // directories, since SQLite's file is in them
	var stage string            // the last one that has such a file
	switches := 0
	r := o.on(t, d, func(opts *recon.Options) {
		open := opts.Generation.OpenSQL
		opts.Generation.OpenSQL = func(ctx context.Context, path string) (generation.SQL, error) {
			mu.Lock()
			defer mu.Unlock()
			stage = d.mem.PathDir(path)
			synced[stage] = false
			return open(ctx, path)
		}
		opts.Generation.FS = errorfs.Wrap(opts.Generation.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case op.Kind == errorfs.OpFileSync:
				synced[op.Path] = true
			case op.Kind == errorfs.OpRename && strings.HasSuffix(op.Path, "/current.new"):
				if switches++; !synced[stage] {
					t.Errorf("switch %d: %s is not synced", switches, stage)
				}
			}
			return nil
		}))
	})
	r.settled()
	for _, kind := range []staging.Kind{staging.Full, staging.Incremental, staging.Local} {
		o.work(20)
		if _, err := r.Trigger(recon.Trigger{Kind: kind}); err != nil {
			t.Fatal(err)
		}
		r.settled()
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if switches != 4 {
		t.Errorf("%d switches", switches)
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

// TestCrashWithoutOM: a crash leaves the tables ahead of the replica, and the OM,
// whose log would make them agree again, is away. The tables are built anew from
// the replica that is here, so that there are answers; the OM's log goes on from
// there when it is back.
func TestCrashWithoutOM(t *testing.T) {
	o, d := newOM(t, 5), newDisk()
	o.work(60)
	r := o.on(t, d, nil)
	r.settled()
	rng := rand.New(rand.NewPCG(5, 5))
	var mu sync.Mutex
	var left *disk
	tables := false
	d.watch(func(what string) error { // the tables are durable, and the replica is about to be
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.HasPrefix(what, "flush "):
			tables = true
		case left == nil && tables && strings.Contains(what, "/replica/") && strings.Contains(what, ".sst"):
			left = d.crash(rng, 0)
		}
		return nil
	})
	r.until("a crash", func(recon.Status) bool {
		mu.Lock()
		defer mu.Unlock()
		if left == nil {
			o.work(1)
		}
		return left != nil
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	o.set(faults{down: true})
	r = o.on(t, left, nil)
	r.until("tables that were built anew", func(s recon.Status) bool { return s.Syncs > 0 && r.quiet() })
	at := r.check()
	if st, l := r.Staging(), r.Status().LastSync; st.Kind != staging.Local || l.Reason != recon.ReasonDamaged || !strings.Contains(l.Detail, "ahead of the replica") || l.Error != "" {
		t.Errorf("%+v, %+v", st, l)
	}
	if at == 0 || at >= o.index() {
		t.Errorf("it answers as of %d while the OM, which is away, is at %d", at, o.index())
	}
	o.set(faults{})
	r.settled()
	r.check()
}

// TestRollingBackStatus: a stage that is on its way back is not expected to be
// complete; how far its tasks were is shown until the next one begins.
func TestRollingBackStatus(t *testing.T) {
	o := newOM(t, 6)
	o.work(40)
	var r *rig
	var fail atomic.Bool
	states := map[staging.State]recon.StagingStatus{}
	var mu sync.Mutex
	r = o.follow(t, t.TempDir(), func(opts *recon.Options) {
		opts.Staging.NoAutoRetry = true
		opts.Staging.Hooks.ValidateStagingData = func(_, task string, _ *generation.View) error {
			if fail.Load() && task == "NSSummaryTask" {
				return errors.New("planted")
			}
			return nil
		}
		opts.Listener.Transition = func(tr staging.Transition) {
			if fail.Load() {
				mu.Lock()
				defer mu.Unlock()
				states[tr.To] = r.Staging()
			}
		}
	})
	r.settled()
	fail.Store(true)
	r.Reinit()
	r.until("a failure", func(recon.Status) bool { return r.StagingState() == staging.Failed && r.quiet() })
	mu.Lock()
	defer mu.Unlock()
	if st := states[staging.RollingBack]; st.State != staging.RollingBack || st.EstimatedCompletion != nil || st.Progress <= 0 {
		t.Errorf("on the way back: %+v", st)
	}
	st := r.Staging()
	if got := st.TaskProgress["NSSummaryTask"]; got.State != recon.TaskFailed || got.Error != "planted" || got.Rows == 0 {
		t.Errorf("the task that failed is %+v", got)
	}
	if got := st.TaskProgress["FileSizeCountTaskOBS"]; got.State != recon.TaskDone || got.Progress != 100 {
		t.Errorf("a task that did not is %+v", got)
	}
	fail.Store(false)
	r.Reinit()
	r.settled()
	if st := r.Staging(); len(st.TaskProgress) > 0 || st.LastError != "" {
		t.Errorf("after one that came into force: %+v", st)
	}
}

// TestTaskStagingTimes: each task is told of with the time of its own, not with
// that of all.
func TestTaskStagingTimes(t *testing.T) {
	o := newOM(t, 7)
	o.work(200)
	var mu sync.Mutex
	told, own := map[string]time.Duration{}, map[string]time.Duration{}
	r := o.follow(t, t.TempDir(), func(opts *recon.Options) {
		opts.Listener.TaskStaged = func(_, task string, took time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			told[task] = took
		}
		opts.Listener.Built = func(_ recon.Synced, done task.Rebuilt) {
			mu.Lock()
			defer mu.Unlock()
			for _, w := range done.Tasks {
				own[w.Task] = w.Took
			}
		}
	})
	r.settled()
	mu.Lock()
	defer mu.Unlock()
	if len(own) != len(task.All()) || !maps.Equal(told, own) {
		t.Errorf("told %v, taken %v", told, own)
	}
}

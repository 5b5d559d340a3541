package recon_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/kv/kvtest"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
	"o3/internal/recon/validate"
)

// trouble is what happens to a stage.
type trouble string

const (
	nothing    trouble = "nothing"
	taskFails  trouble = "task"
	imageFails trouble = "image"
	isWrong    trouble = "validation"
	noSwitch   trouble = "switch"
	cancelled  trouble = "cancel"
	tooLong    trouble = "timeout"
	restart    trouble = "restart"
	noRoom     trouble = "disk"
	rolledBack trouble = "rollback" // it comes into force, and the one before it again
)

// troubles are all of them, with how a stage ends by them; "" is in force.
var troubles = []struct {
	what trouble
	ends staging.Ending
}{
	{nothing, ""}, {rolledBack, ""}, {taskFails, staging.EndTask}, {imageFails, staging.EndImage}, {isWrong, staging.EndValidation}, {noSwitch, staging.EndSwitch},
	{cancelled, staging.EndCancelled}, {tooLong, staging.EndTimeout}, {restart, staging.EndRestart}, {noRoom, staging.EndDisk},
}

func endOf(what trouble) staging.Ending {
	for _, tr := range troubles {
		if tr.what == what {
			return tr.ends
		}
	}
	panic(what)
}

// TestCycles: in each cycle a stage meets one trouble, the next stage another one,
// and the one after that none, while clients look and the OM writes. Every look is
// answered, with something, of one index; each stage ends by its trouble and by
// nothing else; what is in force at the end has what the OM had at the beginning.
func TestCycles(t *testing.T) {
	n := 60
	if os.Getenv("O3_NIGHTLY") != "" {
		n = 1000
	}
	c := newCycles(t, kvtest.Seed(t))
	stop := c.readers()
	defer func() { stop() }()
	var pairs [][2]trouble
	covered := map[[2]trouble]int{}
	for i := range n {
		if i > 0 && len(pairs) == 0 { // what an OM without reclaim has deleted grows and grows
			stop()
			c.anew()
			stop = c.readers()
		}
		if len(pairs) == 0 {
			for _, a := range troubles {
				for _, b := range troubles {
					pairs = append(pairs, [2]trouble{a.what, b.what})
				}
			}
			c.rng.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		}
		pair := pairs[0]
		pairs = pairs[1:]
		c.cycle(pair)
		if t.Failed() {
			t.Fatalf("cycle %d, %v", i, pair)
		}
		covered[pair]++
	}
	if want := min(n, len(troubles)*len(troubles)); len(covered) != want {
		t.Errorf("%d pairs of troubles in a row were met, want %d", len(covered), want)
	}
	looks, bad := c.looks.Load(), c.bad.Load()
	if looks == 0 {
		t.Fatal("nobody looked")
	}
	t.Logf("%d cycles, %d of %d pairs of troubles in a row (%s); %d stages met a trouble", n, len(covered), len(troubles)*len(troubles), c.met(), c.failures)
	t.Logf("availability: %d looks, %d failed, empty or mixed: %.3f %%", looks, bad, 100*float64(looks-bad)/float64(looks))
	t.Logf("stages without trouble: %d, %d of them failed", c.clean, c.cleanFailed)
	t.Logf("rollbacks: %d, the longest %v; from snapshot to fresh data: the longest %v", c.rollbacks, c.rollback.Round(time.Microsecond), c.fresh.Round(time.Microsecond))
}

// cycles is a Service under test, on a disk and with a time of its own.
type cycles struct {
	t     *testing.T
	o     *om
	d     *disk
	clock *clock
	rng   *rand.Rand

	running sync.RWMutex // held by whoever looks; a restart locks it
	r       *rig

	looks, bad          atomic.Int64
	clean, cleanFailed  int
	failures, rollbacks int
	fresh, rollback     time.Duration // the longest
	seen                map[trouble]int
	kind                staging.Kind

	mu   sync.Mutex
	now  ambush
	ends []string // of the stage that is watched: how it was rolled back
}

// ambush is where a trouble waits for a stage.
type ambush struct {
	what  trouble
	where string        // the hook; "": none
	skip  int           // calls of it that pass
	met   bool          // it has happened
	at    chan struct{} // closed when it happens
	held  chan struct{} // the stage waits until it is closed
}

const retryDelay = 10 * time.Minute

func newCycles(t *testing.T, seed uint64) *cycles {
	c := &cycles{t: t, rng: rand.New(rand.NewPCG(seed, 11)), seen: map[trouble]int{}}
	c.anew()
	return c
}

// anew begins with another OM, and a Recon that has nothing.
func (c *cycles) anew() {
	if c.r != nil {
		if err := c.r.stop(); err != nil {
			c.t.Error(err)
		}
	}
	c.o, c.d, c.clock = newOM(c.t, c.rng.Uint64()), newDisk(), newClock()
	c.o.work(60)
	c.now = ambush{what: nothing}
	c.start()
	c.r.settled()
}

func (c *cycles) start() {
	c.r = c.o.on(c.t, c.d, func(opts *recon.Options) {
		opts.Sources = []recon.Source{cyclesOM{onDisk{c.o, c.d}, c}}
		opts.Generation.FS = errorfs.Wrap(c.d.fs(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpRename && strings.HasSuffix(op.Path, "/current.new") && c.meets(noSwitch) {
				return syscall.EIO
			}
			return nil
		}))
		st := &opts.Staging
		st.Clock, st.RetryDelay, st.Retention, st.HealthInterval, st.Reserve = c.clock, retryDelay, 10*365*24*time.Hour, 0, 1<<20
		st.Hooks = recon.TaskHooks{
			OnStagingStart:      func(_, name string) error { return c.hook("start", name) },
			ValidateStagingData: func(_, name string, _ *generation.View) error { return c.hook("validate", name) },
		}
		opts.Listener.Transition = func(tr staging.Transition) {
			if tr.To == staging.RollingBack {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.ends = append(c.ends, tr.Reason)
			}
		}
	})
}

// cyclesOM is the OM of which images fail, or never come.
type cyclesOM struct {
	onDisk
	c *cycles
}

// Image implements recon.Source.
func (o cyclesOM) Image(ctx context.Context, dir string, reuse []string, progress func(done, total int64)) (*image.Manifest, error) {
	if o.c.meets(imageFails) {
		return nil, errs.New(errs.Corrupt, "image", "a file has another checksum")
	}
	if o.c.meets(tooLong) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return o.onDisk.Image(ctx, dir, reuse, progress)
}

// meets reports whether a stage meets a trouble here, which it does once.
func (c *cycles) meets(what trouble) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.what != what || c.now.met {
		return false
	}
	c.now.met = true
	close(c.now.at)
	return true
}

// hook is called for each task of a stage.
func (c *cycles) hook(where, name string) error {
	c.mu.Lock()
	a := &c.now
	if a.where != where || a.met || a.skip > 0 {
		if a.where == where {
			a.skip--
		}
		c.mu.Unlock()
		return nil
	}
	a.met = true
	close(a.at)
	what, held := a.what, a.held
	c.mu.Unlock()
	if what == taskFails || what == isWrong {
		return errs.New(errs.Corrupt, name, "a row cannot be read")
	}
	<-held
	return nil
}

// lie has a trouble wait for the next stage.
func (c *cycles) lie(what trouble) ambush {
	a := ambush{what: what, at: make(chan struct{}), held: make(chan struct{}), skip: c.rng.IntN(len(task.All()))}
	switch what {
	case taskFails:
		a.where = "start"
	case isWrong:
		a.where = "validate"
	case cancelled, restart, noRoom:
		a.where = "validate"
		if c.kind != staging.Incremental && c.rng.IntN(2) == 0 { // an incremental one has no tasks to start
			a.where = "start"
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.ends = a, nil
	return a
}

// cycle is one of them.
func (c *cycles) cycle(pair [2]trouble) {
	kinds := []staging.Kind{staging.Full, staging.Local, staging.Incremental}
	for _, what := range pair {
		switch {
		case what == imageFails, what == tooLong: // another one has no image
			kinds = kinds[:1]
		case what == taskFails && len(kinds) > 2:
			kinds = kinds[:2]
		}
	}
	c.kind = kinds[c.rng.IntN(len(kinds))]
	plan := []trouble{pair[0], pair[1], nothing}
	a := c.lie(plan[0])
	for i, what := range plan {
		began, index := time.Now(), c.begin()
		next := trouble("")
		if i+1 < len(plan) {
			next = plan[i+1]
		}
		var following *ambush
		c.happen(a, func() { // a restart makes the next stage at once
			b := c.lie(next)
			following = &b
		})
		c.over(what, began, index)
		if c.t.Failed() {
			return
		}
		switch {
		case following != nil:
			a = *following
		case next != "":
			a = c.lie(next)
		}
	}
	c.r.settled()
	c.r.check()
}

// begin has a stage made, unless one is made already. It returns where the OM is.
func (c *cycles) begin() uint64 {
	c.o.work(1 + c.rng.IntN(10))
	index := c.o.index()
	st := c.r.Staging()
	switch {
	case st.State.Running() || st.Queued != "": // after a restart
	case st.RetryAt != nil:
		c.clock.advance(retryDelay)
	default:
		if _, err := c.r.Trigger(recon.Trigger{Kind: c.kind}); err != nil {
			c.t.Error(err)
		}
	}
	return index
}

// happen waits for a trouble and does what it takes.
func (c *cycles) happen(a ambush, beforeRestart func()) {
	if a.what == nothing || a.what == rolledBack {
		return
	}
	<-a.at
	c.o.work(1 + c.rng.IntN(10))
	if a.what == restart {
		c.restart(a, beforeRestart)
		return
	}
	defer close(a.held) // also where the test has failed
	switch a.what {
	case cancelled:
		if !c.r.CancelStaging() {
			c.t.Error("there is nothing to cancel")
		}
	case tooLong:
		c.clock.waiting(2*time.Hour, 1)
		c.clock.advance(2 * time.Hour)
	case noRoom:
		index := c.o.index()
		c.r.until("nothing to apply", func(s recon.Status) bool { // a full disk before may have ended that, until there is another generation
			return s.State == recon.StateSyncing || s.State == recon.StateFollowing && s.Index >= index && s.Compared >= index
		})
		c.d.full.Store(true)
	}
}

// restart stops the server in the middle of a stage, and starts it again.
func (c *cycles) restart(a ambush, before func()) {
	c.running.Lock()
	defer c.running.Unlock()
	c.r.cancel()
	close(a.held)
	if err := c.r.stop(); err != nil {
		c.t.Error(err)
	}
	before()
	c.start()
	c.r.until("an answer after the start", func(recon.Status) bool {
		v, err := c.r.View(context.Background())
		return err == nil && v.Close() == nil
	})
}

// over waits until a stage has ended and says whether it has as it should.
func (c *cycles) over(what trouble, began time.Time, index uint64) {
	c.seen[what]++
	if what != nothing && what != rolledBack {
		c.failures++
	}
	if what == restart { // the next one is made already
		return
	}
	c.r.until("the end of a stage", func(recon.Status) bool {
		st := c.r.Staging()
		return !st.State.Running() && st.Queued == "" && (st.RetryAt == nil || st.RetryAt.After(c.clock.Now()))
	})
	took := time.Since(began)
	c.d.full.Store(false)
	c.mu.Lock()
	ends := strings.Join(c.ends, " ")
	c.mu.Unlock()
	// What a restart has cut is told of at the start.
	if got := strings.TrimSpace(strings.TrimPrefix(ends, string(staging.EndRestart))); got != string(endOf(what)) {
		c.t.Errorf("a stage that meets %s ends by %q, want %q: %+v", what, got, endOf(what), c.r.Staging())
	}
	if endOf(what) != "" {
		return
	}
	if what == nothing {
		c.clean++
		if ends != "" && ends != string(staging.EndRestart) {
			c.cleanFailed++
		}
	}
	if st := c.r.Status(); st.Index < index {
		c.t.Errorf("the stage is in force at index %d, the OM was at %d when it began", st.Index, index)
	}
	c.fresh = max(c.fresh, took)
	if what == rolledBack {
		c.rollBack()
	}
}

func (c *cycles) rollBack() {
	before, began := c.r.Status().Generation, time.Now()
	from, to, err := c.r.Rollback(context.Background())
	c.rollbacks++
	c.rollback = max(c.rollback, time.Since(began))
	if err != nil || from != before || c.r.Status().Generation != to || to == from {
		c.t.Errorf("rolled back from %q to %q: %v; %s was in force", from, to, err, before)
	}
	c.r.current()
}

// readers look at what is in force until the function it returns is called.
func (c *cycles) readers() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				c.running.RLock()
				err := c.look()
				c.running.RUnlock()
				c.looks.Add(1)
				if err != nil {
					c.bad.Add(1)
					c.t.Errorf("a look: %v", err)
				}
				select { // each takes a quarter of a processor, and leaves the rest to the stages
				case <-time.After(3 * time.Since(began)):
				case <-ctx.Done():
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// look fails unless there is an answer that is neither empty nor of two indexes.
func (c *cycles) look() (err error) {
	ctx := context.Background()
	v, err := c.r.View(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	stats, err := v.SQL.Stats()
	if err != nil {
		return err
	}
	if volumes, buckets := stats["volumeTableCount"], stats["bucketTableCount"]; volumes != 1 || buckets != 2 {
		return fmt.Errorf("at index %d there are %d volumes and %d buckets: it is empty", v.At.Index, volumes, buckets)
	}
	if err := truth(v); err != nil {
		return fmt.Errorf("at index %d: %w", v.At.Index, err)
	}
	problems, err := validate.Tables(ctx, v)
	if err = errors.Join(err, validate.Error(problems)); err != nil {
		return fmt.Errorf("at index %d: %w", v.At.Index, err)
	}
	return nil
}

// met says how often which trouble was met.
func (c *cycles) met() string {
	var out []string
	for _, tr := range troubles {
		out = append(out, fmt.Sprintf("%s %d", tr.what, c.seen[tr.what]))
	}
	return strings.Join(out, ", ")
}

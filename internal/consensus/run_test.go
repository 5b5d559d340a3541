package consensus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// counter is the smallest state machine: it counts, and answers the count.
type counter struct {
	mu   sync.Mutex
	pos  consensus.Position
	n    uint64
	hook func([]consensus.Entry) error // called first, may fail
}

func (c *counter) Apply(es []consensus.Entry) ([][][]byte, error) {
	if c.hook != nil {
		if err := c.hook(es); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([][][]byte, len(es))
	for i, e := range es {
		out[i] = make([][]byte, len(e.Requests))
		for j := range e.Requests {
			c.n++
			out[i][j] = e.Requests[j]
		}
		c.pos.Index, c.pos.Term = e.Index, e.Term
		if e.Conf != nil {
			c.pos.Conf = e.Conf
		}
	}
	return out, nil
}

func (c *counter) Applied() consensus.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pos
}

func (c *counter) Durable() (consensus.Position, error) { return consensus.Position{}, nil }
func (c *counter) Flush() error                         { return nil }

// run opens and runs a group of one; stop ends it and returns what Run did.
func run(t testing.TB, o consensus.Options) (n *consensus.Node, stop func() error) {
	t.Helper()
	o.ID, o.Bootstrap = 1, []uint64{1}
	if o.Dir == "" {
		o.Dir = "raft"
	}
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	if o.Machine == nil {
		o.Machine = &counter{}
	}
	n, err := consensus.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() {
			cancel()
			result = <-done
			if err := n.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
		return result
	}
	t.Cleanup(func() { stop() })
	return n, stop
}

func TestProposeConcurrently(t *testing.T) {
	var entries, requests atomic.Int64
	c := &counter{}
	n, stop := run(t, consensus.Options{Machine: c, Listener: consensus.Listener{
		Applied: func(a consensus.Applied) { entries.Add(int64(a.Entries)); requests.Add(int64(a.Requests)) },
	}})
	ctx := context.Background()
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 200 {
				req := fmt.Sprintf("%d/%d", g, i)
				out, err := n.Propose(ctx, []byte(req))
				if err != nil || string(out) != req {
					t.Errorf("%s: answered %q, %v", req, out, err)
					return
				}
				index, err := n.ReadIndex(ctx)
				if err != nil || n.WaitApplied(ctx, index) != nil || n.Applied() < index {
					t.Errorf("read index %d, %v, applied %d", index, err, n.Applied())
				}
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if c.n != 32*200 || requests.Load() != 32*200 {
		t.Fatalf("%d requests applied, %d reported", c.n, requests.Load())
	}
	t.Logf("%d requests in %d entries", requests.Load(), entries.Load())
	if _, err := n.Propose(ctx, nil); errs.KindOf(err) != errs.Unavailable || errors.Is(err, consensus.ErrOutcomeUnknown) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := n.ReadIndex(ctx); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

// TestPacking: what waits while the log is synced becomes one entry, as far as
// the bounds allow.
func TestPacking(t *testing.T) {
	for _, c := range []struct{ requests, size, entries int }{
		{100, 1, 1}, {250, 1, 3}, {10, 300, 4}, {3, 1000, 3},
	} {
		n, err := consensus.Open(consensus.Options{
			ID: 1, Bootstrap: []uint64{1}, Machine: &counter{}, Dir: "raft", FS: vfs.NewMem(),
			MaxEntryRequests: 100, MaxEntryBytes: 1000,
		})
		if err != nil {
			t.Fatal(err)
		}
		s := n.Stepper()
		settle := func() {
			for busy := true; busy; {
				a, err := s.Turn()
				b, err2 := s.Apply()
				if busy = a || b; err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
			}
		}
		settle()
		before := n.Status().Last
		for range c.requests {
			n.Submit(make([]byte, c.size))
		}
		settle()
		if got := int(n.Status().Last - before); got != c.entries {
			t.Errorf("%d requests of %d bytes took %d entries, want %d", c.requests, c.size, got, c.entries)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestBounds: too much is refused by kind, at once, and not applied.
func TestBounds(t *testing.T) {
	gate := make(chan struct{})
	c := &counter{}
	n, stop := run(t, consensus.Options{Machine: c, MaxEntryBytes: 100, MaxQueueRequests: 4, MaxFlightBytes: 1})
	lead(t, n)
	if _, err := n.Propose(context.Background(), make([]byte, 101)); errs.KindOf(err) != errs.TooLarge {
		t.Errorf("101 bytes: %v", err)
	}
	c.mu.Lock() // the applier stands still: one flight is out, four wait, the rest is too much
	var ps []*consensus.Proposal
	slow := 0
	for range 64 {
		p := n.Submit([]byte("x"))
		select {
		case <-p.Done():
			if _, err := p.Result(); errs.KindOf(err) != errs.SlowDown {
				t.Errorf("beyond the queue: %v", err)
			}
			slow++
		default:
			ps = append(ps, p)
		}
	}
	if slow == 0 {
		t.Error("nothing was refused")
	}

	// A caller that leaves while its request is queued: it is not applied.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := n.Propose(ctx, []byte("never")); errs.KindOf(err) != errs.Canceled || errors.Is(err, consensus.ErrOutcomeUnknown) {
		t.Errorf("canceled before: %v", err)
	}
	c.mu.Unlock()
	close(gate)
	for _, p := range ps {
		<-p.Done()
		if _, err := p.Result(); err != nil {
			t.Errorf("accepted, then %v", err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if int(c.n) != len(ps) {
		t.Errorf("%d applied, %d accepted", c.n, len(ps))
	}
}

// TestUnknown: a caller that leaves once its request is under way hears that
// the outcome is unknown.
func TestUnknown(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	c := &counter{}
	c.hook = func(es []consensus.Entry) error {
		for _, e := range es {
			if len(e.Requests) > 0 {
				close(entered)
				<-leave
			}
		}
		return nil
	}
	n, stop := run(t, consensus.Options{Machine: c})
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	go func() { <-entered; cancel() }()
	_, err := n.Propose(ctx, []byte("x"))
	if errs.KindOf(err) != errs.Canceled || !errors.Is(err, consensus.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	close(leave)
	if err := stop(); err != nil || c.n != 1 {
		t.Errorf("%v, %d applied", err, c.n)
	}
}

// TestApplyErrorHalts: the machine fails, the node stops, nobody waits for ever.
func TestApplyErrorHalts(t *testing.T) {
	boom := errors.New("the disk of the state machine failed")
	fatal := make(chan error, 1)
	c := &counter{}
	c.hook = func(es []consensus.Entry) error {
		for _, e := range es {
			if len(e.Requests) > 0 {
				return boom
			}
		}
		return nil
	}
	n, stop := run(t, consensus.Options{Machine: c, Listener: consensus.Listener{Fatal: func(err error) { fatal <- err }}})
	_, err := n.Propose(context.Background(), []byte("x"))
	if errs.KindOf(err) != errs.Unavailable || !errors.Is(err, consensus.ErrOutcomeUnknown) || !errors.Is(err, boom) {
		t.Errorf("the caller got %v", err)
	}
	if err := <-fatal; !errors.Is(err, boom) {
		t.Errorf("the listener got %v", err)
	}
	if err := stop(); !errors.Is(err, boom) {
		t.Errorf("Run returned %v", err)
	}
	if err := n.WaitApplied(context.Background(), 1<<40); errs.KindOf(err) != errs.Unavailable {
		t.Errorf("WaitApplied: %v", err)
	}
}

// TestSyncErrorHalts: the log cannot be synced, the node stops; what was
// answered before is there afterwards.
func TestSyncErrorHalts(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var broken atomic.Bool
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		if broken.Load() && sync && strings.HasSuffix(op.Path, ".log") {
			return errors.New("input/output error")
		}
		return nil
	}))
	n, stop := run(t, consensus.Options{FS: fs})
	lead(t, n)
	if _, err := n.Propose(context.Background(), []byte("kept")); err != nil {
		t.Fatal(err)
	}
	kept := n.Applied()
	broken.Store(true)
	if _, err := n.Propose(context.Background(), []byte("lost")); errs.KindOf(err) != errs.Unavailable || !errors.Is(err, consensus.ErrOutcomeUnknown) {
		t.Errorf("the caller got %v", err)
	}
	if err := stop(); err == nil || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("Run returned %v", err)
	}
	after, stopAfter := run(t, consensus.Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	lead(t, after)
	if after.Applied() < kept {
		t.Errorf("applied %d, answered %d", after.Applied(), kept)
	}
	if err := stopAfter(); err != nil {
		t.Error(err)
	}
}

// lead waits until n leads and answers reads.
func lead(t testing.TB, n *consensus.Node) {
	t.Helper()
	index, err := n.ReadIndex(context.Background())
	if err == nil {
		err = n.WaitApplied(context.Background(), index)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadIndexAlone(t *testing.T) {
	n, _ := run(t, consensus.Options{})
	lead(t, n)
	ctx := context.Background()
	if a := testing.AllocsPerRun(100, func() { n.ReadIndex(ctx) }); a != 0 {
		t.Errorf("%v allocations for a read in a group of one", a)
	}
}

func TestOptionsRefused(t *testing.T) {
	good := consensus.Options{ID: 1, Machine: &counter{}, Dir: "d", FS: vfs.NewMem()}
	for name, spoil := range map[string]func(*consensus.Options){
		"ID":            func(o *consensus.Options) { o.ID = 0 },
		"Machine":       func(o *consensus.Options) { o.Machine = nil },
		"Dir":           func(o *consensus.Options) { o.Dir = "" },
		"ElectionTick":  func(o *consensus.Options) { o.ElectionTick, o.HeartbeatTick = 3, 3 },
		"Bootstrap":     func(o *consensus.Options) { o.Bootstrap = []uint64{2, 3} },
		"MaxEntryBytes": func(o *consensus.Options) { o.MaxEntryBytes = 1 << 30 },
	} {
		o := good
		spoil(&o)
		if _, err := consensus.Open(o); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package web_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/image"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
	"o3/internal/recon/web"
	"o3/internal/schema"
	"o3/internal/view"
)

// om is an Ozone Manager that a Service follows: a rig's namespace with its log,
// and the truth at each entry.
type om struct {
	*rig
	store *pebblekv.Store

	log    sync.Mutex
	grown  chan struct{}
	truths []*truth // by index
	lie    bool     // about the digest, in the next message that tells of it
}

func newOM(t *testing.T) *om {
	s, err := pebblekv.Open(pebblekv.Options{Dir: filepath.Join(t.TempDir(), "om"), Name: "om", Version: schema.Format, DisableWAL: true, DiskSlowAfter: -1, CacheBytes: 4 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &om{rig: &rig{t: t, d: fsmtest.New(t, s)}, store: s, grown: make(chan struct{})}
}

// carryOut does a line of a script and notes what there is then.
func (o *om) carryOut(line string) {
	o.log.Lock()
	defer o.log.Unlock()
	o.do(line) // some have nothing to do
	rows := o.store.Snapshot()
	defer rows.Close()
	c := count(o.t, &generation.View{View: view.New(rows), Rows: rows, At: o.d.Machine.Position()})
	for len(o.truths) <= len(o.d.Log) {
		o.truths = append(o.truths, c)
	}
	close(o.grown)
	o.grown = make(chan struct{})
}

// at returns the truth of an index, nil for one that was not reached.
func (o *om) at(index uint64) *truth {
	o.log.Lock()
	defer o.log.Unlock()
	if index == 0 || index >= uint64(len(o.truths)) {
		return nil
	}
	return o.truths[index]
}

// Name implements recon.Source.
func (o *om) Name() string { return "om1" }

// Follow implements recon.Source.
func (o *om) Follow(ctx context.Context, after, _ uint64, f func(*o3v1.ReadLogResponse) error) error {
	for first := true; ; first = false {
		m, grown := o.message(after, first)
		if m == nil {
			select {
			case <-grown:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		after += uint64(len(m.Entries))
		if err := f(m); err != nil {
			return err
		}
	}
}

func (o *om) message(after uint64, first bool) (*o3v1.ReadLogResponse, <-chan struct{}) {
	o.log.Lock()
	defer o.log.Unlock()
	last := uint64(len(o.d.Log))
	if after == last && !first {
		return nil, o.grown
	}
	m := &o3v1.ReadLogResponse{CommitIndex: last, FirstIndex: 1}
	for _, e := range o.d.Log[after:min(last, after+5)] {
		data := make([]byte, 25)
		data[0] = 1
		for _, r := range e.Requests {
			data = append(binary.AppendUvarint(data, uint64(len(r))), r...)
		}
		m.Entries = append(m.Entries, &o3v1.LogEntry{Index: e.Index, Term: e.Term, Data: data})
	}
	if pos := o.d.Machine.Position(); pos.Index == after+uint64(len(m.Entries)) {
		m.State = &o3v1.LogState{Index: pos.Index, Digest: pos.Digest.String(), NodeId: "om1"}
		if o.lie {
			m.State.Digest, o.lie = "another", false
		}
	}
	return m, nil
}

// Image implements recon.Source.
func (o *om) Image(_ context.Context, dir string, _ []string, progress func(done, total int64)) (*image.Manifest, error) {
	o.log.Lock()
	defer o.log.Unlock()
	progress(1, 1)
	pos := o.d.Machine.Position()
	return &image.Manifest{ID: fmt.Sprint(pos.Index), Index: pos.Index, Digest: pos.Digest.String()}, o.store.Checkpoint(dir)
}

// beginnings are what the namespace has all the time, so that no answer is empty.
var beginnings = []string{
	"volume vol", "volume two bytes=1000000000", "bucket vol/flat OBS", "bucket vol/tree FSO bytes=100000000", "bucket two/tree FSO",
	"put vol/flat/first1 size=1", "put vol/tree/a/first1 size=2000", "put two/tree/D/big1 size=3000000", "open vol/flat/o1 size=5", "open vol/tree/o/o1 size=6",
	"upload vol/flat/u1 size=7", "put two/tree/x1 size=8", "put two/tree/x1 size=9", "snapshot vol/flat/s", "put vol/flat/held1 size=10", "snapshot vol/flat/t",
	"delete vol/flat/held1", "snapshot vol/flat/u", "unsnapshot vol/flat/s", "put two/tree/gone/g1 size=11", "delete two/tree/gone/",
	"rules vol/flat n=3 on=2", "rules vol/tree n=2 on=1", "put vol/flat/expire1 size=1", "put vol/flat/expire2 size=20", "scan vol/flat rows=9", "step vol/flat slow n=1 rows=3",
	"put vol/tree/expire1 size=3", "scan vol/tree rows=5", "suspend two/tree why",
}

// TestNeverBlank: clients read every endpoint as fast as they can while the
// namespace changes, is brought anew, is found to differ, the tables are rebuilt,
// and a task fails: as it follows, and as it rebuilds. No answer is an error, none
// is empty, and every number of each is that of the index it names.
func TestNeverBlank(t *testing.T) {
	o := newOM(t)
	for _, line := range beginnings {
		o.carryOut(line)
	}
	o.addDiff()
	first := o.truths[len(o.truths)-1]
	for _, name := range []string{"open", "uploads", "deleted", "dirs", "diffs", "cells", "snapshots", "reclaims", "keys", "pending", "directories", "rules", "scans"} {
		if first.counts[name] == 0 {
			t.Fatalf("there are no %s: an answer about them tells nothing", name)
		}
	}
	var faults faultySQL
	var built reasons
	s := o.watched(&faults, &built)
	until(t, "something to answer from, of an OM that is known", func() bool { st := s.Status(); return st.Generation != "" && st.Source != "" })
	h := web.New(web.Options{Source: s, Auth: byHeader, Images: images})
	readers := startReaders(t, o, h, first)
	defer readers.stop()

	trigger := func(method, path string) func() {
		return func() {
			until(t, "a trigger", func() bool {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(method, web.Prefix+"/triggerdbsync"+path, nil))
				return strings.Contains(w.Body.String(), "true") || w.Code == http.StatusAccepted
			})
		}
	}
	troubles := []struct {
		name   string
		reason recon.Reason
		begin  func()
		again  bool // when it met a generation that was being left
	}{
		{"full resync", recon.ReasonManual, trigger("GET", "/om"), false},
		{"rebuild", recon.ReasonRebuild, trigger("POST", "/om/reinit"), false},
		{"another digest", recon.ReasonDigest, func() { o.log.Lock(); o.lie = true; o.log.Unlock() }, true},
		{"a task fails", recon.ReasonTasks, func() { faults.apply.Store(true) }, true},
		{"a task fails, and the rebuild for it too", recon.ReasonTasks, func() { faults.build.Store(true); faults.apply.Store(true) }, true},
	}
	rounds := 1
	if os.Getenv("O3_NIGHTLY") == "1" {
		rounds = 10
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for range rounds {
		for _, x := range troubles {
			before, made := s.Status(), built.of(x.reason)
			x.begin()
			o.changes(rng)
			fails := strings.Contains(x.name, "rebuild for it")
			until(t, x.name+": a new generation", func() bool {
				if built.of(x.reason) > made && (!fails || s.Status().Failed > before.Failed) {
					return true
				}
				if x.again && o.rests(s) && !o.armed(&faults) {
					x.begin()
					o.changes(rng)
				}
				return false
			})
			o.disarm(&faults)
			readers.round(t)
		}
	}
}

// watched starts a service that follows o; it ends with the test.
func (o *om) watched(faults *faultySQL, built *reasons) *recon.Service {
	t := o.t
	s := recon.New(recon.Options{
		Dir: filepath.Join(t.TempDir(), "recon"), Sources: []recon.Source{o}, FlushInterval: time.Millisecond, Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		Generation: generation.Options{CacheBytes: 4 << 20, MemoryBytes: 1 << 20, OpenSQL: faults.open}, Rebuild: task.RebuildOptions{Memory: 1 << 16},
		Staging: recon.StagingOptions{Retention: -1, MaxRetries: 1000, RetryDelay: time.Millisecond, Threads: 2},
		Listener: recon.Listener{Built: func(done recon.Synced, _ task.Rebuilt) {
			if done.Error == "" {
				built.add(done.Reason)
			}
		}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// rests reports whether s follows, with all there is compared.
func (o *om) rests(s *recon.Service) bool {
	o.log.Lock()
	last := uint64(len(o.d.Log))
	o.log.Unlock()
	st := s.Status()
	return st.State == recon.StateFollowing && st.Error == "" && st.Building == nil && st.Compared == last && s.StagingState() == staging.None
}

// armed reports whether a trouble is still to come.
func (o *om) armed(f *faultySQL) bool {
	o.log.Lock()
	defer o.log.Unlock()
	return o.lie || f.apply.Load()
}

func (o *om) disarm(f *faultySQL) {
	o.log.Lock()
	defer o.log.Unlock()
	o.lie = false
	f.apply.Store(false)
	f.build.Store(false)
}

// reasons counts the generations that were made, by why.
type reasons struct {
	mu sync.Mutex
	n  map[recon.Reason]int
}

func (r *reasons) add(why recon.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = map[recon.Reason]int{}
	}
	r.n[why]++
}

func (r *reasons) of(why recon.Reason) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[why]
}

// changes does a little of what users do.
func (o *om) changes(rng *rand.Rand) {
	for n := range 20 {
		bucket := []string{"vol/flat", "vol/tree"}[rng.IntN(2)]
		o.carryOut(fmt.Sprintf("put %s/d%d/k%d size=%d container=%d", bucket, rng.IntN(3), rng.IntN(20), rng.IntN(5000), 1+rng.IntN(3)))
		switch n % 5 {
		case 3:
			o.carryOut(fmt.Sprintf("step %s n=%d rows=3", bucket, rng.IntN(5)))
			o.carryOut(fmt.Sprintf("scan %s rows=%d", bucket, rng.IntN(9)))
		case 4:
			o.carryOut(fmt.Sprintf("delete %s/d%d/k%d", bucket, rng.IntN(3), rng.IntN(20)))
		}
	}
}

// addDiff has snapshots compared.
func (o *om) addDiff() {
	o.log.Lock()
	v := &generation.View{View: view.New(o.store)}
	b, err := v.Bucket("vol", "flat")
	if err != nil {
		o.t.Fatal(err)
	}
	from, err := v.Snapshot(b, "t")
	if err != nil {
		o.t.Fatal(err)
	}
	o.d.Must(o.t, &commandpb.CreateDiffJob{Volume: "vol", Bucket: "flat", From: "t", FromOp: uint64(from.Op), Ordered: true, Options: 1})
	o.log.Unlock()
	o.carryOut("put vol/flat/first2 size=1")
}

// faultySQL are files of SQLite that fail as a test says: the tasks that keep
// tables there do.
type faultySQL struct {
	apply atomic.Bool // the next change
	build atomic.Bool // the next rebuild
}

func (f *faultySQL) open(ctx context.Context, path string) (generation.SQL, error) {
	d, err := sqltables.Open(ctx, path)
	return &faultyFile{d, f}, err
}

type faultyFile struct {
	*sqltables.DB
	f *faultySQL
}

// Snapshot implements generation.SQL.
func (d *faultyFile) Snapshot(ctx context.Context) (generation.SQLView, error) {
	return d.DB.Snapshot(ctx)
}

func (d *faultyFile) Apply(index uint64, run fsm.Run, add func(func(key []byte, c task.Counts) error) error) error {
	at, err := d.Cursor()
	if err != nil {
		return err
	}
	if at > 0 && d.f.apply.CompareAndSwap(true, false) || at == 0 && d.f.build.CompareAndSwap(true, false) {
		return errs.New(errs.Internal, "task", "it fails, since a test wants it to")
	}
	return d.DB.Apply(index, run, add)
}

// readers read every endpoint, over and over.
type readers struct {
	stopped atomic.Bool
	passes  []atomic.Int64 // by reader
	done    sync.WaitGroup
}

func startReaders(t *testing.T, o *om, h http.Handler, first *truth) *readers {
	type question struct{ path, target string }
	var all []question
	for path, x := range exams {
		targets := slices.DeleteFunc(x.targets(first), func(s string) bool { return strings.Contains(s, "none") })
		rand.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
		for _, target := range targets[:min(len(targets), 5)] {
			all = append(all, question{path, target})
		}
	}
	r := &readers{passes: make([]atomic.Int64, 2)}
	for i := range r.passes {
		order := rand.New(rand.NewPCG(uint64(i), 0)).Perm(len(all))
		r.done.Go(func() {
			for !r.stopped.Load() && !t.Failed() {
				for _, n := range order {
					w := ask(h, all[n].target)
					if w.Code == http.StatusOK && w.Body.Len() < 3 {
						t.Errorf("%s: %q", all[n].target, w.Body)
					}
					examine(t, all[n].path, all[n].target, w, o.at)
				}
				r.passes[i].Add(1)
			}
		})
	}
	return r
}

// round waits until each reader has asked everything once more.
func (r *readers) round(t *testing.T) {
	t.Helper()
	for i := range r.passes {
		n := r.passes[i].Load()
		until(t, "answers to everything", func() bool { return r.passes[i].Load() > n || t.Failed() })
	}
	if t.Failed() {
		t.FailNow()
	}
}

func (r *readers) stop() {
	r.stopped.Store(true)
	r.done.Wait()
}

// until waits for what comes to be, for as long as tests may take.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	end, bounded := t.Deadline()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; !f(); <-tick.C {
		if bounded && time.Until(end) < 15*time.Second {
			t.Fatalf("%s does not come to be", what)
		}
	}
}

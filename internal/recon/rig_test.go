package recon_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/image"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
)

// om is an Ozone Manager as Recon sees it: a log that grows, and images.
type om struct {
	t     *testing.T
	store *pebblekv.Store
	dir   string

	mu     sync.Mutex
	d      *fsmtest.Driver
	rng    *rand.Rand
	first  uint64 // oldest entry of the log
	grown  chan struct{}
	faults faults
	images int
	cuts   int // how often Follow was cut
}

// faults are what goes wrong at an om, from now on.
type faults struct {
	down   bool   // it does not answer
	gap    uint64 // this entry is left out
	junk   uint64 // this entry cannot be decoded
	digest uint64 // the state told of at or after this index is another
	image  error  // images fail so
	every  int    // the log is cut after so many messages; 0: never
}

func newOM(t *testing.T, seed uint64) *om {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "om")
	s, err := pebblekv.Open(pebblekv.Options{Dir: dir, Name: "om", Version: schema.Format, DisableWAL: true, DiskSlowAfter: -1, CacheBytes: 8 << 20, MemTableBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	o := &om{t: t, store: s, dir: dir, d: fsmtest.New(t, s), rng: rand.New(rand.NewPCG(seed, 7)), first: 1, grown: make(chan struct{})}
	o.d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	o.d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "tree", Layout: "FSO"})
	o.d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Layout: "OBS"})
	return o
}

// work applies n random requests.
func (o *om) work(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	path := func() string {
		return fmt.Sprintf("d%d/e%d/k%d", o.rng.IntN(4), o.rng.IntN(3), o.rng.IntN(20))[o.rng.IntN(3)*3:]
	}
	for range n {
		bucket := []string{"tree", "flat"}[o.rng.IntN(2)]
		switch o.rng.IntN(8) {
		case 0:
			o.d.Do(o.t, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: fmt.Sprintf("d%d", o.rng.IntN(4)), To: fmt.Sprintf("d%d", o.rng.IntN(4))})
		case 1:
			keys := []*o3v1.DeleteKey{{Key: path()}}
			if o.rng.IntN(3) == 0 {
				keys[0].Key = fmt.Sprintf("d%d/", o.rng.IntN(4))
			}
			o.d.Do(o.t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Keys: keys, Recursive: true})
		default:
			size := uint64(o.rng.Uint32()) >> o.rng.IntN(32)
			q := &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: path(), Size: size, Etag: "e", DeadlineMs: o.d.Now + 60_000}
			if size > 0 {
				q.Extents = []*o3v1.Extent{{Container: 1 + uint64(o.rng.IntN(4)), Local: uint64(o.d.Machine.Position().Op) + 1, Length: int64(size)}}
			}
			o.d.Do(o.t, q)
		}
	}
	close(o.grown)
	o.grown = make(chan struct{})
}

// truncate drops the log up to where the state stands.
func (o *om) truncate() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.first = uint64(len(o.d.Log)) + 1
}

func (o *om) set(f faults) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = f
	close(o.grown)
	o.grown = make(chan struct{})
}

func (o *om) index() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return uint64(len(o.d.Log))
}

// Name implements recon.Source.
func (o *om) Name() string { return "om1" }

// Follow implements recon.Source.
func (o *om) Follow(ctx context.Context, after, _ uint64, f func(*o3v1.ReadLogResponse) error) error {
	for n := 1; ; n++ {
		m, grown, err := o.message(after, n)
		if err != nil {
			return err
		}
		if m != nil {
			if len(m.Entries) > 0 {
				after = m.Entries[len(m.Entries)-1].Index
			}
			if err := f(m); err != nil {
				return err
			}
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// message returns the next part of the log, nil when there is nothing new but
// for the first message.
func (o *om) message(after uint64, n int) (*o3v1.ReadLogResponse, <-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := uint64(len(o.d.Log))
	switch {
	case o.faults.down:
		return nil, nil, errs.New(errs.Unavailable, "om1", "it does not answer")
	case o.faults.every > 0 && n > o.faults.every:
		o.cuts++
		return nil, nil, errs.New(errs.Unavailable, "om1", "the line is cut")
	case after+1 < o.first:
		return nil, nil, errs.New(errs.Conflict, "log", fmt.Sprintf("it begins with entry %d", o.first))
	case after > last:
		return nil, nil, errs.New(errs.PreconditionFailed, "log", "it is of another history")
	case after == last && n > 1:
		return nil, o.grown, nil
	}
	m := &o3v1.ReadLogResponse{CommitIndex: last, FirstIndex: o.first}
	for _, e := range o.d.Log[after:min(last, after+1+uint64(o.rng.IntN(30)))] {
		if e.Index == o.faults.gap {
			continue
		}
		data := make([]byte, 25)
		data[0] = 1
		for _, r := range e.Requests {
			data = append(binary.AppendUvarint(data, uint64(len(r))), r...)
		}
		if e.Index == o.faults.junk {
			data = data[:len(data)-1]
		}
		m.Entries = append(m.Entries, &o3v1.LogEntry{Index: e.Index, Term: e.Term, Data: data})
		after = e.Index
	}
	if pos := o.d.Machine.Position(); pos.Index == after {
		m.State = &o3v1.LogState{Index: pos.Index, Digest: pos.Digest.String(), NodeId: "om1"}
		if o.faults.digest > 0 && after >= o.faults.digest {
			m.State.Digest = "another"
		}
	}
	return m, nil, nil
}

// Image implements recon.Source.
func (o *om) Image(_ context.Context, dir string, _ []string, progress func(done, total int64)) (*image.Manifest, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.faults.down {
		return nil, errs.New(errs.Unavailable, "om1", "it does not answer")
	}
	if o.faults.image != nil {
		return nil, o.faults.image
	}
	o.images++
	progress(1, 1)
	pos := o.d.Machine.Position()
	return &image.Manifest{ID: fmt.Sprint(pos.Index), Index: pos.Index, Digest: pos.Digest.String()}, o.store.Checkpoint(dir)
}

// rig is a Service that runs.
type rig struct {
	*recon.Service
	t    *testing.T
	om   *om
	stop func() error

	cancel context.CancelFunc // begins to stop
}

func (o *om) follow(t *testing.T, dir string, change func(*recon.Options)) *rig {
	t.Helper()
	opts := recon.Options{
		Dir: dir, Sources: []recon.Source{o}, FlushInterval: time.Millisecond, Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
		Generation: generation.Options{CacheBytes: 8 << 20, MemoryBytes: 4 << 20}, Rebuild: task.RebuildOptions{Memory: 1 << 16},
		Staging: recon.StagingOptions{Retention: -1, RetryDelay: time.Millisecond, Threads: 2},
	}
	if change != nil {
		change(&opts)
	}
	s := recon.New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	var err error
	stop := func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return &rig{s, t, o, stop, cancel}
}

// until waits for a condition.
func (r *rig) until(what string, f func(recon.Status) bool) recon.Status {
	r.t.Helper()
	end := time.Now().Add(2 * time.Minute) // machines are busy
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if st := r.Status(); f(st) {
			return st
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s does not come to be: %+v\n%+v", what, r.Status(), r.Staging())
		}
	}
	panic("unreachable")
}

// current waits until everything of the OM is reflected, compared and followed.
func (r *rig) current() recon.Status {
	r.t.Helper()
	index := r.om.index()
	return r.until("being current", func(s recon.Status) bool {
		return s.State == recon.StateFollowing && s.Index >= index && s.Compared >= index
	})
}

// check compares what a look at Recon says with a count of the rows it has.
func (r *rig) check() uint64 {
	r.t.Helper()
	v, err := r.View(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	defer v.Close()
	if err := truth(v); err != nil {
		r.t.Errorf("at index %d: %v", v.At.Index, err)
	}
	return v.At.Index
}

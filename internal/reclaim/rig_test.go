package reclaim_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block"
	"o3/internal/block/memblock"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/reclaim"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// rig is a namespace in memory whose log applies what is proposed at once, the
// block store beside it, and the service over both. Tests run it in a bubble,
// so that time passes when they say so.
type rig struct {
	*reclaim.Service
	t      *testing.T
	store  *memkv.Store
	blocks *memblock.Store
	om     *om.Service
	log    *log

	mu      sync.Mutex // of what the listener heard
	freed   int
	bytes   int64
	purged  []int
	expired [2]int
	swept   []reclaim.Sweep
	seen    []looked
	failed  map[string]int
}

// looked is what a command of Reclaim said.
type looked struct {
	rows, freed int
	done        bool
}

// log is a log of one without a disk.
type log struct {
	mu      sync.Mutex
	machine *fsm.Machine
	kinds   []command.Kind           // what was proposed
	refuse  func(command.Kind) error // before it is applied
	swallow func(command.Kind) error // after it was applied
}

func (l *log) Propose(_ context.Context, request []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var r commandpb.Request
	if err := proto.Unmarshal(request, &r); err != nil {
		return nil, err
	}
	k := command.Kind(r.Kind)
	l.kinds = append(l.kinds, k)
	if l.refuse != nil {
		if err := l.refuse(k); err != nil {
			return nil, err
		}
	}
	answers, err := l.machine.Apply([]fsm.Entry{{Index: l.machine.Position().Index + 1, Term: 1, Requests: [][]byte{request}}})
	if err != nil {
		return nil, err
	}
	if l.swallow != nil {
		if err := l.swallow(k); err != nil {
			return nil, err
		}
	}
	return answers[0][0], nil
}

// fail makes proposals from now on fail as refuse says; nil: none.
func (l *log) fail(refuse func(command.Kind) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = refuse
}

func (l *log) ReadIndex(context.Context) (uint64, error) { return 0, nil }
func (l *log) WaitApplied(context.Context, uint64) error { return nil }
func (l *log) count(k command.Kind) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, have := range l.kinds {
		if have == k {
			n++
		}
	}
	return n
}

var ctx = access.NewContext(context.Background(), access.System)

// newRig makes buckets flat and tree.
func newRig(t *testing.T, o reclaim.Options) *rig {
	t.Helper()
	r := &rig{t: t, store: new(memkv.Store), blocks: memblock.New(), failed: map[string]int{}}
	m, err := fsm.Open(r.store, fsm.Position{})
	if err != nil {
		t.Fatal(err)
	}
	m.Strict()
	r.log = &log{machine: m}
	r.om = om.New(om.Options{Store: r.store, Log: r.log})
	if o.Leads == nil {
		o.Leads = func() bool { return true }
	}
	o.Store, o.Namespace, o.Blocks = r.store, r.om, r.blocks
	locked := func(f func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		f()
	}
	o.Listener = reclaim.Listener{
		Purged:  func(n int) { locked(func() { r.purged = append(r.purged, n) }) },
		Freed:   func(n int, b int64) { locked(func() { r.freed += n; r.bytes += b }) },
		Expired: func(c, k int) { locked(func() { r.expired[0] += c; r.expired[1] += k }) },
		Swept:   func(s reclaim.Sweep) { locked(func() { r.swept = append(r.swept, s) }) },
		Reclaimed: func(rows, freed int, done bool) {
			locked(func() { r.seen = append(r.seen, looked{rows, freed, done}) })
		},
		Failed: func(task string, _ error) { locked(func() { r.failed[task]++ }) },
	}
	r.Service = reclaim.New(o)
	_, err = r.om.CreateVolume(ctx, &o3v1.CreateVolumeRequest{Volume: "s3v", Owner: "root"})
	r.ok(err)
	for name, layout := range map[string]string{"flat": "OBJECT_STORE", "tree": "FILE_SYSTEM_OPTIMIZED"} {
		_, err = r.om.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: name, Layout: layout})
		r.ok(err)
	}
	return r
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// put writes n blocks of 100 bytes.
func (r *rig) put(n int) (out []*o3v1.Extent) {
	r.t.Helper()
	for range n {
		info, err := r.blocks.Put(ctx, bytes.NewReader(make([]byte, 100)), 100)
		r.ok(err)
		out = append(out, &o3v1.Extent{Container: info.ID.Container, Local: info.ID.Local, Length: 100})
	}
	return out
}

// commit makes a key of n blocks.
func (r *rig) commit(bucket, key string, n int) []*o3v1.Extent {
	r.t.Helper()
	e := r.put(n)
	_, err := r.om.CommitKey(ctx, &o3v1.CommitKeyRequest{
		Volume: "s3v", Bucket: bucket, Key: key, Extents: e, Size: uint64(100 * n), DataMs: time.Now().UnixMilli(),
	})
	r.ok(err)
	return e
}

func (r *rig) remove(bucket string, keys ...string) {
	r.t.Helper()
	req := &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: bucket, Recursive: true}
	for _, k := range keys {
		req.Keys = append(req.Keys, &o3v1.DeleteKey{Key: k})
	}
	_, err := r.om.DeleteKeys(ctx, req)
	r.ok(err)
}

// has reports whether every block is stored, and fails when only some are.
func (r *rig) has(extents []*o3v1.Extent) bool {
	r.t.Helper()
	n := 0
	for _, e := range extents {
		b, err := r.blocks.Get(ctx, block.Ref{ID: block.ID{Container: e.Container, Local: e.Local}, Length: e.Length})
		if errs.KindOf(err) == errs.NoSuchKey {
			continue
		}
		r.ok(err)
		_, err = io.Copy(io.Discard, b)
		r.ok(err)
		b.Close()
		n++
	}
	if n != 0 && n != len(extents) {
		r.t.Errorf("%d of %d blocks are stored", n, len(extents))
	}
	return n > 0
}

func (r *rig) bucket(name string) *o3v1.BucketInfo {
	r.t.Helper()
	resp, err := r.om.GetBucket(ctx, &o3v1.GetBucketRequest{Volume: "s3v", Bucket: name})
	r.ok(err)
	return resp.Bucket
}

// waiting returns how many blocks wait to be freed.
func (r *rig) waiting() (n int) {
	r.t.Helper()
	r.ok(fsmtest.Scan(r.store, schema.Deleted, func(_ schema.OpKey, d *schemapb.DeletedBlocks) error {
		n += len(d.Extents)
		return nil
	}))
	return n
}

// sound checks every invariant of the store.
func (r *rig) sound() {
	r.t.Helper()
	_, err := fsmtest.Check(r.store)
	r.ok(err)
}

// op returns the op that is applied.
func (r *rig) op() ns.Op { return r.log.machine.Position().Op }

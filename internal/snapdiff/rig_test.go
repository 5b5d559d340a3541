package snapdiff_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/leaktest"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/snapdiff"
)

const (
	queued     = o3v1.DiffState_DIFF_STATE_QUEUED
	inProgress = o3v1.DiffState_DIFF_STATE_IN_PROGRESS
	done       = o3v1.DiffState_DIFF_STATE_DONE
	failed     = o3v1.DiffState_DIFF_STATE_FAILED
	rejected   = o3v1.DiffState_DIFF_STATE_REJECTED
	cancelled  = o3v1.DiffState_DIFF_STATE_CANCELLED
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// rig is a namespace in memory whose log applies what is proposed at once, and
// the service of diffs over it. It lives in a bubble.
type rig struct {
	*snapdiff.Service
	t     *testing.T
	o     snapdiff.Options
	gate  *gate
	log   *log
	om    *om.Service
	leads atomic.Bool
	stop  func() // ends the service that runs

	mu                  sync.Mutex // of what the listener heard
	submitted, rejected int
	finished            []snapdiff.Finished
	troubles            []string
}

// log is a log of one without a disk.
type log struct {
	mu      sync.Mutex
	machine *fsm.Machine
	refuse  func(command.Kind) error // before it is applied; nil: never
	swallow func(command.Kind) error // after it was applied
}

func (l *log) Propose(_ context.Context, request []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var r commandpb.Request
	if err := proto.Unmarshal(request, &r); err != nil {
		return nil, err
	}
	if l.refuse != nil {
		if err := l.refuse(command.Kind(r.Kind)); err != nil {
			return nil, err
		}
	}
	answers, err := l.machine.Apply([]fsm.Entry{{Index: l.machine.Position().Index + 1, Term: 1, Requests: [][]byte{request}}})
	if err != nil {
		return nil, err
	}
	if l.swallow != nil {
		if err := l.swallow(command.Kind(r.Kind)); err != nil {
			return nil, err
		}
	}
	return answers[0][0], nil
}

func (l *log) ReadIndex(context.Context) (uint64, error) { return 0, nil }
func (l *log) WaitApplied(context.Context, uint64) error { return nil }

// fail makes proposals from now on fail, before or after they are applied.
func (l *log) fail(refuse, swallow func(command.Kind) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse, l.swallow = refuse, swallow
}

// gate is a store that lets a test in: at each look at a snapshot of the live
// store, which is how a job asks whether to go on, and at each row that a job
// scans of the state it works on.
type gate struct {
	kv.Store
	mu         sync.Mutex
	check, row func()
}

func (g *gate) set(check, row func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.check, g.row = check, row
}

func (g *gate) call(row bool) {
	g.mu.Lock()
	f := g.check
	if row {
		f = g.row
	}
	g.mu.Unlock()
	if f != nil {
		f()
	}
}

// hold stops every job at its next row until release is called.
func (g *gate) hold() (release func()) {
	wall := make(chan struct{})
	g.set(nil, func() { <-wall })
	return sync.OnceFunc(func() { g.set(nil, nil); close(wall) })
}

func (g *gate) Get(key []byte) ([]byte, bool, error) {
	if lower, upper := schema.Snapshots.All(); bytes.Compare(key, lower) >= 0 && bytes.Compare(key, upper) < 0 {
		g.call(false)
	}
	return g.Store.Get(key)
}

func (g *gate) Snapshot() kv.Snapshot { return state{g.Store.Snapshot(), g} }

type state struct {
	kv.Snapshot
	g *gate
}

func (s state) Iter(lower, upper []byte) (kv.Iterator, error) {
	it, err := s.Snapshot.Iter(lower, upper)
	return rows{it, s.g}, err
}

type rows struct {
	kv.Iterator
	g *gate
}

func (r rows) Next() bool {
	r.g.call(true)
	return r.Iterator.Next()
}

var ctx = as("root")

func as(user string) context.Context {
	p := access.Principal{User: user, Role: access.RoleUser}
	if user == "root" {
		p.Role = access.RoleAdmin
	}
	return access.NewContext(context.Background(), p)
}

// inBubble runs f with a rig whose buckets flat and tree have the snapshots
// old, then n changes, and new. The service runs.
func inBubble(t *testing.T, o snapdiff.Options, n int, f func(t *testing.T, r *rig)) {
	dir := filepath.Join(t.TempDir(), "reports")
	synctest.Test(t, func(t *testing.T) {
		o.Dir = dir
		r := newRig(t, o)
		for _, bucket := range []string{"flat", "tree"} {
			r.commit(bucket, "kept", 1)
			r.commit(bucket, "changed", 1)
			r.snapshot(bucket, "old")
			r.commit(bucket, "changed", 2)
			r.fill(bucket, n-1)
			r.snapshot(bucket, "new")
		}
		r.run()
		f(t, r)
		r.stop()
		if _, err := fsmtest.Check(r.gate.Store); err != nil {
			t.Error(err)
		}
	})
}

func newRig(t *testing.T, o snapdiff.Options) *rig {
	t.Helper()
	store := new(memkv.Store)
	r := &rig{t: t, gate: &gate{Store: store}}
	r.leads.Store(true)
	m, err := fsm.Open(store, fsm.Position{})
	r.ok(err)
	m.Strict()
	r.log = &log{machine: m}
	r.om = om.New(om.Options{Store: store, Log: r.log})
	locked := func(f func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		f()
	}
	o.Store, o.Namespace, o.Leads = r.gate, r.om, r.leads.Load
	o.Listener = snapdiff.Listener{
		Submitted: func() { locked(func() { r.submitted++ }) },
		Rejected:  func() { locked(func() { r.rejected++ }) },
		Finished:  func(f snapdiff.Finished) { locked(func() { r.finished = append(r.finished, f) }) },
		Failed: func(task string, err error) {
			locked(func() { r.troubles = append(r.troubles, fmt.Sprintf("%s: %v", task, err)) })
		},
	}
	r.o = o
	for _, user := range []string{"root", "owner", "reader", "stranger"} {
		_, err := r.om.CreateUser(ctx, &o3v1.CreateUserRequest{User: user, Role: "user"})
		r.ok(err)
	}
	_, err = r.om.CreateVolume(ctx, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	r.ok(err)
	read := []*o3v1.Grant{{Grantee: "reader", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ}}}
	for bucket, layout := range map[string]string{"flat": "OBS", "tree": "FSO"} {
		_, err = r.om.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: bucket, Layout: layout, Owner: "owner", Grants: read})
		r.ok(err)
	}
	return r
}

// run starts a service over what the rig has. It ends with stop.
func (r *rig) run() {
	r.t.Helper()
	r.Service = snapdiff.New(r.o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Service.Run(ctx) }()
	synctest.Wait()
	r.stop = sync.OnceFunc(func() {
		cancel()
		r.ok(<-ended)
		r.onlyReports()
	})
}

// onlyReports fails when something half made is in the directory.
func (r *rig) onlyReports() {
	r.t.Helper()
	files, err := os.ReadDir(r.o.Dir)
	r.ok(err)
	for _, f := range files {
		if filepath.Ext(f.Name()) != snapdiff.ReportSuffix {
			r.t.Errorf("%s was left behind", f.Name())
		}
	}
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) commit(bucket, key string, size int) {
	r.t.Helper()
	_, err := r.om.CommitKey(ctx, &o3v1.CommitKeyRequest{
		Volume: "s3v", Bucket: bucket, Key: key, Data: make([]byte, size), Size: uint64(size), Etag: fmt.Sprint(size),
	})
	r.ok(err)
}

// fill makes n keys in as few entries of the log as it can: most tests need many.
func (r *rig) fill(bucket string, n int) {
	r.t.Helper()
	var requests [][]byte
	for i := range n {
		body, err := proto.Marshal(&o3v1.CommitKeyRequest{
			Volume: "s3v", Bucket: bucket, Key: fmt.Sprintf("dir/new %05d", i), Data: []byte("1"), Size: 1, Etag: "1",
		})
		r.ok(err)
		raw, err := proto.Marshal(&commandpb.Request{Kind: uint32(command.CommitKey), Body: body, TimeMs: time.Now().UnixMilli(), Principal: "root"})
		r.ok(err)
		requests = append(requests, raw)
	}
	for batch := range slices.Chunk(requests, 500) {
		answers, err := r.log.machine.Apply([]fsm.Entry{{Index: r.log.machine.Position().Index + 1, Term: 1, Requests: batch}})
		r.ok(err)
		for _, raw := range answers[0] {
			var reply commandpb.Reply
			r.ok(proto.Unmarshal(raw, &reply))
			if reply.Kind != uint32(errs.OK) {
				r.t.Fatal(&reply)
			}
		}
	}
}

func (r *rig) snapshot(bucket, name string) {
	r.t.Helper()
	_, err := r.om.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name})
	r.ok(err)
}

func (r *rig) deleteSnapshot(bucket, name string) {
	r.t.Helper()
	_, err := r.om.DeleteSnapshot(ctx, &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name})
	r.ok(err)
}

// spec is from old to new of bucket flat; edits change it.
func spec(edits ...func(*o3v1.DiffSpec)) *o3v1.DiffSpec {
	s := &o3v1.DiffSpec{Volume: "s3v", Bucket: "flat", From: "old", To: "new"}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func full(s *o3v1.DiffSpec)     { s.Full = true }
func ordered(s *o3v1.DiffSpec)  { s.Ordered = true }
func inTree(s *o3v1.DiffSpec)   { s.Bucket = "tree" }
func toLive(s *o3v1.DiffSpec)   { s.To = "" }
func reversed(s *o3v1.DiffSpec) { s.From, s.To = s.To, s.From }

// submit submits, and expects a job in a state.
func (r *rig) submit(s *o3v1.DiffSpec, want o3v1.DiffState) *o3v1.DiffJob {
	r.t.Helper()
	resp, err := r.SubmitDiff(ctx, &o3v1.SubmitDiffRequest{Spec: s})
	r.ok(err)
	if resp.Job.State != want {
		r.t.Fatalf("submitted %v: %v, want %v", s, resp, want)
	}
	return resp.Job
}

// get returns the first page of a job, which must be in a state.
func (r *rig) get(s *o3v1.DiffSpec, id string, want o3v1.DiffState) *o3v1.GetDiffResponse {
	r.t.Helper()
	resp, err := r.GetDiff(ctx, &o3v1.GetDiffRequest{Spec: s, JobId: id})
	r.ok(err)
	if resp.Job.State != want {
		r.t.Fatalf("%v: %v, want %v", s, resp.Job, want)
	}
	return resp
}

// diff submits and waits for the report.
func (r *rig) diff(s *o3v1.DiffSpec) *o3v1.GetDiffResponse {
	r.t.Helper()
	id := r.submit(s, queued).JobId
	synctest.Wait()
	return r.get(s, id, done)
}

// refused expects an error of a kind that says words.
func refused(t *testing.T, what string, err error, kind errs.Kind, words ...string) {
	t.Helper()
	if errs.KindOf(err) != kind {
		t.Errorf("%s: %v, want %v", what, err, kind)
		return
	}
	for _, w := range words {
		if !bytes.Contains([]byte(err.Error()), []byte(w)) {
			t.Errorf("%s: %v does not say %q", what, err, w)
		}
	}
}

// endings returns how jobs ended, as the listener heard.
func (r *rig) endings() (out []o3v1.DiffState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.finished {
		out = append(out, f.Job.State)
	}
	return out
}

type kind = command.Kind

func (r *rig) report(id string) string { return filepath.Join(r.o.Dir, id+snapdiff.ReportSuffix) }

func (r *rig) hasReport(id string) bool {
	_, err := os.Stat(r.report(id))
	return err == nil
}

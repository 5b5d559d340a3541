package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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
	"o3/internal/lifecycle"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// log is a replicated log of one without a disk. What it is asked by the service
// under test goes through hooks; what users do does not.
type log struct {
	store   *memkv.Store
	mu      *sync.Mutex // of the machine
	machine **fsm.Machine
	kinds   map[command.Kind]int
	one     sync.Mutex // one request at a time, with its hooks

	// before is called with what is to be applied; an error refuses it. after is
	// called when it was applied; its error takes the place of the answer.
	before func(command.Kind, []byte) error
	after  func(command.Kind, []byte, *commandpb.Reply) error
}

func (l *log) Propose(ctx context.Context, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, errs.Wrap(errs.Canceled, "propose", err)
	}
	var r commandpb.Request
	if err := proto.Unmarshal(request, &r); err != nil {
		return nil, err
	}
	k := command.Kind(r.Kind)
	l.one.Lock()
	defer l.one.Unlock()
	if l.before != nil {
		if err := l.before(k, r.Body); err != nil {
			return nil, err
		}
	}
	answer, err := l.apply(k, request)
	if err != nil || l.after == nil {
		return answer, err
	}
	var reply commandpb.Reply
	if err := proto.Unmarshal(answer, &reply); err != nil {
		return nil, err
	}
	return answer, l.after(k, r.Body, &reply)
}

func (l *log) apply(k command.Kind, request []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kinds[k]++
	m := *l.machine
	answers, err := m.Apply([]fsm.Entry{{Index: m.Position().Index + 1, Term: 1, Requests: [][]byte{request}}})
	if err != nil {
		return nil, err
	}
	return answers[0][0], nil
}

func (l *log) ReadIndex(context.Context) (uint64, error) { return 0, nil }
func (l *log) WaitApplied(context.Context, uint64) error { return nil }

var root = access.NewContext(context.Background(), access.System)

// rig is a namespace in memory and the lifecycle service over it. Tests run it in
// a bubble, so that time passes when they say so.
type rig struct {
	t     testing.TB
	store *memkv.Store
	mu    sync.Mutex
	m     *fsm.Machine
	log   *log        // the service's way in
	user  *om.Service // the users' way in
	o     lifecycle.Options
	reads kv.Store // the service's; nil: store
	leads atomic.Bool

	s    *lifecycle.Service
	stop func()
	done chan struct{}

	heard
}

// heard is what the listener heard.
type heard struct {
	lock   sync.Mutex
	steps  []lifecycle.Step
	ended  []lifecycle.Scan
	began  int
	looked int
	failed []error
	late   int
}

// newRig makes buckets flat and tree.
func newRig(t testing.TB, o lifecycle.Options) *rig {
	t.Helper()
	r := &rig{t: t, store: new(memkv.Store), o: o}
	r.leads.Store(true)
	r.reopen()
	r.log = &log{store: r.store, mu: &r.mu, machine: &r.m, kinds: map[command.Kind]int{}}
	r.user = om.New(om.Options{Store: r.store, Log: &log{store: r.store, mu: &r.mu, machine: &r.m, kinds: map[command.Kind]int{}}})
	r.o.Leads = func() bool { return r.leads.Load() }
	r.o.Listener = lifecycle.Listener{
		Began:   func(lifecycle.Scan) { r.locked(func() { r.began++ }) },
		Looked:  func(rows, _, _ int) { r.locked(func() { r.looked += rows }) },
		Stepped: func(s lifecycle.Step) { r.locked(func() { r.steps = append(r.steps, s) }) },
		Ended:   func(s lifecycle.Scan) { r.locked(func() { r.ended = append(r.ended, s) }) },
		Failed:  func(_ string, err error) { r.locked(func() { r.failed = append(r.failed, err) }) },
		Overdue: func(lifecycle.Scan) { r.locked(func() { r.late++ }) },
	}
	_, err := r.user.CreateVolume(root, &o3v1.CreateVolumeRequest{Volume: "s3v", Owner: "ann"})
	r.ok(err)
	r.bucket("flat", "OBJECT_STORE")
	r.bucket("tree", "FILE_SYSTEM_OPTIMIZED")
	return r
}

func (r *rig) locked(f func()) {
	r.lock.Lock()
	defer r.lock.Unlock()
	f()
}

// reopen is what a restart of the node does to its state machine.
func (r *rig) reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := fsm.Open(r.store, fsm.Position{})
	if err != nil {
		r.t.Fatal(err)
	}
	m.Strict()
	r.m = m
}

// start starts a service that knows nothing but what is stored: as after a
// restart, or on another node that has begun to lead.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	o := r.o
	store := kv.Store(r.store)
	if r.reads != nil {
		store = r.reads
	}
	o.Namespace = om.New(om.Options{Store: store, Log: r.log})
	r.s = lifecycle.New(o)
	r.done = make(chan struct{})
	r.stop = cancel
	go func(s *lifecycle.Service, done chan struct{}) {
		defer close(done)
		_ = s.Run(ctx)
	}(r.s, r.done)
}

// end stops the service.
func (r *rig) end() {
	r.stop()
	<-r.done
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) bucket(name, layout string) {
	r.t.Helper()
	_, err := r.user.CreateBucket(root, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: name, Layout: layout, Owner: "ann"})
	r.ok(err)
}

// put writes keys, or makes directories of those that end in "//".
func (r *rig) put(bucket string, names ...string) {
	r.t.Helper()
	for _, name := range names {
		if dir, ok := strings.CutSuffix(name, "//"); ok {
			_, err := r.user.CreateDirectory(root, &o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: bucket, Path: dir + "/", MayExist: true})
			r.ok(err)
			continue
		}
		r.ok(r.write(bucket, name, 10))
	}
}

func (r *rig) write(bucket, name string, size int, tags ...*o3v1.Pair) error {
	_, err := r.user.CommitKey(root, &o3v1.CommitKeyRequest{
		Volume: "s3v", Bucket: bucket, Key: name, Data: make([]byte, size), Size: uint64(size), Etag: "e", Tags: tags,
	})
	return err
}

func (r *rig) upload(bucket, name string, parts int) {
	r.t.Helper()
	u, err := r.user.CreateUpload(root, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: bucket, Key: name})
	r.ok(err)
	for i := range parts {
		_, err := r.user.CommitPart(root, &o3v1.CommitPartRequest{
			Volume: "s3v", Bucket: bucket, Key: name, UploadId: u.Upload.UploadId, Number: uint32(i + 1), Size: 5, Data: make([]byte, 5), Etag: "p",
		})
		r.ok(err)
	}
}

func (r *rig) rules(bucket string, rules ...*o3v1.LifecycleRule) {
	r.t.Helper()
	_, err := r.user.SetLifecycle(root, &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: bucket, Configuration: &o3v1.LifecycleConfiguration{Rules: rules}})
	r.ok(err)
}

func age(id, prefix string, days int32) *o3v1.LifecycleRule {
	return &o3v1.LifecycleRule{Id: id, Enabled: true, Filter: &o3v1.LifecycleFilter{Prefix: &prefix}, ExpireDays: &days}
}

// entry is a key or directory as it is stored.
type entry struct {
	id, since uint64
	dir       bool
	implicit  bool
	size      uint64
	modified  int64
	tags      []*o3v1.Pair
}

// entries reads what is in a bucket from the rows themselves, by path.
func (r *rig) entries(bucket string) map[string]entry {
	r.t.Helper()
	b := r.row(bucket)
	type at struct {
		parent ns.ObjectID
		name   string
	}
	where, rows := map[ns.ObjectID]at{}, map[at]*schemapb.Entry{}
	r.ok(fsmtest.Scan(r.store, schema.Entries, func(k schema.EntryKey, e *schemapb.Entry) error {
		if k.Bucket != b.ID() {
			return nil
		}
		rows[at{k.Parent, k.Name}] = proto.CloneOf(e)
		if e.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
			where[ns.ObjectID(e.ObjectId)] = at{k.Parent, k.Name}
		}
		return nil
	}))
	out := map[string]entry{}
	for k, e := range rows {
		path, lost := k.name, false
		for parent := k.parent; parent != b.ID() && !lost; {
			up, ok := where[parent]
			lost = !ok // below a directory that was deleted and is being purged
			path, parent = up.name+path, up.parent
		}
		if !lost {
			out[path] = entry{e.ObjectId, e.Since, e.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY, e.Implicit, e.Size, e.ModifiedMs, e.Tags}
		}
	}
	return out
}

// names returns the paths of a bucket, implicit directories left out.
func (r *rig) names(bucket string) string {
	r.t.Helper()
	all := r.entries(bucket)
	maps.DeleteFunc(all, func(_ string, e entry) bool { return e.implicit })
	return strings.Join(slices.Sorted(maps.Keys(all)), " ")
}

func (r *rig) view() view.View { return view.New(r.store) }

func (r *rig) row(bucket string) view.Bucket {
	r.t.Helper()
	b, err := r.view().Bucket("s3v", bucket)
	r.ok(err)
	return b
}

// state returns the row of a bucket's scan; nil if there is none.
func (r *rig) state(bucket string) *schemapb.LifecycleScanState {
	r.t.Helper()
	row, ok, err := r.view().LifecycleScan(r.row(bucket).ID())
	r.ok(err)
	if !ok {
		return nil
	}
	return row
}

// finished reports whether the scan by the present rules has reached its end.
func (r *rig) finished(bucket string) bool {
	r.t.Helper()
	b := r.row(bucket)
	if b.Row.LifecycleUpdateId == 0 {
		return true
	}
	s := r.state(bucket)
	return s != nil && s.Phase == schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE && s.LifecycleConfigurationUpdateID == b.Row.LifecycleUpdateId
}

// await lets time pass until the scans of all buckets have reached their ends.
func (r *rig) await(buckets ...string) {
	r.t.Helper()
	for range 10_000 {
		all := true
		for _, b := range buckets {
			all = all && r.finished(b)
		}
		if all {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, b := range buckets {
		r.t.Logf("%s: %v", b, r.state(b))
	}
	r.t.Fatalf("the scans do not end: %v", errors.Join(r.failed...))
}

// sound checks every invariant of the store.
func (r *rig) sound() {
	r.t.Helper()
	_, err := fsmtest.Check(r.store)
	r.ok(err)
}

// digest returns the digest of all that is stored.
func (r *rig) digest() string {
	rows, err := fsmtest.Rows(r.store)
	r.ok(err)
	return fmt.Sprint(rows)
}

// total adds up what a scan did, by all rules.
func total(row *schemapb.LifecycleScanState) (c *schemapb.LifecycleRuleCounters) {
	c = &schemapb.LifecycleRuleCounters{}
	for _, r := range row.GetRules() {
		c.DeletedKeys += r.DeletedKeys
		c.DeletedBytes += r.DeletedBytes
		c.DeletedDirs += r.DeletedDirs
		c.MovedKeys += r.MovedKeys
		c.MovedDirs += r.MovedDirs
		c.AbortedUploads += r.AbortedUploads
		c.Skipped += r.Skipped
	}
	return c
}

package fsm_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/kvtest"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// TestHistories runs random histories of every command beside a model, and
// checks after each command the answer, a listing in random pages, all that
// fsmtest.Check knows, that no block is lost or freed while it is named, and
// that every snapshot is what it was: laws 2, 3 and 4. At the end everything is
// deleted and nothing may be left; and the same requests, cut into entries and
// calls of Apply anyhow, must give the same answers and the same digest.
// O3_SEED=n replays; O3_NIGHTLY=1 runs fifty times as many, for up to nine minutes.
func TestHistories(t *testing.T) { runHistories(t, 200, often, events, true) }

// TestHistoriesOfLifecycle is TestHistories with many scans: law 5, as far as
// commands keep it.
func TestHistoriesOfLifecycle(t *testing.T) { runHistories(t, 80, oftenScans, scanEvents, false) }

func runHistories(t *testing.T, n int, often, events []string, pairs bool) {
	seed, limit := kvtest.Seed(t), time.Minute
	if testing.Short() {
		n = min(n, 60)
	}
	if os.Getenv("O3_NIGHTLY") != "" {
		n, limit = 50*n, 9*time.Minute
	}
	if d, ok := t.Deadline(); ok {
		limit = min(limit, time.Until(d)/2)
	}
	var mu sync.Mutex
	var failed atomic.Bool
	all, ran, start := newCoverage(), 0, time.Now()
	inTime := func() bool { return time.Since(start) < limit && !failed.Load() }
	lacking := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all.lacks(n, events, pairs)
	}
	workers := min(runtime.GOMAXPROCS(0), 8)
	t.Run("histories", func(t *testing.T) {
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				// What chance has left out of n of them is met in some more.
				for i := w; inTime() && (i < n || i < 3*n && len(lacking()) > 0); i += workers {
					c := newCoverage()
					runHistory(t, seed+uint64(i), often, c)
					if t.Failed() {
						failed.Store(true)
					}
					mu.Lock()
					all.add(c)
					ran++
					mu.Unlock()
				}
			})
		}
	})
	all.log(t, ran, events)
	if inTime() || ran >= 2*n && !failed.Load() { // a slow machine may not get so far
		for _, what := range lacking() {
			t.Error(what)
		}
	}
}

func runHistory(t *testing.T, seed uint64, often []string, c coverage) {
	h := newHistory(t, seed, c)
	h.run(30+h.rng.IntN(100), often)
	h.end()
	h.replay()
	h.checkDerived()
	if t.Failed() {
		t.Logf("O3_SEED=%d runs this history first", seed)
	}
}

// history is one random run and its model.
type history struct {
	t         *testing.T
	rng       *rand.Rand
	d         *fsmtest.Driver
	cover     coverage
	buckets   map[string]*mbucket
	used      map[uint64]bool      // every object id ever seen
	stored    map[block.ID]bool    // every block a row ever named
	gone      map[block.ID]bool    // blocks that were freed for good
	blocks    uint64               // the latest block that was written
	seq       map[uint64]uint64    // of each client session
	reclaim   []*mreclaim          // deleted snapshots that are not reclaimed yet
	sent      []sentRequest        // stamped ones
	again     func() proto.Message // the latest put or part once more, nil when that would be another
	holds     map[string]uint64    // where each lease on the log was last
	suspended bool                 // all lifecycle scans
	scratch   string               // a directory for diffs
	lazy      bool                 // check after some commands only
	before    string               // the act before the last
	last      string
	line      string
	where     string // what is compared, for errors
}

// sentRequest is a stamped request and its answer.
type sentRequest struct {
	stamp  *o3v1.Stamp
	raw    []byte
	answer []byte
}

func newHistory(t *testing.T, seed uint64, c coverage) *history {
	h := &history{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), d: fsmtest.New(t, new(memkv.Store)), cover: c,
		buckets: map[string]*mbucket{}, used: map[uint64]bool{}, stored: map[block.ID]bool{}, gone: map[block.ID]bool{},
		seq: map[uint64]uint64{},
	}
	h.d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	h.scratch = t.TempDir()
	h.lazy = h.rng.IntN(2) == 0
	for _, name := range []string{"aaa", "bbb", "ccc"}[:1+h.rng.IntN(3)] {
		layout := h.pick([]string{"OBS", "FSO", "FSO"})
		h.d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: name, Layout: layout})
		h.buckets[name] = newBucket(layout == "FSO")
		if h.rng.IntN(3) > 0 {
			h.rule(name, h.buckets[name])
		}
	}
	return h
}

func (h *history) errorf(format string, args ...any) {
	h.t.Helper()
	h.t.Errorf("after %s: %s%s", h.line, h.where, fmt.Sprintf(format, args...))
}

// acts are what a history is made of. Each returns the outcome.
var acts = map[string]func(*history) errs.Kind{
	"put": (*history).put, "delete": (*history).delete, "rename": (*history).rename,
	"copy": (*history).copy, "mkdir": (*history).mkdir, "subtree": (*history).subtree, "update": (*history).update,
	"createUpload": (*history).createUpload, "part": (*history).part, "copyPart": (*history).copyPart,
	"complete": (*history).complete, "abort": (*history).abort,
	"purge": (*history).purge, "freed": (*history).freed, "open": (*history).open, "expire": (*history).expire,
	"retry": (*history).retry, "repeat": (*history).repeat, "quota": (*history).quota, "bucket": (*history).bucket,
	"createSnapshot": (*history).createSnapshot, "renameSnapshot": (*history).renameSnapshot,
	"deleteSnapshot": (*history).deleteSnapshot, "reclaim": (*history).reclaimSnapshot,
	"restore": (*history).restore, "copyOut": (*history).copyOut,
	"lifecycle": (*history).lifecycle, "scan": (*history).scan, "trash": (*history).trash,
}

// often are acts that come more often than the others.
var often = []string{
	"put", "put", "put", "rename", "rename", "rename", "delete", "subtree", "purge", "createSnapshot", "createSnapshot",
	"createSnapshot", "deleteSnapshot", "restore", "restore", "reclaim", "update",
}

// oftenScans are acts that come more often where lifecycle is tested.
var oftenScans = slices.Concat(slices.Repeat([]string{"scan"}, 20), slices.Repeat([]string{"put", "mkdir", "subtree"}, 4), []string{
	"rename", "delete", "update", "createSnapshot", "createUpload", "createUpload", "lifecycle", "trash", "trash", "trash",
})

func (h *history) run(ops int, often []string) {
	names := slices.Concat(slices.Sorted(maps.Keys(acts)), often)
	for range ops {
		name := names[h.rng.IntN(len(names))]
		if h.rng.IntN(8) == 0 {
			h.d.Now += h.rng.Int64N(2000) - 500
		}
		kind := acts[name](h)
		h.cover.outcome(name, kind, 1)
		if h.last != "" {
			h.cover.pairs[[2]string{h.last, name}]++
		}
		h.before, h.last = h.last, name
		h.settle()
		if !h.lazy || h.rng.IntN(4) == 0 || h.shaken() {
			h.check()
		}
		if h.t.Failed() {
			return
		}
	}
}

// send applies a request and compares the kind of its answer.
func (h *history) send(body proto.Message, want errs.Kind) fsmtest.Answer {
	h.t.Helper()
	h.line = fmt.Sprintf("op %d %v {%v}", h.d.Machine.Position().Op+1, fsmtest.KindOf(body), body)
	r := h.d.Request(body)
	if h.rng.IntN(4) == 0 {
		id := uint64(1 + h.rng.IntN(3))
		h.seq[id]++
		r.Stamp = &o3v1.Stamp{ClientId: id, Sequence: h.seq[id], Acked: h.seq[id] - min(h.seq[id], h.rng.Uint64N(6))}
	}
	raw := r.Encode()
	answers, err := h.d.Apply(raw)
	if err != nil {
		h.t.Fatalf("%s: %v", h.line, err)
	}
	if r.Stamp != nil {
		h.sent = append(h.sent, sentRequest{r.Stamp, raw, answers[0]})
	}
	a, err := fsmtest.Decode(body, answers[0])
	if err != nil {
		h.t.Fatal(err)
	}
	if a.Kind != want {
		h.errorf("the answer is %v, want %v", a, want)
	}
	return a
}

func (h *history) pick(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return list[h.rng.IntN(len(list))]
}

func (h *history) anyBucket() (string, *mbucket) {
	name := h.pick(slices.Sorted(maps.Keys(h.buckets)))
	return name, h.buckets[name]
}

// path returns a path: often one that exists, or that a snapshot has.
func (h *history) path(b *mbucket) string {
	if n := len(b.snaps); n > 0 && h.rng.IntN(5) == 0 {
		if names := b.snaps[h.rng.IntN(n)].then.names(true); len(names) > 0 {
			return h.pick(names)
		}
	}
	if names := b.names(true); len(names) > 0 && h.rng.IntN(3) > 0 {
		return h.pick(names)
	}
	var parts []string
	for range 1 + h.rng.IntN(4) {
		parts = append(parts, h.pick([]string{"a", "a", "b", "a-", "a0", "é", "ab"}))
	}
	p := strings.Join(parts, "/")
	if !b.tree && h.rng.IntN(6) == 0 {
		p += h.pick([]string{"/", "//", "/x/", "\x00"})
	}
	return p
}

func (h *history) keyPath(b *mbucket) string {
	p := h.path(b)
	if b.tree {
		p = strings.TrimSuffix(p, "/")
	}
	return p
}

// bytes makes new content: in the store, in a few blocks, in many, or none.
func (h *history) bytes() (data []byte, extents []*o3v1.Extent, c content) {
	n := h.rng.IntN(4)
	switch h.rng.IntN(12) {
	case 0:
		return nil, nil, nil
	case 1, 2, 3, 4:
		data = []byte(fmt.Sprint(h.rng.IntN(1000)))
		return data, nil, content{{"=" + string(data), 0, int64(len(data))}}
	case 5:
		n = 32 + h.rng.IntN(4)
	}
	for range n {
		h.blocks++
		e := &o3v1.Extent{Container: 1 + h.blocks/100, Local: h.blocks, Length: 1 + h.rng.Int64N(20)}
		extents = append(extents, e)
		c = append(c, piece{fmt.Sprintf("%d/%d", e.Container, e.Local), 0, e.Length})
	}
	return nil, extents, c
}

func (h *history) etag() string { return fmt.Sprint("e", h.rng.IntN(5)) }

func (h *history) pre() *o3v1.Preconditions {
	switch h.rng.IntN(12) {
	case 0:
		return &o3v1.Preconditions{IfAbsent: true}
	case 1:
		return &o3v1.Preconditions{IfMatch: h.etag()}
	case 2:
		return &o3v1.Preconditions{IfMatch: "*"}
	}
	return nil
}

// cost is what a change adds to what the quotas of a bucket count.
type cost struct{ names, bytes int64 }

// room says whether a quota forbids c more. What is used is the store's own
// count, which check compares with the rows.
func (h *history) room(bucket string, c cost) errs.Kind {
	return h.buckets[bucket].room(h.counted(bucket), c)
}

func (b *mbucket) room(used, c cost) errs.Kind {
	if b.quota.names > 0 && c.names > 0 && used.names+c.names > b.quota.names ||
		b.quota.bytes > 0 && c.bytes > 0 && used.bytes+c.bytes > b.quota.bytes {
		return errs.QuotaExceeded
	}
	return errs.OK
}

// counted returns what the quotas of a bucket count.
func (h *history) counted(bucket string) cost {
	b, err := view.New(h.d.Store).Bucket("s3v", bucket)
	if err != nil {
		h.t.Fatal(err)
	}
	r := b.Row
	return cost{int64(r.UsedKeys + r.UsedDirectories + r.SnapshotNames), int64(r.UsedBytes + r.UploadBytes + r.SnapshotBytes)}
}

// first returns the first kind that is not OK.
func first(kinds ...errs.Kind) errs.Kind {
	for _, k := range kinds {
		if k != errs.OK {
			return k
		}
	}
	return errs.OK
}

// admit says whether a key of size bytes may be put at path.
func (h *history) admit(bucket, path string, pre *o3v1.Preconditions, size int64) errs.Kind {
	b := h.buckets[bucket]
	return first(precondition(pre, b.keys[path]), b.place(path), h.room(bucket, b.costOf(path, size)))
}

// published notes a key that a command put, and checks its id.
func (h *history) published(b *mbucket, path string, k *o3v1.KeyInfo, c content, tags string) {
	old := b.keys[path]
	switch {
	case old != nil && old.id != k.ObjectId:
		h.errorf("%q changed its id from %d to %d", path, old.id, k.ObjectId)
	case old == nil && h.used[k.ObjectId]:
		h.errorf("%q has id %d, which another object had", path, k.ObjectId)
	case k.Size != uint64(c.size()):
		h.errorf("%q has size %d, want %d", path, k.Size, c.size())
	}
	h.used[k.ObjectId] = true
	b.keys[path] = &mkey{id: k.ObjectId, etag: k.Etag, data: content{}.join(c), tags: tags}
	h.settle()
}

func (h *history) put() errs.Kind {
	name, b := h.anyBucket()
	path, pre := h.keyPath(b), h.pre()
	h.sawWrite(b, path)
	data, extents, c := h.bytes()
	want := h.admit(name, path, pre, c.size())
	r := &o3v1.CommitKeyRequest{
		Volume: "s3v", Bucket: name, Key: path, Size: uint64(c.size()), Etag: h.etag(), Data: data, Extents: extents,
		If: pre, DeadlineMs: 1 << 60,
	}
	a := h.send(r, want)
	if a.Kind == errs.OK {
		h.published(b, path, a.Body.(*o3v1.CommitKeyResponse).Key, c, "")
		made := b.keys[path]
		h.again = func() proto.Message {
			if len(extents) == 0 || h.buckets[name] != b || b.keys[path] == nil || !slices.Equal(b.keys[path].data, made.data) {
				return nil
			}
			return r
		}
	}
	return a.Kind
}

// repeat sends a put or part once more under no stamp, or a new one: its blocks
// are named already, so it is answered and changes nothing.
func (h *history) repeat() errs.Kind {
	if h.again == nil {
		return errs.OK
	}
	r := h.again()
	if r == nil {
		h.again = nil
		return errs.OK
	}
	before, _ := fsmtest.Check(h.d.Store)
	a := h.send(r, errs.OK)
	after, err := fsmtest.Check(h.d.Store)
	if err != nil || !maps.Equal(before.Names, after.Names) || !maps.Equal(before.Freed, after.Freed) {
		h.errorf("a repeated request changed the names of blocks: %v", err)
	}
	return a.Kind
}

func (h *history) delete() errs.Kind {
	name, b := h.anyBucket()
	r := &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: name, Recursive: h.rng.IntN(3) == 0, MustExist: h.rng.IntN(3) == 0}
	var want []*o3v1.DeleteKeyResult
	for range 1 + h.rng.IntN(3) {
		k := &o3v1.DeleteKey{Key: h.path(b)}
		if !strings.HasSuffix(k.Key, "/") {
			k.If = h.pre()
		}
		r.Keys = append(r.Keys, k)
		kind, existed := b.delete(k, r.Recursive, r.MustExist)
		want = append(want, &o3v1.DeleteKeyResult{Kind: uint32(kind), Existed: existed})
	}
	a := h.send(r, errs.OK)
	for i, got := range a.Body.(*o3v1.DeleteKeysResponse).Results {
		if got.Kind != want[i].Kind || got.Existed != want[i].Existed {
			h.errorf("%q: got %v, want %v", r.Keys[i].Key, got, want[i])
		}
	}
	return errs.Kind(want[0].Kind)
}

// delete deletes a path from the model.
func (b *mbucket) delete(k *o3v1.DeleteKey, recursive, must bool) (errs.Kind, bool) {
	if b.tree && strings.HasSuffix(k.Key, "/") {
		return b.deleteDir(k.Key, recursive, must)
	}
	if kind := precondition(k.If, b.keys[k.Key]); kind != errs.OK {
		return kind, false
	}
	if b.keys[k.Key] == nil {
		if must {
			return errs.NoSuchKey, false
		}
		return errs.OK, false
	}
	delete(b.keys, k.Key)
	return errs.OK, true
}

func (b *mbucket) deleteDir(path string, recursive, must bool) (errs.Kind, bool) {
	below := b.under(path)
	switch {
	case !b.isDir(path) && must:
		return errs.NoSuchKey, false
	case !b.isDir(path):
		return errs.OK, false
	case len(below) == 0, recursive:
		for _, n := range below {
			delete(b.keys, n)
			delete(b.marks, n)
		}
		delete(b.marks, path)
		return errs.OK, true
	case must:
		return errs.NotEmpty, false
	}
	existed := b.marks[path]
	delete(b.marks, path)
	return errs.OK, existed
}

func (h *history) rename() errs.Kind {
	name, b := h.anyBucket()
	from, to, overwrite := h.path(b), h.path(b), h.rng.IntN(2) == 0
	if b.tree && h.rng.IntN(2) == 0 {
		from = strings.TrimSuffix(from, "/")
	}
	source, target, want := b.renamed(from, to, overwrite)
	if want == errs.OK && source != target {
		want = h.room(name, cost{names: b.newDirs(target)})
	}
	a := h.send(&o3v1.RenameKeyRequest{Volume: "s3v", Bucket: name, From: from, To: to, Overwrite: overwrite}, want)
	if a.Kind != errs.OK {
		return a.Kind
	}
	if got := a.Body.(*o3v1.RenameKeyResponse).Key.Name; got != target {
		h.errorf("the new name is %q, want %q", got, target)
	}
	if source != target {
		h.sawRename(b, source, target)
		b.move(source, target)
	}
	return a.Kind
}

// renamed resolves a rename to the paths it means, or refuses it.
func (b *mbucket) renamed(from, to string, overwrite bool) (source, target string, kind errs.Kind) {
	if b.keys[from] == nil && b.tree && !strings.HasSuffix(from, "/") && b.isDir(from+"/") {
		from += "/"
	}
	dir := b.tree && strings.HasSuffix(from, "/")
	switch {
	case dir && !b.isDir(from), !dir && b.keys[from] == nil:
		return "", "", errs.NoSuchKey
	case dir && !strings.HasSuffix(to, "/"):
		to += "/"
	case b.tree && !dir && strings.HasSuffix(to, "/"):
		return "", "", errs.InvalidRename
	}
	switch {
	case from == to:
	case dir && strings.HasPrefix(to, from):
		return "", "", errs.InvalidRename
	case dir && b.isDir(to), b.keys[to] != nil && !overwrite:
		return "", "", errs.KeyExists
	case b.keys[to] == nil:
		return from, to, b.place(to)
	}
	return from, to, errs.OK
}

func (h *history) copy() errs.Kind {
	fromName, from := h.anyBucket()
	name, b := h.anyBucket()
	source := h.keyPath(from)
	return h.copyTo(name, b, fromName, source, from.keys[source], errs.NoSuchKey)
}

// copyTo copies k, nil when missing is why there is none, to somewhere in b.
func (h *history) copyTo(name string, b *mbucket, fromName, source string, k *mkey, missing errs.Kind) errs.Kind {
	path, pre, want := h.keyPath(b), h.pre(), missing
	if h.rng.IntN(2) == 0 && fromName == name && !strings.HasPrefix(source, ns.SnapshotPrefix) {
		path = source
	}
	if k != nil {
		want = h.admit(name, path, pre, k.data.size())
	}
	a := h.send(&o3v1.CopyKeyRequest{
		FromVolume: "s3v", FromBucket: fromName, FromKey: source, Volume: "s3v", Bucket: name, Key: path, If: pre,
	}, want)
	if a.Kind == errs.OK {
		h.published(b, path, a.Body.(*o3v1.CopyKeyResponse).Key, k.data, k.tags)
	}
	return a.Kind
}

func (h *history) mkdir() errs.Kind {
	name, b := h.anyBucket()
	path, may := strings.TrimSuffix(h.path(b), "/"), h.rng.IntN(2) == 0
	dir := path + "/"
	want := errs.OK
	switch {
	case !b.tree:
		want = errs.Invalid
	case b.isDir(dir):
		if b.marks[dir] && !may {
			want = errs.KeyExists
		}
	default:
		want = first(b.place(dir), h.room(name, cost{names: b.newDirs(dir) + 1}))
	}
	a := h.send(&o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: name, Path: path, MayExist: may}, want)
	if a.Kind == errs.OK {
		b.marks[dir] = true
	}
	return a.Kind
}

// subtree puts a few keys below one directory, and often deletes it whole.
func (h *history) subtree() errs.Kind {
	name, b := h.anyBucket()
	dir := strings.TrimSuffix(h.path(b), "/") + "/"
	kind := errs.OK
	for i := range 2 + h.rng.IntN(6) {
		path := dir + h.pick([]string{"", "", "s/"}) + fmt.Sprint(i)
		a := h.send(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: name, Key: path}, h.admit(name, path, nil, 0))
		if kind = a.Kind; kind == errs.OK {
			h.published(b, path, a.Body.(*o3v1.CommitKeyResponse).Key, nil, "")
		}
	}
	if b.tree && h.rng.IntN(3) > 0 {
		b.delete(&o3v1.DeleteKey{Key: dir}, true, false)
		h.send(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: name, Recursive: true, Keys: []*o3v1.DeleteKey{{Key: dir}}}, errs.OK)
	}
	return kind
}

func (h *history) update() errs.Kind {
	name, b := h.anyBucket()
	path, value := h.keyPath(b), fmt.Sprint(h.rng.IntN(100))
	want := errs.NoSuchKey
	if b.keys[path] != nil {
		want = errs.OK
	}
	a := h.send(&o3v1.UpdateKeyRequest{
		Volume: "s3v", Bucket: name, Key: path, SetTags: true, Tags: []*o3v1.Pair{{Name: "t", Value: value}},
	}, want)
	if a.Kind == errs.OK {
		b.keys[path].tags = value
	}
	return a.Kind
}

func (h *history) purge() errs.Kind {
	limit := uint32(1 + h.rng.IntN(4)*h.rng.IntN(4))
	h.sawPurge()
	a := h.send(&commandpb.PurgeDirectories{Limit: limit}, errs.OK)
	if r, ok := a.Body.(*commandpb.PurgeDirectoriesReply); ok && r.Rows > limit {
		h.errorf("purged %d rows", r.Rows)
	}
	return a.Kind
}

// freed has some of the deleted blocks freed for good.
func (h *history) freed() errs.Kind {
	r := &commandpb.FreedBlocks{}
	err := fsmtest.Scan(h.d.Store, schema.Deleted, func(k schema.OpKey, d *schemapb.DeletedBlocks) error {
		if h.rng.IntN(2) == 0 {
			r.Rows = append(r.Rows, &commandpb.DeletedKey{Op: uint64(k.Op), N: k.N})
			for _, e := range d.Extents {
				h.gone[block.ID{Container: e.Container, Local: e.Local}] = true
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.send(r, errs.OK).Kind
}

func (h *history) open() errs.Kind {
	name, b := h.anyBucket()
	path := h.keyPath(b)
	a := h.send(&o3v1.OpenKeyRequest{Volume: "s3v", Bucket: name, Key: path}, errs.OK)
	if r, ok := a.Body.(*o3v1.OpenKeyResponse); ok && h.rng.IntN(2) == 0 {
		h.send(&o3v1.AbandonKeyRequest{Volume: "s3v", Bucket: name, Key: path, Session: r.Session}, errs.OK)
	}
	return a.Kind
}

func (h *history) expire() errs.Kind {
	switch h.rng.IntN(4) {
	case 0:
		return h.hold()
	case 1:
		return h.send(&commandpb.ExpireOpenKeys{BeforeMs: h.d.Now - 500, Limit: 3}, errs.OK).Kind
	}
	h.sent = nil // their answers may be forgotten
	return h.send(&commandpb.ExpireClients{BeforeMs: h.d.Now - 500, Limit: 2}, errs.OK).Kind
}

// hold takes, renews or ends leases on the log.
func (h *history) hold() errs.Kind {
	name := fmt.Sprintf("receiver %d", h.rng.IntN(3))
	if h.rng.IntN(3) == 0 {
		return h.send(&commandpb.ReleaseLog{Names: []string{name}, Expired: h.rng.IntN(2) == 0}, errs.OK).Kind
	}
	at := h.holds[name] + uint64(h.rng.IntN(3))
	if h.holds == nil {
		h.holds = map[string]uint64{}
	}
	h.holds[name] = max(at, 1)
	return h.send(&commandpb.HoldLog{Name: name, Index: h.holds[name], UntilMs: max(h.d.Now, h.d.Machine.Position().TimeMs) + 1 + h.rng.Int64N(1000)}, errs.OK).Kind
}

// retry sends a stamped request once more: it is answered, not repeated.
func (h *history) retry() errs.Kind {
	if len(h.sent) == 0 {
		return errs.OK
	}
	s := h.sent[h.rng.IntN(len(h.sent))]
	h.line = fmt.Sprintf("retry of %v", s.stamp)
	acked := uint64(0)
	for _, o := range h.sent {
		if o.stamp.ClientId == s.stamp.ClientId {
			acked = max(acked, o.stamp.Acked)
		}
	}
	before := h.d.Machine.Position()
	answers, err := h.d.Apply(s.raw)
	if err != nil {
		h.t.Fatal(err)
	}
	if p := h.d.Machine.Position(); p.Op != before.Op || p.Digest != before.Digest {
		h.errorf("a retry changed the state")
	}
	if s.stamp.Sequence >= acked {
		if !bytes.Equal(answers[0], s.answer) {
			h.errorf("the answer to a retry differs")
		}
		return errs.OK
	}
	var reply commandpb.Reply
	if err := proto.Unmarshal(answers[0], &reply); err != nil || errs.Kind(reply.Kind) != errs.Conflict {
		h.errorf("a late copy is answered with %v %v", &reply, err)
	}
	return errs.Conflict
}

func (h *history) quota() errs.Kind {
	name, b := h.anyBucket()
	q := cost{int64(h.rng.IntN(3) * h.rng.IntN(20)), int64(h.rng.IntN(2) * h.rng.IntN(200))}
	if used := h.counted(name); h.rng.IntN(2) == 0 { // hardly any room, or none
		q.names, q.bytes = used.names+int64(h.rng.IntN(3)), used.bytes+int64(h.rng.IntN(40))
	}
	b.quota = q
	names, bytes := uint64(q.names), uint64(q.bytes)
	return h.send(&o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: name, QuotaNames: &names, QuotaBytes: &bytes}, errs.OK).Kind
}

// bucket deletes a bucket, if it may, and makes it anew in either layout.
func (h *history) bucket() errs.Kind {
	name, b := h.anyBucket()
	row, err := view.New(h.d.Store).Bucket("s3v", name)
	if err != nil {
		h.t.Fatal(err)
	}
	want := errs.OK
	if len(b.names(true)) > 0 || len(b.uploads) > 0 || row.Row.PendingDirectories > 0 || len(b.snaps) > 0 || h.reclaiming(b) > 0 {
		want = errs.NotEmpty
	}
	a := h.send(&o3v1.DeleteBucketRequest{Volume: "s3v", Bucket: name}, want)
	if a.Kind == errs.OK {
		layout := h.pick([]string{"OBS", "FSO"})
		h.send(&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: name, Layout: layout}, errs.OK)
		h.buckets[name] = newBucket(layout == "FSO")
		h.rule(name, h.buckets[name])
	}
	return a.Kind
}

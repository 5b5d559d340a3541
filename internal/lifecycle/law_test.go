package lifecycle_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/lifecycle"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// history is a bucket whose scan is disturbed: users change what is in it, and
// the service is killed, at every point of a scan.
type history struct {
	*rig
	t      *testing.T
	rng    *rand.Rand
	bucket string
	trash  bool

	disturb int             // how often yet
	seen    map[string]int  // disturbances, by point and what it was
	handled map[string]bool // what was deleted, moved or aborted once
	touched map[string]bool // what users changed since the scan began
	tally   map[uint32]*schemapb.LifecycleRuleCounters
	scan    uint64
	failed  []string

	before     map[string]entry
	beforeUp   map[uint64]uploaded
	snapshots  map[string]map[string]entry
	concluding bool // the last scan: nobody disturbs it
}

func (h *history) wrong(format string, args ...any) {
	if len(h.failed) < 10 {
		h.failed = append(h.failed, fmt.Sprintf(format, args...))
	}
}

// TestLaw5: a scan that is interrupted anywhere, any number of times, handles
// exactly what expired, each thing once, and nothing that changed after it was
// seen; what users change meanwhile may wait for the next scan, which leaves
// nothing.
func TestLaw5(t *testing.T) {
	runs := 60
	if os.Getenv("O3_NIGHTLY") != "" {
		runs = 3000
	}
	seen := map[string]int{}
	var all []string
	for _, point := range points {
		all = append(all, point+": crash", point+": follower", point+": change")
	}
	all = append(all, acts...)
	unseen := func() []string {
		return slices.DeleteFunc(slices.Clone(all), func(what string) bool { return seen[what] > 0 })
	}
	first := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("O3_SEED"), 10, 64); err == nil {
		first, runs, all = s, 1, nil
	}
	for i := 0; i < runs || i < 10*runs && len(unseen()) > 0; i++ { // chance may need some more
		seed := first + uint64(i)
		disturbed(t, seed, seen)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("seeds from %d on; %v", first, seen)
	if left := unseen(); len(left) > 0 {
		t.Errorf("no history had %q", left)
	}
}

// points are where a scan is disturbed.
var points = []string{"before the start", "after the start", "before a step", "after a step", "before the end", "after the end"}

// acts are what users do.
var acts = []string{"put", "delete", "delete below", "rename", "rename directory", "tag", "mkdir", "snapshot", "restore", "upload", "abort", "recreate", "rules", "suspend"}

func disturbed(t *testing.T, seed uint64, seen map[string]int) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 5))
		trash := rng.IntN(3) == 0
		r := newRig(t, lifecycle.Options{
			Workers: 1, Day: modelDay, Interval: 1000 * hour, Batch: 1 + rng.IntN(4), SaveRows: 1 + uint64(rng.IntN(12)), AbortParts: 1 + rng.IntN(4),
			Trash: trash, TrashKeep: -1, RetryMin: 10 * time.Millisecond, RetryMax: time.Second, Slice: time.Duration(rng.IntN(2)*2-1) * time.Second, LookInterval: time.Second,
		})
		h := &history{
			rig: r, t: t, rng: rng, bucket: []string{"flat", "tree"}[seed%2], trash: trash, disturb: 3 + rng.IntN(25), seen: seen,
			handled: map[string]bool{}, snapshots: map[string]map[string]entry{},
		}
		r.fill(rng, h.bucket)
		r.rules(h.bucket, anyRules(rng)...)
		r.log.before, r.log.after = h.hookBefore, h.hookAfter
		r.start()
		h.finish()
		// One more scan, which nobody disturbs, leaves what the rules leave.
		h.concluding = true
		if r.row(h.bucket).Row.LifecycleUpdateId == 0 {
			r.rules(h.bucket, anyRules(rng)...)
		}
		r.end()
		r.start()
		before := r.entries(h.bucket)
		_, err := r.s.RunLifecycle(root, &o3v1.RunLifecycleRequest{Volume: "s3v", Bucket: h.bucket})
		r.ok(err)
		h.finish()
		r.end()
		h.leftover(before)
		r.sound()
		for _, f := range h.failed {
			t.Errorf("seed %d: %s", seed, f)
		}
	})
}

// finish lets the scan reach its end, and starts the service again whenever it
// was killed.
func (h *history) finish() {
	for range 100_000 {
		if h.over() {
			return
		}
		select {
		case <-h.done:
			h.reopen()
			h.start()
		case <-time.After(200 * time.Millisecond):
			h.leads.Store(true)
			if h.isSuspended() {
				_, err := h.s.ResumeLifecycle(root, &o3v1.ResumeLifecycleRequest{Volume: "s3v", Bucket: h.bucket})
				h.ok(err)
			}
		}
	}
	h.t.Fatalf("the scan does not end: %v; %v", h.state(h.bucket), h.heard.failed)
}

// over reports whether the scan has reached its end and nobody is at it.
func (h *history) over() bool {
	h.log.one.Lock()
	defer h.log.one.Unlock()
	return h.finished(h.bucket) && h.leads.Load() && !h.suspendedNow()
}

func (h *history) isSuspended() bool {
	h.log.one.Lock()
	defer h.log.one.Unlock()
	return h.suspendedNow()
}

func (h *history) suspendedNow() bool {
	_, ok, err := h.view().LifecycleSuspension(h.row(h.bucket).ID())
	h.ok(err)
	return ok
}

// pointOf names the point at which a command is.
func pointOf(k command.Kind, body []byte, after bool) string {
	switch {
	case k == command.StartLifecycleScan && !after:
		return points[0]
	case k == command.StartLifecycleScan:
		return points[1]
	case k != command.LifecycleStep:
		return ""
	}
	var c commandpb.LifecycleStep
	if proto.Unmarshal(body, &c) == nil && c.Phase == schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE {
		if after {
			return points[5]
		}
		return points[4]
	}
	if after {
		return points[3]
	}
	return points[2]
}

// strike disturbs the scan, perhaps.
func (h *history) strike(point string) error {
	if point == "" || h.concluding || h.disturb == 0 || h.rng.IntN(3) == 0 {
		return nil
	}
	h.disturb--
	switch h.rng.IntN(4) {
	case 0:
		h.seen[point+": crash"]++
		h.stop()
		return errs.New(errs.Unavailable, "test", "the node was killed")
	case 1:
		h.seen[point+": follower"]++
		h.leads.Store(false)
		return errs.New(errs.NotLeader, "test", "another node leads")
	}
	h.seen[point+": change"]++
	for range 1 + h.rng.IntN(3) {
		h.act()
	}
	return nil
}

func (h *history) hookBefore(k command.Kind, body []byte) error {
	err := h.strike(pointOf(k, body, false))
	h.before, h.beforeUp = h.entries(h.bucket), h.uploads(h.bucket)
	return err
}

func (h *history) hookAfter(k command.Kind, body []byte, reply *commandpb.Reply) error {
	switch {
	case k == command.StartLifecycleScan && reply.Kind == 0:
		h.scan, h.touched, h.tally = h.state(h.bucket).ScanID, map[string]bool{}, map[uint32]*schemapb.LifecycleRuleCounters{}
	case k == command.LifecycleStep:
		h.check(body, reply)
	}
	return h.strike(pointOf(k, body, true))
}

// act is what a user does; what it changed is noted.
func (h *history) act() {
	before, uploads := h.entries(h.bucket), h.uploads(h.bucket)
	act := acts[h.rng.IntN(len(acts))]
	if (act == "recreate" || act == "rules") && h.rng.IntN(3) > 0 {
		act = "put"
	}
	if !h.do(act) {
		return
	}
	h.seen[act]++
	after := h.entries(h.bucket)
	for path, e := range before {
		if now, ok := after[path]; !ok || now.since != e.since || now.id != e.id {
			h.touch(path)
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			h.touch(path)
		}
	}
	now := h.uploads(h.bucket)
	for id := range now {
		if _, ok := uploads[id]; !ok {
			h.touch(fmt.Sprint("upload ", id))
		}
	}
}

func (h *history) touch(what string) {
	if h.touched != nil {
		h.touched[what] = true
	}
}

// pick returns a path that is there, or else any name.
func (h *history) pick(dir bool) string {
	var list []string
	for path, e := range h.entries(h.bucket) {
		if e.dir == dir && !strings.HasPrefix(path, ".Trash") {
			list = append(list, path)
		}
	}
	if len(list) == 0 {
		return names[h.rng.IntN(len(names))]
	}
	slices.Sort(list)
	return list[h.rng.IntN(len(list))]
}

// do does one act; false if it was refused.
func (h *history) do(act string) bool {
	name := names[h.rng.IntN(len(names))]
	var err error
	switch act {
	case "put":
		if h.rng.IntN(2) == 0 {
			name = h.pick(false)
		}
		h.change(h.rng, h.bucket, name)
	case "delete", "delete below":
		req := &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: h.bucket, Keys: []*o3v1.DeleteKey{{Key: h.pick(act == "delete below")}}, Recursive: act == "delete below"}
		_, err = h.user.DeleteKeys(root, req)
	case "rename":
		_, err = h.user.RenameKey(root, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: h.bucket, From: h.pick(false), To: name, Overwrite: true})
	case "rename directory":
		_, err = h.user.RenameKey(root, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: h.bucket, From: h.pick(true), To: dirs[h.rng.IntN(len(dirs))]})
	case "tag":
		_, err = h.user.UpdateKey(root, &o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: h.bucket, Key: h.pick(false), SetTags: true, Tags: []*o3v1.Pair{{Name: "k", Value: "v"}}})
	case "mkdir":
		_, err = h.user.CreateDirectory(root, &o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: h.bucket, Path: dirs[h.rng.IntN(len(dirs))], MayExist: true})
	case "upload":
		h.upload(h.bucket, name, h.rng.IntN(3))
	case "abort":
		all := h.uploads(h.bucket)
		if len(all) == 0 {
			return false
		}
		id := slices.Min(slices.Collect(maps.Keys(all)))
		_, err = h.user.AbortUpload(root, &o3v1.AbortUploadRequest{Volume: "s3v", Bucket: h.bucket, Key: all[id].name, UploadId: command.UploadID(ns.ObjectID(id))})
	case "rules":
		h.rules(h.bucket, anyRules(h.rng)...)
	case "suspend":
		_, err = lifecycle.New(lifecycle.Options{Namespace: h.user}).SuspendLifecycle(root, &o3v1.SuspendLifecycleRequest{Volume: "s3v", Bucket: h.bucket, Reason: "test"})
	default:
		return h.doSnapshot(act)
	}
	return err == nil
}

func (h *history) doSnapshot(act string) bool {
	switch act {
	case "snapshot":
		name := fmt.Sprintf("s%d", len(h.snapshots))
		_, err := h.user.CreateSnapshot(root, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: h.bucket, Name: name})
		h.ok(err)
		h.snapshots[name] = h.entries(h.bucket)
		return true
	case "restore":
		if len(h.snapshots) == 0 {
			return false
		}
		name := fmt.Sprintf("s%d", h.rng.IntN(len(h.snapshots)))
		_, err := h.user.RestoreSnapshot(root, &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: h.bucket, Name: name})
		return err == nil
	}
	// The bucket goes and comes again, with other things in it.
	if len(h.snapshots) > 0 {
		return false
	}
	all := slices.Sorted(maps.Keys(h.entries(h.bucket)))
	for _, path := range slices.Backward(all) { // what is in a directory before the directory
		_, err := h.user.DeleteKeys(root, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: h.bucket, Keys: []*o3v1.DeleteKey{{Key: path}}})
		h.ok(err)
	}
	for id, u := range h.uploads(h.bucket) {
		_, err := h.user.AbortUpload(root, &o3v1.AbortUploadRequest{Volume: "s3v", Bucket: h.bucket, Key: u.name, UploadId: command.UploadID(ns.ObjectID(id))})
		h.ok(err)
	}
	_, err := om.Execute[commandpb.PurgeDirectoriesReply](root, h.user, command.PurgeDirs, &commandpb.PurgeDirectories{Limit: 1000})
	h.ok(err)
	_, err = h.user.DeleteBucket(root, &o3v1.DeleteBucketRequest{Volume: "s3v", Bucket: h.bucket})
	h.ok(err)
	h.rig.bucket(h.bucket, map[string]string{"flat": "OBJECT_STORE", "tree": "FILE_SYSTEM_OPTIMIZED"}[h.bucket])
	for range h.rng.IntN(8) {
		h.change(h.rng, h.bucket, names[h.rng.IntN(len(names))])
	}
	h.rules(h.bucket, anyRules(h.rng)...)
	return true
}

// check compares what a step did with what it was to do.
func (h *history) check(body []byte, reply *commandpb.Reply) {
	after, uploads := h.entries(h.bucket), h.uploads(h.bucket)
	var c commandpb.LifecycleStep
	var r commandpb.LifecycleStepReply
	if err := proto.Unmarshal(body, &c); err != nil {
		h.wrong("%v", err)
	}
	if reply.Kind != 0 {
		if kind := errs.Kind(reply.Kind); kind != errs.Conflict && kind != errs.NoSuchConfiguration && kind != errs.NoSuchBucket {
			h.wrong("a step was refused: %v %s", kind, reply.Detail)
		}
		if !maps.EqualFunc(h.before, after, func(a, b entry) bool { return a.since == b.since }) {
			h.wrong("a step that was refused changed something")
		}
		return
	}
	if err := proto.Unmarshal(reply.Body, &r); err != nil {
		h.wrong("%v", err)
	}
	if c.Scan.ScanId != h.scan {
		h.wrong("a step of scan %d, not %d", c.Scan.ScanId, h.scan)
	}
	rules, _, err := h.view().Lifecycle(h.row(h.bucket).ID())
	h.ok(err)
	skipped := map[uint32]bool{}
	for _, s := range r.Skips {
		skipped[s.Victim] = true
	}
	done := map[string]bool{}
	for i, v := range c.Victims {
		if skipped[uint32(i)] {
			h.count(v.Rule).Skipped++
			continue
		}
		done[v.Path] = h.victim(v, rules.Rules, int64(r.State.CutoffTime), after, uploads) || done[v.Path]
	}
	h.bystanders(done, after, uploads, c.Victims)
	if r.State.Phase == schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE {
		h.conclude(r.State, rules.Rules, after, uploads)
	}
}

func (h *history) count(rule uint32) *schemapb.LifecycleRuleCounters {
	if h.tally[rule] == nil {
		h.tally[rule] = &schemapb.LifecycleRuleCounters{Rule: rule}
	}
	return h.tally[rule]
}

// victim checks one thing that was dealt with; true for keys and directories.
func (h *history) victim(v *commandpb.LifecycleVictim, rules []*o3v1.LifecycleRule, cutoff int64, after map[string]entry, uploads map[uint64]uploaded) bool {
	once := func(what string) {
		if h.handled[what] {
			h.wrong("%s was handled twice (%s)", v.Path, what)
		}
		h.handled[what] = true
	}
	c := h.count(v.Rule)
	if v.Action == commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT {
		u := h.beforeUp[v.UploadId]
		if rule, due := aborts(rules, u, cutoff); !due || rule != v.Rule {
			h.wrong("upload %d of %s was aborted by rule %d; due %v by %d", v.UploadId, u.name, v.Rule, due, rule)
		}
		if _, there := uploads[v.UploadId]; there {
			h.wrong("upload %d is still there", v.UploadId)
		}
		once(fmt.Sprint("upload ", v.UploadId))
		c.AbortedUploads++
		c.AbortedBytes += u.bytes
		return false
	}
	e, ok := h.before[v.Path]
	if !ok || e.since != v.Since {
		h.wrong("%s was handled, but was not what was seen", v.Path)
	}
	if rule, due := expires(rules, v.Path, e, cutoff); !due || rule != v.Rule {
		h.wrong("%s was handled by rule %d; due %v by %d", v.Path, v.Rule, due, rule)
	}
	if _, there := after[v.Path]; there {
		h.wrong("%s is still there", v.Path)
	}
	once(fmt.Sprintf("object %d of %d", e.id, e.since))
	move := v.Action == commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH
	if move != h.trash {
		h.wrong("%s: %v", v.Path, v.Action)
	}
	switch {
	case move && e.dir:
		c.MovedDirs++
	case move:
		c.MovedKeys++
		c.MovedBytes += e.size
	case e.dir:
		c.DeletedDirs++
	default:
		c.DeletedKeys++
		c.DeletedBytes += e.size
	}
	return true
}

// bystanders checks that nothing but the victims went, save directories that were
// there only for what was in them; and that nothing came but what is in the trash.
func (h *history) bystanders(done map[string]bool, after map[string]entry, uploads map[uint64]uploaded, victims []*commandpb.LifecycleVictim) {
	for path, e := range h.before {
		now, there := after[path]
		switch {
		case there && now.since == e.since, done[path], strings.HasPrefix(path, ".Trash"):
		case !there && e.implicit && !holdsAny(after, path):
		default:
			h.wrong("%s changed, and was no victim", path)
		}
	}
	for path := range after {
		if _, ok := h.before[path]; !ok && !(h.trash && strings.HasPrefix(path, ".Trash/")) {
			h.wrong("%s came of a step", path)
		}
	}
	for id := range h.beforeUp {
		if _, there := uploads[id]; !there && !slices.ContainsFunc(victims, func(v *commandpb.LifecycleVictim) bool { return v.UploadId == id }) {
			h.wrong("upload %d went, and was no victim", id)
		}
	}
}

func holdsAny(all map[string]entry, dir string) bool {
	for path := range all {
		if path != dir && strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// conclude checks a scan that has reached its end: its counters are what was
// counted here, and what is due and left was changed meanwhile.
func (h *history) conclude(row *schemapb.LifecycleScanState, rules []*o3v1.LifecycleRule, after map[string]entry, uploads map[uint64]uploaded) {
	have := map[uint32]*schemapb.LifecycleRuleCounters{}
	for _, c := range row.Rules {
		have[c.Rule] = proto.CloneOf(c)
		have[c.Rule].Id = ""
	}
	if !maps.EqualFunc(have, h.tally, func(a, b *schemapb.LifecycleRuleCounters) bool { return proto.Equal(a, b) }) {
		h.wrong("the scan counted %v, it was %v", have, h.tally)
	}
	for path, e := range after {
		if _, due := expires(rules, path, e, int64(row.CutoffTime)); due && !h.touched[path] && !(e.dir && h.stirred(path, after)) {
			h.wrong("%s was passed over", path)
		}
	}
	for id, u := range uploads {
		if _, due := aborts(rules, u, int64(row.CutoffTime)); due && !h.touched[fmt.Sprint("upload ", id)] {
			h.wrong("upload %d of %s was passed over", id, u.name)
		}
	}
}

// stirred reports whether a directory holds something, or did before a user
// changed that.
func (h *history) stirred(dir string, after map[string]entry) bool {
	if holdsAny(after, dir) {
		return true
	}
	for path := range h.touched {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// leftover checks a bucket after a scan that nobody disturbed.
func (h *history) leftover(before map[string]entry) {
	row := h.state(h.bucket)
	rules, _, err := h.view().Lifecycle(h.row(h.bucket).ID())
	h.ok(err)
	want := remaining(rules.Rules, before, int64(row.CutoffTime))
	after := h.entries(h.bucket)
	for path, e := range after {
		if !want[path] && !e.implicit && !strings.HasPrefix(path, ".Trash/") {
			h.wrong("%s is left", path)
		}
	}
	for path := range want {
		if _, ok := after[path]; !ok {
			h.wrong("%s is gone", path)
		}
	}
	for id, u := range h.uploads(h.bucket) {
		if _, due := aborts(rules.Rules, u, int64(row.CutoffTime)); due {
			h.wrong("upload %d is left", id)
		}
	}
	b := h.row(h.bucket)
	for name, want := range h.snapshots {
		snap, err := h.view().Snapshot(b, name)
		h.ok(err)
		page, err := h.view().At(snap.Op).List(b, view.ListOptions{Limit: 1000})
		h.ok(err)
		if keys := countKeys(want); len(page.Entries) < keys {
			h.wrong("snapshot %s shows %d keys, had %d", name, len(page.Entries), keys)
		}
	}
}

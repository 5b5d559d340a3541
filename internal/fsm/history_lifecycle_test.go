package fsm_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

const (
	phaseKeys    = schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS
	phaseUploads = schemapb.LifecyclePhase_LIFECYCLE_PHASE_UPLOADS
	phaseDone    = schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE
)

// lifecycle changes the rules of a bucket, or suspends scans.
func (h *history) lifecycle() errs.Kind {
	name, b := h.anyBucket()
	l := &b.life
	switch n := h.rng.IntN(10); {
	case n == 0:
		l.rules, l.update, l.scan = nil, 0, nil
		return h.send(&o3v1.DeleteLifecycleRequest{Volume: "s3v", Bucket: name}, errs.OK).Kind
	case n < 3:
		return h.suspend(name, b)
	}
	r := &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: name, Configuration: &o3v1.LifecycleConfiguration{}}
	var rules []string
	want := errs.OK
	for i := range h.rng.IntN(4) {
		rules = append(rules, fmt.Sprintf("rule %d", i))
		r.Configuration.Rules = append(r.Configuration.Rules, &o3v1.LifecycleRule{Id: rules[i], Enabled: true, ExpireDays: proto.Int32(1)})
	}
	if len(rules) == 0 {
		want = errs.Invalid
	} else if h.rng.IntN(8) == 0 {
		r.Configuration.Rules, want = append(r.Configuration.Rules, r.Configuration.Rules[0]), errs.Invalid
	}
	a := h.send(r, want)
	if a.Kind == errs.OK {
		if !slices.Equal(rules, l.rules) {
			h.saw(scanOverruled, l.underway())
			l.rules, l.update = rules, uint64(a.Op)
		}
		if got := a.Body.(*o3v1.SetLifecycleResponse).UpdateId; got != l.update {
			h.errorf("the rules are of op %d, want %d", got, l.update)
		}
	}
	return a.Kind
}

// rule gives a bucket that has no rules one.
func (h *history) rule(name string, b *mbucket) {
	c := &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{{Id: "first", Enabled: true, ExpireDays: proto.Int32(1)}}}
	a := h.d.Must(h.t, &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: name, Configuration: c})
	b.life = mlife{rules: []string{"first"}, update: uint64(a.Op)}
}

// suspend suspends the scans of a bucket or of all, or resumes them.
func (h *history) suspend(name string, b *mbucket) errs.Kind {
	r := &commandpb.SuspendLifecycle{Volume: "s3v", Bucket: name, Suspended: h.rng.IntN(3) == 0, Reason: h.pick([]string{"", "why"})}
	is := &b.life.suspended
	if h.rng.IntN(2) == 0 {
		r.Volume, r.Bucket, is = "", "", &h.suspended
	}
	changed := *is != r.Suspended
	*is = r.Suspended
	a := h.send(r, errs.OK)
	if got, _ := a.Body.(*commandpb.SuspendLifecycleReply); got.GetChanged() != changed {
		h.errorf("it changed something: %v, want %v", got.GetChanged(), changed)
	}
	return a.Kind
}

// scanning returns how a command names the scan of a bucket, and what comes of
// it; often something of it is not as it is.
func (h *history) scanning(name string, b *mbucket) (*commandpb.LifecycleScan, errs.Kind) {
	l := &b.life
	row, err := view.New(h.d.Store).Bucket("s3v", name)
	if err != nil {
		h.t.Fatal(err)
	}
	r := &commandpb.LifecycleScan{Volume: "s3v", Bucket: name, BucketId: uint64(row.ID()), ConfigurationId: l.update}
	if l.scan != nil {
		r.ScanId, r.Sequence = l.scan.id, l.scan.seq
	}
	wrong := h.rng.IntN(32)
	switch wrong {
	case 0:
		r.BucketId += 1 << 10
	case 1:
		r.ConfigurationId--
	case 2:
		r.ScanId++
	case 3:
		r.Sequence--
	case 4:
		r.Sequence++
	}
	switch {
	case wrong == 0, h.suspended, l.suspended:
		h.saw(stepSuspended, wrong != 0 && l.underway())
		return r, errs.Conflict
	case l.rules == nil:
		return r, errs.NoSuchConfiguration
	case wrong < 5:
		h.saw(stepStale, l.underway())
		return r, errs.Conflict
	}
	return r, errs.OK
}

// scan begins a scan, or goes on with one.
func (h *history) scan() errs.Kind {
	name, b := h.anyBucket()
	for range 4 {
		if b.life.underway() {
			break
		}
		name, b = h.anyBucket()
	}
	if b.life.underway() && h.rng.IntN(10) > 0 {
		return h.steps(name, b)
	}
	l := &b.life
	if l.scan != nil && !l.underway() && l.rules != nil && h.rng.IntN(5) == 0 {
		return h.step(name, b)
	}
	who, want := h.scanning(name, b)
	if want == errs.OK && l.underway() {
		want = errs.Conflict
	}
	r := &commandpb.StartLifecycleScan{Scan: who, EstimatedRows: 7}
	if now := max(h.d.Now, h.d.Machine.Position().TimeMs); h.rng.IntN(3) == 0 {
		if r.CutoffMs = now + h.rng.Int64N(3) - 1; want == errs.OK && r.CutoffMs > now {
			want = errs.Invalid
		}
	}
	a := h.send(r, want)
	if a.Kind != errs.OK {
		return a.Kind
	}
	s := &mscan{
		id: a.Body.(*commandpb.StartLifecycleScanReply).State.ScanID, update: l.update, phase: phaseKeys,
		counters: map[uint32]*schemapb.LifecycleRuleCounters{}, seen: map[string]mseen{}, started: h.d.Machine.Position().TimeMs,
	}
	if h.used[s.id] {
		h.errorf("the scan has id %d, which another object had", s.id)
	}
	h.used[s.id] = true
	if old := l.scan; old != nil {
		s.previous, s.previousDone = old.previous, old.previousDone
		if old.phase == phaseDone {
			s.previous, s.previousDone = old.id, old.done()
		}
	}
	l.scan = s
	for _, path := range b.names(true) {
		if h.rng.IntN(4) > 0 {
			h.see(name, s, path)
		}
	}
	if h.rng.IntN(3) > 0 {
		return h.steps(name, b)
	}
	return a.Kind
}

// steps goes on with a scan once or twice.
func (h *history) steps(name string, b *mbucket) errs.Kind {
	if h.rng.IntN(3) > 0 {
		h.disturb(name, b)
	}
	kind := h.step(name, b)
	if kind == errs.OK && b.life.underway() && h.rng.IntN(3) == 0 {
		h.settle()
		kind = h.step(name, b)
	}
	return kind
}

// disturb changes what a scan has seen, or puts a key where one of the trash was.
func (h *history) disturb(name string, b *mbucket) {
	var paths []string
	for _, p := range slices.Sorted(maps.Keys(b.life.scan.seen)) {
		if b.keys[p] != nil {
			paths = append(paths, p)
		}
	}
	if h.rng.IntN(2) == 0 && len(paths) > 0 {
		path := h.pick(paths)
		h.send(&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: name, Key: path, SetTags: true, Tags: []*o3v1.Pair{{Name: "t", Value: "late"}}}, errs.OK)
		b.keys[path].tags = "late"
		h.settle()
		return
	}
	current := command.TrashPrefix + "root/Current/"
	if paths = below(b, current); len(paths) == 0 {
		return
	}
	path := h.pick(paths)[len(current):]
	if i := strings.LastIndexByte(path, '/'); b.tree && i > 0 && h.rng.IntN(2) == 0 {
		path = path[:i] // where the trash has a directory
	}
	a := h.send(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: name, Key: path}, h.admit(name, path, nil, 0))
	if a.Kind == errs.OK {
		h.published(b, path, a.Body.(*o3v1.CommitKeyResponse).Key, nil, "")
	}
}

// see notes what a scan sees at a path.
func (h *history) see(name string, s *mscan, path string) mseen {
	v := view.New(h.d.Store)
	row, err := v.Bucket("s3v", name)
	if err != nil {
		h.t.Fatal(err)
	}
	e, err := v.Key(row, path)
	if errs.KindOf(err) == errs.NoSuchKey {
		return mseen{7, 7}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	s.seen[path] = mseen{uint64(e.Parent), e.Row.Since}
	return s.seen[path]
}

// step goes on with a scan: over some of what lies before it, of which some are
// victims, as they are now or as they were seen before.
func (h *history) step(name string, b *mbucket) errs.Kind {
	s := b.life.scan
	who, want := h.scanning(name, b)
	r := &commandpb.LifecycleStep{Scan: who, Phase: s.phase, ScannedRows: h.rng.Uint64N(5)}
	var uploads []string
	if s.phase == phaseKeys {
		path := h.stretch(name, b, r)
		if r.LastScannedKey = path; path == "" || h.rng.IntN(3) == 0 {
			r.Phase = phaseUploads + schemapb.LifecyclePhase(h.rng.IntN(2))
		}
	}
	if r.Phase != phaseKeys {
		uploads = h.uploadStretch(b, r)
	}
	if h.rng.IntN(10) == 0 && s.phase != phaseKeys && len(uploads) == len(b.uploadsAhead()) {
		r.Phase = phaseDone
	}
	if want == errs.OK && !b.life.underway() {
		h.saw(stepOver, true)
		want = errs.Conflict
	} else if want == errs.OK && h.spoil(b, r) {
		want = errs.Invalid
	}
	same := h.foresee(name, r)
	a := h.send(r, want)
	if a.Kind != errs.OK {
		return a.Kind
	}
	h.stepped(b, r, same, a)
	return a.Kind
}

// stretch chooses victims among what lies before the scan, and returns the last
// path of the stretch, "" for none.
func (h *history) stretch(name string, b *mbucket, r *commandpb.LifecycleStep) string {
	ahead := b.ahead()
	if len(ahead) > 0 {
		ahead = ahead[:1+h.rng.IntN(len(ahead))]
	}
	all, action := h.rng.IntN(3) == 0, h.rng.IntN(4)
	for _, path := range ahead {
		if !all && h.rng.IntN(3) == 0 {
			continue
		}
		seen, ok := b.life.scan.seen[path]
		if !ok || all || h.rng.IntN(8) == 0 {
			seen = h.see(name, b.life.scan, path)
		}
		r.Victims = append(r.Victims, &commandpb.LifecycleVictim{
			Action: commandpb.LifecycleAction(1 + []int{0, 1, 1, h.rng.IntN(2)}[action]), Rule: uint32(h.rng.IntN(len(b.life.rules))),
			Path: path, ParentId: seen.parent, Since: seen.since,
		})
	}
	if len(ahead) == 0 {
		return ""
	}
	return ahead[len(ahead)-1]
}

// uploadStretch adds uploads to a step, and returns those that it covers.
func (h *history) uploadStretch(b *mbucket, r *commandpb.LifecycleStep) []string {
	ahead := b.uploadsAhead()
	ahead = ahead[:h.rng.IntN(len(ahead)+1)]
	for _, id := range ahead {
		u, _ := command.ParseUploadID(id)
		r.LastScannedMpuKey = command.UploadPosition(b.uploads[id].key, u)
		if h.rng.IntN(2) == 0 {
			r.Victims = append(r.Victims, &commandpb.LifecycleVictim{
				Action: commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT, Rule: uint32(h.rng.IntN(len(b.life.rules))),
				Path: b.uploads[id].key, UploadId: uint64(u),
			})
		}
	}
	return ahead
}

// spoil makes a step one that no scan sends, and reports whether it did.
func (h *history) spoil(b *mbucket, r *commandpb.LifecycleStep) bool {
	s := b.life.scan
	n := len(r.Victims)
	switch h.rng.IntN(24) {
	case 0:
		r.Phase = s.phase - 1
		return true
	case 1:
		if n == 0 {
			return false
		}
		r.Victims = append(r.Victims, r.Victims[h.rng.IntN(n)])
		return true
	case 2:
		if n < 2 || r.Victims[0].UploadId != r.Victims[n-1].UploadId {
			return false
		}
		slices.Reverse(r.Victims)
		return true
	case 3:
		if s.lastKey == "" || s.phase != phaseKeys {
			return false
		}
		r.Victims = append([]*commandpb.LifecycleVictim{{Action: 1, Path: s.lastKey}}, r.Victims...)
		return true
	case 4:
		if n == 0 || r.Victims[0].UploadId != 0 {
			return false
		}
		r.LastScannedKey = ""
		return true
	case 5:
		r.Victims = append(r.Victims, &commandpb.LifecycleVictim{Action: 1, Path: "zzz", Rule: 99})
		return true
	case 6:
		if s.lastKey == "" || s.phase != phaseKeys {
			return false
		}
		r.LastScannedKey, r.Victims = "!", nil
		return true
	case 7:
		if s.lastMpu == "" || r.Phase == phaseKeys {
			return false
		}
		r.LastScannedMpuKey, r.Victims = command.UploadPosition("!", 1), nil
		return true
	}
	return false
}

// foresee returns which of a step's victims are still as they were seen.
func (h *history) foresee(name string, r *commandpb.LifecycleStep) map[string]bool {
	same := map[string]bool{}
	for _, v := range r.Victims {
		if v.UploadId != 0 {
			continue
		}
		var s mscan
		s.seen = map[string]mseen{}
		same[v.Path] = h.see(name, &s, v.Path) == mseen{v.ParentId, v.Since} && len(s.seen) > 0
	}
	return same
}

// stepped does to the model what a step did, and compares its answer.
func (h *history) stepped(b *mbucket, r *commandpb.LifecycleStep, same map[string]bool, a fsmtest.Answer) {
	s := b.life.scan
	reply := a.Body.(*commandpb.LifecycleStepReply)
	suffix := fmt.Sprintf(".%s-%d", command.TrashCheckpoint(h.d.Machine.Position().TimeMs), a.Op)
	var skips []uint32
	done := &schemapb.LifecycleRuleCounters{}
	for i, v := range r.Victims {
		before := proto.Clone(s.count(v.Rule)).(*schemapb.LifecycleRuleCounters)
		if !h.dealt(b, v, same[v.Path], suffix, s.count(v.Rule)) {
			skips = append(skips, uint32(i))
			s.count(v.Rule).Skipped++
		}
		addDifference(done, before, s.count(v.Rule))
	}
	var got []uint32
	for _, k := range reply.Skips {
		got = append(got, k.Victim)
	}
	if !slices.Equal(got, skips) || !proto.Equal(reply.Done, done) {
		h.errorf("it skipped %v and did {%v}, want %v and {%v}", reply.Skips, reply.Done, skips, done)
	}
	s.seq++
	s.rows += r.ScannedRows
	s.phase = r.Phase
	if r.LastScannedKey != "" {
		s.lastKey = r.LastScannedKey
	}
	if r.LastScannedMpuKey != "" {
		s.lastMpu = r.LastScannedMpuKey
	}
	if s.phase == phaseDone {
		s.finished = h.d.Machine.Position().TimeMs
	}
}

// dealt has a victim's rule carried out in the model, if it is as it was seen.
func (h *history) dealt(b *mbucket, v *commandpb.LifecycleVictim, same bool, suffix string, c *schemapb.LifecycleRuleCounters) bool {
	if v.UploadId != 0 {
		id := command.UploadID(ns.ObjectID(v.UploadId))
		u := b.uploads[id]
		if u == nil {
			return false
		}
		for _, p := range u.parts {
			c.AbortedBytes += uint64(p.data.size())
		}
		c.AbortedUploads++
		delete(b.uploads, id)
		return true
	}
	dir := b.tree && strings.HasSuffix(v.Path, "/")
	there := dir && b.isDir(v.Path) || !dir && b.keys[v.Path] != nil
	h.saw(victimGone, !there)
	h.saw(victimChanged, there && !same)
	if !there || !same {
		return false
	}
	if dir && len(b.under(v.Path)) > 0 {
		h.saw(victimFull, true)
		return false
	}
	for _, s := range b.snaps {
		h.saw(victimSeen, s.then.keys[v.Path] != nil || dir && s.then.isDir(v.Path))
	}
	h.saw(victimDir, dir)
	done, taken := b.expire(v, "root", suffix, c)
	h.saw(trashTaken, taken)
	return done
}

// addDifference adds what after counts more than before.
func addDifference(sum, before, after *schemapb.LifecycleRuleCounters) {
	s, x, y := sum.ProtoReflect(), before.ProtoReflect(), after.ProtoReflect()
	for i := range s.Descriptor().Fields().Len() {
		f := s.Descriptor().Fields().Get(i)
		if n, ok := y.Get(f).Interface().(uint64); ok {
			s.Set(f, protoreflect.ValueOfUint64(s.Get(f).Uint()+n-x.Get(f).Uint()))
		}
	}
}

// trash sets aside what is in a trash, or empties it.
func (h *history) trash() errs.Kind {
	name, b := h.anyBucket()
	row, err := view.New(h.d.Store).Bucket("s3v", name)
	if err != nil {
		h.t.Fatal(err)
	}
	aside := h.pick([]string{"231114221320", "231114221321"})
	if h.rng.IntN(2) == 0 {
		return h.checkpoint(name, b, row, aside)
	}
	r := &commandpb.EmptyTrash{Volume: "s3v", Bucket: name, BucketId: uint64(row.ID()), Owner: "root", Checkpoint: aside, Limit: uint32(1 + h.rng.IntN(4))}
	want := h.mayTouchTrash(b)
	prefix := command.TrashPrefix + "root/" + aside + "/"
	a := h.send(r, want)
	if a.Kind != errs.OK {
		return a.Kind
	}
	if b.tree {
		b.delete(&o3v1.DeleteKey{Key: prefix}, true, false)
		return a.Kind
	}
	reply, _ := a.Body.(*commandpb.EmptyTrashReply)
	paths := below(b, prefix)
	n := min(len(paths), int(r.Limit))
	for _, p := range paths[:n] {
		delete(b.keys, p)
	}
	if reply.GetKeys() != uint64(n) || reply.GetMore() != (n < len(paths)) {
		h.errorf("it deleted %v, want %d of %d keys", reply, n, len(paths))
	}
	return a.Kind
}

func (h *history) mayTouchTrash(b *mbucket) errs.Kind {
	switch {
	case b.life.rules == nil:
		return errs.NoSuchConfiguration
	case h.suspended || b.life.suspended:
		return errs.Conflict
	}
	return errs.OK
}

func (h *history) checkpoint(name string, b *mbucket, row view.Bucket, aside string) errs.Kind {
	r := &commandpb.CheckpointTrash{Volume: "s3v", Bucket: name, BucketId: uint64(row.ID()), Owner: "root", Checkpoint: aside, Limit: uint32(1 + h.rng.IntN(4))}
	root := command.TrashPrefix + "root/"
	current, to := root+"Current/", root+aside+"/"
	want := h.mayTouchTrash(b)
	if want == errs.OK && b.tree && b.isDir(current) {
		want = b.place(to)
		if b.isDir(to) {
			want = errs.KeyExists
		}
	}
	a := h.send(r, want)
	if a.Kind != errs.OK {
		return a.Kind
	}
	if b.tree {
		if b.isDir(current) {
			h.saw(trashAside, true)
			b.move(current, to)
		}
		return a.Kind
	}
	reply, _ := a.Body.(*commandpb.CheckpointTrashReply)
	paths := below(b, current)
	n := min(len(paths), int(r.Limit))
	for _, p := range paths[:n] {
		h.saw(trashAside, true)
		target := to + p[len(current):]
		if b.keys[target] != nil { // moved there before
			trimmed := strings.TrimSuffix(target, "/")
			target = trimmed + fmt.Sprintf(".%s-%d", command.TrashCheckpoint(h.d.Machine.Position().TimeMs), a.Op) + target[len(trimmed):]
		}
		b.move(p, target)
	}
	if reply.GetKeys() != uint64(n) || reply.GetMore() != (n < len(paths)) {
		h.errorf("it moved %v, want %d of %d keys", reply, n, len(paths))
	}
	return a.Kind
}

// below returns the keys that start with prefix, in order.
func below(b *mbucket, prefix string) (out []string) {
	for _, p := range slices.Sorted(maps.Keys(b.keys)) {
		if strings.HasPrefix(p, prefix) {
			out = append(out, p)
		}
	}
	return out
}

// checkLifecycle compares the rules, the scan and the suspension of a bucket.
func (h *history) checkLifecycle(v view.View, row view.Bucket, b *mbucket) {
	l := &b.life
	rules, ok, err := v.Lifecycle(row.ID())
	if err != nil || ok != (l.rules != nil) || rules.GetUpdateId() != l.update || len(rules.GetRules()) != len(l.rules) {
		h.errorf("the rules are %v, %v, want %q of op %d", rules, err, l.rules, l.update)
	}
	if _, is, err := v.LifecycleSuspension(row.ID()); err != nil || is != l.suspended {
		h.errorf("its scans are suspended: %v, %v, want %v", is, err, l.suspended)
	}
	if _, is, err := v.LifecycleSuspension(schema.EveryBucket); err != nil || is != h.suspended {
		h.errorf("all scans are suspended: %v, %v, want %v", is, err, h.suspended)
	}
	state, ok, err := v.LifecycleScan(row.ID())
	if err != nil || ok != (l.scan != nil) {
		h.errorf("a scan is there: %v, %v, want %v", ok, err, l.scan != nil)
		return
	}
	s := l.scan
	if s == nil {
		return
	}
	counters := map[uint32]bool{}
	last := -1
	for _, c := range state.Rules {
		counters[c.Rule] = true
		got := proto.Clone(c).(*schemapb.LifecycleRuleCounters)
		got.Rule, got.Id = 0, ""
		if int(c.Rule) <= last || !proto.Equal(got, s.count(c.Rule)) {
			h.errorf("rule %d did {%v}, want {%v}", c.Rule, c, s.count(c.Rule))
		}
		last = int(c.Rule)
	}
	for rule, c := range s.counters {
		if !counters[rule] && proto.Size(c) > 0 {
			h.errorf("rule %d did nothing, want {%v}", rule, c)
		}
	}
	type summary struct {
		id, seq, update, rows, previous uint64
		phase                           schemapb.LifecyclePhase
		key, mpu                        string
		start, end                      int64
	}
	got := summary{
		state.ScanID, state.Sequence, state.LifecycleConfigurationUpdateID, state.ScannedRows, state.Previous.GetScanID(), state.Phase,
		state.LastScannedKey, state.LastScannedMpuKey, int64(state.ScanStartTime), int64(state.ScanEndTime),
	}
	if want := (summary{s.id, s.seq, s.update, s.rows, s.previous, s.phase, s.lastKey, s.lastMpu, s.started, s.finished}); got != want {
		h.errorf("the scan is %+v, want %+v", got, want)
	}
	if p := state.Previous.GetTotal(); s.previousDone != p.GetDeletedKeys()+p.GetDeletedDirs()+p.GetMovedKeys()+p.GetMovedDirs()+p.GetAbortedUploads()+p.GetSkipped() {
		h.errorf("the scan before did %v, want %d in all", p, s.previousDone)
	}
}

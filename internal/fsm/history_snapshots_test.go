package fsm_test

import (
	"maps"
	"slices"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/view"
)

// maxSnapshots keeps histories small.
const maxSnapshots = 8

// settle notes in every bucket what the latest op began and ended.
func (h *history) settle() {
	for _, b := range h.buckets {
		b.settle(ns.Op(h.d.Machine.Position().Op))
	}
}

// reclaiming counts the deleted snapshots of a bucket.
func (h *history) reclaiming(b *mbucket) (n int) {
	for _, r := range h.reclaim {
		n += b2i(r.bucket == b)
	}
	return n
}

func (h *history) snapshotName() string {
	return h.pick([]string{"s1", "s2", "s3", "s4", "s5", "s6", "s7"})
}

func (h *history) createSnapshot() errs.Kind {
	name, b := h.anyBucket()
	r := &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: name, Name: h.snapshotName()}
	if h.rng.IntN(3) == 0 {
		r.Name = ""
	}
	total := uint64(len(h.reclaim))
	for _, o := range h.buckets {
		total += uint64(len(o.snaps))
	}
	want := errs.OK
	if len(b.snaps) >= maxSnapshots || h.rng.IntN(10) == 0 && total > 0 {
		r.MaxTotal, want = total, errs.TooMany
	} else if h.rng.IntN(10) == 0 {
		r.MaxTotal = total + 1
	}
	if b.snap(r.Name) != nil {
		want = errs.SnapshotExists
	}
	h.saw(createPending, want == errs.OK && len(h.pending(name)) > 0)
	a := h.send(r, want)
	if a.Kind == errs.OK {
		s := a.Body.(*o3v1.CreateSnapshotResponse).Snapshot
		if ns.Op(s.Op) != h.d.Machine.Position().Op || r.Name != "" && s.Name != r.Name || b.snap(s.Name) != nil || ns.CheckSnapshotName(s.Name) != nil {
			h.errorf("the snapshot is %v", s)
		}
		v := view.New(h.d.Store)
		row, err := v.Bucket("s3v", name)
		if err != nil {
			h.t.Fatal(err)
		}
		h.checkEntries(v, row, b, false) // learns the ids of directories
		b.snapshot(s.Name, ns.Op(s.Op))
	}
	return a.Kind
}

func (h *history) renameSnapshot() errs.Kind {
	name, b := h.anyBucket()
	from, to := h.pick(b.snapNames()), h.snapshotName()
	if h.rng.IntN(5) == 0 {
		from = h.snapshotName()
	}
	want, s := errs.OK, b.snap(from)
	switch {
	case s == nil:
		want = errs.NoSuchSnapshot
	case from != to && b.snap(to) != nil:
		want = errs.SnapshotExists
	}
	a := h.send(&o3v1.RenameSnapshotRequest{Volume: "s3v", Bucket: name, From: from, To: to}, want)
	if a.Kind == errs.OK {
		s.name = to
	}
	return a.Kind
}

func (h *history) deleteSnapshot() errs.Kind {
	name, b := h.anyBucket()
	return h.dropSnapshot(name, b, h.pick(b.snapNames()))
}

// dropSnapshot deletes a snapshot by its name.
func (h *history) dropSnapshot(name string, b *mbucket, snapshot string) errs.Kind {
	want, s := errs.OK, b.snap(snapshot)
	if s == nil {
		want = errs.NoSuchSnapshot
	} else {
		h.sawDelete(b, s)
	}
	row, err := view.New(h.d.Store).Bucket("s3v", name)
	if err != nil {
		h.t.Fatal(err)
	}
	a := h.send(&o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: name, Name: snapshot}, want)
	if a.Kind != errs.OK {
		return a.Kind
	}
	info := a.Body.(*o3v1.DeleteSnapshotResponse).Snapshot
	if _, alone := b.held(s); row.Row.PendingDirectories == 0 && alone != [2]uint64{info.ExclusiveBytes, info.ExclusiveNames} {
		h.errorf("it frees %v, want %v", info, alone)
	}
	b.snaps = slices.DeleteFunc(b.snaps, func(o *msnap) bool { return o == s })
	h.reclaim = append(h.reclaim, &mreclaim{b, row.ID(), s})
	return a.Kind
}

// reclaimSnapshot goes on with a deleted snapshot.
func (h *history) reclaimSnapshot() errs.Kind {
	r := &commandpb.ReclaimSnapshot{BucketId: 7, SnapshotOp: 7, Limit: uint32(1 + h.rng.IntN(5)*h.rng.IntN(5))}
	var m *mreclaim
	if len(h.reclaim) > 0 {
		m = h.reclaim[h.rng.IntN(len(h.reclaim))]
		r.BucketId, r.SnapshotOp = uint64(m.id), uint64(m.snap.op)
		for name, b := range h.buckets {
			h.saw(reclaimPending, b == m.bucket && len(h.pending(name)) > 0)
		}
		h.saw(reclaimOther, h.reclaiming(m.bucket) > 1)
		h.saw(reclaimCreated, len(m.bucket.snaps) > 0 && m.bucket.snaps[len(m.bucket.snaps)-1].op > m.snap.op)
	}
	a := h.send(r, errs.OK)
	reply, _ := a.Body.(*commandpb.ReclaimSnapshotReply)
	if reply.GetRows() > r.Limit || m == nil && !reply.GetDone() {
		h.errorf("it did {%v}", reply)
	}
	if reply.GetDone() {
		h.reclaim = slices.DeleteFunc(h.reclaim, func(o *mreclaim) bool { return o == m })
	}
	return a.Kind
}

// anySnapshot returns a snapshot of a bucket that has one, if any has.
func (h *history) anySnapshot() (name string, b *mbucket, s *msnap) {
	for range 6 {
		if name, b = h.anyBucket(); len(b.snaps) > 0 {
			return name, b, b.snaps[h.rng.IntN(len(b.snaps))]
		}
	}
	return name, b, nil
}

// copyOut copies a key out of a snapshot, whose bucket may be another.
func (h *history) copyOut() errs.Kind {
	fromName, from, s := h.anySnapshot()
	name, b := h.anyBucket()
	if s == nil {
		return h.copyTo(name, b, fromName, ns.SnapshotPrefix+"/none/a", nil, errs.NoSuchSnapshot)
	}
	source := h.keyPath(s.then)
	k := s.then.keys[source]
	h.saw(copyGone, k != nil && from.find(k.id) == "")
	return h.copyTo(name, b, fromName, ns.SnapshotPrefix+"/"+s.name+"/"+source, k, errs.NoSuchKey)
}

// restore puts back some of what a snapshot has, or all.
func (h *history) restore() errs.Kind {
	name, b, s := h.anySnapshot()
	var over string
	if all := h.replaced(); len(all) > 0 && h.rng.IntN(2) == 0 { // rare among all paths
		r := all[h.rng.IntN(len(all))]
		name, b, s, over = r.name, r.bucket, r.snap, r.path
	}
	if s == nil {
		return h.send(&commandpb.RestoreKeys{Volume: "s3v", Bucket: name, SnapshotOp: 3, Paths: []string{"a"}}, errs.NoSuchSnapshot).Kind
	}
	r := &commandpb.RestoreKeys{Volume: "s3v", Bucket: name, SnapshotOp: uint64(s.op)}
	if h.rng.IntN(4) == 0 {
		r.Paths = s.then.names(h.rng.IntN(2) == 0)
	}
	for range h.rng.IntN(4) {
		r.Paths = append(r.Paths, h.path(s.then))
	}
	if over != "" {
		r.Paths = append(r.Paths, over)
	}
	h.saw(restorePending, len(h.pending(name)) > 0)
	h.saw(restoreReclaim, h.reclaiming(b) > 0)
	used := h.counted(name)
	a := h.send(r, errs.OK)
	reply, _ := a.Body.(*commandpb.RestoreKeysReply)
	if len(reply.GetResults()) != len(r.Paths) {
		h.errorf("%d results of %d paths", len(reply.GetResults()), len(r.Paths))
		return a.Kind
	}
	kind := a.Kind
	for i, path := range r.Paths {
		kind = first(kind, errs.Kind(reply.Results[i].Kind))
		more := h.restored(b, s, path, used, reply.Results[i])
		used.names, used.bytes = used.names+more.names, used.bytes+more.bytes
	}
	h.learnIDs(name, b)
	return kind
}

// replacement is a key that a snapshot saw where another object is now.
type replacement struct {
	name   string
	bucket *mbucket
	snap   *msnap
	path   string
}

func (h *history) replaced() (out []replacement) {
	for _, name := range slices.Sorted(maps.Keys(h.buckets)) {
		b := h.buckets[name]
		for _, s := range b.snaps {
			for _, path := range slices.Sorted(maps.Keys(s.then.keys)) {
				if now := b.keys[path]; now != nil && now.id != s.then.keys[path].id {
					out = append(out, replacement{name, b, s, path})
				}
			}
		}
	}
	return out
}

// restored checks what became of one path that was to be restored, and does the
// same to the model; it returns how much more is used.
func (h *history) restored(b *mbucket, s *msnap, path string, used cost, got *commandpb.RestoredKey) cost {
	k, now := s.then.keys[path], b.keys[path]
	dir := b.tree && strings.HasSuffix(path, "/")
	more, want := cost{}, errs.OK
	change, leave := false, false // what it must do; neither when contents are equal by chance
	switch {
	case dir && !s.then.isDir(path), !dir && k == nil:
		want = errs.NoSuchKey
	case dir:
		change = s.then.marks[path] && !b.marks[path]
		leave = !change
		if change && !b.isDir(path) {
			more.names = b.newDirs(path) + 1
			want = b.place(path)
		}
	default:
		change = now == nil || now.etag != k.etag || now.tags != k.tags || !slices.Equal(now.data, k.data)
		leave = !change && now.id == k.id && now.born == k.born
		if !change && !got.Restored {
			break
		}
		more = b.costOf(path, k.data.size())
		want = b.place(path)
	}
	want = first(want, b.room(used, more))
	if kind := errs.Kind(got.Kind); kind != want {
		h.errorf("%q is restored with %v %s, want %v", path, kind, got.Detail, want)
	}
	if want != errs.OK {
		return cost{}
	}
	if got.Restored && leave || !got.Restored && change {
		h.errorf("%q was restored: %v", path, got)
	}
	if !got.Restored {
		return cost{}
	}
	if dir {
		b.marks[path] = true
		return more
	}
	h.sawRestore(b, s, path)
	c := &mkey{etag: k.etag, tags: k.tags, data: k.data, born: ns.Op(h.d.Machine.Position().Op)}
	if now != nil {
		c.id = now.id
	}
	b.keys[path] = c
	if got.Bytes != uint64(k.data.size()) {
		h.errorf("%q was restored with %d bytes", path, got.Bytes)
	}
	return more
}

func (h *history) sawRestore(b *mbucket, s *msnap, path string) {
	k, now, at := s.then.keys[path], b.keys[path], b.find(s.then.keys[path].id)
	h.saw(restoreOver, now != nil && now.id != k.id)
	h.saw(restoreSame, now != nil && now.id == k.id)
	h.saw(restoreGone, at == "")
	h.saw(restoreMoved, at != "" && at != path)
	i := strings.LastIndexByte(path, '/')
	h.saw(restoreBelowGone, b.tree && i > 0 && !b.isDir(path[:i+1]))
}

// learnIDs finds the ids of restored keys that were not there: they are new.
func (h *history) learnIDs(name string, b *mbucket) {
	v := view.New(h.d.Store)
	row, err := v.Bucket("s3v", name)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(b.keys)) {
		k := b.keys[path]
		if k.id != 0 {
			continue
		}
		e, err := v.Key(row, path)
		if err != nil || h.used[e.Row.ObjectId] {
			h.errorf("%q was restored as %v, %v", path, e, err)
			return
		}
		k.id = e.Row.ObjectId
		h.used[k.id] = true
	}
}

package fsm_test

import (
	"slices"
	"strings"

	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// shaken reports whether every snapshot is to be compared; else it is one at
// random, now and then.
func (h *history) shaken() bool {
	switch h.last {
	case "purge", "reclaim", "deleteSnapshot", "restore":
		return true
	}
	return h.before == "createSnapshot"
}

// checkSnapshots compares the snapshots of a bucket with the copies that were
// made of it then, and what they hold with all that ever lived.
func (h *history) checkSnapshots(v view.View, row view.Bucket, b *mbucket) {
	h.checkHeld(v, row, b)
	h.checkNothingUnseen(row, b)
	all := h.shaken()
	for i, s := range b.snaps {
		if !all && h.rng.IntN(3*len(b.snaps)) != i {
			continue
		}
		h.where = "snapshot " + s.name + ": "
		at := v.At(s.op)
		h.checkEntries(at, row, s.then, true)
		h.checkPaths(at, row, b, s)
		h.checkList(at, row, s.then)
		h.where = ""
	}
}

// checkPaths looks up keys and directories that the snapshot may not have.
func (h *history) checkPaths(v view.View, row view.Bucket, b *mbucket, s *msnap) {
	paths := slices.Concat(b.names(true), []string{h.path(b), h.path(s.then)})
	for _, o := range b.snaps {
		if o != s && h.rng.IntN(3) == 0 {
			paths = append(paths, o.then.names(true)...)
		}
	}
	for _, p := range paths {
		dir := b.tree && strings.HasSuffix(p, "/")
		want := s.then.keys[p] != nil || dir && s.then.isDir(p)
		if _, err := v.Key(row, p); want != (err == nil) || !want && errs.KindOf(err) != errs.NoSuchKey {
			h.errorf("a look up of %q gives %v, it is there: %v", p, err, want)
		}
	}
	then := map[uint64]string{}
	for p, id := range s.then.dirIDs {
		then[id] = p
	}
	others := []map[string]uint64{b.dirIDs}
	for _, o := range b.snaps {
		others = append(others, o.then.dirIDs)
	}
	for _, ids := range others {
		for _, id := range ids {
			want, there := then[id]
			got, err := v.Path(row.ID(), ns.ObjectID(id))
			if there != (err == nil) || there && got != want || !there && errs.KindOf(err) != errs.NoSuchKey {
				h.errorf("upwards directory %d is %q, %v, want %q", id, got, err, want)
			}
		}
	}
}

// checkHeld compares names, usage and exclusive sizes of the snapshots.
func (h *history) checkHeld(v view.View, row view.Bucket, b *mbucket) {
	infos, more, err := v.Snapshots(row, "", "", 1000)
	var got []string
	for _, i := range infos {
		got = append(got, i.Name)
	}
	if want := b.snapNames(); err != nil || more || !slices.Equal(got, want) {
		h.errorf("the snapshots are %q, %v, want %q", got, err, want)
		return
	}
	if row.Row.PendingDirectories > 0 {
		return
	}
	all, _ := b.held(nil)
	if have := [2]uint64{row.Row.SnapshotBytes, row.Row.SnapshotNames}; have != all {
		h.errorf("the bucket counts bytes and names of snapshots %v, want %v", have, all)
	}
	for _, i := range infos {
		s := b.snap(i.Name)
		if ns.Op(i.Op) != s.op {
			h.errorf("snapshot %s is of op %d, want %d", i.Name, i.Op, s.op)
		}
		if have, want := [3]uint64{i.UsedBytes, i.UsedKeys, i.UsedDirectories}, s.then.usage(); have != want {
			h.errorf("snapshot %s counts bytes, keys, directories %v, want %v", i.Name, have, want)
		}
		have := [2]uint64{i.ExclusiveBytes, i.ExclusiveNames}
		if _, want := b.held(s); have != want {
			h.errorf("snapshot %s alone holds bytes and names %v, want %v", i.Name, have, want)
		}
	}
}

// checkNothingUnseen: once nothing of a bucket waits for a purge or a reclaim,
// every row of history is seen by a snapshot, and the journal begins after the
// oldest.
func (h *history) checkNothingUnseen(row view.Bucket, b *mbucket) {
	if row.Row.PendingDirectories > 0 || h.reclaiming(b) > 0 {
		return
	}
	seen := func(since uint64, until ns.Op) bool {
		return slices.ContainsFunc(b.snaps, func(s *msnap) bool { return ns.Op(since) <= s.op && s.op < until })
	}
	err := fsmtest.Scan(h.d.Store, schema.History, func(k schema.HistoryKey, e *schemapb.Entry) error {
		if k.Bucket == row.ID() && !seen(e.Since, k.Until) {
			h.errorf("nobody sees the row of %q from %d to %d", k.Name, e.Since, k.Until)
		}
		return nil
	})
	if err == nil {
		err = fsmtest.Scan(h.d.Store, schema.DirHistory, func(k schema.DirHistoryKey, d *schemapb.Dir) error {
			if k.Bucket == row.ID() && !seen(d.Since, k.Until) {
				h.errorf("nobody sees where %q hung from %d to %d", d.Name, d.Since, k.Until)
			}
			return nil
		})
	}
	if err == nil {
		err = fsmtest.Scan(h.d.Store, schema.Journal, func(k schema.JournalKey, _ *schemapb.Touch) error {
			if k.Bucket == row.ID() && (len(b.snaps) == 0 || k.Op <= b.snaps[0].op) {
				h.errorf("nobody needs the touch of %q at %d", k.Name, k.Op)
			}
			return nil
		})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

package fsm_test

import (
	"bytes"
	"maps"
	"slices"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/memkv"
	"o3/internal/schema"
)

// end deletes everything, snapshots before keys or keys before snapshots:
// nothing may be left.
func (h *history) end() {
	if h.rng.IntN(2) == 0 {
		h.endSnapshots()
		h.endKeys()
	} else {
		h.endKeys()
		h.endSnapshots()
	}
	for more := true; more && !h.t.Failed(); {
		r, _ := h.send(&commandpb.PurgeDirectories{Limit: 7}, errs.OK).Body.(*commandpb.PurgeDirectoriesReply)
		more = r.GetMore()
		h.check()
	}
	h.send(&commandpb.ExpireOpenKeys{BeforeMs: 1 << 60, Limit: 1 << 20}, errs.OK)
	state, err := fsmtest.Check(h.d.Store)
	if err != nil || len(state.Names) > 0 || state.Entries+state.Uploads+state.Open+state.Pending > 0 {
		h.errorf("all is deleted, yet there is %+v, %v", state, err)
		return
	}
	for id := range h.stored {
		if !state.Freed[id] && !h.gone[id] {
			h.errorf("block %v was never freed", id)
		}
	}
	for len(state.Freed) > 0 && !h.t.Failed() {
		h.freed()
		state, _ = fsmtest.Check(h.d.Store)
	}
	h.send(&commandpb.SuspendLifecycle{}, errs.OK)
	for name := range h.buckets {
		h.send(&o3v1.DeleteBucketRequest{Volume: "s3v", Bucket: name}, errs.OK)
	}
	h.send(&commandpb.ExpireClients{BeforeMs: 1 << 60, Limit: 1 << 20}, errs.OK)
	h.d.Now = max(h.d.Now, h.d.Machine.Position().TimeMs) + 1001
	h.send(&commandpb.ReleaseLog{Expired: true}, errs.OK)
	rows, err := fsmtest.Rows(h.d.Store)
	for _, r := range rows {
		if t, _ := schema.TableOf([]byte(r.Key)); t.Name != "volumes" && t.Name != "clients" && t.Name != "counters" {
			h.errorf("a row of %s is left, %v", t.Name, err)
		}
	}
}

// endKeys deletes every key, directory and upload.
func (h *history) endKeys() {
	for _, name := range slices.Sorted(maps.Keys(h.buckets)) {
		b := h.buckets[name]
		for _, id := range slices.Sorted(maps.Keys(b.uploads)) {
			h.send(&o3v1.AbortUploadRequest{Volume: "s3v", Bucket: name, Key: b.uploads[id].key, UploadId: id}, errs.OK)
		}
		b.uploads = nil
		for len(b.names(true)) > 0 && !h.t.Failed() {
			k := &o3v1.DeleteKey{Key: b.names(true)[0]}
			b.delete(k, true, false)
			h.send(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: name, Recursive: true, Keys: []*o3v1.DeleteKey{k}}, errs.OK)
			h.settle()
		}
	}
}

// endSnapshots deletes every snapshot, in any order, and reclaims them all
// while subtrees are purged: nothing of the past may be left.
func (h *history) endSnapshots() {
	for steps := 0; !h.t.Failed(); steps++ {
		var left []string
		for _, name := range slices.Sorted(maps.Keys(h.buckets)) {
			if len(h.buckets[name].snaps) > 0 {
				left = append(left, name)
			}
		}
		if len(left)+len(h.reclaim) == 0 {
			break
		}
		switch n := h.rng.IntN(5); {
		case n < 2 && len(left) > 0:
			name := h.pick(left)
			b := h.buckets[name]
			h.dropSnapshot(name, b, h.pick(b.snapNames()))
		case n == 2:
			h.purge()
		default:
			h.reclaimSnapshot()
		}
		if steps%4 == 0 {
			h.last = "deleteSnapshot"
			h.check()
		}
		if steps > 100_000 {
			h.errorf("the reclaim of %d snapshots does not end", len(h.reclaim))
		}
	}
	h.check()
	state, err := fsmtest.Check(h.d.Store)
	if err != nil || state.Past+state.Touches+state.Live+state.Deleted+state.Cells > 0 {
		h.errorf("all snapshots are gone, yet there is %+v, %v", state, err)
	}
}

// replay applies the requests of the history again, cut into entries and calls
// of Apply at random.
func (h *history) replay() {
	if h.t.Failed() {
		return
	}
	first, err := fsm.Open(new(memkv.Store), fsm.Position{})
	if err != nil {
		h.t.Fatal(err)
	}
	want, err := first.Apply(h.d.Log)
	if err != nil {
		h.t.Fatal(err)
	}
	var requests, answers [][]byte
	for i, e := range h.d.Log {
		requests = append(requests, e.Requests...)
		answers = append(answers, want[i]...)
	}
	m, err := fsm.Open(new(memkv.Store), fsm.Position{})
	if err != nil {
		h.t.Fatal(err)
	}
	index := uint64(0)
	for len(requests) > 0 {
		var call []fsm.Entry
		for range 1 + h.rng.IntN(4) {
			n := min(len(requests), h.rng.IntN(9))
			index++
			call = append(call, fsm.Entry{Index: index, Term: 1, Requests: requests[:n]})
			requests = requests[n:]
		}
		got, err := m.Apply(call)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, entry := range got {
			for _, a := range entry {
				if !bytes.Equal(a, answers[0]) {
					h.t.Errorf("entry %d: an answer depends on how requests are cut into entries", index)
				}
				answers = answers[1:]
			}
		}
	}
	a, b, c := h.d.Machine.Position(), first.Position(), m.Position()
	if a.Digest != b.Digest || a.Digest != c.Digest || a.Op != c.Op || a.TimeMs != c.TimeMs {
		h.t.Errorf("the same requests gave %v, in one call %v, cut otherwise %v", a, b, c)
	}
}

package crash

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// maxSnapshots bounds the snapshots that a worker keeps in a bucket.
const maxSnapshots = 3

// kept is what a worker knows of its snapshots, by bucket/name: what its own
// keys had then. Others' keys are for them to know.
type kept struct {
	made    int
	have    map[string]map[string][]byte // acknowledged
	making  map[string]map[string][]byte // by an unanswered operation
	leaving map[string]bool              // so too
}

func newKept() kept {
	return kept{have: map[string]map[string][]byte{}, making: map[string]map[string][]byte{}, leaving: map[string]bool{}}
}

// certain reports whether the worker knows what its keys have.
func (w *worker) certain() bool { return len(w.doubt) == 0 && !w.opened }

// one returns a snapshot of bucket, "" for none.
func (w *worker) one(bucket string) string {
	var names []string
	for n := range w.snaps.made {
		if name := fmt.Sprintf("w%d-%d", w.id, n); w.snaps.have[bucket+"/"+name] != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return names[w.rng.IntN(len(names))]
}

func (w *worker) snapshot(r *rig, off *atomic.Bool, bucket string) string {
	n := 0
	for at := range w.snaps.have {
		if strings.HasPrefix(at, bucket+"/") {
			n++
		}
	}
	if n >= maxSnapshots || !w.certain() {
		return "none"
	}
	name := fmt.Sprintf("w%d-%d", w.id, w.snaps.made)
	w.snaps.made++
	at, state := bucket+"/"+name, map[string][]byte{}
	for key, content := range w.keys {
		if strings.HasPrefix(key, bucket+"/") {
			state[key] = content
		}
	}
	w.snaps.making[at] = state
	_, err := r.om.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name})
	if err != nil && !refused(err) || off.Load() {
		return "snapshot" // in doubt
	}
	delete(w.snaps.making, at)
	if err == nil {
		w.snaps.have[at] = state
	}
	return "snapshot"
}

func (w *worker) unsnapshot(r *rig, off *atomic.Bool, bucket string) string {
	name := w.one(bucket)
	if name == "" {
		return "none"
	}
	at := bucket + "/" + name
	w.snaps.leaving[at] = true
	_, err := r.om.DeleteSnapshot(ctx, &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name})
	if err != nil && !refused(err) || off.Load() {
		return "unsnapshot"
	}
	delete(w.snaps.leaving, at)
	if err == nil {
		delete(w.snaps.have, at)
	}
	return "unsnapshot"
}

// restore makes the worker's keys of a bucket what they were, page by page.
func (w *worker) restore(r *rig, off *atomic.Bool, bucket string) string {
	name := w.one(bucket)
	if name == "" || !w.certain() {
		return "none"
	}
	then := w.snaps.have[bucket+"/"+name]
	for key := range w.keys {
		if strings.HasPrefix(key, bucket+"/") {
			w.doubt[key] = [][]byte{then[key]} // nil where it was not
		}
	}
	for key, content := range then {
		w.doubt[key] = [][]byte{content}
	}
	req := &o3v1.RestoreSnapshotRequest{
		Volume: "s3v", Bucket: bucket, Name: name, Prefix: fmt.Sprintf("w%d/", w.id), Exact: true, Limit: uint32(1 + w.rng.IntN(10)),
	}
	for {
		resp, err := r.om.RestoreSnapshot(ctx, req)
		if err != nil || len(resp.Refused) > 0 || off.Load() {
			return "restore" // some keys are, some are not
		}
		if req.Token = resp.NextToken; req.Token == "" {
			break
		}
	}
	for key := range w.doubt {
		if content, ok := then[key]; ok {
			w.keys[key] = content
		} else {
			delete(w.keys, key)
		}
	}
	clear(w.doubt)
	return "restore"
}

// settleSnapshots compares every snapshot with what was acknowledged, and learns
// the outcome of what was in doubt.
func (w *worker) settleSnapshots(r *rig) error {
	all := maps.Clone(w.snaps.have)
	maps.Copy(all, w.snaps.making)
	for at, want := range all {
		bucket, name, _ := strings.Cut(at, "/")
		_, err := r.om.GetSnapshot(ctx, &o3v1.GetSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name})
		if errs.KindOf(err) == errs.NoSuchSnapshot {
			if w.snaps.making[at] == nil && !w.snaps.leaving[at] {
				return fmt.Errorf("snapshot %s is lost", at)
			}
			delete(w.snaps.have, at)
			continue
		}
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", at, err)
		}
		if err := w.sameThen(r, bucket, name, want); err != nil {
			return err
		}
		w.snaps.have[at] = want
	}
	for n := range w.snaps.made {
		for _, b := range buckets {
			name := fmt.Sprintf("w%d-%d", w.id, n)
			if w.snaps.have[b.name+"/"+name] != nil {
				continue
			}
			if _, err := r.om.GetSnapshot(ctx, &o3v1.GetSnapshotRequest{Volume: "s3v", Bucket: b.name, Name: name}); errs.KindOf(err) != errs.NoSuchSnapshot {
				return fmt.Errorf("snapshot %s of %s was deleted: %v", name, b.name, err)
			}
		}
	}
	clear(w.snaps.making)
	clear(w.snaps.leaving)
	return nil
}

// sameThen compares what a snapshot has of the worker's keys with want.
func (w *worker) sameThen(r *rig, bucket, name string, want map[string][]byte) error {
	for d := range 3 {
		for k := range 8 {
			key := fmt.Sprintf("w%d/d%d/k%d", w.id, d, k)
			have, err := r.get(bucket, ".snapshot/"+name+"/"+key)
			if err != nil && errs.KindOf(err) != errs.NoSuchKey {
				return fmt.Errorf("%s in snapshot %s of %s: %w", key, name, bucket, err)
			}
			content, should := want[bucket+"/"+key]
			if (err == nil) != should || !bytes.Equal(have, content) {
				return fmt.Errorf("%s in snapshot %s of %s: there is %v with %d bytes, was %v with %d bytes",
					key, name, bucket, err == nil, len(have), should, len(content))
			}
		}
	}
	return nil
}

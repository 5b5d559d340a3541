package crash

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// worker works alone on keys of its own, so that at most one of its operations
// is in doubt when the power is cut.
type worker struct {
	id     int
	rng    *rand.Rand
	keys   map[string][]byte   // acknowledged content, by bucket/key
	doubt  map[string][][]byte // what an unanswered operation may have made of a key; nil: gone
	opened bool
	snaps  kept
}

var buckets = []struct{ name, layout string }{{"flat", "OBJECT_STORE"}, {"tree", "FILE_SYSTEM_OPTIMIZED"}}

// TestPowerCut is law 8 (and law 1 for one node): whatever instant the power is
// cut at, every acknowledged write is there and reads back right, also at every
// snapshot; nothing deleted is back, and all counters, references and the digest
// hold.
func TestPowerCut(t *testing.T) {
	seed, rounds := rand.Uint64(), 25
	if s := os.Getenv("O3_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	if os.Getenv("O3_NIGHTLY") != "" {
		rounds = 3000
	}
	t.Logf("seed %d (O3_SEED repeats it), %d rounds", seed, rounds)
	counts, err := cuts(seed, rounds, "")
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	t.Logf("operations: %v", counts)
	for _, op := range []string{"put", "delete", "copy", "rename", "multipart", "purge", "flush", "rewrite", "snapshot", "unsnapshot", "restore", "reclaim"} {
		if counts[op] < rounds/4 {
			t.Errorf("only %d of %q were done: the test has lost its reach", counts[op], op)
		}
	}
}

// TestPowerCutFindsLies plants a disk that does not sync below each part, and
// expects the test to find it.
func TestPowerCutFindsLies(t *testing.T) {
	for _, part := range []string{"raft", "store", "blocks"} {
		if _, err := cuts(7, 20, part); err == nil {
			t.Errorf("a disk that lies to %s was not found", part)
		} else {
			t.Logf("a disk that lies to %s: %v", part, err)
		}
	}
}

// sweepEvery is how many power cuts leave blocks that nobody names, until they
// are swept.
const sweepEvery = 5

// cuts runs a node through rounds of work and power cuts.
func cuts(seed uint64, rounds int, lie string) (counts map[string]int, err error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	r, err := start(fs, lie)
	defer func() {
		if r != nil {
			r.stop()
		}
	}()
	if err == nil {
		err = setUp(r)
	}
	if err != nil {
		return nil, err
	}
	workers := make([]*worker, 4)
	for i := range workers {
		workers[i] = &worker{id: i, rng: rand.New(rand.NewPCG(seed, uint64(i+2))), keys: map[string][]byte{}, doubt: map[string][][]byte{}, snaps: newKept()}
	}
	counts = map[string]int{}
	for round := range rounds {
		fs = cut(r, workers, rng, counts)
		r.stop()
		if r, err = start(fs, lie); err != nil {
			return counts, fmt.Errorf("round %d: the node does not start: %w", round, err)
		}
		for _, w := range workers {
			if err := w.settle(r); err != nil {
				return counts, fmt.Errorf("round %d, worker %d: %w", round, w.id, err)
			}
		}
		if err := r.check(); err != nil {
			return counts, fmt.Errorf("round %d: %w", round, err)
		}
		if round%sweepEvery != 0 {
			continue
		}
		if err := errors.Join(r.sweep(), r.check()); err != nil {
			return counts, fmt.Errorf("round %d, after a sweep: %w", round, err)
		}
	}
	return counts, nil
}

func setUp(r *rig) error {
	if _, err := r.om.CreateVolume(ctx, &o3v1.CreateVolumeRequest{Volume: "s3v"}); err != nil {
		return err
	}
	for _, b := range buckets {
		if _, err := r.om.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: b.name, Layout: b.layout}); err != nil {
			return err
		}
	}
	return nil
}

// cut lets the workers work for a moment and returns the file system as a power
// cut in the middle of it leaves it: what was not synced survives at random.
func cut(r *rig, workers []*worker, rng *rand.Rand, counts map[string]int) *vfs.MemFS {
	var off atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex
	after := make(chan struct{})
	var ops atomic.Int64
	limit := int64(20 + rng.IntN(150))
	for _, w := range workers {
		wg.Go(func() {
			for !off.Load() {
				op := w.step(r, &off)
				mu.Lock()
				counts[op]++
				mu.Unlock()
				if ops.Add(1) == limit {
					close(after)
				}
			}
		})
	}
	wg.Go(func() { // the node's own work
		for i := 0; !off.Load(); i++ {
			op := r.maintain(i)
			mu.Lock()
			counts[op]++
			mu.Unlock()
		}
	})
	<-after
	off.Store(true)
	crashed := r.fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: []int{0, 20, 50, 100}[rng.IntN(4)], RNG: rand.New(rand.NewPCG(rng.Uint64(), 0)),
	})
	wg.Wait()
	return crashed
}

func (r *rig) maintain(i int) string {
	switch i % 6 {
	case 4:
		_ = r.reclaim.Reclaim(ctx)
		return "reclaim"
	case 0:
		_ = r.reclaim.Purge(ctx)
		return "purge"
	case 1:
		_ = r.reclaim.Free(ctx)
		return "free"
	case 2:
		_ = r.replica.Flush()
		return "flush"
	case 3:
		_, _ = r.blocks.Reclaim(ctx)
		return "rewrite"
	}
	time.Sleep(time.Millisecond) // lets the workers have the processor
	return "rest"
}

// step does one random operation and notes its outcome.
func (w *worker) step(r *rig, off *atomic.Bool) string {
	bucket := buckets[w.rng.IntN(2)].name
	key := w.name(bucket)
	at := bucket + "/" + key
	data := make([]byte, []int{0, 100, 5_000, 60_000, 250_000}[w.rng.IntN(5)])
	for i := range data {
		data[i] = byte(w.rng.Uint32())
	}
	commit := func(at string, content []byte, exists bool, do func() error) {
		possible := [][]byte{nil}
		if exists {
			possible[0] = content
		}
		w.doubt[at] = possible
		err := do()
		if err != nil && !refused(err) || off.Load() {
			return // in doubt: the old or the new
		}
		delete(w.doubt, at)
		if err != nil {
			return
		}
		if exists {
			w.keys[at] = content
		} else {
			delete(w.keys, at)
		}
	}
	switch n := w.rng.IntN(14); {
	case n < 4:
		commit(at, data, true, func() error { return r.put(bucket, key, data) })
		return "put"
	case n < 6:
		commit(at, nil, false, func() error {
			_, err := r.om.DeleteKeys(ctx, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: bucket, Keys: []*o3v1.DeleteKey{{Key: key}}})
			return err
		})
		return "delete"
	case n < 7:
		from, content := w.any(bucket)
		if from == "" || from == key {
			return "none"
		}
		commit(at, content, true, func() error {
			_, err := r.om.CopyKey(ctx, &o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: bucket, FromKey: from, Volume: "s3v", Bucket: bucket, Key: key})
			return err
		})
		return "copy"
	case n < 8:
		commit(at, data, true, func() error { return r.multipart(bucket, key, data) })
		return "multipart"
	case n < 9:
		return w.moveDir(r, off)
	case n < 11:
		return w.snapshot(r, off, bucket)
	case n < 12:
		return w.unsnapshot(r, off, bucket)
	case n < 13:
		return w.restore(r, off, bucket)
	}
	return w.dropDir(r, off)
}

// refused tells an answer of the state machine from an operation cut off.
func refused(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.Internal, errs.Canceled, errs.DeadlineExceeded, errs.Corrupt, errs.ReadOnly:
		return false
	}
	return true
}

func (w *worker) name(bucket string) string {
	return fmt.Sprintf("w%d/d%d/k%d", w.id, w.rng.IntN(3), w.rng.IntN(8))
}

func (w *worker) any(bucket string) (string, []byte) {
	for range 20 {
		key := w.name(bucket)
		if c, ok := w.keys[bucket+"/"+key]; ok && w.doubt[bucket+"/"+key] == nil {
			return key, c
		}
	}
	return "", nil
}

// moveDir renames a directory to a name that is free, and back.
func (w *worker) moveDir(r *rig, off *atomic.Bool) string {
	dir, aside := fmt.Sprintf("w%d/d%d", w.id, w.rng.IntN(3)), fmt.Sprintf("aside%d", w.id)
	rename := func(from, to string) error {
		_, err := r.om.RenameKey(ctx, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: from, To: to})
		return err
	}
	w.opened = true
	if rename(dir, aside) == nil {
		if rename(aside, dir) != nil {
			return "rename" // cut off between: settle moves it back
		}
	}
	if !off.Load() {
		w.opened = false
	}
	return "rename"
}

// dropDir deletes a directory with everything in it.
func (w *worker) dropDir(r *rig, off *atomic.Bool) string {
	dir := fmt.Sprintf("w%d/d%d/", w.id, w.rng.IntN(3))
	var in []string
	for k := range 8 {
		at := fmt.Sprintf("tree/%sk%d", dir, k)
		if _, ok := w.keys[at]; ok {
			in = append(in, at)
			w.doubt[at] = [][]byte{nil}
		}
	}
	_, err := r.om.DeleteKeys(ctx, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Keys: []*o3v1.DeleteKey{{Key: dir}}, Recursive: true})
	if err != nil && !refused(err) || off.Load() {
		return "drop"
	}
	for _, at := range in {
		delete(w.doubt, at)
		if err == nil {
			delete(w.keys, at)
		}
	}
	return "drop"
}

// multipart stores data in two parts, the second sent twice.
func (r *rig) multipart(bucket, key string, data []byte) error {
	up, err := r.om.CreateUpload(ctx, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	half := len(data) / 2
	complete := &o3v1.CompleteUploadRequest{Volume: "s3v", Bucket: bucket, Key: key, UploadId: up.Upload.UploadId, Etag: "m"}
	for i, part := range [][]byte{data[:half], data[half:], data[half:]} {
		number := uint32(min(i+1, 2))
		req := &o3v1.CommitPartRequest{Volume: "s3v", Bucket: bucket, Key: key, UploadId: up.Upload.UploadId, Number: number,
			Size: uint64(len(part)), Etag: "p"}
		if len(part) < 1000 {
			req.Data = part
		} else {
			if req.Extents, err = r.write(part); err != nil {
				return err
			}
			req.DataMs = time.Now().UnixMilli()
		}
		if _, err := r.om.CommitPart(ctx, req); err != nil {
			return err
		}
	}
	for n := range uint32(2) {
		complete.Parts = append(complete.Parts, &o3v1.CompletePart{Number: n + 1, Etag: "p"})
	}
	_, err = r.om.CompleteUpload(ctx, complete)
	return err
}

// settle compares the node with what was acknowledged, and learns the outcome
// of what was in doubt.
func (w *worker) settle(r *rig) error {
	if w.opened {
		aside := fmt.Sprintf("aside%d", w.id)
		resp, err := r.om.ListKeys(ctx, &o3v1.ListKeysRequest{Volume: "s3v", Bucket: "tree", Prefix: aside + "/", Limit: 1})
		if err != nil {
			return err
		}
		if len(resp.Keys) > 0 { // its place is free: nothing else makes that directory
			for d := range 3 {
				to := fmt.Sprintf("w%d/d%d", w.id, d)
				if w.lives(to) {
					if got, err := r.om.ListKeys(ctx, &o3v1.ListKeysRequest{Volume: "s3v", Bucket: "tree", Prefix: to + "/", Limit: 1}); err != nil || len(got.Keys) > 0 {
						continue
					}
					if _, err := r.om.RenameKey(ctx, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: aside, To: to}); err != nil {
						return err
					}
					break
				}
			}
		}
		w.opened = false
	}
	for _, b := range buckets {
		for d := range 3 {
			for k := range 8 {
				if err := w.settleKey(r, b.name, fmt.Sprintf("w%d/d%d/k%d", w.id, d, k)); err != nil {
					return err
				}
			}
		}
	}
	w.doubt = map[string][][]byte{}
	return w.settleSnapshots(r)
}

// lives reports whether any acknowledged key is in dir.
func (w *worker) lives(dir string) bool {
	for k := range 8 {
		if _, ok := w.keys[fmt.Sprintf("tree/%s/k%d", dir, k)]; ok {
			return true
		}
	}
	return false
}

func (w *worker) settleKey(r *rig, bucket, key string) error {
	at := bucket + "/" + key
	have, err := r.get(bucket, key)
	exists := err == nil
	if err != nil && errs.KindOf(err) != errs.NoSuchKey {
		return fmt.Errorf("%s: %w", at, err)
	}
	want, should := w.keys[at]
	if exists == should && bytes.Equal(have, want) {
		return nil
	}
	if possible, unsure := w.doubt[at]; unsure {
		p := possible[0]
		if exists == (p != nil) && bytes.Equal(have, p) {
			if exists {
				w.keys[at] = p
			} else {
				delete(w.keys, at)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: there is %v with %d bytes, acknowledged is %v with %d bytes (in doubt: %v)",
		at, exists, len(have), should, len(want), w.doubt[at] != nil)
}

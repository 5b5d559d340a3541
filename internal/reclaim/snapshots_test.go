package reclaim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/reclaim"
	"o3/internal/schema"
	"o3/internal/view"
)

// snapshot makes a snapshot and returns its key.
func (r *rig) snapshot(bucket, name string) schema.SnapshotKey {
	r.t.Helper()
	resp, err := r.om.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name})
	r.ok(err)
	b := r.bucket(bucket)
	return schema.SnapshotKey{Bucket: ns.ObjectID(b.ObjectId), Op: ns.Op(resp.Snapshot.Op)}
}

func (r *rig) deleteSnapshot(bucket, name string) {
	r.t.Helper()
	_, err := r.om.DeleteSnapshot(ctx, &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: name})
	r.ok(err)
}

// deleted lists the snapshots that are being reclaimed.
func (r *rig) deleted(bucket string) []*o3v1.SnapshotInfo {
	r.t.Helper()
	resp, err := r.om.ListSnapshots(ctx, &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: bucket, Deleted: true})
	r.ok(err)
	return resp.Snapshots
}

// kept returns the rows of history and of the journal that the store keeps.
func (r *rig) kept() (history, journal uint64) {
	r.t.Helper()
	c, err := view.New(r.store).Counters()
	r.ok(err)
	return c.HistoryRows, c.JournalRows
}

// heard takes what the listener heard of Reclaim.
func (r *rig) heard() (rows, freed, commands, most int, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.seen {
		rows, freed, commands, most, last = rows+s.rows, freed+s.freed, commands+1, max(most, s.rows), s.done
	}
	r.seen = nil
	return rows, freed, commands, most, last
}

// TestReclaim: what only a deleted snapshot saw goes in batches, with progress;
// its blocks are freed, and nothing is left of it.
func TestReclaim(t *testing.T) {
	for _, bucket := range []string{"flat", "tree"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, reclaim.Options{ReclaimBatch: 7, FreeGrace: -1})
			var blocks []*o3v1.Extent
			for i := range 20 {
				blocks = append(blocks, r.commit(bucket, fmt.Sprintf("k%02d", i), 1)...)
			}
			shared := r.commit(bucket, "shared", 1)
			r.snapshot(bucket, "first")
			r.snapshot(bucket, "second")
			for i := range 20 {
				r.remove(bucket, fmt.Sprintf("k%02d", i))
			}
			for i := range 9 {
				r.commit(bucket, fmt.Sprintf("later%d", i), 1)
			}
			r.deleteSnapshot(bucket, "second")
			r.ok(r.Reclaim(ctx))
			if _, freed, _, _, last := r.heard(); freed != 0 || !last || len(r.deleted(bucket)) != 0 {
				t.Errorf("the first snapshot saw the same: %d rows of history dropped", freed)
			}
			if h, j := r.kept(); h != 20 || j != 29 {
				t.Errorf("%d rows of history and %d of the journal are kept", h, j)
			}
			r.deleteSnapshot(bucket, "first")
			var percent []float64
			r.log.swallow = func(k command.Kind) error {
				if k == command.ReclaimSnapshot {
					found, err := view.New(r.store).Bucket("s3v", bucket)
					r.ok(err)
					list, _, err := view.New(r.store).DeletedSnapshots(found, 0, 10)
					r.ok(err)
					for _, s := range list {
						if s.State != "DELETED" || s.DeletedMs == 0 || s.Name != "first" {
							t.Errorf("%v", s)
						}
						percent = append(percent, s.ReclaimedPercent)
					}
				}
				return nil
			}
			r.ok(r.Reclaim(ctx))
			r.log.swallow = nil
			rows, freed, commands, most, last := r.heard()
			if rows != 29+29 || freed != 20 || commands < 58/7 || most > 7 || !last {
				t.Errorf("%d commands looked at %d rows, at most %d at once, and dropped %d; done %v", commands, rows, most, freed, last)
			}
			for i := range percent {
				if percent[i] < 0 || percent[i] > 100 || i > 0 && percent[i] < percent[i-1] {
					t.Errorf("progress: %v", percent)
				}
			}
			if len(percent) != commands-1 || percent[0] >= 50 || percent[len(percent)-1] != 100 {
				t.Errorf("progress: %v", percent)
			}
			if h, j := r.kept(); h+j != 0 || len(r.deleted(bucket)) != 0 {
				t.Errorf("%d rows of history and %d of the journal are kept", h, j)
			}
			r.ok(r.store.Flush())
			time.Sleep(time.Millisecond)
			r.ok(r.Free(ctx))
			if r.has(blocks) || !r.has(shared) {
				t.Errorf("blocks: %v, %v", r.has(blocks), r.has(shared))
			}
			r.sound()
			before := r.log.count(command.ReclaimSnapshot)
			r.ok(r.Reclaim(ctx))
			if r.log.count(command.ReclaimSnapshot) != before {
				t.Error("with nothing to do a command was proposed")
			}
		})
	}
}

// TestMiddleOfThousand: of 1,000 snapshots, deleting the middle one looks only at
// what lies between its neighbours, wherever it is and however much else there is.
func TestMiddleOfThousand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{})
		const snapshots, changes = 1000, 3
		for i := range snapshots {
			r.snapshot("flat", fmt.Sprintf("s%04d", i))
			for k := range changes {
				_, err := r.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: fmt.Sprint(k), Data: []byte("1"), Size: 1})
				r.ok(err)
			}
		}
		for _, i := range []int{500, 501, 250, 998, 2} {
			r.deleteSnapshot("flat", fmt.Sprintf("s%04d", i))
			r.ok(r.Reclaim(ctx))
			rows, freed, commands, _, last := r.heard()
			if rows > changes || freed > changes || commands != 1 || !last {
				t.Errorf("snapshot %d: %d commands looked at %d rows and dropped %d, %d lie between its neighbours", i, commands, rows, freed, changes)
			}
		}
		// The newest: all since; the oldest: the journal before its successor goes too.
		r.deleteSnapshot("flat", "s0999")
		r.deleteSnapshot("flat", "s0000")
		r.ok(r.Reclaim(ctx))
		if rows, _, _, _, _ := r.heard(); rows > 4*changes {
			t.Errorf("both ends: %d rows", rows)
		}
		if h, _ := r.kept(); h != (snapshots-1-6)*changes { // the first saw nothing
			t.Errorf("%d rows of history", h)
		}
		r.sound()
	})
}

// TestReclaimHeld: what somebody holds waits, also in the middle; the others go on.
func TestReclaimHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := map[schema.SnapshotKey]bool{}
		asked := 0
		r := newRig(t, reclaim.Options{ReclaimBatch: 2, Holds: func(k schema.SnapshotKey) bool { asked++; return held[k] }})
		keys := map[string]schema.SnapshotKey{}
		for _, name := range []string{"a", "b", "c"} {
			keys[name] = r.snapshot("flat", name)
			for i := range 5 {
				r.commit("flat", fmt.Sprint(i), 1)
			}
		}
		names := func() (out string) {
			for _, s := range r.deleted("flat") {
				out += s.Name
			}
			return out
		}
		held[keys["b"]] = true
		r.deleteSnapshot("flat", "b")
		r.deleteSnapshot("flat", "c")
		r.ok(r.Reclaim(ctx))
		if got := names(); got != "b" {
			t.Errorf("left: %q", got)
		}
		held[keys["b"]] = false
		r.log.swallow = func(k command.Kind) error { held[keys["b"]] = true; return nil } // after the first batch
		r.ok(r.Reclaim(ctx))
		if got := r.deleted("flat"); len(got) != 1 || got[0].ReclaimedPercent == 0 {
			t.Errorf("left: %v", got)
		}
		r.log.swallow = nil
		clear(held)
		r.ok(r.Reclaim(ctx))
		if got := names(); got != "" {
			t.Errorf("left: %q", got)
		}
		r.sound()
	})
}

// TestReclaimCut: whichever proposal is cut off, before it is applied or after,
// the next run goes on; one snapshot's fault does not keep the others.
func TestReclaimCut(t *testing.T) {
	for cut := range 12 {
		for after := range 2 {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, reclaim.Options{ReclaimBatch: 3})
				r.snapshot("flat", "a")
				for i := range 5 {
					r.commit("flat", fmt.Sprint(i%3), 1)
				}
				r.snapshot("flat", "b")
				for i := range 5 {
					r.commit("flat", fmt.Sprint(i%3), 1)
				}
				r.deleteSnapshot("flat", "a")
				r.deleteSnapshot("flat", "b")
				n := 0
				fail := func(command.Kind) error {
					if n++; n == cut+1 {
						return errors.New("power cut")
					}
					return nil
				}
				r.log.refuse = fail
				if after == 1 {
					r.log.refuse, r.log.swallow = nil, fail
				}
				if err := r.Reclaim(ctx); (err != nil) != (n > cut) || err != nil && !strings.Contains(err.Error(), "power cut") {
					t.Errorf("cut %d: %v", cut, err)
				}
				if left := len(r.deleted("flat")); left > 1 {
					t.Errorf("cut %d kept %d", cut, left)
				}
				r.sound()
				r.log.refuse, r.log.swallow = nil, nil
				r.ok(r.Reclaim(ctx))
				if h, j := r.kept(); h+j != 0 || len(r.deleted("flat")) != 0 {
					t.Errorf("cut %d: %d rows of history and %d of the journal are kept", cut, h, j)
				}
				r.sound()
			})
		}
	}
}

// TestReclaimUnderLoad: writes, deletions of trees, purges, new snapshots and
// reclaim go on at once; in the end nothing is kept, and all holds.
func TestReclaimUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{
			ReclaimBatch: 5, PurgeBatch: 5, ReclaimInterval: 7 * time.Millisecond, PurgeInterval: 5 * time.Millisecond,
			FreeInterval: 11 * time.Millisecond, FreeGrace: -1, SweepInterval: -1,
		})
		run, cancel := context.WithCancel(ctx)
		ended := make(chan error)
		go func() { ended <- r.Run(run) }()
		var wg sync.WaitGroup
		for _, bucket := range []string{"flat", "tree"} {
			wg.Go(func() {
				for i := range 40 {
					for k := range 6 {
						r.commit(bucket, fmt.Sprintf("top%d/sub%d/k%d", i%4, k%2, k), 1)
					}
					r.snapshot(bucket, fmt.Sprint("s", i))
					time.Sleep(3 * time.Millisecond)
					if i%4 == 3 {
						r.remove(bucket, fmt.Sprintf("top%d/", i%3), fmt.Sprintf("top%d/sub0/k0", (i+1)%4))
					}
					if i >= 5 {
						r.deleteSnapshot(bucket, fmt.Sprint("s", i-5+i%2*2)) // out of order
					}
				}
			})
		}
		wg.Wait()
		for _, bucket := range []string{"flat", "tree"} {
			list, err := r.om.ListSnapshots(ctx, &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: bucket})
			r.ok(err)
			for _, s := range list.Snapshots {
				r.deleteSnapshot(bucket, s.Name)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		cancel()
		r.ok(<-ended)
		if h, j := r.kept(); h+j != 0 {
			t.Errorf("%d rows of history and %d of the journal are kept", h, j)
		}
		if len(r.failed) > 0 {
			t.Errorf("failures: %v", r.failed)
		}
		r.sound()
	})
}

// TestReclaimRuns: the task runs at its interval, only while the node leads; a
// fault is told, and the next run goes on.
func TestReclaimRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leads atomic.Bool
		r := newRig(t, reclaim.Options{Leads: leads.Load, ReclaimInterval: 10 * time.Second})
		run, cancel := context.WithCancel(ctx)
		ended := make(chan error)
		go func() { ended <- r.Run(run) }()
		r.snapshot("flat", "a")
		r.commit("flat", "k", 1)
		r.deleteSnapshot("flat", "a")
		left := func(d time.Duration) int { time.Sleep(d); synctest.Wait(); return len(r.deleted("flat")) }
		if left(time.Minute) != 1 || r.log.count(command.ReclaimSnapshot) != 0 {
			t.Error("a node that does not lead has reclaimed")
		}
		leads.Store(true)
		r.log.fail(func(command.Kind) error { return errs.New(errs.Unavailable, "log", "planted") })
		if left(25*time.Second) != 1 || r.failed["reclaim"] != 2 {
			t.Errorf("failures told: %v", r.failed)
		}
		r.log.fail(nil)
		if left(10*time.Second) != 0 {
			t.Error("not reclaimed")
		}
		cancel()
		r.ok(<-ended)
	})
}

package reclaim_test

import (
	"context"
	"errors"
	"fmt"
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
	"o3/internal/schema/schemapb"
)

// TestPurge: a deleted tree goes in batches, and usage falls with each.
func TestPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{PurgeBatch: 7})
		for d := range 4 {
			for k := range 6 {
				r.commit("tree", fmt.Sprintf("top/d%d/sub/k%d", d, k), 1)
			}
		}
		r.commit("tree", "kept/key", 1)
		r.remove("tree", "top/")
		used := r.bucket("tree").UsedBytes
		if used != 2500 {
			t.Fatalf("%d bytes before the purge", used)
		}
		steps := 0
		r.log.swallow = func(k command.Kind) error {
			now := uint64(0)
			r.ok(usageOf(r, &now))
			if now > used {
				t.Errorf("usage rose from %d to %d", used, now)
			}
			if now < used {
				steps++
			}
			used = now
			return nil
		}
		r.ok(r.Purge(ctx))
		r.log.swallow = nil
		b := r.bucket("tree")
		if b.UsedBytes != 100 || b.UsedKeys != 1 || b.UsedDirectories != 1 || b.PendingDirectories != 0 {
			t.Errorf("after the purge: %v", b)
		}
		if n := r.log.count(command.PurgeDirs); n < 5 || steps < 4 {
			t.Errorf("%d commands of at most 7 rows, usage fell %d times", n, steps)
		}
		rows := 0
		for _, n := range r.purged {
			if n > 7 {
				t.Errorf("a command purged %d rows", n)
			}
			rows += n
		}
		if rows != 24+8+9 { // keys, directories below top, a record for each directory
			t.Errorf("%d rows purged", rows)
		}
		if n := r.waiting(); n != 24 {
			t.Errorf("%d blocks wait to be freed", n)
		}
		r.sound()
		before := r.log.count(command.PurgeDirs)
		r.ok(r.Purge(ctx))
		if r.log.count(command.PurgeDirs) != before {
			t.Error("with nothing to do a command was proposed")
		}
	})
}

// usageOf reads the usage of bucket tree as it is in the store.
func usageOf(r *rig, used *uint64) error {
	lower, upper := schema.Buckets.All()
	return schema.Buckets.Scan(r.store, lower, upper, func(k schema.BucketKey, b *schemapb.Bucket) (bool, error) {
		if k.Name == "tree" {
			*used = b.UsedBytes
		}
		return true, nil
	})
}

// TestFreeWaits: blocks are freed when the deletion is older than the grace
// and than every read, and durable.
func TestFreeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var oldest ns.Op
		r := newRig(t, reclaim.Options{FreeGrace: 10 * time.Minute, OldestRead: func() (ns.Op, bool) { return oldest, oldest != 0 }})
		shared := r.commit("flat", "source", 1)
		_, err := r.om.CopyKey(ctx, &o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "flat", FromKey: "source", Volume: "s3v", Bucket: "flat", Key: "copy"})
		r.ok(err)
		e := r.commit("flat", "key", 3)
		time.Sleep(time.Second)
		oldest = r.op() // a read begins, and the key is deleted under it
		time.Sleep(time.Second)
		r.remove("flat", "key", "source")
		step := func(what string, stored bool) {
			t.Helper()
			r.ok(r.Free(ctx))
			if r.has(e) != stored {
				t.Errorf("%s: stored %v", what, !stored)
			}
		}
		r.ok(r.store.Flush())
		step("at once", true)
		time.Sleep(10*time.Minute - time.Second)
		step("just before the grace is over", true)
		time.Sleep(2 * time.Second)
		step("the grace is over, the read is not", true)
		oldest = r.op() // another read, which cannot have seen the key
		if r.log.count(command.FreedBlocks) != 0 {
			t.Error("a command was proposed for nothing")
		}
		step("now", false)
		if r.freed != 3 || r.bytes != 300 || r.waiting() != 0 {
			t.Errorf("%d blocks of %d bytes, %d wait", r.freed, r.bytes, r.waiting())
		}
		if !r.has(shared) {
			t.Error("a block that a copy names was freed")
		}
		r.sound()
	})
}

// TestFreeOnlyDurable: the state that a power cut would leave still names the
// blocks, so they stay.
func TestFreeOnlyDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{FreeGrace: -1})
		e := r.commit("flat", "key", 2)
		r.ok(r.store.Flush())
		r.remove("flat", "key")
		time.Sleep(time.Hour)
		r.ok(r.Free(ctx))
		if !r.has(e) {
			t.Fatal("freed although a power cut brings the key back")
		}
		r.ok(r.store.Flush())
		r.ok(r.Free(ctx))
		if r.has(e) {
			t.Error("not freed although the deletion is durable")
		}
	})
}

// TestFreeBatches: rows that were dropped and not flushed are not freed twice
// in one run, whatever the durable state says.
func TestFreeBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{FreeGrace: -1, FreeBatch: 4})
		for i := range 10 {
			r.commit("flat", fmt.Sprint(i), 2)
		}
		for i := range 10 {
			r.remove("flat", fmt.Sprint(i))
		}
		r.ok(r.store.Flush())
		time.Sleep(time.Millisecond)
		r.ok(r.Free(ctx))
		if n := r.log.count(command.FreedBlocks); n != 5 || r.freed != 20 {
			t.Errorf("%d commands freed %d blocks", n, r.freed)
		}
		r.ok(r.Free(ctx))
		if r.freed != 20 {
			t.Errorf("%d blocks were freed again", r.freed-20)
		}
		r.sound()
	})
}

// TestFreeCut: a crash between freeing bytes and dropping their row leaves a
// row, which the next run drops.
func TestFreeCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{FreeGrace: -1})
		e := r.commit("flat", "key", 2)
		r.remove("flat", "key")
		r.ok(r.store.Flush())
		time.Sleep(time.Millisecond)
		cut := errors.New("power cut")
		for _, when := range []string{"before the drop", "after the drop, before its answer"} {
			fail := func(k command.Kind) error {
				if k == command.FreedBlocks {
					return cut
				}
				return nil
			}
			if when == "before the drop" {
				r.log.refuse, r.log.swallow = fail, nil
			} else {
				r.log.refuse, r.log.swallow = nil, fail
			}
			if err := r.Free(ctx); !errors.Is(err, cut) {
				t.Fatalf("%s: %v", when, err)
			}
			if r.has(e) {
				t.Errorf("%s: the bytes are there", when)
			}
			r.sound()
		}
		r.log.swallow = nil
		r.ok(r.Free(ctx))
		if n := r.waiting(); n != 0 {
			t.Errorf("%d blocks wait", n)
		}
	})
}

// TestSweep: of the blocks that are old enough, those that no row names go.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{SweepGrace: time.Hour, FreeGrace: 48 * time.Hour})
		named := map[string][]*o3v1.Extent{
			"a key":                  r.commit("flat", "key", 1),
			"a key of many blocks":   r.commit("flat", "long", 50),
			"an overwritten key":     r.commit("flat", "twice", 1),
			"a deleted key":          r.commit("flat", "deleted", 2),
			"a key in a deleted dir": r.commit("tree", "gone/key", 1),
		}
		r.commit("flat", "twice", 1)
		r.remove("flat", "deleted")
		r.remove("tree", "gone/")
		_, err := r.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "small", Data: []byte("1"), Size: 1})
		r.ok(err)
		up, err := r.om.CreateUpload(ctx, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "flat", Key: "parts"})
		r.ok(err)
		for n, blocks := range []int{1, 40} {
			e := r.put(blocks)
			_, err := r.om.CommitPart(ctx, &o3v1.CommitPartRequest{
				Volume: "s3v", Bucket: "flat", Key: "parts", UploadId: up.Upload.UploadId, Number: uint32(n + 1),
				Extents: e, Size: uint64(100 * blocks), DataMs: time.Now().UnixMilli(),
			})
			r.ok(err)
			named[fmt.Sprintf("a part of %d blocks", blocks)] = e
		}
		stray := r.put(2500) // more than a batch
		time.Sleep(time.Hour)
		if s, err := r.Sweep(ctx); err != nil || s.Freed != 0 {
			t.Fatalf("before the grace is over: %+v %v", s, err)
		}
		young := r.put(1)
		time.Sleep(time.Second)
		s, err := r.Sweep(ctx)
		r.ok(err)
		if r.has(stray) || s.Freed != 2500 || s.Blocks != 2500+1+1+50+2+2+1+1+40 {
			t.Errorf("%+v", s)
		}
		named["a block being written"] = young
		for what, e := range named {
			if !r.has(e) {
				t.Errorf("%s lost its blocks", what)
			}
		}
		if len(r.swept) != 2 || r.swept[1] != s {
			t.Errorf("told: %+v", r.swept)
		}
		r.sound()
	})
}

// TestSweepInterrupted frees nothing when it could not see every row.
func TestSweepInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{SweepGrace: time.Hour})
		stray := r.put(3)
		r.commit("flat", "key", 1)
		time.Sleep(2 * time.Hour)
		over, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := r.Sweep(over); err == nil {
			t.Error("a sweep whose context was over has succeeded")
		}
		if !r.has(stray) || len(r.swept) != 0 {
			t.Error("it has freed blocks")
		}
	})
}

func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, reclaim.Options{ClientExpiry: time.Hour, OpenKeyExpiry: 3 * time.Hour, ExpireBatch: 2})
		volume := func(name string, client uint64) error {
			_, err := r.om.CreateVolume(ctx, &o3v1.CreateVolumeRequest{Volume: name, Stamp: &o3v1.Stamp{ClientId: client, Sequence: 1, Acked: 1}})
			return err
		}
		for i := range 5 {
			r.ok(volume(fmt.Sprintf("vol%d", i), uint64(i+1)))
			_, err := r.om.OpenKey(ctx, &o3v1.OpenKeyRequest{Volume: "s3v", Bucket: "flat", Key: fmt.Sprint(i)})
			r.ok(err)
		}
		time.Sleep(time.Hour)
		r.ok(r.Expire(ctx))
		if r.expired != [2]int{} || r.log.count(command.ExpireClients)+r.log.count(command.ExpireOpenKeys) != 0 {
			t.Errorf("too early: %v", r.expired)
		}
		r.ok(volume("vol0", 1)) // answered from memory: the client lives
		time.Sleep(time.Second)
		r.ok(r.Expire(ctx))
		if r.expired[1] != 0 || r.expired[0] == 0 || r.log.count(command.ExpireClients) < 2 {
			t.Errorf("clients: %v with %d commands", r.expired, r.log.count(command.ExpireClients))
		}
		if err := volume("vol4", 5); errs.KindOf(err) != errs.VolumeExists {
			t.Errorf("a forgotten client is answered: %v", err)
		}
		time.Sleep(2 * time.Hour)
		r.ok(r.Expire(ctx))
		if r.expired[1] != 5 || r.log.count(command.ExpireOpenKeys) != 3 {
			t.Errorf("open keys: %v with %d commands", r.expired, r.log.count(command.ExpireOpenKeys))
		}
		r.sound()
	})
}

// TestRun: each task runs at its interval, only while the node leads; one that
// fails is told and tried again.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var leads atomic.Bool
		r := newRig(t, reclaim.Options{
			Leads: leads.Load, PurgeInterval: time.Second, FreeInterval: time.Second, FreeGrace: -1,
			ExpireInterval: time.Hour, SweepInterval: -1, SweepGrace: time.Minute,
		})
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		e := r.commit("tree", "dir/key", 1)
		stray := r.put(1)
		r.remove("tree", "dir/")
		pass := func(d time.Duration) {
			t.Helper()
			r.ok(r.store.Flush())
			time.Sleep(d)
			synctest.Wait()
		}
		pass(time.Minute)
		if r.log.count(command.PurgeDirs) != 0 {
			t.Error("it does not lead, and proposes")
		}
		leads.Store(true)
		r.log.fail(func(command.Kind) error { return errs.New(errs.Unavailable, "log", "planted") })
		pass(2500 * time.Millisecond)
		if r.failed["purge"] != 2 {
			t.Errorf("failures told: %v", r.failed)
		}
		r.log.fail(nil)
		pass(time.Second)
		if b := r.bucket("tree"); b.PendingDirectories != 0 {
			t.Errorf("not purged: %v", b)
		}
		pass(time.Second)
		if r.has(e) {
			t.Error("not freed")
		}
		pass(24 * time.Hour)
		if !r.has(stray) {
			t.Error("swept, though sweeps are off")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

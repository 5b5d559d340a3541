package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/ns"
	"o3/internal/om"
	"o3/internal/snapdiff/delta"
)

// snapshotResult is the result of the snapshot run.
type snapshotResult struct {
	Keys    int
	Create  []createTime
	Diffs   []diffTime
	Restore []restoreTime
	Writes  []writeRate
	API     []apiResult
	Reads   []readRate
	Many    manySnapshots
}

type createTime struct {
	Keys   int
	Millis float64 // of a CreateSnapshot, in the middle of many
	Write  float64 // of a CommitKey, likewise
}

type diffTime struct {
	Keys, Changes int
	Mode          string
	Seconds       float64
	Entries       uint64
	Rows          int64
	PeakMiB       float64 // of the heap, above what it was before
	SpilledMiB    float64
}

type restoreTime struct {
	Keys, Changes int
	Seconds       float64
}

type writeRate struct {
	Snapshots string
	Creates   speed
	Replaces  speed
}

type readRate struct {
	Operation      string
	Live, Snapshot float64 // per second
}

type manySnapshots struct {
	Snapshots                                  int
	CreatePerSecond, ListPerSecond, DeleteRate float64
	RestartSeconds                             float64
	DiskMiB                                    float64
}

// snapshots measures snapshots and their diffs in one process, durable as in
// the server, without a network.
func (s *settings) snapshots(ctx context.Context, l *lab) error {
	begin, before := time.Now(), loadAverage()
	r := &snapshotResult{Keys: s.keys}
	if err := s.growing(access.NewContext(ctx, access.System), l, r); err != nil {
		return err
	}
	if err := s.writesUnderSnapshots(access.NewContext(ctx, access.System), l, r); err != nil {
		return err
	}
	if err := s.writesOverAPI(ctx, l, r); err != nil {
		return err
	}
	if err := s.many(access.NewContext(ctx, access.System), l, r); err != nil {
		return err
	}
	return s.save("snapshots", r, s.snapshotText(r, before, time.Since(begin))+l.remarks())
}

// freshCore makes a node with a volume and a bucket.
func freshCore(ctx context.Context, dir string) (*core, error) {
	if err := os.MkdirAll(filepath.Join(dir, "om"), 0o755); err != nil {
		return nil, err
	}
	c, err := openCore(ctx, dir)
	if err != nil {
		return nil, err
	}
	_, err = c.om.CreateVolume(ctx, &o3v1.CreateVolumeRequest{Volume: "s3v", Owner: "root"})
	return c, errors.Join(err, c.bucket(ctx, coreBucket))
}

func (c *core) bucket(ctx context.Context, name string) error {
	_, err := c.om.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: name, Owner: "root"})
	return err
}

func (c *core) snapshot(ctx context.Context, bucket string) (*o3v1.SnapshotInfo, error) {
	resp, err := c.om.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket})
	return resp.GetSnapshot(), err
}

// forget deletes snapshots and reclaims all that they saw; it returns the rows
// that reclaim looked at.
func (c *core) forget(ctx context.Context, bucket string, list ...*o3v1.SnapshotInfo) (rows int, err error) {
	for _, one := range list {
		if _, err := c.om.DeleteSnapshot(ctx, &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: one.Name}); err != nil {
			return rows, err
		}
	}
	b, err := c.om.Readable(ctx, "s3v", bucket)
	if err != nil {
		return rows, err
	}
	for _, one := range list {
		for done := false; !done; {
			reply, err := om.Execute[commandpb.ReclaimSnapshotReply](ctx, c.om, command.ReclaimSnapshot,
				&commandpb.ReclaimSnapshot{BucketId: uint64(b.ID()), SnapshotOp: one.Op, Limit: 2000})
			if err != nil {
				return rows, err
			}
			rows += int(reply.Rows)
			done = reply.Done
		}
	}
	return rows, nil
}

// growing fills a bucket in steps, and measures at each.
func (s *settings) growing(ctx context.Context, l *lab, r *snapshotResult) (err error) {
	c, err := freshCore(ctx, filepath.Join(l.dir, "growing"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	w := &coreLoad{om: c.om}
	for keys := 1000; keys <= s.keys; keys *= 10 {
		if _, err := drive(ctx, 1024, time.Hour, upTo(&w.next, keys, w.create)); err != nil {
			return err
		}
		one, err := c.createTime(ctx, keys)
		if err != nil {
			return err
		}
		say("%d keys: a snapshot takes %.3f ms, a write %.3f ms", keys, one.Millis, one.Write)
		r.Create = append(r.Create, one)
		if keys < 100_000 {
			continue
		}
		if err := s.diffs(ctx, l, c, w, keys, 10_000, []string{"efficient", "ordered"}, r); err != nil {
			return err
		}
	}
	if _, err := drive(ctx, 1024, time.Hour, upTo(&w.next, s.keys, w.create)); err != nil {
		return err
	}
	modes := []string{"efficient", "ordered", "full"}
	if err := s.diffs(ctx, l, c, w, s.keys, min(1_000_000, s.keys/2), modes, r); err != nil {
		return err
	}
	return s.reads(ctx, c, w, r)
}

// createTime measures creating a snapshot beside a write of a key.
func (c *core) createTime(ctx context.Context, keys int) (createTime, error) {
	var creates, writes []float64
	var made []*o3v1.SnapshotInfo
	for i := range 50 {
		begin := time.Now()
		one, err := c.snapshot(ctx, coreBucket)
		if err != nil {
			return createTime{}, err
		}
		creates = append(creates, time.Since(begin).Seconds()*1000)
		made = append(made, one)
		begin = time.Now()
		_, err = c.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: coreBucket, Key: fmt.Sprintf("beside-%d", i)})
		if err != nil {
			return createTime{}, err
		}
		writes = append(writes, time.Since(begin).Seconds()*1000)
	}
	slices.Sort(creates)
	slices.Sort(writes)
	_, err := c.forget(ctx, coreBucket, made...)
	return createTime{keys, creates[len(creates)/2], writes[len(writes)/2]}, err
}

// change makes n changes: they overwrite or, when mixed, of ten four overwrite,
// two create, two delete and two rename, and no other change comes to them.
func (c *core) change(ctx context.Context, w *coreLoad, n int, mixed bool) error {
	var next atomic.Uint64
	first := w.changed
	if mixed {
		w.changed += uint64(n)
	}
	_, err := drive(ctx, 512, time.Hour, func(ctx context.Context, _ *rand.Rand) (int, error) {
		i := next.Add(1) - 1
		if i >= uint64(n) {
			return 0, errEnough
		}
		key := coreKey(first + i)
		var err error
		kind := i % 10
		if !mixed {
			kind = 0
		}
		switch kind {
		case 0, 1, 2, 3:
			_, err = c.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: coreBucket, Key: key, Etag: fmt.Sprintf("%032d", i)})
		case 4, 5:
			_, err = c.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: coreBucket, Key: "new/" + key, Etag: fmt.Sprintf("%032d", i)})
		case 6, 7:
			_, err = c.om.DeleteKeys(ctx, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: coreBucket, Keys: []*o3v1.DeleteKey{{Key: key}}})
		default:
			_, err = c.om.RenameKey(ctx, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: coreBucket, From: key, To: "moved/" + key})
		}
		return 1, err
	})
	return err
}

// restore puts a bucket back as a snapshot has it.
func (c *core) restore(ctx context.Context, name string) error {
	req := &o3v1.RestoreSnapshotRequest{Volume: "s3v", Bucket: coreBucket, Name: name, Exact: true}
	for {
		resp, err := c.om.RestoreSnapshot(ctx, req)
		if err != nil || resp.NextToken == "" {
			return err
		}
		req.Token = resp.NextToken
	}
}

func (s *settings) diffs(ctx context.Context, l *lab, c *core, w *coreLoad, keys, changes int, modes []string, r *snapshotResult) error {
	from, err := c.snapshot(ctx, coreBucket)
	if err != nil {
		return err
	}
	if err := c.change(ctx, w, changes, true); err != nil {
		return err
	}
	to, err := c.snapshot(ctx, coreBucket)
	if err != nil {
		return err
	}
	for _, mode := range modes {
		var all []diffTime
		for range s.rounds {
			one, err := c.diff(ctx, filepath.Join(l.dir, "scratch"), from, to, mode)
			if err != nil {
				return err
			}
			one.Keys, one.Changes = keys, changes
			all = append(all, one)
		}
		slices.SortFunc(all, func(a, b diffTime) int { return int(1e6 * (a.Seconds - b.Seconds)) })
		middle := all[len(all)/2]
		say("%d keys, %d changes, %s: %.3f s, %d entries, %.0f MiB", keys, changes, mode, middle.Seconds, middle.Entries, middle.PeakMiB)
		r.Diffs = append(r.Diffs, middle)
	}
	if len(r.Restore) == 0 { // once, where the bucket is smallest
		begin := time.Now()
		if err := c.restore(ctx, from.Name); err != nil {
			return err
		}
		r.Restore = append(r.Restore, restoreTime{keys, changes, time.Since(begin).Seconds()})
		say("restored %d keys of %d in %.1f s", changes, keys, r.Restore[0].Seconds)
	}
	begin := time.Now()
	rows, err := c.forget(ctx, coreBucket, from, to)
	say("reclaimed %d rows in %v", rows, time.Since(begin).Round(time.Millisecond))
	return err
}

// diff computes a difference once, and watches the heap meanwhile.
func (c *core) diff(ctx context.Context, dir string, from, to *o3v1.SnapshotInfo, mode string) (diffTime, error) {
	b, err := c.om.Readable(ctx, "s3v", coreBucket)
	if err != nil {
		return diffTime{}, err
	}
	state := c.store.Snapshot()
	defer state.Close()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := before.HeapAlloc
	begin, looked := time.Now(), 0
	result, err := delta.Compute(ctx, delta.Options{
		Reader: state, Bucket: b.ID(), Layout: b.Layout(), From: ns.Op(from.Op), To: ns.Op(to.Op), Full: mode == "full", Ordered: mode == "ordered",
		Dir: dir, Sink: func(*o3v1.DiffEntry) error { return nil },
		Check: func() error {
			if looked++; looked%100 == 0 {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
			}
			return ctx.Err()
		},
	})
	return diffTime{
		Mode: mode, Seconds: time.Since(begin).Seconds(), Entries: result.Counts.Total(), Rows: result.RowsRead,
		PeakMiB: float64(peak-before.HeapAlloc) / (1 << 20), SpilledMiB: float64(result.Spilled) / (1 << 20),
	}, err
}

// reads measures point reads and listings of a snapshot beside live ones.
func (s *settings) reads(ctx context.Context, c *core, w *coreLoad, r *snapshotResult) error {
	one, err := c.snapshot(ctx, coreBucket)
	if err != nil {
		return err
	}
	if err := c.change(ctx, w, min(10_000, s.keys), false); err != nil {
		return err
	}
	mount := ".snapshot/" + one.Name + "/"
	total := w.next.Load()
	for _, what := range []string{"lookup", "list"} {
		var rates [2][]float64
		for range s.rounds {
			for side, prefix := range []string{"", mount} {
				got, err := s.measured(ctx, what+" "+prefix, 1, func(ctx context.Context, rng *rand.Rand) (int, error) {
					key := prefix + coreKey(w.changed+rng.Uint64N(total-w.changed))
					if what == "lookup" {
						_, err := c.om.GetKey(ctx, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: coreBucket, Key: key})
						return 1, err
					}
					page, err := c.om.ListKeys(ctx, &o3v1.ListKeysRequest{Volume: "s3v", Bucket: coreBucket, Prefix: prefix, StartAfter: key})
					return len(page.GetKeys()), err
				})
				if err != nil {
					return err
				}
				rates[side] = append(rates[side], got.PerSecond)
			}
		}
		r.Reads = append(r.Reads, readRate{what, middleOf(rates[0]), middleOf(rates[1])})
	}
	_, err = c.forget(ctx, coreBucket, one)
	return err
}

// writesUnderSnapshots measures writes to buckets with none, one and a hundred
// snapshots, and to one that gets another every 100 ms.
func (s *settings) writesUnderSnapshots(ctx context.Context, l *lab, r *snapshotResult) (err error) {
	c, err := freshCore(ctx, filepath.Join(l.dir, "writes"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	const keys = 50_000
	names := []string{"none", "one", "hundred", "every-100ms"}
	loads := map[string]*writeLoad{}
	for _, name := range names {
		w := &writeLoad{om: c.om, bucket: "b-" + name}
		loads[name] = w
		if err := c.bucket(ctx, w.bucket); err != nil {
			return err
		}
		if _, err := drive(ctx, 512, time.Hour, upTo(&w.next, keys, w.create)); err != nil {
			return err
		}
		for range map[string]int{"one": 1, "hundred": 100}[name] {
			if _, err := c.snapshot(ctx, w.bucket); err != nil {
				return err
			}
		}
	}
	creates, replaces := map[string][]speed{}, map[string][]speed{}
	for range s.rounds {
		for _, name := range names {
			w := loads[name]
			stop := c.keepTaking(ctx, w.bucket, name == "every-100ms")
			made, err := s.measured(ctx, "create, snapshots: "+name, 32, w.create)
			if err == nil {
				creates[name] = append(creates[name], made)
				made, err = s.measured(ctx, "replace, snapshots: "+name, 32, w.replace)
				replaces[name] = append(replaces[name], made)
			}
			if err := errors.Join(err, stop()); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		r.Writes = append(r.Writes, writeRate{name, middle(creates[name]), middle(replaces[name])})
	}
	return nil
}

// keepTaking takes a snapshot every 100 ms until the returned function is called.
func (c *core) keepTaking(ctx context.Context, bucket string, on bool) (stop func() error) {
	if !on {
		return func() error { return nil }
	}
	return every100ms(ctx, func(ctx context.Context) error {
		_, err := c.snapshot(ctx, bucket)
		return err
	})
}

// every100ms calls f until the returned function is called.
func every100ms(ctx context.Context, f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				done <- nil
				return
			}
			if err := f(ctx); err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
	}()
	return func() error {
		cancel()
		return <-done
	}
}

// writeLoad writes to one bucket.
type writeLoad struct {
	om     *om.Service
	bucket string
	next   atomic.Uint64
}

func (w *writeLoad) put(ctx context.Context, n uint64) (int, error) {
	_, err := w.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: w.bucket, Key: coreKey(n), Etag: fmt.Sprintf("%032d", n)})
	return 1, err
}

func (w *writeLoad) create(ctx context.Context, _ *rand.Rand) (int, error) {
	return w.put(ctx, w.next.Add(1)-1)
}

func (w *writeLoad) replace(ctx context.Context, rng *rand.Rand) (int, error) {
	return w.put(ctx, rng.Uint64N(w.next.Load()))
}

// many measures a store with very many snapshots.
func (s *settings) many(ctx context.Context, l *lab, r *snapshotResult) error {
	dir := filepath.Join(l.dir, "many")
	c, err := freshCore(ctx, dir)
	if err != nil {
		return err
	}
	n, buckets := min(100_000, s.keys), 100
	for b := range buckets {
		if err := c.bucket(ctx, fmt.Sprintf("many-%02d", b)); err != nil {
			return errors.Join(err, c.close())
		}
	}
	var next atomic.Uint64
	begin := time.Now()
	_, err = drive(ctx, 64, time.Hour, func(ctx context.Context, _ *rand.Rand) (int, error) {
		i := next.Add(1) - 1
		if i >= uint64(n) {
			return 0, errEnough
		}
		bucket := fmt.Sprintf("many-%02d", i%uint64(buckets))
		_, err := c.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: "key", Etag: fmt.Sprint(i)})
		if err == nil {
			_, err = c.om.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: fmt.Sprintf("s%d", i)})
		}
		return 1, err
	})
	if err != nil {
		return errors.Join(err, c.close())
	}
	r.Many = manySnapshots{Snapshots: n, CreatePerSecond: float64(n) / time.Since(begin).Seconds()}
	begin = time.Now()
	if err := errors.Join(c.listAll(ctx, buckets, n), c.close()); err != nil {
		return err
	}
	r.Many.ListPerSecond = float64(n) / time.Since(begin).Seconds()
	r.Many.DiskMiB = float64(diskUse(filepath.Join(dir, "om", "store"))) / (1 << 20)
	begin = time.Now()
	if c, err = openCore(ctx, dir); err != nil {
		return err
	}
	r.Many.RestartSeconds = time.Since(begin).Seconds()
	begin = time.Now()
	err = c.deleteAll(ctx, buckets)
	r.Many.DeleteRate = float64(n) / time.Since(begin).Seconds()
	say("%d snapshots: %+v", n, r.Many)
	return errors.Join(err, c.close())
}

func (c *core) listAll(ctx context.Context, buckets, want int) error {
	got := 0
	for b := range buckets {
		req := &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: fmt.Sprintf("many-%02d", b)}
		for {
			page, err := c.om.ListSnapshots(ctx, req)
			if err != nil {
				return err
			}
			got += len(page.Snapshots)
			if !page.Truncated {
				break
			}
			req.StartAfter = page.Snapshots[len(page.Snapshots)-1].Name
		}
	}
	if got != want {
		return fmt.Errorf("%d snapshots are listed, %d were made", got, want)
	}
	return nil
}

// deleteAll deletes and reclaims all snapshots, the oldest of each bucket first.
func (c *core) deleteAll(ctx context.Context, buckets int) error {
	var next atomic.Uint64
	_, err := drive(ctx, min(buckets, 32), time.Hour, func(ctx context.Context, _ *rand.Rand) (int, error) {
		i := next.Add(1) - 1
		if i >= uint64(buckets) {
			return 0, errEnough
		}
		bucket, n := fmt.Sprintf("many-%02d", i), 0
		for {
			page, err := c.om.ListSnapshots(ctx, &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: bucket})
			if err != nil || len(page.Snapshots) == 0 {
				return max(n, 1), err
			}
			if _, err := c.forget(ctx, bucket, page.Snapshots...); err != nil {
				return max(n, 1), err
			}
			n += len(page.Snapshots)
		}
	})
	return err
}

func (s *settings) snapshotText(r *snapshotResult, load string, took time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Machine: %s. One-minute load average before the run %s; %s in all. In one process, durable, without a network.\n",
		machine(), load, took.Round(time.Second))
	p("| Keys of the bucket | create a snapshot, ms | write a key, ms |\n|---|---|---|")
	for _, c := range r.Create {
		p("| %d | %.3f | %.3f |", c.Keys, c.Millis, c.Write)
	}
	p("\n| Diff | changes | keys of the bucket | seconds | entries | rows read | rows per second | heap MiB, peak above before | spilled MiB |\n|---|---|---|---|---|---|---|---|---|")
	for _, d := range r.Diffs {
		p("| %s | %d | %d | %.3f | %d | %d | %s | %.0f | %.0f |", d.Mode, d.Changes, d.Keys, d.Seconds, d.Entries, d.Rows,
			rate(float64(d.Rows)/d.Seconds), d.PeakMiB, d.SpilledMiB)
	}
	for _, t := range r.Restore {
		p("\nA bucket of %d keys, of which %d had changed, was restored from its snapshot, exactly, in %.2f s.", t.Keys, t.Changes, t.Seconds)
	}
	p("\n| Snapshots of the bucket | creates per second | CPU µs | times none's CPU | replaces per second | CPU µs | times none's CPU |\n|---|---|---|---|---|---|---|")
	for _, w := range r.Writes {
		none := r.Writes[0]
		p("| %s | %s | %.1f | **%.2f** | %s | %.1f | **%.2f** |", w.Snapshots, rate(w.Creates.PerSecond), w.Creates.Micros, w.Creates.Micros/none.Creates.Micros,
			rate(w.Replaces.PerSecond), w.Replaces.Micros, w.Replaces.Micros/none.Replaces.Micros)
	}
	p("\n| Over the OM API: snapshots of the bucket | replaces per second | server CPU µs | times none's CPU |\n|---|---|---|---|")
	for _, a := range r.API {
		p("| %s | %s | %.0f | **%.2f** |", a.Operation, rate(a.PerSecond), a.ServerMicros, a.ServerMicros/r.API[0].ServerMicros)
	}
	p("\n| Read | live, per second | snapshot, per second | ratio |\n|---|---|---|---|")
	for _, d := range r.Reads {
		p("| %s | %s | %s | %.2f |", d.Operation, rate(d.Live), rate(d.Snapshot), d.Snapshot/d.Live)
	}
	m := r.Many
	p("\n%d snapshots of 100 buckets, a key replaced before each: made %.0f a second, listed %.0f a second, restart in %.2f s, deleted and reclaimed %.0f a second, %.1f MiB on disk.",
		m.Snapshots, m.CreatePerSecond, m.ListPerSecond, m.RestartSeconds, m.DeleteRate, m.DiskMiB)
	return b.String()
}

func middleOf(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

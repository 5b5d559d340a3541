package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/lifecycle"
	"o3/internal/schema"
)

// lifecycleResult is what `bench lifecycle` finds.
type lifecycleResult struct {
	Keys    int
	Scans   []scanRate
	Latency []putLatency
}

// scanRate is a scan of a bucket.
type scanRate struct {
	Layout, Due      string
	Seconds          float64
	RowsPerCore      float64 // rows in a second of CPU time
	Raw              float64 // rows that a scan of the store reads in it, undecoded
	Deleted          int
	DeletesPerSecond float64
	Commands         int
	Pointers         int // commands that carried nothing but where the scan stands
}

// putLatency is what foreground writes feel of a scan that deletes.
type putLatency struct {
	Scan             string
	PerSecond        float64
	P50, P99         float64 // milliseconds
	DeletesPerSecond float64
}

// lifecycle measures lifecycle scans in one process, durable as in the server,
// without a network.
func (s *settings) lifecycle(ctx context.Context, l *lab) error {
	begin, before := time.Now(), loadAverage()
	r := &lifecycleResult{Keys: s.keys}
	ctx = access.NewContext(ctx, access.System)
	for _, layout := range []string{"OBJECT_STORE", "FILE_SYSTEM_OPTIMIZED"} {
		if err := s.scans(ctx, l, layout, r); err != nil {
			return err
		}
	}
	for _, scan := range []struct {
		name string
		rate float64
	}{{"none", -1}, {"10,000 deletes a second", 10_000}, {"no bound", 0}} {
		if err := s.beside(ctx, l, scan.name, scan.rate, r); err != nil {
			return err
		}
	}
	return s.save("lifecycle", r, s.lifecycleText(r, before, time.Since(begin))+l.remarks())
}

// counted is a service that runs until a scan has ended.
type counted struct {
	sync.Mutex
	commands, pointers, deleted int
	ended                       chan struct{}
}

// service starts a lifecycle service.
func (c *core) service(ctx context.Context, rate float64) (got *counted, stop func()) {
	got = &counted{ended: make(chan struct{}, 100)}
	s := lifecycle.New(lifecycle.Options{
		Namespace: c.om, Leads: func() bool { return true }, Rate: rate, Interval: 1000 * time.Hour, LeadInterval: 10 * time.Millisecond, TrashKeep: -1,
		Listener: lifecycle.Listener{
			Stepped: func(step lifecycle.Step) {
				got.Lock()
				defer got.Unlock()
				got.commands++
				if len(step.Victims) == 0 {
					got.pointers++
				}
				got.deleted += int(step.Reply.Done.DeletedKeys)
			},
			Ended: func(lifecycle.Scan) { got.ended <- struct{}{} },
		},
	})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	return got, func() { cancel(); <-done }
}

func (c *core) rules(ctx context.Context, bucket string, rules ...*o3v1.LifecycleRule) error {
	_, err := c.om.SetLifecycle(ctx, &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: bucket, Configuration: &o3v1.LifecycleConfiguration{Rules: rules}})
	return err
}

func expireRule(id, prefix string, days int32) *o3v1.LifecycleRule {
	r := &o3v1.LifecycleRule{Id: id, Enabled: true, Filter: &o3v1.LifecycleFilter{Prefix: &prefix}}
	if days > 0 {
		r.ExpireDays = &days
	} else {
		r.ExpireDateMs = new(int64) // 1970: at once
	}
	return r
}

// scans measures whole scans of a bucket by rules that find more and more.
func (s *settings) scans(ctx context.Context, l *lab, layout string, r *lifecycleResult) (err error) {
	c, err := freshCore(ctx, filepath.Join(l.dir, "scans-"+layout))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	w := &writeLoad{om: c.om, bucket: "scanned"}
	if _, err := c.om.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: w.bucket, Owner: "root", Layout: layout}); err != nil {
		return err
	}
	if _, err := drive(ctx, 1024, time.Hour, upTo(&w.next, s.keys, w.create)); err != nil {
		return err
	}
	if err := c.replica.Flush(); err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	raw, err := c.rawScan()
	if err != nil {
		return err
	}
	for _, due := range []struct {
		name  string
		rules []*o3v1.LifecycleRule
	}{
		{"nothing", []*o3v1.LifecycleRule{expireRule("far off", "", 10_000)}},
		{"1 %", []*o3v1.LifecycleRule{expireRule("far off", "", 10_000), expireRule("some", "dir00", 0)}}, // ten of the thousand directories
		{"everything", []*o3v1.LifecycleRule{expireRule("all", "", 0)}},
	} {
		if err := c.rules(ctx, w.bucket, due.rules...); err != nil {
			return err
		}
		cpu, began := processorTime(), time.Now()
		got, stop := c.service(ctx, 0)
		select {
		case <-got.ended:
		case <-ctx.Done():
			err = ctx.Err()
		}
		took := time.Since(began).Seconds()
		stop()
		if err != nil {
			return err
		}
		one := scanRate{
			Layout: layout, Due: due.name, Seconds: took, RowsPerCore: float64(s.keys) / (processorTime() - cpu).Seconds(), Raw: raw, Deleted: got.deleted,
			DeletesPerSecond: float64(got.deleted) / took, Commands: got.commands, Pointers: got.pointers,
		}
		say("%s, %s due: %s rows per core and second, %d deleted in %.2f s", layout, due.name, rate(one.RowsPerCore), one.Deleted, took)
		r.Scans = append(r.Scans, one)
	}
	return nil
}

// settle waits until the store has compacted what was written.
func (c *core) settle(ctx context.Context) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for quiet, since := 0, c.store.Metrics().Compactions; quiet < 5; {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		m := c.store.Metrics()
		if quiet++; m.CompactionsRunning > 0 || m.Compactions != since {
			quiet, since = 0, m.Compactions
		}
	}
	return nil
}

// rawScan reads every row of the entries, undecoded, and returns how many in a
// second of CPU time.
func (c *core) rawScan() (float64, error) {
	cpu, rows := processorTime(), 0
	for range 3 {
		it, err := c.store.Iter(schema.Entries.All())
		if err != nil {
			return 0, err
		}
		for ok := it.First(); ok; ok = it.Next() {
			if _, err := it.Value(); err != nil {
				return 0, errors.Join(err, it.Close())
			}
			rows++
		}
		if err := errors.Join(it.Err(), it.Close()); err != nil {
			return 0, err
		}
	}
	return float64(rows) / (processorTime() - cpu).Seconds(), nil
}

// beside measures writes to one bucket while a scan deletes all of another.
func (s *settings) beside(ctx context.Context, l *lab, name string, bound float64, r *lifecycleResult) (err error) {
	c, err := freshCore(ctx, filepath.Join(l.dir, fmt.Sprint("beside", bound)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	old := &writeLoad{om: c.om, bucket: "old"}
	if err := c.bucket(ctx, old.bucket); err != nil {
		return err
	}
	if _, err := drive(ctx, 1024, time.Hour, upTo(&old.next, s.keys, old.create)); err != nil {
		return err
	}
	got, stop := &counted{}, func() {}
	if bound >= 0 {
		if err := c.rules(ctx, old.bucket, expireRule("all", "", 0)); err != nil {
			return err
		}
		got, stop = c.service(ctx, bound)
	}
	w := &writeLoad{om: c.om, bucket: coreBucket}
	var mu sync.Mutex
	var all []time.Duration
	began := time.Now()
	_, err = drive(ctx, 8, s.duration, func(ctx context.Context, rng *rand.Rand) (int, error) {
		at := time.Now()
		n, err := w.create(ctx, rng)
		mu.Lock()
		all = append(all, time.Since(at))
		mu.Unlock()
		return n, err
	})
	took := time.Since(began).Seconds()
	got.Lock()
	deleted := got.deleted
	got.Unlock()
	stop()
	if err != nil || len(all) == 0 {
		return errors.Join(err, ctx.Err())
	}
	slices.Sort(all)
	ms := func(share float64) float64 { return all[int(share*float64(len(all)-1))].Seconds() * 1000 }
	r.Latency = append(r.Latency, putLatency{name, float64(len(all)) / took, ms(.5), ms(.99), float64(deleted) / took})
	say("writes beside a scan, %s: %s a second, 99th percentile %.2f ms", name, rate(float64(len(all))/took), ms(.99))
	return nil
}

func (s *settings) lifecycleText(r *lifecycleResult, load string, took time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Machine: %s. One-minute load average before the run %s; %s in all. In one process, durable, without a network; a bucket of %d keys, compacted. A raw scan reads the same rows, undecoded.\n",
		machine(), load, took.Round(time.Second), r.Keys)
	p("| Layout | due | seconds | keys per core and second | raw scan | share | deleted | deletes per second | commands | of them with a position only |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, c := range r.Scans {
		p("| %s | %s | %.2f | %s | %s | **%.0f %%** | %d | %s | %d | %d |", c.Layout, c.Due, c.Seconds, rate(c.RowsPerCore), rate(c.Raw), 100*c.RowsPerCore/c.Raw, c.Deleted,
			rate(c.DeletesPerSecond), c.Commands, c.Pointers)
	}
	p("\n| Writes of 8 clients beside a scan that deletes everything | writes per second | median, ms | 99th percentile, ms | deletes per second |\n|---|---|---|---|---|")
	for _, c := range r.Latency {
		p("| %s | %s | %.2f | %.2f | %s |", c.Scan, rate(c.PerSecond), c.P50, c.P99, rate(c.DeletesPerSecond))
	}
	return b.String()
}

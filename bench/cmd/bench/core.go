package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/consensus"
	"o3/internal/om"
	"o3/internal/pebblekv"
	"o3/internal/replica"
	"o3/internal/schema"
)

// coreResult is a rate of the namespace without a network.
type coreResult struct {
	Operation  string
	Callers    int
	Ours       speed
	RawName    string
	RawCallers int
	Raw        speed
}

// rowSizes are the bytes of a key's row, on average.
type rowSizes struct{ Key, Value int }

// The load of the namespace: which bucket, what keys.
const coreBucket = "core"

func coreKey(n uint64) string { return fmt.Sprintf("dir%03d/object-%010d", n%1000, n) }

// core is a node without edges and blocks: the store, the log, the state
// machine, and the service over them, durable as in the server.
type core struct {
	store   *pebblekv.Store
	replica *replica.Replica
	log     *consensus.Node
	om      *om.Service
	stop    context.CancelFunc
	done    chan error
}

// openCore opens the directories of a server that is stopped.
func openCore(ctx context.Context, data string) (c *core, err error) {
	c = &core{done: make(chan error, 1)}
	c.store, err = pebblekv.Open(pebblekv.Options{
		Dir: filepath.Join(data, "om", "store"), Name: "om", Version: schema.Format, DisableWAL: true, CacheBytes: 256 << 20, MemTableBytes: 64 << 20,
	})
	if err != nil {
		return nil, err
	}
	if c.replica, err = replica.Open(c.store); err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	c.log, err = consensus.Open(consensus.Options{ID: 1, Machine: c.replica, Dir: filepath.Join(data, "om", "raft"), Bootstrap: []uint64{1}})
	if err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	c.om = om.New(om.Options{Store: c.store, Log: c.log, Settings: c.replica.Settings})
	ctx, c.stop = context.WithCancel(ctx)
	go func() { c.done <- c.log.Run(ctx) }()
	return c, c.om.Ready(ctx)
}

func (c *core) close() error {
	flushed := c.replica.Flush()
	c.stop()
	err := <-c.done
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(flushed, err, c.log.Close(), c.store.Close())
}

// inProcess measures the namespace and the raw store in turns, and leaves the
// namespace with all the keys.
func (s *settings) inProcess(ctx context.Context, data, rawDir string, r *namespaceResult) error {
	c, err := openCore(ctx, data)
	if err != nil {
		return err
	}
	err = s.exercise(access.NewContext(ctx, access.System), c, rawDir, r)
	return errors.Join(err, c.close())
}

func (s *settings) exercise(ctx context.Context, c *core, rawDir string, r *namespaceResult) (err error) {
	if _, err := c.om.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: coreBucket, Owner: "root"}); err != nil {
		return err
	}
	w := &coreLoad{om: c.om}
	if _, err := drive(ctx, 32, time.Second, w.create); err != nil { // for the sizes of rows, and to warm up
		return err
	}
	if err := c.measureRows(r); err != nil {
		return err
	}
	raw, err := openRaw(rawDir, r.RowBytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.close()) }()
	writes := []bout{
		{"create", 1, w.create, "raw batches", 1, raw.batch}, {"create", 32, w.create, "raw synced commits", 32, raw.synced},
		{"create", 512, w.create, "raw batches", 1, raw.batch},
	}
	if err := s.bouts(ctx, r, writes); err != nil {
		return err
	}
	say("loading up to %d keys", s.keys)
	if _, err := drive(ctx, 2048, time.Hour, upTo(&w.next, s.keys, w.create)); err != nil {
		return err
	}
	if _, err := drive(ctx, 1, time.Hour, upTo(&raw.full.next, s.keys, raw.load)); err != nil {
		return err
	}
	if err := errors.Join(c.replica.Flush(), raw.full.Flush()); err != nil {
		return err
	}
	cores := runtime.NumCPU()
	return s.bouts(ctx, r, []bout{
		{"lookup", 1, w.lookup, "raw gets", 1, raw.get}, {"lookup", 32, w.lookup, "raw gets", cores, raw.get},
		{"list", 1, w.list, "raw scan", 1, raw.scan}, {"list", 32, w.list, "raw scan", cores, raw.scan},
	})
}

// bout is an operation of the namespace and what it is compared with.
type bout struct {
	name    string
	callers int
	do      operation
	rawName string
	raws    int
	raw     operation
}

// bouts measures each pair in turns.
func (s *settings) bouts(ctx context.Context, r *namespaceResult, all []bout) error {
	for _, b := range all {
		var ours, theirs []speed
		for range s.rounds {
			v, err := s.measured(ctx, b.name, b.callers, b.do)
			if err != nil {
				return err
			}
			ours = append(ours, v)
			if v, err = s.measured(ctx, b.rawName, b.raws, b.raw); err != nil {
				return err
			}
			theirs = append(theirs, v)
		}
		r.Core = append(r.Core, coreResult{b.name, b.callers, middle(ours), b.rawName, b.raws, middle(theirs)})
	}
	return nil
}

// upTo calls do until n keys are there.
func upTo(next *atomic.Uint64, n int, do operation) operation {
	return func(ctx context.Context, rng *rand.Rand) (int, error) {
		if next.Load() >= uint64(n) {
			return 0, errEnough
		}
		return do(ctx, rng)
	}
}

// coreLoad is the load of the namespace in one process.
type coreLoad struct {
	om   *om.Service
	next atomic.Uint64 // keys that are there, or being made

	changed uint64 // the first of them have been changed otherwise
}

func (w *coreLoad) create(ctx context.Context, _ *rand.Rand) (int, error) {
	_, err := w.om.CommitKey(ctx, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: coreBucket, Key: coreKey(w.next.Add(1) - 1), Etag: "00112233445566778899aabbccddeeff"})
	return 1, err
}

func (w *coreLoad) lookup(ctx context.Context, rng *rand.Rand) (int, error) {
	_, err := w.om.GetKey(ctx, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: coreBucket, Key: coreKey(rng.Uint64N(w.next.Load()))})
	return 1, err
}

func (w *coreLoad) list(ctx context.Context, rng *rand.Rand) (int, error) {
	page, err := w.om.ListKeys(ctx, &o3v1.ListKeysRequest{Volume: "s3v", Bucket: coreBucket, StartAfter: coreKey(rng.Uint64N(w.next.Load()))})
	return len(page.GetKeys()), err
}

// operation does something and returns how many keys that were.
type operation func(context.Context, *rand.Rand) (int, error)

var errEnough = errors.New("enough")

// measured runs do for a while.
func (s *settings) measured(ctx context.Context, name string, callers int, do operation) (speed, error) {
	runtime.GC() // that of the work before
	stop, err := s.profiled(fmt.Sprintf("%s-%d", name, callers))
	if err != nil {
		return speed{}, err
	}
	v, err := drive(ctx, callers, s.duration, do)
	if err := errors.Join(err, stop()); err != nil {
		return v, err
	}
	say("%s × %d: %.0f/s, %.2f µs", name, callers, v.PerSecond, v.Micros)
	return v, nil
}

// profiled starts a CPU profile of this process, if there is to be one.
func (s *settings) profiled(name string) (stop func() error, err error) {
	if !s.profiles {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(s.out, name+".pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

// speed is how fast something is done, and what it costs.
type speed struct {
	PerSecond float64
	Micros    float64 // CPU time of this process for each, however many do it
}

// middle returns the speed in the middle, by cost: what else the machine does
// disturbs that less than the rate.
func middle(all []speed) speed {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b speed) int { return cmp.Compare(a.Micros, b.Micros) })
	return sorted[len(sorted)/2]
}

// drive calls do from many goroutines.
func drive(ctx context.Context, callers int, limit time.Duration, do operation) (speed, error) {
	var wg sync.WaitGroup
	var done atomic.Int64
	failed := make(chan error, callers)
	begin, used := time.Now(), processorTime()
	for i := range callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for ctx.Err() == nil && time.Since(begin) < limit {
				n, err := do(ctx, rng)
				if errors.Is(err, errEnough) {
					return
				}
				if err != nil {
					failed <- err
					return
				}
				done.Add(int64(n))
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return speed{}, err
	default:
	}
	n := float64(max(done.Load(), 1))
	return speed{n / time.Since(begin).Seconds(), float64((processorTime() - used).Microseconds()) / n}, ctx.Err()
}

// processorTime is the user and system time of this process.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measureRows finds out how large the rows of a key are.
func (c *core) measureRows(r *namespaceResult) error {
	lower, upper := schema.Entries.All()
	it, err := c.store.Iter(lower, upper)
	if err != nil {
		return err
	}
	rows, keys, values := 0, 0, 0
	for ok := it.First(); ok && rows < 100_000; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		rows, keys, values = rows+1, keys+len(it.Key()), values+len(v)
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil || rows == 0 {
		return errors.Join(err, fmt.Errorf("%d rows of keys", rows))
	}
	r.RowBytes = rowSizes{Key: keys / rows, Value: values / rows}
	return nil
}

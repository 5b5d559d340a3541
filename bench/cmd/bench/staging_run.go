package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm"
	"o3/internal/image"
	"o3/internal/ns"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// stagingCommand is the command of a process that makes stages.
const stagingCommand = "recon-staging"

// stagingOrder is what such a process is to do.
type stagingOrder struct {
	Dir      string // of the namespace; Recon's is beside it
	InPlace  bool
	Clients  int // of the API; 0: only stages are made
	Duration time.Duration
}

// stagingRun is what came of it; times are seconds, latencies milliseconds.
type stagingRun struct {
	First        float64 // from an image of the OM to answers, of a Recon that has nothing
	Local        float64 // a rebuild of the tables here
	Before, Peak int64   // bytes of memory, of the process
	Switch       float64

	Rest, During, After apiLoad
	Rollback            float64 // to the generation before
	Undone              float64 // of a stage that was cancelled in the middle
}

// stagingHere does what that process is for.
func stagingHere(ctx context.Context, order string) (err error) {
	var o stagingOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	om, err := openQuietOM(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, om.store.Close()) }()
	r := startRecon(ctx, om, filepath.Join(filepath.Dir(o.Dir), "recon"), o.InPlace)
	defer func() { err = errors.Join(err, r.close()) }()
	var out stagingRun
	if err := r.stages(ctx, &out); err != nil {
		return err
	}
	if o.Clients > 0 {
		if err := r.api(ctx, o, &out); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// quietOM is an OM that nobody writes to.
type quietOM struct {
	store *pebblekv.Store
	pos   fsm.Position
}

func openQuietOM(dir string) (*quietOM, error) {
	s, err := pebblekv.Open(pebblekv.Options{Dir: dir, Name: "om", Version: schema.Format, DisableWAL: true, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	pos, _, err := fsm.ReadPosition(s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &quietOM{s, pos}, nil
}

// Name implements recon.Source.
func (o *quietOM) Name() string { return "om" }

// Follow implements recon.Source.
func (o *quietOM) Follow(ctx context.Context, _, _ uint64, f func(*o3v1.ReadLogResponse) error) error {
	state := &o3v1.LogState{Index: o.pos.Index, Digest: o.pos.Digest.String(), NodeId: "om"}
	if err := f(&o3v1.ReadLogResponse{CommitIndex: o.pos.Index, FirstIndex: 1, State: state}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// Image implements recon.Source: hard links, as within one process.
func (o *quietOM) Image(_ context.Context, dir string, _ []string, progress func(done, total int64)) (*image.Manifest, error) {
	progress(1, 1)
	return &image.Manifest{ID: "bench", Index: o.pos.Index, Digest: o.pos.Digest.String()}, o.store.Checkpoint(dir)
}

// countedKeys makes a namespace as manyKeys does, whose bucket says what is in it.
func countedKeys(dir string, keys int) (err error) {
	if err := manyKeys(dir, keys); err != nil {
		return err
	}
	s, err := pebblekv.Open(pebblekv.Options{Dir: dir, Name: "om", Version: schema.Format, DisableWAL: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	bytes := uint64(0)
	for n := range keys {
		bytes += uint64(1) << (n % 24)
	}
	dirs := uint64((keys + treeDir - 1) / treeDir)
	volume, err := schema.Volumes.Encode(&schemapb.Volume{ObjectId: 1, Owner: "root", Buckets: 1, UsedBytes: bytes, UsedNames: uint64(keys) + dirs})
	if err != nil {
		return err
	}
	bucket, err := schema.Buckets.Encode(&schemapb.Bucket{
		ObjectId: uint64(treeBucket), Layout: uint32(ns.FileSystem), Owner: "root", UsedBytes: bytes, UsedKeys: uint64(keys), UsedDirectories: dirs,
	})
	if err != nil {
		return err
	}
	b := s.NewBatch()
	err = errors.Join(b.Set(schema.Volumes.Key("vol"), volume), b.Set(schema.Buckets.Key(schema.BucketKey{Volume: 1, Name: "bench"}), bucket))
	if err == nil {
		err = b.Commit(false)
	}
	return errors.Join(err, b.Close(), s.Flush())
}

// reconUnder is a Recon that is measured.
type reconUnder struct {
	*recon.Service
	dir       string
	cancel    context.CancelFunc
	done      chan error
	committed chan commit
	moved     chan staging.Transition
}

type commit struct{ took, switching time.Duration }

// startRecon starts one with the memory a server gives it.
func startRecon(ctx context.Context, om *quietOM, dir string, inPlace bool) *reconUnder {
	r := &reconUnder{dir: dir, done: make(chan error, 1), committed: make(chan commit, 64), moved: make(chan staging.Transition, 1024)}
	r.Service = recon.New(recon.Options{
		Dir: dir, Sources: []recon.Source{om},
		Rebuild:    task.RebuildOptions{Memory: 64 << 20},
		Generation: generation.Options{CacheBytes: 16 << 20, MemoryBytes: 4 << 20},
		Staging:    recon.StagingOptions{Disabled: inPlace},
		Listener: recon.Listener{
			Committed:  func(_ string, took, switching time.Duration) { r.committed <- commit{took, switching} },
			Transition: func(t staging.Transition) { r.moved <- t },
			Failed:     func(what string, err error) { say("recon: %s: %v", what, err) },
		},
	})
	ctx, r.cancel = context.WithCancel(ctx)
	go func() { r.done <- r.Run(ctx) }()
	return r
}

func (r *reconUnder) close() error {
	r.cancel()
	return errors.Join(<-r.done, os.RemoveAll(r.dir))
}

// made waits for the end of a stage.
func (r *reconUnder) made(ctx context.Context) (c commit, err error) {
	for {
		select {
		case c = <-r.committed:
		case t := <-r.moved:
			if t.To == staging.RollingBack {
				return c, fmt.Errorf("a stage came to nothing: %s: %s", t.Reason, t.Detail)
			}
			if t.From == staging.Committed {
				return <-r.committed, nil
			}
			continue
		case err := <-r.done:
			r.done <- err
			return c, fmt.Errorf("Recon has ended: %w", err)
		case <-ctx.Done():
			return c, ctx.Err()
		}
		for t := range r.moved { // the state is NONE again
			if t.From == staging.Committed {
				return c, nil
			}
		}
	}
}

// stages measures the first stage, and a rebuild of what it has made.
func (r *reconUnder) stages(ctx context.Context, out *stagingRun) error {
	first, err := r.made(ctx)
	if err != nil {
		return err
	}
	out.First = first.took.Seconds()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak counts from here
		return err
	}
	if out.Before, err = memoryPeak(); err != nil {
		return err
	}
	began := time.Now()
	if _, err := r.Trigger(recon.Trigger{Kind: staging.Local}); err != nil {
		return err
	}
	local, err := r.made(ctx)
	if err != nil {
		return err
	}
	out.Local, out.Switch = time.Since(began).Seconds(), local.switching.Seconds()
	out.Peak, err = memoryPeak()
	return err
}

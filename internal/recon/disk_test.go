package recon_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/image"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/recon/task/tasktest"
	"o3/internal/schema"
)

// disk is one of which a power cut leaves something, and which can be full: a file
// system, and the files of SQLite on it, each with the states since it was last
// flushed.
type disk struct {
	mem  *vfs.MemFS
	full atomic.Bool

	mu  sync.Mutex
	sql map[string][]*tasktest.SQL

	// op, if it is set, is told of each operation that changes something, before it;
	// its error is the operation's. It may be set at any time.
	op atomic.Pointer[func(what string) error]
}

func newDisk() *disk { return &disk{mem: vfs.NewCrashableMem(), sql: map[string][]*tasktest.SQL{}} }

var errFull = syscall.ENOSPC

func (d *disk) watch(op func(what string) error) { d.op.Store(&op) }

func (d *disk) told(what string) error {
	if op := d.op.Load(); op != nil {
		return (*op)(what)
	}
	return nil
}

func (d *disk) change(what string) error {
	if err := d.told(what); err != nil {
		return err
	}
	if d.full.Load() {
		return errFull
	}
	return nil
}

func (d *disk) fs() vfs.FS {
	return errorfs.Wrap(d.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileClose, errorfs.OpRemove, errorfs.OpRemoveAll, errorfs.OpFilePreallocate:
			if op.Kind != errorfs.OpFileClose {
				return d.told(fmt.Sprint(op.Kind, " ", op.Path))
			}
			return nil // also on a full disk
		}
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		return d.change(fmt.Sprint(op.Kind, " ", op.Path))
	}))
}

// crash returns what a power cut leaves.
func (d *disk) crash(rng *rand.Rand, percent int) *disk {
	left := &disk{mem: d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), sql: map[string][]*tasktest.SQL{}}
	d.mu.Lock()
	defer d.mu.Unlock()
	for path, states := range d.sql {
		at := rng.IntN(len(states))
		switch percent {
		case 0:
			at = 0
		case 100:
			at = len(states) - 1
		}
		left.sql[path] = []*tasktest.SQL{states[at].Clone()}
	}
	return left
}

// open is generation.Options.OpenSQL.
func (d *disk) open(_ context.Context, path string) (generation.SQL, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sql[path] == nil {
		d.sql[path] = []*tasktest.SQL{tasktest.NewSQL()}
	}
	states := d.sql[path]
	return &sqlOn{states[len(states)-1].Clone(), d, path}, nil
}

// remove is generation.Options.RemoveSQL.
func (d *disk) remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sql, path)
	return nil
}

// sqlOn is a file of SQLite on a disk.
type sqlOn struct {
	*tasktest.SQL
	d    *disk
	path string
}

func (s *sqlOn) Apply(index uint64, run fsm.Run, add func(func([]byte, task.Counts) error) error) error {
	if err := s.d.change("apply " + s.path); err != nil {
		return errs.Wrap(errs.ReadOnly, s.path, err)
	}
	if err := s.SQL.Apply(index, run, add); err != nil {
		return err
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.sql[s.path] = append(s.d.sql[s.path], s.SQL.Clone())
	return nil
}

func (s *sqlOn) Flush() error {
	if err := s.d.change("flush " + s.path); err != nil {
		return errs.Wrap(errs.ReadOnly, s.path, err)
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	states := s.d.sql[s.path]
	s.d.sql[s.path] = states[len(states)-1:]
	return nil
}

func (s *sqlOn) Backup(_ context.Context, path string) error {
	if err := s.d.change("backup " + path); err != nil {
		return errs.Wrap(errs.ReadOnly, path, err)
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.sql[path] = []*tasktest.SQL{s.SQL.Clone()}
	return nil
}

func (s *sqlOn) Verify(context.Context) error          { return nil }
func (s *sqlOn) SetTasks([]sqltables.TaskStatus) error { return nil }
func (s *sqlOn) Close() error                          { return nil }

func (s *sqlOn) Snapshot(context.Context) (generation.SQLView, error) {
	return sqlView{SQL: s.SQL.Clone()}, nil
}

// sqlView has no names: nobody asks for them here.
type sqlView struct {
	*tasktest.SQL
	generation.SQLView
}

func (v sqlView) Index() (uint64, error)           { return v.Cursor() }
func (v sqlView) Stats() (map[string]int64, error) { return v.SQL.Stats(), nil }
func (v sqlView) Close() error                     { return nil }

func (v sqlView) FileCounts(_ sqltables.Counts, f func(sqltables.FileCount) error) (err error) {
	v.SQL.FileCounts(func(bucket ns.ObjectID, bin, count int64) {
		err = errors.Join(err, f(sqltables.FileCount{Bucket: bucket, Limit: bin, Count: count}))
	})
	return err
}

// onDisk is an om whose images are made on a disk.
type onDisk struct {
	*om
	d *disk
}

// Image implements recon.Source: the rows of the OM, in a store of its own.
func (o onDisk) Image(_ context.Context, dir string, _ []string, progress func(done, total int64)) (*image.Manifest, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fs := o.d.fs()
	if err := fs.RemoveAll(dir); err != nil {
		return nil, errs.Wrap(errs.Internal, dir, err)
	}
	s, err := pebblekv.Open(pebblekv.Options{Dir: dir, FS: fs, Name: "om", Version: schema.Format, DisableWAL: true, DiskSlowAfter: -1, CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		return nil, err
	}
	progress(1, 1)
	err = errors.Join(copyRows(s, o.store), s.Flush(), s.Close())
	pos := o.om.d.Machine.Position()
	return &image.Manifest{ID: fmt.Sprint(pos.Index), Index: pos.Index, Digest: pos.Digest.String()}, err
}

func copyRows(to kv.Store, from kv.Reader) error {
	it, err := from.Iter(nil, nil)
	if err != nil {
		return err
	}
	b := to.NewBatch()
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var value []byte
		if value, err = it.Value(); err == nil {
			err = b.Set(append([]byte(nil), it.Key()...), append([]byte(nil), value...))
		}
	}
	err = errors.Join(err, it.Err(), it.Close())
	if err == nil {
		err = b.Commit(false)
	}
	return errors.Join(err, b.Close())
}

// on starts a Service on a disk.
func (o *om) on(t *testing.T, d *disk, change func(*recon.Options)) *rig {
	return o.follow(t, "/recon", func(opts *recon.Options) {
		opts.Sources = []recon.Source{onDisk{o, d}}
		opts.Generation = generation.Options{FS: d.fs(), CacheBytes: 1 << 20, MemoryBytes: 256 << 10, OpenSQL: d.open, RemoveSQL: d.remove}
		opts.Rebuild.Dir = t.TempDir()
		opts.Staging.Retention = 0
		opts.Staging.HealthInterval = 2 * time.Millisecond
		opts.Staging.Space = func(string) (uint64, uint64, error) {
			if d.full.Load() {
				return 0, 1 << 30, nil
			}
			return 1 << 30, 1 << 30, nil
		}
		if change != nil {
			change(opts)
		}
	})
}

// cutting records what a power cut would leave before one operation of so many.
type cutting struct {
	d     *disk
	rng   *rand.Rand
	mu    sync.Mutex
	on    bool
	left  []*disk
	op    []string
	ops   int
	every int
	at    int // which of these comes next
}

func (c *cutting) cut(what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return nil
	}
	if c.ops%c.every == 0 {
		c.at = c.ops + c.rng.IntN(c.every)
	}
	c.ops++
	if c.ops-1 != c.at {
		return nil
	}
	for _, percent := range []int{0, 50, 100} {
		c.left = append(c.left, c.d.crash(c.rng, percent))
		c.op = append(c.op, what)
	}
	return nil
}

// short names an operation without what differs.
func short(op string) string { return strings.TrimPrefix(op, "/recon/") }

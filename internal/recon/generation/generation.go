// Package generation is one complete set of what Recon knows: a replica of the
// namespace, the derived tables in a store, and those in a SQLite file, in one
// directory (docs/formats/recon.md).
//
// The log brings all three forward. Each commits its rows together with a cursor
// of its own; a crash leaves each at some entry, and the replica never durably
// beyond the others, so that the log makes them agree again. A View sees all three
// at the same entry. Apply, Rebuild and Flush belong to one goroutine; views may
// be taken and closed by many. The package starts no goroutines but those of its
// stores and of Rebuild, which end before Close and Rebuild return.
package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/pebblekv"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/replica"
	"o3/internal/schema"
	"o3/internal/view"
)

// What a generation's directory holds.
const (
	ReplicaDir = "replica"      // the store's files of an image, and what came since
	derivedDir = "derived"      // the derived tables
	scratchDir = "scratch"      // of a rebuild
	sqlFile    = "recon.sqlite" // those that users open
)

// DerivedFormat is the newest format of the store of derived tables. Format 2
// names the tables that are in it; those of format 1 are built anew.
const DerivedFormat = 2

// SQL is the file of SQLite as a generation uses it.
type SQL interface {
	task.SQL
	Snapshot(ctx context.Context) (SQLView, error) // at the last Apply
	SetTasks([]sqltables.TaskStatus) error
	Backup(ctx context.Context, path string) error // a copy at one moment
	Verify(ctx context.Context) error              // of what is stored; kind Corrupt
	Flush() error
	Close() error
}

// SQLView reads the tables of SQLite at one index.
type SQLView interface {
	Index() (uint64, error)
	Stats() (map[string]int64, error)
	FileCounts(of sqltables.Counts, f func(sqltables.FileCount) error) error
	Bucket(id ns.ObjectID) (name sqltables.BucketName, ok bool, err error)
	Buckets(from ns.ObjectID, f func(sqltables.BucketName) (bool, error)) error
	Close() error
}

// Options is where a generation is. Dir must be set, with the replica's files in
// it; a zero field means its default.
type Options struct {
	Dir string
	FS  vfs.FS // of both stores; nil: the operating system's

	StoreName   string // kind of the replica's store, as its source has it; "om"
	CacheBytes  int64  // of each store; 64 MiB
	MemoryBytes int    // of each store for rows not yet written; 32 MiB
	Tasks       []task.Task
	OpenSQL     func(ctx context.Context, path string) (SQL, error) // nil: sqltables
	RemoveSQL   func(path string) error                             // what OpenSQL has made; nil: files
	Listener    pebblekv.Listener                                   // of both stores
	Applied     func([]task.Work)                                   // what the tasks did for each run of entries, told by who applies; valid during the call
}

// Generation is an open one.
type Generation struct {
	o       Options
	rows    *pebblekv.Store
	replica *replica.Replica
	stores  sync.Mutex // held while the two below are opened, and flushed
	derived *pebblekv.Store
	sql     SQL
	set     *task.Set

	applying sync.Mutex   // held while the three change, or must not
	mu       sync.RWMutex // held to write while the three change, to read while a view is taken
	views    sync.WaitGroup
	tables   sync.WaitGroup // views that look at derived tables
	withheld *Withheld      // nil: they are shown
	frozen   *frozen        // nil: it can be brought forward
	shut     bool
	failed   atomic.Bool // the last Apply
}

// Open opens the generation in o.Dir.
func Open(ctx context.Context, o Options) (g *Generation, err error) {
	made := &Generation{o: o}
	g = made
	if g.o.StoreName == "" {
		g.o.StoreName = "om"
	}
	if g.o.CacheBytes == 0 {
		g.o.CacheBytes = 64 << 20
	}
	if g.o.MemoryBytes == 0 {
		g.o.MemoryBytes = 32 << 20
	}
	if g.o.Tasks == nil {
		g.o.Tasks = task.All()
	}
	if g.o.OpenSQL == nil {
		g.o.OpenSQL = openSQL
	}
	if g.o.RemoveSQL == nil {
		g.o.RemoveSQL = removeSQL
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.closeStores())
		}
	}()
	if g.rows, err = g.store(ReplicaDir, g.o.StoreName, schema.Format, g.flushDerived); err != nil {
		return nil, err
	}
	if g.replica, err = replica.Open(g.rows); err != nil {
		return nil, err
	}
	if err := g.openDerived(ctx); err != nil {
		return nil, err
	}
	g.replica.Watch(g.derive)
	return g, nil
}

func (g *Generation) store(name, kind string, format int, beforeFlush func() error) (*pebblekv.Store, error) {
	return pebblekv.Open(pebblekv.Options{
		Dir: filepath.Join(g.o.Dir, name), FS: g.o.FS, Name: kind, Version: format, DisableWAL: true,
		CacheBytes: g.o.CacheBytes, MemTableBytes: g.o.MemoryBytes,
		BeforeFlush: beforeFlush, Listener: g.o.Listener,
	})
}

// openDerived opens the derived tables.
func (g *Generation) openDerived(ctx context.Context) (err error) {
	g.stores.Lock()
	defer g.stores.Unlock()
	if g.derived, err = g.store(derivedDir, "recon", DerivedFormat, nil); err != nil {
		return err
	}
	if g.sql, err = g.o.OpenSQL(ctx, filepath.Join(g.o.Dir, sqlFile)); err != nil {
		return err
	}
	if g.set, err = task.OpenSet(g.derived, g.sql, g.o.Tasks, g.rows); err != nil {
		return err
	}
	g.set.Applied = g.o.Applied
	return nil
}

// closeDerived closes the derived tables.
func (g *Generation) closeDerived() (err error) {
	g.stores.Lock()
	defer g.stores.Unlock()
	if g.sql != nil {
		err = g.sql.Close()
	}
	if g.derived != nil {
		err = errors.Join(err, g.derived.Close())
	}
	g.derived, g.sql = nil, nil
	return err
}

// Position returns what the replica has applied.
func (g *Generation) Position() fsm.Position { return g.replica.Position() }

// Built reports whether the derived tables are there and can be brought forward:
// neither of their stores is behind the replica, and they are those of its tasks.
func (g *Generation) Built() (bool, error) {
	store, sql, err := g.set.Cursors()
	if at := g.Position().Index; err != nil || store < at || sql < at {
		return false, err
	}
	return g.set.Whole()
}

// Whole reports whether the derived tables are those of the generation's tasks, as
// far as they are there. False: a program with other tasks has built them.
func (g *Generation) Whole() (bool, error) { return g.set.Whole() }

// derive brings the derived tables forward by what the replica is about to
// commit.
func (g *Generation) derive(run fsm.Run, rows kv.Reader) error { return g.set.Apply(run, rows) }

// maxRun bounds how many entries are applied at once: views wait that long.
const maxRun = 64

// Apply applies log entries that follow the position. Those at or before it are
// skipped. After an error views are those of the position, and nothing more is
// applied until the generation was closed and opened again; it may stand at an
// earlier entry then.
func (g *Generation) Apply(entries []consensus.Entry) error {
	for len(entries) > 0 {
		n := g.cut(entries)
		if err := g.apply(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func (g *Generation) apply(entries []consensus.Entry) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.shut:
		return errs.New(errs.Unavailable, g.o.Dir, "the generation is closed")
	case g.frozen != nil:
		return g.errFrozen()
	}
	if err := g.sound(); err != nil {
		return err
	}
	before, err := g.freeze()
	if err != nil {
		return err
	}
	if _, err := g.replica.Apply(entries); err != nil {
		g.frozen = before
		g.failed.Store(true)
		index, _ := g.sql.Cursor()
		_ = g.setTasks(sqltables.TaskStatus{Index: index, Failed: true}) // the error is told of anyway
		return err
	}
	return before.close()
}

// cut returns how many of the entries go together: a run must not go beyond where
// one of the derived stores stands that is ahead of the replica after a crash.
func (g *Generation) cut(entries []consensus.Entry) int {
	n := min(len(entries), maxRun)
	store, sql, err := g.set.Cursors()
	if err != nil {
		return 1 // Apply will see it
	}
	for _, at := range []uint64{store, sql} {
		for i, e := range entries[:n] {
			if e.Index == at {
				n = i + 1
				break
			}
		}
	}
	return n
}

// Flush makes everything applied durable.
func (g *Generation) Flush() error { return g.rows.Flush() }

// flushDerived makes the derived tables durable. The replica's store calls it
// before it makes anything durable itself, and a run is in the derived tables
// before it is in the replica: so that is never ahead of them.
func (g *Generation) flushDerived() error {
	g.stores.Lock()
	defer g.stores.Unlock()
	if g.derived == nil || g.sql == nil {
		return nil // they are being opened, and nothing was applied
	}
	index, err := g.sql.Cursor()
	if err != nil {
		return err
	}
	return errors.Join(g.setTasks(sqltables.TaskStatus{Index: index, Failed: g.failed.Load()}), g.derived.Flush(), g.sql.Flush())
}

// setTasks says how the tasks are, which is the same of all.
func (g *Generation) setTasks(how sqltables.TaskStatus) error {
	var list []sqltables.TaskStatus
	for _, t := range g.o.Tasks {
		how.Name, how.Updated = t.Name, time.Now()
		list = append(list, how)
	}
	return g.sql.SetTasks(list)
}

// Rebuild makes the derived tables from the replica as it stands. What was there
// of them is dropped first, so nobody may look at the generation yet.
func (g *Generation) Rebuild(ctx context.Context, o task.RebuildOptions) (task.Rebuilt, error) {
	if err := g.drop(ctx); err != nil {
		return task.Rebuilt{}, err
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(g.o.Dir, scratchDir)
	}
	snap := g.rows.Snapshot()
	defer snap.Close()
	pos, _, err := fsm.ReadPosition(snap)
	if err != nil {
		return task.Rebuilt{}, err
	}
	if err := g.setTasks(sqltables.TaskStatus{Running: true}); err != nil {
		return task.Rebuilt{}, err
	}
	out, err := g.set.Rebuild(ctx, snap, pos.Index, o)
	if err = errors.Join(err, os.RemoveAll(o.Dir)); err != nil {
		return out, errors.Join(err, g.setTasks(sqltables.TaskStatus{Failed: true}))
	}
	return out, g.Flush()
}

// drop empties the derived tables.
func (g *Generation) drop(ctx context.Context) (err error) {
	store, sql, err := g.set.Cursors()
	if err != nil {
		return err
	}
	it, err := g.derived.Iter(nil, nil)
	if err != nil {
		return err
	}
	empty := !it.First()
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		return err
	}
	if store == 0 && sql == 0 && empty {
		return nil
	}
	if err := g.closeDerived(); err != nil {
		return err
	}
	files := g.o.FS
	if files == nil {
		files = vfs.Default
	}
	if err := files.RemoveAll(filepath.Join(g.o.Dir, derivedDir)); err != nil {
		return errs.Wrap(errs.Internal, g.o.Dir, err)
	}
	if err := g.o.RemoveSQL(filepath.Join(g.o.Dir, sqlFile)); err != nil {
		return errs.Wrap(errs.Internal, g.o.Dir, err)
	}
	return g.openDerived(ctx)
}

// removeSQL removes a file of SQLite and those beside it.
func removeSQL(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Checkpoint makes dir a copy of the replica at one index, of which no bytes are
// copied. Of one whose stores have failed it is what was durable.
func (g *Generation) Checkpoint(dir string) error {
	if g.sound() != nil {
		return g.cloneStore(filepath.Join(g.o.Dir, ReplicaDir), dir)
	}
	return g.rows.Checkpoint(dir)
}

// View is a look at a generation: everything it answers is of one index. It is
// safe for concurrent use until Close.
type View struct {
	view.View
	Rows    kv.Reader // of the namespace
	Derived kv.Reader
	SQL     SQLView
	At      fsm.Position

	closers []func() error
	done    func()
}

// View takes a look; the caller closes it. Kind Unavailable once the generation is
// being closed.
func (g *Generation) View(ctx context.Context) (*View, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.view(ctx, g.withheld)
}

// Inspect is View for whoever builds the tables: it sees them also while they are
// withheld from others.
func (g *Generation) Inspect(ctx context.Context) (*View, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.view(ctx, nil)
}

// view takes a look; g.mu is held to read.
func (g *Generation) view(ctx context.Context, w *Withheld) (*View, error) {
	if g.shut {
		return nil, errs.New(errs.Unavailable, g.o.Dir, "the generation is closed")
	}
	if w != nil {
		rows := g.rows.Snapshot()
		g.views.Add(1)
		return &View{View: view.New(rows), Rows: rows, Derived: noTables{w}, SQL: noSQL{w}, At: g.Position(),
			closers: []func() error{rows.Close}, done: g.views.Done}, nil
	}
	if g.frozen != nil {
		g.views.Add(1)
		g.tables.Add(1)
		return g.frozen.view(func() { g.tables.Done(); g.views.Done() }), nil
	}
	sql, err := g.sql.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	rows, derived := g.rows.Snapshot(), g.derived.Snapshot()
	v := &View{View: view.New(rows), Rows: rows, Derived: derived, SQL: sql, At: g.Position(),
		closers: []func() error{sql.Close, rows.Close, derived.Close}, done: func() { g.tables.Done(); g.views.Done() }}
	g.views.Add(1)
	g.tables.Add(1)
	return v, g.agree(v)
}

// agree checks that all of a view is of the same index.
func (g *Generation) agree(v *View) error {
	store, err := task.Cursor(v.Derived)
	if err == nil {
		var sql uint64
		if sql, err = v.SQL.Index(); err == nil && (store != v.At.Index || sql != v.At.Index) {
			err = errs.New(errs.Unavailable, g.o.Dir,
				fmt.Sprintf("the namespace is at index %d, the derived tables are at %d and %d", v.At.Index, store, sql))
		}
	}
	if err != nil {
		return errors.Join(err, v.Close())
	}
	return nil
}

// Close ends a look.
func (v *View) Close() error {
	if v.done == nil {
		return nil
	}
	var err error
	for _, f := range v.closers {
		err = errors.Join(err, f())
	}
	v.done()
	v.done = nil
	return err
}

// Close waits until all views are closed, and closes the stores. It does not
// flush.
func (g *Generation) Close() error {
	g.mu.Lock()
	g.shut = true
	g.mu.Unlock()
	g.views.Wait()
	err := g.frozen.close()
	g.frozen = nil
	return errors.Join(err, g.closeStores())
}

// closeStores closes the replica first: it may write once more, and then flushes
// the others.
func (g *Generation) closeStores() error {
	var err error
	if g.rows != nil {
		err = g.rows.Close()
	}
	return errors.Join(err, g.closeDerived())
}

// sqlDB is *sqltables.DB as SQL.
type sqlDB struct{ *sqltables.DB }

// Snapshot implements SQL.
func (d sqlDB) Snapshot(ctx context.Context) (SQLView, error) { return d.DB.Snapshot(ctx) }

func openSQL(ctx context.Context, path string) (SQL, error) {
	d, err := sqltables.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return sqlDB{d}, nil
}

// FlushIfSound is Flush, but of stores that have failed: what they have is all
// that is durable.
func (g *Generation) FlushIfSound() error {
	if g.rows.Err() != nil || g.derived.Err() != nil {
		return nil
	}
	return g.Flush()
}

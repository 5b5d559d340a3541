package generation

import (
	"context"
	"errors"
	"sync"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/recon/sqltables"
	"o3/internal/view"
)

// frozen is a generation at the last entry at which all of it agreed. One that
// could not be brought forward is shown so, since some of its stores may have gone
// on without the others.
type frozen struct {
	rows, derived kv.Snapshot
	sql           *oneAtATime
	at            fsm.Position
}

// freeze takes what a failure will be shown as; g.mu is held.
func (g *Generation) freeze() (*frozen, error) {
	sql, err := g.sql.Snapshot(context.Background())
	if err != nil {
		return nil, err
	}
	return &frozen{g.rows.Snapshot(), g.derived.Snapshot(), &oneAtATime{s: sql}, g.Position()}, nil
}

func (f *frozen) close() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.sql.s.Close(), f.rows.Close(), f.derived.Close())
}

// sound fails when a store takes no more writes, before anything else is written.
func (g *Generation) sound() error { return errors.Join(g.rows.Err(), g.derived.Err()) }

// view is a look at it.
func (f *frozen) view(done func()) *View {
	return &View{View: view.New(f.rows), Rows: f.rows, Derived: f.derived, SQL: f.sql, At: f.at, done: done}
}

// oneAtATime lets many read what belongs to one goroutine at a time.
type oneAtATime struct {
	mu sync.Mutex
	s  SQLView
}

// Index implements SQLView.
func (o *oneAtATime) Index() (uint64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.Index()
}

// Stats implements SQLView.
func (o *oneAtATime) Stats() (map[string]int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.Stats()
}

// FileCounts implements SQLView.
func (o *oneAtATime) FileCounts(of sqltables.Counts, f func(sqltables.FileCount) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.FileCounts(of, f)
}

// Bucket implements SQLView.
func (o *oneAtATime) Bucket(id ns.ObjectID) (sqltables.BucketName, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.Bucket(id)
}

// Buckets implements SQLView.
func (o *oneAtATime) Buckets(from ns.ObjectID, f func(sqltables.BucketName) (bool, error)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.Buckets(from, f)
}

// Close implements SQLView; it is closed with the generation.
func (o *oneAtATime) Close() error { return nil }

// errFrozen is what a generation is told that could not be brought forward before.
func (g *Generation) errFrozen() error {
	return errs.New(errs.Unavailable, g.o.Dir, "it could not be brought forward, and must be opened again")
}

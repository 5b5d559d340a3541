package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/schema"
	"o3/internal/spill"
)

// RebuildOptions is how derived tables are built. Dir must be set; a zero field
// means its default.
type RebuildOptions struct {
	Dir     string // for what memory does not hold; made if it is absent, empty afterwards
	Workers int    // goroutines that read and decode rows; 2
	Memory  int    // bytes for counters and for sorting, all workers together; 64 MiB

	// Turn is asked by each worker, side by side, before it reads a batch: how many
	// rows that may have (0: as many as are best), and what is to be called after it.
	// It may let the worker wait. An error ends the rebuild. nil: all go on.
	Turn func(ctx context.Context) (rows int, done func(), err error)

	// Held is told how many bytes counters and records to be sorted take now, all
	// workers together; at the end 0. One call at a time, from several goroutines.
	Held func(bytes int)

	// Progress is told how many rows of a source table were read, one call at a
	// time, from several goroutines.
	Progress func(table string, rows int64)
}

// Rebuilt says what Rebuild did.
type Rebuilt struct {
	Rows    map[string]int64 // read, by table of the namespace
	Written int64            // derived rows
	Spilled int64            // bytes that memory did not hold
	Tasks   []Work           // in the order of the tasks

	Read  time.Duration // time to read all rows, have the tasks sum them up, and sort
	Write time.Duration // time to merge the sums and store them
}

// Rebuild fills the empty stores of s from rows, which is the namespace at index:
// one scan of each table that a task reads, in ranges that workers read side by
// side, whose rows all tasks are given. It returns early when ctx ends; what it
// has written then is no derived tables: they have no cursor.
func (s *Set) Rebuild(ctx context.Context, rows kv.Reader, index uint64, o RebuildOptions) (Rebuilt, error) {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return Rebuilt{}, errs.Wrap(errs.Internal, o.Dir, err)
	}
	r := &rebuild{s: s, plan: s.plan, rows: rows, index: index, o: o, works: s.plan.works(), out: Rebuilt{Rows: map[string]int64{}}}
	var err error
	if s.layouts, err = ReadLayouts(rows); err != nil {
		return r.out, err
	}
	defer r.close()
	began := time.Now()
	if err := r.collect(ctx); err != nil {
		return r.out, err
	}
	r.out.Read = time.Since(began)
	began = time.Now()
	if err := r.write(ctx); err != nil {
		return r.out, err
	}
	if err := r.finish(ctx); err != nil {
		return r.out, err
	}
	r.out.Write, r.out.Tasks = time.Since(began), r.works
	return r.out, nil
}

type rebuild struct {
	s     *Set
	plan  *plan
	rows  kv.Reader
	index uint64
	o     RebuildOptions
	out   Rebuilt
	works works

	sorters []*spill.Sorter
	workers []*worker

	progress sync.Mutex // of out.Rows and held while workers read
	held     int        // bytes, of all workers

	counts *merged
	totals *totals
	writer *writer
}

func (r *rebuild) close() {
	if r.o.Held != nil {
		defer r.o.Held(0)
	}
	if r.writer != nil {
		_ = r.writer.close() // what failed before is told already
	}
	for _, s := range r.sorters {
		_ = s.Close() // it frees memory and removes files
	}
}

// sorter returns a new sorter with a share of the memory.
func (r *rebuild) sorter(ctx context.Context, memory int) (*spill.Sorter, error) {
	dir := filepath.Join(r.o.Dir, fmt.Sprint(len(r.sorters)))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errs.Wrap(errs.Internal, dir, err)
	}
	s := spill.New(spill.Options{Dir: dir, Memory: memory, Check: ctx.Err})
	r.sorters = append(r.sorters, s)
	return s, nil
}

// newWorker returns a worker with its share of the memory.
func (r *rebuild) newWorker(ctx context.Context) (*worker, error) {
	eighth := r.o.Memory / r.o.Workers / 8
	w := &worker{plan: r.plan, sums: newSums(), memo: 2 * eighth, works: r.plan.works()}
	w.rows = batch{layouts: r.s.layouts, reader: r.rows}
	w.sums.owned = w.own
	var err error
	if w.counts, err = r.sorter(ctx, eighth); err != nil {
		return nil, err
	}
	for i, l := range lanes {
		if w.lanes[i], err = r.sorter(ctx, l.part*eighth); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// collect reads every table once and has workers sum up what its rows contribute.
func (r *rebuild) collect(ctx context.Context) error {
	var list []piece
	for _, d := range schema.Tables() {
		if r.plan.any[d.Space] {
			list = append(list, piece{space: d.Space, lower: []byte{d.Space}, upper: []byte{d.Space + 1}, order: uint64(d.Space) << 56, width: 1 << 56})
			r.out.Rows[d.Name] = 0
		}
	}
	q := newPieces(r.o.Workers, list)
	g, ctx := errgroup.WithContext(ctx)
	for range r.o.Workers {
		w, err := r.newWorker(ctx)
		if err != nil {
			return errors.Join(err, stop(q, g))
		}
		r.workers = append(r.workers, w)
		g.Go(func() error {
			err := r.work(ctx, q, w)
			if err != nil {
				q.end()
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, w := range r.workers {
		r.works.add(w.works)
	}
	return nil
}

// stop ends the workers that were started.
func stop(q *pieces, g *errgroup.Group) error {
	q.end()
	return g.Wait()
}

// work reads pieces until there are none.
func (r *rebuild) work(ctx context.Context, q *pieces, w *worker) error {
	add := func(key, value []byte) error {
		_, err := w.rows.add(key, value)
		return err
	}
	t := turns{o: r.o, batch: &w.most}
	defer t.end()
	flush := func(p piece, n int) error {
		if err := w.sum(); err != nil {
			return err
		}
		r.hold(w)
		r.tell(tableOf[p.space], int64(n))
		return t.next(ctx)
	}
	for {
		t.end()
		p, ok := q.next()
		if !ok {
			break
		}
		if err := t.next(ctx); err != nil {
			return err
		}
		if err := q.read(ctx, r.rows, p, &w.most, func(p piece) { w.order = p.order }, add, flush); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := w.end()
	r.hold(w)
	return err
}

// hold notes how much memory a worker takes.
func (r *rebuild) hold(w *worker) {
	now := w.held()
	r.progress.Lock()
	defer r.progress.Unlock()
	r.held += now - w.told
	w.told = now
	if r.o.Held != nil {
		r.o.Held(r.held)
	}
}

// tell counts rows that were read.
func (r *rebuild) tell(table string, n int64) {
	r.progress.Lock()
	defer r.progress.Unlock()
	r.out.Rows[table] += n
	if r.o.Progress != nil {
		r.o.Progress(table, r.out.Rows[table])
	}
}

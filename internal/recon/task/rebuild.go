package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/spill"
)

// RebuildOptions is how derived tables are built. Dir must be set; a zero field
// means its default.
type RebuildOptions struct {
	Dir     string // for what memory does not hold; made if it is absent, empty afterwards
	Workers int    // goroutines that decode rows; 2
	Memory  int    // bytes for counters and for sorting, all workers together; 64 MiB

	// Progress is told how many rows of how many source tables were read, from
	// one goroutine.
	Progress func(table string, rows int64)
}

// Rebuilt says what Rebuild did.
type Rebuilt struct {
	Rows    map[string]int64 // read, by table of the namespace
	Written int64            // derived rows
	Spilled int64            // bytes that memory did not hold
}

// Rebuild fills the empty stores of s from rows, which is the namespace at index:
// one scan of each table that a task reads, whose rows all tasks are given. It
// returns early when ctx ends; what it has written then is no derived tables:
// they have no cursor.
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
	r := &rebuild{s: s, rows: rows, index: index, o: o, by: byTable(s.tasks), out: Rebuilt{Rows: map[string]int64{}}}
	var err error
	if s.layouts, err = ReadLayouts(rows); err != nil {
		return r.out, err
	}
	defer r.close()
	for _, step := range []func(context.Context) error{r.collect, r.write, r.finish} {
		if err := step(ctx); err != nil {
			return r.out, err
		}
	}
	return r.out, nil
}

type rebuild struct {
	s       *Set
	rows    kv.Reader
	index   uint64
	o       RebuildOptions
	by      map[string][]Task
	sorters []*spill.Sorter
	out     Rebuilt

	batch  kv.Batch
	loader kv.Loader // nil: rows go by batches
	value  []byte
	sql    []sqlRow
	above  map[schema.DirKey]ns.ObjectID // where directories hang, as far as known
	totals *Sums
	total  *spill.Sorter
}

type sqlRow struct {
	key []byte
	c   Counts
}

func (r *rebuild) close() {
	for _, s := range r.sorters {
		_ = s.Close() // it frees memory and removes files; what failed before is told already
	}
	if r.batch != nil {
		_ = r.batch.Close()
	}
	if r.loader != nil {
		_ = r.loader.Close()
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

// rowBatch is rows on their way to a worker.
type rowBatch struct {
	data []byte
	ends []int // of keys and values, in turns
}

const batchBytes = 128 << 10

// collect reads every table once and has workers sum up what its rows contribute.
func (r *rebuild) collect(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan *rowBatch, r.o.Workers)
	free := make(chan *rowBatch, 2*r.o.Workers+1)
	share := r.o.Memory / r.o.Workers / 2
	for range r.o.Workers {
		sorter, err := r.sorter(ctx, share)
		if err != nil {
			return err
		}
		g.Go(func() error { return r.work(ctx, work, free, sorter, share) })
	}
	g.Go(func() error {
		defer close(work)
		for _, d := range schema.Tables() {
			if len(r.by[d.Name]) == 0 {
				continue
			}
			if err := r.read(ctx, d, work, free); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// read hands the rows of a table out.
func (r *rebuild) read(ctx context.Context, d schema.Description, work chan<- *rowBatch, free <-chan *rowBatch) error {
	it, err := r.rows.Iter([]byte{d.Space}, []byte{d.Space + 1})
	if err != nil {
		return err
	}
	defer it.Close()
	b, n := new(rowBatch), int64(0)
	send := func() error {
		select {
		case work <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case b = <-free:
			b.data, b.ends = b.data[:0], b.ends[:0]
		default:
			b = new(rowBatch)
		}
		if r.o.Progress != nil {
			r.o.Progress(d.Name, n)
		}
		return nil
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		b.data = append(b.data, it.Key()...)
		b.ends = append(b.ends, len(b.data))
		b.data = append(b.data, value...)
		b.ends = append(b.ends, len(b.data))
		if n++; len(b.data) >= batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	r.out.Rows[d.Name] = n
	if err := it.Err(); err != nil {
		return err
	}
	return send()
}

// work sums up what rows contribute, and sorts the sums.
func (r *rebuild) work(ctx context.Context, work <-chan *rowBatch, free chan<- *rowBatch, sorter *spill.Sorter, memory int) error {
	var value []byte
	emit := func(k []byte, c Counts) error {
		value = c.append(value[:0])
		return sorter.Add(k, value)
	}
	sums := newSums()
	sums.own = emit
	d := decoder{around: surroundings{r.s.layouts, r.rows}}
	for b := range work {
		at := 0
		for i := 0; i < len(b.ends); i += 2 {
			row, err := d.decode(b.data[at:b.ends[i]], b.data[b.ends[i]:b.ends[i+1]])
			if err != nil {
				return err
			}
			for _, t := range r.by[row.Table] {
				t.contribute(row, 1, sums)
			}
			at = b.ends[i+1]
		}
		if sums.err != nil {
			return sums.err
		}
		if sums.size > memory {
			if err := sums.drain(emit); err != nil {
				return err
			}
		}
		select {
		case free <- b:
		default:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := sums.drain(emit); err != nil {
		return err
	}
	return sorter.Sort()
}

// write merges the sums of all workers and stores them; on the way it makes the
// totals of subtrees, which it merges and stores likewise.
func (r *rebuild) write(ctx context.Context) (err error) {
	parts := r.sorters
	if r.total, err = r.sorter(ctx, r.o.Memory/4); err != nil {
		return err
	}
	r.totals, r.above, r.batch = newSums(), map[schema.DirKey]ns.ObjectID{}, r.s.store.NewBatch()
	if err := r.load(parts, r.row); err != nil {
		return err
	}
	if err := r.totals.drain(r.spillTotal); err != nil {
		return err
	}
	if err := r.total.Sort(); err != nil {
		return err
	}
	return r.load([]*spill.Sorter{r.total}, r.put)
}

// load stores what f makes of the merged rows, as table files if the store can
// take them.
func (r *rebuild) load(sorters []*spill.Sorter, f func(k []byte, c Counts) error) (err error) {
	s, ok := r.s.store.(kv.Loading)
	if !ok {
		return merge(sorters, f)
	}
	if r.loader, err = s.NewLoader(); err != nil {
		return err
	}
	if err = merge(sorters, f); err == nil {
		err = r.loader.Commit()
	}
	err = errors.Join(err, r.loader.Close())
	r.loader = nil
	return err
}

// row stores a merged row of any table, and counts one of namespace summaries in
// all directories above.
func (r *rebuild) row(k []byte, c Counts) error {
	if isSQL(k) {
		r.sql = append(r.sql, sqlRow{bytes.Clone(k), append(Counts(nil), c...)})
		return nil
	}
	if k[0] == tableDirect {
		if err := r.upwards(k, c); err != nil {
			return err
		}
	}
	return r.put(k, c)
}

// upwards adds what is in a directory to its total and those above it.
func (r *rebuild) upwards(k []byte, c Counts) error {
	bucket, dir, err := parseDir(k)
	if err != nil {
		return err
	}
	for range maxDepth {
		r.totals.AddAll(dirKey(tableTotal, bucket, dir), c, 1)
		if dir == bucket {
			break
		}
		parent, err := r.parent(schema.DirKey{Bucket: bucket, Dir: dir})
		if err != nil {
			return err
		}
		if parent == 0 {
			break
		}
		dir = parent
	}
	if r.totals.size > r.o.Memory/4 {
		return r.totals.drain(r.spillTotal)
	}
	return nil
}

// maxAbove bounds how many directories' places are remembered.
const maxAbove = 1 << 20

// parent returns where a directory hangs, 0 for nowhere.
func (r *rebuild) parent(k schema.DirKey) (ns.ObjectID, error) {
	if id, ok := r.above[k]; ok {
		return id, nil
	}
	row, _, err := schema.Dirs.Get(r.rows, k)
	if err != nil {
		return 0, err
	}
	if len(r.above) >= maxAbove {
		clear(r.above)
	}
	id := ns.ObjectID(row.GetParentId())
	r.above[k] = id
	return id, nil
}

func (r *rebuild) spillTotal(k []byte, c Counts) error { return r.total.Add(k, c.append(nil)) }

// commitBytes is how much is written at once.
const commitBytes = 4 << 20

func (r *rebuild) put(k []byte, c Counts) error {
	if c.zero() {
		return nil
	}
	r.out.Written++
	if r.loader != nil {
		if c.negative() {
			return put(r.batch, k, c) // which tells of it
		}
		r.value = c.append(r.value[:0])
		return r.loader.Add(k, r.value)
	}
	if err := put(r.batch, k, c); err != nil {
		return err
	}
	if r.batch.Len() < commitBytes {
		return nil
	}
	return r.commit()
}

func (r *rebuild) commit() error {
	err := errors.Join(r.batch.Commit(false), r.batch.Close())
	r.batch = r.s.store.NewBatch()
	return err
}

// finish moves the cursors: from then on the tables are there.
func (r *rebuild) finish(ctx context.Context) error {
	for _, s := range r.sorters {
		r.out.Spilled += s.Spilled()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	run, err := names(r.rows, r.index)
	if err != nil {
		return err
	}
	err = r.s.sql.Apply(r.index, run, func(yield func([]byte, Counts) error) error {
		for _, row := range r.sql {
			if err := yield(row.key, row.c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := setCursor(r.batch, r.index); err != nil {
		return err
	}
	if err := r.commit(); err != nil {
		return err
	}
	return r.s.store.Flush()
}

// names returns the run that makes all volumes and buckets.
func names(rows kv.Reader, index uint64) (fsm.Run, error) {
	run := fsm.Run{Index: index}
	for _, space := range []byte{schema.Volumes.Prefix()[0], schema.Buckets.Prefix()[0]} {
		it, err := rows.Iter([]byte{space}, []byte{space + 1})
		if err != nil {
			return run, err
		}
		for ok := it.First(); ok; ok = it.Next() {
			value, err := it.Value()
			if err != nil {
				return run, errors.Join(err, it.Close())
			}
			run.Changes = append(run.Changes, fsm.Change{Key: bytes.Clone(it.Key()), New: bytes.Clone(value)})
		}
		if err := errors.Join(it.Err(), it.Close()); err != nil {
			return run, err
		}
	}
	return run, nil
}

// merge calls f with each key of the sorters once, in order, and with the sum of
// what they have for it. The slices are valid during the call.
func merge(sorters []*spill.Sorter, f func(k []byte, c Counts) error) error {
	var live []*spill.Sorter
	for _, s := range sorters {
		if s.Next() {
			live = append(live, s)
		} else if err := s.Err(); err != nil {
			return err
		}
	}
	var k []byte
	var sum, one Counts
	for len(live) > 0 {
		least := live[0].Key()
		for _, s := range live[1:] {
			if bytes.Compare(s.Key(), least) < 0 {
				least = s.Key()
			}
		}
		k, sum = append(k[:0], least...), sum[:0]
		for i := 0; i < len(live); i++ {
			for s := live[i]; bytes.Equal(s.Key(), k); {
				var err error
				if one, err = parseCounts(one[:0], s.Value()); err != nil {
					return err
				}
				sum = sum.add(one, 1)
				if s.Next() {
					continue
				}
				if err := s.Err(); err != nil {
					return err
				}
				live = append(live[:i], live[i+1:]...)
				i--
				break
			}
		}
		if err := f(k, sum); err != nil {
			return err
		}
	}
	return nil
}

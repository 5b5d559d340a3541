package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/schema"
	"o3/internal/spill"
)

// write merges what the workers have summed up and stores it, table by table; on
// the way it makes the totals of subtrees.
func (r *rebuild) write(ctx context.Context) (err error) {
	var counts []*spill.Sorter
	for _, w := range r.workers {
		counts = append(counts, w.counts)
	}
	if r.counts, err = newMerged(counts); err != nil {
		return err
	}
	sorter, err := r.sorter(ctx, r.o.Memory/4)
	if err != nil {
		return err
	}
	r.totals = newTotals(r.rows, sorter, r.o.Memory/4)
	defer func() { err = errors.Join(err, r.totals.close()) }()
	if r.writer, err = newWriter(r.s.store, len(r.plan.tasks)); err != nil {
		return err
	}
	for _, t := range Tables() {
		if t.First >= sqlTables {
			break
		}
		if err := r.writer.begin(r.plan.fills[t.First]); err != nil {
			return err
		}
		if err := r.writeTable(t.First); err != nil {
			return err
		}
	}
	return r.writer.end(r.works)
}

// writeTable stores the rows of a table.
func (r *rebuild) writeTable(table byte) error {
	switch lane := laneOf[table]; {
	case lane >= 0:
		return mergeLane(lane, r.workers, r.put)
	case table == tableTotal:
		return r.totals.each(r.put)
	case table == tableDirect:
		return r.counts.table(table, func(k []byte, c Counts) error {
			if err := r.totals.add(k, c); err != nil {
				return err
			}
			return r.put(k, c)
		})
	}
	return r.counts.table(table, r.put)
}

func (r *rebuild) put(k []byte, c Counts) error {
	switch {
	case c.negative():
		return errs.New(errs.Corrupt, "derived tables", fmt.Sprintf("the counters of row %x would be %d", k, c))
	case c.zero():
		return nil
	}
	r.out.Written++
	if i := r.plan.fills[k[0]]; i >= 0 {
		r.works[i].Written++
	}
	return r.writer.add(k, c)
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
		for ; !r.counts.over; err = r.counts.next() {
			if err != nil {
				return err
			}
			began, k := time.Now(), r.counts.key
			if r.counts.sum.zero() {
				continue
			}
			if err := yield(k, r.counts.sum); err != nil {
				return err
			}
			r.out.Written++
			if i := r.plan.of(k, r.s.layouts); i >= 0 {
				r.works[i].Written++
				r.works[i].Took += time.Since(began)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	b := r.s.store.NewBatch()
	defer b.Close()
	if err := errors.Join(setCursor(b, r.index), b.Set(tablesKey, r.plan.tables())); err != nil {
		return err
	}
	if err := b.Commit(false); err != nil {
		return err
	}
	return r.s.store.Flush()
}

// names returns the run that makes all volumes and buckets.
func names(rows kv.Reader, index uint64) (fsm.Run, error) {
	run := fsm.Run{Index: index}
	for _, space := range []byte{schema.Volumes.Prefix()[0], spaceBuckets} {
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

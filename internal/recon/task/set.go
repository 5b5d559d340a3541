package task

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
)

// SQL is the part of a Set that is kept in SQLite. Its methods belong to one
// goroutine, but for Cursor.
type SQL interface {
	// Cursor returns the index that the rows reflect.
	Cursor() (uint64, error)

	// Apply adds what is given to the rows, learns the buckets of the run, and
	// moves the cursor, all in one transaction.
	Apply(index uint64, run fsm.Run, add func(yield func(key []byte, c Counts) error) error) error
}

// Set is the derived tables of one generation. Each of its two stores has a
// cursor of its own, moved in the transaction that changes its rows. Apply
// belongs to one goroutine; reads go to the stores.
type Set struct {
	store   kv.Store
	sql     SQL
	plan    *plan
	layouts Layouts

	// Applied, if it is set before the first Apply, is told what the tasks did for
	// each run that Apply has committed. What it is given is valid during the call.
	Applied func([]Work)
}

var (
	cursorKey = []byte{0x01} // the row of the store that holds its cursor
	tablesKey = []byte{0x02} // that which names the tables that are there
)

// OpenSet returns the derived tables in store and sql, which stand for the
// namespace in rows or are empty.
func OpenSet(store kv.Store, sql SQL, tasks []Task, rows kv.Reader) (*Set, error) {
	layouts, err := ReadLayouts(rows)
	return &Set{store: store, sql: sql, plan: newPlan(tasks), layouts: layouts}, err
}

// Cursor returns the index that the rows of a store reflect; 0 for none.
func Cursor(r kv.Reader) (uint64, error) {
	raw, ok, err := r.Get(cursorKey)
	if err != nil || !ok {
		return 0, err
	}
	if len(raw) != 9 || raw[0] != countsVersion {
		return 0, errs.New(errs.Corrupt, "derived tables", "the row of the cursor is malformed")
	}
	return binary.BigEndian.Uint64(raw[1:]), nil
}

func setCursor(b kv.Batch, index uint64) error {
	return b.Set(cursorKey, binary.BigEndian.AppendUint64([]byte{countsVersion}, index))
}

// Whole reports whether the tables in the store are those of the set's tasks.
// False: a program with other tasks has built them, and they must be built anew.
func (s *Set) Whole() (bool, error) {
	at, err := Cursor(s.store)
	if err != nil || at == 0 {
		return err == nil, err
	}
	raw, _, err := s.store.Get(tablesKey)
	return bytes.Equal(raw, s.plan.tables()), err
}

// Cursors returns the indexes that the two stores reflect.
func (s *Set) Cursors() (store, sql uint64, err error) {
	if store, err = Cursor(s.store); err == nil {
		sql, err = s.sql.Cursor()
	}
	return store, sql, err
}

// Apply brings the tables forward by a run; rows is the namespace after it. A
// store that reflects the run already is left alone. Kinds: Conflict (a store
// does not stand where the run begins, or its tables are not Whole), Corrupt (a counter would fall below
// zero: the tables are not those of the namespace).
func (s *Set) Apply(run fsm.Run, rows kv.Reader) error {
	store, sql, err := s.Cursors()
	if err != nil {
		return err
	}
	for name, at := range map[string]uint64{"store": store, "SQLite file": sql} {
		if at != run.After && at < run.Index {
			return errs.New(errs.Conflict, "derived tables", fmt.Sprintf("the %s reflects index %d; the changes are those after %d", name, at, run.After))
		}
	}
	if store >= run.Index && sql >= run.Index {
		return s.layouts.learn(run)
	}
	if whole, err := s.Whole(); err != nil || !whole {
		return errors.Join(err, errs.New(errs.Conflict, "derived tables", "a program with other tasks has built them"))
	}
	w := s.plan.works()
	sums, moves, err := s.plan.contributions(run, s.layouts, rows, w)
	if err != nil {
		return err
	}
	if store < run.Index {
		began := time.Now()
		if err := applyTree(sums, moves, rows, s.stored); err != nil {
			return err
		}
		if i := s.plan.fills[tableTotal]; i >= 0 {
			w[i].Took += time.Since(began)
		}
		if err := s.commit(run.Index, sums, w, store == 0); err != nil {
			return err
		}
	}
	if sql < run.Index {
		if err := s.commitSQL(run, sums, w); err != nil {
			return err
		}
	}
	if s.Applied != nil {
		s.Applied(w)
	}
	return nil
}

// stored returns the counters under a key.
func (s *Set) stored(k []byte) (Counts, error) { return ReadCounts(s.store, k) }

// ReadCounts returns the counters under a derived key, nil for none.
func ReadCounts(r kv.Reader, k []byte) (Counts, error) {
	raw, ok, err := r.Get(k)
	if err != nil || !ok {
		return nil, err
	}
	return parseCounts(nil, raw)
}

// commit adds sums to the store's rows and moves its cursor.
func (s *Set) commit(index uint64, sums *Sums, w works, first bool) error {
	b := s.store.NewBatch()
	defer b.Close()
	if first {
		if err := b.Set(tablesKey, s.plan.tables()); err != nil {
			return err
		}
	}
	wrote := func(k []byte) {
		if i := s.plan.of(k, s.layouts); i >= 0 {
			w[i].Written++
		}
	}
	for name, c := range sums.all {
		k := []byte(name)
		if isSQL(k) || c.zero() {
			continue
		}
		have, err := s.stored(k)
		if err != nil {
			return err
		}
		have.add(*c, 1)
		if err := put(b, k, have); err != nil {
			return err
		}
		wrote(k)
	}
	for name, m := range sums.mine {
		if m.was == m.is {
			continue
		}
		k := []byte(name)
		if err := put(b, k, Counts{m.is}); err != nil {
			return err
		}
		wrote(k)
	}
	if err := setCursor(b, index); err != nil {
		return err
	}
	return b.Commit(false)
}

// commitSQL adds sums to the rows in SQLite and moves its cursor.
func (s *Set) commitSQL(run fsm.Run, sums *Sums, w works) error {
	return s.sql.Apply(run.Index, run, func(yield func([]byte, Counts) error) error {
		for name, c := range sums.all {
			k := []byte(name)
			if !isSQL(k) || c.zero() {
				continue
			}
			if err := yield(k, *c); err != nil {
				return err
			}
			if i := s.plan.of(k, s.layouts); i >= 0 {
				w[i].Written++
			}
		}
		return nil
	})
}

// put stores counters; those that are all zero have no row.
func put(b kv.Batch, k []byte, c Counts) error {
	switch {
	case c.negative():
		return errs.New(errs.Corrupt, "derived tables", fmt.Sprintf("the counters of row %x would be %d", k, c))
	case c.zero():
		return b.Delete(k)
	}
	return b.Set(k, c.append(nil))
}

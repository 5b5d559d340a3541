package task

import (
	"encoding/binary"
	"fmt"

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
	tasks   []Task
	layouts Layouts
}

// cursorKey is the row of the store that holds its cursor.
var cursorKey = []byte{0x01}

// OpenSet returns the derived tables in store and sql, which stand for the
// namespace in rows or are empty.
func OpenSet(store kv.Store, sql SQL, tasks []Task, rows kv.Reader) (*Set, error) {
	layouts, err := ReadLayouts(rows)
	return &Set{store, sql, tasks, layouts}, err
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

// Cursors returns the indexes that the two stores reflect.
func (s *Set) Cursors() (store, sql uint64, err error) {
	if store, err = Cursor(s.store); err == nil {
		sql, err = s.sql.Cursor()
	}
	return store, sql, err
}

// Apply brings the tables forward by a run; rows is the namespace after it. A
// store that reflects the run already is left alone. Kinds: Conflict (a store
// does not stand where the run begins), Corrupt (a counter would fall below
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
	sums, moves, err := contributions(run, s.tasks, s.layouts, rows)
	if err != nil {
		return err
	}
	if store < run.Index {
		if err := applyTree(sums, moves, rows, s.stored); err != nil {
			return err
		}
		if err := s.commit(run.Index, sums); err != nil {
			return err
		}
	}
	if sql < run.Index {
		return s.sql.Apply(run.Index, run, func(yield func([]byte, Counts) error) error {
			for k, c := range sums.all {
				if isSQL([]byte(k)) && !c.zero() {
					if err := yield([]byte(k), *c); err != nil {
						return err
					}
				}
			}
			return nil
		})
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
func (s *Set) commit(index uint64, sums *Sums) error {
	b := s.store.NewBatch()
	defer b.Close()
	for name, c := range sums.all {
		k := []byte(name)
		if isSQL(k) || c.zero() {
			continue
		}
		have, err := s.stored(k)
		if err != nil {
			return err
		}
		if err := put(b, k, have.add(*c, 1)); err != nil {
			return err
		}
	}
	if err := setCursor(b, index); err != nil {
		return err
	}
	return b.Commit(false)
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

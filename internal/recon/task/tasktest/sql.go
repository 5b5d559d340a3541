// Package tasktest has what tests of derived tables need: the part of a set that
// is elsewhere in SQLite, in memory, and a printer. It starts no goroutines.
package tasktest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/recon/task"
	"o3/internal/schema"
)

// SQL is a task.SQL in memory.
type SQL struct {
	mu      sync.Mutex
	cursor  uint64
	rows    map[string]task.Counts
	buckets map[string]string
}

// NewSQL returns an empty one.
func NewSQL() *SQL { return &SQL{rows: map[string]task.Counts{}, buckets: map[string]string{}} }

// Cursor implements task.SQL.
func (s *SQL) Cursor() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor, nil
}

// Apply implements task.SQL.
func (s *SQL) Apply(index uint64, run fsm.Run, add func(func([]byte, task.Counts) error) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, buckets := maps.Clone(s.rows), maps.Clone(s.buckets)
	err := add(func(k []byte, c task.Counts) error {
		sum := slices.Clone(rows[string(k)])
		for slot, n := range c {
			for len(sum) <= slot {
				sum = append(sum, 0)
			}
			if sum[slot] += n; sum[slot] < 0 {
				return errs.New(errs.Corrupt, "derived tables", fmt.Sprintf("%x: %d", k, sum))
			}
		}
		if rows[string(k)] = sum; !slices.ContainsFunc(sum, func(n int64) bool { return n != 0 }) {
			delete(rows, string(k))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range run.Changes {
		if c.Key[0] != schema.Buckets.Prefix()[0] {
			continue
		}
		delete(buckets, string(c.Key))
		if c.New != nil {
			k, err := schema.Buckets.ParseKey(c.Key)
			if err != nil {
				return err
			}
			buckets[string(c.Key)] = k.Name
		}
	}
	s.rows, s.buckets, s.cursor = rows, buckets, index
	return nil
}

// Print returns every row of a set, a line each, in order, cursors included.
func Print(store kv.Reader, s *SQL) (string, error) {
	var b strings.Builder
	it, err := store.Iter(nil, nil)
	if err != nil {
		return "", err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x = %x\n", it.Key(), value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(s.rows)) {
		fmt.Fprintf(&b, "%x = %d\n", k, s.rows[k])
	}
	for _, k := range slices.Sorted(maps.Keys(s.buckets)) {
		fmt.Fprintf(&b, "bucket %x = %s\n", k, s.buckets[k])
	}
	fmt.Fprintf(&b, "SQL at %d\n", s.cursor)
	return b.String(), it.Err()
}

// Clone returns a copy that later changes of s do not reach.
func (s *SQL) Clone() *SQL {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &SQL{cursor: s.cursor, rows: maps.Clone(s.rows), buckets: maps.Clone(s.buckets)}
}

// Stats returns GLOBAL_STATS.
func (s *SQL) Stats() map[string]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int64{}
	for k, c := range s.rows {
		if name, ok := task.ParseStat([]byte(k)); ok {
			out[name] = c.At(0)
		}
	}
	return out
}

// FileCounts calls f with each row of FILE_COUNT_BY_SIZE, in no order.
func (s *SQL) FileCounts(f func(bucket ns.ObjectID, bin, count int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, c := range s.rows {
		if bucket, bin, ok := task.ParseFileCount([]byte(k)); ok {
			f(bucket, bin, c.At(0))
		}
	}
}

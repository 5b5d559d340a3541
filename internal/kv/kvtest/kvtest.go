// Package kvtest is the contract of package kv as tests: what every engine
// must do, run against the engine's own Store. A new engine is one line:
//
//	func TestContract(t *testing.T) { kvtest.Run(t, open) }
//
// Run checks laws one by one and then random histories against a model; the
// seed of a history is printed. Bench measures an engine with the same calls.
// The package keeps no state and starts goroutines only in the law about
// concurrent use, which waits for them.
package kvtest

import (
	"bytes"
	"fmt"
	"testing"

	"o3/internal/kv"
)

// law is one named property of an engine.
type law struct {
	name  string
	check func(t *testing.T, s kv.Store)
}

// Run checks the contract. open returns a new, empty store each time it is
// called; the laws close it.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	t.Helper()
	for _, group := range [][]law{pointLaws, batchLaws, iterLaws, timeLaws} {
		for _, l := range group {
			t.Run(l.name, func(t *testing.T) {
				s := open(t)
				l.check(t, s)
				if err := s.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
			})
		}
	}
	t.Run("Close", func(t *testing.T) { closeLaws(t, open) })
	t.Run("AgainstModel", func(t *testing.T) { againstModel(t, open) })
}

// write is one row of a batch; a nil value deletes.
type write struct {
	key   string
	value []byte
}

func put(key, value string) write { return write{key, []byte(value)} }

func del(key string) write { return write{key: key} }

// commit writes rows in one batch, without sync.
func commit(t testing.TB, s kv.Store, rows ...write) {
	t.Helper()
	b := s.NewBatch()
	for _, w := range rows {
		if err := w.into(b); err != nil {
			t.Fatalf("batch of %q: %v", w.key, err)
		}
	}
	if err := b.Commit(false); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatalf("close batch: %v", err)
	}
}

func (w write) into(b kv.Batch) error {
	if w.value == nil {
		return b.Delete([]byte(w.key))
	}
	return b.Set([]byte(w.key), w.value)
}

// wantGet fails unless key has value; an absent value is written "-".
func wantGet(t testing.TB, r kv.Reader, key, want string) {
	t.Helper()
	v, ok, err := r.Get([]byte(key))
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	got := "-"
	if ok {
		got = string(v)
	}
	if got != want {
		t.Fatalf("get %q = %.40q, want %.40q", key, got, want)
	}
}

// scan returns the rows of [lower, upper) as "k=v k=v".
func scan(t testing.TB, r kv.Reader, lower, upper string) string {
	t.Helper()
	it := iter(t, r, lower, upper)
	defer closeIter(t, it)
	var out bytes.Buffer
	for ok := it.First(); ok; ok = it.Next() {
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		fmt.Fprintf(&out, "%s=%s", it.Key(), value(t, it))
	}
	return out.String()
}

func wantScan(t testing.TB, r kv.Reader, want string) {
	t.Helper()
	if got := scan(t, r, "", ""); got != want {
		t.Fatalf("rows are\n\t%s\nwant\n\t%s", got, want)
	}
}

// iter opens an iterator; an empty bound is open.
func iter(t testing.TB, r kv.Reader, lower, upper string) kv.Iterator {
	t.Helper()
	it, err := r.Iter(bound(lower), bound(upper))
	if err != nil {
		t.Fatalf("iter: %v", err)
	}
	return it
}

func bound(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func value(t testing.TB, it kv.Iterator) []byte {
	t.Helper()
	v, err := it.Value()
	if err != nil {
		t.Fatalf("value of %q: %v", it.Key(), err)
	}
	return v
}

func closeIter(t testing.TB, it kv.Iterator) {
	t.Helper()
	if err := it.Err(); err != nil {
		t.Fatalf("iterator: %v", err)
	}
	if err := it.Close(); err != nil {
		t.Fatalf("close iterator: %v", err)
	}
}

// durable returns what a crash would leave now; the caller closes it.
func durable(t testing.TB, s kv.Store) kv.Snapshot {
	t.Helper()
	d, err := s.Durable()
	if err != nil {
		t.Fatalf("durable: %v", err)
	}
	return d
}

func closeAll(t testing.TB, cs ...interface{ Close() error }) {
	t.Helper()
	for _, c := range cs {
		if err := c.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

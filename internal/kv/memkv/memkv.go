// Package memkv is a kv.Store in memory: for dry runs, for derived data that
// is rebuilt at start, and for tests, which it serves as a real engine.
//
// Rows live in a B-tree that is copied on write: a reader holds a tree that
// never changes again, so readers take no lock and never wait for a writer,
// and a snapshot costs nothing. Writers are serialised. The package starts no
// goroutine.
//
// Durable and Flush mean what they mean elsewhere, with "a crash" being
// Crashed: it gives the store as a power cut would leave it.
package memkv

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"o3/internal/errs"
	"o3/internal/kv"
)

// maxBytes bounds a key and a value, each.
const maxBytes = 1 << 30

// row is a key and its value; neither is changed once in a tree.
type row struct{ key, value []byte }

// tree is a set of rows that never changes. The zero pointer is empty.
type tree = btree.BTreeG[row]

// Store is an ordered store in memory. The zero value is empty and ready. It
// is safe for concurrent use.
type Store struct {
	open    atomic.Int64 // iterators and snapshots
	latest  atomic.Pointer[tree]
	durable atomic.Pointer[tree]

	mu struct {
		sync.Mutex
		tree   *tree // the writer's own; latest is a copy
		closed atomic.Bool
	}
}

var _ kv.Store = (*Store)(nil)

// Crashed returns a new store with the rows that are durable in s: those
// committed before the last Flush or the last commit with sync.
func (s *Store) Crashed() *Store {
	c := new(Store)
	if t := s.durable.Load(); t != nil {
		c.mu.tree = rebuilt(t)
		c.publish()
		c.durable.Store(c.latest.Load())
	}
	return c
}

// rebuilt copies a published tree without changing anything in it, because
// others read it at the same time.
func rebuilt(t *tree) *tree {
	c := newTree()
	t.Scan(func(r row) bool { c.Load(r); return true })
	return c
}

func newTree() *tree {
	return btree.NewBTreeGOptions(func(a, b row) bool {
		return bytes.Compare(a.key, b.key) < 0
	}, btree.Options{NoLocks: true})
}

// publish makes the writer's tree visible. The caller holds mu, or is alone.
func (s *Store) publish() { s.latest.Store(s.mu.tree.Copy()) }

// Get implements kv.Reader.
func (s *Store) Get(key []byte) ([]byte, bool, error) {
	if s.mu.closed.Load() {
		return nil, false, closed("memkv.Get")
	}
	return get(s.latest.Load(), key)
}

// Iter implements kv.Reader.
func (s *Store) Iter(lower, upper []byte) (kv.Iterator, error) {
	if s.mu.closed.Load() {
		return nil, closed("memkv.Iter")
	}
	return newIterator(s, s.latest.Load(), lower, upper), nil
}

// NewBatch implements kv.Store.
func (s *Store) NewBatch() kv.Batch { return &batch{store: s} }

// Snapshot implements kv.Store.
func (s *Store) Snapshot() kv.Snapshot { return newSnapshot(s, s.latest.Load()) }

// Durable implements kv.Store.
func (s *Store) Durable() (kv.Snapshot, error) {
	if s.mu.closed.Load() {
		return nil, closed("memkv.Durable")
	}
	return newSnapshot(s, s.durable.Load()), nil
}

// Flush implements kv.Store.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed.Load() {
		return closed("memkv.Flush")
	}
	s.durable.Store(s.latest.Load())
	return nil
}

// Close implements kv.Store. It fails, and the store stays open, while an
// iterator or a snapshot is open.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.open.Load(); n > 0 && !s.mu.closed.Load() {
		return &errs.Error{Kind: errs.Internal, Op: "memkv.Close", Detail: "iterators or snapshots are still open"}
	}
	s.mu.closed.Store(true)
	return nil
}

func (s *Store) commit(rows []write, sync bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed.Load() {
		return closed("memkv.Commit")
	}
	if s.mu.tree == nil {
		s.mu.tree = newTree()
	}
	for _, w := range rows {
		if w.deleted {
			s.mu.tree.Delete(w.row)
		} else {
			s.mu.tree.Set(w.row)
		}
	}
	s.publish()
	if sync {
		s.durable.Store(s.latest.Load())
	}
	return nil
}

func get(t *tree, key []byte) ([]byte, bool, error) {
	if t == nil {
		return nil, false, nil
	}
	r, ok := t.Get(row{key: key})
	return slices.Clone(r.value), ok, nil
}

func closed(op string) error {
	return &errs.Error{Kind: errs.Unavailable, Op: op, Detail: "the store is closed"}
}

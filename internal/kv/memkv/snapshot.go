package memkv

import (
	"sync/atomic"

	"o3/internal/errs"
	"o3/internal/kv"
)

// snapshot is a tree that somebody looks at.
type snapshot struct {
	store  *Store
	tree   *tree
	closed atomic.Bool
}

func newSnapshot(s *Store, t *tree) *snapshot {
	n := &snapshot{store: s, tree: t}
	if s.mu.closed.Load() {
		n.closed.Store(true)
		return n
	}
	s.open.Add(1)
	return n
}

func (n *snapshot) Get(key []byte) ([]byte, bool, error) {
	if n.closed.Load() {
		return nil, false, snapshotClosed("memkv.Get")
	}
	return get(n.tree, key)
}

func (n *snapshot) Iter(lower, upper []byte) (kv.Iterator, error) {
	if n.closed.Load() {
		return nil, snapshotClosed("memkv.Iter")
	}
	return newIterator(n.store, n.tree, lower, upper), nil
}

func (n *snapshot) Close() error {
	if !n.closed.Swap(true) {
		n.store.open.Add(-1)
	}
	return nil
}

func snapshotClosed(op string) error {
	return &errs.Error{Kind: errs.Unavailable, Op: op, Detail: "the snapshot or its store is closed"}
}

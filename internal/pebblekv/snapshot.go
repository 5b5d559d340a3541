package pebblekv

import (
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"o3/internal/errs"
	"o3/internal/kv"
)

// snapshot is a state of the store: root holds it, iter opens iterators on it.
type snapshot struct {
	store   *Store
	root    io.Closer
	iter    func(*pebble.IterOptions) (*pebble.Iterator, error)
	getters *getters

	mu     sync.RWMutex // held for reading during a call, for writing by Close
	closed bool
}

// newSnapshot is called within a call of the store.
func (s *Store) newSnapshot(root io.Closer, iter func(*pebble.IterOptions) (*pebble.Iterator, error)) *snapshot {
	s.open.Add(1)
	return &snapshot{
		store: s, root: root, iter: iter,
		getters: &getters{s: s, make: iter, era: s.filesEra},
	}
}

func (n *snapshot) Get(key []byte) ([]byte, bool, error) { return n.AppendGet(nil, key) }

// AppendGet is Get into memory the caller has: it appends the value to dst.
func (n *snapshot) AppendGet(dst, key []byte) ([]byte, bool, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return dst, false, n.gone("pebblekv.Get")
	}
	return n.getters.get(dst, key)
}

func (n *snapshot) Iter(lower, upper []byte) (kv.Iterator, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return nil, n.gone("pebblekv.Iter")
	}
	it, err := n.iter(bounds(lower, upper))
	return n.store.newIterator(it, err)
}

func (n *snapshot) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	n.getters.drop()
	err := n.root.Close()
	n.store.open.Add(-1)
	if err != nil {
		return n.store.readError("pebblekv.Snapshot.Close", err)
	}
	return nil
}

func (n *snapshot) gone(op string) error {
	return &errs.Error{
		Kind: errs.Unavailable, Op: op, Subject: n.store.opts.Dir,
		Detail: "the snapshot or its store is closed",
	}
}

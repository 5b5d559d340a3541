// Package kv is the seam to an ordered key-value store: few methods, so that
// every engine is small and every fake is real. Keys are byte strings in
// bytewise order; a key has at least one byte, and a key or value at most
// 1 GiB (a batch at most 2 GiB). Package kvtest holds the contract every
// engine passes.
//
// A Store and its Snapshots are safe for concurrent use; an Iterator and a
// Batch belong to one goroutine.
package kv

import "io"

// Reader answers reads at one point in time (a Snapshot) or at the latest
// committed state (a Store).
type Reader interface {
	// Get returns a copy of the value of key; ok is false when it is absent.
	Get(key []byte) (value []byte, ok bool, err error)

	// Iter returns an iterator over [lower, upper); a nil or empty bound is
	// open, and bounds that cross hold nothing. It sees the state at the time of
	// the call and must be closed.
	Iter(lower, upper []byte) (Iterator, error)
}

// Iterator walks keys in order. It starts unpositioned. After a positioning
// call returns false, Err tells an end (nil) from a fault. Seeks outside the
// bounds go to the bound. Next and Prev of an iterator that is not Valid
// return false. Key (nil when not Valid) and Value are valid until the next
// positioning call and must not be changed.
type Iterator interface {
	First() bool
	Last() bool
	SeekGE(key []byte) bool // first key >= key
	SeekLT(key []byte) bool // last key < key
	Next() bool
	Prev() bool
	Valid() bool
	Key() []byte
	Value() ([]byte, error)
	Err() error
	io.Closer
}

// Batch collects writes that become visible, and later durable, together. It
// has no reads: package overlay gives a writer its own writes back. It copies
// its arguments. Once committed it can only be closed; closed without a commit
// it leaves nothing.
type Batch interface {
	Set(key, value []byte) error
	Delete(key []byte) error

	// Commit makes the writes visible; with sync it returns when they are
	// durable too. A store opened without a log refuses sync.
	Commit(sync bool) error

	// Len returns the bytes collected.
	Len() int
	io.Closer
}

// Snapshot is a Reader fixed at the time it was made.
type Snapshot interface {
	Reader
	io.Closer
}

// Store is an ordered key-value store. Close fails, and the store stays open,
// while an iterator or a snapshot of it is open; it does not flush. After
// Close every call returns an error. Every Close in this package may be called
// twice.
type Store interface {
	Reader
	NewBatch() Batch
	Snapshot() Snapshot

	// Flush makes every committed write durable. It may take seconds.
	Flush() error

	// Durable returns a Snapshot-like reader of what is durable now: what a
	// crash at this moment would leave. It may be an older state.
	Durable() (Snapshot, error)

	io.Closer
}

// Loading is a Store that takes very many rows at less cost than by batches.
type Loading interface {
	NewLoader() (Loader, error)
}

// Loader collects rows in ascending order of their keys, each once, which become
// visible, and durable, together. It belongs to one goroutine. Closed without a
// commit it leaves nothing.
type Loader interface {
	Add(key, value []byte) error
	Commit() error
	io.Closer
}

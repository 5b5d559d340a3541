package pebblekv

import (
	"github.com/cockroachdb/pebble/v2"

	"o3/internal/errs"
)

// The bounds of package kv.
const (
	maxBytes      = 1 << 30
	maxBatchBytes = 2 << 30
)

// batch collects writes in the engine's form.
type batch struct {
	store *Store
	b     *pebble.Batch // nil when committed or closed
	bytes int
}

func (b *batch) Set(key, value []byte) error {
	const op = "pebblekv.Set"
	if err := b.check(op, key, value); err != nil {
		return err
	}
	if err := b.b.Set(key, value, nil); err != nil {
		return &errs.Error{Kind: errs.Internal, Op: op, Err: err}
	}
	b.bytes += len(key) + len(value)
	return nil
}

func (b *batch) Delete(key []byte) error {
	const op = "pebblekv.Delete"
	if err := b.check(op, key, nil); err != nil {
		return err
	}
	if err := b.b.Delete(key, nil); err != nil {
		return &errs.Error{Kind: errs.Internal, Op: op, Err: err}
	}
	b.bytes += len(key)
	return nil
}

func (b *batch) check(op string, key, value []byte) error {
	switch {
	case b.b == nil:
		return b.spent(op)
	case len(key) == 0:
		return &errs.Error{Kind: errs.Invalid, Op: op, Detail: "the key is empty"}
	case len(key) > maxBytes || len(value) > maxBytes:
		return &errs.Error{Kind: errs.TooLarge, Op: op, Detail: "a key or value is above 1 GiB"}
	case b.b.Len()+len(key)+len(value) > maxBatchBytes:
		return &errs.Error{Kind: errs.TooLarge, Op: op, Detail: "the batch is above 2 GiB"}
	}
	return nil
}

// Commit implements kv.Batch. It may wait while flushes or compactions have
// fallen behind. When it fails, the rows may be visible, but whether they
// survive a restart is unknown; the store has failed.
func (b *batch) Commit(sync bool) error {
	const op = "pebblekv.Commit"
	if b.b == nil {
		return b.spent(op)
	}
	s := b.store
	if err := s.enter(op); err != nil {
		return err
	}
	defer s.life.RUnlock()
	if err := s.writable(op); err != nil {
		return err
	}
	if sync && s.opts.DisableWAL {
		return &errs.Error{
			Kind: errs.Invalid, Op: op, Subject: s.opts.Dir,
			Detail: "the store has no write-ahead log: commit without sync, then flush",
		}
	}
	if err := s.admit(op, b.b.Len()); err != nil {
		return err
	}
	options := pebble.NoSync
	if sync {
		options = pebble.Sync
	}
	s.writing.Add(1)
	s.latest.Add(1)
	err := s.db.Apply(b.b, options)
	s.writing.Add(-1)
	s.getters.drop()
	if err != nil {
		s.failure.fail(s.diskError(op, err))
	}
	if err := s.writable(op); err != nil {
		b.b = nil // the engine may still use it
		return err
	}
	return b.Close()
}

func (b *batch) Len() int { return b.bytes }

func (b *batch) Close() error {
	if b.b == nil {
		return nil
	}
	err := b.b.Close()
	b.b = nil
	if err != nil {
		return &errs.Error{Kind: errs.Internal, Op: "pebblekv.Batch.Close", Err: err}
	}
	return nil
}

func (b *batch) spent(op string) error {
	return &errs.Error{
		Kind: errs.Internal, Op: op, Subject: b.store.opts.Dir,
		Detail: "the batch was committed or closed, or its store was closed when it was made",
	}
}

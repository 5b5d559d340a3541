package raftlog

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

// FirstIndex returns the index of the first entry, or the one it will have.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.trunc.index + 1, nil
}

// LastIndex returns the index of the last entry, or FirstIndex-1.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last.index, nil
}

// Term returns the term of entry i in [FirstIndex-1, LastIndex]; outside it
// fails with raft.ErrCompacted or raft.ErrUnavailable.
func (l *Log) Term(i uint64) (uint64, error) {
	l.mu.RLock()
	switch {
	case i < l.trunc.index:
		l.mu.RUnlock()
		return 0, raft.ErrCompacted
	case i > l.last.index:
		l.mu.RUnlock()
		return 0, raft.ErrUnavailable
	case i == l.trunc.index:
		defer l.mu.RUnlock()
		return l.trunc.term, nil
	case i == l.last.index:
		defer l.mu.RUnlock()
		return l.last.term, nil
	}
	e := l.cache.at(i)
	l.mu.RUnlock()
	if e != nil {
		return e.GetTerm(), nil
	}
	es, err := l.scan(i, i+1, 0)
	if err != nil {
		return 0, err
	}
	return es[0].GetTerm(), nil
}

// Entries returns the entries [lo, hi), fewer when they would exceed max
// bytes, but at least one. The slice is the caller's, the entries are not.
// It fails with raft.ErrCompacted below FirstIndex, raft.ErrUnavailable above
// LastIndex, and errs.Corrupt when an entry is damaged or missing.
func (l *Log) Entries(lo, hi, max uint64) ([]*pb.Entry, error) {
	l.mu.RLock()
	switch {
	case lo <= l.trunc.index:
		l.mu.RUnlock()
		return nil, raft.ErrCompacted
	case hi > l.last.index+1 || lo >= hi:
		l.mu.RUnlock()
		return nil, raft.ErrUnavailable
	}
	es := l.cache.get(lo, hi, max)
	l.mu.RUnlock()
	if es != nil {
		return es, nil
	}
	return l.scan(lo, hi, max)
}

// scan reads entries from disk, verifying each.
func (l *Log) scan(lo, hi, max uint64) (es []*pb.Entry, err error) {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: entryKey(lo), UpperBound: entryKey(hi)})
	if err != nil {
		return nil, corruption("raft log", err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			es, err = nil, corruption("raft log", cerr)
		}
	}()
	var size uint64
	for ok := it.First(); ok && lo < hi; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, corruption(fmt.Sprintf("raft log entry %d", lo), err)
		}
		e, err := decodeEntry(it.Key(), v)
		if err != nil {
			return nil, err
		}
		if e.GetIndex() != lo {
			break
		}
		if size += weight(e); len(es) > 0 && size > max {
			return es, nil
		}
		es, lo = append(es, e), lo+1
	}
	if err := it.Error(); err != nil {
		return nil, corruption(fmt.Sprintf("raft log entry %d", lo), err)
	}
	if lo < hi {
		return nil, l.missing(lo)
	}
	return es, nil
}

// missing tells an entry truncated since the caller looked from a lost one.
func (l *Log) missing(i uint64) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case i <= l.trunc.index:
		return raft.ErrCompacted
	case i > l.last.index:
		return raft.ErrUnavailable
	}
	return errs.New(errs.Corrupt, fmt.Sprintf("raft log entry %d", i), fmt.Sprintf("missing from a log of [%d, %d]", l.trunc.index+1, l.last.index))
}

// weight is what an entry counts for in size limits.
func weight(e *pb.Entry) uint64 { return uint64(len(e.GetData())) + 24 }

package raftlog

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"o3/internal/errs"
)

// load reads the small rows and the ends of the log, and counts the new
// incarnation.
func (l *Log) load() error {
	if err := l.loadFormat(); err != nil {
		return err
	}
	l.hard = &pb.HardState{}
	hs, ok, err := l.row(keyHard, 3)
	if err != nil {
		return err
	}
	if ok {
		l.hard = &pb.HardState{Term: &hs[0], Vote: &hs[1], Commit: &hs[2]}
	}
	if p, ok, err := l.payload(keyBase); err != nil {
		return err
	} else if ok {
		if l.base, err = decodeBase(p); err != nil {
			return err
		}
	}
	if t, ok, err := l.row(keyTrunc, 2); err != nil {
		return err
	} else if ok {
		l.trunc = position{t[0], t[1]}
	}
	if err := l.loadEnds(); err != nil {
		return err
	}
	return l.check()
}

// loadFormat checks the marker of an existing store, or marks a new one.
func (l *Log) loadFormat() error {
	p, ok, err := l.payload(keyFormat)
	if err != nil {
		return err
	}
	if !ok {
		if l.opt.readOnly {
			return errs.New(errs.FormatUnknown, l.opt.Dir, "a store without the marker of a raft log")
		}
		if l.opt.NodeID == 0 {
			return errs.New(errs.Invalid, "node id 0", "a node id is at least 1")
		}
		it, err := l.db.NewIter(nil)
		if err != nil {
			return corruption("raft log", err)
		}
		foreign := it.First()
		if err := it.Close(); err != nil {
			return corruption("raft log", err)
		}
		if foreign {
			return errs.New(errs.FormatUnknown, l.opt.Dir, "a store without the marker of a raft log")
		}
		l.incarnation = l.opt.Incarnation
	} else {
		if len(p) != len(magic)+4 || string(p[:len(magic)]) != magic {
			return errs.New(errs.FormatUnknown, l.opt.Dir, "not a raft log")
		}
		if v := binary.BigEndian.Uint32(p[len(magic):]); v > Version {
			return errs.New(errs.FormatTooNew, l.opt.Dir, fmt.Sprintf("raft log format %d; this program reads up to %d", v, Version))
		}
		id, ok, err := l.row(keyNode, 1)
		if err != nil {
			return err
		}
		if !ok || id[0] != l.opt.NodeID && !l.opt.readOnly {
			return errs.New(errs.Invalid, l.opt.Dir, fmt.Sprintf("the raft log of node %v, opened as node %d", id, l.opt.NodeID))
		}
		n, _, err := l.row(keyCount, 1)
		if err != nil {
			return err
		}
		if len(n) == 1 {
			l.incarnation = n[0]
		}
	}
	if l.opt.readOnly {
		return nil
	}
	l.incarnation++
	b := l.db.NewBatch()
	defer b.Close()
	b.Set([]byte(keyFormat), seal(keyFormat, binary.BigEndian.AppendUint32([]byte(magic), Version)), nil)
	b.Set([]byte(keyNode), seal(keyNode, appendUint64s(nil, l.opt.NodeID)), nil)
	b.Set([]byte(keyCount), seal(keyCount, appendUint64s(nil, l.incarnation)), nil)
	return corruption("raft log", commit(b, true))
}

// loadEnds finds the first and last entry and verifies both.
func (l *Log) loadEnds() error {
	l.last = l.trunc
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: entryKey(0), UpperBound: []byte{'f'}})
	if err != nil {
		return corruption("raft log", err)
	}
	defer it.Close()
	if !it.First() {
		l.sizes.reset(l.trunc.index)
		return corruption("raft log", it.Error())
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return corruption("raft log", err)
	}
	head, err := decodeEntry(it.Key(), v)
	if err != nil {
		return err
	}
	if head.GetIndex() != l.trunc.index+1 {
		return errs.New(errs.Corrupt, fmt.Sprintf("raft log entry %d", l.trunc.index+1),
			fmt.Sprintf("missing: the first one found is %d", head.GetIndex()))
	}
	if !it.Last() {
		return corruption("raft log", it.Error())
	}
	if v, err = it.ValueAndErr(); err != nil {
		return corruption("raft log", err)
	}
	tail, err := decodeEntry(it.Key(), v)
	if err != nil {
		return err
	}
	l.last = position{tail.GetIndex(), tail.GetTerm()}
	l.sizes.reset(l.trunc.index)
	if n, err := l.db.EstimateDiskUsage(entryKey(0), []byte{'f'}); err == nil {
		l.sizes.grow(l.last.index, int64(n))
	}
	return nil
}

// check holds the rows against each other.
func (l *Log) check() error {
	bad := func(format string, a ...any) error {
		return errs.New(errs.Corrupt, "raft log "+l.opt.Dir, fmt.Sprintf(format, a...))
	}
	switch {
	case l.last.index > 0 && l.base.Index == 0:
		return bad("it has entries up to %d but no base record", l.last.index)
	case l.trunc.index < l.base.Index:
		return bad("it starts after %d, before its base %d", l.trunc.index, l.base.Index)
	case l.hard.GetCommit() > l.last.index:
		return bad("entries up to %d were committed, it ends at %d", l.hard.GetCommit(), l.last.index)
	case l.hard.GetTerm() < l.last.term:
		return bad("its term is %d, its last entry is of term %d", l.hard.GetTerm(), l.last.term)
	}
	return nil
}

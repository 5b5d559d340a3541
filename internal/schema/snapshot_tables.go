package schema

import (
	"o3/internal/keys"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// SnapshotKey names a snapshot, live or deleted, by the op that made it.
type SnapshotKey struct {
	Bucket ns.ObjectID
	Op     ns.Op
}

// SnapshotNameKey names a live snapshot.
type SnapshotNameKey struct {
	Bucket ns.ObjectID
	Name   string
}

// HistoryKey names a row of entries that was live until, and not at, an op.
type HistoryKey struct {
	EntryKey
	Until ns.Op
}

// DirHistoryKey names a row of dirs that was live until, and not at, an op.
type DirHistoryKey struct {
	DirKey
	Until ns.Op
}

// JournalKey names the touch of a row of entries by an op.
type JournalKey struct {
	Bucket ns.ObjectID
	Op     ns.Op
	Parent ns.ObjectID
	Name   string
}

// CellKey names the bytes that the snapshots from First to Last see, both
// included, and no others.
type CellKey struct {
	Bucket      ns.ObjectID
	First, Last ns.Op
}

// DiffJobKey names a job by what it compares. To is 0 for the live bucket.
type DiffJobKey struct {
	Bucket   ns.ObjectID
	From, To ns.Op
	Options  uint64
}

// The tables of snapshots. A bucket's rows are contiguous in each.
var (
	// Snapshots holds the live ones only; a deleted one is a row of Reclaims.
	Snapshots = &Table[SnapshotKey, schemapb.Snapshot, *schemapb.Snapshot]{
		space: spaceSnapshots, name: "snapshots", tuple: "bucket id, op", since: 2,
		append: appendSnapshot, parse: parseSnapshot,
	}
	// SnapshotNames ends each name with a slash, so that they come in the order
	// of the paths into the snapshots.
	SnapshotNames = &Table[SnapshotNameKey, schemapb.SnapshotName, *schemapb.SnapshotName]{
		space: spaceSnapNames, name: "snapshotNames", tuple: "bucket id, name", since: 2,
		append: func(b []byte, k SnapshotNameKey) []byte { return append(append(ids(b, k.Bucket), k.Name...), '/') },
		parse: func(b []byte) (k SnapshotNameKey, err error) {
			k.Bucket, b, err = takeID(b)
			if n := len(b) - 1; err == nil && (n < 0 || b[n] != '/') {
				return k, keys.ErrMalformed
			} else if err == nil {
				k.Name = string(b[:n])
			}
			return k, err
		},
	}
	Reclaims = &Table[SnapshotKey, schemapb.Reclaim, *schemapb.Reclaim]{
		space: spaceReclaims, name: "reclaims", tuple: "bucket id, snapshot's op", since: 2,
		append: appendSnapshot, parse: parseSnapshot,
	}
	History = &Table[HistoryKey, schemapb.Entry, *schemapb.Entry]{
		space: spaceHistory, name: "history", tuple: "bucket id, parent id, name, until op", since: 2,
		append: func(b []byte, k HistoryKey) []byte {
			return keys.Uint64(keys.String(ids(b, k.Bucket, k.Parent), k.Name), uint64(k.Until))
		},
		parse: func(b []byte) (k HistoryKey, err error) {
			if b, err = takeIDs(b, &k.Bucket, &k.Parent); err != nil {
				return k, err
			}
			if k.Name, b, err = keys.TakeString(b); err != nil {
				return k, err
			}
			k.Until, err = lastOp(b)
			return k, err
		},
	}
	DirHistory = &Table[DirHistoryKey, schemapb.Dir, *schemapb.Dir]{
		space: spaceDirHistory, name: "dirHistory", tuple: "bucket id, directory id, until op", since: 2,
		append: func(b []byte, k DirHistoryKey) []byte { return keys.Uint64(ids(b, k.Bucket, k.Dir), uint64(k.Until)) },
		parse: func(b []byte) (k DirHistoryKey, err error) {
			if b, err = takeIDs(b, &k.Bucket, &k.Dir); err != nil {
				return k, err
			}
			k.Until, err = lastOp(b)
			return k, err
		},
	}
	Journal = &Table[JournalKey, schemapb.Touch, *schemapb.Touch]{
		space: spaceJournal, name: "journal", tuple: "bucket id, op, parent id, name", since: 2,
		append: func(b []byte, k JournalKey) []byte {
			b = keys.Uint64(ids(b, k.Bucket), uint64(k.Op))
			return append(ids(b, k.Parent), k.Name...)
		},
		parse: func(b []byte) (k JournalKey, err error) {
			var op ns.ObjectID
			b, err = takeIDs(b, &k.Bucket, &op, &k.Parent)
			k.Op, k.Name = ns.Op(op), string(b)
			return k, err
		},
	}
	Cells = &Table[CellKey, schemapb.Cell, *schemapb.Cell]{
		space: spaceCells, name: "cells", tuple: "bucket id, first snapshot's op, last snapshot's op", since: 2,
		append: func(b []byte, k CellKey) []byte { return ids(b, k.Bucket, ns.ObjectID(k.First), ns.ObjectID(k.Last)) },
		parse: func(b []byte) (k CellKey, err error) {
			k.Bucket, k.First, k.Last, err = takeOps(b)
			return k, err
		},
	}
	// CellEnds has a row for each of Cells, under the later end first.
	CellEnds = &Table[CellKey, schemapb.CellEnd, *schemapb.CellEnd]{
		space: spaceCellEnds, name: "cellEnds", tuple: "bucket id, last snapshot's op, first snapshot's op", since: 2,
		append: func(b []byte, k CellKey) []byte { return ids(b, k.Bucket, ns.ObjectID(k.Last), ns.ObjectID(k.First)) },
		parse: func(b []byte) (k CellKey, err error) {
			k.Bucket, k.Last, k.First, err = takeOps(b)
			return k, err
		},
	}
	DiffJobs = &Table[DiffJobKey, schemapb.DiffJob, *schemapb.DiffJob]{
		space: spaceDiffJobs, name: "snapDiffJobTable", tuple: "bucket id, from op, to op, options", since: 2,
		append: func(b []byte, k DiffJobKey) []byte {
			return ids(b, k.Bucket, ns.ObjectID(k.From), ns.ObjectID(k.To), ns.ObjectID(k.Options))
		},
		parse: func(b []byte) (k DiffJobKey, err error) {
			var from, to, options ns.ObjectID
			b, err = takeIDs(b, &k.Bucket, &from, &to, &options)
			k.From, k.To, k.Options = ns.Op(from), ns.Op(to), uint64(options)
			return k, end(b, err)
		},
	}
	// Counters has one row, CountersKey.
	Counters = &Table[string, schemapb.Counters, *schemapb.Counters]{
		space: spaceCounters, name: "counters", tuple: "name", since: 2,
		append: raw, parse: parseRaw,
	}
)

// CountersKey is the row of Counters.
const CountersKey = "store"

func appendSnapshot(b []byte, k SnapshotKey) []byte {
	return keys.Uint64(ids(b, k.Bucket), uint64(k.Op))
}

func parseSnapshot(b []byte) (k SnapshotKey, err error) {
	var op ns.ObjectID
	b, err = takeIDs(b, &k.Bucket, &op)
	k.Op = ns.Op(op)
	return k, end(b, err)
}

func lastOp(b []byte) (ns.Op, error) {
	op, b, err := keys.TakeUint64(b)
	return ns.Op(op), end(b, err)
}

func takeOps(b []byte) (bucket ns.ObjectID, x, y ns.Op, err error) {
	var first, second ns.ObjectID
	b, err = takeIDs(b, &bucket, &first, &second)
	return bucket, ns.Op(first), ns.Op(second), end(b, err)
}

// InBucket returns the bounds of a bucket's rows of a table whose key starts
// with the bucket's id.
func (t *Table[K, R, P]) InBucket(bucket ns.ObjectID) (lower, upper []byte) {
	lower = ids([]byte{t.space}, bucket)
	return lower, keys.PrefixEnd(lower)
}

// JournalBetween returns the bounds of the touches of a bucket by the ops after
// from, up to and including to, which may be Live.
func JournalBetween(bucket ns.ObjectID, from, to ns.Op) (lower, upper []byte) {
	lower = Journal.Key(JournalKey{Bucket: bucket, Op: from + 1})
	if to == Live {
		_, upper = Journal.InBucket(bucket)
		return lower, upper
	}
	return lower, Journal.Key(JournalKey{Bucket: bucket, Op: to + 1})
}

// SnapshotsNamed returns the bounds of a bucket's snapshot names that start with
// prefix.
func SnapshotsNamed(bucket ns.ObjectID, prefix string) (lower, upper []byte) {
	lower = append(ids([]byte{spaceSnapNames}, bucket), prefix...)
	return lower, keys.PrefixEnd(lower)
}

// CellsFrom returns the bounds of the cells that begin with a snapshot.
func CellsFrom(bucket ns.ObjectID, first ns.Op) (lower, upper []byte) {
	lower = ids([]byte{spaceCells}, bucket, ns.ObjectID(first))
	return lower, keys.PrefixEnd(lower)
}

// CellsTo returns the bounds of the rows of CellEnds that end with a snapshot.
func CellsTo(bucket ns.ObjectID, last ns.Op) (lower, upper []byte) {
	lower = ids([]byte{spaceCellEnds}, bucket, ns.ObjectID(last))
	return lower, keys.PrefixEnd(lower)
}

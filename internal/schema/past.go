package schema

import (
	"bytes"
	"math"

	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// Live is the point in time of the live view, after every op.
const Live = ns.Op(math.MaxUint64)

// EntryAt returns the row that was under k at a point in time: the live row if
// it is that old, else the row of history whose interval holds it. Whether the
// directories above were there is not asked.
func EntryAt(r kv.Reader, k EntryKey, at ns.Op) (*schemapb.Entry, bool, error) {
	row, ok, err := Entries.Get(r, k)
	if err != nil || at == Live || ok && ns.Op(row.Since) <= at {
		return row, ok, err
	}
	first := HistoryKey{EntryKey: k, Until: at + 1}
	return pastRow(r, History, History.Key(first), History.Key(HistoryKey{k, Live}), at)
}

// DirAt returns the row of dirs that was under k at a point in time.
func DirAt(r kv.Reader, k DirKey, at ns.Op) (*schemapb.Dir, bool, error) {
	row, ok, err := Dirs.Get(r, k)
	if err != nil || at == Live || ok && ns.Op(row.Since) <= at {
		return row, ok, err
	}
	first := DirHistoryKey{DirKey: k, Until: at + 1}
	return pastRow(r, DirHistory, DirHistory.Key(first), DirHistory.Key(DirHistoryKey{k, Live}), at)
}

// pastRow returns the first row in [lower, upper), the rows of one key in the
// order of their ends, if it began at or before at.
func pastRow[K, R any, P interface {
	Message[R]
	GetSince() uint64
}](r kv.Reader, t *Table[K, R, P], lower, upper []byte, at ns.Op) (P, bool, error) {
	it, err := r.Iter(lower, upper)
	if err != nil {
		return nil, false, err
	}
	defer it.Close()
	if !it.First() {
		return nil, false, it.Err()
	}
	value, err := it.Value()
	if err != nil {
		return nil, false, err
	}
	row, err := t.Decode(bytes.Clone(it.Key()), value)
	if err != nil || ns.Op(row.GetSince()) > at {
		return nil, false, err
	}
	return row, true, nil
}

// SnapshotBefore returns the newest live snapshot of a bucket that was made
// before op, 0 for none.
func SnapshotBefore(r kv.Reader, bucket ns.ObjectID, op ns.Op) (ns.Op, error) {
	return liveSnapshot(r, bucket, func(it kv.Iterator) bool { return it.SeekLT(Snapshots.Key(SnapshotKey{bucket, op})) })
}

// SnapshotFrom returns the oldest live snapshot of a bucket that was made at or
// after op, 0 for none.
func SnapshotFrom(r kv.Reader, bucket ns.ObjectID, op ns.Op) (ns.Op, error) {
	return liveSnapshot(r, bucket, func(it kv.Iterator) bool { return it.SeekGE(Snapshots.Key(SnapshotKey{bucket, op})) })
}

func liveSnapshot(r kv.Reader, bucket ns.ObjectID, seek func(kv.Iterator) bool) (ns.Op, error) {
	lower, upper := Snapshots.InBucket(bucket)
	it, err := r.Iter(lower, upper)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if !seek(it) {
		return 0, it.Err()
	}
	k, err := Snapshots.ParseKey(it.Key())
	return k.Op, err
}

package command

import (
	"bytes"
	"fmt"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// maxReclaim bounds the rows that one ReclaimSnapshot looks at.
const maxReclaim = 10_000

// reclaimSnapshot goes on with a deleted snapshot: it reads the journal from it
// up to the snapshot that was next when it was deleted, and drops each row of
// history in whose interval no live snapshot lies. Then it cuts the journal. A
// record that is gone was done before.
func reclaimSnapshot(t *Tx, c *commandpb.ReclaimSnapshot) (*commandpb.ReclaimSnapshotReply, error) {
	key := schema.SnapshotKey{Bucket: ns.ObjectID(c.BucketId), Op: ns.Op(c.SnapshotOp)}
	row, ok, err := schema.Reclaims.Get(t.w, key)
	if err != nil || !ok {
		return &commandpb.ReclaimSnapshotReply{Done: !ok}, err
	}
	b, err := t.anyBucket(row.Volume, row.Bucket)
	if err != nil || b.id() != key.Bucket {
		return nil, errs.New(errs.Internal, row.Volume+"/"+row.Bucket, "the bucket of a snapshot being reclaimed is gone")
	}
	reply := &commandpb.ReclaimSnapshotReply{}
	left := int(min(c.Limit, maxReclaim))
	if left > 0 && !row.Trimming {
		if left, err = t.readJournal(b, row, reply, left); err != nil {
			return nil, err
		}
	}
	if left > 0 && row.Trimming {
		if reply.Done, err = t.trimJournal(b, key, reply, left); err != nil {
			return nil, err
		}
	}
	t.wrote()
	if !reply.Done {
		return reply, schema.Reclaims.Put(t.w, key, row)
	}
	b.row.Reclaims--
	b.dirty = true
	t.total().Reclaims--
	return reply, schema.Reclaims.Delete(t.w, key)
}

// touchAt is a row of the journal.
type touchAt struct {
	key schema.JournalKey
	row *schemapb.Touch
}

// readJournal looks at up to limit rows of the journal and drops the rows of
// history that they left and that nobody sees; it returns what is left of limit.
func (t *Tx) readJournal(b *bucketState, row *schemapb.Reclaim, reply *commandpb.ReclaimSnapshotReply, limit int) (int, error) {
	lower, upper := schema.JournalBetween(b.id(), ns.Op(row.Read), ns.Op(row.Until))
	if row.Cursor != nil {
		lower = append(bytes.Clone(row.Cursor), 0)
	}
	touches, err := t.touchesIn(lower, upper, limit)
	if err != nil {
		return 0, err
	}
	for _, j := range touches {
		freed, err := t.dropUnseen(b, j)
		if err != nil {
			return 0, err
		}
		reply.Freed += freed
		row.Freed += uint64(freed)
		row.Cursor, row.Read = schema.Journal.Key(j.key), uint64(j.key.Op)
	}
	reply.Rows += uint32(len(touches))
	row.Rows += uint64(len(touches))
	if len(touches) < limit {
		row.Trimming, row.Cursor, row.Read = true, nil, row.Until
	}
	return limit - len(touches), nil
}

func (t *Tx) touchesIn(lower, upper []byte, limit int) (out []touchAt, err error) {
	err = schema.Journal.Scan(t.w, lower, upper, func(k schema.JournalKey, row *schemapb.Touch) (bool, error) {
		out = append(out, touchAt{k, row})
		return len(out) < limit, nil
	})
	return out, err
}

// dropUnseen drops the rows of history that a touch left, if no live snapshot
// sees them.
func (t *Tx) dropUnseen(b *bucketState, j touchAt) (freed uint32, err error) {
	if j.row.OldId == 0 {
		return 0, nil
	}
	slot := schema.EntryKey{Bucket: b.id(), Parent: j.key.Parent, Name: j.key.Name}
	old := schema.HistoryKey{EntryKey: slot, Until: j.key.Op}
	entry, ok, err := schema.History.Get(t.w, old)
	if err != nil {
		return 0, err
	}
	if ok {
		seen, err := t.seen(b, entry.Since, j.key.Op)
		if err != nil {
			return 0, err
		}
		if !seen {
			if err := dropPast(t, b, schema.History, old, entry); err != nil {
				return 0, err
			}
			if err := t.drop(b.id(), entry.Extents); err != nil {
				return 0, err
			}
			freed++
		}
	}
	dirs, err := t.dropUnseenDir(b, schema.DirKey{Bucket: b.id(), Dir: ns.ObjectID(j.row.OldId)}, j)
	return freed + dirs, err
}

func (t *Tx) dropUnseenDir(b *bucketState, dir schema.DirKey, j touchAt) (uint32, error) {
	if !b.fso() || j.key.Name[len(j.key.Name)-1] != '/' {
		return 0, nil
	}
	key := schema.DirHistoryKey{DirKey: dir, Until: j.key.Op}
	row, ok, err := schema.DirHistory.Get(t.w, key)
	if err != nil || !ok {
		return 0, err
	}
	seen, err := t.seen(b, row.Since, j.key.Op)
	if err != nil || seen {
		return 0, err
	}
	return 1, dropPast(t, b, schema.DirHistory, key, row)
}

// seen reports whether a live snapshot lies in [since, until).
func (t *Tx) seen(b *bucketState, since uint64, until ns.Op) (bool, error) {
	oldest, err := t.oldestFrom(b, ns.Op(since))
	return oldest != 0 && oldest < until, err
}

// trimJournal drops up to limit rows of the journal that neither a live
// snapshot nor another unfinished reclaim needs, and reports whether that is all.
func (t *Tx) trimJournal(b *bucketState, self schema.SnapshotKey, reply *commandpb.ReclaimSnapshotReply, limit int) (bool, error) {
	floor, err := t.journalFloor(b, self)
	if err != nil {
		return false, err
	}
	lower, upper := schema.JournalBetween(b.id(), 0, floor)
	touches, err := t.touchesIn(lower, upper, limit)
	if err != nil {
		return false, err
	}
	for _, j := range touches {
		if err := t.dropTouch(b, j.key, j.row); err != nil {
			return false, err
		}
	}
	reply.Rows += uint32(len(touches))
	return len(touches) < limit, nil
}

// journalFloor returns the op up to which the journal may go: that of the
// oldest live snapshot, or of the oldest snapshot being reclaimed besides self.
func (t *Tx) journalFloor(b *bucketState, self schema.SnapshotKey) (ns.Op, error) {
	floor := schema.Live
	oldest, err := t.oldestFrom(b, 1)
	if err != nil {
		return 0, err
	}
	if oldest != 0 {
		floor = oldest
	}
	lower, upper := schema.Reclaims.InBucket(b.id())
	err = schema.Reclaims.Scan(t.w, lower, upper, func(k schema.SnapshotKey, r *schemapb.Reclaim) (bool, error) {
		if k == self {
			return true, nil
		}
		floor = min(floor, k.Op)
		return false, nil
	})
	if err != nil {
		return 0, fmt.Errorf("reclaims: %w", err)
	}
	return floor, nil
}

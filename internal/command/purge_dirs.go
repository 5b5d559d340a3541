package command

import (
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// maxQueued bounds the sub-directories one PurgeDirs queues.
const maxQueued = 10_000

// purgeDirs drops rows below deleted directories, the oldest deletion first, at
// most limit of them. Each child leaves as of the op that deleted its root, so
// that only snapshots that really saw it keep it.
func purgeDirs(t *Tx, c *commandpb.PurgeDirectories) (*commandpb.PurgeDirectoriesReply, error) {
	reply := &commandpb.PurgeDirectoriesReply{}
	left := int(min(c.Limit, maxQueued))
	for left > 0 {
		key, row, err := t.oldestPurge()
		if err != nil {
			return nil, err
		}
		if row == nil {
			return reply, nil
		}
		n, err := t.purge(key, row, left)
		if err != nil {
			return nil, err
		}
		left -= n
		reply.Rows += uint32(n)
	}
	_, row, err := t.oldestPurge()
	reply.More = row != nil
	return reply, err
}

func (t *Tx) oldestPurge() (key schema.OpKey, row *schemapb.DeletedDir, err error) {
	lower, upper := schema.DeletedDirs.All()
	err = schema.DeletedDirs.Scan(t.w, lower, upper, func(k schema.OpKey, d *schemapb.DeletedDir) (bool, error) {
		key, row = k, d
		return false, nil
	})
	return key, row, err
}

// purge drops up to limit children of one deleted directory, and its record
// when none is left; it returns the rows dropped, the record included.
func (t *Tx) purge(key schema.OpKey, d *schemapb.DeletedDir, limit int) (int, error) {
	b, err := t.anyBucket(d.Volume, d.Bucket)
	if err != nil || b.row.ObjectId != d.BucketId {
		return 0, errs.New(errs.Internal, d.Volume+"/"+d.Bucket, "the bucket of a subtree being purged is gone")
	}
	type child struct {
		key schema.EntryKey
		row *schemapb.Entry
	}
	var children []child
	lower, upper := schema.Children(b.id(), ns.ObjectID(d.DirId), "")
	err = schema.Entries.Scan(t.w, lower, upper, func(k schema.EntryKey, e *schemapb.Entry) (bool, error) {
		children = append(children, child{k, e})
		return len(children) < limit, nil
	})
	if err != nil {
		return 0, err
	}
	var gone usage // negative
	for _, ch := range children {
		if err := t.purgeChild(b, d, ch.key, ch.row); err != nil {
			return 0, err
		}
		gone = minus(gone, sizeOf(ch.row))
	}
	if err := t.lowerSnapshots(b, ns.Op(d.DeletedOp), gone); err != nil {
		return 0, err
	}
	if len(children) == limit { // there may be more; the record goes when there are none
		return limit, nil
	}
	t.charge(b, usage{pendingDirs: -1})
	return len(children) + 1, schema.DeletedDirs.Delete(t.w, key)
}

func (t *Tx) purgeChild(b *bucketState, d *schemapb.DeletedDir, key schema.EntryKey, e *schemapb.Entry) error {
	if e.Since >= d.DeletedOp {
		return errs.New(errs.Internal, key.Name, "a row below a deleted directory is newer than the deletion")
	}
	at := ns.Op(d.DeletedOp)
	if err := t.bury(b, e, at); err != nil {
		return err
	}
	moved, err := t.retire(b, key, e, at)
	if err != nil {
		return err
	}
	t.charge(b, minus(usage{}, sizeOf(e)))
	if isDir(e) {
		id := ns.ObjectID(e.ObjectId)
		if err := t.queuePurge(b, id, at, d.Path+key.Name); err != nil {
			return err
		}
		hung, err := t.unhang(b, id, at)
		if err != nil {
			return err
		}
		moved = moved || hung
	}
	if moved { // reclaim finds the rows of history by the journal
		touch := &schemapb.Touch{OldId: e.ObjectId, OldSince: e.Since, OldTag: ContentTag(e), Purge: true}
		where := schema.JournalKey{Bucket: key.Bucket, Op: at, Parent: key.Parent, Name: key.Name}
		if err := t.putTouch(b, where, touch); err != nil {
			return err
		}
	}
	return schema.Entries.Delete(t.w, key)
}

// lowerSnapshots applies what purged rows took away to the usage of the
// snapshots that were made after the deletion: they count them, but never saw
// them.
func (t *Tx) lowerSnapshots(b *bucketState, deleted ns.Op, gone usage) error {
	if ns.Op(b.row.NewestSnapshot) < deleted || gone == (usage{}) {
		return nil
	}
	type found struct {
		key schema.SnapshotKey
		row *schemapb.Snapshot
	}
	var later []found
	_, upper := schema.Snapshots.InBucket(b.id())
	lower := schema.Snapshots.Key(schema.SnapshotKey{Bucket: b.id(), Op: deleted})
	err := schema.Snapshots.Scan(t.w, lower, upper, func(k schema.SnapshotKey, s *schemapb.Snapshot) (bool, error) {
		later = append(later, found{k, s})
		return true, nil
	})
	for _, s := range later {
		add(&s.row.UsedBytes, gone.bytes)
		add(&s.row.UsedKeys, gone.keys)
		add(&s.row.UsedDirectories, gone.dirs)
		if err == nil {
			err = schema.Snapshots.Put(t.w, s.key, s.row)
		}
	}
	return err
}

package command

import (
	"fmt"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// createSnapshot names the op that applies it: the bucket as it is now.
func createSnapshot(t *Tx, c *o3v1.CreateSnapshotRequest) (*o3v1.CreateSnapshotResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	name := c.Name
	if name == "" {
		name, err = t.unusedName(b)
	} else {
		err = t.checkNewSnapshot(b, name)
	}
	if err != nil {
		return nil, err
	}
	total := t.total()
	if have := total.Snapshots + total.Reclaims; c.MaxTotal > 0 && have >= c.MaxTotal {
		return nil, errs.New(errs.TooMany, "snapshot "+name, fmt.Sprintf(
			"the store has %d snapshots, deleted ones that are being reclaimed included; ozone.om.fs.snapshot.max.limit is %d", have, c.MaxTotal))
	}
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	row := &schemapb.Snapshot{
		ObjectId: uint64(id), Name: name, CreatedMs: t.now, Owner: t.principal,
		UsedBytes: b.row.UsedBytes, UsedKeys: b.row.UsedKeys, UsedDirectories: b.row.UsedDirectories,
	}
	b.row.NewestSnapshot = uint64(t.op)
	b.row.LiveSnapshots++
	b.dirty = true
	total.Snapshots++
	t.wrote()
	if err := t.nameSnapshot(b, t.op, name); err != nil {
		return nil, err
	}
	key := schema.SnapshotKey{Bucket: b.id(), Op: t.op}
	if err := schema.Snapshots.Put(t.w, key, row); err != nil {
		return nil, err
	}
	return &o3v1.CreateSnapshotResponse{Snapshot: SnapshotInfo(b.volume.name, b.key.Name, b.row, t.op, row, nil)}, nil
}

// unusedName returns the name of a snapshot that was given none.
func (t *Tx) unusedName(b *bucketState) (string, error) {
	for ms := t.now; ; ms++ {
		name := "s" + time.UnixMilli(ms).UTC().Format("20060102-150405.000")
		_, taken, err := schema.SnapshotNames.Get(t.w, schema.SnapshotNameKey{Bucket: b.id(), Name: name})
		if err != nil || !taken {
			return name, err
		}
	}
}

func (t *Tx) checkNewSnapshot(b *bucketState, name string) error {
	if err := ns.CheckSnapshotName(name); err != nil {
		return err
	}
	_, taken, err := schema.SnapshotNames.Get(t.w, schema.SnapshotNameKey{Bucket: b.id(), Name: name})
	if err == nil && taken {
		err = errs.New(errs.SnapshotExists, b.path()+"/"+ns.SnapshotPrefix+"/"+name, "")
	}
	return err
}

func (t *Tx) nameSnapshot(b *bucketState, at ns.Op, name string) error {
	key := schema.SnapshotNameKey{Bucket: b.id(), Name: name}
	return schema.SnapshotNames.Put(t.w, key, &schemapb.SnapshotName{Op: uint64(at)})
}

// renameSnapshot gives a snapshot another name; its id stays.
func renameSnapshot(t *Tx, c *o3v1.RenameSnapshotRequest) (*o3v1.RenameSnapshotResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	at, row, err := t.snapshotNamed(b, c.From)
	if err != nil {
		return nil, err
	}
	if c.From != c.To {
		if err := t.checkNewSnapshot(b, c.To); err != nil {
			return nil, err
		}
		t.wrote()
		if err := schema.SnapshotNames.Delete(t.w, schema.SnapshotNameKey{Bucket: b.id(), Name: c.From}); err != nil {
			return nil, err
		}
		if err := t.nameSnapshot(b, at, c.To); err != nil {
			return nil, err
		}
		row.Name = c.To
		if err := schema.Snapshots.Put(t.w, schema.SnapshotKey{Bucket: b.id(), Op: at}, row); err != nil {
			return nil, err
		}
	}
	cell, err := t.exclusive(b, at)
	if err != nil {
		return nil, err
	}
	return &o3v1.RenameSnapshotResponse{Snapshot: SnapshotInfo(b.volume.name, b.key.Name, b.row, at, row, cell)}, nil
}

// deleteSnapshot takes a snapshot out of the live set. Its name is free at
// once; what only it saw is reclaimed later.
func deleteSnapshot(t *Tx, c *o3v1.DeleteSnapshotRequest) (*o3v1.DeleteSnapshotResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	at, row, err := t.snapshotNamed(b, c.Name)
	if err != nil {
		return nil, err
	}
	alone, err := t.exclusive(b, at)
	if err != nil {
		return nil, err
	}
	before, err := schema.SnapshotBefore(t.w, b.id(), at)
	if err != nil {
		return nil, err
	}
	after, err := schema.SnapshotFrom(t.w, b.id(), at+1)
	if err != nil {
		return nil, err
	}
	if err := t.mergeCells(b, at, before, after); err != nil {
		return nil, err
	}
	key := schema.SnapshotKey{Bucket: b.id(), Op: at}
	if err := schema.Snapshots.Delete(t.w, key); err != nil {
		return nil, err
	}
	if err := schema.SnapshotNames.Delete(t.w, schema.SnapshotNameKey{Bucket: b.id(), Name: c.Name}); err != nil {
		return nil, err
	}
	gone := &schemapb.Reclaim{
		Snapshot: row, Volume: b.volume.name, Bucket: b.key.Name, DeletedOp: uint64(t.op), DeletedMs: t.now,
		Until: uint64(t.op), Read: uint64(at),
	}
	if after != 0 {
		gone.Until = uint64(after)
	} else {
		b.row.NewestSnapshot = uint64(before)
	}
	b.row.LiveSnapshots--
	b.row.Reclaims++
	b.dirty, b.gap = true, gap{}
	t.total().Snapshots--
	t.total().Reclaims++
	t.wrote()
	if err := schema.Reclaims.Put(t.w, key, gone); err != nil {
		return nil, err
	}
	info := ReclaimInfo(b.row, at, gone)
	info.ExclusiveBytes, info.ExclusiveNames = alone.GetBytes(), alone.GetNames()
	return &o3v1.DeleteSnapshotResponse{Snapshot: info}, nil
}

// SnapshotInfo describes a live snapshot; alone is what only it holds, nil for
// nothing.
func SnapshotInfo(volume, bucket string, b *schemapb.Bucket, at ns.Op, s *schemapb.Snapshot, alone *schemapb.Cell) *o3v1.SnapshotInfo {
	return &o3v1.SnapshotInfo{
		Volume: volume, Bucket: bucket, Name: s.Name, SnapshotId: UploadID(ns.ObjectID(s.ObjectId)), Op: uint64(at),
		State: "ACTIVE", CreatedMs: s.CreatedMs, Owner: s.Owner,
		UsedBytes: s.UsedBytes, UsedKeys: s.UsedKeys, UsedDirectories: s.UsedDirectories,
		ExclusiveBytes: alone.GetBytes(), ExclusiveNames: alone.GetNames(), PendingDirectories: b.PendingDirectories,
	}
}

// ReclaimInfo describes a deleted snapshot.
func ReclaimInfo(b *schemapb.Bucket, at ns.Op, r *schemapb.Reclaim) *o3v1.SnapshotInfo {
	info := SnapshotInfo(r.Volume, r.Bucket, b, at, r.Snapshot, nil)
	info.State, info.DeletedMs = "DELETED", r.DeletedMs
	if span := r.Until - uint64(at); span > 0 {
		info.ReclaimedPercent = 100 * float64(r.Read-uint64(at)) / float64(span)
	}
	return info
}

// Exclusive returns what only the live snapshot at op holds, nil for nothing.
func Exclusive(r kv.Reader, bucket ns.ObjectID, at ns.Op) (*schemapb.Cell, error) {
	cell, ok, err := schema.Cells.Get(r, schema.CellKey{Bucket: bucket, First: at, Last: at})
	if !ok {
		return nil, err
	}
	return cell, nil
}

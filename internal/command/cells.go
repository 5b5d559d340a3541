package command

import (
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// A lineage is what one data write made: it begins with the op that wrote the
// data, lives on through renames and changes of attributes, and ends when the
// key is overwritten or deleted. A lineage that has ended is held by the live
// snapshots made while it lived, which are neighbours: they are a cell, and all
// lineages of one cell are counted together.

// continues reports whether entry, the row after old, is of the same lineage.
func continues(old, entry *schemapb.Entry) bool {
	return entry != nil && entry.ObjectId == old.ObjectId && entry.Born == old.Born
}

// holders returns the oldest and the newest live snapshot that hold a lineage
// that ended at op until; none do when newest is 0.
func (t *Tx) holders(b *bucketState, e *schemapb.Entry, until ns.Op) (oldest, newest ns.Op, err error) {
	if b.row.LiveSnapshots == 0 {
		return 0, 0, nil
	}
	if oldest, err = t.oldestFrom(b, ns.Op(e.Born)); err != nil || oldest == 0 {
		return 0, 0, err
	}
	if newest, err = t.newestBefore(b, until); err != nil || newest < oldest {
		return 0, 0, err
	}
	return oldest, newest, nil
}

// bury ends the lineage of e as of op until: what snapshots still hold of it is
// charged to them.
func (t *Tx) bury(b *bucketState, e *schemapb.Entry, until ns.Op) error {
	oldest, newest, err := t.holders(b, e, until)
	if err != nil || newest == 0 {
		return err
	}
	u := held(e)
	t.charge(b, u)
	return t.addCell(b, oldest, newest, &schemapb.Cell{Bytes: uint64(u.heldBytes), Names: uint64(u.heldNames)})
}

// held is what a lineage counts for while only snapshots hold it.
func held(e *schemapb.Entry) usage {
	if isDir(e) {
		return usage{heldNames: 1}
	}
	return usage{heldBytes: int64(e.Size), heldNames: 1}
}

// gain returns what the bucket counts more when entry (nil: nothing) takes the
// place of old (nil: nothing), with what snapshots go on to hold of old.
func (t *Tx) gain(b *bucketState, old, entry *schemapb.Entry) (usage, error) {
	u := minus(sizeOf(entry), sizeOf(old))
	if old == nil || continues(old, entry) {
		return u, nil
	}
	_, newest, err := t.holders(b, old, t.op)
	if newest > 0 {
		h := held(old)
		u.heldBytes, u.heldNames = h.heldBytes, h.heldNames
	}
	return u, err
}

func (t *Tx) addCell(b *bucketState, first, last ns.Op, more *schemapb.Cell) error {
	key := schema.CellKey{Bucket: b.id(), First: first, Last: last}
	cell, ok, err := schema.Cells.Get(t.w, key)
	if err != nil {
		return err
	}
	t.wrote()
	if !ok {
		if err := schema.CellEnds.Put(t.w, key, &schemapb.CellEnd{}); err != nil {
			return err
		}
		cell = &schemapb.Cell{}
	}
	cell.Bytes += more.Bytes
	cell.Names += more.Names
	return schema.Cells.Put(t.w, key, cell)
}

func (t *Tx) dropCell(key schema.CellKey) error {
	t.wrote()
	if err := schema.CellEnds.Delete(t.w, key); err != nil {
		return err
	}
	return schema.Cells.Delete(t.w, key)
}

// exclusive returns what only the snapshot at op holds.
func (t *Tx) exclusive(b *bucketState, at ns.Op) (*schemapb.Cell, error) {
	return Exclusive(t.w, b.id(), at)
}

// mergeCells moves what the snapshot at op holds to its neighbours, as it goes:
// before and after are the live snapshots next to it, 0 for none. What it alone
// holds is free.
func (t *Tx) mergeCells(b *bucketState, at, before, after ns.Op) error {
	own := schema.CellKey{Bucket: b.id(), First: at, Last: at}
	alone, err := t.exclusive(b, at)
	if err != nil {
		return err
	}
	if alone != nil {
		t.charge(b, usage{heldBytes: -int64(alone.Bytes), heldNames: -int64(alone.Names)})
		if err := t.dropCell(own); err != nil {
			return err
		}
	}
	cells, err := t.cellsOf(b, at)
	if err != nil {
		return err
	}
	for _, key := range cells {
		cell, _, err := schema.Cells.Get(t.w, key)
		if err != nil {
			return err
		}
		if err := t.dropCell(key); err != nil {
			return err
		}
		first, last := key.First, key.Last
		if first == at {
			first = after
		} else {
			last = before
		}
		if err := t.addCell(b, first, last, cell); err != nil {
			return err
		}
	}
	return nil
}

// cellsOf returns the cells that begin or end with the snapshot at op.
func (t *Tx) cellsOf(b *bucketState, at ns.Op) (out []schema.CellKey, err error) {
	lower, upper := schema.CellsFrom(b.id(), at)
	err = schema.Cells.Scan(t.w, lower, upper, func(k schema.CellKey, _ *schemapb.Cell) (bool, error) {
		out = append(out, k)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	lower, upper = schema.CellsTo(b.id(), at)
	err = schema.CellEnds.Scan(t.w, lower, upper, func(k schema.CellKey, _ *schemapb.CellEnd) (bool, error) {
		out = append(out, k)
		return true, nil
	})
	return out, err
}

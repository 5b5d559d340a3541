package fsmtest

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

func (c *checker) walkSnapshots() error {
	err := Scan(c.r, schema.Snapshots, func(k schema.SnapshotKey, s *schemapb.Snapshot) error {
		t := c.buckets[k.Bucket]
		if t == nil {
			return fmt.Errorf("snapshot %s is of a bucket that does not exist", s.Name)
		}
		t.live++
		t.newest = uint64(k.Op) // they come in order
		c.Live++
		n, ok, err := schema.SnapshotNames.Get(c.r, schema.SnapshotNameKey{Bucket: k.Bucket, Name: s.Name})
		if err == nil && (!ok || n.Op != uint64(k.Op)) {
			err = fmt.Errorf("snapshot %s of op %d is not found by its name: %v", s.Name, k.Op, n)
		}
		return err
	})
	if err != nil {
		return err
	}
	names := 0
	err = Scan(c.r, schema.SnapshotNames, func(schema.SnapshotNameKey, *schemapb.SnapshotName) error { names++; return nil })
	if err != nil || names != c.Live {
		return fmt.Errorf("%d snapshots have %d names: %v", c.Live, names, err)
	}
	err = Scan(c.r, schema.Reclaims, func(k schema.SnapshotKey, r *schemapb.Reclaim) error {
		t := c.buckets[k.Bucket]
		if t == nil {
			return fmt.Errorf("deleted snapshot %s is of a bucket that does not exist", r.Snapshot.GetName())
		}
		t.reclaims++
		c.Deleted++
		return nil
	})
	if err != nil {
		return err
	}
	return Scan(c.r, schema.Cells, func(k schema.CellKey, cell *schemapb.Cell) error {
		t := c.buckets[k.Bucket]
		for _, at := range []ns.Op{k.First, k.Last} {
			if _, ok, err := schema.Snapshots.Get(c.r, schema.SnapshotKey{Bucket: k.Bucket, Op: at}); !ok {
				return fmt.Errorf("a cell from %d to %d, but %d is not a live snapshot: %v", k.First, k.Last, at, err)
			}
		}
		if _, ok, err := schema.CellEnds.Get(c.r, k); !ok || k.First > k.Last || t == nil {
			return fmt.Errorf("the cell from %d to %d is not found by its end: %v", k.First, k.Last, err)
		}
		t.heldBytes += cell.Bytes
		t.heldNames += cell.Names
		c.Cells++
		return nil
	})
}

func (c *checker) walkHistory() error {
	var total schemapb.Counters
	err := Scan(c.r, schema.History, func(k schema.HistoryKey, e *schemapb.Entry) error {
		if err := countPast(c, &total, k.Bucket, schema.History.Key(k), e.Since, k.Until); err != nil {
			return err
		}
		if err := c.touched(k.Bucket, k.Until, k.Parent, k.Name, e.ObjectId); err != nil {
			return err
		}
		return c.name(e.Extents)
	})
	if err != nil {
		return err
	}
	err = Scan(c.r, schema.DirHistory, func(k schema.DirHistoryKey, d *schemapb.Dir) error {
		if err := countPast(c, &total, k.Bucket, schema.DirHistory.Key(k), d.Since, k.Until); err != nil {
			return err
		}
		return c.touched(k.Bucket, k.Until, ns.ObjectID(d.ParentId), d.Name, uint64(k.Dir))
	})
	if err != nil {
		return err
	}
	err = Scan(c.r, schema.Journal, func(k schema.JournalKey, _ *schemapb.Touch) error {
		t := c.buckets[k.Bucket]
		if t == nil {
			return fmt.Errorf("the touch of %q is of a bucket that does not exist", k.Name)
		}
		t.touches++
		c.Touches++
		total.JournalRows++
		n, err := sizeOf(c.r, schema.Journal.Key(k))
		total.JournalBytes += n
		return err
	})
	if err != nil {
		return err
	}
	total.Snapshots, total.Reclaims = uint64(c.Live), uint64(c.Deleted)
	row, ok, err := schema.Counters.Get(c.r, schema.CountersKey)
	if !ok {
		row = &schemapb.Counters{}
	}
	if err == nil && !proto.Equal(row, &total) {
		err = fmt.Errorf("the store counts {%v}, its rows are {%v}", row, &total)
	}
	return err
}

func countPast(c *checker, total *schemapb.Counters, bucket ns.ObjectID, key []byte, since uint64, until ns.Op) error {
	t := c.buckets[bucket]
	if t == nil || ns.Op(since) >= until {
		return fmt.Errorf("a row of history from %d to %d, of bucket %v", since, until, t)
	}
	t.past++
	c.Past++
	total.HistoryRows++
	n, err := sizeOf(c.r, key)
	total.HistoryBytes += n
	return err
}

// touched: the journal tells of the end of every row of history.
func (c *checker) touched(bucket ns.ObjectID, at ns.Op, parent ns.ObjectID, name string, id uint64) error {
	row, ok, err := schema.Journal.Get(c.r, schema.JournalKey{Bucket: bucket, Op: at, Parent: parent, Name: name})
	if err == nil && (!ok || row.OldId != id) {
		err = fmt.Errorf("a row of history of %q ended at %d, the journal has %v", name, at, row)
	}
	return err
}

func sizeOf(r kv.Reader, key []byte) (uint64, error) {
	value, _, err := r.Get(key)
	return uint64(len(key) + len(value)), err
}

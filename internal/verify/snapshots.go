package verify

import (
	"fmt"
	"slices"

	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// reclaim is what a deleted snapshot's reclaim has still to read: the touches
// by the ops from Read to Until.
type reclaim struct{ read, until ns.Op }

// snapshots loads the snapshots of each bucket, live and deleted, and checks
// that each live one is found by its name.
func (c *check) snapshots() error {
	lower, upper := schema.Snapshots.All()
	err := schema.Snapshots.Scan(c.r, lower, upper, func(k schema.SnapshotKey, s *schemapb.Snapshot) (bool, error) {
		b := c.bucket("snapshot "+s.Name, k.Bucket)
		if b == nil {
			return true, nil
		}
		b.live = append(b.live, k.Op)
		b.sum.LiveSnapshots++
		b.sum.NewestSnapshot = uint64(k.Op)
		c.total.Snapshots++
		n, ok, err := schema.SnapshotNames.Get(c.r, schema.SnapshotNameKey{Bucket: k.Bucket, Name: s.Name})
		if err == nil && (!ok || ns.Op(n.Op) != k.Op) {
			c.problem("snapshots", b.snapshot(k.Op), "is called %s, but that name does not lead to it", s.Name)
		}
		return true, err
	})
	if err != nil {
		return err
	}
	lower, upper = schema.SnapshotNames.All()
	err = schema.SnapshotNames.Scan(c.r, lower, upper, func(k schema.SnapshotNameKey, n *schemapb.SnapshotName) (bool, error) {
		s, ok, err := schema.Snapshots.Get(c.r, schema.SnapshotKey{Bucket: k.Bucket, Op: ns.Op(n.Op)})
		if err == nil && (!ok || s.Name != k.Name) {
			c.problem("snapshots", "name "+k.Name, "leads to op %d of bucket %d, which is no snapshot of this name", n.Op, k.Bucket)
		}
		return true, err
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Reclaims.All()
	return schema.Reclaims.Scan(c.r, lower, upper, func(k schema.SnapshotKey, r *schemapb.Reclaim) (bool, error) {
		if b := c.bucket("deleted snapshot "+r.Snapshot.GetName(), k.Bucket); b != nil {
			b.sum.Reclaims++
			if b.isLive(k.Op) {
				c.problem("snapshots", b.snapshot(k.Op), "is live and deleted at once")
			}
			if !r.Trimming {
				b.reclaims = append(b.reclaims, reclaim{ns.Op(r.Read), ns.Op(r.Until)})
			}
		}
		c.total.Reclaims++
		return true, nil
	})
}

func (b *bucket) snapshot(at ns.Op) string { return fmt.Sprintf("%s: snapshot of op %d", b.path, at) }

func (b *bucket) isLive(at ns.Op) bool {
	_, ok := slices.BinarySearch(b.live, at)
	return ok
}

// seenBy returns a live snapshot that sees what was there from since to until, 0
// for none.
func (b *bucket) seenBy(since, until ns.Op) ns.Op {
	if i, _ := slices.BinarySearch(b.live, since); i < len(b.live) && b.live[i] < until {
		return b.live[i]
	}
	return 0
}

// pastInterval checks the life of a row of history: it is one, and a live
// snapshot sees it or a reclaim will drop it. It returns such a snapshot.
func (c *check) pastInterval(b *bucket, subject string, since, until ns.Op) ns.Op {
	if since >= until {
		c.problem("history", subject, "lived from op %d to %d", since, until)
		return 0
	}
	seen := b.seenBy(since, until)
	waits := slices.ContainsFunc(b.reclaims, func(r reclaim) bool { return r.read <= until && until <= r.until })
	if seen == 0 && !waits {
		c.problem("history", subject, "lived from op %d to %d: no snapshot sees it, and nothing will reclaim it", since, until)
	}
	return seen
}

// touched checks that the journal tells of the end of a row of history: that is
// how a reclaim and a diff find it.
func (c *check) touched(subject string, k schema.JournalKey, id ns.ObjectID) error {
	row, ok, err := schema.Journal.Get(c.r, k)
	if err == nil && (!ok || row.OldId != uint64(id)) {
		c.problem("history", subject, "no row of the journal tells that it ended at op %d", k.Op)
	}
	return err
}

// countPast counts a row of history.
func (c *check) countPast(b *bucket, bytes uint64) {
	b.sum.HistoryRows++
	c.total.HistoryRows++
	c.total.HistoryBytes += bytes
}

// history checks both tables of history.
func (c *check) history() error {
	var last schema.HistoryKey
	err := scanRaw(c.r, schema.History, func(k schema.HistoryKey, e *schemapb.Entry, bytes uint64) error {
		b := c.bucket("history of "+k.Name, k.Bucket)
		if b == nil {
			return c.ctx.Err()
		}
		c.countPast(b, bytes)
		subject := fmt.Sprintf("%s: %s until op %d", b.path, k.Name, k.Until)
		if n := length(e.Extents); n != e.Size {
			c.problem("row", subject, "has %d bytes, its extents %d", e.Size, n)
		}
		if last.EntryKey == k.EntryKey && uint64(last.Until) > e.Since {
			c.problem("history", subject, "began at op %d, when the row before it had not ended", e.Since)
		}
		last = k
		live, ok, err := schema.Entries.Get(c.r, k.EntryKey)
		if err != nil {
			return err
		}
		if ok && live.Since < uint64(k.Until) {
			c.problem("history", subject, "ended after the live row of its name began, at op %d", live.Since)
		}
		seen := c.pastInterval(b, subject, ns.Op(e.Since), k.Until)
		if seen != 0 && k.Parent != k.Bucket {
			if _, ok, err := schema.DirAt(c.r, schema.DirKey{Bucket: k.Bucket, Dir: k.Parent}, seen); err != nil {
				return err
			} else if !ok {
				c.problem("tree", subject, "its parent, directory %d, is not in the snapshot of op %d", k.Parent, seen)
			}
		}
		return c.touched(subject, schema.JournalKey{Bucket: k.Bucket, Op: k.Until, Parent: k.Parent, Name: k.Name}, ns.ObjectID(e.ObjectId))
	})
	if err != nil {
		return err
	}
	return scanRaw(c.r, schema.DirHistory, c.pastDir)
}

func (c *check) pastDir(k schema.DirHistoryKey, d *schemapb.Dir, bytes uint64) error {
	b := c.bucket(fmt.Sprintf("history of directory %d", k.Dir), k.Bucket)
	if b == nil {
		return c.ctx.Err()
	}
	c.countPast(b, bytes)
	subject := fmt.Sprintf("%s: directory %d until op %d", b.path, k.Dir, k.Until)
	slot := schema.EntryKey{Bucket: k.Bucket, Parent: ns.ObjectID(d.ParentId), Name: d.Name}
	if seen := c.pastInterval(b, subject, ns.Op(d.Since), k.Until); seen != 0 {
		e, ok, err := schema.EntryAt(c.r, slot, seen)
		if err != nil {
			return err
		}
		if !ok || e.ObjectId != uint64(k.Dir) {
			c.problem("tree", subject, "hangs at %d/%s, where it has no entry in the snapshot of op %d", d.ParentId, d.Name, seen)
		}
	}
	return c.touched(subject, schema.JournalKey{Bucket: k.Bucket, Op: k.Until, Parent: slot.Parent, Name: slot.Name}, k.Dir)
}

// journal counts the touches; a bucket without a snapshot has none.
func (c *check) journal() error {
	err := scanRaw(c.r, schema.Journal, func(k schema.JournalKey, _ *schemapb.Touch, bytes uint64) error {
		if b := c.bucket("touch of "+k.Name, k.Bucket); b != nil {
			b.sum.JournalRows++
			c.total.JournalRows++
			c.total.JournalBytes += bytes
			if k.Op > c.report.Position.Op {
				c.problem("history", b.path+": touch of "+k.Name, "is of op %d, the store is at %d", k.Op, c.report.Position.Op)
			}
		}
		return c.ctx.Err()
	})
	for _, b := range c.buckets {
		if b.sum.JournalRows > 0 && b.sum.LiveSnapshots == 0 && b.sum.Reclaims == 0 {
			c.problem("history", b.path, "has %d rows of the journal, but no snapshot", b.sum.JournalRows)
		}
	}
	return err
}

// cells adds up what snapshots alone hold. A cell lies between live snapshots
// and is found by both its ends.
func (c *check) cells() error {
	lower, upper := schema.Cells.All()
	err := schema.Cells.Scan(c.r, lower, upper, func(k schema.CellKey, cell *schemapb.Cell) (bool, error) {
		b := c.bucket(fmt.Sprintf("cell [%d,%d]", k.First, k.Last), k.Bucket)
		if b == nil {
			return true, nil
		}
		subject := fmt.Sprintf("%s: cell [%d,%d]", b.path, k.First, k.Last)
		b.sum.SnapshotBytes += cell.Bytes
		b.sum.SnapshotNames += cell.Names
		if k.First > k.Last || !b.isLive(k.First) || !b.isLive(k.Last) {
			c.problem("cells", subject, "is not between live snapshots")
		}
		_, ok, err := schema.CellEnds.Get(c.r, k)
		if err == nil && !ok {
			c.problem("cells", subject, "is not found by its end")
		}
		return true, err
	})
	if err != nil {
		return err
	}
	lower, upper = schema.CellEnds.All()
	return schema.CellEnds.Scan(c.r, lower, upper, func(k schema.CellKey, _ *schemapb.CellEnd) (bool, error) {
		_, ok, err := schema.Cells.Get(c.r, k)
		if err == nil && !ok {
			c.problem("cells", fmt.Sprintf("cellEnds [%d,%d] of bucket %d", k.First, k.Last, k.Bucket), "is of no cell")
		}
		return true, err
	})
}

// diffJobs checks that the jobs are of buckets that exist.
func (c *check) diffJobs() error {
	lower, upper := schema.DiffJobs.All()
	return schema.DiffJobs.Scan(c.r, lower, upper, func(k schema.DiffJobKey, j *schemapb.DiffJob) (bool, error) {
		c.bucket(fmt.Sprintf("diff job %016x", j.JobId), k.Bucket)
		return true, nil
	})
}

// counters compares the store-wide tally with what was counted.
func (c *check) counters(compare func(subject, what string, have, want uint64)) error {
	row, ok, err := schema.Counters.Get(c.r, schema.CountersKey)
	if !ok {
		row = &schemapb.Counters{}
	}
	compare("store", "snapshots", row.Snapshots, c.total.Snapshots)
	compare("store", "reclaims", row.Reclaims, c.total.Reclaims)
	compare("store", "history rows", row.HistoryRows, c.total.HistoryRows)
	compare("store", "history bytes", row.HistoryBytes, c.total.HistoryBytes)
	compare("store", "journal rows", row.JournalRows, c.total.JournalRows)
	compare("store", "journal bytes", row.JournalBytes, c.total.JournalBytes)
	return err
}

// scanRaw calls f with each row of a table and the length of its key and value
// together.
func scanRaw[K, R any, P schema.Message[R]](r kv.Reader, t *schema.Table[K, R, P], f func(K, P, uint64) error) error {
	lower := t.Prefix()
	it, err := r.Iter(lower, keys.PrefixEnd(lower))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		k, err := t.ParseKey(it.Key())
		if err != nil {
			return err
		}
		row, err := t.Decode(it.Key(), value)
		if err != nil {
			return err
		}
		if err := f(k, row, uint64(len(it.Key())+len(value))); err != nil {
			return err
		}
	}
	return it.Err()
}

package verify

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"google.golang.org/protobuf/proto"
)

// namespace loads volumes, buckets, directories and what is being purged.
func (c *check) namespace() error {
	lower, upper := schema.Volumes.All()
	err := schema.Volumes.Scan(c.r, lower, upper, func(name string, row *schemapb.Volume) (bool, error) {
		c.volumes[ns.ObjectID(row.ObjectId)] = &volume{name: name, row: row}
		return true, nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Buckets.All()
	err = schema.Buckets.Scan(c.r, lower, upper, func(k schema.BucketKey, row *schemapb.Bucket) (bool, error) {
		v := c.volumes[k.Volume]
		if v == nil {
			c.problem("tree", "bucket "+k.Name, "volume %d does not exist", k.Volume)
			v = &volume{row: &schemapb.Volume{}}
		}
		v.buckets++
		id := ns.ObjectID(row.ObjectId)
		c.buckets[id] = &bucket{path: v.name + "/" + k.Name, volume: v, row: row}
		c.dirs.Add(uint64(id))
		return true, nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.DeletedDirs.All()
	err = schema.DeletedDirs.Scan(c.r, lower, upper, func(_ schema.OpKey, d *schemapb.DeletedDir) (bool, error) {
		c.dirs.Add(d.DirId)
		if b := c.bucket("deletedDirs "+d.Path, ns.ObjectID(d.BucketId)); b != nil {
			b.sum.PendingDirectories++
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Dirs.All()
	return schema.Dirs.Scan(c.r, lower, upper, func(k schema.DirKey, d *schemapb.Dir) (bool, error) {
		c.dirs.Add(uint64(k.Dir))
		e, ok, err := schema.Entries.Get(c.r, schema.EntryKey{Bucket: k.Bucket, Parent: ns.ObjectID(d.ParentId), Name: d.Name})
		if err == nil && (!ok || e.ObjectId != uint64(k.Dir)) {
			c.problem("tree", fmt.Sprintf("directory %d", k.Dir), "hangs at %d/%s, where it has no entry", d.ParentId, d.Name)
		}
		return true, err
	})
}

func (c *check) bucket(of string, id ns.ObjectID) *bucket {
	b := c.buckets[id]
	if b == nil {
		c.problem("tree", of, "bucket %d does not exist", id)
	}
	return b
}

// tree counts entries, uploads, parts and open keys, and checks that each
// hangs somewhere.
func (c *check) tree() error {
	lower, upper := schema.Entries.All()
	err := schema.Entries.Scan(c.r, lower, upper, c.entry)
	if err != nil {
		return err
	}
	lower, upper = schema.Uploads.All()
	err = schema.Uploads.Scan(c.r, lower, upper, func(k schema.UploadKey, u *schemapb.Upload) (bool, error) {
		if b := c.bucket("upload of "+k.Name, k.Bucket); b != nil {
			b.sum.Uploads++
			b.sum.UploadBytes += u.Bytes
		}
		c.uploads.Add(uint64(k.Upload))
		return c.parts(k, u)
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Parts.All()
	err = schema.Parts.Scan(c.r, lower, upper, func(k schema.PartKey, _ *schemapb.Part) (bool, error) {
		if !c.uploads.Contains(uint64(k.Upload)) {
			c.problem("tree", fmt.Sprintf("part %d", k.Number), "its upload, %d, does not exist", k.Upload)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.OpenKeys.All()
	return schema.OpenKeys.Scan(c.r, lower, upper, func(k schema.OpenKeyKey, _ *schemapb.OpenKey) (bool, error) {
		if b := c.bucket("open key "+k.Name, k.Bucket); b != nil {
			b.sum.OpenKeys++
		}
		return true, nil
	})
}

func (c *check) entry(k schema.EntryKey, e *schemapb.Entry) (bool, error) {
	b := c.bucket("entry "+k.Name, k.Bucket)
	if b == nil {
		return true, nil
	}
	subject := b.path + ": " + k.Name
	if !c.dirs.Contains(uint64(k.Parent)) {
		c.problem("tree", subject, "its parent, directory %d, does not exist", k.Parent)
	}
	if e.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
		b.sum.UsedDirectories++
		d, ok, err := schema.Dirs.Get(c.r, schema.DirKey{Bucket: k.Bucket, Dir: ns.ObjectID(e.ObjectId)})
		if err == nil && (!ok || ns.ObjectID(d.ParentId) != k.Parent || d.Name != k.Name) {
			c.problem("tree", subject, "the row of dirs of directory %d is missing or differs", e.ObjectId)
		}
		return true, err
	}
	b.sum.UsedKeys++
	b.sum.UsedBytes += e.Size
	if n := length(e.Extents); n != e.Size {
		c.problem("row", subject, "has %d bytes, its extents %d", e.Size, n)
	}
	return true, nil
}

func length(extents []*o3v1.Extent) (n uint64) {
	for _, e := range extents {
		n += uint64(e.Length)
	}
	return n
}

func (c *check) parts(k schema.UploadKey, u *schemapb.Upload) (bool, error) {
	var count, bytes uint64
	lower, upper := schema.PartsOf(k.Bucket, k.Upload)
	err := schema.Parts.Scan(c.r, lower, upper, func(_ schema.PartKey, p *schemapb.Part) (bool, error) {
		count++
		bytes += p.Size
		return true, nil
	})
	if err == nil && (count != u.Parts || bytes != u.Bytes) {
		c.problem("usage", "upload of "+k.Name, "says %d parts and %d bytes, has %d and %d", u.Parts, u.Bytes, count, bytes)
	}
	return true, err
}

// references counts the names of each block and compares them with the rows of
// refs; every row of smalls must be named.
func (c *check) references() error {
	deleted, err := c.deletedBlocks()
	if err != nil {
		return err
	}
	if err := c.names(); err != nil {
		return err
	}
	for id := range deleted { // they may be gone already: not to be looked for
		if c.more[id] > 0 {
			c.problem("refs", "block "+id.String(), "is to be freed but is still named")
		}
		c.seen[id.Container].Remove(id.Local)
	}
	lower, upper := schema.Refs.All()
	err = schema.Refs.Scan(c.r, lower, upper, func(id block.ID, row *schemapb.Refs) (bool, error) {
		if names := c.more[id] + 1; names != row.Count || row.Count < 2 {
			c.problem("refs", "block "+id.String(), "counts %d names, %d rows name it", row.Count, names)
		}
		delete(c.more, id)
		return true, nil
	})
	for id, n := range c.more {
		if !deleted[id] {
			c.problem("refs", "block "+id.String(), "%d rows name it, none is counted", n+1)
		}
	}
	if err != nil {
		return err
	}
	lower, upper = schema.Smalls.All()
	return schema.Smalls.Scan(c.r, lower, upper, func(n uint64, s *schemapb.Small) (bool, error) {
		c.smalls.Add(n)
		if m := c.seen[0]; m == nil || !m.Contains(n) {
			c.problem("refs", fmt.Sprintf("block 0/%d", n), "no row names it")
		}
		return true, nil
	})
}

func (c *check) deletedBlocks() (map[block.ID]bool, error) {
	out := map[block.ID]bool{}
	lower, upper := schema.Deleted.All()
	err := schema.Deleted.Scan(c.r, lower, upper, func(_ schema.OpKey, d *schemapb.DeletedBlocks) (bool, error) {
		for _, e := range d.Extents {
			out[block.ID{Container: e.Container, Local: e.Local}] = true
		}
		return true, nil
	})
	return out, err
}

// names counts how often each block is named. The blocks of a list of extents
// count once for the list, however many rows share it.
func (c *check) names() error {
	each := func(extents []*o3v1.Extent) (bool, error) {
		for _, e := range extents {
			if first := c.name(e); !first || !e.Indirect {
				continue
			}
			row, ok, err := schema.Smalls.Get(c.r, e.Local)
			if err != nil {
				return false, err
			}
			var list schemapb.Extents
			if err := proto.Unmarshal(row.GetData(), &list); err != nil {
				c.problem("row", fmt.Sprintf("block 0/%d", e.Local), "is no list of extents: %v", err)
			}
			for _, d := range list.Extents { // none if it is missing, which stored tells
				c.name(d)
			}
			if ok && length(list.Extents) != uint64(e.Length) {
				c.problem("row", fmt.Sprintf("block 0/%d", e.Local), "lists %d bytes, its row says %d", length(list.Extents), e.Length)
			}
		}
		return true, c.ctx.Err()
	}
	lower, upper := schema.Entries.All()
	err := schema.Entries.Scan(c.r, lower, upper, func(_ schema.EntryKey, e *schemapb.Entry) (bool, error) { return each(e.Extents) })
	if err != nil {
		return err
	}
	lower, upper = schema.History.All()
	err = schema.History.Scan(c.r, lower, upper, func(_ schema.HistoryKey, e *schemapb.Entry) (bool, error) { return each(e.Extents) })
	if err != nil {
		return err
	}
	lower, upper = schema.Parts.All()
	err = schema.Parts.Scan(c.r, lower, upper, func(_ schema.PartKey, p *schemapb.Part) (bool, error) { return each(p.Extents) })
	if err != nil {
		return err
	}
	lower, upper = schema.Deleted.All()
	return schema.Deleted.Scan(c.r, lower, upper, func(_ schema.OpKey, d *schemapb.DeletedBlocks) (bool, error) { return each(d.Extents) })
}

// name counts a name of a block and reports whether it is the first.
func (c *check) name(e *o3v1.Extent) bool {
	id := block.ID{Container: e.Container, Local: e.Local}
	m := c.seen[id.Container]
	if m == nil {
		m = roaring64.New()
		c.seen[id.Container] = m
	}
	if m.CheckedAdd(id.Local) {
		return true
	}
	c.more[id]++
	return false
}

// stored checks that every block a row names is in the block store.
func (c *check) stored() error {
	for container, m := range c.seen {
		c.report.Blocks += m.GetCardinality()
		if container == 0 {
			c.missing(0, roaring64.AndNot(m, c.smalls))
			delete(c.seen, 0)
		}
	}
	if c.o.Blocks == nil {
		return nil
	}
	err := c.o.Blocks.List(c.ctx, func(b block.Info) error {
		if m := c.seen[b.ID.Container]; m != nil {
			m.Remove(b.ID.Local)
		}
		return c.ctx.Err()
	})
	for container, m := range c.seen {
		c.missing(container, m)
	}
	return err
}

func (c *check) missing(container uint64, m *roaring64.Bitmap) {
	for it := m.Iterator(); it.HasNext(); {
		id := block.ID{Container: container, Local: it.Next()}
		c.problem("blocks", "block "+id.String(), "a row names it, but it is not stored")
	}
}

// totals compares the counters of buckets and volumes with what was counted.
func (c *check) totals() error {
	compare := func(subject, what string, have, want uint64) {
		if have != want {
			c.problem("usage", subject, "%s says %d, counted %d", what, have, want)
		}
	}
	for _, b := range c.buckets {
		compare(b.path, "used bytes", b.row.UsedBytes, b.sum.UsedBytes)
		compare(b.path, "used keys", b.row.UsedKeys, b.sum.UsedKeys)
		compare(b.path, "used directories", b.row.UsedDirectories, b.sum.UsedDirectories)
		compare(b.path, "uploads", b.row.Uploads, b.sum.Uploads)
		compare(b.path, "upload bytes", b.row.UploadBytes, b.sum.UploadBytes)
		compare(b.path, "open keys", b.row.OpenKeys, b.sum.OpenKeys)
		compare(b.path, "pending directories", b.row.PendingDirectories, b.sum.PendingDirectories)
		compare(b.path, "snapshots", b.row.LiveSnapshots, b.sum.LiveSnapshots)
		compare(b.path, "newest snapshot", b.row.NewestSnapshot, b.sum.NewestSnapshot)
		compare(b.path, "deleted snapshots", b.row.Reclaims, b.sum.Reclaims)
		compare(b.path, "snapshot bytes", b.row.SnapshotBytes, b.sum.SnapshotBytes)
		compare(b.path, "snapshot names", b.row.SnapshotNames, b.sum.SnapshotNames)
		compare(b.path, "history rows", b.row.HistoryRows, b.sum.HistoryRows)
		compare(b.path, "journal rows", b.row.JournalRows, b.sum.JournalRows)
		b.volume.bytes += b.sum.UsedBytes + b.sum.UploadBytes + b.sum.SnapshotBytes
		b.volume.names += b.sum.UsedKeys + b.sum.UsedDirectories + b.sum.SnapshotNames
	}
	for _, v := range c.volumes {
		compare("volume "+v.name, "used bytes", v.row.UsedBytes, v.bytes)
		compare("volume "+v.name, "used names", v.row.UsedNames, v.names)
		compare("volume "+v.name, "buckets", v.row.Buckets, v.buckets)
	}
	return c.counters(compare)
}

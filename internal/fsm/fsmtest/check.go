package fsmtest

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// State is what a walk over a whole store found.
type State struct {
	Names   map[block.ID]uint64 // blocks by how many rows name them
	Freed   map[block.ID]bool   // blocks waiting to be freed
	Pending int                 // deleted directories waiting to be purged
	Entries int
	Uploads int
	Open    int
	Past    int // rows of both tables of history
	Touches int // rows of the journal
	Live    int // snapshots
	Deleted int // snapshots being reclaimed
	Cells   int
}

type checker struct {
	State
	r       kv.Reader
	buckets map[ns.ObjectID]*tally
	volumes map[ns.ObjectID]*tally
	dirs    map[schema.DirKey]schema.EntryKey
	lists   map[uint64]bool // indirect blocks
	uploads map[schema.PartKey]*tally
	queued  map[schema.DirKey]bool // deleted directories
}

// tally is what the rows of a bucket, volume or upload add up to.
type tally struct {
	volume                        ns.ObjectID
	bytes, keys, dirs             uint64
	uploadBytes, uploads          uint64
	open, pending, buckets, parts uint64

	live, reclaims, heldBytes, heldNames, past, touches, newest uint64
}

// Check walks a store and reports the first thing that does not hold: usage
// counters, of snapshots too, equal what the rows add up to; every row of
// history began before it ended and has a touch that reclaim finds it by; a block has a row of refs exactly if
// it is named more than once, with that count; rows of smalls are those that
// are named; a freed block has no name and is freed once; every directory
// hangs where it is; rows of lifecycle are of buckets that exist, and a scan is of
// one that has rules; every entry is in a directory that exists or waits to be
// purged; no implicit directory is empty; the digest is that of the rows.
func Check(r kv.Reader) (*State, error) {
	c := &checker{
		r: r, State: State{Names: map[block.ID]uint64{}, Freed: map[block.ID]bool{}},
		buckets: map[ns.ObjectID]*tally{}, volumes: map[ns.ObjectID]*tally{},
		dirs: map[schema.DirKey]schema.EntryKey{}, lists: map[uint64]bool{}, uploads: map[schema.PartKey]*tally{},
		queued: map[schema.DirKey]bool{},
	}
	for _, step := range []func() error{
		c.walkVolumes, c.walkEntries, c.walkUploads, c.walkQueues, c.walkSnapshots, c.walkHistory, c.walkLifecycle, c.checkCounters, c.checkBlocks, c.checkDirs, c.checkDigest,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &c.State, nil
}

// Scan calls f with every row of a table.
func Scan[K, R any, P schema.Message[R]](r kv.Reader, t *schema.Table[K, R, P], f func(K, P) error) error {
	lower, upper := t.All()
	return t.Scan(r, lower, upper, func(k K, row P) (bool, error) { err := f(k, row); return err == nil, err })
}

func (c *checker) walkVolumes() error {
	err := Scan(c.r, schema.Volumes, func(_ string, v *schemapb.Volume) error {
		c.volumes[ns.ObjectID(v.ObjectId)] = &tally{}
		return nil
	})
	if err != nil {
		return err
	}
	return Scan(c.r, schema.Buckets, func(k schema.BucketKey, b *schemapb.Bucket) error {
		if c.volumes[k.Volume] == nil {
			return fmt.Errorf("bucket %s is in a volume that does not exist", k.Name)
		}
		c.volumes[k.Volume].buckets++
		c.buckets[ns.ObjectID(b.ObjectId)] = &tally{volume: k.Volume}
		return nil
	})
}

// name counts the blocks of a row; the blocks of a list count once for the
// list, whose own names are counted too.
func (c *checker) name(extents []*o3v1.Extent) error {
	for _, e := range extents {
		id := block.ID{Container: e.Container, Local: e.Local}
		c.Names[id]++
		if !e.Indirect || c.lists[e.Local] {
			continue
		}
		c.lists[e.Local] = true
		row, ok, err := schema.Smalls.Get(c.r, e.Local)
		if err != nil || !ok {
			return fmt.Errorf("list %s is missing: %v", ID(e.Local), err)
		}
		var list schemapb.Extents
		if err := proto.Unmarshal(row.Data, &list); err != nil {
			return err
		}
		if err := c.name(list.Extents); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) walkEntries() error {
	return Scan(c.r, schema.Entries, func(k schema.EntryKey, e *schemapb.Entry) error {
		t := c.buckets[k.Bucket]
		if t == nil {
			return fmt.Errorf("entry %q is of a bucket that does not exist", k.Name)
		}
		c.Entries++
		if e.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
			t.dirs++
			c.dirs[schema.DirKey{Bucket: k.Bucket, Dir: ns.ObjectID(e.ObjectId)}] = k
			return nil
		}
		t.keys++
		t.bytes += e.Size
		if got := length(e.Extents); got != e.Size {
			return fmt.Errorf("key %q has size %d but extents of %d bytes", k.Name, e.Size, got)
		}
		return c.name(e.Extents)
	})
}

func length(extents []*o3v1.Extent) (n uint64) {
	for _, e := range extents {
		n += uint64(e.Length)
	}
	return n
}

func (c *checker) walkUploads() error {
	err := Scan(c.r, schema.Parts, func(k schema.PartKey, p *schemapb.Part) error {
		id := schema.PartKey{Bucket: k.Bucket, Upload: k.Upload}
		if c.uploads[id] == nil {
			c.uploads[id] = &tally{}
		}
		c.uploads[id].parts++
		c.uploads[id].bytes += p.Size
		return c.name(p.Extents)
	})
	if err != nil {
		return err
	}
	return Scan(c.r, schema.Uploads, func(k schema.UploadKey, u *schemapb.Upload) error {
		id := schema.PartKey{Bucket: k.Bucket, Upload: k.Upload}
		found := c.uploads[id]
		if found == nil {
			found = &tally{}
		}
		delete(c.uploads, id)
		if found.parts != u.Parts || found.bytes != u.Bytes {
			return fmt.Errorf("upload %s counts %d parts of %d bytes, has %d of %d", ID(uint64(k.Upload)), u.Parts, u.Bytes, found.parts, found.bytes)
		}
		t := c.buckets[k.Bucket]
		if t == nil {
			return fmt.Errorf("upload of %q is of a bucket that does not exist", k.Name)
		}
		t.uploads++
		t.uploadBytes += u.Bytes
		c.Uploads++
		return nil
	})
}

func (c *checker) walkQueues() error {
	if len(c.uploads) > 0 {
		return fmt.Errorf("parts without an upload: %v", c.uploads)
	}
	err := Scan(c.r, schema.OpenKeys, func(k schema.OpenKeyKey, _ *schemapb.OpenKey) error {
		if c.buckets[k.Bucket] == nil {
			return fmt.Errorf("open key %q is of a bucket that does not exist", k.Name)
		}
		c.buckets[k.Bucket].open++
		c.Open++
		return nil
	})
	if err != nil {
		return err
	}
	err = Scan(c.r, schema.DeletedDirs, func(k schema.OpKey, d *schemapb.DeletedDir) error {
		t := c.buckets[ns.ObjectID(d.BucketId)]
		if t == nil {
			return fmt.Errorf("%q is to be purged in a bucket that does not exist", d.Path)
		}
		t.pending++
		c.Pending++
		c.queued[schema.DirKey{Bucket: ns.ObjectID(d.BucketId), Dir: ns.ObjectID(d.DirId)}] = true
		return nil
	})
	if err != nil {
		return err
	}
	return Scan(c.r, schema.Deleted, func(k schema.OpKey, d *schemapb.DeletedBlocks) error {
		if length(d.Extents) != d.Bytes {
			return fmt.Errorf("deleted %d/%d counts %d bytes", k.Op, k.N, d.Bytes)
		}
		for _, e := range d.Extents {
			id := block.ID{Container: e.Container, Local: e.Local}
			if c.Freed[id] {
				return fmt.Errorf("block %v is freed twice", id)
			}
			c.Freed[id] = true
		}
		return nil
	})
}

func (c *checker) checkCounters() error {
	err := Scan(c.r, schema.Buckets, func(k schema.BucketKey, b *schemapb.Bucket) error {
		t := c.buckets[ns.ObjectID(b.ObjectId)]
		got := tally{
			volume: k.Volume, bytes: b.UsedBytes, keys: b.UsedKeys, dirs: b.UsedDirectories, uploadBytes: b.UploadBytes,
			uploads: b.Uploads, open: b.OpenKeys, pending: b.PendingDirectories,
			live: b.LiveSnapshots, reclaims: b.Reclaims, heldBytes: b.SnapshotBytes, heldNames: b.SnapshotNames,
			past: b.HistoryRows, touches: b.JournalRows, newest: b.NewestSnapshot,
		}
		if got != *t {
			return fmt.Errorf("bucket %s counts %+v, its rows are %+v", k.Name, got, *t)
		}
		v := c.volumes[k.Volume]
		v.bytes += t.bytes + t.uploadBytes + t.heldBytes
		v.keys += t.keys + t.dirs + t.heldNames
		return nil
	})
	if err != nil {
		return err
	}
	return Scan(c.r, schema.Volumes, func(name string, v *schemapb.Volume) error {
		t := c.volumes[ns.ObjectID(v.ObjectId)]
		if v.UsedBytes != t.bytes || v.UsedNames != t.keys || v.Buckets != t.buckets {
			return fmt.Errorf("volume %s counts %d bytes, %d names, %d buckets; its rows are %+v", name, v.UsedBytes, v.UsedNames, v.Buckets, *t)
		}
		return nil
	})
}

func (c *checker) checkBlocks() error {
	counted := map[block.ID]bool{}
	err := Scan(c.r, schema.Refs, func(id block.ID, r *schemapb.Refs) error {
		counted[id] = true
		if r.Count < 2 || r.Count != c.Names[id] {
			return fmt.Errorf("block %v has count %d, %d rows name it", id, r.Count, c.Names[id])
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, n := range c.Names {
		if n > 1 && !counted[id] {
			return fmt.Errorf("block %v has no count, %d rows name it", id, n)
		}
		if c.Freed[id] {
			return fmt.Errorf("block %v is freed, but %d rows name it", id, n)
		}
	}
	smalls := map[block.ID]bool{}
	err = Scan(c.r, schema.Smalls, func(n uint64, _ *schemapb.Small) error {
		id := block.ID{Local: n}
		smalls[id] = true
		if c.Names[id] == 0 {
			return fmt.Errorf("small %s is named by no row", ID(n))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id := range c.Names {
		if id.Container == 0 && !smalls[id] {
			return fmt.Errorf("small %s is missing", ID(id.Local))
		}
	}
	return nil
}

func (c *checker) checkDirs() error {
	children := map[schema.DirKey]bool{}
	hung := map[schema.DirKey]bool{}
	err := Scan(c.r, schema.Entries, func(k schema.EntryKey, _ *schemapb.Entry) error {
		parent := schema.DirKey{Bucket: k.Bucket, Dir: k.Parent}
		children[parent] = true
		if _, ok := c.dirs[parent]; !ok && k.Parent != k.Bucket && !c.queued[parent] {
			return fmt.Errorf("entry %q is in directory %s, which neither exists nor waits to be purged", k.Name, ID(uint64(k.Parent)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = Scan(c.r, schema.Dirs, func(k schema.DirKey, d *schemapb.Dir) error {
		hung[k] = true
		if e, ok := c.dirs[k]; !ok || e.Parent != ns.ObjectID(d.ParentId) || e.Name != d.Name {
			return fmt.Errorf("directory %s hangs in %s as %q; its entry is %+v", ID(uint64(k.Dir)), ID(d.ParentId), d.Name, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return Scan(c.r, schema.Entries, func(k schema.EntryKey, e *schemapb.Entry) error {
		d := schema.DirKey{Bucket: k.Bucket, Dir: ns.ObjectID(e.ObjectId)}
		if _, dir := c.dirs[d]; !dir {
			return nil
		}
		if !hung[d] {
			return fmt.Errorf("directory %q hangs nowhere", k.Name)
		}
		if e.Implicit && !children[d] {
			return fmt.Errorf("directory %q is implicit and empty", k.Name)
		}
		return nil
	})
}

func (c *checker) checkDigest() error {
	p, _, err := fsm.ReadPosition(c.r)
	if err != nil {
		return err
	}
	d, err := fsm.Scan(c.r)
	if err == nil && d != p.Digest {
		err = fmt.Errorf("the digest is %v, that of the rows %v", p.Digest, d)
	}
	return err
}

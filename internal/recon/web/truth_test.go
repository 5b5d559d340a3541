package web_test

import (
	"fmt"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// truth is what a plain count over all rows finds.
type truth struct {
	buckets map[ns.ObjectID]*tBucket
	volumes map[string]*tVolume
	dirs    map[schema.DirKey]*schemapb.Dir
	entries []tEntry
	below   map[string]*tSum // by path of what is reachable: "/", volumes, buckets, directories
	gone    map[ns.ObjectID]*tSum

	containers map[uint64]map[string]int // blocks of keys
	counts     map[string]int64
	bytes      map[string]int64
	cells      map[schema.CellKey]*schemapb.Cell
	opens      []tOpen
	snapshots  map[string]tSnapshot          // by path
	dirIDs     []ns.ObjectID                 // of deleted directories, the oldest first
	suspended  *schemapb.LifecycleSuspension // of all buckets

	index  uint64
	op     uint64
	digest string
	time   int64
}

type tVolume struct {
	row     *schemapb.Volume
	buckets int64
	used    int64 // bytes that count in its quota
	names   int64
}

// tBucket is a bucket, and what of each table is of it.
type tBucket struct {
	path   string
	row    *schemapb.Bucket
	counts map[string]int64
	bytes  map[string]int64

	rules     *schemapb.LifecycleConfiguration // nil: it has none
	scan      *schemapb.LifecycleScanState     // nil: it was never scanned
	suspended bool
}

type tOpen struct {
	path string
	size int64
	tree bool
}

type tSnapshot struct {
	bucket             ns.ObjectID
	op                 uint64
	keys, bytes, names int64 // names: that only it has
	alone              int64 // bytes that only it has
	deleted            bool
}

type tEntry struct {
	key     schema.EntryKey
	row     *schemapb.Entry
	path    string
	bucket  string // its path
	deleted bool
	isKey   bool
}

type tSum struct {
	files, dirs, bytes, buckets int64
	bins                        [task.SizeBins]int64
	direct, directBytes         int64 // sub-paths, bytes of keys
}

func (s *tSum) add(e tEntry) {
	if !e.isKey {
		s.dirs++
		return
	}
	s.files++
	s.bytes += int64(e.row.Size)
	s.bins[task.SizeBin(e.row.Size)]++
}

// count makes the truth of a look.
func count(t *testing.T, v *generation.View) *truth {
	t.Helper()
	c := &truth{
		buckets: map[ns.ObjectID]*tBucket{}, volumes: map[string]*tVolume{}, dirs: map[schema.DirKey]*schemapb.Dir{}, below: map[string]*tSum{"/": {}},
		gone: map[ns.ObjectID]*tSum{}, containers: map[uint64]map[string]int{}, counts: map[string]int64{}, bytes: map[string]int64{},
		cells: map[schema.CellKey]*schemapb.Cell{}, snapshots: map[string]tSnapshot{},
	}
	ids := map[ns.ObjectID]string{}
	each(t, v, schema.Volumes, func(name string, row *schemapb.Volume) {
		c.volumes[name], c.below["/"+name] = &tVolume{row: row}, &tSum{}
		ids[ns.ObjectID(row.ObjectId)] = name
	})
	each(t, v, schema.Buckets, func(k schema.BucketKey, row *schemapb.Bucket) {
		path := "/" + ids[k.Volume] + "/" + k.Name
		c.buckets[ns.ObjectID(row.ObjectId)], c.below[path] = &tBucket{path: path, row: row, counts: map[string]int64{}, bytes: map[string]int64{}}, &tSum{}
		c.volumes[ids[k.Volume]].buckets++
	})
	each(t, v, schema.Dirs, func(k schema.DirKey, row *schemapb.Dir) { c.dirs[k] = row })
	each(t, v, schema.Entries, func(k schema.EntryKey, row *schemapb.Entry) { c.entry(v, t, k, row) })
	for _, e := range c.entries {
		if !e.isKey && !e.deleted && c.below[e.path] == nil {
			c.below[e.path] = &tSum{}
		}
	}
	for _, e := range c.entries {
		c.sum(e)
	}
	c.queues(t, v)
	c.index, c.op, c.digest, c.time = v.At.Index, uint64(v.At.Op), v.At.Digest.String(), v.At.TimeMs
	return c
}

func each[K, R any, P schema.Message[R]](t *testing.T, v *generation.View, table *schema.Table[K, R, P], f func(K, P)) {
	t.Helper()
	if err := fsmtest.Scan(v.Rows, table, func(k K, row P) error { f(k, row); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (c *truth) entry(v *generation.View, t *testing.T, k schema.EntryKey, row *schemapb.Entry) {
	e := tEntry{key: k, row: row, isKey: row.Kind == o3v1.EntryKind_ENTRY_KIND_KEY}
	path := k.Name
	at := k.Parent
	for at != k.Bucket {
		d := c.dirs[schema.DirKey{Bucket: k.Bucket, Dir: at}]
		if d == nil {
			e.deleted = true
			if c.gone[at] == nil {
				c.gone[at] = &tSum{}
			}
			c.gone[at].add(e)
			break
		}
		path, at = d.Name+path, ns.ObjectID(d.ParentId)
	}
	if b := c.buckets[k.Bucket]; b != nil {
		e.bucket = b.path
		e.path = strings.TrimSuffix(b.path+"/"+path, "/")
	} else if !e.deleted {
		t.Errorf("%v is in no bucket", k)
	}
	c.entries = append(c.entries, e)
	extents, err := v.Extents(row)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range extents {
		if x.Container != 0 {
			if c.containers[x.Container] == nil {
				c.containers[x.Container] = map[string]int{}
			}
			c.containers[x.Container][rowKeyOf(k)]++
		}
	}
}

// sum counts an entry in all that it is in.
func (c *truth) sum(e tEntry) {
	if e.deleted {
		return
	}
	c.below["/"].add(e)
	volume, _, _ := strings.Cut(e.bucket[1:], "/")
	c.below["/"+volume].add(e)
	bucket := c.below[e.bucket]
	bucket.add(e)
	in := e.bucket
	if e.key.Parent != e.key.Bucket {
		parts := strings.Split(strings.TrimPrefix(e.path, e.bucket+"/"), "/")
		for _, p := range parts[:len(parts)-1] {
			in += "/" + p
			c.below[in].add(e)
		}
	}
	c.below[in].direct++
	if e.isKey {
		c.below[in].directBytes += int64(e.row.Size)
	}
}

// rowKeyOf is a row's key, as cursors have it.
func rowKeyOf(k schema.EntryKey) string {
	return fmt.Sprintf("/%d/%d/%s", uint64(k.Bucket), uint64(k.Parent), k.Name)
}

// tally counts a row of a bucket, which may be gone.
func (c *truth) tally(name string, bucket ns.ObjectID, bytes uint64) {
	c.counts[name]++
	c.bytes[name] += int64(bytes)
	if b := c.buckets[bucket]; b != nil {
		b.counts[name]++
		b.bytes[name] += int64(bytes)
	}
}

func (c *truth) queues(t *testing.T, v *generation.View) {
	each(t, v, schema.OpenKeys, func(k schema.OpenKeyKey, row *schemapb.OpenKey) {
		c.tally("open", k.Bucket, row.ExpectedSize)
		b := c.buckets[k.Bucket]
		c.opens = append(c.opens, tOpen{b.path + "/" + k.Name, int64(row.ExpectedSize), ns.Layout(b.row.Layout) == ns.FileSystem})
	})
	each(t, v, schema.Uploads, func(k schema.UploadKey, row *schemapb.Upload) { c.tally("uploads", k.Bucket, row.Bytes) })
	each(t, v, schema.Deleted, func(_ schema.OpKey, row *schemapb.DeletedBlocks) {
		c.tally("deleted", ns.ObjectID(row.BucketId), row.Bytes)
	})
	each(t, v, schema.DeletedDirs, func(_ schema.OpKey, row *schemapb.DeletedDir) {
		c.tally("dirs", ns.ObjectID(row.BucketId), 0)
		c.dirIDs = append(c.dirIDs, ns.ObjectID(row.DirId))
	})
	each(t, v, schema.DiffJobs, func(k schema.DiffJobKey, _ *schemapb.DiffJob) { c.tally("diffs", k.Bucket, 0) })
	each(t, v, schema.Cells, func(k schema.CellKey, row *schemapb.Cell) {
		c.tally("cells", k.Bucket, row.Bytes)
		c.counts["names"] += int64(row.Names)
		c.buckets[k.Bucket].counts["names"] += int64(row.Names)
		c.cells[k] = row
	})
	each(t, v, schema.Snapshots, func(k schema.SnapshotKey, row *schemapb.Snapshot) { c.snapshot(t, v, k, row, false) })
	each(t, v, schema.Reclaims, func(k schema.SnapshotKey, row *schemapb.Reclaim) { c.snapshot(t, v, k, row.Snapshot, true) })
	each(t, v, schema.Lifecycles, func(k ns.ObjectID, row *schemapb.LifecycleConfiguration) {
		c.tally("rules", k, 0)
		c.buckets[k].rules = row
	})
	each(t, v, schema.LifecycleScans, func(k ns.ObjectID, row *schemapb.LifecycleScanState) {
		c.tally("scans", k, 0)
		c.buckets[k].scan = row
	})
	each(t, v, schema.LifecycleSuspensions, func(k ns.ObjectID, row *schemapb.LifecycleSuspension) {
		if k == schema.EveryBucket {
			c.suspended = row
		} else {
			c.buckets[k].suspended = true
		}
	})
	for _, e := range c.entries {
		name := "directories"
		if e.isKey {
			name = "keys"
			if e.deleted {
				c.tally("pending", 0, e.row.Size)
			}
		}
		c.tally(name, e.key.Bucket, e.row.Size)
	}
	for _, b := range c.buckets {
		volume, _, _ := strings.Cut(b.path[1:], "/")
		of := c.volumes[volume]
		of.used += b.used()
		of.names += b.names()
	}
}

// used is what of a bucket counts in its quota: rows of keys until they are
// purged, parts of uploads, what snapshots alone hold.
func (b *tBucket) used() int64 { return b.bytes["keys"] + b.bytes["uploads"] + b.bytes["cells"] }

func (b *tBucket) names() int64 {
	return b.counts["keys"] + b.counts["directories"] + b.counts["names"]
}

// snapshot counts what is in a snapshot.
func (c *truth) snapshot(t *testing.T, v *generation.View, k schema.SnapshotKey, row *schemapb.Snapshot, deleted bool) {
	name := "snapshots"
	if deleted {
		name = "reclaims"
	}
	c.tally(name, k.Bucket, 0)
	b := c.buckets[k.Bucket]
	s := tSnapshot{bucket: k.Bucket, op: uint64(k.Op), deleted: deleted, keys: int64(row.UsedKeys), bytes: int64(row.UsedBytes)}
	if cell := c.cells[schema.CellKey{Bucket: k.Bucket, First: k.Op, Last: k.Op}]; cell != nil && !deleted {
		s.alone, s.names = int64(cell.Bytes), int64(cell.Names)
	}
	if !deleted && b.counts["dirs"] == 0 { // else some are deleted and not taken off yet
		s.keys, s.bytes = 0, 0
		volume, bucket, _ := strings.Cut(b.path[1:], "/")
		of, err := v.Bucket(volume, bucket)
		if err != nil {
			t.Fatal(err)
		}
		page, err := v.View.At(k.Op).List(of, view.ListOptions{Limit: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if e.Row.Kind == o3v1.EntryKind_ENTRY_KIND_KEY {
				s.keys++
				s.bytes += int64(e.Row.Size)
			}
		}
	}
	c.snapshots[fmt.Sprintf("%s/%s/%d", b.path, row.Name, k.Op)] = s
}

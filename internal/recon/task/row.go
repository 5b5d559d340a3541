package task

import (
	"errors"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Row is what tasks need to know of a row of the namespace.
type Row struct {
	Table  byte // the first byte of its key
	Bucket ns.ObjectID
	Layout ns.Layout // of the bucket; 0 for rows of none

	Bytes uint64 // that the row stands for: the size of a key, a part, deleted blocks, an upload; what a cell holds

	Parent ns.ObjectID // of entries and dirs: the directory it hangs in
	Dir    ns.ObjectID // of dirs: which directory
	Tuple  []byte      // of entries: the key without the table's byte, which is bucket, parent and name

	Key        bool  // of entries: a key, not a directory
	ModifiedMs int64 // of entries
	Containers []Blocks
	Names      uint64 // of cells

	Rules *schemapb.LifecycleConfiguration // of lifecycleConfigurationTable
	Scan  *schemapb.LifecycleScanState     // of lifecycleStateTable
}

// Blocks is how many of a key's blocks a container has.
type Blocks struct {
	Container uint64
	Count     int64
}

// The first bytes of the keys of tables.
var (
	spaceBuckets   = schema.Buckets.Prefix()[0]
	spaceEntries   = schema.Entries.Prefix()[0]
	spaceDirs      = schema.Dirs.Prefix()[0]
	spaceSmalls    = schema.Smalls.Prefix()[0]
	spaceUploads   = schema.Uploads.Prefix()[0]
	spaceParts     = schema.Parts.Prefix()[0]
	spaceOpenKeys  = schema.OpenKeys.Prefix()[0]
	spaceDeleted   = schema.Deleted.Prefix()[0]
	spaceReclaims  = schema.Reclaims.Prefix()[0]
	spaceSnapshots = schema.Snapshots.Prefix()[0]
	spaceCells     = schema.Cells.Prefix()[0]

	spaceLifecycles  = schema.Lifecycles.Prefix()[0]
	spaceScans       = schema.LifecycleScans.Prefix()[0]
	spaceSuspensions = schema.LifecycleSuspensions.Prefix()[0]
)

// tableOf maps the first byte of keys to tables.
var tableOf = func() (names [256]string) {
	for _, d := range schema.Tables() {
		names[d.Space] = d.Name
	}
	return names
}()

// valued tells the tables of whose rows more is needed than the key.
var valued = func() (is [256]bool) {
	for _, space := range []byte{spaceEntries, spaceDirs, spaceUploads, spaceParts, spaceOpenKeys, spaceDeleted, spaceCells, spaceLifecycles, spaceScans} {
		is[space] = true
	}
	return is
}()

// batch is rows, decoded once for all tasks. It uses its memory again.
type batch struct {
	layouts Layouts
	reader  kv.Reader // with the lists of extents that rows name

	rows   []Row
	arena  []byte   // of tuples
	blocks []Blocks // of containers
	list   []*o3v1.Extent
	entry  schemapb.Entry // when one cannot be decoded in part

	bucket ns.ObjectID // whose layout was asked for last
	layout ns.Layout
}

func (d *batch) clear() {
	d.rows, d.arena, d.blocks = d.rows[:0], d.arena[:0], d.blocks[:0]
}

// add decodes a row. The value is not needed after the call; nor is the key.
func (d *batch) add(key, value []byte) (*Row, error) {
	if len(key) == 0 || tableOf[key[0]] == "" {
		return nil, errs.New(errs.Corrupt, "row", "it is of no table")
	}
	d.rows = append(d.rows, Row{Table: key[0]})
	r := &d.rows[len(d.rows)-1]
	err := d.fill(r, key, value)
	if err == nil && r.Bucket != 0 {
		if r.Bucket != d.bucket {
			d.bucket, d.layout = r.Bucket, d.layouts.of(r.Bucket)
		}
		r.Layout = d.layout
	}
	return r, err
}

func (d *batch) fill(r *Row, key, value []byte) (err error) {
	switch r.Table {
	case spaceEntries:
		at := len(d.arena)
		d.arena = append(d.arena, key[1:]...)
		r.Tuple = d.arena[at:len(d.arena):len(d.arena)] // what grows later leaves it as it is
		if r.Bucket, r.Parent, err = twoIDs(key); err == nil {
			err = d.fillEntry(r, key, value)
		}
	case spaceDirs:
		if r.Bucket, r.Dir, err = twoIDs(key); err == nil {
			r.Parent, err = parentOf(key, value)
		}
	case spaceCells:
		row, err := schema.Cells.Decode(key, value)
		r.Bucket, r.Bytes, r.Names = bucketIn(key), row.GetBytes(), row.GetNames()
		return err
	case spaceUploads:
		row, err := schema.Uploads.Decode(key, value)
		r.Bucket, r.Bytes = bucketIn(key), row.GetBytes()
		return err
	case spaceOpenKeys:
		row, err := schema.OpenKeys.Decode(key, value)
		r.Bucket, r.Bytes = bucketIn(key), row.GetExpectedSize()
		return err
	case spaceParts:
		row, err := schema.Parts.Decode(key, value)
		r.Bucket, r.Bytes = bucketIn(key), row.GetSize()
		return err
	case spaceDeleted:
		row, err := schema.Deleted.Decode(key, value)
		r.Bytes = row.GetBytes()
		return err
	case spaceLifecycles:
		r.Bucket = bucketIn(key)
		r.Rules, err = schema.Lifecycles.Decode(key, value)
	case spaceScans:
		r.Bucket = bucketIn(key)
		r.Scan, err = schema.LifecycleScans.Decode(key, value)
	case spaceSnapshots, spaceReclaims, spaceSuspensions:
		r.Bucket = bucketIn(key)
	}
	return err
}

// twoIDs returns the ids that a key begins with.
func twoIDs(key []byte) (a, b ns.ObjectID, err error) {
	v, rest, err := keys.TakeUint64(key[1:])
	w, _, err2 := keys.TakeUint64(rest)
	if err := errors.Join(err, err2); err != nil {
		return 0, 0, errs.Wrap(errs.Corrupt, tableOf[key[0]], err)
	}
	return ns.ObjectID(v), ns.ObjectID(w), nil
}

// bucketIn returns the bucket that a key begins with.
func bucketIn(key []byte) ns.ObjectID {
	id, _, _ := keys.TakeUint64(key[1:]) // a key too short is of no bucket
	return ns.ObjectID(id)
}

// count notes where a row's bytes are, each container once.
func (d *batch) count(r *Row, list []*o3v1.Extent) {
	at := len(d.blocks)
	for _, x := range list {
		if x.Container != 0 {
			d.blocks = append(d.blocks[:at], count(d.blocks[at:], x.Container)...)
		}
	}
	r.Containers = d.blocks[at:len(d.blocks):len(d.blocks)]
}

// indirect is count where the list of extents may be elsewhere.
func (d *batch) indirect(r *Row, list []*o3v1.Extent) error {
	direct, err := command.DirectExtents(d.reader, list)
	if err == nil {
		d.count(r, direct)
	}
	return err
}

// count counts a block of a container. A key has its blocks in few containers,
// and mostly neighbours in one.
func count(all []Blocks, container uint64) []Blocks {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Container == container {
			all[i].Count++
			return all
		}
	}
	return append(all, Blocks{container, 1})
}

// Layouts knows the buckets of a namespace by their ids.
type Layouts map[ns.ObjectID]ns.Layout

// ReadLayouts reads them.
func ReadLayouts(r kv.Reader) (Layouts, error) {
	l := Layouts{}
	lower, upper := schema.Buckets.All()
	return l, schema.Buckets.Scan(r, lower, upper, func(_ schema.BucketKey, b *schemapb.Bucket) (bool, error) {
		l[ns.ObjectID(b.ObjectId)] = ns.Layout(b.Layout)
		return true, nil
	})
}

// of returns a bucket's layout. Rows outlive a bucket only as what is left of
// directories deleted from it, so one that is gone was a tree.
func (l Layouts) of(bucket ns.ObjectID) ns.Layout {
	if layout, ok := l[bucket]; ok {
		return layout
	}
	return ns.FileSystem
}

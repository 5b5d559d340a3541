package task

import (
	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Row is a row of the namespace, decoded once for all tasks.
type Row struct {
	Table  string // as schema calls it
	Bucket ns.ObjectID
	Layout ns.Layout // of the bucket; 0 for rows of none

	Bytes uint64 // that the row stands for: the size of a key, a part, deleted blocks, an upload

	EntryKey   schema.EntryKey // of table entries
	Entry      *schemapb.Entry
	Containers []Blocks // where the entry's bytes are, each container once

	DirKey  schema.DirKey // of table dirs
	Dir     *schemapb.Dir
	CellKey schema.CellKey // of table cells
	Cell    *schemapb.Cell
}

// Blocks is how many of a key's blocks a container has.
type Blocks struct {
	Container uint64
	Count     int64
}

// IsKey reports whether the row is a key, not a directory or of another table.
func (r *Row) IsKey() bool {
	return r.Entry != nil && r.Entry.Kind == o3v1.EntryKind_ENTRY_KIND_KEY
}

// surroundings is what rows do not say of themselves.
type surroundings struct {
	layouts Layouts
	rows    kv.Reader // with the lists of extents that a row names
}

// decoder decodes rows, one at a time, into memory it uses again.
type decoder struct {
	around surroundings
	row    Row
	entry  schemapb.Entry
	dir    schemapb.Dir
	cell   schemapb.Cell
}

// tableOf maps the first byte of keys to tables.
var tableOf = func() (names [256]string) {
	for _, d := range schema.Tables() {
		names[d.Space] = d.Name
	}
	return names
}()

// decode returns the row; it is valid until the next call.
func (d *decoder) decode(key, value []byte) (*Row, error) {
	if len(key) == 0 || tableOf[key[0]] == "" {
		return nil, errs.New(errs.Corrupt, "row", "it is of no table")
	}
	r := &d.row
	*r = Row{Table: tableOf[key[0]], Containers: r.Containers[:0]}
	err := d.fill(r, key, value)
	if err == nil && r.Bucket != 0 {
		r.Layout = d.around.layouts.of(r.Bucket)
	}
	return r, err
}

func (d *decoder) fill(r *Row, key, value []byte) (err error) {
	switch r.Table {
	case schema.Entries.Name():
		if r.EntryKey, err = schema.Entries.ParseKey(key); err != nil {
			return err
		}
		d.entry.Reset()
		if err = schema.Entries.DecodeInto(key, value, &d.entry); err != nil {
			return err
		}
		r.Entry, r.Bucket, r.Bytes = &d.entry, r.EntryKey.Bucket, d.entry.Size
		return d.containers(r)
	case schema.Dirs.Name():
		d.dir.Reset()
		r.Dir = &d.dir
		if r.DirKey, err = schema.Dirs.ParseKey(key); err == nil {
			err = schema.Dirs.DecodeInto(key, value, &d.dir)
		}
		r.Bucket = r.DirKey.Bucket
	case schema.Cells.Name():
		d.cell.Reset()
		r.Cell = &d.cell
		if r.CellKey, err = schema.Cells.ParseKey(key); err == nil {
			err = schema.Cells.DecodeInto(key, value, &d.cell)
		}
		r.Bucket = r.CellKey.Bucket
	case schema.Uploads.Name():
		row, err := schema.Uploads.Decode(key, value)
		r.Bucket, r.Bytes = bucketIn(key), row.GetBytes()
		return err
	case schema.OpenKeys.Name():
		row, err := schema.OpenKeys.Decode(key, value)
		r.Bucket, r.Bytes = bucketIn(key), row.GetExpectedSize()
		return err
	case schema.Parts.Name():
		row, err := schema.Parts.Decode(key, value)
		r.Bucket, r.Bytes = bucketIn(key), row.GetSize()
		return err
	case schema.Deleted.Name():
		row, err := schema.Deleted.Decode(key, value)
		r.Bytes = row.GetBytes()
		return err
	case schema.Snapshots.Name(), schema.Reclaims.Name():
		r.Bucket = bucketIn(key)
	}
	return err
}

// bucketIn returns the bucket that a key begins with.
func bucketIn(key []byte) ns.ObjectID {
	id, _, _ := keys.TakeUint64(key[1:]) // a key too short is of no bucket
	return ns.ObjectID(id)
}

// containers finds out where the bytes of an entry are.
func (d *decoder) containers(r *Row) error {
	list, err := command.DirectExtents(d.around.rows, r.Entry.Extents)
	if err != nil {
		return err
	}
	for _, x := range list {
		if x.Container != 0 {
			r.Containers = count(r.Containers, x.Container)
		}
	}
	return nil
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

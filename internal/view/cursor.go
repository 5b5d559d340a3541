package view

import (
	"errors"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// cursor walks the entries of a bucket in the byte order of their paths, on
// either layout. A directory comes before what is below it.
type cursor struct {
	bucket ns.ObjectID
	tree   bool
	full   bool // decode rows whole, not only what a listing shows
	reuse  bool // row is valid until the cursor moves
	it     kv.Iterator
	past   *merge  // of a snapshot; nil: live
	levels []level // of the tree, from the root; one for a flat bucket
	key    schema.EntryKey
	row    *schemapb.Entry // nil: a snapshot has nothing under key
	owner  string          // of the row before
	rows   slab[schemapb.Entry]
	spare  *schemapb.Entry // of those, the one taken last
	texts  schema.Strings
	steps  int // rows looked at
	valid  bool
	err    error
}

// level is a directory that the cursor is in.
type level struct {
	parent ns.ObjectID
	path   string // of the directory, with its slash
	name   string // of the child that was descended into
}

func newCursor(v View, b Bucket) (*cursor, error) {
	lower, upper := schema.EntriesOf(b.ID())
	it, err := v.r.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	c := &cursor{bucket: b.ID(), tree: b.Layout() == ns.FileSystem, it: it}
	if v.at == schema.Live {
		return c, nil
	}
	lower, upper = schema.History.InBucket(b.ID())
	history, err := v.r.Iter(lower, upper)
	if err != nil {
		return nil, errors.Join(err, it.Close())
	}
	c.past = &merge{live: it, history: history, at: v.at}
	return c, nil
}

func (c *cursor) close() error {
	err := c.it.Close()
	if c.past != nil {
		err = errors.Join(err, c.past.history.Close())
	}
	return err
}

// path returns the path of the entry under the cursor.
func (c *cursor) path() string { return c.texts.Join(c.levels[len(c.levels)-1].path, c.key.Name) }

// seek moves to the first entry whose path is at least path.
func (c *cursor) seek(path string) bool {
	c.levels = append(c.levels[:0], level{parent: c.bucket})
	if !c.tree {
		return c.seekChild(path)
	}
	for {
		i := strings.IndexByte(path, '/')
		if i < 0 || i == len(path)-1 {
			return c.seekChild(path) || c.climb()
		}
		head := path[:i+1]
		if !c.seekChild(head) {
			return c.climb()
		}
		if c.key.Name != head {
			return true // a later name: all of its paths are after path
		}
		if c.row == nil { // the snapshot has no such directory
			return c.next()
		}
		c.descend()
		path = path[i+1:]
	}
}

// next moves to the following entry: into a directory first.
func (c *cursor) next() bool {
	if c.tree && c.row != nil && c.row.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
		c.descend()
		return c.seekChild("") || c.climb()
	}
	if c.past != nil {
		return c.loadPast(c.past.next()) || c.climb()
	}
	return c.load(c.it.Next()) || c.climb()
}

func (c *cursor) descend() {
	top := &c.levels[len(c.levels)-1]
	top.name = c.key.Name
	c.levels = append(c.levels, level{parent: ns.ObjectID(c.row.ObjectId), path: top.path + c.key.Name})
}

// climb leaves finished directories until one has a further child.
func (c *cursor) climb() bool {
	for c.err == nil && len(c.levels) > 1 {
		c.levels = c.levels[:len(c.levels)-1]
		if c.seekChild(c.levels[len(c.levels)-1].name + "\x00") {
			return true
		}
	}
	return false
}

// seekChild moves to the first child of the current directory from name on.
func (c *cursor) seekChild(name string) bool {
	parent := c.levels[len(c.levels)-1].parent
	if c.past != nil {
		return c.loadPast(c.past.seek(schema.EntryKey{Bucket: c.bucket, Parent: parent, Name: name}))
	}
	lower, _ := schema.Children(c.bucket, parent, name)
	return c.load(c.it.SeekGE(lower))
}

// load decodes the row under the iterator, if it is of the current directory.
func (c *cursor) load(ok bool) bool {
	c.valid = false
	if c.err != nil {
		return false
	}
	if !ok {
		c.err = c.it.Err()
		return false
	}
	c.steps++
	if c.key, c.err = schema.EntryKeyIn(c.it.Key(), &c.texts); c.err != nil {
		return false
	}
	if c.key.Parent != c.levels[len(c.levels)-1].parent {
		return false
	}
	value, err := c.it.Value()
	if err != nil {
		c.err = err
		return false
	}
	c.row, c.err = c.decode(c.it.Key(), value)
	c.valid = c.err == nil
	return c.valid
}

// decode decodes a row as far as the cursor's user needs it.
func (c *cursor) decode(key, value []byte) (*schemapb.Entry, error) {
	row := c.room()
	if c.full {
		return row, schema.Entries.DecodeInto(key, value, row)
	}
	err := schema.DecodeListed(key, value, row, c.owner, &c.texts)
	c.owner = row.Owner
	return row, err
}

// room returns an entry to decode into.
func (c *cursor) room() *schemapb.Entry {
	if !c.reuse || c.spare == nil {
		c.spare = c.rows.next()
	} else {
		*c.spare = schemapb.Entry{}
	}
	return c.spare
}

// loadPast takes the slot under the merge, if it is of the current directory.
// Whether the snapshot has a row there is told by row.
func (c *cursor) loadPast(ok bool) bool {
	c.valid = false
	if c.err != nil {
		return false
	}
	if !ok {
		c.err = c.past.err
		return false
	}
	c.steps++
	if c.key = c.past.key; c.key.Parent != c.levels[len(c.levels)-1].parent {
		return false
	}
	c.row, c.err = c.past.row(c.decode)
	c.valid = c.err == nil
	return c.valid
}

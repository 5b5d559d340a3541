package delta

import (
	"encoding/binary"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/snapdiff/report"
)

// The parts of an ordered report. Modifications stand first and name what is
// there before anything moved. Then, from the bottom of the tree to its top,
// everything goes that is not to stay: deleted, or put aside under a temporary
// name. Then, from the top to the bottom, everything takes its place.
const (
	partModify = iota
	partDown
	partUp
)

// TempPrefix starts the names under which an ordered report puts objects aside,
// unless a name of the bucket starts so; then a number is put before the dash.
const TempPrefix = ".o3tmp"

// line adds the line, or lines, of one kind for a change.
func (c *computation) line(kind string, ch change) error {
	e := &o3v1.DiffEntry{Type: kind, ObjectId: uint64(ch.id)}
	switch kind {
	case report.Create:
		e.Directory, e.SourcePath = c.isDir(ch.new), c.shown(ch.new)
	case report.Rename:
		e.Directory, e.SourcePath, e.TargetPath = c.isDir(ch.old), c.shown(ch.old), c.shown(ch.new)
	default:
		e.Directory, e.SourcePath = c.isDir(ch.old), c.shown(ch.old)
	}
	if !c.o.Ordered {
		rank := byte(strings.Index(report.Delete+report.Rename+report.Create+report.Modify, kind))
		return c.lines.Add(keys.Uint64([]byte{rank}, uint64(ch.id)), encodeLine(e))
	}
	switch kind {
	case report.Modify:
		return c.lines.Add(upward(partModify, e.SourcePath), encodeLine(e))
	case report.Delete:
		return c.lines.Add(downward(e.SourcePath), encodeLine(e))
	case report.Create:
		return c.lines.Add(upward(partUp, e.SourcePath), encodeLine(e))
	}
	return c.rename(ch, e)
}

// shown returns a path as the report has it: a directory's without its slash,
// and a key's as it is.
func (c *computation) shown(s *side) string {
	if c.isDir(s) {
		return strings.TrimSuffix(s.path, "/")
	}
	return s.path
}

// rename adds a rename to an ordered report: in one line where nothing can be
// in the way, else by way of a temporary name.
func (c *computation) rename(ch change, e *o3v1.DiffEntry) error {
	source, direct, err := c.direct(ch)
	if err != nil {
		return err
	}
	if direct {
		up := upward(partUp, e.TargetPath)
		e.SourcePath = source
		return c.lines.Add(up, encodeLine(e))
	}
	if c.temp == "" {
		if c.temp, err = unusedPrefix(c.o.Reader, c.o.Bucket); err != nil {
			return err
		}
	}
	target := e.TargetPath
	e.TargetPath = c.temp + strconv.FormatUint(uint64(ch.id), 10)
	if err := c.lines.Add(downward(e.SourcePath), encodeLine(e)); err != nil {
		return err
	}
	e.SourcePath, e.TargetPath = e.TargetPath, target
	return c.lines.Add(upward(partUp, target), encodeLine(e))
}

// direct tells whether a rename needs no temporary name, and the path of the
// object when its turn comes. Nothing may take its old place, and that must be
// found: because nothing above it moves, or because its parent stays its parent,
// which is in place by then.
func (c *computation) direct(ch change) (source string, ok bool, err error) {
	taken, err := c.taken(ch.old.place)
	if err != nil || taken {
		return "", false, err
	}
	if c.o.Layout == ns.ObjectStore {
		return c.shown(ch.old), true, nil
	}
	parent := ch.old.place.parent
	if parent == ch.new.place.parent {
		above, ok, err := c.to.path(parent)
		return strings.TrimSuffix(above+ch.old.place.name, "/"), ok, err
	}
	if c.still == nil {
		c.still = &fixed{from: c.from, to: c.to, known: recent[bool]{limit: c.from.found.limit}}
	}
	same, err := c.still.is(parent)
	return c.shown(ch.old), same, err
}

// taken tells whether a row is in a place at To. In a tree a name with a slash
// and one without are one place.
func (c *computation) taken(p place) (bool, error) {
	names := []string{p.name}
	if c.o.Layout == ns.FileSystem {
		name := strings.TrimSuffix(p.name, "/")
		names = []string{name, name + "/"}
	}
	for _, name := range names {
		key := schema.EntryKey{Bucket: c.o.Bucket, Parent: p.parent, Name: name}
		if _, ok, err := schema.EntryAt(c.o.Reader, key, c.o.To); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// unusedPrefix returns the first of .o3tmp-, .o3tmp1-, … that no name in the
// bucket's root starts with, now or in its history.
func unusedPrefix(r kv.Reader, bucket ns.ObjectID) (string, error) {
	for n := 0; ; n++ {
		prefix := TempPrefix + "-"
		if n > 0 {
			prefix = TempPrefix + strconv.Itoa(n) + "-"
		}
		lower, upper := schema.Children(bucket, bucket, prefix)
		used, err := anyKey(r, lower, upper)
		if err == nil && !used {
			// The names of history are terminated: a prefix of them is one without
			// the end.
			first := schema.History.Key(schema.HistoryKey{EntryKey: schema.EntryKey{Bucket: bucket, Parent: bucket, Name: prefix}})
			lower = first[:len(first)-8-2]
			used, err = anyKey(r, lower, keys.PrefixEnd(lower))
		}
		if err != nil || !used {
			return prefix, err
		}
	}
}

// anyKey tells whether a key lies in [lower, upper).
func anyKey(r kv.Reader, lower, upper []byte) (bool, error) {
	it, err := r.Iter(lower, upper)
	if err != nil {
		return false, err
	}
	defer it.Close()
	return it.First(), it.Err()
}

// upward returns a key that sorts by path, a directory before what is in it.
func upward(part byte, path string) []byte { return append([]byte{part}, path...) }

// downward returns a key that sorts by path backwards, a directory after what
// is in it.
func downward(path string) []byte {
	b := make([]byte, 0, len(path)+2)
	b = append(b, partDown)
	for i := range len(path) {
		b = append(b, ^path[i])
	}
	return append(b, 0xff)
}

// encodeLine returns an entry as the second sort keeps it.
func encodeLine(e *o3v1.DiffEntry) []byte {
	b := make([]byte, 0, 16+len(e.SourcePath)+len(e.TargetPath))
	b = append(b, e.Type[0], 0)
	if e.Directory {
		b[1] = 1
	}
	b = keys.Uint64(b, e.ObjectId)
	b = keys.Uint32(b, uint32(len(e.SourcePath)))
	return append(append(b, e.SourcePath...), e.TargetPath...)
}

func decodeLine(b []byte) (*o3v1.DiffEntry, error) {
	if len(b) < 14 || uint64(binary.BigEndian.Uint32(b[10:])) > uint64(len(b)-14) {
		return nil, errs.New(errs.Corrupt, "snapshot diff", "a sorted record is malformed")
	}
	n := 14 + binary.BigEndian.Uint32(b[10:])
	return &o3v1.DiffEntry{
		Type: string(b[:1]), Directory: b[1] == 1, ObjectId: binary.BigEndian.Uint64(b[2:]),
		SourcePath: string(b[14:n]), TargetPath: string(b[n:]),
	}, nil
}

// write hands the lines on.
func (c *computation) write() error {
	total := c.lines.Len()
	for c.lines.Next() {
		e, err := decodeLine(c.lines.Value())
		if err != nil {
			return err
		}
		if err := c.o.Sink(e); err != nil {
			return err
		}
		c.result.Counts.Add(e.Type)
		if err := c.tick(c.done, total); err != nil {
			return err
		}
	}
	return c.lines.Err()
}

package view

import (
	"errors"

	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Scan walks a bucket for its lifecycle rules: keys in the byte order of their
// paths and, in a file-system bucket, each explicit directory when it is left,
// after all that is below it. What it is at can be said to be kept (Keep): so a
// directory knows whether it will be empty. Its memory is bounded by the depth of the
// bucket. It belongs to one goroutine and must be closed.
//
// It reads the point in time of its view when it was made: a scan that is to
// see what it did itself goes on with another.
type Scan struct {
	bucket ns.ObjectID
	tree   bool
	rows   rows
	levels []scanLevel // of directories, from the root
	path   []byte
	name   []byte // scratch
	err    error
	steps  uint64

	// Row is what the scan is at: valid until it moves on.
	Row schema.Scanned

	// Parent is the directory of Row.
	Parent ns.ObjectID

	kept   bool // what Kept says
	left   bool // Row is a directory that is being left
	onward bool // the iterator is at Row: the next is behind it
}

// scanLevel is a directory that the scan is in.
type scanLevel struct {
	id    ns.ObjectID
	path  int            // length of its path, with its slash
	row   schema.Scanned // of the directory itself; not of the root
	from  string         // the name the scan began it with, "" for its first
	began bool           // from may have something before it
	kept  bool           // something in it is kept
}

// rows are the slots of a bucket's entries, in the order of their keys.
type rows interface {
	// seek moves to the first slot at or after a name in a directory.
	seek(parent ns.ObjectID, name []byte) bool
	next() bool
	// slot returns where it is; the name is valid until it moves on.
	slot() (parent ns.ObjectID, name []byte)
	// read decodes the row in the slot; ok is false when there is none.
	read(*schema.Scanned) (ok bool, err error)
	err() error
	close() error
}

// Scan returns a scan of b; Seek positions it.
func (v View) Scan(b Bucket) (*Scan, error) {
	lower, upper := schema.EntriesOf(b.ID())
	it, err := v.r.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	s := &Scan{bucket: b.ID(), tree: b.Layout() == ns.FileSystem}
	if v.at == schema.Live {
		s.rows = &liveRows{it: it, bucket: b.ID()}
		return s, nil
	}
	lower, upper = schema.History.InBucket(b.ID())
	history, err := v.r.Iter(lower, upper)
	if err != nil {
		return nil, errors.Join(err, it.Close())
	}
	s.rows = &pastRows{merge: merge{live: it, history: history, at: v.at}, bucket: b.ID()}
	return s, nil
}

// Close ends the scan.
func (s *Scan) Close() error { return s.rows.close() }

// Err returns why the scan ended: nil at the end of the bucket.
func (s *Scan) Err() error { return s.err }

// Steps returns how many rows the scan has looked at.
func (s *Scan) Steps() uint64 { return s.steps }

// Path returns the path of Row. A directory's, with its slash, is that of one
// that is being left.
func (s *Scan) Path() string { return string(s.path) }

// PathBytes is Path, valid until the scan moves on.
func (s *Scan) PathBytes() []byte { return s.path }

// Left reports whether Row is a directory that is being left.
func (s *Scan) Left() bool { return s.left }

// Kept reports whether the directory that is being left has something that is
// kept: by Keep, or because it lies before where the scan began.
func (s *Scan) Kept() bool { return s.kept }

// Keep notes that Row stays where it is.
func (s *Scan) Keep() {
	if n := len(s.levels); n > 0 {
		s.levels[n-1].kept = true
	}
}

// Seek moves to the first key whose path is at least path, or to a directory that
// is left before it: all those that path lies below and that have nothing from
// there on. Those left before path are passed over.
func (s *Scan) Seek(path string) bool {
	s.left, s.onward = false, false
	s.path = s.path[:0]
	s.levels = append(s.levels[:0], scanLevel{id: s.bucket})
	for s.err == nil {
		head := path
		if s.tree {
			if i := indexSlash(path); i >= 0 && i < len(path)-1 {
				head = path[:i+1]
			}
		}
		top := &s.levels[len(s.levels)-1]
		top.from, top.began = head, head != ""
		if !s.child([]byte(head)) {
			return s.climb()
		}
		if _, name := s.rows.slot(); len(head) == len(path) || string(name) != head {
			return s.settle()
		}
		if there, err := s.read(); err != nil || !there || !s.Row.Directory {
			return s.settle()
		}
		s.descend()
		path = path[len(head):]
	}
	return false
}

func indexSlash(s string) int {
	for i := range len(s) {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

// Next moves to what follows.
func (s *Scan) Next() bool {
	switch {
	case s.err != nil || len(s.levels) == 0:
		return false
	case s.left:
		s.left = false
		return s.after()
	case !s.onward:
		return false
	}
	s.onward = false
	if !s.step(s.rows.next()) {
		return s.climb()
	}
	return s.settle()
}

// child moves to the first slot of the current directory from name on.
func (s *Scan) child(name []byte) bool {
	return s.step(s.rows.seek(s.levels[len(s.levels)-1].id, name))
}

// step takes the slot that the rows moved to, if it is of the current directory.
func (s *Scan) step(ok bool) bool {
	if !ok {
		s.fail(s.rows.err())
		return false
	}
	s.steps++
	parent, _ := s.rows.slot()
	return parent == s.levels[len(s.levels)-1].id
}

func (s *Scan) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// read decodes the row of the slot.
func (s *Scan) read() (there bool, err error) {
	there, err = s.rows.read(&s.Row)
	s.fail(err)
	return there, err
}

// settle goes on from the slot the rows are at to the first that the scan stops at.
func (s *Scan) settle() bool {
	for s.err == nil {
		there, err := s.read()
		switch {
		case err != nil:
			return false
		case there && s.tree && s.Row.Directory:
			s.descend()
			if !s.child(nil) {
				return s.climb()
			}
			continue
		case there:
			top := &s.levels[len(s.levels)-1]
			_, name := s.rows.slot()
			s.path = append(s.path[:top.path], name...)
			s.Parent, s.onward = top.id, true
			return true
		}
		if !s.step(s.rows.next()) {
			return s.climb()
		}
	}
	return false
}

// descend enters the directory in the slot.
func (s *Scan) descend() {
	top := &s.levels[len(s.levels)-1]
	_, name := s.rows.slot()
	s.path = append(s.path[:top.path], name...)
	row := schema.Scanned{
		Directory: true, Implicit: s.Row.Implicit, ObjectID: s.Row.ObjectID, Since: s.Row.Since, ModifiedMs: s.Row.ModifiedMs,
	}
	s.levels = append(s.levels, scanLevel{id: row.ObjectID, path: len(s.path), row: row})
}

// climb leaves directories until there is one to stop at, or a slot behind one.
func (s *Scan) climb() bool {
	if s.err != nil || len(s.levels) <= 1 {
		s.levels = s.levels[:0]
		return false
	}
	top := s.levels[len(s.levels)-1]
	s.kept = s.holds(top)
	s.levels = s.levels[:len(s.levels)-1]
	s.path = s.path[:top.path]
	if s.err != nil {
		return false
	}
	if top.row.Implicit { // it goes with what is in it
		if s.kept {
			s.Keep()
		}
		return s.after()
	}
	s.Row, s.Parent, s.left = top.row, s.levels[len(s.levels)-1].id, true
	return true
}

// holds reports whether something in a directory is kept. What lies before where the scan
// began was dealt with by an earlier one: what is there still was kept.
func (s *Scan) holds(l scanLevel) bool {
	if l.kept || !l.began {
		return l.kept
	}
	for ok := s.child(nil); ok; ok = s.step(s.rows.next()) {
		if _, name := s.rows.slot(); string(name) >= l.from {
			return false
		}
		if there, err := s.rows.read(&s.Row); there || err != nil {
			s.fail(err)
			return err == nil
		}
	}
	return false
}

// after goes on behind the directory that was left.
func (s *Scan) after() bool {
	s.name = append(append(s.name[:0], s.path[s.levels[len(s.levels)-1].path:]...), 0)
	if !s.child(s.name) {
		return s.climb()
	}
	return s.settle()
}

// liveRows are the rows that are live.
type liveRows struct {
	it     kv.Iterator
	bucket ns.ObjectID
	to     []byte // the key of the last seek
	key    []byte // that the iterator is at
	parent ns.ObjectID
	name   []byte
	failed error
}

func (r *liveRows) seek(parent ns.ObjectID, name []byte) bool {
	r.to = schema.AppendEntryKey(r.to[:0], r.bucket, parent, name)
	return r.set(r.it.SeekGE(r.to))
}

func (r *liveRows) next() bool { return r.set(r.it.Next()) }

func (r *liveRows) set(ok bool) bool {
	if !ok {
		return false
	}
	r.key = r.it.Key()
	if r.parent, r.name, ok = schema.SplitEntryKey(r.key); !ok {
		_, r.failed = schema.Entries.ParseKey(r.key)
	}
	return ok
}

func (r *liveRows) slot() (ns.ObjectID, []byte) { return r.parent, r.name }

func (r *liveRows) read(row *schema.Scanned) (bool, error) {
	value, err := r.it.Value()
	if err != nil {
		return false, err
	}
	return true, schema.DecodeScanned(r.key, value, row)
}

func (r *liveRows) err() error   { return errors.Join(r.failed, r.it.Err()) }
func (r *liveRows) close() error { return r.it.Close() }

// pastRows are the rows that a snapshot sees.
type pastRows struct {
	merge
	bucket ns.ObjectID
}

func (r *pastRows) seek(parent ns.ObjectID, name []byte) bool {
	return r.merge.seek(schema.EntryKey{Bucket: r.bucket, Parent: parent, Name: string(name)})
}

func (r *pastRows) slot() (ns.ObjectID, []byte) { return r.merge.key.Parent, []byte(r.merge.key.Name) }

func (r *pastRows) read(row *schema.Scanned) (bool, error) {
	entry, err := r.merge.row(func(key, value []byte) (*schemapb.Entry, error) { return schema.Entries.Decode(key, value) })
	if entry == nil || err != nil {
		return false, err
	}
	*row = schema.ScannedOf(entry)
	return true, nil
}

func (r *pastRows) err() error   { return r.merge.err }
func (r *pastRows) close() error { return errors.Join(r.merge.live.Close(), r.merge.history.Close()) }

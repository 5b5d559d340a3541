package delta

import (
	"strconv"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// ascent is a walk from a directory up to its bucket. Trees may be of any
// depth; in one that is damaged a walk could go in a circle, which it notices.
type ascent struct {
	steps int
	mark  ns.ObjectID // passed at a step whose number is a power of two
}

// pass goes through a directory.
func (a *ascent) pass(dir ns.ObjectID) error {
	if dir == a.mark {
		return errs.New(errs.Corrupt, "dirs", "directory "+strconv.FormatUint(uint64(dir), 10)+" has no way up to its bucket")
	}
	if a.steps++; a.steps&(a.steps-1) == 0 {
		a.mark = dir
	}
	return nil
}

// places finds the paths of directories at one point in time, and remembers
// those it found, within a bound of bytes.
type places struct {
	r      kv.Reader
	bucket ns.ObjectID
	at     ns.Op
	check  func() error // asked every 1,000 rows that are looked up
	rows   int
	found  recent[found]
}

// found is where a directory is; ok is false where it does not exist: it, or a
// directory above it, was deleted or not made yet.
type found struct {
	path string // "" for the bucket, else with a slash at the end
	ok   bool
}

// dir returns the row of a directory, raw.
func (p *places) dir(id ns.ObjectID) (*schemapb.Dir, bool, error) {
	if p.rows++; p.rows%checkRows == 0 {
		if err := p.check(); err != nil {
			return nil, false, err
		}
	}
	return schema.DirAt(p.r, schema.DirKey{Bucket: p.bucket, Dir: id}, p.at)
}

// path returns the path of a directory, with a slash at the end; "" for the
// bucket itself. ok is false when it does not exist.
func (p *places) path(dir ns.ObjectID) (path string, ok bool, err error) {
	type step struct {
		dir  ns.ObjectID
		name string
	}
	var steps []step
	var up ascent
	here, size := found{ok: true}, 0
	for dir != p.bucket {
		if f, known := p.found.get(dir); known {
			here = f
			break
		}
		if err := up.pass(dir); err != nil {
			return "", false, err
		}
		row, ok, err := p.dir(dir)
		if err != nil {
			return "", false, err
		}
		if !ok {
			steps, here = append(steps, step{dir, ""}), found{}
			break
		}
		steps = append(steps, step{dir, row.Name})
		size += len(row.Name)
		dir = ns.ObjectID(row.ParentId)
	}
	if !here.ok {
		for _, s := range steps {
			p.found.put(s.dir, here, 0)
		}
		return "", false, nil
	}
	// The paths of all directories on the way are beginnings of one string.
	all := append(make([]byte, 0, len(here.path)+size), here.path...)
	for i := len(steps) - 1; i >= 0; i-- {
		all = append(all, steps[i].name...)
	}
	here.path = string(all)
	end := len(here.path)
	for _, s := range steps {
		p.found.put(s.dir, found{path: here.path[:end], ok: true}, end)
		end -= len(s.name)
	}
	return here.path, true, nil
}

// fixed tells which directories are, with all above them, the same objects at
// the same place at two points in time.
type fixed struct {
	from, to *places
	known    recent[bool]
}

func (f *fixed) is(dir ns.ObjectID) (same bool, err error) {
	var steps []ns.ObjectID
	var up ascent
	same = true
	for dir != f.from.bucket {
		if s, known := f.known.get(dir); known {
			same = s
			break
		}
		if err := up.pass(dir); err != nil {
			return false, err
		}
		steps = append(steps, dir)
		was, ok, err := f.from.dir(dir)
		if err != nil {
			return false, err
		}
		is, still, err := f.to.dir(dir)
		if err != nil {
			return false, err
		}
		if same = ok && still && was.ParentId == is.ParentId && was.Name == is.Name; !same {
			break
		}
		dir = ns.ObjectID(was.ParentId)
	}
	for _, d := range steps {
		f.known.put(d, same, 0)
	}
	return same, nil
}

// recent is a map that forgets: it holds what was put or found lately, in about
// limit bytes.
type recent[V any] struct {
	limit      int
	young, old map[ns.ObjectID]V
	bytes      int // of young
}

// entryBytes is about what an entry takes besides its value.
const entryBytes = 64

func (r *recent[V]) get(k ns.ObjectID) (v V, ok bool) {
	if v, ok = r.young[k]; ok {
		return v, true
	}
	if v, ok = r.old[k]; ok {
		r.put(k, v, entryBytes)
	}
	return v, ok
}

func (r *recent[V]) put(k ns.ObjectID, v V, bytes int) {
	if r.young == nil || r.bytes > r.limit/2 {
		r.old, r.young, r.bytes = r.young, map[ns.ObjectID]V{}, 0
	}
	r.young[k] = v
	r.bytes += bytes + entryBytes
}

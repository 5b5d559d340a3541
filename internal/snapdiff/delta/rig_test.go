package delta_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/snapdiff/delta"
	"o3/internal/snapdiff/render"
)

// rig is a store, driven by commands, with full copies of a bucket as its
// snapshots saw it: what every diff is held against.
type rig struct {
	t       *testing.T
	d       *fsmtest.Driver
	bucket  string
	id      ns.ObjectID
	layout  ns.Layout
	seen    map[string]state // by snapshot; "" is the live bucket, when asked for
	ops     map[string]ns.Op
	uploads map[string]string
}

// object is what a state knows of a path.
type object struct {
	id, parent ns.ObjectID
	name       string
	tag        uint64
	dir        bool
}

// state maps paths, without a directory's slash, to what was there.
type state map[string]object

func newRig(t *testing.T) *rig {
	r := &rig{t: t, d: fsmtest.New(t, new(memkv.Store)), uploads: map[string]string{}}
	r.d.Must(t, &o3v1.CreateVolumeRequest{Volume: ns.S3Volume})
	return r
}

// use makes a bucket and goes on in it.
func (r *rig) use(name, layout string) {
	a := r.d.Must(r.t, &o3v1.CreateBucketRequest{Volume: ns.S3Volume, Bucket: name, Layout: layout})
	r.bucket, r.id = name, ns.ObjectID(a.Body.(*o3v1.CreateBucketResponse).Bucket.ObjectId)
	r.layout, _ = ns.ParseLayout(layout)
	r.seen, r.ops = map[string]state{}, map[string]ns.Op{"": schema.Live}
}

// snapshot takes one, and a full copy.
func (r *rig) snapshot(name string) {
	a := r.d.Must(r.t, &o3v1.CreateSnapshotRequest{Volume: ns.S3Volume, Bucket: r.bucket, Name: name})
	r.ops[name], r.seen[name] = a.Op, r.copyLive()
}

// copyLive walks the live bucket from its root.
func (r *rig) copyLive() state {
	out := state{}
	var walk func(dir ns.ObjectID, above string)
	walk = func(dir ns.ObjectID, above string) {
		lower, upper := schema.Children(r.id, dir, "")
		rows := map[string]object{}
		err := schema.Entries.Scan(r.d.Store, lower, upper, func(k schema.EntryKey, e *schemapbEntry) (bool, error) {
			o := object{id: ns.ObjectID(e.ObjectId), parent: k.Parent, name: k.Name, tag: command.ContentTag(e)}
			o.dir = e.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY
			rows[k.Name] = o
			return true, nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
		for name, o := range rows {
			if o.dir {
				out[above+strings.TrimSuffix(name, "/")] = o
				walk(o.id, above+name)
			} else {
				out[above+name] = o
			}
		}
	}
	walk(r.id, "")
	return out
}

// ask is what a diff is asked for.
type ask struct {
	from, to      string
	full, ordered bool
	prefix        string
	types         []string
	memory        int
	dir           string
}

// options returns what Compute is given; entries get what comes.
func (r *rig) options(reader kv.Reader, a ask, entries *[]*o3v1.DiffEntry) delta.Options {
	if a.dir == "" {
		a.dir = r.t.TempDir()
	}
	return delta.Options{
		Reader: reader, Bucket: r.id, Layout: r.layout, From: r.ops[a.from], To: r.ops[a.to], Full: a.full, Ordered: a.ordered,
		Prefix: a.prefix, Types: a.types, MemoryBytes: a.memory, Dir: a.dir,
		Sink: func(e *o3v1.DiffEntry) error { *entries = append(*entries, e); return nil },
	}
}

// compute runs a diff, which must succeed and leave no file.
func (r *rig) compute(a ask) []*o3v1.DiffEntry {
	r.t.Helper()
	a.dir = r.t.TempDir()
	s := r.d.Store.Snapshot()
	defer s.Close()
	var out []*o3v1.DiffEntry
	result, err := delta.Compute(r.t.Context(), r.options(s, a, &out))
	if err != nil {
		r.t.Fatalf("diff %+v: %v", a, err)
	}
	if result.Counts.Total() != uint64(len(out)) {
		r.t.Errorf("diff %+v: counted %+v of %d entries", a, result.Counts, len(out))
	}
	noFiles(r.t, a.dir)
	return out
}

func noFiles(t *testing.T, dir string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Errorf("%s was left behind", filepath.Join(dir, f.Name()))
	}
}

// diff computes a diff in every way there is, and holds all against one another
// and against the full copies.
func (r *rig) diff(from, to string) (plain, ordered []*o3v1.DiffEntry) {
	r.t.Helper()
	r.seen[""] = r.copyLive()
	plain = r.compute(ask{from: from, to: to})
	ordered = r.compute(ask{from: from, to: to, ordered: true})
	for _, o := range []bool{false, true} {
		want := text(plain)
		if o {
			want = text(ordered)
		}
		if got := text(r.compute(ask{from: from, to: to, ordered: o, full: true})); got != want {
			r.t.Errorf("%s to %s, ordered %v: the full diff is another\n%s\nthan the efficient one\n%s", from, to, o, got, want)
		}
	}
	if got, want := sorted(plain), expected(r.seen[from], r.seen[to], r.id); got != want {
		r.t.Errorf("%s to %s: got\n%swant\n%s", from, to, got, want)
	}
	if err := inTypeOrder(plain); err != nil {
		r.t.Errorf("%s to %s: %v", from, to, err)
	}
	if err := replay(r.seen[from], r.seen[to], ordered, r.layout); err != nil {
		r.t.Errorf("%s to %s: replay of\n%s%v", from, to, text(ordered), err)
	}
	return plain, ordered
}

func text(entries []*o3v1.DiffEntry) string {
	var out strings.Builder
	for _, e := range entries {
		out.WriteString(render.Line(e) + "\n")
	}
	return out.String()
}

func sorted(entries []*o3v1.DiffEntry) string {
	lines := []string{}
	for _, e := range entries {
		lines = append(lines, fmt.Sprintf("%s %d %v\n", render.Line(e), e.ObjectId, e.Directory))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// expected is the diff of two full copies, by the words of its definition.
func expected(from, to state, bucket ns.ObjectID) string {
	old, now := byID(from), byID(to)
	var lines []string
	add := func(line string, o object) { lines = append(lines, fmt.Sprintf("%s %d %v\n", line, o.id, o.dir)) }
	for id, path := range old {
		was := from[path]
		there, still := now[id]
		if !still {
			if _, parent := now[was.parent]; parent || was.parent == bucket {
				add("-\t./"+path, was)
			}
			continue
		}
		is := to[there]
		if was.parent != is.parent || was.name != is.name {
			add("R\t./"+path+" -> ./"+there, was)
		}
		if was.tag != is.tag {
			add("M\t./"+path, was)
		}
	}
	for id, path := range now {
		if _, was := old[id]; !was {
			add("+\t./"+path, to[path])
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func byID(s state) map[ns.ObjectID]string {
	out := map[ns.ObjectID]string{}
	for path, o := range s {
		out[o.id] = path
	}
	return out
}

// inTypeOrder checks the order of a report that is not to be replayed.
func inTypeOrder(entries []*o3v1.DiffEntry) error {
	rank := func(e *o3v1.DiffEntry) int { return strings.Index("-R+M", e.Type) }
	for i := 1; i < len(entries); i++ {
		a, b := entries[i-1], entries[i]
		if rank(a) > rank(b) || rank(a) == rank(b) && a.ObjectId >= b.ObjectId {
			return fmt.Errorf("%s stands before %s", render.Line(a), render.Line(b))
		}
	}
	return nil
}

// replay does what an ordered report says, line by line, on a copy of from, as
// strictly as a file system would, and compares the outcome with to.
func replay(from, to state, report []*o3v1.DiffEntry, layout ns.Layout) error {
	s := maps.Clone(from)
	tree := layout == ns.FileSystem
	final := byID(to)
	parent := func(path string) error {
		i := strings.LastIndexByte(path, '/')
		if !tree || i < 0 {
			return nil
		}
		if o, ok := s[path[:i]]; !ok || !o.dir {
			return fmt.Errorf("there is no directory above %s", path)
		}
		return nil
	}
	for n, e := range report {
		bad := func(what string) error { return fmt.Errorf("line %d, %s: %s", n+1, render.Line(e), what) }
		o, there := s[e.SourcePath]
		if e.Type != "+" && (!there || uint64(o.id) != e.ObjectId || o.dir != e.Directory) {
			return bad("the object is not there")
		}
		target := e.TargetPath
		if e.Type == "+" {
			target = e.SourcePath
		}
		if target != "" {
			if _, taken := s[target]; taken {
				return bad("the target is taken")
			}
			if tree && strings.HasPrefix(target, e.SourcePath+"/") {
				return bad("it goes below itself")
			}
			if err := parent(target); err != nil {
				return bad(err.Error())
			}
		}
		switch e.Type {
		case "-":
			for path := range s {
				if path == e.SourcePath || tree && strings.HasPrefix(path, e.SourcePath+"/") {
					delete(s, path)
				}
			}
		case "+":
			o, ok := to[e.SourcePath]
			if !ok || uint64(o.id) != e.ObjectId || o.dir != e.Directory {
				return bad("no such object is made")
			}
			s[e.SourcePath] = o
		case "M":
			path, ok := final[o.id]
			if !ok {
				return bad("it is not there in the end")
			}
			o.tag = to[path].tag
			s[e.SourcePath] = o
		case "R":
			for path, o := range maps.Clone(s) {
				if rest, ok := strings.CutPrefix(path, e.SourcePath); ok && (rest == "" || tree && rest[0] == '/') {
					delete(s, path)
					s[target+rest] = o
				}
			}
		}
	}
	for path, o := range s {
		if w, ok := to[path]; !ok || w.id != o.id || w.tag != o.tag {
			return fmt.Errorf("in the end %s is %+v, want %+v", path, o, w)
		}
	}
	if len(s) != len(to) {
		return fmt.Errorf("in the end there are %d objects, want %d", len(s), len(to))
	}
	return nil
}

// ok sends a request that must not be refused.
func (r *rig) ok(a fsmtest.Answer) {
	r.t.Helper()
	if a.Kind != errs.OK {
		r.t.Fatal(a)
	}
}

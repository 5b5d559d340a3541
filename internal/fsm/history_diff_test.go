package fsm_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/snapdiff/delta"
	"o3/internal/view"
)

// mobject is what a diff knows of a path: a key, or a directory.
type mobject struct {
	id     uint64
	dir    bool
	marked bool // an explicit directory
	key    mkey
}

// same reports whether a diff must not call o a modified p.
func (o mobject) same(p mobject) bool {
	return o.dir == p.dir && o.marked == p.marked && o.key.etag == p.key.etag && o.key.tags == p.key.tags &&
		slices.Equal(o.key.data, p.key.data)
}

// objects returns what is at each path, those of directories without a slash.
func (b *mbucket) objects() map[string]mobject {
	out := map[string]mobject{}
	for path, k := range b.keys {
		out[path] = mobject{id: k.id, key: *k}
	}
	for path, id := range b.dirIDs {
		out[strings.TrimSuffix(path, "/")] = mobject{id: id, dir: true, marked: b.marks[path]}
	}
	return out
}

// checkDiff compares two snapshots of a bucket, or one with the live bucket, by
// the journal and by all rows: the reports are equal, and replayed strictly on
// what the first held they give what the second holds.
func (h *history) checkDiff(name string, b *mbucket) {
	if len(b.snaps) == 0 {
		return
	}
	v := view.New(h.d.Store)
	row, err := v.Bucket("s3v", name)
	if err != nil {
		h.t.Fatal(err)
	}
	h.checkEntries(v, row, b, false) // learns the ids of directories
	side := func() (ns.Op, *mbucket) {
		if n := h.rng.IntN(len(b.snaps) + 1); n < len(b.snaps) {
			return b.snaps[n].op, b.snaps[n].then
		}
		return schema.Live, b
	}
	from, before := side()
	to, after := side()
	o := delta.Options{Bucket: row.ID(), Layout: row.Layout(), From: from, To: to, Ordered: h.rng.IntN(3) > 0, Dir: h.scratch}
	h.where = fmt.Sprintf("diff from %d to %d: ", from, to)
	defer func() { h.where = "" }()
	quick := h.diff(o)
	o.Full = true
	if full := h.diff(o); !slices.EqualFunc(quick, full, equalEntries) {
		h.errorf("by the journal it is\n%v\nby all rows\n%v", quick, full)
	}
	if o.Ordered {
		if err := replayDiff(before.objects(), after.objects(), quick, b.tree); err != nil {
			h.errorf("%v; it is\n%v", err, quick)
		}
	}
}

func (h *history) diff(o delta.Options) (out []*o3v1.DiffEntry) {
	s := h.d.Store.Snapshot()
	defer s.Close()
	o.Reader, o.Sink = s, func(e *o3v1.DiffEntry) error { out = append(out, e); return nil }
	if _, err := delta.Compute(h.t.Context(), o); err != nil {
		h.errorf("%v", err)
	}
	return out
}

func equalEntries(a, b *o3v1.DiffEntry) bool {
	return a.Type == b.Type && a.SourcePath == b.SourcePath && a.TargetPath == b.TargetPath && a.ObjectId == b.ObjectId && a.Directory == b.Directory
}

// replayDiff does what an ordered report says to a copy of from: nothing may be
// in the way, and it must become to.
func replayDiff(from, to map[string]mobject, report []*o3v1.DiffEntry, tree bool) error {
	s, final := maps.Clone(from), map[uint64]mobject{}
	for _, o := range to {
		final[o.id] = o
	}
	for n, e := range report {
		if err := replayEntry(s, final, e, tree); err != nil {
			return fmt.Errorf("line %d, %v: %w", n+1, e, err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(to)) {
		if got, ok := s[path]; !ok || got.id != to[path].id || !got.same(to[path]) {
			return fmt.Errorf("in the end %q is %+v, want %+v", path, got, to[path])
		}
	}
	if len(s) != len(to) {
		return fmt.Errorf("in the end there are %d objects, want %d", len(s), len(to))
	}
	return nil
}

func replayEntry(s map[string]mobject, final map[uint64]mobject, e *o3v1.DiffEntry, tree bool) error {
	o, there := s[e.SourcePath]
	last, stays := final[e.ObjectId]
	if e.Type != "+" && (!there || o.id != e.ObjectId || o.dir != e.Directory) {
		return fmt.Errorf("there is %+v", o)
	}
	if stays == (e.Type == "-") {
		return fmt.Errorf("in the end it is there: %v", stays)
	}
	switch e.Type {
	case "+":
		if err := free(s, e.SourcePath, tree); err != nil {
			return err
		}
		s[e.SourcePath] = last
	case "-":
		maps.DeleteFunc(s, func(path string, _ mobject) bool { return within(path, e.SourcePath, tree) })
	case "M":
		if o.same(last) && o.key.born == last.key.born {
			return fmt.Errorf("it did not change")
		}
		s[e.SourcePath] = last
	case "R":
		if err := free(s, e.TargetPath, tree); err != nil {
			return err
		}
		if within(e.TargetPath, e.SourcePath, tree) {
			return fmt.Errorf("it goes below itself")
		}
		for path, o := range maps.Clone(s) {
			if within(path, e.SourcePath, tree) {
				delete(s, path)
				s[e.TargetPath+path[len(e.SourcePath):]] = o
			}
		}
	default:
		return fmt.Errorf("unknown type")
	}
	return nil
}

// within reports whether path is top, or below it.
func within(path, top string, tree bool) bool {
	return path == top || tree && strings.HasPrefix(path, top+"/")
}

// free says why nothing can be put at path.
func free(s map[string]mobject, path string, tree bool) error {
	if o, taken := s[path]; taken {
		return fmt.Errorf("the target is taken by %d", o.id)
	}
	if i := strings.LastIndexByte(path, '/'); tree && i >= 0 && !s[path[:i]].dir {
		return fmt.Errorf("there is no directory above %q", path)
	}
	return nil
}

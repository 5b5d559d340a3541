package view_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/kv/kvtest"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/view"
)

func (w *world) rm(names ...string) {
	w.t.Helper()
	for _, n := range names {
		w.Must(w.t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: n}}, Recursive: strings.HasSuffix(n, "/")})
	}
}

func (w *world) mv(from, to string) {
	w.t.Helper()
	w.Must(w.t, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "bkt", From: from, To: to, Overwrite: true})
}

// take makes a snapshot and returns its op.
func (w *world) take(name string) ns.Op {
	w.t.Helper()
	a := w.Must(w.t, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "bkt", Name: name})
	return ns.Op(a.Body.(*o3v1.CreateSnapshotResponse).Snapshot.Op)
}

// page returns a page of a view as text, as world.list does, with etags.
func page(v view.View, b view.Bucket, o view.ListOptions) string {
	if o.Limit == 0 {
		o.Limit = 1000
	}
	p, err := v.List(b, o)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range p.Entries {
		out = append(out, e.Path)
	}
	for _, c := range p.Prefixes {
		out = append(out, "["+c+"]")
	}
	if p.Truncated {
		out = append(out, "…")
	}
	return strings.Join(out, " ")
}

// TestListAtSnapshot: a snapshot lists as the bucket did, whatever became of it.
func TestListAtSnapshot(t *testing.T) {
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(t, layout)
		w.put("0", "a-b", "a/1", "a/2/x", "a/2/y", "a0", "b/c/d", "é")
		one := w.take("one")
		w.put("a/2/z", "a/0", "new/k")
		w.rm("0", "a/2/x", "b/c/d")
		two := w.take("two")
		w.rm("a/1", "a/2/y", "a/2/z", "a/0", "é")
		w.put("a/2", "b/c") // keys where directories were
		v, b := w.view()
		for _, c := range []struct {
			o         view.ListOptions
			one, live string
		}{
			{view.ListOptions{}, "0 a-b a/1 a/2/x a/2/y a0 b/c/d é", "a-b a/2 a0 b/c new/k"},
			{view.ListOptions{Delimiter: "/"}, "0 a-b a0 é [a/] [b/]", "a-b a0 [a/] [b/] [new/]"},
			{view.ListOptions{Prefix: "a/"}, "a/1 a/2/x a/2/y", "a/2"},
			{view.ListOptions{Prefix: "a/", Delimiter: "/"}, "a/1 [a/2/]", "a/2"},
			{view.ListOptions{Prefix: "a/2", Delimiter: "/"}, "[a/2/]", "a/2"},
			{view.ListOptions{Prefix: "b/c/d"}, "b/c/d", ""},
			{view.ListOptions{Prefix: "new/"}, "", "new/k"},
			{view.ListOptions{StartAfter: "a/2/x"}, "a/2/y a0 b/c/d é", "a0 b/c new/k"},
			{view.ListOptions{StartAfter: "a/", Delimiter: "/"}, "a0 é [b/]", "a0 [b/] [new/]"},
			{view.ListOptions{Limit: 3}, "0 a-b a/1 …", "a-b a/2 a0 …"},
			{view.ListOptions{Limit: 8}, "0 a-b a/1 a/2/x a/2/y a0 b/c/d é", "a-b a/2 a0 b/c new/k"},
		} {
			if got := page(v.At(one), b, c.o); got != c.one {
				t.Errorf("%s %+v: one lists %q, want %q", layout, c.o, got, c.one)
			}
			if got := page(v, b, c.o); got != c.live {
				t.Errorf("%s %+v: the live bucket lists %q, want %q", layout, c.o, got, c.live)
			}
		}
		if got, want := page(v.At(two), b, view.ListOptions{}), "a-b a/0 a/1 a/2/y a/2/z a0 new/k é"; got != want {
			t.Errorf("%s: two lists %q, want %q", layout, got, want)
		}
	}
}

// TestKeyAtSnapshot: a point read gives the row as it was then, and only what
// could be reached then.
func TestKeyAtSnapshot(t *testing.T) {
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(t, layout)
		w.put("a/b/k", "k")
		one := w.take("one")
		w.put("k", "a/b/k")
		two := w.take("two")
		w.rm("k", "a/b/k")
		three := w.take("three")
		w.put("k")
		v, b := w.view()
		first, err := v.At(one).Key(b, "k")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			at   ns.Op
			path string
			kind errs.Kind
			same bool // the row that one has
		}{
			{one, "k", errs.OK, true}, {two, "k", errs.OK, false}, {three, "k", errs.NoSuchKey, false}, {schema.Live, "k", errs.OK, false},
			{one, "a/b/k", errs.OK, false}, {two, "a/b/k", errs.OK, false}, {three, "a/b/k", errs.NoSuchKey, false}, {schema.Live, "a/b/k", errs.NoSuchKey, false},
			{one, "a/b", errs.NoSuchKey, false}, {one, "a/b/k/", errs.NoSuchKey, false}, {one, "a/c/k", errs.NoSuchKey, false},
		} {
			e, err := v.At(c.at).Key(b, c.path)
			if errs.KindOf(err) != c.kind || err == nil && c.path == "k" && (e.Row.Since == first.Row.Since) != c.same {
				t.Errorf("%s: %s at %d: %v, %v", layout, c.path, c.at, e.Row, err)
			}
			if err == nil && ns.Op(e.Row.Since) > c.at {
				t.Errorf("%s: %s at %d is of op %d", layout, c.path, c.at, e.Row.Since)
			}
		}
	}
}

// TestDeadSubtreeAtSnapshot: what is below a deleted directory and not purged
// yet is in the snapshots made before the deletion, and in none made after.
func TestDeadSubtreeAtSnapshot(t *testing.T) {
	w := newWorld(t, "FSO")
	w.put("d/e/k", "other")
	before := w.take("before")
	dir, err := view.New(w.Store).Key(mustBucket(w), "d/e/")
	if err != nil {
		t.Fatal(err)
	}
	id := ns.ObjectID(dir.Row.ObjectId)
	w.rm("d/")
	after := w.take("after")
	check := func(when string) {
		v, b := w.view()
		if got := page(v.At(before), b, view.ListOptions{Directories: true}); got != "d/ d/e/ d/e/k other" {
			t.Errorf("%s: before lists %q", when, got)
		}
		if got := page(v.At(after), b, view.ListOptions{Directories: true}); got != "other" {
			t.Errorf("%s: after lists %q", when, got)
		}
		if _, err := v.At(before).Key(b, "d/e/k"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if p, err := v.At(before).Path(b.ID(), id); p != "d/e/" || err != nil {
			t.Errorf("%s: path %q, %v", when, p, err)
		}
		for _, at := range []ns.Op{after, schema.Live} {
			if _, err := v.At(at).Key(b, "d/e/k"); errs.KindOf(err) != errs.NoSuchKey {
				t.Errorf("%s: at %d: %v", when, at, err)
			}
			if p, err := v.At(at).Path(b.ID(), id); errs.KindOf(err) != errs.NoSuchKey {
				t.Errorf("%s: path at %d: %q, %v", when, at, p, err)
			}
		}
	}
	check("before the purge")
	w.Must(t, &commandpb.PurgeDirectories{Limit: 2})
	check("in the middle")
	w.Must(t, &commandpb.PurgeDirectories{Limit: 100})
	check("after the purge")
}

func mustBucket(w *world) view.Bucket { _, b := w.view(); return b }

// TestPathAtSnapshot: a directory is where it was, through renames of it and of
// those above.
func TestPathAtSnapshot(t *testing.T) {
	w := newWorld(t, "FSO")
	w.put("a/b/c/k")
	v, b := w.view()
	dir, err := v.Key(b, "a/b/c/")
	if err != nil {
		t.Fatal(err)
	}
	want := map[ns.Op]string{w.take("0"): "a/b/c/"}
	w.mv("a", "x")
	want[w.take("1")] = "x/b/c/"
	w.mv("x/b/c", "c")
	want[w.take("2")] = "c/"
	w.mv("c", "x/b/d")
	w.mv("x", "a")
	want[schema.Live] = "a/b/d/"
	for at, path := range want {
		if got, err := v.At(at).Path(b.ID(), ns.ObjectID(dir.Row.ObjectId)); got != path || err != nil {
			t.Errorf("at %d: %q, %v, want %q", at, got, err, path)
		}
		if got, err := v.At(at).Path(b.ID(), b.ID()); got != "" || err != nil {
			t.Errorf("the root at %d: %q, %v", at, got, err)
		}
	}
	if _, err := v.At(w.take("3")).Path(b.ID(), 1<<40); errs.KindOf(err) != errs.NoSuchKey {
		t.Errorf("no directory: %v", err)
	}
}

// TestSnapshotsListAsLive: after random changes each snapshot lists, under random
// options and in random pages, exactly as the bucket did when it was made.
func TestSnapshotsListAsLive(t *testing.T) {
	rng := rand.New(rand.NewPCG(kvtest.Seed(t), 1))
	options := []view.ListOptions{
		{}, {Directories: true}, {Delimiter: "/"}, {Prefix: "a"}, {Prefix: "a/"}, {Prefix: "a/", Delimiter: "/"}, {Prefix: "b/a/", Delimiter: "/", Directories: true},
		{StartAfter: "a/b"}, {StartAfter: "b/", Delimiter: "/"}, {Delimiter: "a"},
	}
	name := func() string {
		n := []string{"a", "b", "c"}[rng.IntN(3)]
		for range rng.IntN(4) {
			n += "/" + []string{"a", "b", "c"}[rng.IntN(3)]
		}
		return n
	}
	for _, layout := range []string{"OBS", "FSO"} {
		for range 10 {
			w := newWorld(t, layout)
			wants := map[ns.Op][]string{}
			for i := range 120 {
				switch k := name(); rng.IntN(10) {
				case 0:
					if at := w.take(fmt.Sprint("s", i)); true {
						v, b := w.view()
						for _, o := range options {
							wants[at] = append(wants[at], page(v, b, o))
						}
					}
				case 1, 2, 3: // a refusal is fine too
					w.Do(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: k}}})
				case 4:
					w.Do(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: k + "/"}}, Recursive: true})
				case 5:
					w.Do(t, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "bkt", From: k, To: name(), Overwrite: true})
				case 6:
					w.Do(t, &commandpb.PurgeDirectories{Limit: uint32(rng.IntN(4))})
				default:
					w.Do(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: k})
				}
			}
			v, b := w.view()
			for at, want := range wants {
				for i, o := range options {
					if got := page(v.At(at), b, o); got != want[i] {
						t.Fatalf("%s at %d %+v: got %q, want %q", layout, at, o, got, want[i])
					}
					if got := inPages(t, v.At(at), b, o, rng); got != want[i] {
						t.Fatalf("%s at %d %+v: in pages %q, want %q", layout, at, o, got, want[i])
					}
				}
			}
		}
	}
}

// inPages lists in pages of random size, each from the token of the one before
// or from its marker, and returns them as one page's text.
func inPages(t *testing.T, v view.View, b view.Bucket, o view.ListOptions, rng *rand.Rand) string {
	t.Helper()
	var names, prefixes []string
	for n := 0; ; n++ {
		o.Limit, o.MaxRows = 1+rng.IntN(3), 1+rng.IntN(4)
		p, err := v.List(b, o)
		if err != nil || n > 1000 {
			t.Fatalf("page %d: %v", n, err)
		}
		for _, e := range p.Entries {
			names = append(names, e.Path)
		}
		for _, c := range p.Prefixes {
			prefixes = append(prefixes, "["+c+"]")
		}
		if !p.Truncated {
			return strings.Join(append(names, prefixes...), " ")
		}
		if o.Token = p.NextToken; rng.IntN(2) == 0 {
			o.Token, o.StartAfter = "", p.Marker
		}
	}
}

// TestSnapshotWorkIsBounded: newer live rows and rows of history that a snapshot
// does not see are passed over, within MaxRows a page, and many versions of one
// key cost a seek and no walk.
func TestSnapshotWorkIsBounded(t *testing.T) {
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(t, layout)
		w.put("d/a", "d/z")
		old := w.take("old")
		for i := range 300 { // newer
			w.put(fmt.Sprintf("d/m%03d", i))
		}
		for i := range 60 { // many versions
			w.put("d/a")
			w.take(fmt.Sprint("v", i))
		}
		v, b := w.view()
		if got := page(v.At(old), b, view.ListOptions{}); got != "d/a d/z" {
			t.Fatalf("%s: %q", layout, got)
		}
		rows, pages := 0, 0
		o := view.ListOptions{Limit: 1000, MaxRows: 20}
		var got []string
		for ; ; pages++ {
			rows = 0
			p, err := view.New(counted{w.Store, &rows}).At(old).List(b, o)
			if err != nil || pages > 100 {
				t.Fatal(pages, err)
			}
			if rows > 60 {
				t.Errorf("%s: page %d looked at %d rows", layout, pages, rows)
			}
			for _, e := range p.Entries {
				got = append(got, e.Path)
			}
			if o.Token = p.NextToken; !p.Truncated {
				break
			}
		}
		if strings.Join(got, " ") != "d/a d/z" || pages < 10 {
			t.Errorf("%s: %q in %d pages", layout, got, pages)
		}
		for _, name := range []string{"old", "v0", "v30", "v59"} {
			rows = 0
			v := view.New(counted{w.Store, &rows})
			s, err := v.Snapshot(b, name)
			if err != nil {
				t.Fatal(err)
			}
			rows = 0
			p, err := v.At(s.Op).List(b, view.ListOptions{Limit: 1, Prefix: "d/a"})
			if err != nil || len(p.Entries) != 1 || rows > 30 {
				t.Errorf("%s at %s: %d entries after %d rows, %v", layout, name, len(p.Entries), rows, err)
			}
			rows = 0
			if _, err := v.At(s.Op).Key(b, "d/a"); err != nil || rows > 8 {
				t.Errorf("%s: a point read at %s looked at %d rows, %v", layout, name, rows, err)
			}
		}
	}
}

// TestNewerDirectoriesAreBounded: directories that a snapshot does not have
// count as work too, also where a delimiter would fold them.
func TestNewerDirectoriesAreBounded(t *testing.T) {
	w := newWorld(t, "FSO")
	w.put("zz/k")
	old := w.take("old")
	for i := range 300 {
		w.put(fmt.Sprintf("d%03d/k", i))
	}
	v, b := w.view()
	o, pages := view.ListOptions{Limit: 1000, MaxRows: 20, Delimiter: "/"}, 0
	for ; ; pages++ {
		rows := 0
		p, err := view.New(counted{w.Store, &rows}).At(old).List(b, o)
		if err != nil || rows > 60 || pages > 100 {
			t.Fatalf("page %d looked at %d rows, %v", pages, rows, err)
		}
		if o.Token = p.NextToken; !p.Truncated {
			if got := strings.Join(p.Prefixes, " "); got != "zz/" {
				t.Errorf("%q", got)
			}
			break
		}
	}
	if pages < 10 {
		t.Errorf("%d pages", pages)
	}
	if got := page(v.At(old), b, view.ListOptions{Delimiter: "/"}); !strings.Contains(got, "zz/") {
		t.Errorf("%q", got)
	}
}

// TestListBelowSnapshot: the paths .snapshot/<name>/… list like any others, in
// byte order: the snapshots as common prefixes, and what is in them.
func TestListBelowSnapshot(t *testing.T) {
	rng := rand.New(rand.NewPCG(kvtest.Seed(t), 2))
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(t, layout)
		w.take("empty")
		w.put("a/1", "a/2", "b")
		w.take("daily")
		w.put("c")
		w.take("daily-1")
		w.rm("a/1", "a/2", "b", "c")
		w.put("live")
		v, b := w.view()
		const one, two = ".snapshot/daily-1/", ".snapshot/daily/"
		for _, c := range []struct {
			o    view.ListOptions
			want string
		}{
			{view.ListOptions{}, "live"},
			{view.ListOptions{Delimiter: "/"}, "live"},
			{view.ListOptions{Prefix: ".snapshot"}, ""},
			{view.ListOptions{Prefix: ".snapshot/", Delimiter: "/"}, "[" + one + "] [" + two + "] [.snapshot/empty/]"},
			{view.ListOptions{Prefix: ".snapshot/d", Delimiter: "/"}, "[" + one + "] [" + two + "]"},
			{view.ListOptions{Prefix: ".snapshot/daily", Delimiter: "/"}, "[" + one + "] [" + two + "]"},
			{view.ListOptions{Prefix: ".snapshot/x", Delimiter: "/"}, ""},
			{view.ListOptions{Prefix: ".snapshot/", Delimiter: "/", Limit: 1}, "[" + one + "] …"},
			{view.ListOptions{Prefix: ".snapshot/", Delimiter: "/", StartAfter: one}, "[" + two + "] [.snapshot/empty/]"},
			{view.ListOptions{Prefix: two, Delimiter: "/"}, two + "b [" + two + "a/]"},
			{view.ListOptions{Prefix: two + "a", Delimiter: "/"}, "[" + two + "a/]"},
			{view.ListOptions{Prefix: two + "a/", Delimiter: "/"}, two + "a/1 " + two + "a/2"},
			{view.ListOptions{Prefix: two}, two + "a/1 " + two + "a/2 " + two + "b"},
			{view.ListOptions{Prefix: two, StartAfter: two + "a/1"}, two + "a/2 " + two + "b"},
			{view.ListOptions{Prefix: two, StartAfter: ".snapshot/"}, two + "a/1 " + two + "a/2 " + two + "b"},
			{view.ListOptions{Prefix: two, StartAfter: ".snapshot/e"}, ""},
			{view.ListOptions{Prefix: ".snapshot/empty/"}, ""},
			{view.ListOptions{Prefix: ".snapshot/none/"}, ""},
			{view.ListOptions{Prefix: ".snapshot/", Delimiter: "x"}, "invalid: delimiter x: below .snapshot/ only \"/\" is allowed"},
		} {
			if got := page(v, b, c.o); got != c.want {
				t.Errorf("%s %+v: got %q, want %q", layout, c.o, got, c.want)
			}
			if !strings.HasPrefix(c.want, "invalid") && c.o.Limit == 0 {
				if got := inPages(t, v, b, c.o, rng); got != c.want {
					t.Errorf("%s %+v: in pages %q, want %q", layout, c.o, got, c.want)
				}
			}
		}
		var all []string
		for _, p := range []string{"a/1", "a/2", "b", "c"} {
			all = append(all, one+p)
		}
		for _, p := range []string{"a/1", "a/2", "b"} {
			all = append(all, two+p)
		}
		want := strings.Join(all, " ")
		for range 20 {
			if got := inPages(t, v, b, view.ListOptions{Prefix: ".snapshot/"}, rng); got != want {
				t.Fatalf("%s: all paths in pages: %q, want %q", layout, got, want)
			}
		}
		if got, want := inPages(t, v, b, view.ListOptions{Prefix: ".snapshot/", StartAfter: one + "b"}, rng), strings.Join(all[3:], " "); got != want {
			t.Errorf("%s: after %sb: %q, want %q", layout, one, got, want)
		}
	}
}

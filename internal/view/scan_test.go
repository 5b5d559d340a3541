package view_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/kv/kvtest"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/view"
)

// scanned returns a scan from a path on as text: keys, and directories where they
// are left; with a "+" those that hold something that was kept. Names in keep are.
func scanned(t testing.TB, v view.View, b view.Bucket, from string, keep ...string) string {
	t.Helper()
	s, err := v.Scan(b)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out []string
	for ok := s.Seek(from); ok; ok = s.Next() {
		p := s.Path()
		if slices.Contains(keep, p) {
			s.Keep()
		}
		if s.Left() != (b.Layout() == ns.FileSystem && strings.HasSuffix(p, "/")) || s.Left() != s.Row.Directory {
			t.Errorf("%s: left %v, %+v", p, s.Left(), s.Row)
		}
		if s.Left() && s.Kept() {
			p += "+"
		}
		out = append(out, p)
	}
	if s.Err() != nil || s.Next() {
		t.Errorf("it ended with %v", s.Err())
	}
	return strings.Join(out, " ")
}

// TestScan: keys come in the order of their paths, explicit directories when they
// are left, from any path on.
func TestScan(t *testing.T) {
	names := []string{"0", "a-b", "a//", "a/1", "a/2//", "a/2/x", "a/2/y", "a/e//", "a0", "b/c/d", "b/f//", "é"}
	w := newWorld(t, "FSO")
	w.put(names...)
	one := w.take("one")
	for _, c := range []struct{ from, want string }{
		{"", "0 a-b a/1 a/2/x a/2/y a/2/ a/e/ a/ a0 b/c/d b/f/ é"},
		{"a", "a-b a/1 a/2/x a/2/y a/2/ a/e/ a/ a0 b/c/d b/f/ é"},
		{"a/", "a/1 a/2/x a/2/y a/2/ a/e/ a/ a0 b/c/d b/f/ é"},
		{"a/1\x00", "a/2/x a/2/y a/2/ a/e/ a/+ a0 b/c/d b/f/ é"},
		{"a/2/", "a/2/x a/2/y a/2/ a/e/ a/+ a0 b/c/d b/f/ é"},
		{"a/2/y", "a/2/y a/2/+ a/e/ a/+ a0 b/c/d b/f/ é"},
		{"a/2/y\x00", "a/2/+ a/e/ a/+ a0 b/c/d b/f/ é"},
		{"a/20", "a/e/ a/+ a0 b/c/d b/f/ é"},
		{"a/3/x/y", "a/e/ a/+ a0 b/c/d b/f/ é"},
		{"a/e0", "a/+ a0 b/c/d b/f/ é"},
		{"a0", "a0 b/c/d b/f/ é"},
		{"b/c/d\x00", "b/f/ é"},
		{"é\x00", ""}, {"ê", ""},
	} {
		v, b := w.view()
		for _, at := range []view.View{v, v.At(one)} {
			if got := scanned(t, at, b, c.from); got != c.want {
				t.Errorf("from %q: %q, want %q", c.from, got, c.want)
			}
		}
	}
	v, b := w.view()
	if got, want := scanned(t, v, b, "", "b/c/d", "a/2/x"), "0 a-b a/1 a/2/x a/2/y a/2/+ a/e/ a/ a0 b/c/d b/f/ é"; got != want {
		t.Errorf("a/2/ is not kept itself: %q", got)
	}
	if got, want := scanned(t, v, b, "", "a/2/"), "0 a-b a/1 a/2/x a/2/y a/2/ a/e/ a/+ a0 b/c/d b/f/ é"; got != want {
		t.Errorf("%q", got)
	}
	w.put("c//", "c/x/y/z", "c/x/y/é")
	v, b = w.view()
	if got, want := scanned(t, v, b, "b/g", "c/x/y/z"), "c/x/y/z c/x/y/é c/+ é"; got != want {
		t.Errorf("what is kept far below keeps c/: %q", got)
	}

	w = newWorld(t, "OBS")
	w.put("a", "a/", "a//b", "a/\x00", "b")
	v, b = w.view()
	for from, want := range map[string]string{"": "a a/ a/\x00 a//b b", "a/": "a/ a/\x00 a//b b", "a/\x00\x00": "a//b b", "c": ""} {
		if got := scanned(t, v, b, from); got != want {
			t.Errorf("from %q: %q, want %q", from, got, want)
		}
	}
}

// TestScanRow: what a scan tells of keys and directories is what their rows say.
func TestScanRow(t *testing.T) {
	w := newWorld(t, "FSO")
	w.put("d//", "d/k")
	w.Now += 1000
	w.Must(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: "d/t", Data: []byte("1234"), Size: 4, Etag: "e",
		Headers: &o3v1.Headers{ContentType: "x/y"}, Tags: []*o3v1.Pair{{Name: "a", Value: "1"}, {Name: "b", Value: ""}}})
	one := w.take("one")
	v, b := w.view()
	for _, at := range []view.View{v, v.At(one)} {
		s, err := at.Scan(b)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ok := s.Seek(""); ok; ok = s.Next() {
			e, err := v.Key(b, s.Path())
			if err != nil {
				t.Fatal(err)
			}
			tags, err := s.Row.Tags()
			if err != nil || len(tags) != len(e.Row.Tags) || len(tags) > 0 && (tags[0].Value != "1" || tags[1].Name != "b") {
				t.Errorf("%s: tags %v, %v", s.Path(), tags, err)
			}
			if s.Parent != e.Parent || uint64(s.Row.ObjectID) != e.Row.ObjectId || uint64(s.Row.Since) != e.Row.Since ||
				s.Row.ModifiedMs != e.Row.ModifiedMs || s.Row.Size != e.Row.Size || s.Row.Implicit {
				t.Errorf("%s: %+v in %d, want %v in %d", s.Path(), s.Row, s.Parent, e.Row, e.Parent)
			}
			n++
		}
		if n != 3 || s.Err() != nil || s.Close() != nil {
			t.Error(n, s.Err())
		}
	}
}

// TestScanDamage: what cannot be read ends the scan with its error, not as if
// the bucket had ended.
func TestScanDamage(t *testing.T) {
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(t, layout)
		w.put("a/1", "b", "c")
		one := w.take("one")
		v, b := w.view()
		e, err := v.Key(b, "b")
		if err != nil {
			t.Fatal(err)
		}
		batch := w.Store.NewBatch()
		key := schema.Entries.Key(schema.EntryKey{Bucket: b.ID(), Parent: e.Parent, Name: "b"})
		if err := batch.Set(key, []byte{1, 0x10, 0xff}); err != nil {
			t.Fatal(err)
		}
		if err := batch.Commit(false); err != nil {
			t.Fatal(err)
		}
		for _, at := range []view.View{v, v.At(one)} {
			s, err := at.Scan(b)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for ok := s.Seek(""); ok; ok = s.Next() {
				n++
			}
			if n != 1 || errs.KindOf(s.Err()) != errs.Corrupt || s.Next() || s.Close() != nil {
				t.Errorf("%s: %d keys, %v", layout, n, s.Err())
			}
		}
	}
}

// mortals is a random bucket, and what of it is to expire.
type mortals struct {
	*world
	rng  *rand.Rand
	dies map[string]bool
}

// sweep scans from a path on and returns what expires, as far as stop (0: to the
// end), and where it got.
func (m *mortals) sweep(from string, stop int) (gone []string, last string, end bool) {
	v, b := m.view()
	s, err := v.Scan(b)
	if err != nil {
		m.t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for ok := s.Seek(from); ok; ok = s.Next() {
		last = s.Path()
		if m.dies[last] && !(s.Left() && s.Kept()) {
			gone = append(gone, last)
		} else {
			s.Keep()
		}
		if n++; n == stop {
			return gone, last, false
		}
	}
	if s.Err() != nil {
		m.t.Error(s.Err())
	}
	return gone, last, true
}

// TestInterruptedScan: a scan that is given up anywhere, any number of times, and
// taken up behind what is deleted by then finds exactly what one in a piece does.
func TestInterruptedScan(t *testing.T) {
	seed := kvtest.Seed(t)
	deep := 0
	for round := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, round))
		layout := []string{"OBS", "FSO"}[round%2]
		m := &mortals{newWorld(t, layout), rng, map[string]bool{}}
		m.fill(40)
		want, _, _ := m.sweep("", 0)
		for _, p := range want {
			deep += strings.Count(strings.TrimSuffix(p, "/"), "/")
		}
		_, b := m.view()
		var got []string
		last := ""
		for end := false; !end; {
			gone, at, done := m.sweep(command.ScanAfter(b.Layout(), last), 1+rng.IntN(5))
			got = append(got, gone...)
			for _, p := range gone {
				a := m.Must(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: p}}, MustExist: true})
				if r := a.Body.(*o3v1.DeleteKeysResponse).Results[0]; r.Kind != 0 {
					t.Fatalf("round %d: %q: %v", round, p, r)
				}
			}
			if end = done; at != "" {
				last = at
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: interrupted it found\n%q, else\n%q", round, got, want)
		}
	}
	if deep < 100 {
		t.Errorf("the buckets were flat: %d", deep)
	}
}

// fill puts keys and directories, most of which are to expire.
func (m *mortals) fill(n int) {
	for range n {
		var parts []string
		for range 1 + m.rng.IntN(4) {
			parts = append(parts, []string{"a", "b", "a-", "a0", "é"}[m.rng.IntN(5)])
		}
		path := strings.Join(parts, "/")
		_, b := m.view()
		if b.Layout() == ns.FileSystem && m.rng.IntN(3) == 0 {
			m.Do(m.t, &o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "bkt", Path: path, MayExist: true})
			path += "/"
		} else {
			m.Do(m.t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: path})
		}
		if m.rng.IntN(8) > 0 {
			m.dies[path] = true
		}
	}
}

// TestScanAtSnapshot: a scan of a snapshot finds what it lists, whatever became of
// the bucket.
func TestScanAtSnapshot(t *testing.T) {
	seed := kvtest.Seed(t)
	for round := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, round))
		m := &mortals{newWorld(t, []string{"OBS", "FSO"}[round%2]), rng, map[string]bool{}}
		want := map[ns.Op]string{}
		for i := range 4 {
			m.fill(15)
			v, b := m.view()
			want[m.take(fmt.Sprint("s", i))] = scanned(t, v, b, "")
			gone, _, _ := m.sweep("", 10)
			m.rm(gone...)
			m.dies = map[string]bool{}
		}
		v, b := m.view()
		for _, op := range slices.Sorted(maps.Keys(want)) {
			if got := scanned(t, v.At(op), b, ""); got != want[op] {
				t.Fatalf("round %d: at %d %q, want %q", round, op, got, want[op])
			}
			from := m.randomPath()
			if got, all := scanned(t, v.At(op), b, from), want[op]; b.Layout() == ns.ObjectStore && !strings.HasSuffix(all, got) {
				t.Fatalf("round %d: at %d from %q %q, want the end of %q", round, op, from, got, all)
			}
		}
	}
}

func (m *mortals) randomPath() string {
	return []string{"a", "a/", "a/b", "a-", "b/a0", "é"}[m.rng.IntN(6)]
}

// BenchmarkScan walks 100,000 keys; an operation is one of them.
func BenchmarkScan(b *testing.B) {
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(b, layout)
		const keys = 100_000
		for i := range keys {
			w.Must(b, &o3v1.CommitKeyRequest{
				Volume: "s3v", Bucket: "bkt", Key: fmt.Sprintf("dir%03d/sub%02d/object-%09d", i%100, i%7, i), Etag: "d41d8cd98f00b204e9800998ecf8427e",
				Size: 4096, Extents: []*o3v1.Extent{{Container: 1, Local: uint64(i + 1), Length: 4096}}, DeadlineMs: 1 << 60,
			})
		}
		var r kv.Reader = w.Store
		v := view.New(r)
		bucket, err := v.Bucket("s3v", "bkt")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(layout, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; {
				s, err := v.Scan(bucket)
				if err != nil {
					b.Fatal(err)
				}
				for ok := s.Seek(""); ok && n < b.N; ok = s.Next() {
					if len(s.Path()) == 0 || s.Row.Size != 4096 {
						b.Fatal(s.Path())
					}
					n++
				}
				if s.Err() != nil {
					b.Fatal(s.Err())
				}
				s.Close()
			}
		})
	}
}

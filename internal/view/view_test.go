package view_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/kvtest"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// world is a store with one bucket, filled by commands.
type world struct {
	*fsmtest.Driver
	t testing.TB
}

func newWorld(t testing.TB, layout string) *world {
	w := &world{fsmtest.New(t, new(memkv.Store)), t}
	w.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	w.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "bkt", Layout: layout})
	return w
}

func (w *world) put(names ...string) {
	w.t.Helper()
	for _, n := range names {
		if d, ok := strings.CutSuffix(n, "//"); ok { // an explicit directory
			w.Must(w.t, &o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "bkt", Path: d, MayExist: true})
			continue
		}
		w.Must(w.t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: n, Etag: "e"})
	}
}

func (w *world) view() (view.View, view.Bucket) {
	w.t.Helper()
	v := view.New(w.Store)
	b, err := v.Bucket("s3v", "bkt")
	if err != nil {
		w.t.Fatal(err)
	}
	return v, b
}

// list returns a page as text: names, prefixes in brackets.
func (w *world) list(o view.ListOptions) string {
	w.t.Helper()
	v, b := w.view()
	if o.Limit == 0 {
		o.Limit = 1000
	}
	page, err := v.List(b, o)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range page.Entries {
		out = append(out, e.Path)
	}
	for _, p := range page.Prefixes {
		out = append(out, "["+p+"]")
	}
	if page.Truncated {
		out = append(out, "…")
	}
	return strings.Join(out, " ")
}

// TestList: what S3 says, on both layouts.
func TestList(t *testing.T) {
	names := []string{"0", "a-b", "a/1", "a/2/x", "a/2/y", "a0", "b/c/d", "é"}
	for _, c := range []struct {
		o    view.ListOptions
		want string
	}{
		{view.ListOptions{}, "0 a-b a/1 a/2/x a/2/y a0 b/c/d é"},
		{view.ListOptions{Delimiter: "/"}, "0 a-b a0 é [a/] [b/]"},
		{view.ListOptions{Prefix: "a"}, "a-b a/1 a/2/x a/2/y a0"},
		{view.ListOptions{Prefix: "a", Delimiter: "/"}, "a-b a0 [a/]"},
		{view.ListOptions{Prefix: "a/"}, "a/1 a/2/x a/2/y"},
		{view.ListOptions{Prefix: "a/", Delimiter: "/"}, "a/1 [a/2/]"},
		{view.ListOptions{Prefix: "a/2", Delimiter: "/"}, "[a/2/]"},
		{view.ListOptions{Prefix: "a/2/", Delimiter: "/"}, "a/2/x a/2/y"},
		{view.ListOptions{Prefix: "a//", Delimiter: "/"}, ""},
		{view.ListOptions{Prefix: "/"}, ""},
		{view.ListOptions{Prefix: "b/c/d/e"}, ""},
		{view.ListOptions{Prefix: "z"}, ""},
		{view.ListOptions{Delimiter: "-"}, "0 a/1 a/2/x a/2/y a0 b/c/d é [a-]"},
		{view.ListOptions{Delimiter: "2/"}, "0 a-b a/1 a0 b/c/d é [a/2/]"},
		{view.ListOptions{StartAfter: "a"}, "a-b a/1 a/2/x a/2/y a0 b/c/d é"},
		{view.ListOptions{StartAfter: "a/2/x", Delimiter: "/"}, "a0 é [a/] [b/]"},
		{view.ListOptions{StartAfter: "a/", Delimiter: "/"}, "a0 é [b/]"},
		{view.ListOptions{StartAfter: "a/", Prefix: "a/", Delimiter: "/"}, "a/1 [a/2/]"},
		{view.ListOptions{StartAfter: "0", Prefix: "b"}, "b/c/d"},
		{view.ListOptions{StartAfter: "c", Prefix: "b"}, ""},
		{view.ListOptions{StartAfter: "a/2/y\xff"}, "a0 b/c/d é"},
		{view.ListOptions{Limit: 3}, "0 a-b a/1 …"},
		{view.ListOptions{Limit: 3, Delimiter: "/"}, "0 a-b [a/] …"},
		{view.ListOptions{Limit: 8}, "0 a-b a/1 a/2/x a/2/y a0 b/c/d é"},
		{view.ListOptions{MaxRows: 2}, "0 a-b …"},
		{view.ListOptions{Token: "nonsense"}, "invalid: continuation token: is not one that a listing returned"},
		{view.ListOptions{Token: "_"}, "invalid: continuation token: is not one that a listing returned"},
	} {
		for _, layout := range []string{"OBS", "FSO"} {
			w := newWorld(t, layout)
			w.put(names...)
			if got := w.list(c.o); got != c.want {
				t.Errorf("%s %+v: got %q, want %q", layout, c.o, got, c.want)
			}
		}
	}
}

// TestListTree: directories are listed when they were asked for, or made.
func TestListTree(t *testing.T) {
	w := newWorld(t, "FSO")
	w.put("d/e/k", "empty//", "d/made//", "x")
	for _, c := range []struct {
		o    view.ListOptions
		want string
	}{
		{view.ListOptions{}, "d/e/k d/made/ empty/ x"},
		{view.ListOptions{Directories: true}, "d/ d/e/ d/e/k d/made/ empty/ x"},
		{view.ListOptions{Delimiter: "/"}, "x [d/] [empty/]"},
		{view.ListOptions{Delimiter: "/", Prefix: "d/"}, "[d/e/] [d/made/]"},
		{view.ListOptions{Delimiter: "/", Prefix: "d/made/"}, "d/made/"},
		{view.ListOptions{Delimiter: "/", Prefix: "d/", Directories: true}, "d/ [d/e/] [d/made/]"},
		{view.ListOptions{Delimiter: "/", Prefix: "empty"}, "[empty/]"},
	} {
		if got := w.list(c.o); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.o, got, c.want)
		}
	}
}

// counted counts what a reader is asked for.
type counted struct {
	kv.Reader
	rows *int
}

func (c counted) Get(key []byte) ([]byte, bool, error) { *c.rows++; return c.Reader.Get(key) }

func (c counted) Iter(lower, upper []byte) (kv.Iterator, error) {
	it, err := c.Reader.Iter(lower, upper)
	return countedIter{it, c.rows}, err
}

type countedIter struct {
	kv.Iterator
	rows *int
}

func (c countedIter) SeekGE(key []byte) bool { *c.rows++; return c.Iterator.SeekGE(key) }
func (c countedIter) Next() bool             { *c.rows++; return c.Iterator.Next() }
func (c countedIter) First() bool            { *c.rows++; return c.Iterator.First() }

// TestWorkIsBounded: a page looks at few rows, whatever lies below its common
// prefixes, and MaxRows ends a page that finds nothing.
func TestWorkIsBounded(t *testing.T) {
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(t, layout)
		for i := range 4 {
			for j := range 300 {
				w.put(fmt.Sprintf("dir%d/sub/%04d", i, j))
			}
		}
		_, b := w.view()
		for _, c := range []struct {
			o    view.ListOptions
			rows int
		}{
			{view.ListOptions{Delimiter: "/", Limit: 1000}, 16},
			{view.ListOptions{Delimiter: "/", Limit: 2}, 8},
			{view.ListOptions{Prefix: "dir2/", Delimiter: "/", Limit: 10}, 12},
			{view.ListOptions{Limit: 10}, 20},
			{view.ListOptions{Delimiter: "x", Limit: 1000, MaxRows: 7}, 14},
			{view.ListOptions{StartAfter: "dir3/sub/0290", Limit: 1000}, 24},
		} {
			rows := 0
			if _, err := view.New(counted{w.Store, &rows}).List(b, c.o); err != nil || rows > c.rows {
				t.Errorf("%s %+v: looked at %d rows, at most %d are needed: %v", layout, c.o, rows, c.rows, err)
			}
		}
	}
}

// TestListInPages: any way of paging gives what one page gives, while others
// write; a tree of many levels needs no more than one row a page.
func TestListInPages(t *testing.T) {
	rng := rand.New(rand.NewPCG(kvtest.Seed(t), 0))
	w := newWorld(t, "FSO")
	w.put("a/b/c/d/e/f/g/h/i/j/k", "a/b/c/d/z", "a/b/y", "b/b/b/b/b/b", "c")
	v, b := w.view()
	want := w.list(view.ListOptions{})
	for range 100 {
		o := view.ListOptions{Limit: 1 + rng.IntN(3), MaxRows: 1 + rng.IntN(4)}
		var got []string
		for pages := 0; ; pages++ {
			page, err := v.List(b, o)
			if err != nil || pages > 100 {
				t.Fatalf("page %d: %v", pages, err)
			}
			for _, e := range page.Entries {
				got = append(got, e.Path)
			}
			if o.Token = page.NextToken; !page.Truncated {
				break
			}
			if rng.IntN(2) == 0 {
				o.Token, o.StartAfter = "", page.Marker
			}
		}
		if strings.Join(got, " ") != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// FuzzToken: no token makes a listing fail otherwise than by refusing it, and
// none starts before the prefix.
func FuzzToken(f *testing.F) {
	w := newWorld(f, "FSO")
	w.put("a/1", "a/2", "b", "c/d/e")
	v, b := w.view()
	page, err := v.List(b, view.ListOptions{Limit: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page.NextToken)
	f.Add("")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte{1, 0, 0, 0, 0, 'a'}))
	f.Fuzz(func(t *testing.T, token string) {
		page, err := v.List(b, view.ListOptions{Token: token, Prefix: "a/", Limit: 10})
		if err != nil {
			if errs.KindOf(err) != errs.Invalid {
				t.Fatal(err)
			}
			return
		}
		for _, e := range page.Entries {
			if !strings.HasPrefix(e.Path, "a/") {
				t.Fatalf("token %q lists %q", token, e.Path)
			}
		}
	})
}

// TestTokenIsChecked: a token with a changed byte is refused.
func TestTokenIsChecked(t *testing.T) {
	w := newWorld(t, "OBS")
	w.put("name1", "name2")
	v, b := w.view()
	page, err := v.List(b, view.ListOptions{Limit: 1})
	if err != nil || page.NextToken == "" {
		t.Fatal(page, err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(page.NextToken)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := slices.Clone(raw)
		bad[i] ^= 1
		_, err := v.List(b, view.ListOptions{Limit: 1, Token: base64.RawURLEncoding.EncodeToString(bad)})
		if errs.KindOf(err) != errs.Invalid {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

func TestKeyAndPath(t *testing.T) {
	w := newWorld(t, "FSO")
	w.put("a/b/k", "d//")
	v, b := w.view()
	for path, want := range map[string]errs.Kind{
		"a/b/k": errs.OK, "a/": errs.OK, "a/b/": errs.OK, "d/": errs.OK,
		"a": errs.NoSuchKey, "a/b": errs.NoSuchKey, "a/b/k/": errs.NoSuchKey, "a/x/k": errs.NoSuchKey, "d": errs.NoSuchKey, "a/b/k/x": errs.NoSuchKey,
	} {
		e, err := v.Key(b, path)
		if errs.KindOf(err) != want || err == nil && e.Path != path {
			t.Errorf("%q: %v, %v", path, e, err)
		}
	}
	dir, err := v.Key(b, "a/b/")
	if err != nil {
		t.Fatal(err)
	}
	id := ns.ObjectID(dir.Row.ObjectId)
	if p, err := v.Path(b.ID(), id); p != "a/b/" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	if p, err := v.Path(b.ID(), b.ID()); p != "" || err != nil {
		t.Errorf("the root: %q, %v", p, err)
	}
	w.Must(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "bkt", Keys: []*o3v1.DeleteKey{{Key: "a/"}}, Recursive: true})
	if p, err := v.Path(b.ID(), id); errs.KindOf(err) != errs.NoSuchKey {
		t.Errorf("below a deleted directory: %q, %v", p, err)
	}
	for _, name := range [][2]string{{"s3v", "none"}, {"none", "bkt"}} {
		if _, err := v.Bucket(name[0], name[1]); errs.KindOf(err) != errs.NoSuchBucket && errs.KindOf(err) != errs.NoSuchVolume {
			t.Errorf("%v: %v", name, err)
		}
	}
}

// TestData: bytes that lie in the store come back, slices of them too; a
// missing or short row is damage, not emptiness.
func TestData(t *testing.T) {
	w := newWorld(t, "OBS")
	w.Must(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "bkt", Key: "k", Size: 5, Data: []byte("hello")})
	v, b := w.view()
	e, err := v.Key(b, "k")
	if err != nil {
		t.Fatal(err)
	}
	extents, err := v.Extents(e.Row)
	if err != nil {
		t.Fatal(err)
	}
	if data, all, err := v.Data(extents); string(data) != "hello" || !all || err != nil {
		t.Errorf("%q, %v, %v", data, all, err)
	}
	if data, all, err := v.Data(nil); len(data) != 0 || !all || err != nil {
		t.Errorf("no extents: %q, %v, %v", data, all, err)
	}
	if data, all, err := v.Data(append(extents, &o3v1.Extent{Container: 1})); data != nil || all || err != nil {
		t.Errorf("a block of a container: %q, %v, %v", data, all, err)
	}
	at := extents[0].Local
	if data, err := v.Small(&o3v1.Extent{Local: at, Offset: 1, Length: 3}); string(data) != "ell" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	for _, bad := range []*o3v1.Extent{{Local: at, Length: 6}, {Local: at, Offset: -1, Length: 1}, {Local: at, Offset: 5, Length: 1}, {Local: at + 1, Length: 1}, {Local: at, Length: -1}, {Local: at, Offset: 1 << 62, Length: 1 << 62}} {
		if _, err := v.Small(bad); errs.KindOf(err) != errs.Corrupt {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestUploads lists uploads by key and age, with prefixes, in pages.
func TestUploads(t *testing.T) {
	w := newWorld(t, "OBS")
	var ids []string
	for _, key := range []string{"a", "a", "d/1", "d/2", "d/2", "e/x/1", "z", "d0"} {
		a := w.Must(t, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "bkt", Key: key})
		ids = append(ids, a.Body.(*o3v1.CreateUploadResponse).Upload.UploadId)
	}
	v, b := w.view()
	list := func(o view.UploadOptions) string {
		var out []string
		for pages := 0; ; pages++ {
			page, err := v.Uploads(b, o)
			if err != nil || pages > 50 {
				return fmt.Sprint(err)
			}
			for _, u := range page.Uploads {
				out = append(out, fmt.Sprintf("%s:%d", u.Name, slices.Index(ids, u.UploadId)))
			}
			for _, p := range page.Prefixes {
				out = append(out, "["+p+"]")
			}
			if !page.Truncated {
				return strings.Join(out, " ")
			}
			o.KeyMarker, o.UploadMarker = page.NextKey, page.NextID
		}
	}
	for _, c := range []struct {
		o    view.UploadOptions
		want string
	}{
		{view.UploadOptions{}, "a:0 a:1 d/1:2 d/2:3 d/2:4 d0:7 e/x/1:5 z:6"},
		{view.UploadOptions{Prefix: "d"}, "d/1:2 d/2:3 d/2:4 d0:7"},
		{view.UploadOptions{Prefix: "d", KeyMarker: "a"}, "d/1:2 d/2:3 d/2:4 d0:7"},
		{view.UploadOptions{KeyMarker: "a"}, "d/1:2 d/2:3 d/2:4 d0:7 e/x/1:5 z:6"},
		{view.UploadOptions{KeyMarker: "a", UploadMarker: ids[0]}, "a:1 d/1:2 d/2:3 d/2:4 d0:7 e/x/1:5 z:6"},
		{view.UploadOptions{KeyMarker: "a", UploadMarker: "ffffffffffffffff"}, "d/1:2 d/2:3 d/2:4 d0:7 e/x/1:5 z:6"},
		{view.UploadOptions{UploadMarker: ids[0]}, "a:0 a:1 d/1:2 d/2:3 d/2:4 d0:7 e/x/1:5 z:6"},
		{view.UploadOptions{KeyMarker: "a", UploadMarker: "nonsense"}, "invalid: upload-id-marker nonsense: is not an upload id"},
		{view.UploadOptions{Prefix: "q"}, ""},
	} {
		for limit := 1; limit < 10; limit++ {
			c.o.Limit = limit
			if got := list(c.o); got != c.want {
				t.Errorf("%+v: got %q, want %q", c.o, got, c.want)
			}
		}
	}
	for limit := 1; limit < 8; limit++ {
		got := strings.Fields(list(view.UploadOptions{Delimiter: "/", Limit: limit}))
		slices.Sort(got)
		if want := "[d/] [e/] a:0 a:1 d0:7 z:6"; strings.Join(got, " ") != want {
			t.Errorf("with a delimiter in pages of %d: %q, want %q", limit, got, want)
		}
	}
	u, id, err := v.Upload(b, "d/1", ids[2])
	if err != nil || u.Name != "d/1" || command.UploadID(id) != ids[2] {
		t.Errorf("%v, %v", u, err)
	}
	for _, bad := range [][2]string{{"d/2", ids[2]}, {"d/1", "nonsense"}, {"d/1", strings.ToUpper(ids[2]) + "0"}} {
		if _, _, err := v.Upload(b, bad[0], bad[1]); errs.KindOf(err) != errs.NoSuchUpload {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestUploadsWorkIsBounded: many uploads below a common prefix cost one seek.
func TestUploadsWorkIsBounded(t *testing.T) {
	w := newWorld(t, "OBS")
	for i := range 500 {
		w.Must(t, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "bkt", Key: fmt.Sprintf("dir%d/%d", i%3, i)})
	}
	_, b := w.view()
	for _, o := range []view.UploadOptions{
		{Delimiter: "/", Limit: 100}, {Delimiter: "/", KeyMarker: "dir0/", Limit: 100}, {Prefix: "dir2/", Limit: 5},
	} {
		rows := 0
		if _, err := view.New(counted{w.Store, &rows}).Uploads(b, o); err != nil || rows > 8 {
			t.Errorf("%+v looked at %d rows: %v", o, rows, err)
		}
	}
}

func TestParts(t *testing.T) {
	w := newWorld(t, "OBS")
	a := w.Must(t, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "bkt", Key: "k"})
	upload := a.Body.(*o3v1.CreateUploadResponse).Upload.UploadId
	for _, n := range []uint32{1, 2, 9, 10000} {
		w.Must(t, &o3v1.CommitPartRequest{Volume: "s3v", Bucket: "bkt", Key: "k", UploadId: upload, Number: n, Size: 1, Data: []byte("x")})
	}
	v, b := w.view()
	id, _ := command.ParseUploadID(upload)
	for _, c := range []struct {
		after uint32
		limit int
		want  string
		more  bool
	}{{0, 10, "1 2 9 10000", false}, {0, 2, "1 2", true}, {2, 2, "9 10000", false}, {9, 1, "10000", false}, {10000, 1, "", false}, {3, 1, "9", true}} {
		parts, more, err := v.Parts(b, id, c.after, c.limit, true)
		var got []string
		for _, p := range parts {
			got = append(got, fmt.Sprint(p.Number))
			if len(p.Extents) != 1 {
				t.Errorf("part %d has extents %v", p.Number, p.Extents)
			}
		}
		if err != nil || strings.Join(got, " ") != c.want || more != c.more {
			t.Errorf("after %d: %q, %v, %v, want %q, %v", c.after, got, more, err, c.want, c.more)
		}
	}
}

// TestLists: volumes, buckets, users and access keys, in pages, filtered.
func TestLists(t *testing.T) {
	w := newWorld(t, "OBS")
	for _, n := range []string{"aaa", "aab", "bbb"} {
		w.Must(t, &o3v1.CreateVolumeRequest{Volume: n, Owner: "bob"})
		w.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: n, Layout: "OBS"})
		w.Must(t, &o3v1.CreateUserRequest{User: n, Role: "user"})
		w.Must(t, &o3v1.CreateAccessKeyRequest{User: n, Id: "K" + n, Secret: "secret-of-" + n})
	}
	v, _ := w.view()
	type page struct {
		names []string
		more  bool
		err   error
	}
	lists := map[string]func(prefix, after string, limit int) page{
		"volumes": func(prefix, after string, limit int) (p page) {
			out, more, err := v.Volumes(prefix, after, limit, func(r *schemapb.Volume) bool { return r.Owner == "bob" })
			for _, x := range out {
				p.names = append(p.names, x.Name)
			}
			return page{p.names, more, err}
		},
		"buckets": func(prefix, after string, limit int) (p page) {
			out, more, err := v.Buckets("s3v", prefix, after, limit, func(*schemapb.Bucket) bool { return true })
			for _, x := range out {
				if x.Name != "bkt" {
					p.names = append(p.names, x.Name)
				}
			}
			return page{p.names, more, err}
		},
	}
	for name, list := range lists {
		for _, c := range []struct {
			prefix, after string
			limit         int
			want          string
			more          bool
		}{
			{"aa", "", 10, "aaa aab", false}, {"aa", "", 1, "aaa", true}, {"aa", "aaa", 10, "aab", false},
			{"aa", "b", 10, "", false}, {"", "aab", 10, "bbb", false}, {"b", "a", 1, "bbb", false}, {"x", "", 1, "", false},
		} {
			got := list(c.prefix, c.after, c.limit)
			if got.err != nil || strings.Join(got.names, " ") != c.want || got.more != c.more && name == "volumes" {
				t.Errorf("%s %+v: %+v", name, c, got)
			}
		}
	}
	if _, _, err := v.Buckets("none", "", "", 1, func(*schemapb.Bucket) bool { return true }); errs.KindOf(err) != errs.NoSuchVolume {
		t.Error(err)
	}
	users, more, err := v.Users("aaa", 1)
	if err != nil || !more || len(users) != 1 || users[0].Name != "aab" {
		t.Errorf("%v, %v, %v", users, more, err)
	}
	keys, more, err := v.AccessKeys("", "Kaaa", 2)
	if err != nil || more || len(keys) != 2 || keys[0].Id != "Kaab" || keys[0].Secret != "" {
		t.Errorf("%v, %v, %v", keys, more, err)
	}
	keys, more, err = v.AccessKeys("bbb", "", 1)
	if err != nil || more || len(keys) != 1 || keys[0].Id != "Kbbb" {
		t.Errorf("%v, %v, %v", keys, more, err)
	}
}

// TestCredential: an access key works while it and its user do.
func TestCredential(t *testing.T) {
	w := newWorld(t, "OBS")
	w.Must(t, &o3v1.CreateUserRequest{User: "root", Role: "admin"})
	w.Must(t, &o3v1.CreateUserRequest{User: "bob", Role: "user"})
	w.Must(t, &o3v1.CreateAccessKeyRequest{User: "bob", Id: "AK", Secret: "hush"})
	v, _ := w.view()
	secret, p, err := v.Credential("AK")
	if err != nil || secret != "hush" || p.User != "bob" || p.Role != "user" || p.AccessKey != "AK" {
		t.Errorf("%q, %+v, %v", secret, p, err)
	}
	yes, no := true, false
	gone := func(what string) {
		t.Helper()
		if secret, _, err := v.Credential("AK"); errs.KindOf(err) != errs.NoSuchPrincipal || secret != "" {
			t.Errorf("%s: %q, %v", what, secret, err)
		}
	}
	w.Must(t, &o3v1.UpdateUserRequest{User: "bob", Disabled: &yes})
	gone("a disabled user")
	w.Must(t, &o3v1.UpdateUserRequest{User: "bob", Disabled: &no})
	if _, _, err := v.Credential("AK"); err != nil {
		t.Error(err)
	}
	w.Must(t, &o3v1.RevokeAccessKeyRequest{Id: "AK"})
	gone("a revoked key")
	w.Must(t, &o3v1.DeleteUserRequest{User: "bob"})
	gone("a deleted user")
}

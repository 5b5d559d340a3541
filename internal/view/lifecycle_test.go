package view_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// TestLifecycleRows: rules, scans and suspensions, of a bucket and of all.
func TestLifecycleRows(t *testing.T) {
	w := newWorld(t, "OBS")
	var ids []ns.ObjectID
	rules := &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{{Id: "r", Enabled: true, ExpireDays: proto.Int32(1)}}}
	for _, name := range []string{"one", "two", "without", "zzz"} {
		a := w.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: name, Layout: "OBS"}).Body.(*o3v1.CreateBucketResponse)
		if name != "without" {
			w.Must(t, &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: name, Configuration: rules})
			ids = append(ids, ns.ObjectID(a.Bucket.ObjectId))
		}
	}
	v, none := w.view()
	list := func(after ns.ObjectID, limit int) (out []ns.ObjectID) {
		err := v.Lifecycles(after, func(id ns.ObjectID, row *schemapb.LifecycleConfiguration) (bool, error) {
			if len(row.Rules) != 1 {
				t.Error(row)
			}
			out = append(out, id)
			return len(out) < limit, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := list(0, 9); !slices.Equal(got, ids) {
		t.Errorf("%v, want %v", got, ids)
	}
	if got := list(ids[0], 1); !slices.Equal(got, ids[1:2]) {
		t.Errorf("%v, want %v", got, ids[1:2])
	}
	if row, ok, err := v.Lifecycle(ids[1]); !ok || err != nil || row.Bucket != "two" {
		t.Error(row, ok, err)
	}
	if _, ok, err := v.Lifecycle(none.ID()); ok || err != nil {
		t.Error(ok, err)
	}
	row, _, _ := v.Lifecycle(ids[0])
	w.Must(t, &commandpb.StartLifecycleScan{Scan: &commandpb.LifecycleScan{Volume: "s3v", Bucket: "one", BucketId: uint64(ids[0]), ConfigurationId: row.UpdateId}})
	if s, ok, err := v.LifecycleScan(ids[0]); !ok || err != nil || s.BucketKey != "/s3v/one" {
		t.Error(s, ok, err)
	}
	if _, ok, err := v.LifecycleScan(ids[1]); ok || err != nil {
		t.Error(ok, err)
	}
	w.Must(t, &commandpb.SuspendLifecycle{Volume: "s3v", Bucket: "two", Suspended: true, Reason: "why"})
	w.Must(t, &commandpb.SuspendLifecycle{Suspended: true})
	var suspended []ns.ObjectID
	err := v.LifecycleSuspensions(func(id ns.ObjectID, _ *schemapb.LifecycleSuspension) (bool, error) {
		suspended = append(suspended, id)
		return true, nil
	})
	if err != nil || !slices.Equal(suspended, []ns.ObjectID{schema.EveryBucket, ids[1]}) {
		t.Error(suspended, err)
	}
	if s, ok, err := v.LifecycleSuspension(ids[1]); !ok || err != nil || s.Reason != "why" {
		t.Error(s, ok, err)
	}
	if _, ok, err := v.LifecycleSuspension(ids[0]); ok || err != nil {
		t.Error(ok, err)
	}
}

// TestUploadsFrom: uploads come by name and age, after a position, from a name on.
func TestUploadsFrom(t *testing.T) {
	w := newWorld(t, "OBS")
	for _, key := range []string{"b", "a/1", "a", "a", "c"} {
		w.Must(t, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "bkt", Key: key})
	}
	v, b := w.view()
	var positions []string
	list := func(after, name string, limit int) string {
		var out []string
		positions = positions[:0]
		err := v.UploadsFrom(b, after, name, func(u view.UploadRow) (bool, error) {
			if uint64(u.Key.Upload) != u.Row.ObjectId {
				t.Error(u)
			}
			out, positions = append(out, u.Key.Name), append(positions, u.Position())
			return len(out) < limit, nil
		})
		if err != nil {
			return errs.KindOf(err).String()
		}
		return strings.Join(out, " ")
	}
	if got := list("", "", 9); got != "a a a/1 b c" {
		t.Fatal(got)
	}
	all := slices.Clone(positions)
	for i, p := range all {
		want := strings.Join([]string{"a", "a", "a/1", "b", "c"}[i+1:], " ")
		if got := list(p, "", 9); got != want {
			t.Errorf("after %s: %q, want %q", p, got, want)
		}
	}
	for _, c := range []struct{ after, name, want string }{
		{"", "a/", "a/1 b c"}, {all[0], "b", "b c"}, {all[3], "a", "c"}, {"", "d", ""}, {"x", "", "invalid"},
	} {
		if got := list(c.after, c.name, 9); got != c.want {
			t.Errorf("after %q from %q: %q, want %q", c.after, c.name, got, c.want)
		}
	}
	if got := list("", "", 2); got != "a a" {
		t.Error(got)
	}
}

// TestTrashDirs: what lies in the trash of every owner, in pages of any size.
func TestTrashDirs(t *testing.T) {
	for _, layout := range []string{"OBS", "FSO"} {
		w := newWorld(t, layout)
		w.put(".Trash/a/231114221320/x/y", ".Trash/a/Current/k", ".Trash/b/231114221321/k", ".Trash/b/231114221322/k", ".Trash/b/Current/z", ".Trash/file", ".Trash/c/file", "k")
		v, b := w.view()
		for limit := 1; limit < 7; limit++ {
			var got []string
			var last view.TrashDir
			for more, pages := true, 0; more; pages++ {
				var out []view.TrashDir
				var err error
				if out, more, err = v.TrashDirs(b, last, limit); err != nil || len(out) > limit || pages > 6 {
					t.Fatal(out, err)
				}
				for _, d := range out {
					got, last = append(got, d.Owner+"/"+d.Name), d
				}
			}
			if want := "a/231114221320 a/Current b/231114221321 b/231114221322 b/Current"; strings.Join(got, " ") != want {
				t.Errorf("%s, %d at a time: %q", layout, limit, got)
			}
		}
		if _, _, err := v.TrashDirs(b, view.TrashDir{}, 0); errs.KindOf(err) != errs.Invalid {
			t.Error(err)
		}
		if out, more, err := v.TrashDirs(b, view.TrashDir{Owner: "b", Name: "Current"}, 5); len(out) > 0 || more || err != nil {
			t.Error(fmt.Sprint(out), more, err)
		}
	}
}

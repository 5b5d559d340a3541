package view_test

import (
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/view"
)

// TestSnapshots: live ones in the order of the paths into them, in
// pages, and one by its name.
func TestSnapshots(t *testing.T) {
	w := newWorld(t, "OBS")
	w.put("k")
	for _, n := range []string{"daily-2", "daily-1", "weekly", "a", "daily-3"} {
		w.take(n)
	}
	v, b := w.view()
	list := func(prefix, after string, limit int) string {
		t.Helper()
		infos, more, err := v.Snapshots(b, prefix, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range infos {
			if s.State != "ACTIVE" || s.Volume != "s3v" || s.Bucket != "bkt" || s.UsedKeys != 1 || s.Op == 0 || s.SnapshotId == "" {
				t.Errorf("%v", s)
			}
			out = append(out, s.Name)
		}
		if more {
			out = append(out, "…")
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"", "", 10, "a daily-1 daily-2 daily-3 weekly"},
		{"", "", 5, "a daily-1 daily-2 daily-3 weekly"},
		{"", "", 2, "a daily-1 …"},
		{"", "daily-1", 2, "daily-2 daily-3 …"},
		{"", "daily-3", 2, "weekly"},
		{"", "daily", 1, "weekly"}, // daily/ would follow daily-3/
		{"", "daily!", 1, "daily-1 …"},
		{"", "weekly", 2, ""},
		{"daily-", "", 10, "daily-1 daily-2 daily-3"},
		{"daily-", "a", 10, "daily-1 daily-2 daily-3"},
		{"daily-", "daily-1", 1, "daily-2 …"},
		{"daily-", "x", 10, ""},
		{"x", "", 10, ""},
	} {
		if got := list(c.prefix, c.after, c.limit); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
	if _, err := v.Snapshot(b, "nothere"); errs.KindOf(err) != errs.NoSuchSnapshot || !strings.Contains(err.Error(), "s3v/bkt/.snapshot/nothere") {
		t.Errorf("%v", err)
	}
	s, err := v.Snapshot(b, "weekly")
	if err != nil || s.Row.Name != "weekly" {
		t.Fatal(s, err)
	}
	if live, err := v.IsSnapshot(b.ID(), s.Op); !live || err != nil {
		t.Error(live, err)
	}
	w.put("k")
	if info, err := v.SnapshotInfo(b, s); err != nil || info.ExclusiveNames != 0 {
		t.Errorf("%v, %v: five snapshots share it", info, err)
	}
}

// TestDeletedSnapshots: they are listed by age, in pages, until they are reclaimed.
func TestDeletedSnapshots(t *testing.T) {
	w := newWorld(t, "OBS")
	w.put("k")
	for _, n := range []string{"daily-2", "daily-1", "weekly", "a", "daily-3"} {
		w.take(n)
	}
	w.put("k")
	v, b := w.view()
	s, err := v.Snapshot(b, "weekly")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"weekly", "daily-3", "a"} {
		w.Must(t, &o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "bkt", Name: n})
	}
	if live, err := v.IsSnapshot(b.ID(), s.Op); live || err != nil {
		t.Error(live, err)
	}
	var gone []string
	for after, pages := ns.Op(0), 0; ; pages++ {
		infos, more, err := v.DeletedSnapshots(b, after, 2)
		if err != nil || pages > 2 {
			t.Fatal(pages, err)
		}
		for _, s := range infos {
			if s.State != "DELETED" || s.DeletedMs == 0 || s.ReclaimedPercent != 0 {
				t.Errorf("%v", s)
			}
			gone, after = append(gone, s.Name), ns.Op(s.Op)
		}
		if !more {
			break
		}
	}
	if want := []string{"weekly", "a", "daily-3"}; !slices.Equal(gone, want) { // by age
		t.Errorf("deleted: %q", gone)
	}
	if c, err := v.Counters(); err != nil || c.Snapshots != 2 || c.Reclaims != 3 || c.HistoryRows != 1 || c.JournalRows != 1 {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := view.New(newWorld(t, "OBS").Store).Counters(); err != nil || c.Snapshots != 0 {
		t.Errorf("of a store without a snapshot: %v, %v", c, err)
	}
}

// TestDiffJobs: of a bucket, of all, and from one on.
func TestDiffJobs(t *testing.T) {
	w := newWorld(t, "OBS")
	w.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "other", Layout: "OBS"})
	one, two := w.take("one"), w.take("two")
	w.Must(t, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "other", Name: "one"})
	other := w.Machine.Position().Op
	job := func(bucket string, from, to ns.Op, options uint64) schema.DiffJobKey {
		t.Helper()
		k := w.Must(t, &commandpb.CreateDiffJob{Volume: "s3v", Bucket: bucket, From: "f", FromOp: uint64(from), To: "t", ToOp: uint64(to), Options: options}).
			Body.(*commandpb.CreateDiffJobReply).Key
		return schema.DiffJobKey{Bucket: ns.ObjectID(k.BucketId), From: ns.Op(k.FromOp), To: ns.Op(k.ToOp), Options: k.Options}
	}
	keys := []schema.DiffJobKey{job("bkt", one, 0, 1), job("bkt", one, two, 0), job("bkt", one, two, 5), job("other", other, 0, 0)}
	v, b := w.view()
	list := func(bucket ns.ObjectID, from schema.DiffJobKey, limit int) (out []schema.DiffJobKey) {
		t.Helper()
		err := v.DiffJobs(bucket, from, func(j view.DiffJob) (bool, error) {
			if info := j.Info(); info.From != "f" || info.State != o3v1.DiffState_DIFF_STATE_QUEUED || info.FromOp != uint64(j.Key.From) {
				t.Errorf("%v", info)
			}
			out = append(out, j.Key)
			return len(out) < limit, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		bucket ns.ObjectID
		from   schema.DiffJobKey
		limit  int
		want   []schema.DiffJobKey
	}{
		{0, schema.DiffJobKey{}, 10, keys}, {b.ID(), schema.DiffJobKey{}, 10, keys[:3]}, {b.ID(), keys[1], 10, keys[1:3]},
		{0, keys[2], 10, keys[2:]}, {0, schema.DiffJobKey{}, 2, keys[:2]}, {b.ID() + 1<<30, schema.DiffJobKey{}, 10, nil},
	} {
		if got := list(c.bucket, c.from, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v", c, got)
		}
	}
	if j, ok, err := v.DiffJob(keys[2]); err != nil || !ok || j.Key != keys[2] || j.Row.JobId == 0 {
		t.Errorf("%v, %v, %v", j, ok, err)
	}
	if _, ok, err := v.DiffJob(schema.DiffJobKey{Bucket: b.ID(), From: one, To: two, Options: 9}); ok || err != nil {
		t.Error(ok, err)
	}
}

package sqltables_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/ns"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

func open(t *testing.T, path string) *sqltables.DB {
	t.Helper()
	d, err := sqltables.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // a test may have closed it
	return d
}

// rows prints what a user who opens the file sees.
func rows(t *testing.T, path, query string) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	columns, _ := r.Columns()
	var out []string
	for r.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := r.Scan(values...); err != nil {
			t.Fatal(err)
		}
		line := ""
		for _, v := range values {
			line += fmt.Sprint(*v.(*any), " ")
		}
		out = append(out, strings.TrimSpace(line))
	}
	return strings.Join(out, "\n")
}

// sums is what a task would add.
type sums map[string]int64

func (s sums) yield(f func([]byte, task.Counts) error) error {
	for k, n := range s {
		if err := f([]byte(k), task.Counts{n}); err != nil {
			return err
		}
	}
	return nil
}

func named(t *testing.T) fsm.Run {
	t.Helper()
	v, err := schema.Volumes.Encode(&schemapb.Volume{ObjectId: 7})
	if err != nil {
		t.Fatal(err)
	}
	b, err := schema.Buckets.Encode(&schemapb.Bucket{ObjectId: 9})
	if err != nil {
		t.Fatal(err)
	}
	return fsm.Run{Changes: []fsm.Change{
		{Key: schema.Volumes.Key("s3v"), New: v},
		{Key: schema.Buckets.Key(schema.BucketKey{Volume: 7, Name: "photos"}), New: b},
	}}
}

// TestTables: what users see in the file, while it is written to.
func TestTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recon.sqlite")
	d := open(t, path)
	if n, err := d.Cursor(); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	add := sums{string(task.StatKey("keyTableCount")): 3, string(task.FileCountKey(9, 0)): 2, string(task.FileCountKey(9, 41)): 1, string(task.FileCountKey(8, 3)): 4}
	if err := d.Apply(12, named(t), add.yield); err != nil {
		t.Fatal(err)
	}
	less := sums{string(task.StatKey("keyTableCount")): -1, string(task.FileCountKey(9, 0)): -2}
	if err := d.Apply(15, fsm.Run{}, less.yield); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Cursor(); n != 15 || err != nil {
		t.Error(n, err)
	}
	if got := rows(t, path, "SELECT * FROM GLOBAL_STATS"); got != "keyTableCount 2 15" {
		t.Error(got)
	}
	if got := rows(t, path, "SELECT * FROM FILE_COUNT_BY_SIZE"); got != "s3v photos 9223372036854775807 1" { // bucket 8 has no name (any more)
		t.Error(got)
	}
	// A counter below zero: nothing of it is kept.
	err := d.Apply(16, fsm.Run{}, sums{string(task.StatKey("keyTableCount")): -1, string(task.FileCountKey(9, 41)): -2}.yield)
	if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if n, _ := d.Cursor(); n != 15 {
		t.Error(n)
	}
	gone := named(t)
	for i, c := range gone.Changes {
		gone.Changes[i] = fsm.Change{Key: c.Key, Old: c.New}
	}
	if err := d.Apply(17, gone, sums{}.yield); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, path, "SELECT * FROM FILE_COUNT_BY_SIZE"); got != "" {
		t.Error(got)
	}
	for _, list := range [][]sqltables.TaskStatus{{{Name: "gone"}}, {{Name: "NSSummaryTask", Updated: time.UnixMilli(5), Index: 17}, {Name: "X", Updated: time.UnixMilli(6), Index: 16, Failed: true, Running: true}}} {
		if err := d.SetTasks(list); err != nil {
			t.Fatal(err)
		}
	}
	if got := rows(t, path, "SELECT * FROM RECON_TASK_STATUS ORDER BY task_name"); got != "NSSummaryTask 5 17 0 0\nX 6 16 -1 1" {
		t.Error(got)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := open(t, path).Cursor(); n != 17 || err != nil {
		t.Error(n, err)
	}
}

// TestFlush: a flush writes to the log, which is what it syncs, and waits for
// nobody who reads.
func TestFlush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recon.sqlite")
	d := open(t, path)
	look, err := d.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, quickest := int64(-1), time.Hour
	for i := range 5 {
		if err := d.Apply(uint64(i)+1, fsm.Run{}, sums{}.yield); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
		quickest = min(quickest, time.Since(begin))
		st, err := os.Stat(path + "-wal")
		if err != nil || st.Size() <= before {
			t.Errorf("a flush wrote nothing: %v, %v", st, err)
		}
		before = st.Size()
	}
	if quickest > 5*time.Second { // where readers are waited for, that takes 10 s each time
		t.Errorf("each flush took %v beside a reader", quickest)
	}
	if n, err := look.Index(); n != 0 || err != nil {
		t.Error(n, err)
	}
	if err := look.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOpen: what is not ours is refused, not overwritten.
func TestOpen(t *testing.T) {
	for name, c := range map[string]struct {
		prepare string
		kind    errs.Kind
		words   string
	}{
		"later":   {"PRAGMA application_id = 0x6f337265; PRAGMA user_version = 2", errs.FormatTooNew, "format 2, this program knows formats up to 1"},
		"another": {"CREATE TABLE mine (a)", errs.FormatUnknown, "not a file of Recon's tables"},
	} {
		path := filepath.Join(t.TempDir(), "x y?#.sqlite") // such a name is no other file
		db, err := sql.Open("sqlite", "file:"+strings.NewReplacer(" ", "%20", "?", "%3f", "#", "%23").Replace(path))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(c.prepare); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sqltables.Open(t.Context(), path)
		if errs.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.words) || !strings.Contains(fmt.Sprint(err), path) {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(path); string(after[100:]) != string(before[100:]) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	path := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(path, slices.Repeat([]byte("garbage "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqltables.Open(t.Context(), path); errs.KindOf(err) != errs.Corrupt {
		t.Error(err)
	}
}

// TestRandom compares the file with a model, over restarts.
func TestRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "recon.sqlite")
	d, model := open(t, path), sums{}
	if err := d.Apply(1, named(t), sums{}.yield); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		add := sums{}
		for range rng.IntN(20) {
			k := string(task.StatKey(fmt.Sprint("t", rng.IntN(5))))
			if rng.IntN(2) == 0 {
				k = string(task.FileCountKey(ns.ObjectID(9), rng.IntN(42)))
			}
			add[k] = rng.Int64N(1<<40) - min(model[k], 1<<39)
		}
		for k, n := range add {
			if model[k] += n; model[k] == 0 {
				delete(model, k)
			}
		}
		if err := d.Apply(uint64(i)+2, fsm.Run{}, add.yield); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(15) == 0 {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open(t, path)
		}
	}
	var stats, counts []string
	for k, n := range model {
		if name, ok := task.ParseStat([]byte(k)); ok {
			stats = append(stats, fmt.Sprint(name, " ", n))
		} else {
			_, bin, _ := task.ParseFileCount([]byte(k))
			counts = append(counts, fmt.Sprintf("%02d %d", bin, n))
		}
	}
	slices.Sort(stats)
	slices.Sort(counts)
	if got := rows(t, path, `SELECT "key", value FROM GLOBAL_STATS ORDER BY 1`); got != strings.Join(stats, "\n") {
		t.Errorf("%s\nwant %s", got, stats)
	}
	if got := rows(t, path, "SELECT printf('%02d', bin), count FROM o3_file_counts ORDER BY bin"); got != strings.Join(counts, "\n") {
		t.Errorf("%s\nwant %s", got, counts)
	}
}

// TestLookups: a snapshot finds names by ids and counts by buckets, reading no
// others, as they were when it was made.
func TestLookups(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "recon.sqlite"))
	volume, err := schema.Volumes.Encode(&schemapb.Volume{ObjectId: 7})
	if err != nil {
		t.Fatal(err)
	}
	run := fsm.Run{Changes: []fsm.Change{{Key: schema.Volumes.Key("s3v"), New: volume}}}
	add := sums{}
	for id := uint64(10); id < 40; id++ {
		row, err := schema.Buckets.Encode(&schemapb.Bucket{ObjectId: id})
		if err != nil {
			t.Fatal(err)
		}
		run.Changes = append(run.Changes, fsm.Change{Key: schema.Buckets.Key(schema.BucketKey{Volume: 7, Name: fmt.Sprint("b", id)}), New: row})
		add[string(task.FileCountKey(ns.ObjectID(id), int(id%3)))] = int64(id)
		add[string(task.FileCountKey(ns.ObjectID(id), 41))] = 1
	}
	if err := d.Apply(1, run, add.yield); err != nil {
		t.Fatal(err)
	}
	s, err := d.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := d.Apply(2, fsm.Run{Changes: []fsm.Change{{Key: run.Changes[1].Key, Old: run.Changes[1].New}}}, sums{string(task.FileCountKey(11, 2)): 5}.yield); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[ns.ObjectID]string{10: "s3v/b10", 39: "s3v/b39", 40: "", 7: ""} {
		b, ok, err := s.Bucket(id)
		if got := strings.Trim(b.Volume+"/"+b.Bucket, "/"); err != nil || ok != (want != "") || got != want || ok && b.ID != id {
			t.Errorf("%d: %+v %v %v", id, b, ok, err)
		}
	}
	var got []string
	for from, most := range map[ns.ObjectID]int{12: 3, 38: 9, 40: 1} {
		got = nil
		err := s.Buckets(from, func(b sqltables.BucketName) (bool, error) {
			got = append(got, fmt.Sprint(b.ID, b.Bucket))
			return len(got) < most, nil
		})
		want := map[ns.ObjectID]string{12: "[12b12 13b13 14b14]", 38: "[38b38 39b39]", 40: "[]"}[from]
		if fmt.Sprint(got) != want || err != nil {
			t.Errorf("from %d: %v %v", from, got, err)
		}
	}
	const last = 1<<63 - 1
	for want, of := range map[string]sqltables.Counts{
		"[{13 2048 13} {13 9223372036854775807 1} {11 4096 11} {11 9223372036854775807 1}]": {Buckets: []ns.ObjectID{13, 99, 11}},
		"[{11 4096 11}]":               {Buckets: []ns.ObjectID{13, 11}, Limit: 4096},
		"[{12 9223372036854775807 1}]": {Buckets: []ns.ObjectID{12}, Limit: last},
		"[]":                           {Buckets: []ns.ObjectID{}},
	} {
		if got := fmt.Sprint(counts(t, s, of)); got != want {
			t.Errorf("%+v: %s, want %s", of, got, want)
		}
	}
	if all := counts(t, s, sqltables.Counts{}); len(all) != 60 || all[0] != (sqltables.FileCount{Bucket: 10, Limit: 2048, Count: 10}) {
		t.Errorf("%d: %v", len(all), all)
	}
	if some := counts(t, s, sqltables.Counts{Limit: 1024}); len(some) != 10 || some[0].Bucket != 12 {
		t.Errorf("%v", some)
	}
	stop := errors.New("stop")
	if err := s.FileCounts(sqltables.Counts{}, func(sqltables.FileCount) error { return stop }); err != stop {
		t.Error(err)
	}
}

func counts(t *testing.T, s *sqltables.Snapshot, of sqltables.Counts) []sqltables.FileCount {
	t.Helper()
	all := []sqltables.FileCount{}
	if err := s.FileCounts(of, func(c sqltables.FileCount) error { all = append(all, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

package validate_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/recon/task/tasktest"
	"o3/internal/recon/validate"
	"o3/internal/view"
)

// sqlView reads the fake of the SQLite file.
type sqlView struct {
	*tasktest.SQL
	generation.SQLView
}

func (v sqlView) Index() (uint64, error)           { return v.Cursor() }
func (v sqlView) Stats() (map[string]int64, error) { return v.SQL.Stats(), nil }
func (v sqlView) Close() error                     { return nil }

func (v sqlView) FileCounts(_ sqltables.Counts, f func(sqltables.FileCount) error) (err error) {
	v.SQL.FileCounts(func(bucket ns.ObjectID, bin, count int64) {
		err = errors.Join(err, f(sqltables.FileCount{Bucket: bucket, Limit: bin, Count: count}))
	})
	return err
}

// tables are those derived from a namespace.
type tables struct {
	rows, derived *memkv.Store
	sql           *tasktest.SQL
	index         uint64
}

func (x *tables) view() *generation.View {
	return &generation.View{View: view.New(x.rows), Rows: x.rows, Derived: x.derived, SQL: sqlView{SQL: x.sql}}
}

// build makes a namespace of random requests and derives the tables.
func build(t *testing.T, rng *rand.Rand) *tables {
	t.Helper()
	x := &tables{rows: new(memkv.Store), derived: new(memkv.Store), sql: tasktest.NewSQL()}
	d := fsmtest.New(t, x.rows)
	d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "tree", Layout: "FSO"})
	d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Layout: "OBS"})
	key := func() string { return fmt.Sprintf("d%d/e%d/k%d", rng.IntN(3), rng.IntN(3), rng.IntN(9)) }
	put := func(bucket string) {
		size := uint64(1 + rng.IntN(1<<22))
		d.Do(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: key(), Size: size, Etag: "e", DeadlineMs: d.Now + 60_000,
			Extents: []*o3v1.Extent{{Container: 1 + uint64(rng.IntN(3)), Local: uint64(d.Machine.Position().Op) + 1, Length: int64(size)}}})
	}
	for i := range 120 {
		bucket := []string{"tree", "flat"}[rng.IntN(2)]
		switch n := rng.IntN(10); {
		case i == 40:
			d.Must(t, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: bucket, Name: fmt.Sprint("s", i)})
		case n == 0:
			d.Do(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Keys: []*o3v1.DeleteKey{{Key: fmt.Sprintf("d%d/", rng.IntN(3))}}, Recursive: true})
		case n == 1:
			d.Do(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: bucket, Keys: []*o3v1.DeleteKey{{Key: key()}}})
		case n == 2:
			d.Do(t, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: fmt.Sprintf("d%d", rng.IntN(3)), To: fmt.Sprintf("d%d/x", rng.IntN(3))})
		default:
			put(bucket)
		}
	}
	put("flat")
	put("tree")
	days := int32(rng.IntN(9) + 1)
	for _, bucket := range []string{"flat", "tree"} {
		d.Must(t, &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: bucket, Configuration: &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{
			{Id: "a", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: &days}, {Id: "b", Filter: &o3v1.LifecycleFilter{}, ExpireDays: &days},
		}}})
	}
	x.index = d.Machine.Position().Index
	set, err := task.OpenSet(x.derived, x.sql, task.All(), x.rows)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Rebuild(t.Context(), x.rows, x.index, task.RebuildOptions{Dir: filepath.Join(t.TempDir(), "s")}); err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *tables) check(t *testing.T) []validate.Problem {
	t.Helper()
	got, err := validate.Tables(t.Context(), x.view())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestWhole: tables that were derived rightly have no problems, whatever happened.
func TestWhole(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		x := build(t, rand.New(rand.NewPCG(seed, 1)))
		if got := x.check(t); len(got) > 0 || validate.Error(got) != nil {
			t.Errorf("seed %d: %v", seed, got)
		}
	}
}

// TestDamage: a row that is missing or counts too much, in any table that is
// compared, is found, and the task that made it is named.
func TestDamage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	owner := map[string]string{}
	for _, one := range task.All() {
		for _, name := range one.Tables {
			owner[name] = one.Name
		}
	}
	compared := 0
	for _, table := range task.Tables() {
		if table.First >= 0x80 || table.Name == "namespaceChildTable" || table.Name == "largestTable" {
			continue
		}
		x := build(t, rng)
		var keys [][]byte
		if err := task.Each(x.derived, table.First, func(k []byte, _ task.Counts) error {
			keys = append(keys, append([]byte(nil), k...))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if table.Name == "namespaceTotalTable" { // only those of whole buckets where no deleted directory waits are compared
			flat, err := view.New(x.rows).Bucket("s3v", "flat")
			if err != nil {
				t.Fatal(err)
			}
			buckets := keys[:0]
			for _, k := range keys {
				if id := binary.BigEndian.Uint64(k[1:]); id == flat.Row.ObjectId && id == binary.BigEndian.Uint64(k[9:]) {
					buckets = append(buckets, k)
				}
			}
			keys = buckets
		}
		if len(keys) == 0 {
			continue // nobody has made any
		}
		b := x.derived.NewBatch()
		if err := errors.Join(b.Delete(keys[rng.IntN(len(keys))]), b.Commit(false), b.Close()); err != nil {
			t.Fatal(err)
		}
		compared++
		expect(t, table.Name, x.check(t), owner[table.Name])
	}
	if compared < 7 {
		t.Errorf("%d tables were compared", compared)
	}
	for name, c := range map[string]struct {
		key  func(x *tables) []byte
		task string
	}{
		"GLOBAL_STATS":                 {func(*tables) []byte { return task.StatKey("bucketTableCount") }, "OmTableInsightTask"},
		"FILE_COUNT_BY_SIZE of a tree": {func(x *tables) []byte { return x.fileCount(t, "tree") }, "FileSizeCountTaskFSO"},
		"FILE_COUNT_BY_SIZE":           {func(x *tables) []byte { return x.fileCount(t, "flat") }, "FileSizeCountTaskOBS"},
	} {
		x := build(t, rng)
		k := c.key(x)
		err := x.sql.Apply(x.index, fsm.Run{}, func(yield func([]byte, task.Counts) error) error { return yield(k, task.Counts{1}) })
		if err != nil {
			t.Fatal(err)
		}
		expect(t, name, x.check(t), c.task)
	}
}

func (x *tables) fileCount(t *testing.T, bucket string) []byte {
	b, err := view.New(x.rows).Bucket("s3v", bucket)
	if err != nil {
		t.Fatal(err)
	}
	return task.FileCountKey(b.ID(), 3)
}

func expect(t *testing.T, what string, got []validate.Problem, name string) {
	t.Helper()
	for _, p := range got {
		if p.Task == name {
			if err := validate.Error(got); errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
	}
	t.Errorf("damage of %s: found %v, want one of %s", what, got, name)
}

// TestEnds: it ends with its context.
func TestEnds(t *testing.T) {
	x := build(t, rand.New(rand.NewPCG(1, 1)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := validate.Tables(ctx, x.view()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

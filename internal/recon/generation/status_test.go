package generation_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/consensus"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/pebblekv"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/schema"
)

// failing is a file of SQLite whose changes fail while err is set.
type failing struct {
	*sqltables.DB
	err *error
}

// Snapshot implements generation.SQL.
func (f failing) Snapshot(ctx context.Context) (generation.SQLView, error) { return f.DB.Snapshot(ctx) }

// Apply implements task.SQL.
func (f failing) Apply(index uint64, run fsm.Run, add func(func(key []byte, c task.Counts) error) error) error {
	if *f.err != nil {
		return *f.err
	}
	return f.DB.Apply(index, run, add)
}

// follower is a generation beside the namespace that it follows, with a file of
// SQLite that fails while fault is set.
type follower struct {
	t     *testing.T
	om    *pebblekv.Store
	d     *fsmtest.Driver
	home  string
	fault error
	g     *generation.Generation
}

func newFollower(t *testing.T) *follower {
	dir := t.TempDir()
	om, err := pebblekv.Open(pebblekv.Options{Dir: filepath.Join(dir, "om"), Name: "om", Version: schema.Format, DisableWAL: true, DiskSlowAfter: -1, CacheBytes: 4 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { om.Close() })
	f := &follower{t: t, om: om, d: fsmtest.New(t, om), home: filepath.Join(dir, "g")}
	f.d.Must(t, &o3v1.CreateVolumeRequest{Volume: "vol"})
	f.d.Must(t, &o3v1.CreateBucketRequest{Volume: "vol", Bucket: "bkt", Layout: "OBS"})
	f.put()
	if err := om.Checkpoint(filepath.Join(f.home, generation.ReplicaDir)); err != nil {
		t.Fatal(err)
	}
	f.open()
	return f
}

func (f *follower) open() {
	f.t.Helper()
	var err error
	f.g, err = generation.Open(f.t.Context(), generation.Options{
		Dir: f.home, CacheBytes: 4 << 20, MemoryBytes: 1 << 20,
		OpenSQL: func(ctx context.Context, path string) (generation.SQL, error) {
			db, err := sqltables.Open(ctx, path)
			return failing{db, &f.fault}, err
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *follower) put() {
	f.d.Must(f.t, &o3v1.CommitKeyRequest{
		Volume: "vol", Bucket: "bkt", Key: fmt.Sprint(len(f.d.Log)), Size: 1, Etag: "e", DeadlineMs: f.d.Now + 60_000,
		Extents: []*o3v1.Extent{{Container: 1, Local: uint64(len(f.d.Log)), Length: 1}},
	})
}

func (f *follower) catchUp() error {
	var list []consensus.Entry
	for _, e := range f.d.Log[f.g.Position().Index:] {
		list = append(list, consensus.Entry{Index: e.Index, Term: e.Term, Requests: e.Requests})
	}
	return f.g.Apply(list)
}

// rows checks RECON_TASK_STATUS, which is the same for all tasks.
func (f *follower) rows(want string, args ...any) {
	f.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.home, "recon.sqlite"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	var n, recent int
	var got string
	err = db.QueryRow(`SELECT count(*), group_concat(DISTINCT last_updated_seq_number || ' ' || last_task_run_status || ' ' || is_current_task_running),
		sum(last_updated_timestamp > 1000 * (unixepoch() - 3600)) FROM RECON_TASK_STATUS`).Scan(&n, &got, &recent)
	if want = fmt.Sprintf(want, args...); err != nil || n != len(task.All()) || recent != n || got != want {
		f.t.Errorf("%d rows with %q, %d of them recent, want %q (%v)", n, got, recent, want, err)
	}
}

// looks checks what a new look shows.
func (f *follower) looks(index uint64, keys int64) {
	f.t.Helper()
	v, err := f.g.View(f.t.Context())
	if err != nil {
		f.t.Error(err)
		return
	}
	defer v.Close()
	stats, err := v.SQL.Stats()
	n, err2 := task.ContainerKeys(v.Derived, 1)
	if err := errors.Join(err, err2); err != nil || v.At.Index != index || stats["keyTableCount"] != keys || n != keys {
		f.t.Errorf("at %d: %d and %d keys, want %d at %d (%v)", v.At.Index, stats["keyTableCount"], n, keys, index, err)
	}
}

// TestTaskFails: when a task fails between the stores, looks go on at the entry
// where all agree, those that are open and new ones; RECON_TASK_STATUS says at any
// time what each task reflects, and whether it runs or failed.
func TestTaskFails(t *testing.T) {
	f := newFollower(t)
	f.fault = errors.New("the disk says no")
	if _, err := f.g.Rebuild(t.Context(), task.RebuildOptions{Memory: 1 << 16}); !errors.Is(err, f.fault) {
		t.Fatal(err)
	}
	f.rows("0 -1 0")
	f.fault = nil
	if _, err := f.g.Rebuild(t.Context(), task.RebuildOptions{Memory: 1 << 16, Progress: func(string, int64) { f.rows("0 0 1") }}); err != nil {
		t.Fatal(err)
	}
	at := f.g.Position().Index
	f.rows("%d 0 0", at)
	f.looks(at, 1)
	f.put()
	if err := f.catchUp(); err != nil {
		t.Fatal(err)
	}
	at++
	f.rows("%d 0 0", at) // not flushed
	f.looks(at, 2)

	f.fault = errors.New("the disk says no")
	f.put()
	before, err := f.g.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.catchUp(); !errors.Is(err, f.fault) {
		t.Fatal(err)
	}
	f.rows("%d -1 0", at)
	f.looks(at, 2)
	if n, err := task.ContainerKeys(before.Derived, 1); n != 2 || err != nil {
		t.Errorf("a look that was open has %d keys, %v", n, err)
	}
	if err := errors.Join(before.Close(), f.g.Flush()); err != nil {
		t.Error(err)
	}
	f.rows("%d -1 0", at)
	if err := f.g.Close(); err != nil {
		t.Fatal(err)
	}

	f.fault = nil
	f.open()
	if err := f.catchUp(); err != nil {
		t.Fatal(err)
	}
	at = uint64(len(f.d.Log))
	f.looks(at, 3)
	if err := f.g.Flush(); err != nil {
		t.Error(err)
	}
	f.rows("%d 0 0", at)
	if err := f.g.Close(); err != nil {
		t.Fatal(err)
	}
}

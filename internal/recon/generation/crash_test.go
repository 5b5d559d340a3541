package generation_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	o3v1 "o3/api/o3/v1"
	"o3/internal/consensus"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv/memkv"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/recon/task/tasktest"
)

// disk is what a power cut leaves something of: a file system, and the states of
// the SQLite file since it was last flushed, each of which may be what is left.
type disk struct {
	fs *vfs.MemFS

	mu     sync.Mutex // stores flush by themselves
	states []*tasktest.SQL
}

// latest returns the newest state.
func (d *disk) latest() *tasktest.SQL {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.states[len(d.states)-1]
}

// set makes a state the only one.
func (d *disk) set(s *tasktest.SQL) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.states = []*tasktest.SQL{s}
}

// sqlOn is the SQLite file on a disk.
type sqlOn struct {
	*tasktest.SQL
	d *disk
}

func (s sqlOn) Apply(index uint64, run fsm.Run, add func(func([]byte, task.Counts) error) error) error {
	if err := s.SQL.Apply(index, run, add); err != nil {
		return err
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.states = append(s.d.states, s.SQL.Clone())
	return nil
}

func (s sqlOn) Flush() error {
	s.d.set(s.d.latest())
	return nil
}

func (s sqlOn) SetTasks([]sqltables.TaskStatus) error { return nil }

func (s sqlOn) Close() error { return nil }

func (s sqlOn) Verify(context.Context) error { return nil }

func (s sqlOn) Backup(context.Context, string) error { return nil }

func (s sqlOn) Snapshot(context.Context) (generation.SQLView, error) {
	return sqlView{SQL: s.SQL.Clone()}, nil
}

// sqlView has no names and no file counts: nobody asks for them here.
type sqlView struct {
	*tasktest.SQL
	generation.SQLView
}

func (v sqlView) Index() (uint64, error)           { return v.Cursor() }
func (v sqlView) Stats() (map[string]int64, error) { return v.SQL.Stats(), nil }
func (v sqlView) Close() error                     { return nil }

func (v sqlView) FileCounts(sqltables.Counts, func(sqltables.FileCount) error) error { return nil }

// crash returns what a power cut leaves of a disk.
func (d *disk) crash(rng *rand.Rand) *disk {
	left := &disk{fs: d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})}
	d.mu.Lock()
	defer d.mu.Unlock()
	left.set(d.states[rng.IntN(len(d.states))].Clone())
	return left
}

func (d *disk) open(t *testing.T) *generation.Generation {
	t.Helper()
	g, err := generation.Open(t.Context(), generation.Options{
		Dir: "g", FS: d.fs, CacheBytes: 1 << 20, MemoryBytes: 64 << 10,
		OpenSQL: func(context.Context, string) (generation.SQL, error) {
			return sqlOn{d.latest().Clone(), d}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// history makes a log of random requests.
func history(t *testing.T, rng *rand.Rand, n int) []fsm.Entry {
	t.Helper()
	d := fsmtest.New(t, new(memkv.Store))
	d.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	d.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "tree", Layout: "FSO"})
	for range n {
		switch rng.IntN(5) {
		case 0:
			d.Do(t, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: fmt.Sprintf("d%d", rng.IntN(4)), To: fmt.Sprintf("d%d/x%d", rng.IntN(4), rng.IntN(3))})
		case 1:
			d.Do(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Keys: []*o3v1.DeleteKey{{Key: fmt.Sprintf("d%d/", rng.IntN(4))}}, Recursive: true})
		default:
			data := make([]byte, 1+rng.IntN(2000)) // enough for stores to flush by themselves
			d.Do(t, &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: fmt.Sprintf("d%d/k%d", rng.IntN(4), rng.IntN(50)), Size: uint64(len(data)), Etag: "e",
				Data: data})
		}
	}
	return d.Log
}

// TestPowerCuts: wherever the power fails, each of the three is left at some
// entry, the replica never beyond the others, and the log makes them what they
// would be without.
func TestPowerCuts(t *testing.T) {
	rounds := 30
	if os.Getenv("O3_NIGHTLY") != "" {
		rounds = 1000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	apart := 0
	for range rounds {
		log := history(t, rng, 50+rng.IntN(300))
		d := &disk{fs: vfs.NewCrashableMem(), states: []*tasktest.SQL{tasktest.NewSQL()}}
		g := d.open(t)
		for at := uint64(0); at < uint64(len(log)); {
			n := min(1+uint64(rng.IntN(40)), uint64(len(log))-at)
			var list []consensus.Entry
			for _, e := range log[at : at+n] {
				list = append(list, consensus.Entry{Index: e.Index, Term: e.Term, Requests: e.Requests})
			}
			if err := g.Apply(list); err != nil {
				t.Fatal(err)
			}
			at += n
			switch rng.IntN(6) {
			case 0:
				if err := g.Flush(); err != nil {
					t.Fatal(err)
				}
			case 1, 2:
				left := d.crash(rng)
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				d, g = left, nil
				g = d.open(t)
				if ok, err := g.Built(); err != nil || !ok {
					t.Fatalf("after a crash at entry %d the derived tables are behind the replica at %d: %v", at, g.Position().Index, err)
				}
				if sql, _ := d.latest().Cursor(); sql > g.Position().Index {
					apart++
				}
				at = g.Position().Index
			}
		}
		compare(t, g, d)
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if apart == 0 {
		t.Error("the stores were never apart")
	}
}

// TestRebuildIsCut: a rebuild that was cut, by whoever or by the power, is no
// derived tables; made again it is.
func TestRebuildIsCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	log := history(t, rng, 300)
	d := &disk{fs: vfs.NewCrashableMem(), states: []*tasktest.SQL{tasktest.NewSQL()}}
	g := d.open(t)
	var list []consensus.Entry
	for _, e := range log {
		list = append(list, consensus.Entry{Index: e.Index, Term: e.Term, Requests: e.Requests})
	}
	if err := g.Apply(list); err != nil {
		t.Fatal(err)
	}
	d.set(tasktest.NewSQL())
	for cut := range 12 {
		if err := g.Flush(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		o := task.RebuildOptions{Dir: filepath.Join(t.TempDir(), "s"), Memory: 1 << 12, Progress: func(string, int64) {
			if steps++; steps > cut {
				cancel()
			}
		}}
		_, err := g.Rebuild(ctx, o)
		cut := ctx.Err() != nil
		cancel()
		if cut == (err == nil) {
			t.Fatalf("cut %v: %v", cut, err)
		}
		left := d.crash(rng)
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		d = left
		g = d.open(t)
		if built, err := g.Built(); err != nil || built == cut {
			t.Fatalf("cut %v, yet the tables are there: %v, %v", cut, built, err)
		}
		if !cut {
			compare(t, g, d)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// compare builds the tables of the same replica anew and compares.
func compare(t *testing.T, g *generation.Generation, d *disk) {
	t.Helper()
	v, err := g.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	have, err := tasktest.Print(v.Derived, v.SQL.(sqlView).SQL)
	if err != nil {
		t.Fatal(err)
	}
	tables, sql := new(memkv.Store), tasktest.NewSQL()
	set, err := task.OpenSet(tables, sql, task.All(), v.Rows)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Rebuild(t.Context(), v.Rows, v.At.Index, task.RebuildOptions{Dir: filepath.Join(t.TempDir(), "s")}); err != nil {
		t.Fatal(err)
	}
	want, err := tasktest.Print(tables, sql)
	if err != nil {
		t.Fatal(err)
	}
	if have != want {
		t.Errorf("at index %d the tables are\n%s\nwant\n%s", v.At.Index, have, want)
	}
	stats := v.SQL.(sqlView).SQL.Stats()
	if len(slices.Collect(maps.Keys(stats))) == 0 {
		t.Error("nothing is counted")
	}
}

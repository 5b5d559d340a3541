package recon_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"o3/internal/image"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/staging"
)

// print returns every derived row of a look, but for its cursor.
func printTables(t *testing.T, v *generation.View) string {
	t.Helper()
	var b strings.Builder
	it, err := v.Derived.Iter([]byte{2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x = %x\n", it.Key(), value)
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	stats, err := v.SQL.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(stats)) {
		fmt.Fprintf(&b, "%s = %d\n", name, stats[name])
	}
	err = v.SQL.FileCounts(sqltables.Counts{}, func(c sqltables.FileCount) error {
		fmt.Fprintf(&b, "%d files of %d up to %d\n", c.Count, c.Bucket, c.Limit)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (r *rig) tables() (uint64, string) {
	r.t.Helper()
	v, err := r.View(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	defer v.Close()
	return v.At.Index, printTables(r.t, v)
}

// TestIncrementalIsFull: Law 7 of stages: one made of the generation in force and
// the log, one made of the replica that is here, and one made of an image of the
// OM have the same tables.
func TestIncrementalIsFull(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	o := newOM(t, seed)
	o.work(200)
	r := o.follow(t, filepath.Join(t.TempDir(), "recon"), nil)
	r.settled()
	for range 3 {
		o.work(150)
		var index uint64
		var want string
		for i, kind := range []staging.Kind{staging.Incremental, staging.Local, staging.Full} {
			got, err := r.Trigger(recon.Trigger{Kind: kind})
			if err != nil {
				t.Fatal(err)
			}
			r.settled()
			if name := r.Status().Generation; name != got.StagingID {
				t.Fatalf("%s made %s, %s serves", kind, got.StagingID, name)
			}
			at, text := r.tables()
			if i == 0 {
				index, want = at, text
			} else if at != index || text != want {
				t.Errorf("%s at index %d:\n%s\nwant, at %d:\n%s", kind, at, text, index, want)
			}
		}
	}
}

// TestIncrementalIsRefused: where the log does not reach back to what a stage
// begins with, the stage comes to nothing, and says so.
func TestIncrementalIsRefused(t *testing.T) {
	o := newOM(t, 1)
	o.work(50)
	held := make(chan struct{})
	var hold, ended sync.Once
	at := make(chan struct{})
	var mu sync.Mutex
	var lines []string
	on := false
	r := o.follow(t, filepath.Join(t.TempDir(), "recon"), func(opts *recon.Options) {
		opts.Listener.Applied = func(int, int, time.Duration) {
			mu.Lock()
			now := on
			mu.Unlock()
			if now {
				hold.Do(func() { close(at) })
				<-held
			}
		}
		opts.Listener.Transition = func(tr staging.Transition) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, fmt.Sprintf("%s -> %s %s", tr.From, tr.To, tr.Reason))
		}
	})
	defer ended.Do(func() { close(held) })
	r.settled()
	ends := func(line string) bool { // what is told is told a moment after it is so
		mu.Lock()
		defer mu.Unlock()
		return len(lines) > 0 && strings.HasPrefix(lines[len(lines)-1], line)
	}
	r.eventually(func() bool { return ends("COMMITTED -> NONE") })
	mu.Lock()
	on, lines = true, nil
	mu.Unlock()
	o.work(1)
	<-at // who follows goes no further
	o.work(50)
	o.truncate()
	if _, err := r.Trigger(recon.Trigger{Kind: staging.Incremental}); err != nil {
		t.Fatal(err)
	}
	r.until("the end of the stage", func(recon.Status) bool {
		return r.quiet() && r.Staging().Failures == 1 && ends("ROLLING_BACK -> NONE")
	})
	mu.Lock()
	got := strings.Join(lines, "; ")
	mu.Unlock()
	const want = "NONE -> INITIALIZING INCREMENTAL_STAGING; INITIALIZING -> PROCESSING ; PROCESSING -> ROLLING_BACK REFUSED; ROLLING_BACK -> NONE REFUSED"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if text := r.Staging().LastError; !strings.Contains(text, "LOG_DOES_NOT_REACH_BACK") {
		t.Errorf("the error is %q", text)
	}
	r.check()
	ended.Do(func() { close(held) })
}

// TestRebuildLinksTheReplica: a stage without an image takes no more of the disk
// than its tables: the files of its replica are those of the generation in force.
func TestRebuildLinksTheReplica(t *testing.T) {
	var images atomic.Int64
	o := newOM(t, 1)
	o.work(300)
	dir := filepath.Join(t.TempDir(), "recon")
	r := o.follow(t, dir, func(opts *recon.Options) {
		opts.Staging.Retention = time.Hour
		opts.Sources = []recon.Source{askedForImages{o, &images}}
	})
	r.settled()
	before := r.Status().Generation
	if !r.Reinit() {
		t.Fatal("no stage")
	}
	r.settled()
	tables, err := filepath.Glob(filepath.Join(dir, r.Status().Generation, "replica", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	shared := 0
	for _, path := range tables {
		mine, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := os.Stat(filepath.Join(dir, before, "replica", filepath.Base(path))); err == nil && os.SameFile(mine, theirs) {
			shared++
		}
	}
	if n := images.Load(); n != 1 {
		t.Errorf("the OM was asked for %d images", n)
	}
	if shared == 0 {
		t.Errorf("none of %d table files is shared with %s", len(tables), before)
	}
}

// askedForImages counts how often an OM is asked for an image.
type askedForImages struct {
	*om
	n *atomic.Int64
}

func (a askedForImages) Image(ctx context.Context, dir string, reuse []string, progress func(done, total int64)) (*image.Manifest, error) {
	a.n.Add(1)
	return a.om.Image(ctx, dir, reuse, progress)
}

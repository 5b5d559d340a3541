package recon_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// truth compares the statistics in a look with the rows in the same look.
func truth(v *generation.View) error {
	want := map[string]int64{}
	buckets := map[ns.ObjectID]*schemapb.Bucket{}
	lower, upper := schema.Buckets.All()
	err := schema.Buckets.Scan(v.Rows, lower, upper, func(_ schema.BucketKey, b *schemapb.Bucket) (bool, error) {
		buckets[ns.ObjectID(b.ObjectId)] = b
		return true, nil
	})
	if err != nil {
		return err
	}
	files := int64(0)
	lower, upper = schema.Entries.All()
	err = schema.Entries.Scan(v.Rows, lower, upper, func(k schema.EntryKey, e *schemapb.Entry) (bool, error) {
		switch {
		case e.Kind != o3v1.EntryKind_ENTRY_KIND_KEY:
			want["directoryTable"]++
			return true, nil
		case ns.Layout(buckets[k.Bucket].Layout) == ns.ObjectStore:
			want["keyTable"]++
		default:
			want["fileTable"]++
		}
		files++
		return true, nil
	})
	if err != nil {
		return err
	}
	stats, err := v.SQL.Stats()
	if err != nil {
		return err
	}
	for _, table := range []string{"directoryTable", "keyTable", "fileTable"} {
		if n := want[table]; stats[table+"Count"] != n {
			return fmt.Errorf("%s has %d rows, %d are counted", table, n, stats[table+"Count"])
		}
	}
	counted := int64(0)
	err = v.SQL.FileCounts(sqltables.Counts{}, func(c sqltables.FileCount) error { counted += c.Count; return nil })
	if err == nil && counted != files {
		err = fmt.Errorf("there are %d files, %d are counted by size", files, counted)
	}
	return err
}

// TestFollow: the first image, the log, restarts on both sides.
func TestFollow(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	o, dir := newOM(t, seed), filepath.Join(t.TempDir(), "recon")
	o.work(200)
	r := o.follow(t, dir, nil)
	for range 5 {
		o.work(100)
		r.current()
		r.check()
	}
	before := r.current()
	if before.Syncs != 1 || before.LastSync.Reason != recon.ReasonFirst || before.Generation != "generation-0000000001" {
		t.Errorf("%+v", before)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	o.work(100)
	r = o.follow(t, dir, nil)
	if st := r.current(); st.Syncs != 0 || st.Generation != before.Generation {
		t.Errorf("after a restart: %+v", st)
	}
	r.check()
	o.set(faults{every: 2})
	o.work(300)
	r.until("being current", func(s recon.Status) bool { return s.Index >= o.index() })
	o.set(faults{down: true})
	r.until("the OM being away", func(s recon.Status) bool {
		return s.State == recon.StateRetrying && strings.Contains(s.Error, "does not answer")
	})
	r.check()
	o.set(faults{})
	o.work(10)
	if st := r.current(); st.Syncs != 0 || o.images != 1 {
		t.Errorf("errors that pass led to a full sync: %+v", st)
	}
}

// TestReasons: each error that waiting does not cure leads to one new generation,
// and says why; nothing is blank meanwhile.
func TestReasons(t *testing.T) {
	for reason, breakIt := range map[recon.Reason]func(o *om, r *rig) (mend func()){
		recon.ReasonTruncated: func(o *om, r *rig) func() {
			o.set(faults{down: true})
			r.until("the OM being away", func(s recon.Status) bool { return s.State == recon.StateRetrying })
			o.work(50)
			o.truncate()
			o.set(faults{})
			return nil
		},
		recon.ReasonGap:    func(o *om, _ *rig) func() { o.set(faults{gap: o.index() + 20}); return func() { o.set(faults{}) } },
		recon.ReasonDecode: func(o *om, _ *rig) func() { o.set(faults{junk: o.index() + 20}); return func() { o.set(faults{}) } },
		recon.ReasonDigest: func(o *om, _ *rig) func() { o.set(faults{digest: o.index() + 20}); return func() { o.set(faults{}) } },
		recon.ReasonManual: func(_ *om, r *rig) func() { r.Sync(); return nil },
		recon.ReasonRebuild: func(_ *om, r *rig) func() {
			r.Reinit()
			return nil
		},
	} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			o := newOM(t, 1)
			o.work(200)
			var mu sync.Mutex
			var broken []recon.Reason
			r := o.follow(t, filepath.Join(t.TempDir(), "recon"), func(opts *recon.Options) {
				opts.Listener.Broken = func(reason recon.Reason, _ error) {
					mu.Lock()
					defer mu.Unlock()
					broken = append(broken, reason)
				}
			})
			r.current()
			mend := breakIt(o, r)
			o.work(50)
			if mend != nil {
				r.until("being broken", func(s recon.Status) bool { // or whole again: that may be quick
					return s.State == recon.StateSyncing || s.Failed > 0 || s.Syncs == 2
				})
				r.check()
				mend()
			}
			st := r.until("a new generation", func(s recon.Status) bool { return s.Syncs == 2 })
			if st.LastSync.Reason != reason || st.Generation == "generation-0000000001" {
				t.Errorf("%+v", st.LastSync)
			}
			o.work(50)
			r.current()
			r.check()
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			asked := reason == recon.ReasonManual || reason == recon.ReasonRebuild
			if asked != (len(broken) == 0) || !asked && broken[0] != reason {
				t.Errorf("it was told to be broken by %v", broken)
			}
			if left, _ := filepath.Glob(filepath.Join(o.dir, "..", "recon", "generation-*")); len(left) > 1 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestNeverBlank: readers see an answer at every moment, of one index, whatever
// goes on.
func TestNeverBlank(t *testing.T) {
	o := newOM(t, 2)
	o.work(300)
	r := o.follow(t, filepath.Join(t.TempDir(), "recon"), nil)
	r.current()
	var stop atomic.Bool
	var looks atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := uint64(0)
			for !stop.Load() {
				at := r.check()
				if at < last && r.Status().Syncs < 2 {
					t.Errorf("from index %d back to %d", last, at)
				}
				last = at
				looks.Add(1)
			}
		})
	}
	for i := range 12 {
		before := r.Status().Syncs
		o.work(50)
		if i%4 == 3 { // broken, and what mends it fails at first
			o.set(faults{digest: o.index() + 1, image: errs.New(errs.Unavailable, "om1", "it has no image")})
			o.work(20)
			failed := r.Status().Failed
			r.until("a sync that fails", func(s recon.Status) bool { return s.State == recon.StateSyncing && s.Failed > failed })
			o.set(faults{})
		} else {
			ask := r.Sync
			if i%2 == 0 {
				ask = r.Reinit
			}
			r.until("being asked", func(recon.Status) bool { return ask() })
		}
		r.until("a new generation", func(s recon.Status) bool { return s.Syncs > before })
	}
	stop.Store(true)
	wg.Wait()
	if looks.Load() < 100 {
		t.Errorf("%d looks", looks.Load())
	}
	r.current()
	r.check()
}

// TestDirectory: what cannot be used is refused by name, what a crash left is
// removed, what is damaged is made anew.
func TestDirectory(t *testing.T) {
	o := newOM(t, 3)
	o.work(50)
	dir := filepath.Join(t.TempDir(), "recon")
	r := o.follow(t, dir, nil)
	name := r.current().Generation
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for content, kind := range map[string]errs.Kind{`{"format":2}`: errs.FormatTooNew, `{"format":1,"generation":"../../etc"}`: errs.Corrupt, "x": errs.Corrupt} {
		if err := os.WriteFile(filepath.Join(dir, "current"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := recon.New(recon.Options{Dir: dir, Sources: []recon.Source{o}}).Run(t.Context()); errs.KindOf(err) != kind || !strings.Contains(err.Error(), filepath.Join(dir, "current")) {
			t.Errorf("%s: %v", content, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "current"), fmt.Appendf(nil, `{"format":1,"generation":%q}`, name), 0o600); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(dir, "generation-0000000007")
	if err := os.MkdirAll(filepath.Join(stray, "replica"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "current.new"), []byte("{"), 0o600); err != nil { // the switch was cut
		t.Fatal(err)
	}
	for _, damage := range []string{"derived", "recon.sqlite", "replica"} {
		if err := os.RemoveAll(filepath.Join(dir, name, damage)); err != nil {
			t.Fatal(err)
		}
		r := o.follow(t, dir, nil)
		name = r.current().Generation
		r.check()
		if _, err := os.Stat(stray); err == nil {
			t.Error("what a crash left is still there")
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]bool{}
	left, _ := os.ReadDir(dir)
	for _, e := range left {
		names[e.Name()] = true
	}
	delete(names, "lock")
	if !maps.Equal(names, map[string]bool{"current": true, "staging": true, name: true}) {
		t.Errorf("left: %v", names)
	}
}

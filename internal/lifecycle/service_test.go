package lifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"o3/internal/lifecycle"
)

const hour = time.Hour

// TestScan: what is due goes, in both layouts: keys, directories that it leaves
// empty, multipart uploads; the rest stays, and the next scan is a day later.
func TestScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{Batch: 2})
		r.put("flat", "log/1", "log/2", "log/3", "data/1")
		r.put("tree", "log//", "log/a//", "log/a/1", "log/a/2", "log/b/3", "log/c//", "x//")
		r.upload("flat", "log/u", 2)
		time.Sleep(24 * hour)
		r.put("tree", "log/new")
		time.Sleep(36 * hour)
		for _, b := range []string{"flat", "tree"} {
			logs := age("old", "log/", 2)
			logs.AbortDays = proto.Int32(1)
			r.rules(b, logs, age("x", "x", 9))
		}
		r.start()
		r.await("flat", "tree")
		if got := r.names("flat"); got != "data/1" {
			t.Errorf("flat has %s", got)
		}
		if got := r.names("tree"); got != "log/ log/new x/" {
			t.Errorf("tree has %s", got)
		}
		if c := total(r.state("flat")); c.DeletedKeys != 3 || c.DeletedBytes != 30 || c.AbortedUploads != 1 || c.Skipped != 0 {
			t.Errorf("flat: %v", c)
		}
		if c := total(r.state("tree")); c.DeletedKeys != 3 || c.DeletedDirs != 2 || c.Skipped != 0 {
			t.Errorf("tree: %v", c)
		}
		first := r.state("tree").ScanID
		time.Sleep(23 * hour)
		if r.state("tree").ScanID != first {
			t.Error("the next scan began too early")
		}
		time.Sleep(25 * hour)
		r.await("tree")
		if got := r.names("tree"); got != "log/ x/" || r.state("tree").ScanID == first {
			t.Errorf("a day later tree has %s", got)
		}
		r.end()
		r.sound()
		if len(r.failed) > 0 {
			t.Error(r.failed)
		}
	})
}

// TestTimeline: 200 days of a bucket with daily data and a 30-day rule: it holds
// exactly the keys it should on every day.
func TestTimeline(t *testing.T) {
	for _, bucket := range []string{"flat", "tree"} {
		t.Run(bucket, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, lifecycle.Options{Interval: hour, LeadInterval: 10 * time.Minute, LookInterval: hour})
				r.rules(bucket, age("30", "", 30))
				r.start()
				var have []string // by day
				for d := range 200 {
					time.Sleep(6 * hour)
					name := time.Now().UTC().Format("2006/01/02/") + "x"
					r.put(bucket, name)
					have = append(have, name)
					time.Sleep(17 * hour)
					// A key of day n is 30 days old on day n+30 at 6:00, and goes on day n+31.
					want := have[max(0, d-30):]
					if got := r.entries(bucket); countKeys(got) != len(want) || !hasAll(got, want) {
						t.Fatalf("day %d: %d keys, want %d from %s on", d, countKeys(got), len(want), want[0])
					}
					time.Sleep(hour)
				}
				r.end()
				r.sound()
			})
		})
	}
}

func countKeys(m map[string]entry) (n int) {
	for _, e := range m {
		if !e.dir {
			n++
		}
	}
	return n
}

func hasAll(m map[string]entry, names []string) bool {
	for _, n := range names {
		if _, ok := m[n]; !ok {
			return false
		}
	}
	return true
}

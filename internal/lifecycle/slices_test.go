package lifecycle_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"o3/internal/lifecycle"
)

// TestSlices: what a slice found is dealt with before it ends; the next goes on
// where it was, though nothing was saved, unless the scan is another.
func TestSlices(t *testing.T) {
	const n = 600
	fill := func(t *testing.T) *rig {
		r := newRig(t, lifecycle.Options{Slice: -1})
		for i := range n {
			r.put("flat", fmt.Sprintf("k%03d", i))
		}
		time.Sleep(48 * hour)
		return r
	}
	synctest.Test(t, func(t *testing.T) {
		r := fill(t)
		r.rules("flat", age("far off", "", 1000), age("some", "k1", 1))
		r.start()
		r.await("flat")
		r.end()
		if c := total(r.state("flat")); c.DeletedKeys != 100 || r.looked != n {
			t.Errorf("%v, %d rows looked at", c, r.looked)
		}
		if s := r.state("flat"); s.Sequence != 2 { // at the end of the first slice, and of the scan
			t.Errorf("%v", s)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := fill(t)
		r.rules("flat", age("far off", "", 1000))
		turns := 0
		r.o.Listener.Turned = func(lifecycle.Turn) {
			if turns++; turns == 2 { // it began, and had a slice
				r.rules("flat", age("all", "", 1))
			}
		}
		r.start()
		r.await("flat")
		r.end()
		if got := r.names("flat"); got != "" || r.began != 2 {
			t.Errorf("%d scans began, left: %.100s", r.began, got)
		}
	})
}

// TestJumps: what lies between the prefixes of rules is passed over, and nothing
// else: not a directory whose turn is right after it.
func TestJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, lifecycle.Options{})
		r.put("tree", "a/1", "b/1", "b/2", "b/3", "m/n//", "m/o/x", "p//", "z//", ".Trash/x/y")
		time.Sleep(48 * hour)
		r.rules("tree", age("a", "a/", 1), age("m", "m/", 1), age("p", "p", 1))
		r.start()
		r.await("tree")
		r.end()
		if got := r.names("tree"); got != ".Trash/x/y b/1 b/2 b/3 z/" {
			t.Errorf("left: %s", got)
		}
	})
}

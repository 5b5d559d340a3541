package delta_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"o3/internal/errs"
	"o3/internal/kv/kvtest"
)

// TestRandom runs random histories of everything that touches a bucket, with
// snapshots made and deleted, purges, reclaims and restores in between, and
// computes the diff of every two of its snapshots and the live bucket, in both
// directions and in every way; see rig.diff. O3_SEED=n replays;
// O3_NIGHTLY=1 runs for minutes.
func TestRandom(t *testing.T) {
	seed := kvtest.Seed(t)
	n, limit := 45, 5*time.Second
	if os.Getenv("O3_NIGHTLY") != "" {
		n, limit = 1<<30, 5*time.Minute
	}
	ran, diffs := 0, 0
	kinds := map[string]int{}
	few := func() bool { // however slow the machine is, enough is seen
		return slices.ContainsFunc([]string{"+", "-", "M", "R", "aside"}, func(k string) bool { return kinds[k] < 20 })
	}
	for start := time.Now(); (ran < n && time.Since(start) < limit || ran < 1000 && few()) && !t.Failed(); ran++ {
		rng := rand.New(rand.NewPCG(seed+uint64(ran), 7))
		r := newRig(t)
		h := &history{rig: r, rng: rng}
		h.run([]string{"OBS", "FSO", "FSO"}[ran%3])
		for from := range r.ops {
			for to := range r.ops {
				plain, ordered := r.diff(from, to)
				diffs++
				for _, e := range plain {
					kinds[e.Type]++
				}
				for _, e := range ordered {
					if len(e.TargetPath) > 7 && e.TargetPath[:7] == ".o3tmp-" {
						kinds["aside"]++
					}
				}
			}
		}
		if t.Failed() {
			t.Logf("history %d failed: O3_SEED=%d runs it first\n%s", ran, seed+uint64(ran), h.lines)
		}
	}
	t.Logf("%d histories, %d diffs, %v", ran, diffs, kinds)
	if few() {
		t.Error("the test has lost its reach")
	}
}

type history struct {
	*rig
	rng   *rand.Rand
	lines string
}

var letters = []string{"a", "b", "c"}

func (h *history) name() string { return letters[h.rng.IntN(len(letters))] }

// path returns a path of up to three components, often one that is there.
func (h *history) path(there []string) string {
	if len(there) > 0 && h.rng.IntN(3) > 0 {
		return there[h.rng.IntN(len(there))]
	}
	p := h.name()
	for range h.rng.IntN(3) {
		p += "/" + h.name()
	}
	return p
}

func (h *history) run(layout string) {
	h.use("other", "FSO")
	h.use("bucket", layout)
	snaps := 0
	verbs := []string{
		"put", "put", "put", "mv", "mv", "mv", "mv", "mv", "mv", "swap", "swap", "rm", "rmdir", "mkdir", "mkdir", "tag", "untag", "type", "chown", "cp",
		"snapshot", "delete-snapshot", "purge", "reclaim", "restore", "upload", "complete",
	}
	h.line("put a/b x")
	h.line("snapshot s0")
	for range 20 + h.rng.IntN(80) {
		there := slices.Sorted(maps.Keys(h.copyLive()))
		verb := verbs[h.rng.IntN(len(verbs))]
		p := h.path(there)
		names := slices.Sorted(maps.Keys(h.ops))[1:]
		switch verb {
		case "snapshot":
			if len(names) > 4 {
				continue
			}
			snaps++
			p = fmt.Sprint("s", snaps)
		case "delete-snapshot":
			if len(names) < 2 {
				continue
			}
			p = names[h.rng.IntN(len(names))]
		case "restore":
			name := names[h.rng.IntN(len(names))]
			if was := slices.Sorted(maps.Keys(h.seen[name])); len(was) > 0 {
				p = was[h.rng.IntN(len(was))]
				if h.seen[name][p].dir {
					p += "/"
				}
			}
			p = name + " " + p
		case "purge", "reclaim":
			p = fmt.Sprint(1 + h.rng.IntN(5))
		case "swap": // two objects, by way of a third name
			other := h.path(there)
			h.line("mv " + p + " aside")
			h.line("mv " + other + " " + p)
			h.line("mv aside " + other)
			continue
		case "mv":
			if to := h.path(nil); h.rng.IntN(3) > 0 && !slices.Contains(there, to) {
				h.line("mv " + p + " " + to)
				continue
			}
			p += " " + h.path(there)
			if h.rng.IntN(2) == 0 {
				p += " over"
			}
		case "rmdir", "mkdir":
			if layout == "FSO" {
				p += "/"
			}
		case "cp":
			p += " " + h.path(there)
		default:
			p += fmt.Sprint(" v", h.rng.IntN(3))
		}
		h.line(verb + " " + p)
	}
}

func (h *history) line(line string) {
	k := h.do(line)
	h.lines += line
	if k != errs.OK {
		h.lines += " # " + k.String()
	}
	h.lines += "\n"
}

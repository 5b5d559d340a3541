package web_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"testing"
)

func escape(s string) string { return url.QueryEscape(s) }

// work changes the namespace at random.
func (r *rig) work(rng *rand.Rand, n int) {
	buckets := []string{"vol/tree", "vol/flat", "two/tree", "two/flat"}
	path := func() string {
		return fmt.Sprintf("d%d/e%d/k%d", rng.IntN(4), rng.IntN(3), rng.IntN(12))[rng.IntN(3)*3:]
	}
	for range n {
		b := buckets[rng.IntN(len(buckets))]
		switch rng.IntN(20) {
		case 0:
			r.do(fmt.Sprintf("rename %s/d%d/ d%d/", b, rng.IntN(4), rng.IntN(4)))
		case 1:
			r.do(fmt.Sprintf("rename %s/%s %s", b, path(), path()))
		case 2:
			r.do(fmt.Sprintf("delete %s/d%d/", b, rng.IntN(4)))
		case 3, 4:
			r.do(fmt.Sprintf("delete %s/%s", b, path()))
		case 5:
			r.do(fmt.Sprintf("open %s/%s size=%d", b, path(), rng.IntN(1000)))
		case 6:
			r.do(fmt.Sprintf("upload %s/%s size=%d", b, path(), 1+rng.IntN(1000)))
		case 7:
			r.do(fmt.Sprintf("snapshot %s/s%d", b, rng.IntN(3)))
		case 8:
			r.do(fmt.Sprintf("unsnapshot %s/s%d", b, rng.IntN(3)))
		case 9:
			r.do(fmt.Sprintf("mkdir %s/x%d/y%d/", b, rng.IntN(3), rng.IntN(3)))
		case 10:
			if rng.IntN(3) == 0 {
				r.do(fmt.Sprintf("purge limit=%d", 1+rng.IntN(4)))
			}
		case 11:
			r.do(fmt.Sprintf("wait ms=%d", rng.Int64N(3_000_000_000)))
		case 12:
			r.do(fmt.Sprintf("rules %s n=%d on=%d", b, 1+rng.IntN(4), rng.IntN(4)))
		case 13:
			r.do(fmt.Sprintf("scan %s rows=%d", b, rng.IntN(50)))
			r.do(fmt.Sprintf("step %s %s n=%d rows=%d", b, []string{"", "slow", "very_slow"}[rng.IntN(3)], rng.IntN(12), rng.IntN(20)))
		case 14:
			r.do([]string{"unrules " + b, "suspend " + b, "suspend all why", "resume " + b, "resume all", "resume all"}[rng.IntN(6)])
		default:
			r.do(fmt.Sprintf("put %s/%s size=%d container=%d", b, path(), rng.Uint32N(1<<23)>>rng.IntN(24), 1+rng.IntN(4)))
		}
	}
}

// begin makes the buckets that work uses.
func (r *rig) begin() {
	for _, line := range []string{"volume two", "bucket vol/tree FSO", "bucket vol/flat OBS", "bucket two/tree FSO", "bucket two/flat OBS", "bucket two/empty OBS"} {
		if out := r.do(line); out != "" {
			r.t.Fatal(out)
		}
	}
}

// TestTotals: after any history every number of every endpoint is what a plain
// count over the rows finds.
func TestTotals(t *testing.T) {
	rounds := 6
	if os.Getenv("O3_NIGHTLY") == "1" {
		rounds = 200
	}
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("O3_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("O3_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t)
	r.digest, r.o.Images = true, images
	r.serve()
	r.begin()
	for i := range rounds {
		r.work(rng, 150)
		r.catchUp()
		v := r.look()
		count(t, v).examineAll(r)
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("in round %d", i)
		}
	}
}

package freon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestHistogram: percentiles agree with those of the sorted durations, within
// the width of a bucket.
func TestHistogram(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	all, half := new(histogram), new(histogram)
	var sorted []time.Duration
	for i := range 20_000 {
		d := time.Duration(rng.Uint64N(1 << (1 + rng.Uint64N(36))))
		sorted = append(sorted, d)
		if i%2 == 0 {
			all.add(d)
		} else {
			half.add(d)
		}
	}
	all.merge(half)
	slices.Sort(sorted)
	for _, q := range []float64{0, .001, .1, .5, .9, .99, .999, 1} {
		want := sorted[max(0, int(q*float64(len(sorted)))-1)]
		got := all.at(q)
		if diff := float64(got-want) / float64(max(want, 1)); diff > .016 || diff < -.016 {
			t.Errorf("at %v: %v, want %v", q, got, want)
		}
	}
	if all.max != sorted[len(sorted)-1] || all.at(1) > all.max || all.n != 20_000 {
		t.Errorf("max %v, at(1) %v, n %d", all.max, all.at(1), all.n)
	}
	var sum time.Duration
	for _, d := range sorted {
		sum += d
	}
	if all.mean() != sum/20_000 {
		t.Errorf("mean %v, want %v", all.mean(), sum/20_000)
	}
}

func TestHistogramEdges(t *testing.T) {
	h := new(histogram)
	if h.at(.5) != 0 || h.mean() != 0 {
		t.Error("an empty histogram has percentiles")
	}
	h.add(-time.Second) // a clock that went back
	h.add(1000 * time.Hour)
	if h.at(0) != 0 || h.at(1) < 70*time.Minute {
		t.Errorf("%v to %v", h.at(0), h.at(1))
	}
	for d := time.Duration(1); d < 1<<topBits; d += d/3 + 1 { // buckets are in order and hold their middle
		b := bucketOf(d)
		if bucketOf(middle(b)) != b || bucketOf(d-1) > b {
			t.Fatalf("%v: bucket %d with middle %v", d, b, middle(b))
		}
	}
}

// TestContent: the bytes of a key depend on seed, size and number alone, in
// whatever pieces they are taken, and every change of them is noticed.
func TestContent(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newContent(seed, Sizes{0, 3 << 20}, false)
	again := newContent(seed, Sizes{0, 3 << 20}, false)
	other := newContent(seed+1, Sizes{0, 3 << 20}, false)
	for range 50 {
		n := rng.Uint64N(1 << 40)
		b := c.of(n)
		data := b.bytes()
		if int64(len(data)) != b.size || !bytes.Equal(data, again.of(n).bytes()) {
			t.Fatalf("key %d is not always the same", n)
		}
		if o := other.of(n); o.size == b.size && bytes.Equal(o.bytes(), data) && len(data) > 0 {
			t.Fatalf("key %d does not depend on the seed", n)
		}
		if sum := sha256.Sum256(data); c.sum(b) != hex.EncodeToString(sum[:]) {
			t.Fatalf("key %d: wrong sum", n)
		}
		for at := 0; at < len(data); {
			end := min(len(data), at+1+rng.IntN(100_000))
			if b.differs(int64(at), data[at:end]) >= 0 {
				t.Fatalf("key %d does not match itself at %d", n, at)
			}
			at = end
		}
		if len(data) > 0 {
			flipped := rng.IntN(len(data))
			data[flipped] ^= 1 << rng.IntN(8)
			for _, from := range []int{0, rng.IntN(flipped + 1), flipped} {
				if at := b.differs(int64(from), data[from:]); at != int64(flipped) {
					t.Fatalf("key %d: bit flipped at %d, found at %d", n, flipped, at)
				}
			}
		}
		if b.differs(b.size, []byte{0}) != b.size {
			t.Fatalf("key %d: a byte too many was not noticed", n)
		}
	}
	fixed := newContent(seed, Sizes{100, 100}, false)
	b := fixed.of(7)
	sum := sha256.Sum256(b.bytes())
	if want := hex.EncodeToString(sum[:]); fixed.sum(b) != want || fixed.sum(b) != want {
		t.Error("the remembered sum is wrong")
	}
	if zero := newContent(seed, Sizes{5, 5}, true); !bytes.Equal(zero.of(3).bytes(), make([]byte, 5)) {
		t.Error("zeros are not zero")
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]string{
		"4KB": "4KB", "4096": "4KB", "0": "0B", "1-3MB": "1B-3MB", "5GB": "5GB", "1000": "1000B", "0-1KiB": "0B-1KB",
	} {
		var s Sizes
		if err := s.UnmarshalText([]byte(text)); err != nil || s.String() != want {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 1234 66 0 0 20 0 5 0 100 1000 10"
	if d, err := parseStat(line); err != nil || d != 13*time.Second {
		t.Errorf("%v, %v", d, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 66 0 0"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestCountAcross(t *testing.T) {
	const text = "<Key>a</Key><Key><Key>b<Ke<Key>"
	for cut1 := range len(text) + 1 {
		for cut2 := cut1; cut2 <= len(text); cut2++ {
			var tail []byte
			n := int64(0)
			for _, p := range []string{text[:cut1], text[cut1:cut2], text[cut2:]} {
				n += keyCount(&tail, []byte(p))
			}
			if n != 4 {
				t.Fatalf("cut at %d and %d: %d keys", cut1, cut2, n)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	var m Mix
	if err := m.UnmarshalText([]byte("a=1, c=3")); err != nil {
		t.Fatal(err)
	}
	upTo, err := m.schedule([]string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	counts := make([]int, 3)
	for i := range uint64(400) {
		counts[choose(upTo, i)]++
	}
	if !slices.Equal(counts, []int{100, 0, 300}) {
		t.Errorf("%v", counts)
	}
}

package freon

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width grows with the duration:
// 64 per power of two, so that a percentile is right within 0.8 %. Durations
// beyond about 73 minutes count as that. It belongs to one goroutine.
type histogram struct {
	counts [buckets]uint64
	n      uint64
	sum    time.Duration
	max    time.Duration
}

const (
	subBits = 6
	sub     = 1 << subBits // buckets per power of two
	topBits = 42           // of the largest duration, in nanoseconds
	buckets = (topBits - subBits + 1) * sub
)

// bucketOf returns the bucket of d.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v >= 1<<topBits {
		return buckets - 1
	}
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return shift*sub + int(v>>shift)
}

// middle returns the duration in the middle of a bucket.
func middle(bucket int) time.Duration {
	if bucket < 2*sub {
		return time.Duration(bucket)
	}
	shift := bucket/sub - 1
	low := uint64(bucket-shift*sub) << shift
	return time.Duration(low + 1<<shift/2)
}

// add counts d.
func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// merge counts all that o counted.
func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// mean returns the average; 0 when nothing was counted.
func (h *histogram) mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// at returns the duration that a share q (0 to 1) of those counted do not
// exceed; 0 when nothing was counted.
func (h *histogram) at(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := uint64(q * float64(h.n))
	if float64(want) < q*float64(h.n) {
		want++
	}
	want = max(want, 1)
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= want {
			return min(middle(i), h.max)
		}
	}
	return h.max
}

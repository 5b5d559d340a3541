package app

import (
	"context"
	"runtime/metrics"
	"testing"
)

func TestHeapPercent(t *testing.T) {
	for _, c := range []struct {
		live, room uint64
		want       int
	}{
		{0, 128 << 20, 400}, {32 << 20, 128 << 20, 400}, {64 << 20, 128 << 20, 200}, {128 << 20, 128 << 20, 100}, {1 << 40, 128 << 20, 100},
		{0, 0, 100}, {0, 16 << 20, 100},
	} {
		if got := heapPercent(c.live, c.room); got != c.want {
			t.Errorf("%d live, room %d: %d %%, want %d", c.live, c.room, got, c.want)
		}
	}
}

// TestPaceHeap: what is set is in force, and what was is again.
func TestPaceHeap(t *testing.T) {
	percent := func() uint64 {
		m := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(m)
		return m[0].Value.Uint64()
	}
	was := percent()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		paceHeap(ctx, 1<<40)
	}()
	wait(t, "the heap has room", func() bool { return percent() > 1000 })
	cancel()
	<-over
	if got := percent(); got != was {
		t.Errorf("%d %%, it was %d", got, was)
	}
}

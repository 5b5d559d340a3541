package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"o3/internal/recon"
)

// heapRoom is how much garbage may gather between two collections. A server's
// heap is small, and its garbage comes fast: as Go does it by itself, the heap
// would be collected many times a second.
const heapRoom = 128 << 20

// heapLook is the time between two looks at the heap.
const heapLook = time.Second

// leastLive bounds what a heap that grows between two looks may become: to
// 1+heapRoom/leastLive times what lives.
const leastLive = 32 << 20

// paceHeap lets room bytes of garbage gather, or as much as lives, if that is
// more, until ctx ends. Of the memory that the process may have, room is an eighth
// at most. A limit of Go's own (GOMEMLIMIT) stays in force.
func paceHeap(ctx context.Context, room uint64) {
	if _, limit := recon.ProcessMemory(); limit > 0 {
		room = min(room, limit/8)
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := heapPercent(0, room)
	defer debug.SetGCPercent(debug.SetGCPercent(set))
	t := time.NewTicker(heapLook)
	defer t.Stop()
	for {
		metrics.Read(live)
		// Each setting stops the world for a moment: small changes are not worth it.
		if want := heapPercent(live[0].Value.Uint64(), room); want < set-set/8 || want > set+set/8 {
			debug.SetGCPercent(want)
			set = want
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// heapPercent is the value of GOGC that lets room bytes gather where live bytes
// live.
func heapPercent(live, room uint64) int {
	return int(max(100, 100*room/max(live, leastLive)))
}

package consensus_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/consensus"
)

// BenchmarkPropose measures a group of one with a trivial machine: requests
// per second at a number of concurrent callers, and how many share a sync.
func BenchmarkPropose(b *testing.B) {
	for _, where := range []string{"memory", "disk"} {
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("%s/%d", where, callers), func(b *testing.B) {
				o := consensus.Options{FS: vfs.NewMem()}
				if where == "disk" {
					o.FS, o.Dir = vfs.Default, b.TempDir()
				}
				var syncs atomic.Int64
				o.Listener.Appended = func(consensus.Append) { syncs.Add(1) }
				n, stop := run(b, o)
				lead(b, n)
				propose(b, n, callers)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
				b.ReportMetric(float64(b.N)/float64(max(1, syncs.Load())), "req/sync")
				if err := stop(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

func propose(b *testing.B, n *consensus.Node, callers int) {
	request := make([]byte, 300)
	ctx := context.Background()
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, callers)
	b.ResetTimer()
	for range callers {
		go func() {
			for left.Add(-1) >= 0 {
				if _, err := n.Propose(ctx, request); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
}

func BenchmarkReadIndexAlone(b *testing.B) {
	n, _ := run(b, consensus.Options{})
	lead(b, n)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.ReadIndex(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

package obs

import (
	"log"
	"log/slog"

	"o3/internal/reclaim"
	"o3/internal/rpc"
)

// Reclaim is what the service that gives space back reports.
func (o *Obs) Reclaim() reclaim.Listener {
	purged := o.Counter("o3_reclaim_purged_rows_total")
	blocks, bytes := o.Counter("o3_reclaim_freed_blocks_total"), o.Counter("o3_reclaim_freed_bytes_total")
	clients, keys := o.Counter("o3_reclaim_expired_clients_total"), o.Counter("o3_reclaim_expired_open_keys_total")
	sweeps, swept := o.Counter("o3_reclaim_sweeps_total"), o.Counter("o3_reclaim_swept_blocks_total")
	return reclaim.Listener{
		Purged: func(rows int) { purged.Add(float64(rows)) },
		Freed: func(n int, size int64) {
			blocks.Add(float64(n))
			bytes.Add(float64(size))
		},
		Expired: func(c, k int) {
			clients.Add(float64(c))
			keys.Add(float64(k))
		},
		Reclaimed: func(rows, freed int, done bool) {
			o.Counter("o3_snapshot_reclaimed_rows_total").Add(float64(rows))
			o.Counter("o3_snapshot_freed_history_rows_total").Add(float64(freed))
			if done {
				o.Counter("o3_snapshots_reclaimed_total").Inc()
			}
		},
		Swept: func(s reclaim.Sweep) {
			sweeps.Inc()
			swept.Add(float64(s.Freed))
			o.Log.Info("reclaim: sweep", "blocks", s.Blocks, "freed", s.Freed)
		},
		Failed: func(task string, err error) {
			o.Counter("o3_reclaim_failures_total", task).Inc()
			o.Log.Warn("reclaim: will be tried again", "task", task, "error", err)
		},
	}
}

// RPCPanic notes a handler that panicked.
func (o *Obs) RPCPanic(c rpc.Call, value any, stack []byte) {
	o.Log.Error("rpc: a handler panicked", "procedure", c.Procedure, "request_id", c.RequestID, "panic", value, "stack", string(stack))
}

// HTTPErrors takes what net/http says of a listener's connections.
func (o *Obs) HTTPErrors(listener string) *log.Logger {
	return slog.NewLogLogger(o.Log.With("listener", listener).Handler(), slog.LevelDebug)
}

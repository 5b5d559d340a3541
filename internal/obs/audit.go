package obs

import "o3/internal/audit"

// Audit is what the audit log reports, as metrics and log lines.
func (o *Obs) Audit() audit.Listener {
	written, rotations := o.Counter("o3_audit_written_total"), o.Counter("o3_audit_rotations_total")
	for _, why := range []audit.Loss{audit.LossFull, audit.LossError, audit.LossClosed} {
		o.Counter("o3_audit_lost_total", string(why)) // shown as 0 from the start
	}
	return audit.Listener{
		Written: func(n int) { written.Add(float64(n)) },
		Lost:    func(why audit.Loss, n int) { o.Counter("o3_audit_lost_total", string(why)).Add(float64(n)) },
		Failed:  func(err error) { o.Log.Error("audit log: write failed", "error", err) },
		Rotated: func(old string, deleted []string) {
			rotations.Inc()
			o.Log.Debug("audit log: new file", "previous", old, "deleted", deleted)
		},
		Torn: func(path string, n int64) {
			o.Log.Warn("audit log: removed the torn last line of a crash", "file", path, "bytes", n)
		},
	}
}

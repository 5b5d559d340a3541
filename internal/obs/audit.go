package obs

import (
	"log/slog"
	"sync"
	"time"

	"o3/internal/audit"
)

// auditQuiet is the time between lines that say that the audit log cannot be
// written.
const auditQuiet = 10 * time.Second

// Audit is what the audit log reports, as metrics and log lines.
func (o *Obs) Audit() audit.Listener {
	written, rotations := o.Counter("o3_audit_written_total"), o.Counter("o3_audit_rotations_total")
	for _, why := range []audit.Loss{audit.LossFull, audit.LossError, audit.LossClosed} {
		o.Counter("o3_audit_lost_total", string(why)) // shown as 0 from the start
	}
	trouble := &auditTrouble{log: o.Log}
	return audit.Listener{
		Written: func(n int) {
			written.Add(float64(n))
			trouble.over()
		},
		Lost:   func(why audit.Loss, n int) { o.Counter("o3_audit_lost_total", string(why)).Add(float64(n)) },
		Failed: trouble.failed,
		Rotated: func(old string, deleted []string) {
			rotations.Inc()
			o.Log.Debug("audit log: new file", "previous", old, "deleted", deleted)
		},
		Torn: func(path string, n int64) {
			o.Log.Warn("audit log: removed the torn last line of a crash", "file", path, "bytes", n)
		},
	}
}

// auditTrouble tells of a disk that refuses the audit log: the first failure
// at once, then one line every auditQuiet that counts those since the last,
// and one when lines are written again. Without it each request would make one.
type auditTrouble struct {
	log *slog.Logger
	mu  sync.Mutex
	on  bool
	all int       // failures since lines were written last
	new int       // of them not told yet
	at  time.Time // of the last line
}

func (t *auditTrouble) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on = true
	t.all++
	t.new++
	if now := time.Now(); now.Sub(t.at) >= auditQuiet {
		t.log.Error("audit log: write failed", "error", err, "failures", t.new)
		t.at, t.new = now, 0
	}
}

func (t *auditTrouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on || time.Since(t.at) < auditQuiet { // a disk that is full to the brim takes a line now and then
		return
	}
	t.log.Info("audit log: lines are written again", "failures", t.all)
	t.on, t.all, t.new, t.at = false, 0, 0, time.Now()
}

package lifecycle

import "time"

// progress is how fast a scan goes on on this node.
type progress struct {
	scan     uint64
	began    time.Time // of the first turn of this scan here
	last     time.Time // of the last change
	first    uint64    // rows that the scan had looked at then
	rows     uint64    // that it has looked at, saved or not
	sequence uint64    // of the last command
	moved    time.Time // when either of the two grew, or the bucket's turn came
}

// perSecond returns the rows looked at in a second; 0: not known.
func (p progress) perSecond() float64 {
	took := p.last.Sub(p.began).Seconds()
	if took <= 0 || p.rows <= p.first {
		return 0
	}
	return float64(p.rows-p.first) / took
}

// show tells those who watch how far the walk has come.
func (r *turn) show() {
	now := time.Now()
	r.s.mu.Lock()
	p := &r.t.progress
	rows := r.state.ScannedRows + r.w.rows - r.counted
	if p.scan != r.state.ScanID {
		*p = progress{scan: r.state.ScanID, began: now, first: rows, moved: now}
	}
	if rows != p.rows || r.state.Sequence != p.sequence {
		p.moved = now
	}
	p.rows, p.last, p.sequence = rows, now, r.state.Sequence
	r.s.mu.Unlock()
	if r.s.o.Listener.Looked != nil {
		if w := r.w; w.rows != r.told.rows || w.dirs != r.told.dirs || w.aborts != r.told.aborts {
			r.s.o.Listener.Looked(int(w.rows-r.told.rows), w.dirs-r.told.dirs, w.aborts-r.told.aborts)
			r.told.rows, r.told.dirs, r.told.aborts = w.rows, w.dirs, w.aborts
		}
	}
	if started := time.UnixMilli(int64(r.state.ScanStartTime)); now.Sub(started) > r.s.o.Timeout && r.t.overdue != r.state.ScanID {
		r.t.overdue = r.state.ScanID
		if r.s.o.Listener.Overdue != nil {
			r.s.o.Listener.Overdue(r.who())
		}
	}
}

// Stalled returns for how long the scan has not moved that has not for the longest
// time, of those whose turn it is; 0: all move.
func (s *Service) Stalled() (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, t := range s.tasks {
		if !t.suspended && (t.running || t.queued || t.failures > 0) {
			longest = max(longest, now.Sub(t.progress.moved))
		}
	}
	return longest
}

package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"o3/internal/bootstrap"
	"o3/internal/errs"
	"o3/internal/progress"
)

// bootstrapShow shows what a bootstrap does: a line for each phase and remark on
// the error stream, with a bar in between; or an object for each event.
type bootstrapShow struct {
	s  *Session
	mu sync.Mutex

	bar  *progress.Bar
	what string // of the bar
	last time.Time
}

func newBootstrapShow(s *Session) *bootstrapShow { return &bootstrapShow{s: s} }

// bootstrapEvent is an event as --json shows it.
type bootstrapEvent struct {
	Event   string          `json:"event"` // begin, end, progress, note
	Phase   bootstrap.Phase `json:"phase,omitempty"`
	TookMs  int64           `json:"took_ms,omitempty"`
	Result  string          `json:"result,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Detail  string          `json:"detail,omitempty"`
	Source  string          `json:"source,omitempty"`
	Image   string          `json:"image,omitempty"`
	Done    int64           `json:"bytes_done,omitempty"`
	Total   int64           `json:"bytes_total,omitempty"`
	Sent    int64           `json:"sent_bytes,omitempty"`
	Reused  int64           `json:"reused_bytes,omitempty"`
	Rate    int64           `json:"bytes_per_second,omitempty"`
	ETAms   int64           `json:"eta_ms,omitempty"`
	Need    int64           `json:"need_bytes,omitempty"`
	Free    int64           `json:"free_bytes,omitempty"`
	Retried string          `json:"error,omitempty"`
}

func (b *bootstrapShow) listener() bootstrap.Listener {
	return bootstrap.Listener{
		Begin:    func(p bootstrap.Phase) { b.event(bootstrapEvent{Event: "begin", Phase: p}, "") },
		End:      b.end,
		Progress: b.progress,
		Note: func(text string, err error) {
			e := bootstrapEvent{Event: "note", Detail: text}
			if err != nil {
				e.Retried = message(err)
				if !strings.Contains(text, e.Retried) {
					text += ": " + e.Retried
				}
			}
			b.event(e, text)
		},
	}
}

// event tells an event: as an object, or the line.
func (b *bootstrapShow) event(e bootstrapEvent, line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.s.JSON {
		_ = b.s.doneAs(e, "") // the summary's error counts
		return
	}
	if line != "" {
		b.clear()
		b.s.remark("%s", line)
	}
}

func (b *bootstrapShow) end(e bootstrap.End) {
	out := bootstrapEvent{Event: "end", Phase: e.Phase, TookMs: e.Took.Milliseconds(), Result: errs.KindOf(e.Err).String(), Detail: e.Detail}
	line := fmt.Sprintf("%s: %s (%v)", e.Phase, first(e.Detail, "done"), e.Took.Round(time.Millisecond))
	if e.Err != nil {
		out.Reason, out.Detail = string(bootstrap.ReasonOf(e.Phase, e.Err)), message(e.Err)
		line = fmt.Sprintf("%s: failed: %s (%v)", e.Phase, out.Reason, e.Took.Round(time.Millisecond))
	}
	b.event(out, line)
}

// progress moves the bar.
func (b *bootstrapShow) progress(p bootstrap.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.s.JSON {
		if time.Since(b.last) < time.Second {
			return
		}
		b.last = time.Now()
		_ = b.s.doneAs(bootstrapEvent{Event: "progress", Phase: p.Phase, Detail: p.What, Source: p.Source, Image: p.Image, Done: p.Done, Total: p.Total,
			Sent: p.Sent, Reused: p.Reused, Rate: p.Rate, ETAms: p.ETA.Milliseconds(), Need: p.Need, Free: p.Free}, "")
		return
	}
	label := string(p.Phase)
	if p.What != "" {
		label += ", " + p.What
	}
	if p.Need > 0 {
		label += fmt.Sprintf(" (%s needed, %s free)", size(uint64(p.Need)), size(uint64(p.Free)))
	}
	if b.bar == nil {
		b.bar = progress.Start(progress.Options{Label: label, Bytes: p.Phase != bootstrap.Synchronization, Unit: "entries", Out: b.s.Stderr, Quiet: b.s.Quiet})
	}
	if label != b.what {
		b.bar.SetLabel(label)
		b.what = label
	}
	b.bar.SetTotal(p.Total)
	b.bar.Set(p.Done)
}

// clear ends the bar; the caller holds mu.
func (b *bootstrapShow) clear() {
	if b.bar != nil {
		b.bar.Close()
		b.bar = nil
	}
}

func (b *bootstrapShow) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
}

package lifecycle

import (
	"fmt"
	"time"

	"o3/internal/errs"
)

// Window is a time of day, UTC, in which scans may work. The zero value is all day.
type Window struct {
	From, To time.Duration // since midnight; To may be before From: over midnight
}

const day = 24 * time.Hour

// ParseWindow reads "22:00-06:00"; "" is all day.
func ParseWindow(text string) (Window, error) {
	if text == "" {
		return Window{}, nil
	}
	var h1, m1, h2, m2 int
	_, err := fmt.Sscanf(text, "%02d:%02d-%02d:%02d", &h1, &m1, &h2, &m2)
	w := Window{
		time.Duration(h1)*time.Hour + time.Duration(m1)*time.Minute,
		time.Duration(h2)*time.Hour + time.Duration(m2)*time.Minute,
	}
	if err != nil || h1 < 0 || m1 < 0 || h2 < 0 || m2 < 0 || m1 > 59 || m2 > 59 || w.From >= day || w.To > day || w.From == w.To || w.String() != text {
		return Window{}, errs.New(errs.Invalid, fmt.Sprintf("window %q", text), "must be two different times of day, UTC, such as 22:00-06:00")
	}
	return w, nil
}

// String returns the window as ParseWindow reads it.
func (w Window) String() string {
	if w == (Window{}) {
		return ""
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", int(w.From.Hours()), int(w.From.Minutes())%60, int(w.To.Hours()), int(w.To.Minutes())%60)
}

// Open reports whether t is in the window.
func (w Window) Open(t time.Time) bool {
	if w == (Window{}) {
		return true
	}
	t = t.UTC()
	at := t.Sub(t.Truncate(day))
	if w.From < w.To {
		return w.From <= at && at < w.To
	}
	return at >= w.From || at < w.To
}

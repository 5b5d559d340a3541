// Package progress shows how long work goes on: a bar that moves on a
// terminal, a plain line every few seconds elsewhere, nothing when quiet.
//
// Start starts one goroutine, which draws; Close ends it and leaves a last
// line. Counting costs an atomic addition, from any goroutine.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Options is the configuration of a Bar.
type Options struct {
	Label string        // what is being done
	Total int64         // of Unit; 0 = unknown, so no share and no ETA
	Bytes bool          // Total and Add count bytes, shown with units
	Unit  string        // what is counted otherwise: keys, files; "" = items
	Share bool          // only the share is known: Total and Set count parts of a whole that nobody is shown
	Out   io.Writer     // nil means standard error
	Quiet bool          // show nothing, as with --json
	Every time.Duration // between plain lines; 0 means 5 s

	width func() int // of the terminal in columns, 0 = not a terminal; tests set it
}

// Bar is work in progress. It is safe for concurrent use.
type Bar struct {
	opts  Options
	start time.Time
	done  atomic.Int64
	total atomic.Int64
	label atomic.Pointer[string]
	stop  chan struct{}
	ended sync.WaitGroup
	once  sync.Once

	// Owned by the goroutine that draws, then by Close.
	speed speed
	drawn int // columns of the line on the terminal
}

// redraw is the time between two pictures on a terminal.
const redraw = 100 * time.Millisecond

// Start shows the beginning of the work. The caller must Close the Bar.
func Start(o Options) *Bar {
	if o.Out == nil {
		o.Out = os.Stderr
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Unit == "" {
		o.Unit = "items"
	}
	if o.width == nil {
		o.width = func() int { return terminalWidth(o.Out) }
	}
	b := &Bar{opts: o, start: time.Now(), stop: make(chan struct{})}
	b.total.Store(o.Total)
	b.label.Store(&o.Label)
	b.speed.add(b.start, 0)
	if o.Quiet {
		return b
	}
	b.ended.Go(b.draw)
	return b
}

// Add counts n more as done.
func (b *Bar) Add(n int64) { b.done.Add(n) }

// Set says how much is done in all.
func (b *Bar) Set(n int64) { b.done.Store(n) }

// SetTotal says how much there is to do, once that is known or when it changes.
func (b *Bar) SetTotal(n int64) { b.total.Store(n) }

// SetLabel says what is being done now.
func (b *Bar) SetLabel(s string) { b.label.Store(&s) }

// Writer returns a writer that counts what is written to w.
func (b *Bar) Writer(w io.Writer) io.Writer { return countingWriter{w, b} }

type countingWriter struct {
	io.Writer
	bar *Bar
}

func (c countingWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.bar.Add(int64(n))
	return n, err
}

// Close shows the end, with the average rate, and stops drawing. Further calls
// do nothing.
func (b *Bar) Close() {
	b.once.Do(func() {
		close(b.stop)
		b.ended.Wait()
		if b.opts.Quiet {
			return
		}
		took := time.Since(b.start)
		line := b.head()
		if !b.opts.Share {
			line += ", " + amount(int64(float64(b.done.Load())/max(took.Seconds(), 1e-3)), b.opts) + "/s"
		}
		line += ", took " + span(took)
		b.put(line, b.opts.width(), true)
	})
}

// draw runs until Close.
func (b *Bar) draw() {
	every := b.opts.Every
	if b.opts.width() > 0 {
		every = redraw
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-b.stop:
			return
		case now := <-t.C:
			b.speed.add(now, b.done.Load())
			width := b.opts.width()
			b.put(b.picture(width), width, width == 0)
		}
	}
}

// put writes a line: in place on a terminal until the last, else on its own.
func (b *Bar) put(line string, width int, last bool) {
	if width > 0 {
		if utf8.RuneCountInString(line) >= width {
			line = string([]rune(line)[:max(width-1, 1)])
		}
		columns := utf8.RuneCountInString(line)
		line = "\r" + line + strings.Repeat(" ", max(b.drawn-columns, 0))
		b.drawn = columns
	}
	if last {
		line += "\n"
	}
	_, _ = io.WriteString(b.opts.Out, line) // nobody may be looking any more
}

// head is "label: 12 of 40 keys (30%)".
func (b *Bar) head() string {
	done, total := b.done.Load(), b.total.Load()
	s := amount(done, b.opts)
	if total > 0 {
		s += " of " + amount(total, b.opts)
	}
	if !b.opts.Bytes {
		s += " " + b.opts.Unit
	}
	switch {
	case b.opts.Share:
		s = fmt.Sprintf("%d%%", percent(done, max(total, 1)))
	case total > 0:
		s += fmt.Sprintf(" (%d%%)", percent(done, total))
	}
	if label := *b.label.Load(); label != "" {
		s = label + ": " + s
	}
	return s
}

// picture is the head, a bar where there is room for one, rate and ETA.
func (b *Bar) picture(width int) string {
	done, total, rate := b.done.Load(), b.total.Load(), b.speed.rate()
	tail := ", " + amount(int64(rate), b.opts) + "/s"
	if b.opts.Share {
		tail = ""
	}
	switch {
	case total <= 0:
	case done >= total:
		tail += ", finishing"
	case rate > 0:
		tail += ", " + span(time.Duration(min(float64(total-done)/rate, maxETA.Seconds())*float64(time.Second))) + " left"
	case !b.opts.Share:
		tail += ", stalled"
	}
	head := b.head()
	room := width - utf8.RuneCountInString(head) - len(tail) - 4
	if total <= 0 || room < 8 {
		return head + tail
	}
	room = min(room, 40)
	full := room * percent(done, total) / 100
	return head + " [" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + "]" + tail
}

// maxETA bounds what is promised.
const maxETA = 1000 * time.Hour

func percent(done, total int64) int {
	if done >= total {
		return 100
	}
	return int(max(0, float64(done)/float64(total)*100))
}

// amount writes n, with a unit if it is bytes.
func amount(n int64, o Options) string {
	if !o.Bytes || n < 1024 {
		if o.Bytes {
			return fmt.Sprintf("%d B", n)
		}
		return fmt.Sprint(n)
	}
	v, i := float64(n)/1024, 0
	for ; v >= 1023.95 && i < 5; i++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[i])
}

// span writes a duration as people say it: 3.2s, 4m05s, 2h10m.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// speed is the rate over about the last ten seconds.
type speed struct{ points []point }

type point struct {
	at   time.Time
	done int64
}

const speedWindow = 10 * time.Second

func (s *speed) add(at time.Time, done int64) {
	s.points = append(s.points, point{at, done})
	for len(s.points) > 2 && at.Sub(s.points[1].at) >= speedWindow {
		s.points = s.points[1:]
	}
}

// rate is per second; 0 when nothing moved.
func (s *speed) rate() float64 {
	first, last := s.points[0], s.points[len(s.points)-1]
	if took := last.at.Sub(first.at).Seconds(); took > 0 {
		return max(0, float64(last.done-first.done)/took)
	}
	return 0
}

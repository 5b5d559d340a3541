package progress

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"o3/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// work counts step per second for so many seconds of bubble time, in the
// middle of each so that no line is written at the same instant.
func work(b *Bar, step int64, seconds int) {
	for range seconds {
		time.Sleep(550 * time.Millisecond)
		b.Add(step)
		time.Sleep(450 * time.Millisecond)
	}
}

func TestPlainLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := Start(Options{Label: "upload", Total: 100, Unit: "files", Out: &out})
		work(b, 5, 16)
		b.SetLabel("check")
		work(b, 5, 3)
		b.Close()
		b.Close()
		want := `upload: 25 of 100 files (25%), 5/s, 15s left
upload: 50 of 100 files (50%), 5/s, 10s left
upload: 75 of 100 files (75%), 5/s, 5.0s left
check: 95 of 100 files (95%), 5/s, took 19s
`
		if got := out.String(); got != want {
			t.Fatalf("got\n%swant\n%s", got, want)
		}
	})
}

// TestShare: where only the share is known, no amounts and rates are shown.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := Start(Options{Label: "diff", Total: 1000, Share: true, Out: &out})
		time.Sleep(5500 * time.Millisecond)
		b.SetLabel("diff, sorting")
		work(b, 50, 10)
		b.Close()
		want := `diff: 0%
diff, sorting: 20%, 40s left
diff, sorting: 45%, 12s left
diff, sorting: 50%, took 15s
`
		if got := out.String(); got != want {
			t.Fatalf("got\n%swant\n%s", got, want)
		}
	})
}

func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := Start(Options{Label: "get", Total: 10 << 20, Bytes: true, Out: &out, width: func() int { return 80 }})
		work(b, 1<<20, 5)
		synctest.Wait()
		b.Close()
		pictures := strings.Split(strings.TrimPrefix(out.String(), "\r"), "\r")
		if len(pictures) < 40 {
			t.Errorf("%d pictures in five seconds", len(pictures))
		}
		for i, p := range pictures[:len(pictures)-1] {
			if strings.Contains(p, "\n") {
				t.Errorf("picture %d ends its line: %q", i, p)
			}
		}
		for _, p := range pictures {
			if len(strings.TrimSuffix(p, "\n")) >= 80 {
				t.Errorf("wider than the terminal: %q", p)
			}
		}
		middle := pictures[33]
		if !strings.HasPrefix(middle, "get: 3.0 MiB of 10.0 MiB (30%) [====") || !strings.Contains(middle, "left") {
			t.Errorf("after three and a half seconds: %q", middle)
		}
		if last := pictures[len(pictures)-1]; !strings.HasPrefix(last, "get: 5.0 MiB of 10.0 MiB (50%), 1.0 MiB/s, took 5.0s") || !strings.HasSuffix(last, "\n") {
			t.Errorf("the last: %q", last)
		}
	})
}

func TestNarrowTerminalIsNotWrapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := Start(Options{Label: "ä long läbel that does not fit", Total: 10, Out: &out, width: func() int { return 20 }})
		work(b, 1, 3)
		b.Close()
		for p := range strings.SplitSeq(out.String(), "\r") {
			if n := len([]rune(strings.TrimSuffix(p, "\n"))); n >= 20 {
				t.Errorf("%d columns: %q", n, p)
			}
		}
	})
}

func TestStalledAndUnknownTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := Start(Options{Out: &out})
		work(b, 1000, 3)
		time.Sleep(3 * time.Second)
		b.SetTotal(100_000)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		b.Close()
		lines := strings.Split(out.String(), "\n")
		if !strings.HasPrefix(lines[0], "3000 items, ") || strings.Contains(lines[0], "left") {
			t.Errorf("without a total: %q", lines[0])
		}
		if last := lines[len(lines)-3]; !strings.HasSuffix(last, "(3%), 0/s, stalled") {
			t.Errorf("after ten seconds without movement: %q", last)
		}
	})
}

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := Start(Options{Out: &out, Quiet: true})
		work(b, 1, 10)
		b.Close()
		if out.Len() > 0 {
			t.Errorf("quiet, yet %q", out.String())
		}
	})
}

func TestFilesAreNoTerminals(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, w := range []io.Writer{f, null, io.Discard} {
		if n := terminalWidth(w); n != 0 {
			t.Errorf("%T has %d columns", w, n)
		}
	}
}

func TestManyCounters(t *testing.T) {
	b := Start(Options{Out: io.Discard, Every: time.Millisecond, Total: 8000})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			w := b.Writer(io.Discard)
			for range 1000 {
				_, _ = w.Write([]byte{1})
			}
		})
	}
	all.Wait()
	b.Close()
	if n := b.done.Load(); n != 8000 {
		t.Errorf("counted %d", n)
	}
}

func TestAmounts(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1 << 62: "4.0 EiB"} {
		if got := amount(n, Options{Bytes: true}); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0.0s", 9940 * time.Millisecond: "9.9s", 65 * time.Second: "1m05s", 130 * time.Minute: "2h10m"} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

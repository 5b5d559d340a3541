package recon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/schema/schemapb"
)

// TestScripts runs the scenarios of staging, with time that passes when the script
// says so: what is said of each transition is what an operator reads in the log.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/staging", func(t *testing.T, path string) {
		t.Parallel()
		s := &script{t: t, om: newOM(t, 1), dir: filepath.Join(t.TempDir(), "recon"), base: filepath.Join(t.TempDir(), "base"), clock: newClock(), fails: map[string]int{}}
		s.used.Store(50)
		s.free.Store(1 << 40)
		datadriven.RunTest(t, path, s.run)
	})
}

// script is one of them.
type script struct {
	t         *testing.T
	om        *om
	dir, base string
	clock     *clock
	r         *rig
	used      atomic.Uint64 // MiB of memory, of 100
	free      atomic.Uint64 // of the disk

	mu    sync.Mutex
	lines []string
	fails map[string]int // how often what fails
	to    staging.State  // of the last transition that was told of
	held  chan struct{}  // a rebuild waits until it is closed
	at    chan struct{}  // closed when one does
}

func (s *script) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// failing reports whether what fails now.
func (s *script) failing(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[what]--
	return s.fails[what] >= 0
}

func (s *script) options(d *datadriven.TestData) func(*recon.Options) {
	return func(o *recon.Options) {
		o.Generation.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpRename && strings.HasSuffix(op.Path, "/current.new") && s.failing("switch") {
				return syscall.EIO
			}
			return nil
		}))
		o.Staging = recon.StagingOptions{
			Clock: s.clock, Threads: 2, Reserve: 1 << 20,
			Space:  func(string) (free, total uint64, err error) { return s.free.Load(), 1 << 40, nil },
			Memory: func() (used, limit uint64) { return s.used.Load() << 20, 100 << 20 },
		}
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "disabled":
				o.Staging.Disabled = true
			case "fallback":
				o.Staging.Fallback = true
			case "no-retry":
				o.Staging.NoAutoRetry = true
			case "base":
				o.Staging.BasePath = s.base
			case "backoff":
				o.Backoff, _ = time.ParseDuration(a.Vals[0])
				o.MaxBackoff = 24 * time.Hour
			case "retries":
				o.Staging.MaxRetries, _ = strconv.Atoi(a.Vals[0])
			default:
				d.Fatalf(s.t, "start has no %s", a.Key)
			}
		}
		o.Rebuild.Progress = func(string, int64) {
			s.mu.Lock()
			held, at := s.held, s.at
			s.at = nil
			s.mu.Unlock()
			if held == nil {
				return
			}
			if at != nil {
				close(at)
			}
			<-held
		}
		o.Staging.Hooks = recon.TaskHooks{
			OnStagingStart: func(_, task string) error {
				if task == "NSSummaryTask" {
					s.clock.advance(100 * time.Millisecond)
				}
				if s.failing("task " + task) {
					return errs.New(errs.Corrupt, task, "a row cannot be read")
				}
				return nil
			},
			ValidateStagingData: func(_, task string, v *generation.View) error {
				if s.failing("validate " + task) {
					return errs.New(errs.Corrupt, task, "the numbers are wrong")
				}
				return truth(v)
			},
		}
		o.Listener = s.listener()
	}
}

// listener writes down what is told.
func (s *script) listener() recon.Listener {
	return recon.Listener{
		Transition: func(t staging.Transition) {
			line := fmt.Sprintf("%s %s -> %s %v", strings.TrimPrefix(t.StagingID, "generation-00000000"), t.From, t.To, t.Took)
			if t.Attempt > 1 {
				line += fmt.Sprintf(" attempt=%d", t.Attempt)
			}
			for _, text := range []string{t.Reason, t.Detail} {
				if text != "" {
					line += " " + s.plain(text)
				}
			}
			s.say("%s", line)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.to = t.To
		},
		Switched: func(from, to string) { s.say("switched from %q to %q", from, to) },
		Breaker: func(_ string, from, to staging.Step, why string) {
			s.say("breaker: %v -> %v %s", from, to, s.plain(why))
		},
		Removed: func(what, path, why string) { s.say("removed %s %s: %s", what, filepath.Base(path), s.plain(why)) },
		Failed:  func(what string, err error) { s.say("failed: %s: %s", s.plain(what), s.plain(err.Error())) },
	}
}

// plain replaces what differs from run to run.
func (s *script) plain(text string) string {
	return strings.NewReplacer(s.dir, "DIR", s.base, "BASE").Replace(text)
}

// run does a command of a script.
func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	if s.r != nil {
		s.r.t = t
	}
	commands := map[string]func(*datadriven.TestData) string{
		"start": s.start, "stop": s.stop, "work": s.work, "current": s.current, "fail": s.fail, "hold": s.hold, "release": s.release, "trigger": s.trigger,
		"await": s.await, "advance": s.advance, "retry": s.retry, "cancel": s.cancel, "rollback": s.rollback, "status": s.status, "ls": s.ls, "log": s.log,
		"following": s.following, "look": s.look, "cut": s.cut, "memory": s.memory, "disk": s.disk, "om": s.source,
	}
	f := commands[d.Cmd]
	if f == nil {
		d.Fatalf(t, "there is no command %s", d.Cmd)
	}
	return f(d)
}

func (s *script) start(d *datadriven.TestData) string {
	s.r = s.om.follow(s.t, s.dir, s.options(d))
	s.t.Cleanup(s.letGo) // before it is stopped
	return ""
}

// letGo lets a rebuild that is held go on.
func (s *script) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
}

func (s *script) stop(*datadriven.TestData) string { return fmt.Sprint(s.r.stop()) }

// cut stops the server while a rebuild is held.
func (s *script) cut(d *datadriven.TestData) string {
	s.r.cancel()
	s.release(d)
	return s.stop(d)
}

func (s *script) work(d *datadriven.TestData) string {
	n := 0
	d.ScanArgs(s.t, "n", &n)
	s.om.work(n)
	return ""
}

func (s *script) source(d *datadriven.TestData) string {
	f := faults{}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "down":
			f.down = true
		case "corrupt":
			f.image = errs.New(errs.Corrupt, "image", "a file has another checksum")
		case "truncate":
			s.om.truncate()
		}
	}
	s.om.set(f)
	return ""
}

// current waits until all of the OM is reflected and no stage is made.
func (s *script) current(*datadriven.TestData) string {
	s.r.current()
	s.idle()
	s.r.check()
	return s.r.Status().Generation
}

func (s *script) idle() {
	s.r.until("no stage", func(recon.Status) bool {
		st := s.r.Staging()
		s.mu.Lock()
		defer s.mu.Unlock()
		return !st.State.Running() && st.Queued == "" && (s.to == "" || s.to == st.State)
	})
}

func (s *script) fail(d *datadriven.TestData) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range d.CmdArgs {
		if a.Key != "times" {
			times := 1
			d.MaybeScanArgs(s.t, "times", &times)
			s.fails[strings.TrimSpace(a.Key+" "+strings.Join(a.Vals, " "))] = times
		}
	}
	return ""
}

func (s *script) hold(*datadriven.TestData) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.at = make(chan struct{}), make(chan struct{})
	return ""
}

func (s *script) release(*datadriven.TestData) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.held)
	s.held = nil
	return ""
}

func (s *script) trigger(d *datadriven.TestData) string {
	q := recon.Trigger{Clean: d.HasArg("clean")}
	kind := ""
	d.MaybeScanArgs(s.t, "kind", &kind)
	q.Kind = staging.Kind(kind)
	d.MaybeScanArgs(s.t, "from", &q.From)
	got, err := s.r.Trigger(q)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s joined=%v queued=%v", got.StagingID, got.Joined, got.Queued)
}

// await waits for a state, for a rebuild that is held, or for a retry to be due.
func (s *script) await(d *datadriven.TestData) string {
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s\n%+v", strings.Join(s.lines, "\n"), s.r.Staging())
		}
	}()
	switch a := d.CmdArgs[0]; a.Key {
	case "held":
		s.mu.Lock()
		at := s.at
		s.mu.Unlock()
		<-at
	case "timer":
		wait, err := time.ParseDuration(a.Vals[0])
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		s.clock.waiting(wait, 1)
	case "resting":
		s.r.until("the breaker holding the stage up", func(recon.Status) bool { return s.r.Resting() })
	case "serving":
		s.r.until("something to answer from", func(st recon.Status) bool { return st.Generation != "" })
	case "state":
		s.r.until(a.Vals[0], func(recon.Status) bool { return string(s.r.StagingState()) == a.Vals[0] })
	case "log":
		want := strings.Join(a.Vals, " ")
		s.r.until("the line "+want, func(recon.Status) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.ContainsFunc(s.lines, func(l string) bool { return strings.Contains(l, want) })
		})
	}
	return ""
}

// advance lets time pass, when so many (1) wait for so long.
func (s *script) advance(d *datadriven.TestData) string {
	by, err := time.ParseDuration(d.CmdArgs[0].Key)
	if err != nil {
		d.Fatalf(s.t, "%v", err)
	}
	waiters := 1
	d.MaybeScanArgs(s.t, "waiters", &waiters)
	s.clock.waiting(by, waiters)
	s.clock.advance(by)
	return ""
}

func (s *script) retry(d *datadriven.TestData) string {
	return fmt.Sprint(s.r.RetryStaging(d.HasArg("clean")))
}

func (s *script) cancel(*datadriven.TestData) string { return fmt.Sprint(s.r.CancelStaging()) }

func (s *script) rollback(*datadriven.TestData) string {
	from, to, err := s.r.Rollback(context.Background())
	if err != nil {
		return err.Error()
	}
	return from + " -> " + to
}

func (s *script) memory(d *datadriven.TestData) string {
	n := uint64(0)
	d.ScanArgs(s.t, "used", &n)
	s.used.Store(n)
	return ""
}

func (s *script) disk(d *datadriven.TestData) string {
	n := uint64(0)
	d.ScanArgs(s.t, "free", &n)
	s.free.Store(n)
	return ""
}

func (s *script) status(*datadriven.TestData) string {
	st := s.r.Staging()
	var b strings.Builder
	fmt.Fprintf(&b, "state %s attempt %d of %d serving %s", st.State, st.Attempt, st.MaxAttempts, s.r.Status().Generation)
	if st.RetryAt != nil {
		fmt.Fprintf(&b, " retry in %v", st.RetryAt.Sub(s.clock.Now()))
	}
	if st.InPlace {
		fmt.Fprint(&b, " in place")
	}
	if st.Phase != "" {
		fmt.Fprintf(&b, " phase %s breaker %s threads %d batch %d", st.Phase, st.Breaker, st.Threads, st.BatchRows)
	}
	fmt.Fprintf(&b, "\noperations %d successful %d failures %d", st.Operations, st.Successful, st.Failures)
	if st.LastError != "" {
		fmt.Fprintf(&b, "\nerror: %s", s.plain(st.LastError))
	}
	if st.Queued != "" {
		fmt.Fprintf(&b, "\nqueued %s", st.Queued)
	}
	if st.Needed != "" {
		fmt.Fprintf(&b, "\nneeded: %s", st.Needed)
	}
	if !st.State.Running() && len(st.TaskProgress) > 0 {
		ended := map[string]int{}
		for _, p := range st.TaskProgress {
			ended[p.State]++
		}
		fmt.Fprintf(&b, "\ntasks of what came to nothing: %v", ended)
	}
	if st.Previous != nil {
		fmt.Fprintf(&b, "\nprevious %s for %v", st.Previous.Generation, st.Previous.Until.Sub(s.clock.Now()))
	}
	for _, k := range st.Kept {
		fmt.Fprintf(&b, "\nkept %s: %s: %s", s.plain(k.Path), k.Reason, s.plain(k.Detail))
	}
	return b.String()
}

// following says whether the OM is followed, and why not.
func (s *script) following(*datadriven.TestData) string {
	st := s.r.Status()
	return fmt.Sprintf("%s %s", st.State, s.plain(st.Error))
}

func (s *script) ls(*datadriven.TestData) string {
	var b strings.Builder
	for _, dir := range []string{s.dir, s.base} {
		names, _ := os.ReadDir(dir)
		for _, e := range names {
			if e.Name() == "lock" {
				continue
			}
			info, err := e.Info()
			if err != nil {
				s.t.Fatal(err)
			}
			kind := ""
			if e.IsDir() {
				kind = "/"
			}
			fmt.Fprintf(&b, "%s %v\n", s.plain(filepath.Join(dir, e.Name()))+kind, info.Mode().Perm())
		}
	}
	return b.String()
}

func (s *script) log(*datadriven.TestData) string {
	s.idle()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.lines, "\n")
	s.lines = nil
	return out
}

// look says what a look answers.
func (s *script) look(*datadriven.TestData) string {
	v, err := s.r.View(context.Background())
	if err != nil {
		return s.plain(err.Error())
	}
	defer v.Close()
	err = truth(v)
	var w *generation.Withheld
	if errors.As(err, &w) {
		names, _, lerr := v.Volumes("", "", 10, func(*schemapb.Volume) bool { return true })
		return fmt.Sprintf("%v; %v; ask again in %v; volumes: %d, %v", errs.KindOf(err), s.plain(w.Why), w.RetryAfter, len(names), lerr)
	}
	if err != nil {
		return s.plain(err.Error())
	}
	return "whole"
}

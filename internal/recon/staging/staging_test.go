package staging_test

import (
	"strings"
	"testing"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/staging"
)

// TestTransitions tries all 64 pairs of states: a record goes from one to the
// other exactly where the table says so, and stays as it was elsewhere.
func TestTransitions(t *testing.T) {
	want := `
		NONE            .X......
		INITIALIZING    ..X...X.
		PROCESSING      ...X..X.
		READY_TO_COMMIT ....X.X.
		COMMITTING      .....XX.
		COMMITTED       X.......
		ROLLING_BACK    X......X
		FAILED          .X......`
	states := staging.States()
	if len(states) != 8 {
		t.Fatalf("%d states", len(states))
	}
	now := time.UnixMilli(10_000)
	for i, line := range strings.Split(strings.TrimSpace(want), "\n") {
		f := strings.Fields(line)
		from := states[i]
		if f[0] != string(from) {
			t.Fatalf("state %d is %s", i, from)
		}
		for j, to := range states {
			r := staging.Record{StagingID: "s", State: from, SinceMs: 4_000, Attempt: 2}
			next, tr, err := r.To(to, "why", "in words", now)
			if allowed := f[1][j] == 'X'; allowed != (err == nil) || allowed != from.CanBecome(to) {
				t.Errorf("%s to %s: %v", from, to, err)
				continue
			}
			if err != nil {
				if errs.KindOf(err) != errs.Conflict || next != r {
					t.Errorf("%s to %s: %v, %+v", from, to, err, next)
				}
				continue
			}
			took := 6 * time.Second
			if from == staging.None || from == staging.Failed {
				took = 0 // nobody was waiting
			}
			if want := (staging.Transition{StagingID: "s", From: from, To: to, Reason: "why", Detail: "in words", Attempt: 2, Took: took}); tr != want {
				t.Errorf("got %+v, want %+v", tr, want)
			}
			if next.State != to || next.SinceMs != 10_000 {
				t.Errorf("%+v", next)
			}
		}
		if from.Running() == (from == staging.None || from == staging.Failed) {
			t.Errorf("%s: running is %v", from, from.Running())
		}
	}
}

// TestBegin: a stage begins from NONE and FAILED only, and takes nothing of the
// one before along but its error.
func TestBegin(t *testing.T) {
	now := time.UnixMilli(10_000)
	for _, from := range staging.States() {
		r := staging.Record{StagingID: "old", State: from, SinceMs: 1, RetryMs: 5, Error: "e", Attempt: 3, Stopped: true}
		next, tr, err := r.Begin(staging.Record{StagingID: "new", Kind: staging.Full, Reason: "R", Detail: "d", Attempt: 1}, now)
		if allowed := from == staging.None || from == staging.Failed; allowed != (err == nil) {
			t.Errorf("from %s: %v", from, err)
		} else if !allowed {
			continue
		}
		want := staging.Record{Format: 1, StagingID: "new", State: staging.Initializing, Kind: staging.Full, Reason: "R", Detail: "d", Attempt: 1,
			StartedMs: 10_000, SinceMs: 10_000, Error: "e"}
		if next != want || tr.From != from || tr.StagingID != "new" || tr.Reason != "R" {
			t.Errorf("got %+v, want %+v; %+v", next, want, tr)
		}
	}
}

// TestRecord: what is written is read again; what is not ours is refused.
func TestRecord(t *testing.T) {
	r := staging.Record{Format: 1, StagingID: "generation-0000000007", State: staging.Failed, Kind: staging.Incremental, Reason: "R", Detail: "d", From: 9, Clean: true, InPlace: true,
		Attempt: 4, StartedMs: 1, SinceMs: 2, RetryMs: 3, Error: "e", Stopped: true}
	raw, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := staging.Decode("f", raw); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
	for text, kind := range map[string]errs.Kind{
		`{"format":2,"state":"NONE"}`: errs.FormatTooNew, `{"format":0,"state":"NONE"}`: errs.Corrupt, `{"format":1,"state":"ELSE"}`: errs.Corrupt, `x`: errs.Corrupt, ``: errs.Corrupt,
	} {
		if _, err := staging.Decode("the file", []byte(text)); errs.KindOf(err) != kind || !strings.Contains(err.Error(), "the file") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestKinds(t *testing.T) {
	kinds := []staging.Kind{staging.Incremental, staging.Local, staging.Full}
	for i, k := range kinds {
		for j, other := range kinds {
			if k.Covers(other) != (i >= j) {
				t.Errorf("%s covers %s: %v", k, other, k.Covers(other))
			}
		}
		if staging.Kind("").Covers(k) {
			t.Error("nothing covers", k)
		}
	}
}

// TestRetries: tries are counted, and what nobody wants is not tried again.
func TestRetries(t *testing.T) {
	now := time.UnixMilli(0)
	p := staging.Retries{Max: 3, Delay: time.Minute}
	for _, c := range []struct {
		p       staging.Retries
		how     staging.Ending
		attempt int
		due     time.Time
		failed  bool
	}{
		{p, staging.EndTask, 1, now.Add(time.Minute), false},
		{p, staging.EndValidation, 3, now.Add(time.Minute), false},
		{p, staging.EndSwitch, 4, time.Time{}, true},
		{p, staging.EndTimeout, 5, time.Time{}, true},
		{p, staging.EndCancelled, 1, time.Time{}, false},
		{p, staging.EndCancelled, 9, time.Time{}, false},
		{p, staging.EndRefused, 1, time.Time{}, false},
		{p, staging.EndRestart, 1, now, false},
		{p, staging.EndRestart, 4, time.Time{}, true},
		{p, staging.EndDisk, 100, now.Add(time.Minute), false},
		{staging.Retries{Off: true, Max: 3}, staging.EndTask, 1, time.Time{}, true},
		{staging.Retries{Off: true, Max: 3}, staging.EndDisk, 1, time.Time{}, true},
		{staging.Retries{Off: true, Max: 3}, staging.EndCancelled, 1, time.Time{}, false},
	} {
		if due, failed := c.p.Next(c.how, c.attempt, now); !due.Equal(c.due) || failed != c.failed {
			t.Errorf("%s after try %d: %v, %v", c.how, c.attempt, due, failed)
		}
	}
	for _, how := range []staging.Ending{staging.EndTask, staging.EndImage, staging.EndCancelled, staging.EndDisk, staging.EndRestart} {
		if how.Keeps() {
			t.Error(how, "is kept")
		}
	}
	if !staging.EndValidation.Keeps() || !staging.EndSwitch.Keeps() {
		t.Error("stages are kept after a failed validation and a failed switch")
	}
}

// TestPlan: what a stage may take follows from the memory, within bounds.
func TestPlan(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		available          uint64
		factor, multiplier float64
		threads, most      int
		want               staging.Limits
	}{
		{0, 0.5, 2, 4, 64 * mib, staging.Limits{Memory: 64 * mib, Threads: 4, Batch: 128}},
		{64 * mib, 0.5, 2, 4, 64 * mib, staging.Limits{Memory: 32 * mib, Threads: 4, Batch: 64}},
		{64 * mib, 0.25, 2, 4, 64 * mib, staging.Limits{Memory: 16 * mib, Threads: 4, Batch: 32}},
		{64 * mib, 0.5, 4, 4, 64 * mib, staging.Limits{Memory: 32 * mib, Threads: 4, Batch: 128}},
		{64 * mib, 0.5, 2, 2, 64 * mib, staging.Limits{Memory: 32 * mib, Threads: 2, Batch: 128}},
		{1, 0.5, 2, 4, 64 * mib, staging.Limits{Memory: staging.MinMemory, Threads: 4, Batch: staging.MinBatch}},
		{1 << 62, 1, 1000, 0, 1 << 36, staging.Limits{Memory: 1 << 36, Threads: 1, Batch: staging.MaxBatch}},
	} {
		if got := staging.Plan(c.available, c.factor, c.multiplier, c.threads, c.most); got != c.want {
			t.Errorf("%+v: got %+v", c, got)
		}
	}
}

// TestBreaker: a step with each look, in both directions; what has failed stays so.
func TestBreaker(t *testing.T) {
	l := staging.Limits{Memory: 1 << 20, Threads: 4, Batch: 256}
	var b staging.Breaker
	var got []string
	look := func(why string) {
		from := b.Look(why)
		w := l.Within(b.Step)
		line := b.Step.String()
		if from != b.Step {
			line = from.String() + ">" + line
		}
		if w.Batch < l.Batch {
			line += " batches"
		}
		if w.Threads < l.Threads {
			line += " threads"
		}
		got = append(got, line)
	}
	for _, why := range []string{"", "x", "x", "x", "", "", "", "", "x"} {
		look(why)
	}
	want := []string{"NONE", "NONE>SMALLER_BATCHES batches", "SMALLER_BATCHES>FEWER_THREADS batches threads", "FEWER_THREADS>PAUSED batches threads",
		"PAUSED>FEWER_THREADS batches threads", "FEWER_THREADS>SMALLER_BATCHES batches", "SMALLER_BATCHES>NONE", "NONE", "NONE>SMALLER_BATCHES batches"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	looks := 0
	for b.Step != staging.StepFailed && looks < 20 {
		b.Look("x")
		looks++
	}
	if looks != 8 { // to the pause, and six more
		t.Errorf("it fails after %d looks", looks)
	}
	if b.Look(""); b.Step != staging.StepFailed {
		t.Error("what has failed goes on")
	}
}

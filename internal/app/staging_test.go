package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"o3/client"
	"o3/internal/admin/stages"
	"o3/internal/audit"
	"o3/internal/obs"
	"o3/internal/recon"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
)

var updateStaging = flag.Bool("update-staging", false, "write testdata/staging_api.txt")

// What differs from run to run in answers.
var (
	times   = regexp.MustCompile(`"20[0-9-]+T[0-9:.]+Z"`)
	amounts = regexp.MustCompile(`"(diskBytes|memoryBytes|memoryUsed|tookMs|rows|progress|batchRows|[a-zA-Z]+Table)":[0-9.]+`)
	paths   = regexp.MustCompile(`"[^"]*/recon/`)
	tables  = regexp.MustCompile(`"tableRows":\{[^}]*\}`)
	tasks   = regexp.MustCompile(`"taskProgress":\{"([A-Za-z]+)":(\{[^}]*\})(,"[A-Za-z]+":\{[^}]*\})*\}`) // the first one will do
)

func (a answer) plain() string {
	text := times.ReplaceAllString(strings.TrimSpace(string(a.body)), `"TIME"`)
	text = amounts.ReplaceAllString(text, `"$1":N`)
	text = tables.ReplaceAllString(tasks.ReplaceAllString(text, `"taskProgress":{"$1":$2,…}`), `"tableRows":{…}`)
	return fmt.Sprintf("%d %s", a.status, paths.ReplaceAllString(text, `"DIR/`))
}

// asked is a request of the transcript, sent twice and then by many at once.
var asked = []struct{ method, path string }{
	{"GET", "staging/status"}, {"POST", "staging/rollback"}, {"POST", "staging/retry"}, {"POST", "staging/reprocess?kind=local"}, {"POST", "staging/cancel"},
}

// TestStagingStates: what the API answers in each of the eight states, twice in a
// row and to many at once (testdata/staging_api.txt).
func TestStagingStates(t *testing.T) {
	t.Parallel()
	texts := map[staging.State]string{}
	var mu sync.Mutex
	t.Run("states", func(t *testing.T) {
		for _, state := range staging.States() {
			t.Run(string(state), func(t *testing.T) {
				t.Parallel()
				text := stagingTranscript(t, state)
				mu.Lock()
				defer mu.Unlock()
				texts[state] = text
			})
		}
	})
	var all strings.Builder
	for _, state := range staging.States() {
		fmt.Fprintf(&all, "## %s\n%s\n", state, texts[state])
	}
	file := filepath.Join("testdata", "staging_api.txt")
	if *updateStaging {
		if err := os.WriteFile(file, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := strings.Split(all.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(wanted)) {
		if i >= len(got) || i >= len(wanted) || got[i] != wanted[i] {
			t.Fatalf("line %d is\n%s\n%s has\n%s\ngo test ./internal/app -run TestStagingStates -update-staging writes it anew", i+1, strings.Join(got[i:min(i+3, len(got))], "\n"), file, strings.Join(wanted[min(i, len(wanted)):min(i+3, len(wanted))], "\n"))
		}
	}
}

// stagingTranscript has a server's stage held in a state, and asks it everything.
func stagingTranscript(t *testing.T, state staging.State) string {
	s, g := staged(t, "ozone.recon.staging.auto.retry.enabled=false", "ozone.recon.staging.health.check.interval.seconds=1h")
	idle := state == staging.None || state == staging.Failed
	if state == staging.Failed || state == staging.RollingBack {
		g.failing(errPlanted)
	}
	switch {
	case state == staging.Failed:
		s.trigger(staging.Local)
		wait(t, "the stage has failed, and is over", func() bool {
			_, _, err := s.node.recon.service.Rollback(t.Context())
			return s.stage().State == state && err != nil && strings.Contains(err.Error(), "is kept")
		})
	case !idle:
		held, release := g.arm(t, state)
		defer release()
		s.trigger(staging.Local)
		held()
	}
	var out strings.Builder
	begun := func() {}
	if idle { // what is begun now is held, so that the answers are always the same
		held, release := g.arm(t, staging.Initializing)
		defer release()
		begun = held
	}
	for _, q := range asked {
		ask := func() string {
			a, err := s.ask(s.root, "o3", q.method, s.Recon+stages.Prefix+q.path, nil)
			if err != nil {
				t.Error(err)
			}
			return a.plain()
		}
		for range 2 {
			text := ask()
			fmt.Fprintf(&out, "%s %s\n  %s\n", q.method, q.path, text)
			if idle && (strings.HasPrefix(text, "200 "+stages.RetryBegun) || strings.HasPrefix(text, "202 ")) {
				begun()
				begun = func() {}
			}
		}
		answers := make([]string, 8)
		var many sync.WaitGroup
		for i := range answers {
			many.Go(func() { answers[i] = ask() })
		}
		many.Wait()
		slices.Sort(answers)
		fmt.Fprintf(&out, "8 times at once\n  %s\n", strings.Join(slices.Compact(answers), "\n  "))
	}
	return out.String()
}

// TestStagingRights: only admins may; all that would change something is recorded,
// done or refused; and questions must be well-formed.
func TestStagingRights(t *testing.T) {
	t.Parallel()
	s, _ := staged(t)
	ann := s.user("ann", "user")
	before := s.sync().Generation
	for _, path := range stages.Paths() {
		method := "POST"
		if strings.HasSuffix(path, "status") {
			method = "GET"
		}
		for who, c := range map[string]struct {
			as   client.Credentials
			want int
		}{"nobody": {want: 401}, "ann": {ann, 403}, "a stranger": {client.Credentials{AccessKey: "x", SecretKey: "y"}, 401}} {
			if a, err := s.ask(c.as, "o3", method, s.Recon+path, nil); err != nil || a.status != c.want {
				t.Errorf("%s, %s: %v %v", who, path, a, err)
			}
		}
		if a, err := s.ask(s.root, "o3", "PUT", s.Recon+path, nil); err != nil || a.status != 405 || a.header.Get("Allow") != method {
			t.Errorf("%s: %v %v", path, a, err)
		}
		if a, err := s.ask(s.root, "o3", method, s.Recon+path+"?bogus=1", nil); err != nil || a.status != 400 {
			t.Errorf("%s: %v %v", path, a, err)
		}
	}
	for path, want := range map[string]int{
		"staging/reprocess?kind=other": 400, "staging/reprocess?clean=perhaps": 400, "staging/reprocess?from=3": 400, "staging/reprocess?kind=incremental&from=x": 400,
		"staging/reprocess?kind=incremental&from=99999999": 400, "staging/retry?clean=1": 400, "recon/backup": 400, "recon/backup?path=relative": 400, "staging/nothing": 404,
		"recon/backup?path=/x&path=/y": 400,
	} {
		if a := s.post(path); a.status != want {
			t.Errorf("%s: %v", path, a)
		}
	}
	for path, says := range map[string]string{
		"staging/reprocess?kind=other": `kind","detail":"\"OTHER\": a stage is FULL, LOCAL or INCREMENTAL`, "staging/reprocess?clean=perhaps": `clean","detail":"\"perhaps\": it is true or false`,
		"staging/retry?clean=1": `clean","detail":"\"1\": it is`, "staging/reprocess?kind=incremental&from=x": `from","detail":"\"x\": it is the index`,
		"staging/cancel?why=1": `why","detail":"there is no such parameter; there are: none`,
	} {
		if a := s.post(path); a.status != 400 || !strings.Contains(string(a.body), says) {
			t.Errorf("%s: %v %s", path, a, a.body)
		}
	}
	if st := s.stage(); s.sync().Generation != before || st.State != staging.None || st.Operations != 1 {
		t.Errorf("something was done: %+v", st)
	}
	for path, want := range map[string]string{"reprocess?kind=local": "Reprocess", "cancel": "Cancel", "retry": "Retry", "rollback": "Rollback"} {
		s.post("staging/" + path)
		wait(t, path+" is recorded", func() bool {
			r := s.records(s.node.cfg.Audit.Path, audit.Query{Action: "recon:Staging" + want})
			byAnn, byRoot, byNobody := false, false, false
			for _, one := range r {
				byAnn = byAnn || one.Principal == "ann" && one.Result == "denied" && one.Detail != ""
				byRoot = byRoot || one.Principal == "root" && one.RequestID != "" && one.From != "" && (one.Result == "ok" || one.Detail != "")
			}
			for _, one := range r {
				byNobody = byNobody || one.Principal == "" && one.Result == "unauthenticated" && one.Detail != ""
			}
			return byAnn && byRoot && byNobody
		})
	}
	done := s.records(s.node.cfg.Audit.Path, audit.Query{Action: "recon:StagingReprocess"})
	if last := done[len(done)-1]; last.Result != "ok" || last.Params["kind"] != "local" {
		t.Errorf("%+v", last)
	}
}

// TestStagingRollback: the generation before is in force again at once, and
// brought up to date; a second rollback undoes the first. Nobody who asks
// meanwhile is refused.
func TestStagingRollback(t *testing.T) {
	t.Parallel()
	s, _ := staged(t)
	first := s.sync().Generation
	s.trigger(staging.Full)
	wait(t, "another one serves", func() bool { return s.sync().Generation != first })
	s.settled()
	second := s.sync().Generation
	if err := s.commit("photos", "b", []byte("1234567")); err != nil {
		t.Fatal(err)
	}
	stop, asking := make(chan struct{}), sync.WaitGroup{}
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a, err := s.ask(s.root, "o3", "GET", s.Recon+"/api/v1/namespace/usage?path=/s3v/photos", nil); err != nil || a.status != 200 {
					t.Errorf("%v %v", a, err)
					return
				}
			}
		})
	}
	for i, want := range []stages.Rolled{{From: second, To: first}, {From: first, To: second}} {
		var got stages.Rolled
		a := s.post("staging/rollback")
		if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 || got != want {
			t.Fatalf("%d: %v %v", i, a, err)
		}
		if s.sync().Generation != want.To {
			t.Errorf("%d: %+v", i, s.sync())
		}
		s.agrees(s, "photos") // also what was written since
	}
	close(stop)
	asking.Wait()
	if n := s.metric("o3_recon_rollback_seconds_count"); n != 2 {
		t.Errorf("%v rollbacks", n)
	}
}

// TestStagingHealth: the component in each state; no state makes the server not
// ready.
func TestStagingHealth(t *testing.T) {
	t.Parallel()
	s, g := staged(t, "ozone.recon.staging.auto.retry.enabled=false")
	look := func(want, says string) {
		t.Helper()
		for _, url := range []string{s.OM, s.Recon} {
			var state obs.State
			a, err := s.ask(client.Credentials{}, "", "GET", url+"/healthz", nil)
			if err != nil || a.status != 200 || json.Unmarshal(a.body, &state) != nil {
				t.Fatal(a, err)
			}
			c := state.Components["staging"]
			if c.Status != want || c.Needed || c.Details["staging"] != says {
				t.Errorf("%s %s: %+v", want, says, c)
			}
			if _, ok := c.Details["progress"].(float64); ok != (says == "in-progress") {
				t.Errorf("%s: %+v", says, c)
			}
			if text, _ := c.Details["error"].(string); (c.Error != "") != (says == "failed") || text != c.Error || c.Error != "" && !strings.Contains(text, "planted") {
				t.Errorf("%s: %+v", says, c)
			}
			if a, err := s.ask(client.Credentials{}, "", "GET", url+"/readyz", nil); err != nil || a.status != 200 {
				t.Errorf("%s: %v %v", says, a, err)
			}
		}
	}
	look("up", "idle")
	g.failing(errPlanted)
	for _, c := range []struct {
		at         staging.State
		want, says string
	}{{staging.Initializing, "unknown", "INITIALIZING"}, {staging.Processing, "up", "in-progress"}, {staging.RollingBack, "unknown", "ROLLING_BACK"}, {staging.Failed, "down", "failed"}} {
		held, release := g.arm(t, c.at)
		s.trigger(staging.Local)
		held()
		look(c.want, c.says)
		release()
		s.settled()
	}
	look("down", "failed")
	g.failing(nil)
	for _, at := range []staging.State{staging.ReadyToCommit, staging.Committing, staging.Committed} {
		held, release := g.arm(t, at)
		s.trigger(staging.Local)
		held()
		if at == staging.Committed {
			look("up", "idle")
		} else {
			look("unknown", string(at))
		}
		release()
		s.settled()
	}
	look("up", "idle")
}

// TestStagingMemoryMetric: the memory that is shown is what a stage takes while it
// fills its tables; none before and none after.
func TestStagingMemoryMetric(t *testing.T) {
	t.Parallel()
	const name = "o3_recon_staging_memory_bytes"
	var mu sync.Mutex
	reading := func() {} // told of each batch of rows that a stage has read
	s := start(t, settings{set: []string{withRecon}, hooks: hooks{recon: func(o *recon.Options) {
		o.Rebuild.Progress = func(string, int64) {
			mu.Lock()
			defer mu.Unlock()
			reading()
		}
	}}})
	s.bucket("photos", "")
	if err := s.commit("photos", "a", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	s.follows(s)
	s.settled()
	most := 0.0
	mu.Lock()
	reading = func() { most = max(most, s.metric(name)) }
	mu.Unlock()
	before := s.metric(name)
	s.trigger(staging.Local)
	s.settled()
	mu.Lock()
	defer mu.Unlock()
	if after, may := s.metric(name), float64(s.node.cfg.Recon.Memory); before != 0 || after != 0 || most <= 0 || most > may {
		t.Errorf("%s: %v before, at most %v of %v while tables were filled, %v after", name, before, most, may, after)
	}
}

// TestStagingMetrics: every metric of the design moves in one scenario: a stage
// that comes into force, and one whose task fails.
func TestStagingMetrics(t *testing.T) {
	t.Parallel()
	var fail sync.Mutex
	failing := false
	g := new(brake)
	s := start(t, settings{set: []string{withRecon, "ozone.recon.staging.auto.retry.enabled=false"}, hooks: hooks{recon: func(o *recon.Options) {
		g.hook(o)
		o.Staging.Hooks.ValidateStagingData = func(_, name string, _ *generation.View) error {
			fail.Lock()
			defer fail.Unlock()
			if failing && name == task.All()[0].Name {
				return errors.New("planted")
			}
			return nil
		}
	}}})
	s.bucket("photos", "")
	if err := s.commit("photos", "a", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	s.follows(s)
	s.settled()
	const p = "o3_recon_staging_"
	counters := []string{p + "seconds_count", p + "switch_seconds_count", p + "operations_total", p + "operations_successful_total", p + "transitions_total", p + "state_seconds_count",
		"o3_recon_task_staging_seconds_count"}
	gauges := []string{p + "progress_percent", p + "disk_bytes", p + "threads", p + "batch_rows", "o3_recon_task_staging_progress_percent", p + "table_rows"}
	before := map[string]float64{}
	for _, name := range counters {
		before[name] = s.metric(name)
	}
	for _, name := range gauges {
		if n := s.metric(name); n != 0 {
			t.Errorf("%s is %v while there is no stage", name, n)
		}
	}
	state := func(want staging.State) {
		t.Helper()
		for _, one := range staging.States() {
			if on := s.metric(p+"state", `state="`+string(one)+`"`) == 1; on != (one == want) {
				t.Errorf("%s: %v for %s", want, on, one)
			}
		}
	}
	state(staging.None)
	held, release := g.arm(t, staging.ReadyToCommit)
	s.trigger(staging.Local)
	held()
	state(staging.ReadyToCommit)
	for _, name := range gauges {
		if s.metric(name) <= 0 {
			t.Errorf("%s does not move", name)
		}
	}
	release()
	s.settled()
	for _, name := range counters {
		if s.metric(name) <= before[name] {
			t.Errorf("%s does not move: %v", name, before[name])
		}
	}
	if s.metric(p+"previous_kept") != 1 {
		t.Error("the previous generation is not shown")
	}
	fail.Lock()
	failing = true
	fail.Unlock()
	s.trigger(staging.Local)
	wait(t, "the stage has failed", func() bool { return s.stage().State == staging.Failed })
	wait(t, "there is an alert", func() bool { return s.metric("o3_recon_alerts_total", `alert="O3ReconStagingFailed"`) > 0 })
	state(staging.Failed)
	for name, label := range map[string]string{
		p + "operations_failures_total": `reason="VALIDATION_FAILED"`, "o3_recon_task_staging_failures_total": `task="` + task.All()[0].Name + `"`,
		p + "kept": "", "o3_recon_alerts_total": `alert="O3ReconStagingFailed"`,
	} {
		if s.metric(name, label) != 1 {
			t.Errorf("%s: %v", name, s.metric(name, label))
		}
	}
}

// TestStagingLog: one line for each transition.
func TestStagingLog(t *testing.T) {
	t.Parallel()
	s, g := staged(t, "ozone.log.format=json", "ozone.recon.staging.auto.retry.enabled=false")
	id := s.trigger(staging.Local).StagingID
	s.settled()
	g.failing(errPlanted)
	failed := s.trigger(staging.Local).StagingID
	wait(t, "the stage has failed, and that is told", func() bool { return s.stage().State == staging.Failed && g.count(staging.Failed) == 1 })
	var got []string
	for line := range strings.Lines(s.log.String()) {
		var l struct {
			Msg, Level, StagingID, From, To, Reason, Detail string
			Duration                                        any
		}
		if json.Unmarshal([]byte(line), &l) != nil || l.Msg != "recon: staging" || l.StagingID != id && l.StagingID != failed {
			continue
		}
		if l.Duration == nil {
			t.Errorf("%s", line)
		}
		got = append(got, strings.Join([]string{l.Level, map[bool]string{true: "1st", false: "2nd"}[l.StagingID == id], l.From, l.To, l.Reason}, " "))
	}
	want := []string{
		"INFO 1st NONE INITIALIZING MANUAL_OM_DB_REBUILD", "INFO 1st INITIALIZING PROCESSING ", "INFO 1st PROCESSING READY_TO_COMMIT ", "INFO 1st READY_TO_COMMIT COMMITTING ",
		"INFO 1st COMMITTING COMMITTED ", "INFO 1st COMMITTED NONE ",
		"INFO 2nd NONE INITIALIZING MANUAL_OM_DB_REBUILD", "INFO 2nd INITIALIZING PROCESSING ", "WARN 2nd PROCESSING ROLLING_BACK VALIDATION_FAILED", "ERROR 2nd ROLLING_BACK FAILED VALIDATION_FAILED",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestStagingBackup: a backup through the API, with its audit line.
func TestStagingBackup(t *testing.T) {
	t.Parallel()
	s, _ := staged(t)
	dir := filepath.Join(t.TempDir(), "backup")
	a := s.post("recon/backup?path=" + dir)
	var sum recon.BackupSummary
	if err := json.Unmarshal(a.body, &sum); err != nil || a.status != 200 || sum.Files == 0 || sum.Index == 0 || sum.Generation != s.sync().Generation {
		t.Fatalf("%v %v", a, err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, recon.BackupFile)); err != nil || !bytes.Contains(raw, []byte(sum.Digest)) {
		t.Errorf("%s %v", raw, err)
	}
	if a := s.post("recon/backup?path=" + dir); a.status != 409 {
		t.Errorf("a second one: %v", a)
	}
	for _, own := range []string{s.node.cfg.Node.DataDir, s.node.cfg.Recon.Dir, s.node.cfg.Block.Dir} {
		if a := s.post("recon/backup?path=" + filepath.Join(own, "backup")); a.status != 400 || !bytes.Contains(a.body, []byte("the server's own directory")) {
			t.Errorf("in %s: %v", own, a)
		}
	}
	wait(t, "it is recorded", func() bool {
		r := s.records(s.node.cfg.Audit.Path, audit.Query{Action: "recon:Backup"})
		return len(r) == 5 && r[0].Result == "ok" && r[0].Params["path"] == dir && r[1].Result == "not empty" && r[2].Result == "invalid"
	})
}

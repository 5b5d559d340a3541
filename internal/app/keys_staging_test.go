package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"o3/internal/config"
	"o3/internal/recon"
	"o3/internal/recon/alert"
	"o3/internal/recon/staging"
	"o3/internal/recon/web"
)

// TestKeyStagingEnabled: with staging what serves goes on; without, tables that
// are rebuilt are refused with the reason, and a time to ask again.
func TestKeyStagingEnabled(t *testing.T) {
	t.Parallel()
	for enabled, want := range map[string]int{"true": 200, "false": 503} {
		s, g := staged(t, "ozone.recon.staging.enabled="+enabled)
		held, release := g.arm(t, staging.Processing)
		id := s.trigger(staging.Local).StagingID
		held()
		a, err := s.ask(s.root, "o3", "GET", s.Recon+web.Prefix+"/namespace/usage?path=/s3v/photos", nil)
		if err != nil || a.status != want {
			t.Errorf("%s: %v %v", enabled, a, err)
		}
		if want == 503 && (a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), id)) {
			t.Errorf("%v %v", a, a.header)
		}
		if st := s.stage(); st.InPlace != (want == 503) {
			t.Errorf("%s: %+v", enabled, st)
		}
		release()
		s.settled()
		s.agrees(s, "photos")
	}
}

func TestKeyStagingBasePath(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "stages")
	s, _ := staged(t, "ozone.recon.staging.base.path="+base)
	if _, err := os.Stat(filepath.Join(base, s.sync().Generation, "replica")); err != nil {
		t.Error(err)
	}
	here, _ := staged(t)
	if !here.reconFile(here.sync().Generation, "replica") {
		t.Error("by default it is in Recon's directory")
	}
}

// TestKeyStagingRetention: the generation before is kept so long.
func TestKeyStagingRetention(t *testing.T) {
	t.Parallel()
	for hours, kept := range map[string]bool{"0": false, "24": true, "100ms": false} {
		s, _ := staged(t, "ozone.recon.staging.cleanup.retention.hours="+hours)
		first := s.sync().Generation
		s.trigger(staging.Local)
		wait(t, "another one serves", func() bool { return s.sync().Generation != first })
		s.settled()
		if !kept {
			wait(t, hours+": it is gone", func() bool { return s.stage().Previous == nil && !s.reconFile(first) })
			continue
		}
		if p := s.stage().Previous; p == nil || p.Generation != first || time.Until(p.Until) < 23*time.Hour || !s.reconFile(first) {
			t.Errorf("%s: %+v", hours, p)
		}
	}
}

// TestKeyStagingTimeout: a stage that takes longer comes to nothing, by itself.
func TestKeyStagingTimeout(t *testing.T) {
	t.Parallel()
	set := []string{"ozone.recon.staging.retry.delay.minutes=10ms", "ozone.recon.staging.max.retry.attempts=1000000", "ozone.recon.staging.timeout.minutes=20ms"}
	takes := 20 * time.Millisecond // longer each time, since machines are busy
	g := new(brake)
	s := start(t, settings{set: append(set, withRecon), hooks: hooks{recon: func(o *recon.Options) {
		g.hook(o)
		o.Staging.Hooks.OnStagingStart = func(string, string) error {
			takes = min(2*takes, 2*time.Second)
			<-time.After(takes)
			return nil
		}
	}}})
	wait(t, "a stage has taken too long", func() bool {
		return s.metric("o3_recon_staging_operations_failures_total", `reason="TIMEOUT"`) > 0
	})
	if st := s.stage(); !strings.Contains(st.LastError, "ozone.recon.staging.timeout.minutes") {
		t.Errorf("%+v", st)
	}
	for given, want := range map[string]time.Duration{"0": -1, "90": 90 * time.Minute, "30s": 30 * time.Second} {
		c, err := config.Load(config.Sources{Data: t.TempDir(), Set: []string{"ozone.recon.staging.timeout.minutes=" + given, "ozone.block.reserve=0"}})
		if err != nil || stagingOptions(c).Timeout != want {
			t.Errorf("%s: %v", given, err)
		}
	}
}

// TestKeyStagingMemory: how much a stage may take follows from what is left.
func TestKeyStagingMemory(t *testing.T) {
	t.Parallel()
	const limit = 64 << 20
	for _, c := range []struct {
		set           []string
		memory, batch int
	}{
		{nil, limit / 2, 64},
		{[]string{"ozone.recon.staging.memory.factor=0.25"}, limit / 4, 32},
		{[]string{"ozone.recon.staging.batch.size.multiplier=8"}, limit / 2, 256},
		{[]string{"ozone.recon.rebuild.memory=1MB"}, 1 << 20, 16},
	} {
		s, g := stagedWith(t, func(o *recon.Options) {
			o.Staging.Memory = func() (used, most uint64) { return 0, limit }
		}, settings{set: c.set})
		held, release := g.arm(t, staging.Processing)
		s.trigger(staging.Local)
		held()
		if st := s.stage(); st.MemoryBytes != c.memory || st.BatchRows != c.batch {
			t.Errorf("%v: %d bytes, batches of %d rows; want %d, %d", c.set, st.MemoryBytes, st.BatchRows, c.memory, c.batch)
		}
		release()
		s.settled()
	}
}

func TestKeyStagingThreads(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]int{
		"ozone.recon.task.thread.count=9": 4, "ozone.recon.staging.thread.pool.size=3": 3,
		"ozone.recon.staging.enabled=false": 2, // in place: ozone.recon.task.thread.count
	} {
		s, g := staged(t, set)
		held, release := g.arm(t, staging.Processing)
		s.trigger(staging.Local)
		held()
		if st := s.stage(); st.Threads != want || s.metric("o3_recon_staging_threads") != float64(want) {
			t.Errorf("%s: %d threads", set, st.Threads)
		}
		release()
		s.settled()
	}
}

// TestKeyStagingRetry: whether, how often and when a stage is tried again.
func TestKeyStagingRetry(t *testing.T) {
	t.Parallel()
	const on, most, delay = "ozone.recon.staging.auto.retry.enabled", "ozone.recon.staging.max.retry.attempts", "ozone.recon.staging.retry.delay.minutes"
	for _, c := range []struct {
		set   []string
		tries int // until it has failed for good; 0: the second one is due in ten minutes
	}{
		{[]string{on + "=false", delay + "=10ms"}, 1}, {[]string{most + "=0"}, 1}, {[]string{most + "=1", delay + "=10ms"}, 2},
		{[]string{delay + "=10ms"}, 4}, {nil, 0},
	} {
		s, g := staged(t, c.set...)
		g.failing(errPlanted)
		before := g.count(staging.Initializing)
		s.trigger(staging.Local)
		if c.tries == 0 {
			wait(t, "it is to be tried again", func() bool { return s.stage().RetryAt != nil })
			if at := time.Until(*s.stage().RetryAt); at < 5*time.Minute || at > 10*time.Minute {
				t.Errorf("%v: in %v", c.set, at)
			}
			continue
		}
		wait(t, fmt.Sprint(c.set, " has failed"), func() bool { return s.stage().State == staging.Failed })
		if n := g.count(staging.Initializing) - before; n != c.tries {
			t.Errorf("%v: %d tries", c.set, n)
		}
	}
}

func TestKeyStagingProgress(t *testing.T) {
	t.Parallel()
	const line = "recon: a stage goes on"
	often, gate1 := staged(t, "ozone.recon.staging.progress.report.interval.seconds=10ms")
	seldom, gate2 := staged(t, "ozone.recon.staging.progress.report.interval.seconds=1h")
	for s, g := range map[*server]*brake{often: gate1, seldom: gate2} {
		held, _ := g.arm(t, staging.Processing)
		s.trigger(staging.Local)
		held()
	}
	wait(t, "it says how far it is", func() bool { return strings.Contains(often.log.String(), line) })
	if strings.Contains(seldom.log.String(), line) {
		t.Error("it says so before the hour is over")
	}
}

// TestKeyStagingHealth: a marker that somebody has changed is put right by the
// next look.
func TestKeyStagingHealth(t *testing.T) {
	t.Parallel()
	often, _ := staged(t, "ozone.recon.staging.health.check.interval.seconds=20ms")
	seldom, _ := staged(t, "ozone.recon.staging.health.check.interval.seconds=1h")
	marker := func(s *server) string { return filepath.Join(s.Data, "recon", "current") }
	good, err := os.ReadFile(marker(often))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*server{often, seldom} {
		if err := os.WriteFile(marker(s), []byte("junk"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "it is put right", func() bool {
		now, err := os.ReadFile(marker(often))
		return err == nil && string(now) == string(good)
	})
	if now, err := os.ReadFile(marker(seldom)); err != nil || string(now) != "junk" {
		t.Errorf("%s %v", now, err)
	}
}

// TestKeyStagingModes: what the modes make of the other keys, and that there is
// one of them.
func TestKeyStagingModes(t *testing.T) {
	t.Parallel()
	const dev, beta, prod, on, fall = "ozone.recon.staging.development.mode", "ozone.recon.staging.beta.mode", "ozone.recon.staging.production.mode", "ozone.recon.staging.enabled", "ozone.recon.staging.fallback.enabled"
	for _, c := range []struct {
		set                string
		disabled, fallback bool
		wrong              []string
	}{
		{set: ""},
		{set: prod + "=true " + on + "=true ozone.recon.staging.monitoring.enhanced=true"},
		{set: dev + "=true", disabled: true},
		{set: dev + "=true " + on + "=false", disabled: true},
		{set: dev + "=true " + on + "=true"},
		{set: dev + "=true " + on + "=true " + fall + "=true", fallback: true},
		{set: beta + "=true", fallback: true},
		{set: beta + "=true " + on + "=true " + fall + "=true", fallback: true},
		{set: beta + "=true " + fall + "=false"},
		{set: beta + "=true " + on + "=false", disabled: true},
		{set: on + "=false", disabled: true},
		{set: prod + "=false " + beta + "=true", fallback: true},
		{set: dev + "=true " + beta + "=true", wrong: []string{dev, beta, "true", "exactly one"}},
		{set: prod + "=true " + beta + "=true", wrong: []string{prod, beta, "true", "exactly one"}},
		{set: prod + "=false", wrong: []string{prod, "false", "no mode is left", "exactly one"}},
		{set: fall + "=true", wrong: []string{fall, "true", prod, beta + " = true"}},
		{set: beta + "=true " + on + "=false " + fall + "=true", wrong: []string{fall, "true", on + " = false"}},
	} {
		conf, err := config.Load(config.Sources{Data: t.TempDir(), Set: append(strings.Fields(c.set), "ozone.block.reserve=0")})
		if c.wrong != nil {
			if err == nil {
				t.Errorf("%s: accepted", c.set)
				continue
			}
			for _, text := range c.wrong {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%s: %v lacks %s", c.set, err, text)
				}
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.set, err)
			continue
		}
		if o := stagingOptions(conf); o.Disabled != c.disabled || o.Fallback != c.fallback {
			t.Errorf("%s: disabled %v, fallback %v", c.set, o.Disabled, o.Fallback)
		}
	}
	for set, inPlace := range map[string]bool{dev + "=true": true, beta + "=true": false, prod + "=true": false} {
		s, g := staged(t, set)
		held, release := g.arm(t, staging.Processing)
		s.trigger(staging.Local)
		held()
		if got := s.stage().InPlace; got != inPlace {
			t.Errorf("%s: in place %v", set, got)
		}
		release()
		s.settled()
	}
}

// TestKeyStagingFallback: a stage that failed for good is made in place, or not.
func TestKeyStagingFallback(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]bool{"ozone.recon.staging.fallback.enabled=true": true, "ozone.recon.staging.fallback.enabled=false": false} {
		s, g := staged(t, "ozone.recon.staging.beta.mode=true", "ozone.recon.staging.auto.retry.enabled=false", set)
		g.failing(errPlanted)
		held, release := g.arm(t, staging.RollingBack)
		s.trigger(staging.Local)
		held()
		g.failing(nil)
		release()
		wait(t, "the stage is over", func() bool {
			st := s.stage()
			return st.State == staging.Failed || st.State == staging.None && st.Successful >= 2
		})
		if st := s.stage(); (st.State == staging.None) != want || st.InPlace != want {
			t.Errorf("%s: %+v", set, st)
		}
	}
}

// TestKeyStagingEnhanced: single tasks and tables are told of, or not.
func TestKeyStagingEnhanced(t *testing.T) {
	t.Parallel()
	for enhanced, want := range map[string]bool{"true": true, "false": false} {
		s, g := staged(t, "ozone.recon.staging.monitoring.enhanced="+enhanced)
		held, release := g.arm(t, staging.ReadyToCommit)
		s.trigger(staging.Local)
		held()
		st, _ := s.told()
		if got := len(st.TableRows) > 0; got != want || len(st.TaskProgress) == 0 {
			t.Errorf("%s: %+v", enhanced, st)
		}
		page := string(s.page("/metrics").body)
		for _, name := range []string{"o3_recon_task_staging_progress_percent{", "o3_recon_task_staging_seconds_count{", "o3_recon_staging_table_rows{"} {
			if got := strings.Contains(page, name); got != want {
				t.Errorf("%s: %s is shown: %v", enhanced, name, got)
			}
		}
		release()
		s.settled()
	}
}

// hook is a webhook that keeps what it is sent.
type webhook struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // alertname status
}

func newWebhook(t *testing.T) *webhook {
	h := new(webhook)
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || len(m.Alerts) != 1 {
			t.Errorf("%v %+v", err, m)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.seen = append(h.seen, m.Alerts[0].Labels["alertname"]+" "+m.Alerts[0].Status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *webhook) has(what string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(strings.Join(h.seen, ","), what)
}

// TestKeyAlertWebhook: a stage that failed for good is told of, and that the next
// one did not. The URL is shown nowhere.
func TestKeyAlertWebhook(t *testing.T) {
	t.Parallel()
	h := newWebhook(t)
	s, g := stagedWith(t, nil, settings{
		set: []string{"ozone.recon.staging.auto.retry.enabled=false"}, env: []string{"OZONE_RECON_ALERT_WEBHOOK_URL=" + h.URL + "/hooks/token-of-mine"},
	})
	g.failing(errPlanted)
	s.trigger(staging.Local)
	wait(t, "the alert is posted", func() bool { return h.has(alert.StagingFailed + " firing") })
	g.failing(nil)
	if a := s.post("staging/retry"); a.status != 200 {
		t.Fatal(a)
	}
	wait(t, "its end is posted", func() bool { return h.has(alert.StagingFailed + " resolved") })
	if n := s.metric("o3_recon_alerts_total", `alert="`+alert.StagingFailed+`"`); n != 2 {
		t.Errorf("%v", n)
	}
	var conf strings.Builder
	if err := s.node.cfg.Dump(&conf); err != nil {
		t.Error(err)
	}
	for what, text := range map[string]string{"log": s.log.String(), "configuration": conf.String(), "metrics": string(s.page("/metrics").body)} {
		if strings.Contains(text, "token-of-mine") {
			t.Errorf("the %s shows the URL", what)
		}
	}
	for _, url := range []string{"ftp://x/", "hook", "http://"} {
		_, err := config.Load(config.Sources{Data: t.TempDir(), Env: []string{"OZONE_RECON_ALERT_WEBHOOK_URL=" + url}})
		if err == nil || !strings.Contains(err.Error(), "ozone.recon.alert.webhook.url") || strings.Contains(err.Error(), url+" ") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestKeyAlertLag: an OM that is silent for so long is an alert, and that it is
// back is its end.
func TestKeyAlertLag(t *testing.T) {
	t.Parallel()
	om := start(t, settings{})
	look := "ozone.recon.staging.health.check.interval.seconds=20ms"
	const dead = "http://127.0.0.1:1"
	soon := startConsole(t, om, settings{set: []string{look, "ozone.recon.alert.lag=20ms"}}, dead)
	late := startConsole(t, om, settings{set: []string{look}}, dead)
	fired := func(s *server) float64 {
		return s.consoleMetric("o3_recon_alerts_total", `alert="`+alert.Lag+`"`, `status="firing"`)
	}
	wait(t, "there is an alert", func() bool { return fired(soon) == 1 })
	if n := fired(late); n != 0 {
		t.Errorf("%v alerts", n)
	}
}

func TestKeyAlertDisk(t *testing.T) {
	t.Parallel()
	fired := func(s *server) float64 {
		return s.metric("o3_recon_alerts_total", `alert="`+alert.LowDisk+`"`, `status="firing"`)
	}
	full, _ := staged(t, "ozone.recon.alert.disk.free=1PB")
	empty, _ := staged(t, "ozone.recon.alert.disk.free=0")
	wait(t, "there is an alert", func() bool { return fired(full) == 1 })
	if n := fired(empty); n != 0 {
		t.Errorf("%v alerts", n)
	}
}

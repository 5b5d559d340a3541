package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"o3/internal/audit"
	"o3/internal/leaktest"
	"o3/internal/tlsconf"
)

var update = flag.Bool("update", false, "write docs/metrics.md and docs/grafana/o3.json")

func TestMain(m *testing.M) {
	flag.Parse()
	leaktest.Main(m)
}

func scrape(t *testing.T, o *Obs) string {
	t.Helper()
	w := httptest.NewRecorder()
	o.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// has checks that the metrics have each of the lines.
func has(t *testing.T, o *Obs, lines ...string) {
	t.Helper()
	text := scrape(t, o)
	for _, l := range lines {
		if !strings.Contains(text, "\n"+l+"\n") {
			name, _, _ := strings.Cut(l, "{")
			var near []string
			for have := range strings.Lines(text) {
				if strings.HasPrefix(have, strings.Fields(name)[0]) {
					near = append(near, have)
				}
			}
			t.Errorf("no %q among\n%s", l, strings.Join(near, ""))
		}
	}
}

func TestMetricsDocument(t *testing.T) {
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(MetricsDocument()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != MetricsDocument() {
		t.Errorf("%s is not what the table says (%v): run go generate ./internal/obs", path, err)
	}
}

// TestTable: names as Prometheus wants them, help, units, and each row real.
func TestTable(t *testing.T) {
	o := New(Options{Version: "v1"})
	seen := map[string]bool{}
	for _, m := range Table() {
		ozones := m.Name == "numSnapshotDiffJobs" || strings.HasPrefix(m.Name, ozoneLifecycle) // what Ozone's dashboards look for
		if seen[m.Name] || !strings.HasPrefix(m.Name, "o3_") && !ozones || m.Help == "" || strings.HasSuffix(m.Help, ".") || m.Unit == "" {
			t.Errorf("%+v", m)
		}
		seen[m.Name] = true
		if (m.Type == Counter) != strings.HasSuffix(m.Name, "_total") && !ozones {
			t.Errorf("%s: only counters end in _total", m.Name)
		}
		if (m.Type == Histogram) != (len(m.Buckets) > 0) || !slices.IsSorted(m.Buckets) || m.Type == Histogram && m.Sampled {
			t.Errorf("%s: buckets", m.Name)
		}
		labels := slices.Repeat([]string{"x"}, len(m.Labels))
		switch {
		case m.Sampled:
			o.Sample(func(s *Sampler) { s.Set(m.Name, 1, labels...) })
		case m.Type == Counter:
			o.Counter(m.Name, labels...).Inc()
		case m.Type == Gauge:
			o.Gauge(m.Name, labels...).Set(1)
		default:
			o.Histogram(m.Name, labels...).Observe(1)
		}
	}
	text := scrape(t, o)
	for name := range seen {
		if !strings.Contains(text, "\n# HELP "+name+" ") {
			t.Errorf("%s is not shown", name)
		}
	}
	families, err := o.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "o3_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, want := range []string{"\ngo_goroutines ", "\nprocess_resident_memory_bytes "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, f := range []func(){
		func() { o.Counter("o3_absent_total") }, func() { o.Gauge("o3_http_requests_total") }, func() { o.Histogram("x") },
		func() { o.Counter("o3_http_requests_total", "too few") },
	} {
		if panics(f) == nil {
			t.Error("a metric that the table does not have was given out")
		}
	}
}

func panics(f func()) (with any) {
	defer func() { with = recover() }()
	f()
	return nil
}

// TestTwoNodesInOneProcess: nothing is shared, not even Prometheus' default registry.
func TestTwoNodesInOneProcess(t *testing.T) {
	a, b := New(Options{}), New(Options{})
	a.Request(Request{Listener: "s3", Route: "GetObject", Code: 200})
	if strings.Contains(scrape(t, b), "GetObject") {
		t.Error("one node's metrics show in the other's")
	}
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "o3_") {
			t.Errorf("%s is in the process-wide registry", f.GetName())
		}
	}
}

func TestLogger(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		o := New(Options{Log: &out, Format: format, Level: slog.LevelInfo, Node: "om1"})
		o.Log.Debug("unseen")
		o.SetLevel(slog.LevelDebug)
		o.Log.Debug("seen")
		o.SetLevel(slog.LevelError)
		o.Log.Warn("unseen")
		o.SetLevel(slog.LevelInfo)
		o.Log.Info("secrets", "key", Secret("hidden"), "secretKey", "hidden", "Authorization", "hidden", slog.Group("in", "password", "hidden"),
			"all", struct{ S Secret }{"hidden"}, "p", new(Secret("hidden")))
		text := out.String()
		if strings.Contains(text, "unseen") || strings.Contains(text, "hidden") || !strings.Contains(text, "seen") || strings.Count(text, "om1") != 2 || strings.Count(text, "***") != 6 {
			t.Errorf("%s:\n%s", format, text)
		}
		if format == "json" {
			for line := range strings.Lines(text) {
				if !json.Valid([]byte(line)) {
					t.Errorf("not JSON: %s", line)
				}
			}
		}
	}
	for _, l := range []string{"debug", "info", "warn", "error"} {
		if got, err := ParseLevel(l); err != nil || strings.ToLower(got.String()) != l {
			t.Errorf("%s: %v, %v", l, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("loud is a level")
	}
}

func TestSecret(t *testing.T) {
	s := Secret("hidden")
	encoded, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": struct{ S Secret }{s}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%+v %#v", struct{ S Secret }{s}, []Secret{s}), string(encoded)} {
		if strings.Contains(text, "hidden") || strings.Contains(text, "68696464656e") || !strings.Contains(text, "***") {
			t.Errorf("%s", text)
		}
	}
	if string(s) != "hidden" || Secret("").String() != "" {
		t.Error("the secret itself changed")
	}
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := New(Options{Log: &log, SlowRequest: time.Second})
		mux := http.NewServeMux()
		mux.HandleFunc("GET /quick", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
		mux.HandleFunc("PUT /slow/{key}", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("x-amz-request-id", "R7")
			w.WriteHeader(http.StatusContinue)
			_, _ = io.Copy(io.Discard, r.Body)
			has(t, o, `o3_http_requests_in_flight{listener="s3"} 1`)
			time.Sleep(3 * time.Second)
			w.WriteHeader(http.StatusNotFound)
			w.WriteHeader(http.StatusOK) // ignored by net/http as well
		})
		mux.HandleFunc("GET /abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		h := o.Observe(HTTP{Listener: "s3", RequestID: "x-amz-request-id"}, mux)
		do := func(method, path, body string) {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, path, strings.NewReader(body)))
		}
		do("GET", "/quick", "")
		do("GET", "/quick?X-Amz-Signature=hidden", "")
		do("PUT", "/slow/a", "12345")
		do("GET", "/nowhere", "")
		if panics(func() { do("GET", "/abort", "") }) != http.ErrAbortHandler {
			t.Error("the panic did not pass")
		}
		has(t, o,
			`o3_http_requests_total{code="200",listener="s3",route="GET /quick"} 2`,
			`o3_http_requests_total{code="404",listener="s3",route="PUT /slow/{key}"} 1`,
			`o3_http_requests_total{code="404",listener="s3",route="other"} 1`,
			`o3_http_requests_total{code="aborted",listener="s3",route="GET /abort"} 1`,
			`o3_http_request_seconds_bucket{listener="s3",route="PUT /slow/{key}",le="2.5"} 0`,
			`o3_http_request_seconds_bucket{listener="s3",route="PUT /slow/{key}",le="5"} 1`,
			`o3_http_requests_in_flight{listener="s3"} 0`,
			`o3_http_received_bytes_total{listener="s3"} 5`,
			`o3_http_slow_requests_total{listener="s3"} 1`,
		)
		if !strings.Contains(scrape(t, o), `o3_http_sent_bytes_total{listener="s3"} 29`) { // twice hello, and the mux's 404 text
			t.Error(scrape(t, o))
		}
		want := `level=WARN msg="slow request" listener=s3 route="PUT /slow/{key}" method=PUT path=/slow/a from=192.0.2.1:1234 request_id=R7 code=404 took=3s received=5 sent=0`
		if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), want) {
			t.Errorf("the log is\n%swant\n%s", log.String(), want)
		}
	})
}

// TestStreamsAreNotSlow: what lasts as long as its client wants is counted, and no
// slow request.
func TestStreamsAreNotSlow(t *testing.T) {
	var log bytes.Buffer
	o := New(Options{Log: &log, SlowRequest: time.Second})
	h := HTTP{Listener: "om", Route: func(*http.Request) string { return "ReadLog" }, Stream: "ReadLog"}
	synctest.Test(t, func(t *testing.T) {
		o.Observe(h, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(time.Hour) })).
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/x", nil))
	})
	has(t, o, `o3_http_requests_total{code="200",listener="om",route="ReadLog"} 1`)
	if log.Len() > 0 || strings.Contains(scrape(t, o), `o3_http_slow_requests_total{listener="om"} 1`) {
		t.Errorf("%s", &log)
	}
}

// TestSlowLogIsBounded: when everything is slow the log is not the next problem.
func TestSlowLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := New(Options{Log: &log, SlowRequest: time.Second})
		for range 10_000 {
			o.Request(Request{Listener: "s3", Took: 2 * time.Second})
		}
		if n := strings.Count(log.String(), "\n"); n != slowLogBurst {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Second)
		log.Reset()
		for range 1000 {
			o.Request(Request{Listener: "s3", Took: 2 * time.Second})
		}
		if n := strings.Count(log.String(), "\n"); n != slowLogRate {
			t.Errorf("%d lines a second", n)
		}
		has(t, o, `o3_http_slow_requests_total{listener="s3"} 11000`)
	})
}

// TestStreamsPassThrough: flushing, deadlines and files reach the connection.
func TestStreamsPassThrough(t *testing.T) {
	o := New(Options{})
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	next := make(chan bool)
	server := httptest.NewServer(o.Observe(HTTP{Listener: "om"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/file" {
			http.ServeFile(w, r, file)
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		fmt.Fprintln(w, "one")
		w.(http.Flusher).Flush()
		<-next
		fmt.Fprintln(w, "two")
	})))
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "one\n" {
		t.Errorf("%q, %v", first, err)
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "two\n" {
		t.Errorf("%q, %v", rest, err)
	}
	resp.Body.Close()
	if resp, err = server.Client().Get(server.URL + "/file"); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(resp.Body); err != nil || len(all) != 100_000 {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	resp.Body.Close()
	server.Close() // the handlers have returned
	has(t, o, `o3_http_sent_bytes_total{listener="om"} 100008`)
}

func TestHealth(t *testing.T) {
	o := New(Options{Version: "v1.2.3"})
	var storeErr, extraErr error
	o.Health.Register(Check{Name: "store", Needed: true, Run: func(context.Context) (string, error) { return "old", nil }})
	o.Health.Register(Check{Name: "store", Needed: true, Run: func(context.Context) (string, error) { return "index 7", storeErr }})
	o.Health.Register(Check{Name: "extra", Run: func(ctx context.Context) (string, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > CheckTimeout {
			t.Error("a check without a time limit")
		}
		return "", extraErr
	}})
	ask := func(h http.Handler) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		var s State
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Version != "v1.2.3" {
			t.Fatalf("%v: %s", err, w.Body)
		}
		return w.Code, fmt.Sprintf("%s store=%s/%s/%s extra=%s/%s", s.Status, s.Components["store"].Status, s.Components["store"].Detail, s.Components["store"].Error, s.Components["extra"].Status, s.Components["extra"].Error)
	}
	for _, step := range []struct {
		do    func()
		ready int
		state string
	}{
		{func() {}, 200, "up store=up/index 7/ extra=up/"},
		{func() { extraErr = errors.New("late") }, 200, "up store=up/index 7/ extra=down/late"},
		{func() { storeErr = errors.New("disk reserve reached") }, 503, "down store=down/index 7/disk reserve reached extra=down/late"},
		{func() { storeErr, extraErr = nil, nil }, 200, "up store=up/index 7/ extra=up/"},
		{o.Health.Stop, 503, "stopping store=up/index 7/ extra=up/"},
	} {
		step.do()
		if code, s := ask(o.Health.Ready()); code != step.ready || s != step.state {
			t.Errorf("ready: %d %s, want %d %s", code, s, step.ready, step.state)
		}
		if code, s := ask(o.Health.Alive()); code != 200 || s != step.state {
			t.Errorf("alive: %d %s", code, s)
		}
	}
}

func TestProfiler(t *testing.T) {
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		w := httptest.NewRecorder()
		Profiler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestAuditAdapter(t *testing.T) {
	var log bytes.Buffer
	o := New(Options{Log: &log})
	l, err := audit.Open(audit.Options{Path: filepath.Join(t.TempDir(), "a"), Queue: 1, Listener: o.Audit()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_ = l.Record(t.Context(), audit.Record{Action: "a", Result: "ok"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o.Audit().Failed(errors.New("disk broke"))
	has(t, o, "o3_audit_written_total 1", `o3_audit_lost_total{reason="full"} 2`, `o3_audit_lost_total{reason="closed"} 0`, "o3_audit_rotations_total 0")
	if !strings.Contains(log.String(), "disk broke") {
		t.Errorf("the log is %q", log.String())
	}
}

// TestAuditTroubleIsBounded: a disk that refuses every line makes one log line
// in ten seconds, which counts the others.
func TestAuditTroubleIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := New(Options{Log: &log}).Audit()
		for range 250 { // 25 s
			l.Failed(errors.New("no space left on device"))
			time.Sleep(100 * time.Millisecond)
		}
		l.Written(1)
		time.Sleep(auditQuiet)
		l.Written(1)
		l.Written(1)
		l.Failed(errors.New("again"))
		var got []string
		for line := range strings.Lines(log.String()) {
			_, text, _ := strings.Cut(line, "audit log: ")
			got = append(got, strings.TrimSpace(text))
		}
		const full = `write failed" error="no space left on device" failures=`
		want := []string{full + "1", full + "100", full + "100", `lines are written again" failures=250`}
		if len(got) != 4 || !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		time.Sleep(auditQuiet)
		l.Failed(errors.New("again"))
		if !strings.HasSuffix(log.String(), "error=again failures=2\n") {
			t.Errorf("%s", &log)
		}
	})
}

func TestTLSAdapter(t *testing.T) {
	ca, err := tlsconf.NewCA("ca", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(tlsconf.Request{Name: "n", Hosts: []string{"h"}, Valid: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f := tlsconf.Files{Cert: filepath.Join(t.TempDir(), "c"), Key: filepath.Join(t.TempDir(), "k")}
	if err := pair.Write(f.Cert, f.Key); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o := New(Options{Log: &log})
	s, err := tlsconf.Open(tlsconf.Options{Files: f, CheckEvery: 1, Listener: o.TLS("s3")})
	if err != nil {
		t.Fatal(err)
	}
	o.SampleTLS("s3", s)
	has(t, o, fmt.Sprintf(`o3_tls_certificate_expiry_seconds{listener="s3"} %v`, float64(s.NotAfter().Unix())), `o3_tls_reloads_total{listener="s3",result="error"} 0`)
	if err := os.WriteFile(f.Cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.NotAfter()
	has(t, o, `o3_tls_reloads_total{listener="s3",result="error"} 1`)
	if !strings.Contains(log.String(), "refused") || !strings.Contains(log.String(), f.Cert) {
		t.Errorf("the log is %q", log.String())
	}
}

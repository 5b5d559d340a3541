package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"o3/client"
	"o3/internal/audit"
)

func TestKeyLog(t *testing.T) {
	t.Parallel()
	plain := start(t, settings{})
	json1 := start(t, settings{set: []string{"ozone.log.format=json"}})
	quiet := start(t, settings{set: []string{"ozone.log.level=error"}})
	debug := start(t, settings{set: []string{"ozone.log.level=debug"}})
	if text := plain.log.String(); !strings.Contains(text, "level=INFO") || !strings.Contains(text, "msg=ready") || strings.Contains(text, "level=DEBUG") {
		t.Errorf("by default: %s", text)
	}
	for line := range strings.Lines(json1.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if text := quiet.log.String(); text != "" {
		t.Errorf("errors only: %s", text)
	}
	debug.fill(1, 8<<10)
	debug.shut() // seals the container
	if text := debug.log.String(); !strings.Contains(text, "level=DEBUG") {
		t.Errorf("debug: %s", text)
	}
}

func TestKeySlowRequest(t *testing.T) {
	t.Parallel()
	const slow = "slow request"
	for _, c := range []struct {
		value  string
		logged bool
	}{{"1us", true}, {"1h", false}, {"0s", false}} {
		s := start(t, settings{set: []string{"ozone.log.slow.request=" + c.value}})
		s.must("PUT", "/photos", nil)
		s.status()
		if c.logged {
			wait(t, "a line for each listener", func() bool {
				text := s.log.String()
				return strings.Contains(text, "listener=s3 route=CreateBucket") && strings.Contains(text, "listener=om route=Status")
			})
		}
		if got := strings.Contains(s.log.String(), slow); got != c.logged {
			t.Errorf("%s: logged %v", c.value, got)
		}
		if n := s.metric("o3_http_slow_requests_total"); (n > 0) != c.logged {
			t.Errorf("%s: %v counted", c.value, n)
		}
	}
}

func TestKeyAudit(t *testing.T) {
	t.Parallel()
	t.Run("enabled", func(t *testing.T) {
		on, off := start(t, settings{}), start(t, settings{set: []string{"ozone.audit.log.enabled=false"}})
		for _, s := range []*server{on, off} {
			s.must("PUT", "/photos", nil)
		}
		path := filepath.Join("audit", "audit.log")
		wait(t, "a record", func() bool { return len(on.records(filepath.Join(on.Data, path), audit.Query{})) == 1 })
		if _, err := os.Stat(filepath.Join(off.Data, path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is turned off: %v", err)
		}
	})
	t.Run("path, max.size, max.files", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a", "trail")
		s := start(t, settings{set: []string{"ozone.audit.log.path=" + path, "ozone.audit.log.max.size=4KB", "ozone.audit.log.max.files=3"}})
		for i := range 100 {
			s.must("PUT", fmt.Sprintf("/photos-%d", i), nil)
		}
		wait(t, "files", func() bool { return s.metric("o3_audit_rotations_total") > 4 })
		s.shut()
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) != 3 {
			t.Errorf("%v %v", files, err)
		}
		for _, f := range files {
			if st, err := os.Stat(f); err != nil || st.Size() > 4<<10 || st.Size() == 0 {
				t.Errorf("%v %v", st.Size(), err)
			}
		}
	})
	t.Run("strict", func(t *testing.T) {
		for strict, refused := range map[string]bool{"true": true, "false": false} {
			dir := filepath.Join(t.TempDir(), "audit")
			s := start(t, settings{set: []string{
				"ozone.audit.log.path=" + filepath.Join(dir, "audit.log"), "ozone.audit.log.max.size=4KB", "ozone.audit.log.strict=" + strict,
			}})
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			last := answer{}
			for i := range 40 { // until the next file cannot be begun
				if last = s.s3("PUT", fmt.Sprintf("/photos-%d", i), nil); last.status != 200 {
					break
				}
			}
			if (last.status == 503) != refused {
				t.Errorf("strict %s: %v", strict, last)
			}
			if problems := s.status().Problems; (len(problems) > 0) != refused {
				t.Errorf("strict %s: status shows %v", strict, problems)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			s.must("PUT", "/photos-again", nil)
		}
	})
}

func TestKeyMetrics(t *testing.T) {
	plain, changed := pair(t, "ozone.metrics.enabled=false")
	if a := plain.page("/metrics"); a.status != 200 || !strings.Contains(string(a.body), "o3_build_info") {
		t.Errorf("%v", a)
	}
	if a := changed.page("/metrics"); a.status != 404 {
		t.Errorf("turned off: %v", a)
	}
}

func TestKeyProfiler(t *testing.T) {
	plain, changed := pair(t, "ozone.profiler.enabled=true")
	const page = "/debug/pprof/goroutine?debug=1"
	for status, s := range map[int]*server{404: plain, 200: changed} {
		if a, err := s.ask(s.root, "o3", "GET", s.OM+page, nil); err != nil || a.status != status {
			t.Errorf("%v %v, want %d", a, err, status)
		}
	}
	for who, status := range map[client.Credentials]int{{}: 401, changed.user("ann", "user"): 403} {
		if a, err := changed.ask(who, "o3", "GET", changed.OM+page, nil); err != nil || a.status != status {
			t.Errorf("%v: %v %v, want %d", who, a, err, status)
		}
	}
}

func TestKeyTracing(t *testing.T) {
	t.Parallel()
	for ratio, traced := range map[string]bool{"1": true, "0": false} {
		var bytes atomic.Int64
		names := new(buffer)
		collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(names, r.Body)
			bytes.Add(n)
		}))
		defer collector.Close()
		s := start(t, settings{set: []string{"ozone.tracing.endpoint=" + collector.URL, "ozone.tracing.sample.ratio=" + ratio}})
		s.must("PUT", "/photos", nil)
		s.status()
		s.shut() // sends what waits
		if (bytes.Load() > 0) != traced {
			t.Errorf("ratio %s: %d bytes of spans", ratio, bytes.Load())
		}
		for _, name := range []string{"CreateBucket", "Status"} {
			if strings.Contains(names.String(), name) != traced {
				t.Errorf("ratio %s: span %s", ratio, name)
			}
		}
	}
	unset := start(t, settings{})
	if unset.node.tracing.Enabled() {
		t.Error("traces go somewhere by default")
	}
}

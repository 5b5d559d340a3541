package app

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"o3/internal/bootstrap"
	"o3/internal/cli"
)

// bootstrap runs `o3 admin om bootstrap` from a source at url ("": the server
// itself) with these arguments.
func (s *server) bootstrap(t *testing.T, code int, url string, args ...string) string {
	t.Helper()
	if url == "" {
		url = s.OM
	}
	all := []string{"admin", "om", "bootstrap", "--from", url, "--access-key", s.root.AccessKey, "--secret-key", s.root.SecretKey, "-D", "ozone.block.reserve=0"}
	return o3(t, code, append(all, args...)...)
}

// lastBootstrap returns what a data directory knows of its last bootstrap.
func lastBootstrap(t *testing.T, dir string) *bootstrap.Attempt {
	t.Helper()
	rec, err := bootstrap.ReadRecord(dir)
	if err != nil || rec.Last() == nil {
		t.Fatalf("%+v, %v", rec, err)
	}
	return rec.Last()
}

func TestKeyBootstrapTimeout(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.bootstrap.timeout"
	s := start(t, settings{})
	s.noise(40) // 2.4 MB
	slow := []string{"-D", "ozone.om.snapshot.transfer.bandwidth=256KB", "-D", "ozone.om.snapshot.transfer.chunk.size=16KB"}
	dir := filepath.Join(t.TempDir(), "data")
	cut := 0
	wait(t, "it is cut off while bytes come, twice", func() bool { // on a busy machine a second may be over before
		out := s.bootstrap(t, cli.ExitUnavailable, "", append(slow, "--data", dir, "-D", key+"=1s")...)
		a := lastBootstrap(t, dir)
		if a.Result != bootstrap.Failed || a.Reason != bootstrap.ReasonTimeout || !strings.Contains(out, "run the command again") {
			t.Errorf("with a second: %+v\n%s", a, out)
		}
		if a.Phase == bootstrap.Transfer {
			cut++
		}
		return cut == 2 || t.Failed()
	})
	s.bootstrap(t, 0, "", "--data", dir, "-D", key+"=1h")
	if a := lastBootstrap(t, dir); a.Result != bootstrap.Succeeded || a.Resumed == 0 {
		t.Errorf("with an hour: %+v", a)
	}
}

// faulty is a proxy to the server that answers the first n requests for parts of
// files with 503.
func (s *server) faulty(n int64) (at string) {
	s.t.Helper()
	to, err := url.Parse(s.OM)
	if err != nil {
		s.t.Fatal(err)
	}
	var seen atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/data") && seen.Add(1) <= n {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	s.t.Cleanup(h.Close)
	return h.URL
}

func TestKeyBootstrapRetries(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.bootstrap.retry.count"
	s := start(t, settings{})
	s.noise(1)
	for _, c := range []struct {
		count string
		code  int
	}{{"0", cli.ExitUnavailable}, {"3", 0}} {
		dir := filepath.Join(t.TempDir(), "data")
		s.bootstrap(t, c.code, s.faulty(2), "--data", dir, "-D", key+"="+c.count, "-D", "ozone.om.snapshot.transfer.parallelism=1")
		a := lastBootstrap(t, dir)
		if ok := a.Result == bootstrap.Succeeded; ok != (c.code == 0) || !ok && a.Reason != bootstrap.ReasonCut {
			t.Errorf("%s: %+v", c.count, a)
		}
		if c.count == "0" && a.Retries != 0 || c.count == "3" && a.Retries == 0 {
			t.Errorf("%s: %d retries", c.count, a.Retries)
		}
	}
}

func TestKeyBootstrapStrict(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.bootstrap.validation.strict"
	s := start(t, settings{})
	s.bucket("photos", "OBJECT_STORE")
	for _, name := range []string{"kept", "vanishing"} {
		if err := s.commit("photos", name, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	s.vanish("vanishing")
	dir := filepath.Join(t.TempDir(), "data")
	for _, strict := range []string{key + "=true", ""} { // it is the default
		args := []string{"--data", dir}
		if strict != "" {
			args = append(args, "-D", strict)
		}
		out := s.bootstrap(t, cli.ExitCorrupt, "", args...)
		if a := lastBootstrap(t, dir); a.Reason != bootstrap.ReasonCorrupt || a.Phase != bootstrap.Validation || !strings.Contains(out, "digest") {
			t.Errorf("%q: %+v\n%s", strict, a, out)
		}
	}
	s.bootstrap(t, 0, "", "--data", dir, "-D", key+"=false")
	if a := lastBootstrap(t, dir); a.Result != bootstrap.Succeeded || a.Strict {
		t.Errorf("not strict: %+v", a)
	}
}

// vanish takes the row of a key away, as damage that no checksum sees would.
func (s *server) vanish(key string) {
	s.t.Helper()
	it, err := s.node.store.Iter(nil, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var row []byte
	for ok := it.First(); ok; ok = it.Next() {
		if bytes.Contains(it.Key(), []byte(key)) {
			row = bytes.Clone(it.Key())
		}
	}
	if err := it.Close(); err != nil || row == nil {
		s.t.Fatal(row, err)
	}
	b := s.node.store.NewBatch()
	defer b.Close()
	if err := b.Delete(row); err != nil {
		s.t.Fatal(err)
	}
	if err := b.Commit(false); err != nil {
		s.t.Fatal(err)
	}
}

package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/admin/stages"
	"o3/internal/audit"
	"o3/internal/recon"
	"o3/internal/recon/query"
	"o3/internal/recon/web"
)

// withRecon are the roles of a server with Recon beside the OM.
const withRecon = "ozone.server.roles=s3,om,recon"

// console asks Recon's API as root, by signature; the answer must be good.
func (s *server) console(path string, into any) http.Header {
	s.t.Helper()
	a, err := s.ask(s.root, "o3", "GET", s.Recon+path, nil)
	if err != nil || a.status != 200 {
		s.t.Fatalf("%s: %v %v\n%s", path, a, err, s.log)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		s.t.Fatalf("%s: %v: %s", path, err, a.body)
	}
	return a.header
}

// status of Recon.
func (s *server) sync() recon.Status { return s.node.recon.service.Status() }

// follows waits until Recon reflects all that om has applied, with om's digest.
func (s *server) follows(om *server) recon.Status {
	s.t.Helper()
	want := om.node.replica.Position()
	wait(s.t, fmt.Sprintf("Recon is at index %d; %+v", want.Index, s.sync()), func() bool {
		st := s.sync()
		return st.State == recon.StateFollowing && st.Index >= want.Index && st.Compared >= want.Index && st.Building == nil
	})
	st := s.sync()
	if pos := om.node.replica.Position(); st.Index == pos.Index && st.Digest != pos.Digest.String() {
		s.t.Errorf("at index %d Recon's digest is %s, the OM's %s", st.Index, st.Digest, pos.Digest)
	}
	return st
}

// totals returns what Recon says a path has.
func (s *server) totals(path string) (out struct{ CountStats query.CountStats }) {
	s.t.Helper()
	s.console(web.Prefix+"/namespace/summary?path="+path, &out)
	return out
}

// agrees compares Recon's totals of a bucket with the OM's own.
func (s *server) agrees(om *server, bucket string) {
	s.t.Helper()
	s.follows(om)
	b, err := om.om.GetBucket(s.t.Context(), &o3v1.GetBucketRequest{Volume: "s3v", Bucket: bucket})
	if err != nil {
		s.t.Fatal(err)
	}
	var usage query.UsageResponse
	s.console(web.Prefix+"/namespace/usage?path=/s3v/"+bucket, &usage)
	if usage.Size != int64(b.Bucket.UsedBytes) {
		s.t.Errorf("%s: Recon says %d bytes, the OM %d", bucket, usage.Size, b.Bucket.UsedBytes)
	}
}

// TestRecon: in one process with the OM it follows what S3 and the OM API write,
// without copying bytes, and goes on after a restart.
func TestRecon(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{withRecon}})
	s.must("PUT", "/photos", nil)
	s.bucket("tree", "FILE_SYSTEM_OPTIMIZED")
	for i := range 30 {
		s.must("PUT", fmt.Sprintf("/photos/a/%d", i), []byte(strings.Repeat("x", i*100)))
		if err := s.commit("tree", fmt.Sprintf("d%d/e/k%d", i%3, i), []byte("12345")); err != nil {
			t.Fatal(err)
		}
	}
	s.agrees(s, "photos")
	s.agrees(s, "tree")
	if got := s.totals("/s3v/tree").CountStats; got.NumKey != 30 || got.NumDir != 6 {
		t.Errorf("%+v", got)
	}
	wait(t, "the first generation is noted", func() bool { return s.sync().Syncs == 1 })
	if st := s.sync(); st.LastSync.Reason != recon.ReasonFirst || st.Source != "om1" {
		t.Errorf("%+v", st)
	}
	if n := s.metric("o3_recon_image_sent_bytes_total"); n != 0 {
		t.Errorf("%v bytes were copied", n)
	}
	s.must("PUT", "/photos/after", []byte("a message of the log has it")) // for certain: the image may have all that was before
	s.agrees(s, "photos")
	for _, name := range []string{"o3_recon_applied_entries_total", "o3_recon_log_bytes_total", "o3_recon_apply_seconds_count"} {
		wait(t, name, func() bool { return s.metric(name) > 0 })
	}
	for _, name := range []string{"o3_recon_task_apply_seconds_count", "o3_recon_task_rows_total", "o3_recon_task_written_rows_total"} {
		if s.metric(name, `task="NSSummaryTask"`) == 0 {
			t.Errorf("%s is 0", name)
		}
	}
	if s.metric("o3_recon_serving") != 1 || s.metric("o3_recon_applied_entries_total") == 0 || s.metric("o3_recon_syncs_total", `reason="FIRST_START"`, `result="ok"`) != 1 {
		t.Errorf("metrics: %s", s.page("/metrics").body)
	}
	wait(t, "the full sync is noted", func() bool { return len(s.records(s.node.cfg.Audit.Path, audit.Query{Action: "recon:FullSync"})) > 0 })
	if r := s.records(s.node.cfg.Audit.Path, audit.Query{Action: "recon:FullSync"}); len(r) != 1 || r[0].Params["reason"] != "FIRST_START" || r[0].Result != "ok" {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(s.out.String(), "Recon   "+s.Recon) {
		t.Errorf("%s", s.out)
	}
	for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
		if a, err := s.ask(client.Credentials{}, "", "GET", s.Recon+page, nil); err != nil || a.status != 200 || len(a.body) == 0 {
			t.Errorf("%s: %v %v", page, a, err)
		}
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	again := start(t, settings{dir: s.Data, set: []string{withRecon}})
	again.must("DELETE", "/photos/a/29", nil)
	again.agrees(again, "photos")
	if st := again.sync(); st.Syncs != 0 {
		t.Errorf("a restart needed a new image: %+v", st.LastSync)
	}
	if n := again.totals("/s3v/photos").CountStats.NumKey; n != 30 {
		t.Errorf("%d keys", n)
	}
	if n := again.metric("o3_http_requests_total", `listener="recon"`, `route="/api/v1/namespace/summary"`, `code="200"`); n != 1 {
		t.Errorf("%v requests were counted", n)
	}
}

// TestReconCannot: where Recon cannot use its directory, the rest serves.
func TestReconCannot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "file")
	if err := writeFile(dir, []byte("no directory")); err != nil {
		t.Fatal(err)
	}
	s := start(t, settings{set: []string{withRecon, "ozone.recon.db.dir=" + dir}})
	s.must("PUT", "/photos", nil)
	wait(t, "it says so", func() bool { return strings.Contains(s.log.String(), dir) && s.metric("o3_recon_failures_total") >= 1 })
	if a := s.page("/readyz"); a.status != 200 || !strings.Contains(string(a.body), "it has not read the namespace yet") {
		t.Errorf("%v", a)
	}
	if a, err := s.ask(client.Credentials{}, "", "GET", s.Recon+"/readyz", nil); err != nil || a.status != 503 {
		t.Errorf("%v %v", a, err)
	}
	if a, err := s.ask(s.root, "o3", "GET", s.Recon+web.Prefix+"/clusterState", nil); err != nil || a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%v %v", a, err)
	}
}

// TestReconTriggers: admins may, and what is served does not go blank; whoever
// tried is recorded.
func TestReconTriggers(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{withRecon}})
	s.bucket("photos", "")
	s.follows(s)
	ann := s.user("ann", "user")
	for i, c := range []struct{ method, path, action, reason string }{
		{"GET", "om", "recon:Resync", "MANUAL_TRIGGER"}, {"POST", "om/reinit", "recon:Rebuild", "MANUAL_OM_DB_REBUILD"},
	} {
		before := s.sync()
		if a, err := s.ask(ann, "o3", c.method, s.Recon+triggerPrefix+c.path, nil); err != nil || a.status != 403 {
			t.Errorf("ann: %v %v", a, err)
		}
		wrong := client.Credentials{AccessKey: s.root.AccessKey, SecretKey: "another-secret"}
		if a, err := s.ask(wrong, "o3", c.method, s.Recon+triggerPrefix+c.path, nil); err != nil || a.status != 401 {
			t.Errorf("by a wrong secret: %v %v", a, err)
		}
		a, err := s.ask(s.root, "o3", c.method, s.Recon+triggerPrefix+c.path, nil, header("Sec-Fetch-Site", "cross-site"))
		if err != nil || a.status != 403 {
			t.Errorf("for a page of another site: %v %v", a, err)
		}
		a, err = s.ask(s.root, "o3", c.method, s.Recon+triggerPrefix+c.path, nil, header("Sec-Fetch-Site", "same-origin"))
		if err != nil || a.status/100 != 2 {
			t.Fatalf("%v %v", a, err)
		}
		wait(t, "a new generation serves", func() bool {
			st := s.sync()
			return st.Syncs == before.Syncs+1 && st.Generation != before.Generation && string(st.LastSync.Reason) == c.reason
		})
		var r []audit.Record
		want := []string{"ann denied", " unauthenticated", "root denied", "root ok"}
		wait(t, "all is recorded", func() bool {
			r = s.records(s.node.cfg.Audit.Path, audit.Query{Action: c.action})
			return len(r) >= len(want)
		})
		for n, x := range r {
			if n >= len(want) || x.Principal+" "+x.Result != want[n] || x.Result != "ok" && x.Detail == "" || x.From == "" || x.RequestID == "" {
				t.Errorf("%d: %+v", n, x)
			}
		}
		if len(r) != len(want) {
			t.Errorf("%d: %d records", i, len(r))
		}
	}
	s.follows(s)
}

// TestReconAccess: who may ask, and how.
func TestReconAccess(t *testing.T) {
	t.Parallel()
	s := start(t, settings{set: []string{withRecon}})
	ann := s.user("ann", "user")
	s.follows(s)
	url := s.Recon + web.Prefix + "/clusterState"
	basic := func(c client.Credentials) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(c.AccessKey, c.SecretKey) }
	}
	none, wrong := client.Credentials{}, client.Credentials{AccessKey: s.root.AccessKey, SecretKey: "another-secret"}
	for _, c := range []struct {
		what   string
		who    client.Credentials
		status int
		edits  []func(*http.Request)
	}{
		{"nobody", none, 401, nil},
		{"root by signature", s.root, 200, nil},
		{"root with a wrong secret", wrong, 401, nil},
		{"an old signature", s.root, 401, []func(*http.Request){header("Test-Time", "2020-01-01T00:00:00Z")}},
		{"ann by signature", ann, 403, nil},
		{"root by Basic", none, 200, []func(*http.Request){basic(s.root)}},
		{"ann by Basic", none, 403, []func(*http.Request){basic(ann)}},
		{"a wrong secret by Basic", none, 401, []func(*http.Request){basic(wrong)}},
		{"no such key by Basic", none, 401, []func(*http.Request){basic(client.Credentials{AccessKey: "nobody", SecretKey: ""})}},
		{"junk", none, 401, []func(*http.Request){header("Authorization", "Basic !")}},
		{"a bearer", none, 400, []func(*http.Request){header("Authorization", "Bearer x")}},
	} {
		a, err := s.ask(c.who, "o3", "GET", url, nil, c.edits...)
		var body web.Error
		if err != nil || a.status != c.status || json.Unmarshal(a.body, &body) != nil || c.status != 200 && body.Detail == "" {
			t.Errorf("%s: %v %v", c.what, a, err)
		}
		if c.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: %v", c.what, a.header)
		}
	}
	if _, err := s.om.UpdateUser(t.Context(), &o3v1.UpdateUserRequest{User: "ann", Disabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	if a, err := s.ask(ann, "o3", "GET", url, nil); err != nil || a.status != 401 {
		t.Errorf("a disabled user: %v %v", a, err)
	}
	wait(t, "whoever tries many wrong secrets has to wait, wherever else they ask", func() bool {
		a, err := s.ask(none, "", "GET", url, nil, basic(wrong))
		if err != nil || a.status != 401 && a.status != 429 {
			t.Fatalf("%v %v", a, err)
		}
		elsewhere, err := s.ask(s.root, "o3", "GET", s.Recon+stages.Prefix+"staging/status", nil) // it is the same door
		return err == nil && a.status == 429 && elsewhere.status == 429
	})
	wait(t, "it is let in again", func() bool {
		a, err := s.ask(s.root, "o3", "GET", url, nil)
		return err == nil && a.status == 200
	})
}

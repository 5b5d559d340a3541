package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"o3/client"
	"o3/internal/audit"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/recon"
)

// console starts a server with the role recon alone, which follows the OMs at the
// addresses with om's root key.
func startConsole(t *testing.T, om *server, o settings, addresses ...string) *server {
	t.Helper()
	s, err := tryConsole(t, om, o, addresses...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.shut(); err != nil {
			t.Errorf("Recon ended with: %v", err)
		}
	})
	return s
}

func tryConsole(t *testing.T, om *server, o settings, addresses ...string) (*server, error) {
	o.set = append([]string{
		"ozone.server.roles=recon", "ozone.recon.om.address=" + strings.Join(addresses, ","), "ozone.recon.om.access.key=" + om.root.AccessKey,
	}, o.set...)
	if o.env == nil {
		o.env = []string{"OZONE_RECON_OM_SECRET_KEY=" + om.root.SecretKey}
	}
	s, err := try(t, o)
	if s != nil {
		s.root = om.root
	}
	return s, err
}

// TestReconRemote: a server with the role recon alone follows an OM elsewhere,
// goes on after a restart, and when one of two OMs is dead.
func TestReconRemote(t *testing.T) {
	t.Parallel()
	om := start(t, settings{})
	om.bucket("photos", "")
	om.must("PUT", "/photos/a", []byte("12345"))
	const dead = "http://127.0.0.1:1"
	s := startConsole(t, om, settings{}, om.OM)
	if s.S3 != "" || s.OM != "" || s.Recon == "" {
		t.Errorf("%+v", s.Endpoints)
	}
	s.agrees(om, "photos")
	for i := range 20 {
		om.must("PUT", fmt.Sprintf("/photos/%d", i), []byte("1"))
	}
	s.agrees(om, "photos")
	st := s.sync()
	if st.Syncs != 1 || st.LastSync.Reason != recon.ReasonFirst || !strings.HasSuffix(om.OM, st.Source) {
		t.Errorf("%+v", st)
	}
	wait(t, "the lease on the OM's log is given back", func() bool {
		return om.metric("o3_transfer_log_holds") == 0 && om.metric("o3_transfer_leases_total", `ended="released"`) > 0
	})
	if n := om.metric("o3_transfer_leases_total", `ended="released"`); n != 1 {
		t.Errorf("%v leases", n)
	}
	for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
		if a, err := s.ask(client.Credentials{}, "", "GET", s.Recon+page, nil); err != nil || a.status != 200 {
			t.Errorf("%s: %v %v", page, a, err)
		}
	}
	var images struct{ Images []listedImage }
	if s.console("/api/v1/images", &images); len(images.Images) != 1 {
		t.Errorf("%+v", images)
	}
	wait(t, "the full sync is recorded", func() bool {
		return len(s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{Action: "recon:FullSync"})) == 1
	})
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	om.must("PUT", "/photos/while-away", []byte("1"))
	s = startConsole(t, om, settings{dir: s.Data, set: []string{"ozone.recon.om.retry.max.interval=100ms"}}, dead, om.OM)
	s.agrees(om, "photos")
	if st := s.sync(); st.Syncs != 0 || !strings.HasSuffix(om.OM, st.Source) {
		t.Errorf("after a restart: %+v", st)
	}
	// Triggered, it takes only what it does not have; the dead one is passed over.
	if a, err := s.ask(om.root, "o3", "GET", s.Recon+triggerPrefix+"om", nil); err != nil || a.status != 200 {
		t.Fatal(a, err)
	}
	wait(t, "the try at the dead OM is over", func() bool { return s.sync().Failed+s.sync().Syncs > 0 })
	if a, err := s.ask(om.root, "o3", "GET", s.Recon+triggerPrefix+"om", nil); err != nil || a.status != 200 {
		t.Fatal(a, err)
	}
	wait(t, fmt.Sprint("a new generation serves", s.sync()), func() bool { return s.sync().Syncs > 0 })
	s.agrees(om, "photos")
}

// TestReconFirstFailover: also the first image comes from the OM that lives.
func TestReconFirstFailover(t *testing.T) {
	t.Parallel()
	om := start(t, settings{})
	om.bucket("photos", "")
	s := startConsole(t, om, settings{set: []string{"ozone.recon.om.retry.max.interval=100ms"}}, "http://127.0.0.1:1", om.OM)
	s.follows(om)
	if st := s.sync(); st.Failed == 0 || st.Syncs != 1 {
		t.Errorf("%+v", st)
	}
	// The OM goes away: what is here is served, and says so.
	if err := om.shut(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the OM is missed", func() bool { return s.sync().State == recon.StateRetrying })
	if n := s.totals("/s3v").CountStats.NumBucket; n != 1 {
		t.Errorf("%d buckets", n)
	}
}

// TestReconTruncated: when the OM's log does not reach back, a new image comes,
// the reason is told, and the state is the OM's.
func TestReconTruncated(t *testing.T) {
	t.Parallel()
	om := start(t, settings{
		set:   []string{"ozone.om.db.flush.interval=100ms", "ozone.om.ratis.log.purge.preservation.log.num=5"},
		hooks: hooks{log: func(o *consensus.Options) { o.TruncateStep, o.TickInterval = 1, 10*time.Millisecond }},
	})
	om.noise(20)
	s := startConsole(t, om, settings{}, om.OM)
	s.follows(om)
	log := filepath.Join(s.Data, "audit", "audit.log")
	wait(t, "the first full sync is recorded", func() bool { return len(s.records(log, audit.Query{Action: "recon:FullSync"})) == 1 })
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	at := om.node.replica.Position().Index // Recon is not beyond it
	for i := range 30 {
		if err := om.commit("noise", fmt.Sprint("later", i), []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "the log is cut", func() bool { return om.node.log.Status().First > at+1 })
	s = startConsole(t, om, settings{dir: s.Data}, om.OM)
	s.agrees(om, "noise")
	st := s.sync()
	if st.Syncs != 1 || st.LastSync.Reason != recon.ReasonTruncated || st.LastSync.Detail == "" || st.Generation != "generation-0000000002" {
		t.Errorf("%+v", st)
	}
	wait(t, "the sync is counted", func() bool {
		return s.consoleMetric("o3_recon_syncs_total", `reason="LOG_DOES_NOT_REACH_BACK"`, `result="ok"`) == 1
	})
	sent, bytes := s.consoleMetric("o3_recon_image_sent_bytes_total"), s.consoleMetric("o3_recon_image_bytes_total")
	if sent == 0 || bytes == 0 {
		t.Errorf("%v of %v bytes were sent", sent, bytes)
	}
	var r []audit.Record
	wait(t, "it is recorded", func() bool { r = s.records(log, audit.Query{Action: "recon:FullSync"}); return len(r) >= 2 })
	if len(r) != 2 || r[1].Params["reason"] != "LOG_DOES_NOT_REACH_BACK" || r[1].Params["detail"] == "" {
		t.Errorf("%+v", r)
	}
	s.settled()                                                                                  // nothing is being written
	if there, err := os.ReadDir(filepath.Join(s.Data, "recon")); err != nil || len(there) != 5 { // current, staging, lock, and two generations
		t.Errorf("%v %v", there, err)
	}
}

// consoleMetric is metric, of Recon's listener.
func (s *server) consoleMetric(name string, with ...string) float64 {
	s.t.Helper()
	at := s.OM
	s.OM = s.Recon
	defer func() { s.OM = at }()
	return s.metric(name, with...)
}

// TestReconDirectories: a data directory is an OM's or Recon's, for good.
func TestReconDirectories(t *testing.T) {
	t.Parallel()
	om := start(t, settings{})
	s := startConsole(t, om, settings{}, om.OM)
	s.follows(om)
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	_, err := try(t, settings{dir: s.Data})
	kind(t, err, errs.Invalid, s.Data, "ozone.server.roles = recon", "a")
	_, err = image.Take(nil, s.Data)
	kind(t, err, errs.Invalid, s.Data, "a node needs one of its own")
	if err := om.shut(); err != nil {
		t.Fatal(err)
	}
	_, err = tryConsole(t, om, settings{dir: om.Data}, om.OM)
	kind(t, err, errs.Invalid, om.Data, "the data directory of an OM")
	if err := os.Remove(filepath.Join(om.Data, "node")); err != nil {
		t.Fatal(err)
	}
	_, err = tryConsole(t, om, settings{dir: om.Data}, om.OM)
	kind(t, err, errs.Invalid, om.Data, "of an OM")
	path := filepath.Join(s.Data, consoleFile)
	for text, want := range map[string]errs.Kind{`{"format":2}`: errs.FormatTooNew, `{"format":1}`: errs.FormatUnknown, `x`: errs.FormatUnknown} {
		if err := writeFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		_, err := tryConsole(t, om, settings{dir: s.Data}, om.OM)
		kind(t, err, want, path)
	}
}

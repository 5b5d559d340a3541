package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"o3/client"
	"o3/internal/audit"
	"o3/internal/bootstrap"
	"o3/internal/cli"
)

// TestBootstrap: from a node with both layouts, snapshots and uploads, under load,
// comes another one with everything, bytes included; its metrics and its audit log
// tell how.
func TestBootstrap(t *testing.T) {
	t.Parallel()
	s, x := drill(t)
	stop := s.load()
	wait(t, "there is load", func() bool { return len(s.keys("load")) >= 10 })
	dir := filepath.Join(t.TempDir(), "data")
	s.bootstrap(t, 0, "", "--data", dir, "--with-blocks", "--check")
	if _, err := os.Stat(dir); err == nil {
		t.Error("a check made the data directory")
	}
	out := s.bootstrap(t, 0, "", "--data", dir, "--with-blocks", "-D", "ozone.om.snapshot.compression=zstd:1")
	stop()
	if !strings.Contains(out, "o3 server --data "+dir) {
		t.Errorf("it does not say how to start the node:\n%s", out)
	}
	verifyStopped(t, dir)
	o := drillSettings()
	o.dir = dir
	n := start(t, o)
	x.check(t, n)
	for _, key := range n.keys("load") {
		if a := n.must("GET", "/load/"+key, nil); !bytes.Equal(a.body, loadData(key)) {
			t.Errorf("load/%s has changed", key)
		}
	}
	n.must("PUT", "/flat/after", pattern("after", 20_000)) // it takes writes, and the source stays as it is
	if got := s.s3("GET", "/flat/after", nil).status; got != 404 {
		t.Errorf("what was written to the new node is at the source: %d", got)
	}
	a := lastBootstrap(t, dir)
	for name, want := range map[string]float64{
		`o3_bootstrap_total{reason="none",result="ok"}`: 1, `o3_bootstrap_bytes{kind="total"}`: float64(a.Bytes), `o3_bootstrap_bytes{kind="sent"}`: float64(a.Sent),
		`o3_bootstrap_validations_total{mode="strict",result="ok"}`: 1, `o3_bootstrap_validations_total{mode="normal",result="ok"}`: 0,
	} {
		base, labels, _ := strings.Cut(name, "{")
		if got := n.metric(base, strings.Split(strings.TrimSuffix(labels, "}"), ",")...); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if n.metric("o3_bootstrap_last_timestamp_seconds") == 0 || a.Bytes == 0 || a.Sent == 0 || a.Sent >= a.Bytes {
		t.Errorf("%+v", a)
	}
	var phases []string
	for _, r := range n.records(n.node.cfg.Audit.Path, audit.Query{}) {
		if r.Action == "om:Bootstrap" {
			phases = append(phases, r.Params["phase"]+" "+r.Result)
		}
	}
	if want := "[PREREQUISITES ok SELECTION ok TRANSFER ok VALIDATION ok APPLICATION ok SYNCHRONIZATION ok DONE ok]"; fmt.Sprint(phases) != want {
		t.Errorf("the audit log has %v", phases)
	}
}

// TestBootstrapNames: without the bytes, the new node takes up the block directory of
// the source's, and its log up to the end; a rollback puts back what was there.
func TestBootstrapNames(t *testing.T) {
	t.Parallel()
	s, x := drill(t)
	s.image()
	s.must("PUT", "/flat/last", pattern("last", 30_000)) // after the image
	x.Objects["/flat/last"], x.Lists["flat"] = s.fetch("/flat/last"), s.keys("flat")
	dir, blocks := filepath.Join(t.TempDir(), "data"), filepath.Join(s.Data, "blocks")
	var done struct {
		Entries uint64 `json:"log_entries"`
		Digest  string `json:"digest"`
		Start   string `json:"start"`
	}
	out := s.bootstrap(t, 0, "", "--data", dir, "--block-dir", blocks, "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &done); err != nil || done.Entries == 0 || !strings.Contains(done.Start, "ozone.block.dir="+blocks) {
		t.Errorf("%+v, %v\n%s", done, err, out)
	}
	if len(done.Digest) != 32 || !strings.Contains(out, "as at the source") {
		t.Errorf("its digest was not compared with the source's: %+v\n%s", done, out)
	}
	if err := s.shut(); err != nil {
		t.Fatal(err)
	}
	o := drillSettings()
	o.dir, o.set = dir, append(o.set, "ozone.block.dir="+blocks)
	n := start(t, o)
	x.check(t, n)
	if err := n.shut(); err != nil {
		t.Fatal(err)
	}
	verifyStopped(t, dir)
}

// TestBootstrapReplaces: a node makes way, comes back by a rollback, and makes way
// for good once the new one has served.
func TestBootstrapReplaces(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	s.bucket("photos", "")
	s.must("PUT", "/photos/new", pattern("new", 50_000))
	old := start(t, settings{})
	old.bucket("photos", "")
	old.must("PUT", "/photos/old", pattern("old", 50_000))
	dir := old.Data
	if out := s.bootstrap(t, cli.ExitUnavailable, "", "--data", dir, "--with-blocks", "--replace"); !strings.Contains(out, "running server") {
		t.Errorf("beside a running server:\n%s", out)
	}
	if err := old.shut(); err != nil {
		t.Fatal(err)
	}
	if out := s.bootstrap(t, cli.ExitPrecondition, "", "--data", dir, "--with-blocks"); !strings.Contains(out, "--replace") {
		t.Errorf("without --replace:\n%s", out)
	}
	s.bootstrap(t, 0, "", "--data", dir, "--with-blocks", "--replace")
	o3(t, 0, "admin", "om", "rollback", "--data", dir)
	n := start(t, settings{dir: dir})
	if a := n.must("GET", "/photos/old", nil); !bytes.Equal(a.body, pattern("old", 50_000)) {
		t.Errorf("after the rollback: %v", a)
	}
	if err := n.shut(); err != nil {
		t.Fatal(err)
	}
	s.bootstrap(t, 0, "", "--data", dir, "--with-blocks", "--replace")
	n = s.as(dir)
	if a := n.must("GET", "/photos/new", nil); !bytes.Equal(a.body, pattern("new", 50_000)) {
		t.Errorf("after the bootstrap: %v", a)
	}
	wait(t, "the old state is removed", func() bool {
		_, err := os.Stat(filepath.Join(dir, "previous"))
		return os.IsNotExist(err)
	})
	if err := n.shut(); err != nil {
		t.Fatal(err)
	}
	if a := lastBootstrap(t, dir); a.Result != bootstrap.Succeeded {
		t.Errorf("%+v", a)
	}
	if out := o3(t, cli.ExitPrecondition, "admin", "om", "rollback", "--data", dir); !strings.Contains(out, "kept") && !strings.Contains(out, "served") {
		t.Errorf("a rollback after the new node has served:\n%s", out)
	}
}

// as starts a node on a directory that was made of this one: with its users.
func (s *server) as(dir string) *server {
	s.t.Helper()
	return start(s.t, settings{dir: dir, env: []string{"O3_ROOT_ACCESS_KEY=" + s.root.AccessKey, "O3_ROOT_SECRET_KEY=" + s.root.SecretKey}})
}

// TestBootstrapRefused: who is no admin gets nothing, here or there; and what is not
// allowed is refused with the key's name.
func TestBootstrapRefused(t *testing.T) {
	t.Parallel()
	const key = "ozone.om.bootstrap.enabled"
	s := start(t, settings{})
	s.noise(1)
	dir := filepath.Join(t.TempDir(), "data")
	from := func(who client.Credentials, at string, args ...string) []string {
		return append([]string{"admin", "om", "bootstrap", "--from", at, "--data", dir, "--access-key", who.AccessKey, "--secret-key", who.SecretKey}, args...)
	}
	user := s.user("ann", "user")
	if out := o3(t, cli.ExitDenied, from(user, s.OM)...); !strings.Contains(out, "admin") {
		t.Errorf("a user who is no admin:\n%s", out)
	}
	if a := lastBootstrap(t, dir); a.Reason != bootstrap.ReasonDenied {
		t.Errorf("%+v", a)
	}
	o3(t, cli.ExitDenied, from(user, s.OM, "--check")...)
	o3(t, cli.ExitDenied, from(client.Credentials{AccessKey: s.root.AccessKey, SecretKey: "wrong-secret-wrong-secret"}, s.OM)...)
	if out := o3(t, cli.ExitDenied, from(s.root, s.OM, "-D", key+"=false")...); !strings.Contains(out, key) {
		t.Errorf("not enabled here:\n%s", out)
	}
	off := start(t, settings{set: []string{key + "=false"}})
	if out := o3(t, cli.ExitDenied, from(off.root, off.OM)...); !strings.Contains(out, key) {
		t.Errorf("not enabled at the source:\n%s", out)
	}
	if a := lastBootstrap(t, dir); a.Reason != bootstrap.ReasonDisabled {
		t.Errorf("%+v", a)
	}
	out := o3(t, cli.ExitUnavailable, from(s.root, "http://127.0.0.1:1", "-D", "ozone.om.bootstrap.retry.count=0")...)
	if a := lastBootstrap(t, dir); a.Reason != bootstrap.ReasonUnreachable {
		t.Errorf("%+v\n%s", a, out)
	}
	if out := o3(t, cli.ExitUsage, from(s.root, "http://192.0.2.1:9874")...); !strings.Contains(out, "TLS") {
		t.Errorf("without TLS to another machine:\n%s", out)
	}
}

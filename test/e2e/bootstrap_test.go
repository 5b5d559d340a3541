//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"o3/internal/tlsconf"
)

// bootstrapSource is a server with content, at an address that it keeps.
func bootstrapSource(t *testing.T, sets ...string) (s *server, then string) {
	t.Helper()
	s = startServer(t, append([]string{"ozone.om.address=" + freeAddress(t)}, sets...)...)
	seed := newSeed(t)
	then = t.TempDir()
	for name, c := range map[string]content{
		"readme.txt": {seed: seed, size: 700}, "img/one.bin": {seed: seed + 1, size: 3 << 20}, "img/two.bin": {seed: seed + 2, size: 12 << 20}, "empty": {},
		"dir with space/ü.bin": {seed: seed + 4, size: 9000},
	} {
		ok(t, os.MkdirAll(filepath.Dir(filepath.Join(then, name)), 0o700))
		c.writeFile(t, filepath.Join(then, name))
	}
	for bucket, layout := range map[string]string{"boot-flat": "OBJECT_STORE", "boot-tree": "FILE_SYSTEM_OPTIMIZED"} {
		s.must("sh", "bucket", "create", "/s3v/"+bucket, "--layout", layout)
		s.client(then, "rclone", "copy", ".", "o3:"+bucket)
		s.must("sh", "snapshot", "create", "/s3v/"+bucket, "s1")
	}
	return s, then
}

// bootstrapping is the command as a process.
func (s *server) bootstrapping(data string, args ...string) (*exec.Cmd, *output) {
	s.t.Helper()
	cmd := exec.Command(program, append([]string{"admin", "om", "bootstrap", "--from", s.om, "--data", data, "--with-blocks", "--json"}, args...)...)
	c := s.credentials()
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "O3_ACCESS_KEY="+c.AccessKey, "O3_SECRET_KEY="+c.SecretKey)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	said := newOutput("")
	cmd.Stdout, cmd.Stderr = said, said
	ok(s.t, cmd.Start())
	return cmd, said
}

// bootstrapEvent is what the tests read of a line.
type bootstrapEvent struct {
	Event   string `json:"event"`
	Phase   string `json:"phase"`
	Done    int64  `json:"bytes_done"`
	Total   int64  `json:"bytes_total"`
	Resumed int64  `json:"resumed_bytes"`
	Sent    int64  `json:"sent_bytes"`
	Bytes   int64  `json:"bytes"`
}

func bootstrapEvents(said *output) (out []bootstrapEvent) {
	for line := range strings.Lines(said.String()) {
		var e bootstrapEvent
		if json.Unmarshal([]byte(line), &e) == nil {
			out = append(out, e)
		}
	}
	return out
}

// transferred waits until some bytes of the image have come, or the process ended.
func transferred(t *testing.T, said *output, least int64) {
	t.Helper()
	eventually(t, func() error {
		for _, e := range bootstrapEvents(said) {
			if e.Phase == "TRANSFER" && e.Event == "progress" && e.Done > least || e.Event == "done" {
				return nil
			}
		}
		return fmt.Errorf("no bytes have come:\n%s", said)
	})
}

// TestBootstrap: a bootstrap whose process is killed again and again goes on; so does
// one whose source is killed and comes back. The new node has everything.
func TestBootstrap(t *testing.T) {
	s, then := bootstrapSource(t)
	data := filepath.Join(t.TempDir(), "new")
	check := s.must("admin", "om", "bootstrap", "--from", s.om, "--data", data, "--with-blocks", "--check")
	for _, row := range []string{"enabled", "data directory", "source " + hostOf(s.om), "clock", "encryption", "space"} {
		if !strings.Contains(check, row) {
			t.Errorf("--check does not show %q:\n%s", row, check)
		}
	}
	slow := []string{"--rate", "3MB"} // 30 MB: ten seconds
	for i := range 3 {
		cmd, said := s.bootstrapping(data, slow...)
		transferred(t, said, int64(i+1)*4<<20)
		ok(t, cmd.Process.Kill())
		_ = cmd.Wait()
		if out, code := s.o3("server", "--data", data, "-D", "ozone.om.address=127.0.0.1:0", "-D", "ozone.s3g.http-address=127.0.0.1:0"); code == 0 || !strings.Contains(out, "bootstrap") {
			t.Fatalf("a start on what a bootstrap left that was killed: exit code %d\n%s", code, out)
		}
	}
	if out := s.must("admin", "om", "bootstrap", "--status", "--data", data); !strings.Contains(out, "killed") || !strings.Contains(out, "run it again to go on") {
		t.Errorf("%s", out)
	}
	cmd, said := s.bootstrapping(data, append(slow, "-D", "ozone.om.bootstrap.retry.count=1000")...) // on a busy machine the source is away for long
	transferred(t, said, 14<<20)
	s.kill()
	s.start()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	events := bootstrapEvents(said)
	last := events[len(events)-1]
	t.Logf("%+v", last)
	if last.Event != "done" || last.Resumed < 10<<20 || last.Sent > last.Bytes-8<<20 {
		t.Errorf("it did not go on: %+v", last)
	}
	n := newServer(t)
	n.data = data
	n.verify()
	root := s.credentials()
	t.Setenv("O3_ROOT_ACCESS_KEY", root.AccessKey)
	t.Setenv("O3_ROOT_SECRET_KEY", root.SecretKey)
	n.start()
	for _, bucket := range []string{"boot-flat", "boot-tree"} {
		sameTree(t, n.copyOut(bucket), then)
		sameTree(t, n.copyOut(bucket+"/.snapshot/s1"), then)
	}
	n.must("sh", "key", "put", "/s3v/boot-flat/after", filepath.Join(then, "readme.txt"))
	n.stop()
	n.verify()
}

// TestBootstrapInterrupted: Ctrl-C leaves what goes on, and says so.
func TestBootstrapInterrupted(t *testing.T) {
	s, _ := bootstrapSource(t)
	data := filepath.Join(t.TempDir(), "new")
	cmd, said := s.bootstrapping(data, "--rate", "2MB")
	transferred(t, said, 1<<20)
	ok(t, cmd.Process.Signal(unix.SIGINT))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d\n%s", code, said)
	}
	if out := s.must("admin", "om", "bootstrap", "--status", "--data", data); !strings.Contains(out, "cancelled") {
		t.Errorf("%s", out)
	}
	s.must("admin", "om", "bootstrap", "--from", s.om, "--data", data, "--with-blocks")
}

// TestBootstrapRefused: over TLS too, only an admin gets an image, and nobody where
// it is not enabled.
func TestBootstrapRefused(t *testing.T) {
	dir := t.TempDir()
	ca, err := tlsconf.NewCA("o3 e2e", time.Hour)
	ok(t, err)
	caFile := filepath.Join(dir, "ca.pem")
	ok(t, os.WriteFile(caFile, ca.Pair().Cert, 0o600))
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, err := ca.Issue(tlsconf.Request{Name: "o3", Hosts: []string{"127.0.0.1"}, Valid: time.Hour})
	ok(t, err)
	ok(t, pair.Write(cert, key))
	s := startServer(t, "ozone.om.tls.cert="+cert, "ozone.om.tls.key="+key)
	s.must("--ca", caFile, "admin", "user", "create", "ann")
	var made struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	ok(t, json.Unmarshal([]byte(s.must("--ca", caFile, "--json", "admin", "key", "create", "--user", "ann")), &made))
	data := filepath.Join(dir, "new")
	from := []string{"--ca", caFile, "admin", "om", "bootstrap", "--from", s.om, "--data", data, "--with-blocks"}
	as := func(id, secret string, more ...string) (string, int) {
		cmd := exec.Command(program, append(from, more...)...)
		cmd.Env = append(os.Environ(), "NO_PROXY=*", "O3_ACCESS_KEY="+id, "O3_SECRET_KEY="+secret)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := as(made.ID, made.Secret); code != 5 || !strings.Contains(out, "admin") {
		t.Errorf("a user who is no admin: exit code %d\n%s", code, out)
	}
	root := s.credentials()
	if out, code := as(root.AccessKey, root.SecretKey, "-D", "ozone.om.bootstrap.enabled=false"); code != 5 || !strings.Contains(out, "ozone.om.bootstrap.enabled") {
		t.Errorf("not enabled at the target: exit code %d\n%s", code, out)
	}
	if out, code := as(root.AccessKey, root.SecretKey, "--check"); code != 0 || !strings.Contains(out, "TLS") {
		t.Errorf("--check over TLS: exit code %d\n%s", code, out)
	}
	if out, code := as(root.AccessKey, root.SecretKey); code != 0 {
		t.Errorf("an admin over TLS: exit code %d\n%s", code, out)
	}
	off := startServer(t, "ozone.om.bootstrap.enabled=false")
	if out, code := off.o3("admin", "om", "bootstrap", "--from", off.om, "--data", filepath.Join(dir, "other")); code != 5 || !strings.Contains(out, "ozone.om.bootstrap.enabled") {
		t.Errorf("not enabled at the source: exit code %d\n%s", code, out)
	}
}

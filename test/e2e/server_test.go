//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"o3/client"
)

// startTimeout bounds a start, a stop, and every wait for something that is
// expected to happen. It is generous: machines are busy.
const startTimeout = 2 * time.Minute

// server is a server process and its data directory. A server may be started
// again after it ended; it then listens elsewhere.
type server struct {
	t    testing.TB
	data string
	args []string // further ones of `o3 server`
	env  []string // further environment

	s3, om, recon string       // URLs; "": it has not this role
	s3addr        atomic.Value // host:port of s3, for clients that outlive a process

	cmd    *exec.Cmd
	out    *output // standard output
	log    *output // standard error
	exited chan struct{}
	err    error // of Wait; after exited
}

// newServer describes a server with a new data directory, not started. sets
// are configuration keys as `-D` has them.
func newServer(t testing.TB, sets ...string) *server {
	t.Helper()
	s := &server{t: t, data: filepath.Join(t.TempDir(), "data")}
	for _, set := range append([]string{"ozone.s3g.http-address=127.0.0.1:0", "ozone.om.address=127.0.0.1:0", "ozone.recon.http-address=127.0.0.1:0"}, sets...) {
		s.args = append(s.args, "-D", set)
	}
	t.Cleanup(s.cleanup)
	return s
}

// startServer starts one.
func startServer(t testing.TB, sets ...string) *server {
	t.Helper()
	s := newServer(t, sets...)
	s.start()
	return s
}

func (s *server) cleanup() {
	if s.running() {
		s.kill()
	}
	if s.t.Failed() && s.log != nil {
		s.t.Logf("the server's log ends with\n%s", s.log.tail(4000))
	}
}

// launch starts the process and does not wait until it serves.
func (s *server) launch() {
	s.t.Helper()
	s.out, s.log, s.exited = newOutput("\n  data "), newOutput(""), make(chan struct{})
	s.cmd = exec.Command(program, append([]string{"server", "--data", s.data}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.log
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no orphans when the test is killed
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, exited := s.cmd, s.exited
	go func() { s.err = cmd.Wait(); close(exited) }()
}

// start starts the server and waits until it serves.
func (s *server) start() {
	s.t.Helper()
	if err := s.tryStart(); err != nil {
		s.t.Fatal(err)
	}
}

// tryStart starts the server and returns nil when it serves; else it has ended
// and the error holds what it said.
func (s *server) tryStart() error {
	s.t.Helper()
	s.launch()
	select {
	case <-s.out.seen:
	case <-s.exited:
		return fmt.Errorf("the server did not start: %w\n%s", s.err, s.log.tail(4000))
	case <-time.After(startTimeout):
		s.kill()
		return fmt.Errorf("the server did not start in time\n%s", s.log.tail(4000))
	}
	for _, line := range strings.Split(s.out.String(), "\n") {
		if url, ok := strings.CutPrefix(line, "  S3      "); ok {
			s.s3 = url
		} else if url, ok := strings.CutPrefix(line, "  OM API  "); ok {
			s.om = url
		} else if url, ok := strings.CutPrefix(line, "  Recon   "); ok {
			s.recon = url
		}
	}
	if s.recon == "" && (s.s3 == "" || s.om == "") {
		s.t.Fatalf("the server did not say where it listens:\n%s", s.out)
	}
	s.s3addr.Store(hostOf(s.s3))
	return nil
}

func hostOf(url string) string { _, host, _ := strings.Cut(url, "://"); return host }

func (s *server) running() bool {
	if s.exited == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// kill ends the process as a power cut does, as far as a process can tell.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// terminate asks the process to end.
func (s *server) terminate() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatalf("SIGTERM: %v\n%s", err, s.log.tail(4000))
	}
}

// stop ends the process in good order.
func (s *server) stop() {
	s.t.Helper()
	s.terminate()
	s.wait()
	if s.err != nil {
		s.t.Fatalf("the server stopped with %v\n%s", s.err, s.log.tail(4000))
	}
}

// wait waits until the process has ended.
func (s *server) wait() {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(startTimeout):
		s.kill()
		s.t.Fatalf("the server did not stop in time\n%s", s.log.tail(4000))
	}
}

// restart stops the server and starts it again.
func (s *server) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// credentials returns the root key.
func (s *server) credentials() client.Credentials {
	s.t.Helper()
	c, err := client.ReadCredentials(filepath.Join(s.data, client.CredentialsFile))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// o3 runs the command line and returns its output and exit code.
func (s *server) o3(args ...string) (out string, code int) {
	s.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "NO_PROXY=*")
	if s.running() {
		c := s.credentials()
		cmd.Env = append(cmd.Env, "O3_ENDPOINT="+s.om, "O3_RECON_ENDPOINT="+s.recon, "O3_ACCESS_KEY="+c.AccessKey, "O3_SECRET_KEY="+c.SecretKey)
	}
	said := newOutput("")
	cmd.Stdout, cmd.Stderr = said, said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("o3 %s: %v", strings.Join(args, " "), err)
	}
	return said.String(), cmd.ProcessState.ExitCode()
}

// must runs the command line, which must succeed.
func (s *server) must(args ...string) string {
	s.t.Helper()
	out, code := s.o3(args...)
	if code != 0 {
		s.t.Fatalf("o3 %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// verify checks the files of the stopped server.
func (s *server) verify() {
	s.t.Helper()
	s.t.Logf("db verify: %s", lastLine(s.must("--quiet", "debug", "db", "verify", "--data", s.data)))
	s.t.Logf("block verify: %s", lastLine(s.must("--quiet", "debug", "block", "verify", "--data", s.data)))
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// output collects what a process says.
type output struct {
	mark string
	seen chan struct{} // closed when mark was written

	mu   sync.Mutex
	text []byte
}

func newOutput(mark string) *output { return &output{mark: mark, seen: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if o.mark != "" && bytes.Contains(o.text, []byte(o.mark)) && bytes.HasSuffix(o.text, []byte("\n")) {
		o.mark = ""
		close(o.seen)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *output) tail(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}

// eventually repeats f until it returns nil; after startTimeout the test fails
// with its last error.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	late := time.After(startTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %v", err)
		}
	}
}

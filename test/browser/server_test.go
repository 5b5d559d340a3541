//go:build browser && linux

package browser

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"o3/client"
)

// startTimeout bounds a start and a stop.
const startTimeout = 2 * time.Minute

// server is a server process and its data directory.
type server struct {
	t    *testing.T
	data string
	args []string
	env  []string

	s3, recon string // URLs; "": it has not this role

	cmd    *exec.Cmd
	log    *output
	exited chan error // nil: it does not run
}

// newServer describes a server with a new data directory, not started. sets are
// configuration keys as `-D` has them.
func newServer(t *testing.T, sets ...string) *server {
	t.Helper()
	s := &server{t: t, data: filepath.Join(t.TempDir(), "data"), log: newOutput("")}
	for _, set := range append([]string{"ozone.s3g.http-address=127.0.0.1:0", "ozone.om.address=127.0.0.1:0", "ozone.recon.http-address=127.0.0.1:0"}, sets...) {
		s.args = append(s.args, "-D", set)
	}
	t.Cleanup(func() {
		if s.exited != nil {
			_ = s.cmd.Process.Kill()
			<-s.exited
		}
		if t.Failed() {
			t.Logf("the server's log ends with\n%s", s.log.tail(4000))
		}
	})
	return s
}

// start starts the process and returns when it serves.
func (s *server) start() error {
	out := newOutput("\n  data ")
	s.cmd = exec.Command(program, append([]string{"server", "--data", s.data}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = out, s.log
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no orphans when the test is killed
	if err := s.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	s.exited = exited
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(s.cmd)
	select {
	case <-out.seen:
	case err := <-exited:
		s.exited = nil
		return fmt.Errorf("the server did not start: %w", err)
	case <-time.After(startTimeout):
		return fmt.Errorf("the server did not start in time")
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if url, ok := strings.CutPrefix(line, "  S3      "); ok {
			s.s3 = url
		} else if url, ok := strings.CutPrefix(line, "  Recon   "); ok {
			s.recon = url
		}
	}
	if s.s3 == "" && s.recon == "" {
		return fmt.Errorf("the server did not say where it listens:\n%s", out)
	}
	return nil
}

// stop ends the process in good order.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-s.exited:
		s.exited = nil
		return err
	case <-time.After(startTimeout):
		return fmt.Errorf("the server did not stop in time")
	}
}

// ready waits until Recon has something to answer from.
func (s *server) ready() error {
	late := time.Now().Add(startTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		resp, err := http.Get(s.recon + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("Recon is not ready in time: %s", resp.Status)
		}
	}
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

// output collects what a process says.
type output struct {
	mark string
	seen chan struct{} // closed when a line with mark was written

	mu   sync.Mutex
	text []byte
}

func newOutput(mark string) *output { return &output{mark: mark, seen: make(chan struct{})} }

// Write implements io.Writer.
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

// String implements fmt.Stringer.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *output) tail(n int) string {
	s := o.String()
	return s[max(0, len(s)-n):]
}

//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The steps of the breaker, as the log has them.
var (
	cutDown = []string{"SMALLER_BATCHES", "FEWER_THREADS", "PAUSED"}
	goesOn  = []string{"FEWER_THREADS", "SMALLER_BATCHES", "NONE"}
)

// squeezed is a Recon of its own whose machine has too little, and the OM that it
// follows. While the OM's process is stopped a stage waits for its image: for so
// long as it takes until it was cut down as far as wanted.
type squeezed struct {
	*server
	om      *server
	keys    int
	waitsIn string // the phase in which a stage waits that is paused
}

// squeezedStatus is what o3 admin staging status says.
type squeezedStatus struct {
	State, StagingID, Phase, LastError string
	Breaker, BreakerWhy                string
	Threads, BatchRows                 int
}

// newSqueezed starts both. on is where Recon's data is, "" anywhere; env is its
// environment.
func newSqueezed(t *testing.T, on string, env []string, sets ...string) *squeezed {
	t.Helper()
	address := freeAddress(t)
	om := startServer(t, "ozone.server.roles=s3,om", "ozone.om.address="+address)
	s := &squeezed{om: om, keys: 40}
	c := om.sdk()
	makeBucket(t, c, "squeezed", fso)
	for i := range s.keys {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("squeezed"), Key: aws.String(fmt.Sprintf("d%d/k%d", i%4, i)), Body: strings.NewReader("content")})
		ok(t, err)
	}
	s.server = consoleOf(t, om, address)
	for _, set := range append([]string{"ozone.recon.staging.health.check.interval.seconds=500ms", "ozone.recon.staging.max.retry.attempts=0"}, sets...) {
		s.args = append(s.args, "-D", set)
	}
	s.env = append(s.env, env...)
	if on != "" {
		s.data = filepath.Join(on, "data")
	}
	s.start()
	s.ask("admin", "recon", "status", "--wait", "2m")
	s.ask("admin", "staging", "status", "--wait", "2m")
	return s
}

// ask runs the command line against Recon.
func (s *squeezed) ask(args ...string) string {
	s.t.Helper()
	return s.om.must(append([]string{"--json"}, append(args, "--recon-endpoint", s.recon)...)...)
}

func (s *squeezed) status() (st squeezedStatus) {
	s.t.Helper()
	out, _ := s.om.o3("--json", "admin", "staging", "status", "--recon-endpoint", s.recon) // of one that failed it does not exit with 0
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return st
}

// get asks Recon by HTTP.
func (s *squeezed) get(ctx context.Context, path string) (status int, body []byte, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.recon+path, nil)
	if err != nil {
		return 0, nil, err
	}
	root := s.om.credentials()
	q.SetBasicAuth(root.AccessKey, root.SecretKey)
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, errors.Join(err, resp.Body.Close())
}

// serving asks again and again while f runs, and wants each answer to be whole.
func (s *squeezed) serving(f func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	var answers atomic.Int64
	wg.Go(func() {
		for ctx.Err() == nil {
			status, body, err := s.get(ctx, "/api/v1/namespace/summary?path=/s3v/squeezed")
			var said struct{ CountStats struct{ NumKey int } }
			if ctx.Err() != nil {
				return
			}
			if err = errors.Join(err, json.Unmarshal(body, &said)); err != nil || status != http.StatusOK || said.CountStats.NumKey != s.keys {
				s.t.Errorf("an answer meanwhile: %d %s %v", status, body, err)
				return
			}
			answers.Add(1)
		}
	})
	f()
	cancel()
	wg.Wait()
	s.t.Logf("%d answers meanwhile", answers.Load())
	if answers.Load() == 0 {
		s.t.Error("nobody was answered")
	}
}

// metric returns the value of a series, "" where it is not shown.
func (s *squeezed) metric(series string) string {
	s.t.Helper()
	_, body, err := s.get(s.t.Context(), "/metrics")
	ok(s.t, err)
	for line := range strings.Lines(string(body)) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// steps returns where the breaker has gone in a stage, as the log says.
func (s *squeezed) steps(id string) (to []string) {
	line := regexp.MustCompile(`a stage may take more or less than before.*stagingId=` + id + ` .*\bto=([A-Z_]+)`)
	for _, m := range line.FindAllStringSubmatch(s.log.String(), -1) {
		to = append(to, m[1])
	}
	return to
}

// stopOM and contOM stop the OM's process, and let it go on.
func (s *squeezed) stopOM() { s.t.Helper(); ok(s.t, s.om.cmd.Process.Signal(syscall.SIGSTOP)) }
func (s *squeezed) contOM() { s.t.Helper(); ok(s.t, s.om.cmd.Process.Signal(syscall.SIGCONT)) }

// begin begins a stage that waits for its image, and returns it as it is with all
// that it may take. What was given back may take a moment to be free: one that is
// cut down at once is cancelled, and another one begun.
func (s *squeezed) begin() (whole squeezedStatus) {
	s.t.Helper()
	s.stopOM()
	eventually(s.t, func() error {
		s.ask("admin", "staging", "reprocess")
		eventually(s.t, func() error {
			if whole = s.status(); whole.State != "INITIALIZING" || whole.Phase != "IMAGE" {
				return fmt.Errorf("%+v", whole)
			}
			return nil
		})
		if whole.Breaker == "NONE" {
			return nil
		}
		s.om.o3("admin", "staging", "cancel", "--recon-endpoint", s.recon) // or it has ended by itself
		return fmt.Errorf("there is enough of everything, and it began so: %+v; it ended so: %+v", whole, s.ended())
	})
	if whole.Threads != 4 || whole.BatchRows <= 16 {
		s.t.Fatalf("there is enough of everything, and it began so: %+v", whole)
	}
	return whole
}

// pauses begins a stage, takes from it what it needs, and gives that back once it
// is paused and waits. It reports whether it did so in time;
// after six looks at too little a stage comes to nothing.
func (s *squeezed) pauses(why string, take, give func()) (id string, inTime bool) {
	s.t.Helper()
	whole := s.begin()
	take()
	var st squeezedStatus
	over := func() bool { return st.State == "FAILED" }
	eventually(s.t, func() error {
		st = s.status()
		switch small := st.BatchRows < whole.BatchRows; {
		case over():
		case st.Breaker != "NONE" && (!small || !strings.Contains(st.BreakerWhy, why)),
			st.Breaker == "FEWER_THREADS" && st.Threads != 1:
			s.t.Fatalf("it was cut down, and has %+v", st)
		case st.Breaker != "PAUSED":
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	s.contOM()
	s.om.must("sh", "volume", "list") // it answers again
	eventually(s.t, func() error {
		if st = s.status(); !over() && st.Phase != s.waitsIn {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	if over() || st.Breaker != "PAUSED" || s.metric("o3_recon_staging_breaker") != "3" {
		over := s.ended()
		s.t.Logf("this machine was too slow: %+v", over)
		give()
		return whole.StagingID, false
	}
	give()
	st = s.ended()
	return whole.StagingID, st.State == "NONE" && st.LastError == ""
}

// ended waits until no stage is made.
func (s *squeezed) ended() (st squeezedStatus) {
	s.t.Helper()
	eventually(s.t, func() error {
		if st = s.status(); st.State != "NONE" && st.State != "FAILED" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	return st
}

// scenario has a stage cut down to a pause and let go on, and another one come to
// nothing, with answers all the time. take takes what they need, and give gives it
// back; why is what the breaker says.
func (s *squeezed) scenario(why string, take, give func()) {
	s.t.Helper()
	s.serving(func() {
		for try := 1; ; try++ {
			id, inTime := s.pauses(why, take, give)
			got := s.steps(id) // it may be whole before it has all back
			if all := append(slices.Clone(cutDown), goesOn...); inTime && len(got) > len(cutDown) && slices.Equal(got, all[:min(len(got), len(all))]) {
				break
			} else if try == 5 {
				s.t.Fatalf("%s went to %v", id, got)
			}
		}
		failures := `o3_recon_staging_operations_failures_total{reason="RESOURCES_EXHAUSTED"}`
		before := s.metric(failures)
		id := s.begin().StagingID
		take()
		st := s.ended()
		if st.StagingID != id || st.State != "FAILED" || !strings.Contains(st.LastError, why) {
			s.t.Errorf("with too little for long: %+v", st)
		}
		if got := s.steps(id); !slices.Equal(got, append(slices.Clone(cutDown), "FAILED")) {
			s.t.Errorf("%s went to %v", id, got)
		}
		if now := s.metric(failures); now == before {
			s.t.Errorf("%s: %s as before", failures, now)
		}
		if status, _, err := s.get(s.t.Context(), "/readyz"); err != nil || status != http.StatusOK {
			s.t.Errorf("a failed stage made /readyz answer %d, %v", status, err)
		}
		give()
		s.contOM()
		eventually(s.t, func() error { // what was given back may take a moment to be free
			s.om.o3("admin", "staging", "retry", "--recon-endpoint", s.recon)
			if st := s.ended(); st.State != "NONE" || st.LastError != "" {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	})
	for _, to := range append([]string{"FAILED"}, cutDown...) {
		if series := `o3_recon_staging_breaker_steps_total{to="` + to + `"}`; s.metric(series) == "" {
			s.t.Errorf("%s is not shown", series)
		}
	}
	s.stop()
	s.om.stop()
}

// TestStagingDiskShort: a stage on a disk that somebody else fills.
func TestStagingDiskShort(t *testing.T) {
	dir := smallDisk(t, 256<<20)
	s := newSqueezed(t, dir, nil, "ozone.block.reserve=64MB")
	s.waitsIn = "IMAGE" // what transfers images leaves the reserve alone, too
	f := filler{t, filepath.Join(dir, "filler")}
	s.scenario("64.0 MiB are to stay so", func() { f.leave(48 << 20) }, f.remove)
}

// TestStagingMemoryShort: a stage in a process that has a limit, and many clients
// who send requests as long as may be and do not end them.
func TestStagingMemoryShort(t *testing.T) {
	const limit = 128
	s := newSqueezed(t, "", []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", limit)}, "ozone.s3g.request.header.timeout=1h")
	s.waitsIn = "REBUILD"
	crowd := &crowd{t: t, at: hostOf(s.recon)}
	t.Cleanup(crowd.leave)
	s.scenario(fmt.Sprintf("of %d.0 MiB", limit), func() {
		for short := false; !short && len(crowd.conns) < 4000; { // and then some more, so that it stays short
			short = s.metric("o3_recon_staging_breaker") != "0"
			crowd.come(200)
		}
	}, crowd.leave)
}

// crowd is clients whose requests are held in a server's memory.
type crowd struct {
	t     *testing.T
	at    string
	conns []net.Conn
}

// come connects n of them; each sends nearly as much as a header may have.
func (c *crowd) come(n int) {
	c.t.Helper()
	start := "GET / HTTP/1.1\r\nHost: o3\r\nX-Long: " + strings.Repeat("x", 60<<10)
	for range n {
		conn, err := net.Dial("tcp", c.at)
		ok(c.t, err)
		c.conns = append(c.conns, conn)
		_, err = io.WriteString(conn, start)
		ok(c.t, err)
	}
}

func (c *crowd) leave() {
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

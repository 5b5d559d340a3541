package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"o3/internal/freon"
)

// The access key of every server here; they listen on the loopback interface
// and live for minutes.
const (
	accessKey = "BENCHBENCHBENCHBENCH"
	secretKey = "benchbenchbenchbenchbenchbenchbenchbench"
)

// lab is the programs and the place for their data.
type lab struct {
	*settings
	dir       string
	o3        string // binaries
	versitygw string
	pinned    string   // the core of the load generator; "": any
	notes     []string // what went wrong without spoiling a figure
}

// newLab builds the programs.
func newLab(ctx context.Context, s *settings) (*lab, error) {
	dir, err := os.MkdirTemp(s.work, "o3-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{settings: s, dir: dir, o3: filepath.Join(dir, "o3"), versitygw: filepath.Join(dir, "versitygw")}
	say("building o3")
	if err := build(ctx, s.root, l.o3, "./cmd/o3"); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func build(ctx context.Context, dir, out, pkg string) error {
	c := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	c.Dir, c.Stdout, c.Stderr = dir, os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("go build %s: %w", pkg, err)
	}
	return nil
}

func (l *lab) close() {
	if l.keep {
		say("kept %s", l.dir)
		return
	}
	if err := os.RemoveAll(l.dir); err != nil {
		say("%v", err)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// server is a process under test.
type server struct {
	name  string
	s3    string // URL
	om    string // URL; "" if it has none
	recon string // URL; "" if it has none
	cmd   *exec.Cmd
	done  chan error
	log   *bytes.Buffer
	took  time.Duration // from the start to the first answer
}

func (s *server) pid() string { return strconv.Itoa(s.cmd.Process.Pid) }

// start runs a program and waits until ready says it serves.
func start(name string, ready func(line string) bool, alive func() bool, program string, args ...string) (*server, error) {
	s := &server{name: name, cmd: exec.Command(program, args...), done: make(chan error, 1), log: new(bytes.Buffer)}
	s.cmd.Env = append(os.Environ(), "O3_ROOT_ACCESS_KEY="+accessKey, "O3_ROOT_SECRET_KEY="+secretKey)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = in, in
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	_ = in.Close() // the child has it
	seen := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if s.log.Len() < 1<<20 {
				s.log.WriteString(lines.Text() + "\n")
			}
			if ready != nil && ready(lines.Text()) {
				select {
				case seen <- true:
				default:
				}
			}
		}
		s.done <- s.cmd.Wait()
	}()
	deadline := time.After(2 * time.Minute)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-seen:
			s.took = time.Since(begin)
			return s, nil
		case err := <-s.done:
			return nil, fmt.Errorf("%s ended: %w\n%s", name, err, s.log)
		case <-deadline:
			_ = s.cmd.Process.Kill() // it is reported
			return nil, fmt.Errorf("%s does not answer", name)
		case <-poll.C:
			if alive != nil && alive() {
				s.took = time.Since(begin)
				return s, nil
			}
		}
	}
}

// stop ends the server: in order, or at once as a crash would.
func (s *server) stop(crash bool) error {
	signal := syscall.SIGTERM
	if crash {
		signal = syscall.SIGKILL
	}
	if err := s.cmd.Process.Signal(signal); err != nil {
		return err
	}
	select {
	case err := <-s.done:
		if crash {
			return nil
		}
		return err
	case <-time.After(2 * time.Minute):
		return errors.Join(fmt.Errorf("%s does not stop", s.name), s.cmd.Process.Kill())
	}
}

// startO3 starts an O3 server on dir.
func (l *lab) startO3(dir string, set ...string) (*server, error) {
	args := []string{"server", "--data", dir, "-D", "ozone.s3g.http-address=127.0.0.1:0", "-D", "ozone.om.address=127.0.0.1:0", "-D", "ozone.server.roles=s3,om", "-D", "ozone.log.level=warn"}
	for _, one := range append(l.set, set...) {
		args = append(args, "-D", one)
	}
	urls := map[string]string{}
	s, err := start("o3", func(line string) bool {
		fields := strings.Fields(line)
		if len(fields) > 1 {
			urls[fields[0]] = fields[len(fields)-1]
		}
		return len(fields) == 2 && fields[0] == "data"
	}, nil, l.o3, args...)
	if err != nil {
		return nil, err
	}
	s.s3, s.om = urls["S3"], urls["OM"]
	return s, nil
}

// startVersity starts versitygw over a directory.
func (l *lab) startVersity(ctx context.Context, dir string) (*server, error) {
	if _, err := os.Stat(l.versitygw); err != nil {
		say("building versitygw")
		if err := build(ctx, ".", l.versitygw, "github.com/versity/versitygw/cmd/versitygw"); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	alive := func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}
	s, err := start("versitygw", nil, alive, l.versitygw,
		"--port", address, "--access", accessKey, "--secret", secretKey, "--quiet", "--keep-alive", "posix", dir)
	if err != nil {
		return nil, err
	}
	s.s3 = "http://" + address
	return s, nil
}

// freon runs the load generator; endpoint is the S3 or the OM URL.
func (l *lab) freon(ctx context.Context, s *server, endpoint string, args ...string) (*freon.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	args = append([]string{"freon", "--json", args[0], "--endpoint", endpoint, "--server-pid", s.pid()}, args[1:]...)
	program := l.o3
	if l.pinned != "" {
		program, args = "taskset", append([]string{"-c", l.pinned, l.o3}, args...)
	}
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), "O3_ACCESS_KEY="+accessKey, "O3_SECRET_KEY="+secretKey)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	runErr := c.Run()
	r := new(freon.Result)
	err := json.Unmarshal(out.Bytes(), r)
	if err == nil && runErr != nil && r.Total.Errors > 0 && r.Total.Errors < r.Total.Count/100 && !r.GaveUp {
		// A few errors do not spoil a rate; they are shown beside it.
		note := fmt.Sprintf("%s, %s, %d clients: %d of %d operations failed: %s", s.name, r.Command, r.Threads, r.Total.Errors, r.Total.Count, r.Failures[0].Example)
		say("%s", note)
		l.notes = append(l.notes, note)
		return r, nil
	}
	if err != nil || runErr != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), errors.Join(runErr, err), &stderr, &out)
	}
	return r, nil
}

// machine describes where the figures were made.
func machine() string {
	var memory string
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int
		if _, err := fmt.Sscanf(string(raw), "MemTotal: %d kB", &kb); err == nil {
			memory = fmt.Sprintf(", %d GB memory", (kb+1<<19)>>20)
		}
	}
	cpu := runtime.GOARCH
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(raw), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			cpu = strings.TrimSpace(strings.TrimLeft(line, " \t:"))
		}
	}
	return fmt.Sprintf("%d × %s%s, %s, %s", runtime.NumCPU(), cpu, memory, runtime.GOOS, runtime.Version())
}

// loadAverage is how busy the machine was: one minute's average.
func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return first
}

// remarks are the notes as a list.
func (l *lab) remarks() string {
	if len(l.notes) == 0 {
		return "\nNo operation failed.\n"
	}
	return "\nErrors:\n\n- " + strings.Join(l.notes, "\n- ") + "\n"
}

// save writes the result of a command: for machines, and the section of the
// document.
func (s *settings) save(name string, result any, markdown string) error {
	raw, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.out, name+".json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.out, name+".md"), []byte(markdown), 0o644); err != nil {
		return err
	}
	_, err = fmt.Println(markdown)
	return err
}

// get fetches a page that needs no signature.
func get(ctx context.Context, r *http.Request, limit int64) ([]byte, error) {
	resp, err := http.DefaultClient.Do(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", r.URL, resp.Status, raw)
	}
	return raw, err
}

//go:build e2e && linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// free are the flags that make a server listen where nobody else does.
var free = []string{"-D", "ozone.s3g.http-address=127.0.0.1:0", "-D", "ozone.om.address=127.0.0.1:0", "-D", "ozone.recon.http-address=127.0.0.1:0"}

// TestBadStarts runs testdata/start/*.txtar: starts that must fail, each with
// the reason.
func TestBadStarts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { taken.Close() })
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/start",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "PATH="+filepath.Dir(program)+":/usr/bin:/bin", "TAKEN="+taken.Addr().String())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": serverCommand,
			"o3":     func(ts *testscript.TestScript, neg bool, args []string) { run(ts, neg, program, args) },
		},
	})
}

// serverCommand: server ARGS... starts `o3 server`, waits until it serves, and
// stops it. With ! it must end by itself, with an error. What it says is in the
// file log.
func serverCommand(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command(program, append(append([]string{"server"}, free...), args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	for _, name := range []string{"OZONE_NO_SUCH_KEY", "O3_ROOT_ACCESS_KEY", "O3_ROOT_SECRET_KEY"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	out, log, exited := newOutput("\n  data "), newOutput(""), make(chan error, 1)
	cmd.Stdout, cmd.Stderr = out, log
	ts.Check(cmd.Start())
	go func() { exited <- cmd.Wait() }()
	var err error
	select {
	case err = <-exited:
		if !neg {
			ts.Fatalf("the server did not start: %v\n%s", err, log)
		}
	case <-out.seen:
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
		err = <-exited
		if neg {
			ts.Fatalf("the server started, which was not expected\n%s", log)
		}
	case <-time.After(startTimeout):
		_ = cmd.Process.Kill()
		ts.Fatalf("the server did not start in time\n%s", log)
	}
	ts.Check(os.WriteFile(ts.MkAbs("log"), []byte(out.String()+log.String()), 0o600))
	if (err != nil) != neg {
		ts.Fatalf("the server ended with %v\n%s", err, log)
	}
}

// TestLostParts: a part of the data is gone, by a forgotten mount or a bad
// restore. The node does not start as if it had always been empty, and starts
// when the part is back.
func TestLostParts(t *testing.T) {
	s := startServer(t, "ozone.om.db.memtable.size=256KB", "ozone.om.db.flush.interval=100ms", "ozone.om.ratis.log.purge.preservation.log.num=1")
	c := s.sdk()
	makeBucket(t, c, "lost", "")
	d := &damaged{server: s, c: c, bucket: "lost", want: map[string]content{}}
	for i := range 50 {
		d.put(fmt.Sprint(i), int64(3000+100*i))
	}
	for range 1200 { // so that the log is cut behind what the store has
		d.put("last", 10)
	}
	eventually(t, func() error {
		if out := s.must("admin", "status"); strings.Contains(out, "first 2,") {
			return fmt.Errorf("the log is still whole:\n%s", out)
		}
		return nil
	})
	s.stop()
	for _, part := range []string{"blocks", "om/store", "om/raft", "om", "node"} {
		path := filepath.Join(s.data, part)
		ok(t, os.Rename(path, path+".away"))
		if err := s.tryStart(); err == nil {
			t.Errorf("it starts without %s", part)
			s.stop()
		} else {
			t.Logf("without %s: %s", part, lastLine(s.log.String()))
		}
		ok(t, os.RemoveAll(path))
		ok(t, os.Rename(path+".away", path))
	}
	s.start()
	if bad := d.readAll(); len(bad) != 0 {
		t.Fatalf("with everything back: %v", bad)
	}
	s.stop()
	s.verify()
}

// TestOneServerPerDirectory: a second server on a data directory in use does
// not start, and leaves the first alone; nor does verify look at it.
func TestOneServerPerDirectory(t *testing.T) {
	s := startServer(t)
	c := s.sdk()
	makeBucket(t, c, "first", "")
	second := exec.Command(program, append([]string{"server", "--data", s.data}, free...)...)
	said, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(said), s.data+": in use by a running server or another command: stop it first") {
		t.Fatalf("a second server: %v\n%s", err, said)
	}
	t.Logf("%s", lastLine(string(said)))
	if out, exit := s.o3("debug", "db", "verify", "--data", s.data); exit != codeUnavailable || !strings.Contains(out, "in use by a running server: stop it first") {
		t.Errorf("db verify of a running server: exit code %d\n%s", exit, out)
	}
	makeBucket(t, c, "still", "")
	s.stop()
	s.verify()
}

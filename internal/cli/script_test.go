package cli_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"o3/internal/app"
	"o3/internal/cli"
	"o3/internal/config"
)

// startServer starts a whole server for a script, with its data in o3-data of
// the script's directory, and returns where it listens. It ends
// with the script.
func startServer(e *testscript.Env) (at app.Endpoints, err error) {
	cfg, err := config.Load(config.Sources{
		Data: filepath.Join(e.WorkDir, "o3-data"),
		Set:  []string{"ozone.om.address=127.0.0.1:0", "ozone.s3g.http-address=127.0.0.1:0", "ozone.recon.http-address=127.0.0.1:0"},
	})
	if err != nil {
		return at, err
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan app.Endpoints, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, app.Options{Config: cfg, Ready: func(at app.Endpoints) { ready <- at }})
	}()
	e.Defer(func() {
		stop()
		if err := <-ended; err != nil {
			e.T().Log("the server ended with", err)
			e.T().FailNow()
		}
	})
	select {
	case at := <-ready:
		return at, nil
	case err := <-ended:
		ended <- nil
		return at, fmt.Errorf("the server did not start: %w", err)
	}
}

// TestScripts runs the transcripts: `o3 ARGS` is a command line of ours, `exit
// N` checks its exit code, `o3in FILE ARGS` gives it standard input.
func TestScripts(t *testing.T) {
	type state struct{ code int }
	key := "state"
	run := func(ts *testscript.TestScript, neg bool, stdin io.Reader, args []string) {
		var env []string
		for _, name := range []string{"O3_ENDPOINT", "O3_RECON_ENDPOINT", "O3_ACCESS_KEY", "O3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "OZONE_OM_ADDRESS", "OZONE_METADATA_DIRS"} {
			if v := ts.Getenv(name); v != "" {
				env = append(env, name+"="+v)
			}
		}
		code := cli.Run(context.Background(), args, cli.IO{Stdin: stdin, Stdout: ts.Stdout(), Stderr: ts.Stderr(), Env: env, Dir: ts.MkAbs(".")}, cli.DepsForTest())
		ts.Value(key).(*state).code = code
		if (code != 0) != neg {
			ts.Fatalf("o3 %s: exit code %d", strings.Join(args, " "), code)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *cli.Update,
		Setup: func(e *testscript.Env) error {
			e.Values[key] = new(state)
			at, err := startServer(e)
			e.Setenv("O3_ENDPOINT", at.OM)
			e.Setenv("O3_RECON_ENDPOINT", at.Recon)
			return err
		},
		Condition: func(cond string) (bool, error) { // [free:ADDRESS]: nobody listens there
			addr, ok := strings.CutPrefix(cond, "free:")
			if !ok {
				return false, fmt.Errorf("no condition %q", cond)
			}
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close()
			}
			return err != nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"o3": func(ts *testscript.TestScript, neg bool, args []string) { run(ts, neg, strings.NewReader(""), args) },
			"o3in": func(ts *testscript.TestScript, neg bool, args []string) {
				run(ts, neg, strings.NewReader(ts.ReadFile(args[0])), args[1:])
			},
			"exit": func(ts *testscript.TestScript, _ bool, args []string) {
				if got := ts.Value(key).(*state).code; strconv.Itoa(got) != args[0] {
					ts.Fatalf("exit code %d, want %s", got, args[0])
				}
			},
		},
	})
}

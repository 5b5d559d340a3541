package freon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"o3/internal/cli"
	"o3/internal/freon"
	"o3/internal/leaktest"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
)

var update = flag.Bool("update", false, "rewrite the expectations of the scripts")

func TestMain(m *testing.M) { leaktest.Main(m) }

// inexact are the numbers of a report that differ from run to run.
var inexact = regexp.MustCompile(`127\.0\.0\.1:[0-9]+|[0-9]+\.[0-9]+`)

// runFreon runs `o3 freon ARGS`.
func runFreon(ctx context.Context, env []string, args []string, stdout, stderr io.Writer) int {
	deps := cli.Deps{Version: "1.2.3", Commands: []cli.Command{freon.Command()}}
	return cli.Run(ctx, append([]string{"freon"}, args...), cli.IO{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Env: env}, deps)
}

// TestScripts runs the transcripts. `freon ARGS` is a command line, with
// numbers that differ from run to run shown as #; `exit N` checks its exit
// code; `json FIELD` prints a field of a JSON report; `keys BUCKET` prints what
// the fake S3 server holds; `fault F...` makes its next requests for keys fail;
// `damage BUCKET KEY HOW` changes a key there.
func TestScripts(t *testing.T) {
	type state struct {
		s3   *fakeS3
		code int
		out  []byte
	}
	of := func(ts *testscript.TestScript) *state { return ts.Value("state").(*state) }
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			tb := e.T().(testing.TB)
			st := &state{s3: newFakeS3(tb)}
			e.Values["state"] = st
			e.Setenv("S3", st.s3.url)
			e.Setenv("OM", rpctest.Start(tb, rpctest.NewMemory(), rpc.Options{}).URL)
			e.Setenv("PID", strconv.Itoa(os.Getpid()))
			e.Setenv("O3_ACCESS_KEY", fakeKey)
			e.Setenv("O3_SECRET_KEY", fakeSecret)
			e.Setenv("ROOT_KEY", rpctest.RootKey)
			e.Setenv("ROOT_SECRET", rpctest.RootSecret)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freon": func(ts *testscript.TestScript, neg bool, args []string) {
				env := []string{"O3_ENDPOINT=" + ts.Getenv("O3_ENDPOINT"), "O3_ACCESS_KEY=" + ts.Getenv("O3_ACCESS_KEY"), "O3_SECRET_KEY=" + ts.Getenv("O3_SECRET_KEY")}
				var out, errors bytes.Buffer
				st := of(ts)
				st.code = runFreon(context.Background(), env, args, &out, &errors)
				st.out = out.Bytes()
				_, _ = ts.Stdout().Write(inexact.ReplaceAll(out.Bytes(), []byte("#")))
				_, _ = ts.Stderr().Write(inexact.ReplaceAll(errors.Bytes(), []byte("#")))
				if (st.code != 0) != neg {
					ts.Fatalf("freon %s: exit code %d: %s", strings.Join(args, " "), st.code, &errors)
				}
			},
			"exit": func(ts *testscript.TestScript, _ bool, args []string) {
				if got := of(ts).code; strconv.Itoa(got) != args[0] {
					ts.Fatalf("exit code %d, want %s", got, args[0])
				}
			},
			"json": func(ts *testscript.TestScript, _ bool, args []string) {
				var r freon.Result
				ts.Check(json.Unmarshal(of(ts).out, &r))
				for _, name := range args {
					fmt.Fprintf(ts.Stdout(), "%s %v\n", name, field(reflect.ValueOf(r), strings.Split(name, ".")))
				}
			},
			"keys": func(ts *testscript.TestScript, _ bool, args []string) {
				names := of(ts).s3.names(args[0])
				fmt.Fprintf(ts.Stdout(), "%d keys", len(names))
				if len(names) > 0 {
					fmt.Fprintf(ts.Stdout(), ", %s to %s", names[0], names[len(names)-1])
				}
				fmt.Fprintln(ts.Stdout())
			},
			"fault": func(ts *testscript.TestScript, _ bool, args []string) {
				s3 := of(ts).s3
				s3.mu.Lock()
				defer s3.mu.Unlock()
				s3.faults = slices.Clone(args)
			},
			"damage": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(of(ts).s3.damage(args[0], args[1], args[2]))
			},
		},
	})
}

// field returns a field of a report by its names in JSON's spelling of Go:
// Total.Count, Operations.0.Errors.
func field(v reflect.Value, path []string) any {
	for _, name := range path {
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if i, err := strconv.Atoi(name); err == nil {
			v = v.Index(i)
			continue
		}
		v = v.FieldByName(name)
	}
	return v.Interface()
}

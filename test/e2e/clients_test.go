//go:build e2e && linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// find returns where a client program is. Debian's own comes before others of
// the name.
func find(t testing.TB, name string) string {
	t.Helper()
	if own := os.Getenv("O3_E2E_" + strings.ToUpper(name)); own != "" {
		return own
	}
	if _, err := os.Stat("/usr/bin/" + name); err == nil {
		return "/usr/bin/" + name
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this suite needs %s: apt-get install awscli s3cmd rclone", name)
	}
	return path
}

// clientEnv is the environment of the clients: it points them at the server
// and away from the configuration of whoever runs the tests.
func (s *server) clientEnv(home string) []string {
	c := s.credentials()
	return []string{
		"HOME=" + home,
		"PATH=" + filepath.Dir(program) + ":/usr/bin:/bin:" + os.Getenv("PATH"),
		"LC_ALL=C.UTF-8",
		"NO_PROXY=*", "no_proxy=*",
		"AWS=" + find(s.t, "aws"), "RCLONE=" + find(s.t, "rclone"),
		"S3=" + s.s3, "S3_HOST=" + hostOf(s.s3), "OM=" + s.om, "DATA=" + s.data,
		"O3_ENDPOINT=" + s.om, "O3_ACCESS_KEY=" + c.AccessKey, "O3_SECRET_KEY=" + c.SecretKey,
		"AWS_ACCESS_KEY_ID=" + c.AccessKey, "AWS_SECRET_ACCESS_KEY=" + c.SecretKey,
		"AWS_DEFAULT_REGION=" + region, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1",
		"AWS_CONFIG_FILE=" + filepath.Join(home, "aws-config"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(home, "aws-credentials"),
		"RCLONE_CONFIG=" + filepath.Join(home, "rclone.conf"),
		"RCLONE_CONFIG_O3_TYPE=s3", "RCLONE_CONFIG_O3_PROVIDER=Other", "RCLONE_CONFIG_O3_ENDPOINT=" + s.s3,
		"RCLONE_CONFIG_O3_ACCESS_KEY_ID=" + c.AccessKey, "RCLONE_CONFIG_O3_SECRET_ACCESS_KEY=" + c.SecretKey,
		"RCLONE_CONFIG_O3_REGION=" + region,
	}
}

// configure writes the files that clients insist on.
func (s *server) configure(home string) error {
	c := s.credentials()
	s3cmd := fmt.Sprintf("[default]\naccess_key = %s\nsecret_key = %s\nhost_base = %s\nhost_bucket = %[3]s\nuse_https = False\nbucket_location = %s\nmultipart_chunk_size_mb = 5\nprogress_meter = False\n",
		c.AccessKey, c.SecretKey, hostOf(s.s3), region)
	return errors.Join(
		os.WriteFile(filepath.Join(home, ".s3cfg"), []byte(s3cmd), 0o600),
		os.WriteFile(filepath.Join(home, "rclone.conf"), nil, 0o600),
		os.WriteFile(filepath.Join(home, "aws-config"), []byte("[default]\ns3 =\n  signature_version = s3v4\n"), 0o600),
	)
}

// client runs one of the client programs in dir and returns its output; it
// must succeed.
func (s *server) client(dir, name string, args ...string) string {
	s.t.Helper()
	home := s.t.TempDir()
	ok(s.t, s.configure(home))
	cmd := exec.Command(find(s.t, name), args...)
	cmd.Dir, cmd.Env = dir, s.clientEnv(home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// aws runs the aws command against the server.
func (s *server) aws(dir string, args ...string) string {
	s.t.Helper()
	return s.client(dir, "aws", append([]string{"--endpoint-url", s.s3}, args...)...)
}

// TestScripts runs testdata/script/*.txtar, transcripts of sessions with the
// public clients, against one server; each script has buckets of its own.
func TestScripts(t *testing.T) {
	s := startServer(t, "ozone.s3g.domain.name=s3.local", "ozone.directory.deleting.service.interval=100ms")
	t.Run("clients", func(t *testing.T) { s.scripts(t, "testdata/script") })
	t.Run("verify", func(t *testing.T) {
		s.t = t
		s.stop()
		s.verify()
	})
}

// scripts runs the scripts of a directory against s.
func (s *server) scripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, ".home")
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			e.Vars = append(e.Vars, s.clientEnv(home)...)
			return s.configure(home)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"aws":    func(ts *testscript.TestScript, neg bool, args []string) { runAWS(t, ts, neg, args) },
			"s3cmd":  func(ts *testscript.TestScript, neg bool, args []string) { runClient(t, ts, neg, "s3cmd", args) },
			"rclone": func(ts *testscript.TestScript, neg bool, args []string) { runClient(t, ts, neg, "rclone", args) },
			"o3":     func(ts *testscript.TestScript, neg bool, args []string) { run(ts, neg, program, args) },
			"eventually": func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) == 0 || args[0] != "aws" {
					ts.Fatalf("usage: eventually aws ARGS...")
				}
				args = append([]string{"--endpoint-url", s.s3}, args[1:]...)
				eventually(t, func() error { return ts.Exec(find(t, "aws"), args...) })
			},
			"random": randomFile,
			"same":   same,
			"part":   part,
			"save":   save,
			"http":   httpRequest,
		},
	})
}

func run(ts *testscript.TestScript, neg bool, name string, args []string) {
	err := ts.Exec(name, args...)
	if neg && err == nil {
		ts.Fatalf("%s succeeded, which was not expected", filepath.Base(name))
	}
	if !neg {
		ts.Check(err)
	}
}

func runClient(t testing.TB, ts *testscript.TestScript, neg bool, name string, args []string) {
	run(ts, neg, find(t, name), args)
}

// runAWS: aws ARGS… runs aws against the server.
func runAWS(t testing.TB, ts *testscript.TestScript, neg bool, args []string) {
	runClient(t, ts, neg, "aws", append([]string{"--endpoint-url", ts.Getenv("S3")}, args...))
}

// randomFile: random FILE SIZE SEED makes a file of that many bytes.
func randomFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: random FILE SIZE SEED")
	}
	seed, err := strconv.ParseUint(args[2], 10, 64)
	ts.Check(err)
	c := content{seed: seed, size: number(ts, args[1])}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), c.bytes(), 0o600))
}

// number reads a count of bytes; K and M are powers of 1024.
func number(ts *testscript.TestScript, s string) int64 {
	scale := int64(1)
	if n, ok := strings.CutSuffix(s, "K"); ok {
		s, scale = n, 1<<10
	} else if n, ok := strings.CutSuffix(s, "M"); ok {
		s, scale = n, 1<<20
	}
	n, err := strconv.ParseInt(s, 10, 64)
	ts.Check(err)
	return n * scale
}

// same: same FILE FILE compares bytes.
func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same FILE FILE")
	}
	if equal := ts.ReadFile(args[0]) == ts.ReadFile(args[1]); equal == neg {
		ts.Fatalf("%s and %s: equal is %v", args[0], args[1], equal)
	}
}

// part: part FROM TO FILE PART... writes bytes FROM to TO-1 of a file to another.
func part(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: part FROM TO FILE PART")
	}
	text := ts.ReadFile(args[2])[number(ts, args[0]):number(ts, args[1])]
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), []byte(text), 0o600))
}

// save: save NAME keeps the last standard output in a variable.
func save(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: save NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// httpRequest: http METHOD URL STATUS [FILE] sends a plain request, with the
// file as body; the answer's body is written to the file "body".
func httpRequest(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: http METHOD URL STATUS [FILE]")
	}
	var body io.Reader
	if len(args) > 3 {
		body = strings.NewReader(ts.ReadFile(args[3]))
	}
	req, err := http.NewRequest(args[0], args[1], body)
	ts.Check(err)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	b, err := io.ReadAll(resp.Body)
	ts.Check(errors.Join(err, resp.Body.Close()))
	ts.Check(os.WriteFile(ts.MkAbs("body"), b, 0o600))
	if strconv.Itoa(resp.StatusCode) != args[2] {
		ts.Fatalf("%s %s: %s\n%s", args[0], args[1], resp.Status, b)
	}
}

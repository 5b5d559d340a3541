//go:build e2e && linux

package e2e

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tree is the root of the repository.
const tree = "../.."

// TestReadme does what the README says, word for word, in a copy of the
// repository: it starts the server with the README's command and pastes the
// tour into a shell. Only this machine reaches that server.
func TestReadme(t *testing.T) {
	var onLoopback []string
	for port, key := range map[string]string{"9878": "OZONE_S3G_HTTP_ADDRESS", "9874": "OZONE_OM_ADDRESS", "9888": "OZONE_RECON_HTTP_ADDRESS"} {
		addr := net.JoinHostPort("127.0.0.1", port)
		onLoopback = append(onLoopback, key+"="+addr)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatalf("the README's tour uses the default ports; one is taken: %v", err)
		}
		l.Close()
	}
	readme, err := os.ReadFile(filepath.Join(tree, "README.md"))
	ok(t, err)
	commands := shellBlock(t, string(readme), "Two commands")
	serve, _, _ := strings.Cut(commands, "\n")
	if !strings.HasPrefix(serve, "go run ./cmd/o3 server") || !strings.Contains(commands, "go test ./...") {
		t.Fatalf("the README's two commands are\n%s", commands)
	}
	tour := shellBlock(t, string(readme), "Five minutes")

	dir := t.TempDir()
	copyTree(t, dir)
	home := t.TempDir()
	env := append(os.Environ(), "HOME="+home, "GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOPATH="+goEnv(t, "GOPATH"),
		"PATH="+filepath.Dir(find(t, "aws"))+":"+os.Getenv("PATH"), "AWS_PAGER=", "NO_PROXY=*")

	out, log, exited := newOutput("\n  data "), newOutput(""), make(chan struct{})
	server := exec.Command("bash", "-c", serve)
	server.Dir, server.Env, server.Stdout, server.Stderr = dir, append(slices.Clone(env), onLoopback...), out, log
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // `go run` and the program are stopped together, as by Ctrl-C
	ok(t, server.Start())
	go func() { _ = server.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGINT)
		select {
		case <-exited:
		case <-time.After(startTimeout):
			_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
			t.Error("the server did not stop at SIGINT")
		}
	})
	select {
	case <-out.seen:
	case <-exited:
		t.Fatalf("%s ended\n%s%s", serve, out, log)
	case <-time.After(5 * time.Minute): // it is compiled first
		t.Fatalf("%s is not ready\n%s%s", serve, out, log)
	}

	shell := exec.Command("bash", "-e", "-o", "pipefail", "-c", tour)
	shell.Dir, shell.Env = dir, env
	said, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("the tour: %v\n%s", err, said)
	}
	rest := string(said)
	for _, want := range []string{
		`make_bucket: photos\n`, `upload: ./hello.txt to s3://photos/2026/hello.txt`, ` 10 2026/hello.txt\n`, `(?m)^hello, o3$`,
		`/s3v/tree`, `/s3v/tree/z`, ` 10 z/b/hello.txt\n`, `(?m)^hello, o3$`, `(?m)^-\t\./z$`, `Restored 1 name, 10 B`, `FILE_SYSTEM_OPTIMIZED`, `ann`, `O3[A-Z2-7]{18}`, `(?m)^Status: +good$`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("the tour did not print %q at its place; it printed\n%s", want, said)
		}
		rest = rest[at[1]:]
	}
	if strings.Contains(string(said), " a/b/hello.txt") {
		t.Fatalf("the old name is still there\n%s", said)
	}
}

// shellBlock returns the shell block below a heading.
func shellBlock(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(doc, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the README has no heading %q", heading)
	}
	_, rest, found = strings.Cut(rest, "```sh\n")
	block, _, end := strings.Cut(rest, "\n```")
	if !found || !end {
		t.Fatalf("no shell block below %q", heading)
	}
	return block
}

// copyTree copies what the program is built from.
func copyTree(t *testing.T, dir string) {
	t.Helper()
	ok(t, filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && (name == ".git" || name == "testdata" || name == "o3-data" || rel == "bench" || rel == "test"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		case !d.Type().IsRegular() || rel == "o3":
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), content, 0o644)
	}))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	ok(t, err)
	return strings.TrimSpace(string(out))
}

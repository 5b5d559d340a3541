//go:build browser && linux

// Package browser drives the console's pages in a real browser: a test builds
// the program, starts it as a process on 127.0.0.1 and runs a script of Node.js
// that drives Chromium by playwright-core. The script and its test speak by
// lines: `> put 3` asks the test to do something, which answers when it is done.
//
// It needs node, chromium and `npm ci` in this directory, and is skipped without
// them; with O3_BROWSER=must it fails. O3_BROWSER_CHROMIUM names a browser other
// than the system's, O3_BROWSER_PICTURES=1 keeps pictures of what succeeds too.
//
// Each process is owned by the test that started it and ends with it.
package browser

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limit bounds a script. It is generous: machines are busy.
const limit = 10 * time.Minute

// program is the binary under test, and chromium the browser.
var program, chromium string

func TestMain(m *testing.M) { os.Exit(mainRun(m)) }

func mainRun(m *testing.M) int {
	var err error
	if chromium, err = needed(); err != nil {
		if os.Getenv("O3_BROWSER") == "must" {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Printf("skipped: %v (O3_BROWSER=must makes this a failure)\n", err)
		return 0
	}
	dir, err := os.MkdirTemp("", "o3-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "o3")
	if out, err := exec.Command("go", "build", "-o", program, "o3/cmd/o3").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build o3/cmd/o3: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// needed returns the browser, or what is missing.
func needed() (string, error) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", fmt.Errorf("there is no node: %w", err)
	}
	if _, err := os.Stat(filepath.Join("node_modules", "playwright-core")); err != nil {
		return "", fmt.Errorf("playwright-core is not installed, run npm ci in test/browser: %w", err)
	}
	if own := os.Getenv("O3_BROWSER_CHROMIUM"); own != "" {
		return own, nil
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		return "", fmt.Errorf("there is no chromium, apt-get install chromium: %w", err)
	}
	return path, nil
}

// script runs a script and does what it asks for.
func script(t *testing.T, name string, env []string, do map[string]func(arg string) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	home := t.TempDir()
	cmd := exec.CommandContext(ctx, "node", name)
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "PICTURES="+pictures(t), "HOME="+home, "NO_PROXY=*", "LC_ALL=C.UTF-8")
	cmd.Env = append(cmd.Env, env...)
	// The browser's processes are of node's group and end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	said := new(strings.Builder)
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		ask, ok := strings.CutPrefix(lines.Text(), "> ")
		if !ok {
			t.Log(lines.Text())
			continue
		}
		if err := answer(in, ask, do); err != nil {
			t.Errorf("%s asked for %q: %v", name, ask, err)
		}
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %v", limit)
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, said)
	}
}

// answer does what a line asks for and says that it is done.
func answer(in io.Writer, ask string, do map[string]func(arg string) error) error {
	verb, arg, _ := strings.Cut(ask, " ")
	f, ok := do[verb]
	if !ok {
		return fmt.Errorf("nobody does that")
	}
	said := "done"
	err := f(arg)
	if err != nil {
		said = "failed"
	}
	if _, wrote := fmt.Fprintln(in, said); err == nil {
		err = wrote
	}
	return err
}

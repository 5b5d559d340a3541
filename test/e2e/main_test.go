//go:build e2e && linux

// Package e2e runs the real program as its users do: the binary is built once,
// started as a process on free ports of 127.0.0.1, and driven by clients that
// nobody here wrote: aws, s3cmd, rclone and the AWS SDK for Go.
//
// Each server is a process owned by the test that started it and ends with it.
// O3_NIGHTLY=1 runs the long versions; O3_E2E_AWS names an aws other than the
// system's. Random tests print a seed, which O3_E2E_SEED repeats.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the binary under test, in a directory that holds nothing else.
var program string

// nightly is set for the long versions.
var nightly = os.Getenv("O3_NIGHTLY") == "1"

func TestMain(m *testing.M) { os.Exit(mainRun(m)) }

func mainRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "o3-e2e-")
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

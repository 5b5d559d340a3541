//go:build e2e && linux

package e2e

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGoTree sends the whole Go distribution, about 15,000 files, up with
// rclone, compares, brings it back, and compares again; a part of it goes
// through a file-system bucket.
func TestGoTree(t *testing.T) {
	root := goEnv(t, "GOROOT")
	s := startServer(t)
	c := s.sdk()
	for _, x := range []struct{ name, layout, dir string }{
		{"go-objects", "OBJECT_STORE", root},
		{"go-files", fso, filepath.Join(root, "src", "cmd", "compile")},
	} {
		t.Run(x.layout, func(t *testing.T) {
			makeBucket(t, c, x.name, x.layout)
			bucket, n := "o3:"+x.name, files(t, x.dir)
			s.client("", "rclone", "sync", "--fast-list", x.dir, bucket)
			check := s.client("", "rclone", "check", "--fast-list", x.dir, bucket)
			if !regexp.MustCompile(`: 0 differences found`).MatchString(check) || strings.Contains(check, "could not be checked") {
				t.Fatalf("rclone check:\n%s", check)
			}
			again := s.client("", "rclone", "sync", "--fast-list", "--checksum", "-v", x.dir, bucket)
			if strings.Contains(again, "Copied") {
				t.Fatalf("a second sync copied files:\n%s", again)
			}
			down := filepath.Join(t.TempDir(), "down")
			s.client("", "rclone", "sync", "--fast-list", bucket, down)
			if out, err := exec.Command("diff", "-r", x.dir, down).CombinedOutput(); err != nil {
				t.Fatalf("diff -r: %v\n%s", err, out)
			}
			if got := files(t, down); got != n || n < 500 {
				t.Fatalf("%d files came back, %d went up", got, n)
			}
			t.Logf("%d files", n)
		})
	}
	s.t = t
	s.stop()
	s.verify()
}

func files(t *testing.T, dir string) (n int) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	}))
	return n
}

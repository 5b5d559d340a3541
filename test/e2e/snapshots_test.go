//go:build e2e && linux

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSnapshots: a snapshot shows each public client the bucket as it was, byte
// for byte, on both layouts, whatever is done to the bucket, through reclaim of
// its neighbours and through kills.
func TestSnapshots(t *testing.T) {
	s := startServer(t, "ozone.snapshot.deleting.service.interval=100ms", "ozone.directory.deleting.service.interval=100ms",
		"ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=100ms", "ozone.block.sweep.interval=200ms",
		"ozone.block.container.size=4MB", "ozone.block.rewrite.interval=200ms", "ozone.block.rewrite.threshold=0.2")
	seed := newSeed(t)
	then := t.TempDir()
	files := map[string]content{
		"readme.txt": {seed: seed, size: 700}, "img/2026/one.bin": {seed: seed + 1, size: 300_000}, "img/2026/two.bin": {seed: seed + 2, size: 5 << 20},
		"img/three.bin": {seed: seed + 3, size: 40_000}, "empty": {}, "dir with space/ü.bin": {seed: seed + 4, size: 9000},
	}
	for name, c := range files {
		path := filepath.Join(then, name)
		ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
		ok(t, os.WriteFile(path, c.bytes(), 0o600))
	}
	buckets := map[string]string{"snap-flat": "OBJECT_STORE", "snap-tree": "FILE_SYSTEM_OPTIMIZED"}
	for bucket, layout := range buckets {
		s.must("sh", "bucket", "create", "/s3v/"+bucket, "--layout", layout)
		s.client(then, "rclone", "copy", ".", "o3:"+bucket)
		s.must("sh", "snapshot", "create", "/s3v/"+bucket, "before")
		s.must("sh", "snapshot", "create", "/s3v/"+bucket, "s1")
		s.change(bucket)
		s.must("sh", "snapshot", "create", "/s3v/"+bucket, "after")
	}
	s.kill()
	s.start()
	for bucket := range buckets {
		t.Run(bucket, func(t *testing.T) {
			s.t = t
			s.readSnapshot(bucket, then, files)
		})
	}
	s.t = t
	for bucket := range buckets { // the neighbours go, and what only they held
		s.must("sh", "snapshot", "delete", "/s3v/"+bucket, "before")
		s.must("sh", "snapshot", "delete", "/s3v/"+bucket, "after")
		s.client(then, "rclone", "purge", "o3:"+bucket+"/img")
	}
	s.kill()
	s.start()
	for bucket := range buckets {
		s.reclaimed(bucket)
		s.syncOut(bucket, then)
		s.must("sh", "snapshot", "restore", "/s3v/"+bucket, "s1", "--exact")
		out := t.TempDir()
		s.client(out, "rclone", "sync", "o3:"+bucket, ".")
		sameTree(t, out, then)
		s.must("sh", "snapshot", "delete", "/s3v/"+bucket, "s1")
		s.reclaimed(bucket)
		out = t.TempDir()
		s.client(out, "rclone", "sync", "o3:"+bucket, ".")
		sameTree(t, out, then)
	}
	s.stop()
	s.verify()
}

// change overwrites, deletes, moves and adds.
func (s *server) change(bucket string) {
	s.t.Helper()
	dir := s.t.TempDir()
	ok(s.t, os.WriteFile(filepath.Join(dir, "new"), []byte("new"), 0o600))
	s.aws(dir, "s3", "cp", "new", "s3://"+bucket+"/readme.txt")
	s.aws(dir, "s3", "cp", "new", "s3://"+bucket+"/img/2026/two.bin")
	s.aws(dir, "s3", "cp", "new", "s3://"+bucket+"/added/new")
	s.aws(dir, "s3", "rm", "s3://"+bucket+"/img/three.bin")
	s.must("sh", "key", "rename", "/s3v/"+bucket+"/img/2026/one.bin", "/s3v/"+bucket+"/moved.bin")
	if bucket == "snap-tree" {
		s.must("sh", "key", "rename", "/s3v/"+bucket+"/dir with space", "/s3v/"+bucket+"/other")
		s.must("sh", "key", "delete", "-r", "/s3v/"+bucket+"/img/2026")
	}
}

// readSnapshot reads the snapshot s1 with each client.
func (s *server) readSnapshot(bucket, then string, files map[string]content) {
	dir := s.t.TempDir()
	below := "s3://" + bucket + "/.snapshot/s1/"
	s.aws(dir, "s3", "sync", below, "aws")
	sameTree(s.t, filepath.Join(dir, "aws"), then)
	ok(s.t, os.Mkdir(filepath.Join(dir, "s3cmd"), 0o700))
	s.client(dir, "s3cmd", "sync", below, "s3cmd/")
	sameTree(s.t, filepath.Join(dir, "s3cmd"), then)
	s.syncOut(bucket, then)

	got := s.client(dir, "rclone", "cat", "o3:"+bucket+"/.snapshot/s1/img/2026/two.bin", "--offset", "4000000", "--count", "1000")
	if c := files["img/2026/two.bin"]; got != string(c.bytes()[4000000:4001000]) {
		s.t.Errorf("a range through rclone: %d bytes, not those that were there", len(got))
	}
	s.aws(dir, "s3", "cp", below+"img/three.bin", "s3://"+bucket+"/img/three.bin") // inside the store
	back := s.aws(dir, "s3", "cp", "s3://"+bucket+"/img/three.bin", "-")
	if back != string(files["img/three.bin"].bytes()) {
		s.t.Errorf("copied back: %d bytes", len(back))
	}
	if out := s.aws(dir, "s3", "ls", "s3://"+bucket+"/.snapshot/"); strings.Join(strings.Fields(out), " ") != "PRE after/ PRE before/ PRE s1/" {
		s.t.Errorf("the snapshots: %s", out)
	}
	if out := s.aws(dir, "s3", "ls", "--recursive", "s3://"+bucket); strings.Contains(out, ".snapshot") {
		s.t.Errorf("snapshots show among the keys: %s", out)
	}
	s.refusesWrites(bucket)
	gone := "-\t./img/three.bin\n"
	if bucket == "snap-tree" {
		gone = "-\t./img\n" // nothing was left in it
	}
	if diff := s.must("sh", "snapshot", "diff", "/s3v/"+bucket, "s1", "after", "--follow"); !strings.Contains(diff, gone) ||
		!strings.Contains(diff, "M\t./readme.txt\n") || !strings.Contains(diff, "R\t./img/2026/one.bin -> ./moved.bin\n") {
		s.t.Errorf("the diff:\n%s", diff)
	}
}

// refusesWrites tries to change a snapshot with the client programs.
func (s *server) refusesWrites(bucket string) {
	s.t.Helper()
	for _, args := range [][]string{
		{"s3", "cp", "s3://" + bucket + "/readme.txt", "s3://" + bucket + "/.snapshot/s1/readme.txt"},
		{"s3", "rm", "s3://" + bucket + "/.snapshot/s1/readme.txt"},
		{"s3api", "create-multipart-upload", "--bucket", bucket, "--key", ".snapshot/s1/x"},
	} {
		out, code := s.tryAWS(args...)
		if code == 0 || !strings.Contains(out, "InvalidArgument") || !strings.Contains(out, "reserved for snapshots") {
			s.t.Errorf("aws %s: exit code %d\n%s", strings.Join(args, " "), code, out)
		}
	}
}

// tryAWS runs the aws command, which may fail.
func (s *server) tryAWS(args ...string) (out string, code int) {
	s.t.Helper()
	home := s.t.TempDir()
	ok(s.t, s.configure(home))
	cmd := exec.Command(find(s.t, "aws"), append([]string{"--endpoint-url", s.s3}, args...)...)
	cmd.Dir, cmd.Env = home, s.clientEnv(home)
	said, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return string(said), cmd.ProcessState.ExitCode()
}

// syncOut copies the snapshot s1 with rclone sync.
func (s *server) syncOut(bucket, then string) {
	s.t.Helper()
	dir := s.t.TempDir()
	s.client(dir, "rclone", "sync", "o3:"+bucket+"/.snapshot/s1", ".")
	sameTree(s.t, dir, then)
}

// reclaimed waits until nothing of deleted snapshots is left to reclaim.
func (s *server) reclaimed(bucket string) {
	s.t.Helper()
	eventually(s.t, func() error {
		if out := s.must("sh", "snapshot", "list", "/s3v/"+bucket, "--all"); strings.Contains(out, "DELETED") {
			return fmt.Errorf("still being reclaimed:\n%s", out)
		}
		return nil
	})
}

// sameTree compares the files below two directories.
func sameTree(t testing.TB, got, want string) {
	t.Helper()
	have, should := readTree(t, got), readTree(t, want)
	for name, b := range should {
		if g, is := have[name]; !is || !bytes.Equal(g, b) {
			t.Errorf("%s: there %v, %d bytes, want %d", name, is, len(g), len(b))
		}
		delete(have, name)
	}
	for name := range have {
		t.Errorf("%s should not be there", name)
	}
}

func readTree(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	ok(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		out[name], err = os.ReadFile(path)
		return err
	}))
	return out
}

//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// exported is what an export says with --json.
type exported struct {
	ImageID string `json:"imageId"`
	State   string `json:"state"`
	Total   string `json:"bytesTotal"`
	Written string `json:"bytesWritten"`
	Error   string `json:"error"`
}

func (e exported) written(t testing.TB) int64 {
	t.Helper()
	n, err := strconv.ParseInt(e.Written, 10, 64)
	ok(t, err)
	return n
}

func (s *server) export(to string) (e exported) {
	s.t.Helper()
	out := s.must("--quiet", "admin", "om", "image", "export", to, "--json")
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return e
}

// TestImagesInBucket: a node is backed up to a bucket on another node and lost;
// what comes of the bucket is the same. After a change of 1 % an export brings
// little more than that. One that was killed is told as failed, and goes on.
func TestImagesInBucket(t *testing.T) {
	store := startServer(t)
	store.must("sh", "bucket", "create", "/s3v/backups")
	keys := store.credentials()
	t.Setenv("OZONE_OM_IMAGE_S3_ACCESS_KEY", keys.AccessKey)
	t.Setenv("OZONE_OM_IMAGE_S3_SECRET_KEY", keys.SecretKey)
	s := startServer(t, "ozone.block.container.size=4MB")
	to := "s3://backups/om1?region=us-east-1&endpoint=" + store.s3

	seed, dir := newSeed(t), t.TempDir()
	for i := range 200 {
		path := filepath.Join(dir, fmt.Sprintf("d%d", i%10), fmt.Sprintf("%03d", i))
		ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
		content{seed: seed + uint64(i), size: 350_000}.writeFile(t, path)
	}
	content{seed: seed, size: 20 << 20}.writeFile(t, filepath.Join(dir, "large"))
	for bucket, layout := range map[string]string{"flat": "OBJECT_STORE", "tree": "FILE_SYSTEM_OPTIMIZED"} {
		s.must("sh", "bucket", "create", "/s3v/"+bucket, "--layout", layout)
	}
	s.client(dir, "rclone", "copy", ".", "o3:flat")
	s.client(dir, "rclone", "copy", "d0", "o3:tree/d0")
	first := s.export(to)
	for _, name := range []string{"d1/001", "d2/002"} { // 1 % of the objects
		content{seed: seed + 999, size: 350_000}.writeFile(t, filepath.Join(dir, name))
	}
	s.client(dir, "rclone", "copy", ".", "o3:flat")
	second := s.export(to)
	t.Logf("the first export wrote %d bytes, the one after a change of 1 %% %d", first.written(t), second.written(t))
	if first.written(t) < 90_000_000 || second.written(t) == 0 || second.written(t) > first.written(t)/10 { // the containers that were open, and the names
		t.Errorf("%+v after %+v", second, first)
	}

	s.stop()
	t.Setenv("OZONE_OM_IMAGE_EXPORT_BYTES_PER_SECOND", "100KB")
	s.start()
	content{seed: seed + 1000, size: 3 << 20}.writeFile(t, filepath.Join(dir, "d3", "new"))
	s.client(dir, "rclone", "copy", ".", "o3:flat")
	slow := make(chan string, 1)
	go func() {
		out, _ := s.o3("--quiet", "admin", "om", "image", "export", to)
		slow <- out
	}()
	eventually(t, func() error {
		if out, code := s.o3("admin", "om", "image", "status"); code != 0 || !strings.Contains(out, "running") || !strings.Contains(out, "BLOCKS") {
			return fmt.Errorf("exit code %d\n%s", code, out)
		}
		return nil
	})
	s.kill()
	t.Logf("the export whose node was killed: %s", <-slow)
	t.Setenv("OZONE_OM_IMAGE_EXPORT_BYTES_PER_SECOND", "0")
	s.start()
	if out := s.must("admin", "om", "image", "status"); !strings.Contains(out, "failed") || !strings.Contains(out, "the node was stopped while it ran; begin it again") {
		t.Errorf("%s", out)
	}
	third := s.export(to) // at once, although the dead one had the lock
	root := s.credentials()
	s.kill()
	ok(t, os.RemoveAll(s.data)) // the machine is lost

	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretKey)
	out := s.must("admin", "om", "image", "list", to)
	for _, e := range []exported{first, second, third} {
		if e.State != "EXPORT_STATE_DONE" || !strings.Contains(out, e.ImageID) {
			t.Errorf("%+v is not in\n%s", e, out)
		}
	}
	s.must("admin", "om", "image", "verify", to, "--strict")
	s.must("admin", "om", "image", "prune", to, "--keep", "2")
	s.data = filepath.Join(t.TempDir(), "restored")
	t.Logf("%s", s.must("--quiet", "admin", "om", "image", "import", to, "--data", s.data, "--strict"))
	s.verify()
	t.Setenv("O3_ROOT_ACCESS_KEY", root.AccessKey)
	t.Setenv("O3_ROOT_SECRET_KEY", root.SecretKey)
	s.start()
	sameTree(t, s.copyOut("flat"), dir)
	s.stop()
}

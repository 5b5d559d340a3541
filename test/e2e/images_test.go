//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sys/unix"
)

// TestImages is the restore drill: a node with both layouts, snapshots and
// multipart uploads is exported under load and lost; from the image comes a node
// on which the public clients find every object, and every snapshot, as it was.
func TestImages(t *testing.T) {
	s := startServer(t, "ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=100ms", "ozone.block.container.size=4MB",
		"ozone.block.rewrite.interval=200ms", "ozone.block.rewrite.threshold=0.2")
	seed := newSeed(t)
	then := t.TempDir()
	for name, c := range map[string]content{
		"readme.txt": {seed: seed, size: 700}, "img/2026/one.bin": {seed: seed + 1, size: 300_000}, "img/2026/two.bin": {seed: seed + 2, size: 12 << 20},
		"img/three.bin": {seed: seed + 3, size: 40_000}, "empty": {}, "dir with space/ü.bin": {seed: seed + 4, size: 9000},
	} {
		ok(t, os.MkdirAll(filepath.Dir(filepath.Join(then, name)), 0o700))
		c.writeFile(t, filepath.Join(then, name))
	}
	buckets := map[string]string{"snap-flat": "OBJECT_STORE", "snap-tree": "FILE_SYSTEM_OPTIMIZED"}
	now, views := map[string]string{}, map[string]string{}
	for bucket, layout := range buckets {
		s.must("sh", "bucket", "create", "/s3v/"+bucket, "--layout", layout)
		s.aws(then, "s3", "sync", ".", "s3://"+bucket) // the large one in parts
		s.must("sh", "snapshot", "create", "/s3v/"+bucket, "s1")
		s.change(bucket)
		now[bucket], views[bucket] = s.copyOut(bucket), s.copyOut(bucket+"/.snapshot/s1")
		sameTree(t, views[bucket], then)
	}
	upload := s.beginUpload("snap-tree", "parts", content{seed: seed + 9, size: 5 << 20})
	root := s.credentials()
	to := filepath.Join(t.TempDir(), "backup")

	stop := s.background("snap-load")
	first := s.must("admin", "om", "image", "export", to)
	stop()
	t.Logf("%s", first)
	before := names(t, to)
	for bucket := range buckets {
		s.must("sh", "key", "put", "/s3v/"+bucket+"/last", filepath.Join(then, "img/three.bin"))
		now[bucket] = s.copyOut(bucket)
	}
	second := s.must("admin", "om", "image", "export", to)
	t.Logf("%s", second)
	if after := names(t, to); len(after) <= len(before) || !isSubset(before, after) {
		t.Errorf("the second export left %d files, the first %d", len(after), len(before))
	}
	s.kill()
	ok(t, os.RemoveAll(s.data)) // the machine is lost

	s.must("admin", "om", "image", "verify", to, "--strict")
	refusesDamage(s, to)
	s.data = filepath.Join(t.TempDir(), "restored")
	t.Logf("%s", s.must("--quiet", "admin", "om", "image", "import", to, "--data", s.data, "--strict"))
	s.verify()
	t.Setenv("O3_ROOT_ACCESS_KEY", root.AccessKey) // the file root-credentials is no part of an image
	t.Setenv("O3_ROOT_SECRET_KEY", root.SecretKey)
	s.start()
	for bucket := range buckets {
		sameTree(t, s.copyOut(bucket), now[bucket])
		sameTree(t, s.copyOut(bucket+"/.snapshot/s1"), views[bucket])
	}
	s.finishUpload("snap-tree", "parts", upload, content{seed: seed + 9, size: 5 << 20})
	s.must("sh", "key", "put", "/s3v/snap-flat/after", filepath.Join(then, "img/2026/two.bin")) // it takes writes
	s.kill()
	s.start()
	sameTree(t, s.copyOut("snap-flat/.snapshot/s1"), then)
	if got := s.aws(then, "s3", "cp", "s3://snap-flat/after", "-"); got != string(content{seed: seed + 2, size: 12 << 20}.bytes()) {
		t.Errorf("what was written after the restore: %d bytes", len(got))
	}
	s.stop()
	s.verify()
}

// copyOut returns a new directory with what lies below a bucket or prefix.
func (s *server) copyOut(from string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	s.client(dir, "rclone", "copy", "o3:"+from, ".")
	return dir
}

// background puts and deletes objects until stop is called.
func (s *server) background(bucket string) (stop func()) {
	s.t.Helper()
	c := s.sdk()
	makeBucket(s.t, c, bucket, fso)
	ctx, cancel := context.WithCancel(s.t.Context())
	var ended sync.WaitGroup
	ended.Go(func() {
		for i := uint64(0); ctx.Err() == nil; i++ {
			key, old := fmt.Sprintf("d/%06d", i), fmt.Sprintf("d/%06d", i-5)
			_, err := c.PutObject(context.WithoutCancel(ctx), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(string(content{i, 60_000}.bytes()))})
			if err == nil && i >= 5 {
				_, err = c.DeleteObject(context.WithoutCancel(ctx), &s3.DeleteObjectInput{Bucket: &bucket, Key: &old})
			}
			if err != nil {
				s.t.Errorf("load: %v", err)
				return
			}
		}
	})
	return func() { cancel(); ended.Wait() }
}

// beginUpload begins a multipart upload with one part.
func (s *server) beginUpload(bucket, key string, c content) (id string) {
	s.t.Helper()
	up, err := s.sdk().CreateMultipartUpload(s.t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	ok(s.t, err)
	_, err = s.sdk().UploadPart(s.t.Context(), &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1),
		Body: strings.NewReader(string(c.bytes()))})
	ok(s.t, err)
	return *up.UploadId
}

// finishUpload makes the object of the part that is there, which is c.
func (s *server) finishUpload(bucket, key, id string, c content) {
	s.t.Helper()
	list, err := s.sdk().ListParts(s.t.Context(), &s3.ListPartsInput{Bucket: &bucket, Key: &key, UploadId: &id})
	ok(s.t, err)
	var parts []types.CompletedPart
	for _, p := range list.Parts {
		parts = append(parts, types.CompletedPart{ETag: p.ETag, PartNumber: p.PartNumber})
	}
	_, err = s.sdk().CompleteMultipartUpload(s.t.Context(), &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: &id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	ok(s.t, err)
	got, err := s.sdk().GetObject(s.t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	ok(s.t, err)
	defer got.Body.Close()
	if sum, err := sumOf(got.Body); err != nil || sum != c.sum() {
		s.t.Errorf("the upload that was restored: %s, %v", sum, err)
	}
}

// refusesDamage flips a byte of a container at the target, for a while.
func refusesDamage(s *server, to string) {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(to, "files", "blocks", "c-*@*"))
	ok(s.t, err)
	path := found[len(found)-1]
	good, err := os.ReadFile(path)
	ok(s.t, err)
	bad := slices.Clone(good)
	bad[len(bad)/3] ^= 0x40
	ok(s.t, os.WriteFile(path, bad, 0o600))
	data := filepath.Join(s.t.TempDir(), "never")
	for _, args := range [][]string{{"verify", to}, {"import", to, "--data", data}} {
		out, code := s.o3(append([]string{"admin", "om", "image"}, args...)...)
		name, _, _ := strings.Cut(filepath.Base(path), "@")
		if code != 9 || !strings.Contains(out, name) {
			s.t.Errorf("%v with a damaged file: exit code %d\n%s", args, code, out)
		}
	}
	if out, code := s.o3("server", "--data", data); code == 0 || !strings.Contains(out, "an import of an image was begun here and not finished") {
		s.t.Errorf("a start on what a failed import left: exit code %d\n%s", code, out)
	}
	ok(s.t, os.WriteFile(path, good, 0o600))
}

func names(t testing.TB, dir string) (out []string) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, ierr := d.Info()
			if ierr != nil {
				return ierr
			}
			out = append(out, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return err
	}))
	return out
}

// isSubset leaves out the lock, which each export makes anew.
func isSubset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(name string) bool { return !strings.Contains(name, "/LOCK") && !slices.Contains(all, name) })
}

// TestExportInterrupted: Ctrl-C stops an export on the node too.
func TestExportInterrupted(t *testing.T) {
	s := startServer(t, "ozone.om.snapshot.checksum.bytes.per.second=1") // an image takes for ever
	dir := t.TempDir()
	content{seed: 1, size: 1000}.writeFile(t, filepath.Join(dir, "a"))
	s.must("sh", "bucket", "create", "/s3v/many", "--layout", "OBJECT_STORE")
	for i := range 600 { // each in its row
		ok(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d", i)), content{seed: uint64(i), size: 1000}.bytes(), 0o600))
	}
	s.client(dir, "rclone", "copy", ".", "o3:many", "--transfers", "16")
	c := s.credentials()
	to := filepath.Join(t.TempDir(), "backup")
	cmd := exec.Command(program, "admin", "om", "image", "export", to)
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "O3_ENDPOINT="+s.om, "O3_ACCESS_KEY="+c.AccessKey, "O3_SECRET_KEY="+c.SecretKey)
	said := newOutput("")
	cmd.Stdout, cmd.Stderr = said, said
	ok(t, cmd.Start())
	eventually(t, func() error {
		if out, code := s.o3("admin", "om", "image", "status"); code != 0 || !strings.Contains(out, "running") {
			return fmt.Errorf("exit code %d\n%s", code, out)
		}
		return nil
	})
	ok(t, cmd.Process.Signal(unix.SIGINT))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d\n%s", code, said)
	}
	if out := s.must("admin", "om", "image", "status"); !strings.Contains(out, "cancelled") {
		t.Errorf("%s", out)
	}
	if left, err := filepath.Glob(filepath.Join(to, "images", "*")); err != nil || len(left) > 0 {
		t.Errorf("there is an image: %v, %v", left, err)
	}
	s.stop()
}

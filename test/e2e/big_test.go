//go:build e2e && linux

package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestOneGiB: aws and rclone upload a file of 1 GiB in parts; the whole and
// random ranges of it come back the same.
func TestOneGiB(t *testing.T) {
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	want := content{seed, 1 << 30}
	s := startServer(t)
	c := s.sdk()
	makeBucket(t, c, "big", "")
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	want.writeFile(t, file)
	sum := sumFile(t, file)

	s.aws(dir, "s3", "cp", "--only-show-errors", file, "s3://big/aws")
	s.client(dir, "rclone", "copyto", "--s3-upload-cutoff", "100M", "--s3-chunk-size", "64M", file, "o3:big/rclone")
	local, err := os.Open(file)
	ok(t, err)
	defer local.Close()
	for _, key := range []string{"aws", "rclone"} {
		head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("big"), Key: &key})
		ok(t, err)
		if *head.ContentLength != want.size {
			t.Fatalf("%s: %d bytes", key, *head.ContentLength)
		}
		t.Logf("%s: ETag %s", key, *head.ETag)
		for range 50 {
			from := rng.Int64N(want.size)
			n := min(1+rng.Int64N(1<<rng.IntN(24)), want.size-from)
			out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("big"), Key: &key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", from, from+n-1))})
			ok(t, err)
			got, err := sumOf(out.Body)
			ok(t, err)
			out.Body.Close()
			expect, err := sumOf(io.NewSectionReader(local, from, n))
			ok(t, err)
			if got != expect || *out.ContentRange != fmt.Sprintf("bytes %d-%d/%d", from, from+n-1, want.size) {
				t.Fatalf("%s: bytes %d to %d (%s) differ", key, from, from+n-1, *out.ContentRange)
			}
		}
	}
	down := filepath.Join(dir, "down")
	s.aws(dir, "s3", "cp", "--only-show-errors", "s3://big/rclone", down) // each other's
	if sumFile(t, down) != sum {
		t.Fatal("what rclone uploaded and aws downloaded differs")
	}
	ok(t, os.Remove(down))
	s.client(dir, "rclone", "copyto", "o3:big/aws", down)
	if sumFile(t, down) != sum {
		t.Fatal("what aws uploaded and rclone downloaded differs")
	}
	s.stop()
}

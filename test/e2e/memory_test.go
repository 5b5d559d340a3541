//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestMemory: large objects, one alone and then many at once, go through the
// server without living in its memory.
func TestMemory(t *testing.T) {
	one, clients, each, limit := int64(256<<20), 16, int64(32<<20), int64(256<<20)
	if nightly {
		one, clients, each, limit = 5<<30, 32, 1<<30, 1<<30
	}
	s := startServer(t, "ozone.block.free.grace=0s", "ozone.block.deleting.service.interval=100ms")
	c := s.sdk()
	makeBucket(t, c, "memory", "")

	s.upload(c, "one", content{1, one}, 64<<20)
	s.download(c, "one", content{1, one})
	t.Logf("one object of %d MiB: at most %d MiB resident", one>>20, s.resident(t)>>20)
	_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("memory"), Key: aws.String("one")})
	ok(t, err)

	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			key, v := fmt.Sprint("c", i), content{uint64(100 + i), each}
			if i%2 == 0 {
				s.upload(c, key, v, 8<<20)
			} else {
				s.stream(c, key, v)
			}
			s.download(c, key, v)
		})
	}
	wg.Wait()
	peak := s.resident(t)
	t.Logf("%d clients with %d MiB each: at most %d MiB resident", clients, each>>20, peak>>20)
	if peak > limit {
		t.Errorf("the server had %d MiB resident, allowed are %d", peak>>20, limit>>20)
	}
	s.stop()
}

// upload sends an object in parts.
func (s *server) upload(c *s3.Client, key string, v content, part int64) {
	up := manager.NewUploader(c, func(u *manager.Uploader) { u.PartSize, u.Concurrency = part, 2 })
	if _, err := up.Upload(s.t.Context(), &s3.PutObjectInput{Bucket: aws.String("memory"), Key: &key, Body: v.reader()}); err != nil {
		s.t.Errorf("%s: %v", key, err)
	}
}

// stream sends an object in one request.
func (s *server) stream(c *s3.Client, key string, v content) {
	_, err := c.PutObject(s.t.Context(), &s3.PutObjectInput{Bucket: aws.String("memory"), Key: &key, Body: v.reader(), ContentLength: aws.Int64(v.size)},
		s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware), func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	if err != nil {
		s.t.Errorf("%s: %v", key, err)
	}
}

// download reads an object and compares it as it comes.
func (s *server) download(c *s3.Client, key string, v content) {
	out, err := c.GetObject(s.t.Context(), &s3.GetObjectInput{Bucket: aws.String("memory"), Key: &key})
	if err != nil {
		s.t.Errorf("%s: %v", key, err)
		return
	}
	defer out.Body.Close()
	if sum, err := sumOf(out.Body); err != nil || sum != v.sum() {
		s.t.Errorf("%s: came back different: %v", key, err)
	}
}

// resident returns the most memory the process has had resident, in bytes.
func (s *server) resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	ok(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if kb, found := strings.CutPrefix(line, "VmHWM:"); found {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 10, 64)
			ok(t, err)
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

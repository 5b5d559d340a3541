//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// busy makes everything that runs in the background run all the time.
var busy = []string{
	"ozone.s3g.multipart.min.part.size=1KB",
	"ozone.om.db.memtable.size=256KB", "ozone.om.db.flush.interval=100ms",
	"ozone.om.ratis.log.purge.preservation.log.num=1",
	"ozone.block.container.size=4MB", "ozone.block.free.grace=0s",
	"ozone.block.deleting.service.interval=20ms", "ozone.directory.deleting.service.interval=20ms",
	"ozone.block.rewrite.interval=100ms", "ozone.block.rewrite.threshold=0.2", "ozone.block.rewrite.bytes.per.second=1GB",
	"ozone.block.sweep.interval=100ms", "ozone.block.scrub.interval=200ms", "ozone.block.scrub.bytes.per.second=1GB",
}

// TestKill kills the process again and again while workers change things, and
// checks each time that everything acknowledged is there.
func TestKill(t *testing.T) {
	rounds := 20
	if nightly {
		rounds = 300
	}
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := startServer(t, busy...)
	c := s.sdk()
	makeBucket(t, c, "kill-flat", "")
	makeBucket(t, c, "kill-tree", fso)
	var workers []*worker
	for i := range 8 {
		w := &worker{t: t, id: i, c: c, rng: rand.New(rand.NewPCG(seed, uint64(i+1))), bucket: "kill-flat", keys: map[string]*fate{}}
		if i%2 == 1 {
			w.bucket = "kill-tree"
		}
		workers = append(workers, w)
	}
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, w := range workers {
			wg.Go(func() { w.work(ctx) })
		}
		await(t, rng, workers)
		s.kill() // in the middle of everything
		cancel()
		wg.Wait()
		for rng.IntN(4) == 0 { // now and then while it starts, too
			s.launch()
			select {
			case <-time.After(time.Duration(rng.IntN(300)) * time.Millisecond):
			case <-s.out.seen:
			}
			s.kill()
		}
		s.start()
		for _, w := range workers {
			wg.Go(w.check)
		}
		wg.Wait()
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	acked, doubts := 0, 0
	for _, w := range workers {
		acked, doubts = acked+w.acked, doubts+w.doubts
	}
	t.Logf("%d rounds, %d changes acknowledged, %d in doubt", rounds, acked, doubts)
	if acked < rounds*fewest || doubts == 0 {
		t.Error("there was too little load for the test to mean anything")
	}
	s.checkLists(workers)
	s.abortUploads("kill-flat", "kill-tree")
	s.stop()
	s.verify()
}

// await returns a random time after the workers have got going, and when they have
// made some changes.
func await(t testing.TB, rng *rand.Rand, workers []*worker) {
	t.Helper()
	made := func() (sum int64) {
		for _, w := range workers {
			sum += w.total.Load()
		}
		return sum
	}
	before := made()
	timer := time.NewTimer(time.Duration(200+rng.IntN(800)) * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	eventually(t, func() error { // on a busy machine a second may be nothing
		if n := made() - before; n < fewest && !t.Failed() {
			return fmt.Errorf("%d changes", n)
		}
		return nil
	})
}

// fewest is how many changes there are in a round at least; a quiet machine makes
// more.
const fewest = 150

// checkLists compares the listings with what the workers know.
func (s *server) checkLists(workers []*worker) {
	s.t.Helper()
	want, got := map[string]int64{}, map[string]int64{}
	for _, w := range workers {
		for key, f := range w.keys {
			if v := f.may[0]; v != nil {
				want[w.bucket+"/"+key] = v.size
			}
		}
	}
	for _, bucket := range []string{"kill-flat", "kill-tree"} {
		pages := s3.NewListObjectsV2Paginator(workers[0].c, &s3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(50)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(s.t.Context())
			ok(s.t, err)
			for _, o := range page.Contents {
				got[bucket+"/"+*o.Key] = *o.Size
			}
		}
	}
	var wrong []string
	for key, size := range want {
		if n, found := got[key]; !found || n != size {
			wrong = append(wrong, fmt.Sprintf("%s: listed %v with %d bytes, has %d", key, found, n, size))
		}
		delete(got, key)
	}
	for key := range got {
		wrong = append(wrong, key+" is listed and is not there")
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		s.t.Errorf("the listings:\n%s", strings.Join(wrong, "\n"))
	}
}

// abortUploads drops what unfinished uploads hold, which must be possible.
func (s *server) abortUploads(buckets ...string) {
	s.t.Helper()
	c := s.sdk()
	for _, bucket := range buckets {
		pages := s3.NewListMultipartUploadsPaginator(c, &s3.ListMultipartUploadsInput{Bucket: &bucket})
		for pages.HasMorePages() {
			page, err := pages.NextPage(s.t.Context())
			ok(s.t, err)
			for _, u := range page.Uploads {
				_, err := c.AbortMultipartUpload(s.t.Context(), &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: u.Key, UploadId: u.UploadId})
				ok(s.t, err)
			}
		}
	}
}

//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// busy makes everything that runs in the background run all the time.
var busy = []string{
	"ozone.s3g.multipart.min.part.size=1KB",
	"ozone.om.db.memtable.size=256KB", "ozone.om.db.flush.interval=100ms",
	"ozone.om.ratis.log.purge.preservation.log.num=1",
	"ozone.block.container.size=4MB", "ozone.block.free.grace=0s",
	"ozone.block.deleting.service.interval=20ms", "ozone.directory.deleting.service.interval=20ms",
	"ozone.block.rewrite.threshold=0.2", "ozone.block.rewrite.bytes.per.second=1GB",
	"ozone.block.sweep.interval=100ms", "ozone.block.scrub.interval=200ms", "ozone.block.scrub.bytes.per.second=1GB",
}

// TestKill kills the process again and again while workers change things, and
// checks each time that everything acknowledged is there.
func TestKill(t *testing.T) {
	rounds := 20
	if nightly {
		rounds = 400
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
	if acked < rounds*100 || doubts == 0 {
		t.Error("there was too little load for the test to mean anything")
	}
	s.checkLists(workers)
	s.abortUploads("kill-flat", "kill-tree")
	s.stop()
	s.verify()
}

// await returns a random time after the workers have got going.
func await(t *testing.T, rng *rand.Rand, workers []*worker) {
	t.Helper()
	timer := time.NewTimer(time.Duration(200+rng.IntN(800)) * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	target := int64(0)
	for _, w := range workers {
		target = max(target, w.total.Load())
	}
	eventually(t, func() error { // on a busy machine a second may be nothing
		sum := int64(0)
		for _, w := range workers {
			sum += w.total.Load()
		}
		if sum < target+150 && !t.Failed() {
			return fmt.Errorf("%d changes", sum)
		}
		return nil
	})
}

// fate is what may be stored under a key: one of several values while the
// answer to a change is missing, else exactly one. A nil value is no object.
type fate struct{ may []*content }

// worker changes keys of its own, one after the other, so that what must be
// there is known without knowing how requests overlapped.
type worker struct {
	t      *testing.T
	id     int
	c      *s3.Client
	rng    *rand.Rand
	bucket string
	keys   map[string]*fate
	serial uint64

	total         atomic.Int64 // changes acknowledged, of all rounds
	acked, doubts int
}

// work changes things until a request fails because the server is gone.
func (w *worker) work(ctx context.Context) {
	for ctx.Err() == nil {
		key := fmt.Sprintf("w%d/%c/%02d", w.id, 'a'+w.rng.IntN(3), w.rng.IntN(12))
		var ended bool
		switch n := w.rng.IntN(20); {
		case n < 9:
			ended = w.put(ctx, key)
		case n < 12:
			ended = w.multipart(ctx, key)
		case n < 14:
			ended = w.copy(ctx, key)
		case n < 16:
			ended = w.change(key, nil, func() error {
				_, err := w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: &key})
				return err
			})
		case n < 17:
			ended = w.deleteMany(ctx)
		default:
			ended = w.read(ctx, key)
		}
		if ended {
			return
		}
	}
}

func (w *worker) fate(key string) *fate {
	f := w.keys[key]
	if f == nil {
		f = &fate{may: []*content{nil}}
		w.keys[key] = f
	}
	return f
}

// change does something that makes value the content of key, and notes what
// is known afterwards. It reports whether the server is gone.
func (w *worker) change(key string, value *content, do func() error) bool {
	f := w.fate(key)
	err := do()
	var refused *types.NoSuchUpload
	switch {
	case err == nil:
		f.may = []*content{value}
		w.acked++
		w.total.Add(1)
		return false
	case errors.As(err, &refused), answered(err):
		w.t.Errorf("worker %d: %s was refused: %v", w.id, key, err)
		return true
	default:
		f.may = append(f.may, value)
		w.doubts++
		return true
	}
}

// answered tells an answer of the server from a connection that broke.
func answered(err error) bool {
	var r interface{ HTTPStatusCode() int }
	return errors.As(err, &r) && r.HTTPStatusCode() != 0
}

// next returns a new value: some fit into the row, some take a block, some many chunks.
func (w *worker) next() *content {
	w.serial++
	size := []int{0, 1, 100, 4096, 5000, 70_000, 300_000, 1_200_000}[w.rng.IntN(8)]
	return &content{uint64(w.id)<<40 | w.serial, int64(size + w.rng.IntN(100))}
}

func (w *worker) put(ctx context.Context, key string) bool {
	v := w.next()
	return w.change(key, v, func() error {
		_, err := w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: &w.bucket, Key: &key, Body: bytes.NewReader(v.bytes())})
		return err
	})
}

func (w *worker) multipart(ctx context.Context, key string) bool {
	v := &content{w.next().seed, int64(3000 + w.rng.IntN(400_000))}
	body := v.bytes()
	made, err := w.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &w.bucket, Key: &key})
	if err != nil {
		return w.gone(key, err)
	}
	var parts []types.CompletedPart
	for i, from := 1, 0; from < len(body); i++ {
		to := min(from+max(1024, len(body)/3), len(body))
		out, err := w.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &w.bucket, Key: &key, UploadId: made.UploadId, PartNumber: aws.Int32(int32(i)), Body: bytes.NewReader(body[from:to])})
		if err != nil {
			return w.gone(key, err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(int32(i)), ETag: out.ETag})
		from = to
	}
	if w.rng.IntN(5) == 0 {
		_, err := w.c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &w.bucket, Key: &key, UploadId: made.UploadId})
		return err != nil && w.gone(key, err)
	}
	return w.change(key, v, func() error {
		_, err := w.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &w.bucket, Key: &key, UploadId: made.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
		return err
	})
}

// copy copies a key that is known to be there over another; the bytes are shared.
func (w *worker) copy(ctx context.Context, key string) bool {
	for _, from := range w.sorted() {
		f := w.keys[from]
		if from == key || f.may[0] == nil {
			continue
		}
		return w.change(key, f.may[0], func() error {
			_, err := w.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &w.bucket, Key: &key, CopySource: aws.String(w.bucket + "/" + from)})
			return err
		})
	}
	return w.put(ctx, key)
}

func (w *worker) deleteMany(ctx context.Context) bool {
	var keys []string
	var ids []types.ObjectIdentifier
	for _, key := range w.sorted() {
		if w.rng.IntN(6) == 0 {
			keys, ids = append(keys, key), append(ids, types.ObjectIdentifier{Key: aws.String(key)})
		}
	}
	if len(ids) == 0 {
		return false
	}
	out, err := w.c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &w.bucket, Delete: &types.Delete{Objects: ids}})
	if err == nil && len(out.Errors) > 0 {
		err = fmt.Errorf("errors %v", out.Errors)
		w.t.Errorf("worker %d: delete: %v", w.id, err)
	}
	ended := false
	for _, key := range keys {
		ended = w.change(key, nil, func() error { return err })
	}
	return ended
}

func (w *worker) read(ctx context.Context, key string) bool {
	f := w.fate(key)
	err := w.matches(ctx, key, f.may)
	var wrong *wrongContent
	if errors.As(err, &wrong) {
		w.t.Errorf("worker %d: under load: %v", w.id, err)
	}
	return err != nil
}

// gone reports that a request failed which changes no object.
func (w *worker) gone(key string, err error) bool {
	if answered(err) {
		w.t.Errorf("worker %d: %s: %v", w.id, key, err)
	}
	return true
}

// sorted returns the keys in an order that the seed decides.
func (w *worker) sorted() []string {
	var keys []string
	for k := range w.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	w.rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

// check reads every key after a restart. What it finds is what is known then.
func (w *worker) check() {
	for key, f := range w.keys {
		if err := w.matches(context.Background(), key, f.may); err != nil {
			w.t.Errorf("worker %d: after the restart: %v", w.id, err)
		}
	}
}

type wrongContent struct{ text string }

func (e *wrongContent) Error() string { return e.text }

// matches reads key and wants one of the values; it leaves only that one.
func (w *worker) matches(ctx context.Context, key string, may []*content) error {
	out, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: &w.bucket, Key: &key})
	var found []byte
	switch {
	case code(err) == "NoSuchKey":
		for _, v := range may {
			if v == nil {
				w.keys[key].may = []*content{nil}
				return nil
			}
		}
		return &wrongContent{fmt.Sprintf("%s is not there", key)}
	case err != nil && answered(err):
		return &wrongContent{fmt.Sprintf("%s: %v", key, err)}
	case err != nil:
		return err
	}
	found, err = io.ReadAll(out.Body)
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return err
	}
	for _, v := range slices.Backward(may) {
		if v != nil && v.size == int64(len(found)) && bytes.Equal(v.bytes(), found) {
			w.keys[key].may = []*content{v}
			return nil
		}
	}
	return &wrongContent{fmt.Sprintf("%s holds %d bytes that are none of its %d possible values (%s)", key, len(found), len(may), http.DetectContentType(found))}
}

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

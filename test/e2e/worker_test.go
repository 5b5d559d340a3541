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
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

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

package freon_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// fakeS3 is an S3 server of a few operations, with everything in memory. It
// checks each signature and each body. It can be told to misbehave.
type fakeS3 struct {
	url string

	mu      sync.Mutex
	buckets map[string]map[string][]byte
	seen    map[string]int // requests by method and what became of them
	faults  []string       // one for each of the next requests on a key
}

const (
	fakeKey    = "FAKEKEY"
	fakeSecret = "fakesecret"
)

func newFakeS3(t testing.TB) *fakeS3 {
	f := &fakeS3{buckets: map[string]map[string][]byte{}, seen: map[string]int{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

// ServeHTTP implements http.Handler.
func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	verifier := sigv4.NewVerifier(sigv4.Options{Region: "us-east-1"})
	id, err := verifier.Verify(sigv4.FromHTTP(r), time.Now(), func(id string) (string, error) {
		if id != fakeKey {
			return "", errs.New(errs.NoSuchPrincipal, id, "")
		}
		return fakeSecret, nil
	})
	if err != nil {
		fail(w, http.StatusForbidden, "SignatureDoesNotMatch")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	if sum := sha256.Sum256(body); id.Payload == sigv4.PayloadHash && hex.EncodeToString(sum[:]) != id.PayloadSHA256 {
		fail(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		return
	}
	bucket, key, isKey := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[r.Method]++
	if isKey && len(f.faults) > 0 {
		fault := f.faults[0]
		f.faults = f.faults[1:]
		if f.fail(w, fault) {
			return
		}
	}
	if isKey {
		f.serveKey(w, r, bucket, key, body)
	} else {
		f.serveBucket(w, r, bucket)
	}
}

// fail does what a fault says; it returns false to serve the request.
func (f *fakeS3) fail(w http.ResponseWriter, fault string) bool {
	switch fault {
	case "busy":
		fail(w, http.StatusServiceUnavailable, "SlowDown")
	case "cut":
		panic(http.ErrAbortHandler)
	case "bare":
		w.WriteHeader(http.StatusBadGateway)
	case "close":
		w.Header().Set("Connection", "close")
		return false
	default:
		return false
	}
	return true
}

func fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the fake has it</Message></Error>", code)
}

func (f *fakeS3) serveBucket(w http.ResponseWriter, r *http.Request, bucket string) {
	keys, ok := f.buckets[bucket]
	switch {
	case r.Method == http.MethodPut:
		f.buckets[bucket] = map[string][]byte{}
	case !ok:
		fail(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodGet:
		q := r.URL.Query()
		limit, _ := strconv.Atoi(q.Get("max-keys")) // 0 lists nothing
		var names []string
		for name := range keys {
			if strings.HasPrefix(name, q.Get("prefix")) && name > q.Get("start-after") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		fmt.Fprint(w, "<ListBucketResult>")
		for _, name := range names[:min(limit, len(names))] {
			fmt.Fprintf(w, "<Contents><Key>%s</Key></Contents>", name)
		}
		fmt.Fprint(w, "</ListBucketResult>")
	}
}

func (f *fakeS3) serveKey(w http.ResponseWriter, r *http.Request, bucket, key string, body []byte) {
	keys, ok := f.buckets[bucket]
	data, found := keys[key]
	switch {
	case !ok:
		fail(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPut:
		keys[key] = body
	case r.Method == http.MethodDelete:
		delete(keys, key)
		w.WriteHeader(http.StatusNoContent)
	case !found:
		fail(w, http.StatusNotFound, "NoSuchKey")
	default:
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data)
	}
}

// names returns the keys of a bucket.
func (f *fakeS3) names(bucket string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []string{}
	for name := range f.buckets[bucket] {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// damage changes the bytes of a key.
func (f *fakeS3) damage(bucket, key, how string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.buckets[bucket][key]
	if !ok {
		return fmt.Errorf("no key %s/%s", bucket, key)
	}
	switch how {
	case "flip":
		data = slices.Clone(data)
		data[len(data)/2] ^= 1
	case "cut":
		data = data[:len(data)-1]
	case "grow":
		data = append(slices.Clone(data), 0)
	default:
		return fmt.Errorf("no damage %q", how)
	}
	f.buckets[bucket][key] = data
	return nil
}

package s3target

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/image/imagetest"
)

func isLock(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/LOCK") }

// until waits for what must happen.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: it did not happen", what)
		}
	}
}

// TestLockRenewed: the lock is renewed while it is held, and gone afterwards.
func TestLockRenewed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	at := s.open("x", func(o *Options) { o.Renew, o.Owner = 2*time.Second, "node om1" })
	l, err := at.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from, err := at.Open(t.Context(), "LOCK")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(from)
	if err = errors.Join(err, from.Close()); err != nil || !regexp.MustCompile(`^\{"format":1,"owner":"node om1","nonce":"[A-Z2-7]{26}","renewal":[0-9]+\}$`).Match(raw) {
		t.Errorf("the object: %s, %v", raw, err)
	}
	s.proxy.does(nil, nil)
	until(t, "renewals", func() bool {
		n := 0
		for _, r := range s.proxy.requests() {
			if r == "PUT /backups/x/LOCK" {
				n++
			}
		}
		return n >= 4 // the lock would be lost by now
	})
	if _, err := s.open("x", plain).Lock(t.Context()); errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "node om1") {
		t.Errorf("%v", err)
	}
	if err := put(t, at, "files/x", []byte("x")); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.raw.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("backups"), Key: aws.String("x/LOCK")}); codeOf(err) != "NotFound" {
		t.Errorf("the lock after it was closed: %v", err)
	}
}

// TestLockLost: who cannot renew the lock changes nothing more, and is cut off
// in what it does.
func TestLockLost(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	at := s.open("x", func(o *Options) { o.Renew = 50 * time.Millisecond })
	l, err := at.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.proxy.does(func(w http.ResponseWriter, r *http.Request) bool { return isLock(r) && reset(w) }, nil)
	slow := readerFunc(func(p []byte) (int, error) { return len(p), nil }) // without end
	if err := at.Put(t.Context(), "files/x", 1<<40, slow); errs.KindOf(err) != errs.Conflict || !strings.Contains(err.Error(), "the lock was lost") {
		t.Errorf("a put that was under way: %v", err)
	}
	if err := put(t, at, "files/x", []byte("x")); errs.KindOf(err) != errs.Conflict {
		t.Errorf("put: %v", err)
	}
	if err := at.Remove(t.Context(), "files/x"); errs.KindOf(err) != errs.Conflict {
		t.Errorf("remove: %v", err)
	}
	if err := l.Close(); errs.KindOf(err) != errs.Conflict {
		t.Errorf("close: %v", err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestLockTaken: a lock that nobody renews, by the store's clock, is taken over,
// by one of many; whoever had it notices.
func TestLockTaken(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := s.open("x", func(o *Options) { o.Renew = time.Hour })
	l, err := first.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.open("x", plain).Lock(t.Context()); errs.KindOf(err) != errs.Conflict || !regexp.MustCompile(`free again in (2m|1m[0-9]+)`).MatchString(err.Error()) {
		t.Errorf("%v", err)
	}
	s.proxy.does(nil, func(r *http.Response) error {
		r.Header.Set("Date", time.Now().Add(121*time.Second).UTC().Format(http.TimeFormat))
		return nil
	})
	var all sync.WaitGroup
	var mu sync.Mutex
	var got []io.Closer
	for range 6 {
		at := s.open("x", plain)
		all.Go(func() {
			// The clock stays ahead: each finds an old lock, also that of another. Two
			// that saw the same one do not both get it.
			l, err := at.Lock(t.Context())
			if err != nil {
				if errs.KindOf(err) != errs.Conflict {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			got = append(got, l)
			mu.Unlock()
		})
	}
	all.Wait()
	s.proxy.does(nil, nil)
	if len(got) == 0 {
		t.Fatal("nobody got the lock")
	}
	for _, l := range append(got, l) { // who has it no more leaves it alone
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.keys()); n != 0 {
		t.Errorf("%d objects after all locks were closed", n)
	}
}

// TestLockOfDead: who is alone under its name need not wait for itself.
func TestLockOfDead(t *testing.T) {
	s := newStore(t)
	node := func(o *Options) { o.Owner, o.Alone = "node om1", true }
	dead, err := s.open("x", node).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.open("x", func(o *Options) { o.Owner, o.Alone = "node om2", true }).Lock(t.Context()); errs.KindOf(err) != errs.Conflict {
		t.Errorf("another: %v", err)
	}
	if _, err := s.open("x", func(o *Options) { o.Owner = "node om1" }).Lock(t.Context()); errs.KindOf(err) != errs.Conflict {
		t.Errorf("one that is not alone: %v", err)
	}
	l, err := s.open("x", node).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(dead.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if keys := s.keys(); len(keys) != 0 {
		t.Errorf("there is %v", keys)
	}
}

// TestLockNeeds: a store that does not do what the lock needs is refused, and can
// be used without it.
func TestLockNeeds(t *testing.T) {
	for name, harm := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"refuses conditions": func(w http.ResponseWriter, r *http.Request) bool {
			return r.Header.Get("If-None-Match") != "" && status(w, 501, "NotImplemented")
		},
		"ignores If-None-Match": ignores("If-None-Match", 1),
		"ignores If-Match":      ignores("If-Match", 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.proxy.does(harm, nil)
			n := imagetest.NewNode(t)
			_, err := n.Export(t, s.open("x", plain), image.ExportOptions{})
			if errs.KindOf(err) != errs.NotImplemented || !strings.Contains(err.Error(), "lock=off") {
				t.Errorf("%v", err)
			}
			if keys := s.keys(); len(keys) != 0 {
				t.Errorf("there is %v", keys)
			}
			off := s.open("x", func(o *Options) { o.Place.Unlocked = true })
			if _, err := n.Export(t, off, image.ExportOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := image.Prune(t.Context(), off, 1); err != nil {
				t.Error(err)
			}
		})
	}
}

// ignores is a store that takes every write under a condition of that header,
// after the first few.
func ignores(header string, after int64) func(http.ResponseWriter, *http.Request) bool {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get(header) == "" || n.Add(1) <= after {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"0123456789abcdef0123456789abcdef"`)
		return true
	}
}

// TestLockAnswersLost: answers that are lost do not lose the lock.
func TestLockAnswersLost(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	at := s.open("x", func(o *Options) { o.Renew, o.Attempts = 2*time.Second, 3 })
	n, puts := 0, 0
	var mu sync.Mutex
	s.proxy.does(nil, func(r *http.Response) error {
		mu.Lock()
		defer mu.Unlock()
		if isLock(r.Request) && r.Request.Method == http.MethodPut && r.StatusCode == http.StatusOK {
			if puts++; puts%2 == 1 {
				n++
				return errors.New("lost")
			}
		}
		return nil
	})
	l, err := at.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until(t, "renewals", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return n >= 3
	})
	if err := put(t, at, "files/x", []byte("x")); err != nil {
		t.Error(err)
	}
	s.proxy.does(nil, nil)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestLockOfOthers: what is no lock is left alone.
func TestLockOfOthers(t *testing.T) {
	s := newStore(t)
	_, err := s.raw.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("backups"), Key: aws.String("x/LOCK"), Body: bytes.NewReader([]byte("theirs"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.open("x", plain).Lock(t.Context()); errs.KindOf(err) != errs.FormatUnknown || !strings.Contains(err.Error(), "s3://backups/x/LOCK") {
		t.Errorf("%v", err)
	}
}

// keys lists all that is in the bucket.
func (s *store) keys() (out []string) {
	s.t.Helper()
	list, err := s.raw.ListObjectsV2(s.t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("backups")})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range list.Contents {
		out = append(out, *o.Key)
	}
	return out
}

// TestSweep: uploads that an export left which was killed are dropped by the next
// one; those of others are not.
func TestSweep(t *testing.T) {
	s := newStore(t)
	for _, key := range []string{"x/files/blocks/c-1@00-9", "x/other", "files/blocks/c-1@00-9"} {
		if _, err := s.raw.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("backups"), Key: aws.String(key)}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := s.open("x", plain).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if n := s.uploads(); n != 2 {
		t.Errorf("%d uploads are left", n)
	}
}

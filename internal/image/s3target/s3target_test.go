package s3target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/image/imagetest"
	"o3/internal/leaktest"
	s3front "o3/internal/s3"
	"o3/internal/s3/s3test"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// part is the size of a part in these tests.
const part = 64 << 10

// store is an S3 store, a proxy before it, and targets of it.
type store struct {
	t     testing.TB
	proxy *proxy
	raw   *s3.Client
}

func newStore(t testing.TB) *store {
	t.Helper()
	front := s3test.New(t, s3front.Options{MinPartSize: 1}, s3test.Deps{})
	s := &store{t: t, proxy: newProxy(t, front.Server.URL)}
	s.raw = s.open("unused", func(*Options) {}).client
	if _, err := s.raw.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("backups")}); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens a place in the bucket.
func (s *store) open(prefix string, edit func(*Options)) *Target {
	s.t.Helper()
	place, err := Parse("s3://backups/" + prefix + "?region=us-east-1&endpoint=" + s.proxy.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	o := Options{Place: place, AccessKey: s3test.Root.ID, SecretKey: s3test.Root.Secret, PartSize: part, Pause: time.Millisecond, Patience: 2 * time.Minute}
	edit(&o)
	at, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { at.Close() })
	return at
}

func plain(*Options) {}

// TestTarget: the contract, with each checksum.
func TestTarget(t *testing.T) {
	for _, checksum := range []string{"", "sha256", "none"} {
		t.Run("checksum "+checksum, func(t *testing.T) {
			t.Parallel()
			imagetest.Targets(t, part, func(t *testing.T) func() image.Target {
				s := newStore(t)
				return func() image.Target { return s.open("nodes/om1", func(o *Options) { o.Place.Checksum = checksum }) }
			})
		})
	}
}

func put(t testing.TB, at *Target, name string, data []byte) error {
	t.Helper()
	return at.Put(t.Context(), name, int64(len(data)), bytes.NewReader(data))
}

func get(t testing.TB, at *Target, name string) ([]byte, error) {
	t.Helper()
	from, err := at.Open(t.Context(), name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(from)
	return data, errors.Join(err, from.Close())
}

// uploads counts the uploads that are not complete.
func (s *store) uploads() int {
	s.t.Helper()
	out, err := s.raw.ListMultipartUploads(s.t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("backups")})
	if err != nil {
		s.t.Fatal(err)
	}
	return len(out.Uploads)
}

// TestStored: what the store keeps, of both ways to put.
func TestStored(t *testing.T) {
	s := newStore(t)
	at := s.open("a/b", plain)
	for name, n := range map[string]int{"files/one@0-0": 1000, "files/parts@0-0": 5 * part / 2} {
		if err := put(t, at, name, imagetest.Content(1, n)); err != nil {
			t.Fatal(err)
		}
		head, err := s.raw.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("backups"), Key: aws.String("a/b/" + name), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil || aws.ToString(head.ChecksumCRC64NVME) == "" || head.ChecksumType != types.ChecksumTypeFullObject {
			t.Errorf("%s: %+v, %v", name, head, err)
		}
	}
	if n := s.uploads(); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// TestFaults: harm that passes is got over, for each request of a put and a get.
func TestFaults(t *testing.T) {
	for name, harm := range map[string]func(http.ResponseWriter) bool{
		"reset":    reset,
		"internal": func(w http.ResponseWriter) bool { return status(w, 500, "InternalError") },
		"slow":     func(w http.ResponseWriter) bool { return status(w, 503, "SlowDown") },
		"gateway":  func(w http.ResponseWriter) bool { return status(w, 502, "") },
		"damaged":  func(w http.ResponseWriter) bool { return status(w, 400, "BadDigest") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			at := s.open("x", plain)
			var n atomic.Int64
			s.proxy.does(func(w http.ResponseWriter, _ *http.Request) bool { return n.Add(1)%2 == 1 && harm(w) }, nil)
			data := imagetest.Content(1, 4*part+9)
			if err := put(t, at, "files/small", data[:100]); err != nil {
				t.Error(err)
			}
			if err := put(t, at, "files/large", data); err != nil {
				t.Error(err)
			}
			if got, err := get(t, at, "files/large"); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if err := at.Remove(t.Context(), "files/small"); err != nil {
				t.Error(err)
			}
			count := 0
			if err := at.List(t.Context(), "", func(string, int64) error { count++; return nil }); err != nil || count != 1 {
				t.Errorf("%d objects, %v", count, err)
			}
		})
	}
}

// TestPutFails: harm that does not pass leaves nothing, and ends.
func TestPutFails(t *testing.T) {
	s := newStore(t)
	at := s.open("x", func(o *Options) { o.Attempts = 3 })
	data := imagetest.Content(1, 6*part)
	s.proxy.does(func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Query().Get("partNumber") == "3" && reset(w)
	}, nil)
	if err := put(t, at, "files/x", data); errs.KindOf(err) != errs.Unavailable || !strings.Contains(err.Error(), "s3://backups/x/files/x") {
		t.Errorf("%v", err)
	}
	asked := 0
	for _, r := range s.proxy.requests() {
		if strings.HasPrefix(r, "PUT ") {
			asked++
		}
	}
	if asked > 6+2 {
		t.Errorf("parts were sent %d times", asked)
	}
	s.proxy.does(nil, nil)
	if n := s.uploads(); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
	if _, err := at.Open(t.Context(), "files/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestLostAnswer: the store made the object, but the answer was lost.
func TestLostAnswer(t *testing.T) {
	s := newStore(t)
	at := s.open("x", plain)
	data := imagetest.Content(1, 3*part)
	var lost atomic.Bool
	s.proxy.does(nil, func(r *http.Response) error {
		if r.Request.Method == http.MethodPost && r.Request.URL.Query().Has("uploadId") && !lost.Swap(true) {
			return errors.New("lost")
		}
		return nil
	})
	if err := put(t, at, "files/x", data); err != nil || !lost.Load() {
		t.Fatal(err)
	}
	if got, err := get(t, at, "files/x"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestDamageOnTheWay: a bit that flips on the way to the store is found there, and
// the request repeated.
func TestDamageOnTheWay(t *testing.T) {
	s := newStore(t)
	at := s.open("x", plain)
	var n atomic.Int64
	s.proxy.does(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && n.Add(1)%2 == 1 {
			r.Body = &flipped{ReadCloser: r.Body, at: 50}
		}
		return false
	}, nil)
	for _, data := range [][]byte{imagetest.Content(1, 100), imagetest.Content(1, 3*part+100)} {
		if err := put(t, at, "files/x", data); err != nil {
			t.Fatal(err)
		}
		if got, err := get(t, at, "files/x"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if n.Load() < 4 {
		t.Errorf("%d requests brought bytes", n.Load())
	}
}

// TestReadOn: a body that breaks off is gone on with where it was.
func TestReadOn(t *testing.T) {
	s := newStore(t)
	at := s.open("x", plain)
	data := imagetest.Content(1, 40*ahead)
	if err := put(t, at, "files/x", data); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]error{"reset": errors.New("reset"), "truncated": io.EOF} {
		n := 0
		s.proxy.does(nil, func(r *http.Response) error {
			if n++; r.Request.Method == http.MethodGet {
				r.Body = &cut{ReadCloser: r.Body, left: int64(ahead + n*1000), err: end}
			}
			return nil
		})
		if got, err := get(t, at, "files/x"); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if asked := len(s.proxy.requests()); asked < 20 {
			t.Errorf("%s: %d requests only", name, asked)
		}
	}
	s.proxy.does(nil, func(r *http.Response) error {
		r.Body = &cut{ReadCloser: r.Body, left: 100, err: io.EOF}
		return nil
	})
	_, err := get(t, at, "files/x")
	if errs.KindOf(err) != errs.Unavailable || !strings.Contains(err.Error(), "the connection broke 6 times") || len(s.proxy.requests()) != 6 {
		t.Errorf("no end in sight: %v after %d requests", err, len(s.proxy.requests()))
	}
}

// TestStandsStill: a connection on which nothing moves is given up.
func TestStandsStill(t *testing.T) {
	s := newStore(t)
	data := imagetest.Content(1, 3*part)
	if err := put(t, s.open("x", plain), "files/x", data); err != nil {
		t.Fatal(err)
	}
	at := s.open("x", func(o *Options) { o.Patience = 200 * time.Millisecond })
	var n atomic.Int64
	s.proxy.does(nil, func(r *http.Response) error {
		if n.Add(1) == 1 {
			r.Body = &stuck{cut{ReadCloser: r.Body, left: 1000}, r.Request.Context()}
		}
		return nil
	})
	// On a machine that stands still itself it may be more than two.
	if got, err := get(t, at, "files/x"); err != nil || !bytes.Equal(got, data) || n.Load() < 2 {
		t.Errorf("%d bytes, %v, %d requests", len(got), err, n.Load())
	}
}

// stuck gives no more after its part, until the other side goes.
type stuck struct {
	cut
	ctx context.Context
}

func (s *stuck) Read(p []byte) (int, error) {
	if s.left <= 0 {
		<-s.ctx.Done()
		return 0, s.ctx.Err()
	}
	return s.cut.Read(p)
}

// TestChangedWhileRead: the rest of another object is not put behind the first
// half of this one.
func TestChangedWhileRead(t *testing.T) {
	s := newStore(t)
	at := s.open("x", plain)
	if err := put(t, at, "files/x", imagetest.Content(1, 3*part)); err != nil {
		t.Fatal(err)
	}
	s.proxy.does(nil, func(r *http.Response) error {
		r.Body = &cut{ReadCloser: r.Body, left: 1000, err: io.EOF}
		return nil
	})
	from, err := at.Open(t.Context(), "files/x")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	s.proxy.does(nil, nil)
	if err := put(t, at, "files/x", imagetest.Content(2, 3*part)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(from); errs.KindOf(err) != errs.PreconditionFailed {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestFlippedByte: a byte that is wrong in what the store gives is refused, by
// name.
func TestFlippedByte(t *testing.T) {
	s := newStore(t)
	at := s.open("x", plain)
	n := imagetest.NewNode(t)
	out, err := n.Export(t, at, image.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"/files/blocks/c-", "/files/store/0", "/images/"} {
		s.proxy.does(nil, func(r *http.Response) error {
			if r.Request.Method == http.MethodGet && strings.Contains(r.Request.URL.Path, of) {
				r.Body = &flipped{ReadCloser: r.Body, at: 60}
			}
			return nil
		})
		_, err := image.Import(t.Context(), at, out.Manifest.ID, image.ImportOptions{FS: n.FS, DataDir: "/new" + of, Reserve: -1})
		if errs.KindOf(err) != errs.Corrupt || !strings.Contains(err.Error(), strings.TrimPrefix(of, "/")) {
			t.Errorf("%s: %v", of, err)
		}
	}
	s.proxy.does(nil, nil)
	if _, err := image.Import(t.Context(), at, out.Manifest.ID, image.ImportOptions{FS: n.FS, DataDir: "/good", Reserve: -1, Strict: true}); err != nil {
		t.Error(err)
	}
}

// TestBadLine: what cannot be reached is not taken for damaged.
func TestBadLine(t *testing.T) {
	s := newStore(t)
	at := s.open("x", func(o *Options) { o.Attempts = 2 })
	n := imagetest.NewNode(t)
	out, err := n.Export(t, at, image.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"/files/", "/images/"} {
		s.proxy.does(nil, func(r *http.Response) error {
			if r.Request.Method == http.MethodGet && strings.Contains(r.Request.URL.Path, of) {
				r.Body = &cut{ReadCloser: r.Body, left: 10, err: io.EOF}
			}
			return nil
		})
		_, err := image.VerifyTarget(t.Context(), at, out.Manifest.ID, "", image.VerifyOptions{FS: n.FS, Defect: func(d image.Defect) { t.Errorf("a defect: %v", d) }})
		if errs.KindOf(err) != errs.Unavailable {
			t.Errorf("verify: %v", err)
		}
		if _, err := n.Export(t, at, image.ExportOptions{Recheck: true}); errs.KindOf(err) != errs.Unavailable && of == "/files/" {
			t.Errorf("recheck: %v", err)
		}
		_, err = image.List(t.Context(), at, func(id string, err error) { t.Errorf("%s is damaged: %v", id, err) })
		if errs.KindOf(err) != errs.Unavailable && of == "/images/" {
			t.Errorf("list: %v", err)
		}
	}
}

// TestPages: a listing of several pages.
func TestPages(t *testing.T) {
	s := newStore(t)
	at := s.open("x", plain)
	const n = 1003
	for i := range n {
		_, err := s.raw.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("backups"), Key: aws.String(fmt.Sprintf("x/files/%04d", i))})
		if err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	if err := at.List(t.Context(), "files/", func(name string, _ int64) error { seen[name] = true; return nil }); err != nil || len(seen) != n || !seen["files/0000"] {
		t.Errorf("%d names, %v", len(seen), err)
	}
}

// TestTold: what is wrong is told with its kind and what to do about it, and
// without secrets.
func TestTold(t *testing.T) {
	s := newStore(t)
	good := s.open("x", plain)
	if err := put(t, good, "files/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(*Options)
		harm func(http.ResponseWriter, *http.Request) bool
		kind errs.Kind
		says string
	}{
		{"bucket", func(o *Options) { o.Place.Bucket = "nothere" }, nil, errs.NoSuchBucket, "create it, or correct the URL"},
		{"key", func(o *Options) { o.AccessKey = "NOBODY" }, nil, errs.Unauthenticated, "does not know the access key"},
		{"secret", func(o *Options) { o.SecretKey = "another-secret-0123456789" }, nil, errs.Unauthenticated, "the secret key is not"},
		{"denied", func(o *Options) { o.AccessKey, o.SecretKey = s3test.Bob.ID, s3test.Bob.Secret }, nil, errs.Denied, "s3://backups"},
		{"region", func(o *Options) { o.Place.Region = "eu-west-9" }, nil, errs.Invalid, "?region="},
		{"no store", plain, func(w http.ResponseWriter, _ *http.Request) bool { return status(w, 404, "") }, errs.Invalid, "no S3 store"},
		{"redirect", plain, func(w http.ResponseWriter, _ *http.Request) bool { return status(w, 301, "PermanentRedirect") }, errs.Invalid, "another region"},
		{"full", plain, func(w http.ResponseWriter, _ *http.Request) bool { return status(w, 507, "Whatever") }, errs.ReadOnly, "no room"},
		{"overloaded", plain, func(w http.ResponseWriter, _ *http.Request) bool { return status(w, 503, "SlowDown") }, errs.SlowDown, "try again later"},
		{"down", plain, func(w http.ResponseWriter, _ *http.Request) bool { return status(w, 503, "ServiceUnavailable") }, errs.Unavailable, "failed 2 times"},
		{"cannot", plain, func(w http.ResponseWriter, _ *http.Request) bool { return status(w, 501, "NotImplemented") }, errs.NotImplemented, "cannot do this"},
		{"endpoint", func(o *Options) { o.Place.Endpoint = "http://127.0.0.1:1" }, nil, errs.Unavailable, "?endpoint="},
	} {
		at := s.open("x", func(o *Options) { o.Attempts = 2; c.edit(o) })
		s.proxy.does(c.harm, nil)
		err := at.List(t.Context(), "", func(string, int64) error { return nil })
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if perr := put(t, at, "files/y", []byte("y")); errs.KindOf(perr) != c.kind && c.name != "no store" {
			t.Errorf("put: %s: %v", c.name, perr)
		}
		for _, secret := range []string{s3test.Root.Secret, "another-secret"} {
			if strings.Contains(fmt.Sprint(err), secret) {
				t.Errorf("%s: the secret is told", c.name)
			}
		}
	}
}

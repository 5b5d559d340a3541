package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/api/o3/v1/o3v1connect"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/leaktest"
	"o3/internal/rpc"
	"o3/internal/rpc/rpcerr"
	"o3/internal/rpc/rpctest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func dial(t *testing.T, opts client.Options, servers ...*rpctest.Server) *client.Client {
	t.Helper()
	opts.AccessKey, opts.SecretKey = rpctest.RootKey, rpctest.RootSecret
	for i, s := range servers {
		if i == 0 {
			opts.Address = s.URL
		} else {
			opts.Addresses = append(opts.Addresses, s.URL)
		}
	}
	c, err := client.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func bucketOf(t *testing.T, c *client.Client, layout string) {
	t.Helper()
	if _, err := c.CreateBucket(t.Context(), &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "photos", Layout: layout}); err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, want errs.Kind) *errs.Error {
	t.Helper()
	e, _ := errors.AsType[*errs.Error](err)
	if e == nil || e.Kind != want {
		t.Fatalf("error %v of kind %v, want kind %v", err, errs.KindOf(err), want)
	}
	return e
}

// TestErrorsComeBack: the caller gets the kind, subject and detail of the server.
func TestErrorsComeBack(t *testing.T) {
	c := dial(t, client.Options{}, rpctest.Start(t, rpctest.NewMemory(), rpc.Options{}))
	_, err := c.CreateVolume(t.Context(), &o3v1.CreateVolumeRequest{Volume: "No"})
	e := wantKind(t, err, errs.Invalid)
	if !strings.Contains(e.Subject, `"No"`) || !strings.Contains(e.Detail, "3 to 63") {
		t.Errorf("subject %q detail %q", e.Subject, e.Detail)
	}
	_, err = c.GetVolume(t.Context(), &o3v1.GetVolumeRequest{Volume: "nope"})
	wantKind(t, err, errs.NoSuchVolume)
	_, err = c.GetUpload(t.Context(), &o3v1.GetUploadRequest{}) // the fake has none
	wantKind(t, err, errs.NotImplemented)
}

// TestWriteIsDoneOnce: whenever the connection is cut, the caller gets the
// answer and the server does the write once.
func TestWriteIsDoneOnce(t *testing.T) {
	m := rpctest.NewMemory()
	s := rpctest.Start(t, m, rpc.Options{})
	var retries int
	c := dial(t, client.Options{Listener: client.Listener{Retry: func(string, string, error) { retries++ }}}, s)
	for i, faults := range [][]rpctest.Fault{
		{rpctest.CutBefore},
		{rpctest.CutAfter},
		{rpctest.CutAfter, rpctest.CutBefore, rpctest.CutAfter},
		{answer(errs.Unavailable, ""), answer(errs.SlowDown, "")},
		{httpStatus(http.StatusBadGateway)},
	} {
		retries = 0
		s.Inject(faults...)
		name := fmt.Sprintf("volume%d", i)
		r, err := c.CreateVolume(t.Context(), &o3v1.CreateVolumeRequest{Volume: name})
		if err != nil || r.Volume.Name != name {
			t.Fatalf("%d: %v %v", i, r, err)
		}
		if retries != len(faults) {
			t.Errorf("%d: %d retries for %d faults", i, retries, len(faults))
		}
		if got := m.Writes("CreateVolume"); got != i+1 {
			t.Errorf("%d: %d writes done, want %d", i, got, i+1)
		}
	}
}

// answer refuses a request with an error of ours.
func answer(k errs.Kind, subject string) rpctest.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		e := rpcerr.Encode(errs.New(k, subject, "injected"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		d := e.Details()[0]
		_, _ = fmt.Fprintf(w, `{"code":%q,"message":%q,"details":[{"type":%q,"value":%q}]}`, e.Code(), e.Message(), d.Type(), base64Of(d.Bytes()))
		return true
	}
}

// httpStatus answers as a proxy that knows nothing of us.
func httpStatus(code int) rpctest.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		http.Error(w, http.StatusText(code), code)
		return true
	}
}

// TestGivesUp: retries are bounded by RetryFor, by the context, and not tried
// for errors that no retry mends.
func TestGivesUp(t *testing.T) {
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	req := &o3v1.GetVolumeRequest{Volume: "s3v"}

	c := dial(t, client.Options{RetryFor: 60 * time.Millisecond}, s)
	s.Inject(slices.Repeat([]rpctest.Fault{rpctest.CutBefore}, 50)...)
	_, err := c.GetVolume(t.Context(), req)
	e := wantKind(t, err, errs.Unavailable)
	if !strings.Contains(e.Detail, "gave up after") || e.Subject != s.URL {
		t.Errorf("%v", e)
	}
	if s.Left() == 0 || s.Left() == 50 {
		t.Errorf("%d of 50 faults left", s.Left())
	}

	never := dial(t, client.Options{RetryFor: -1}, s)
	left := s.Left()
	_, err = never.GetVolume(t.Context(), req)
	wantKind(t, err, errs.Unavailable)
	if s.Left() != left-1 {
		t.Errorf("RetryFor -1 tried %d times", left-s.Left())
	}

	ctx, cancel := context.WithCancel(t.Context())
	stops := dial(t, client.Options{Listener: client.Listener{Retry: func(string, string, error) { cancel() }}}, s)
	_, err = stops.GetVolume(ctx, req)
	if k := errs.KindOf(err); k != errs.Unavailable && k != errs.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	for s.Left() > 0 { // use up the faults
		_, _ = never.GetVolume(t.Context(), req)
	}
	s.Inject(answer(errs.Conflict, "x"), answer(errs.Denied, "y"))
	_, err = c.GetVolume(t.Context(), req)
	wantKind(t, err, errs.Conflict)
	_, err = c.GetVolume(t.Context(), req)
	wantKind(t, err, errs.Denied)
}

// TestSlowServer: an attempt that gets no answer in time is given up and tried
// again; a deadline of the caller's is the caller's error.
func TestSlowServer(t *testing.T) {
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	hang := func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	}
	s.Inject(hang)
	c := dial(t, client.Options{CallTimeout: 50 * time.Millisecond}, s)
	if _, err := c.GetVolume(t.Context(), &o3v1.GetVolumeRequest{Volume: "s3v"}); err != nil {
		t.Fatal(err)
	}
	s = rpctest.Start(t, rpctest.NewMemory(), rpc.Options{}) // where no attempt that was given up comes late
	s.Inject(hang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := dial(t, client.Options{}, s).GetVolume(ctx, &o3v1.GetVolumeRequest{Volume: "s3v"})
	wantKind(t, err, errs.DeadlineExceeded)
}

// TestFailover: the next address is tried when one is dead, a leader hint is
// followed, and the client stays where it was answered.
func TestFailover(t *testing.T) {
	dead := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	m := rpctest.NewMemory()
	leader := rpctest.Start(t, m, rpc.Options{})
	c := dial(t, client.Options{}, dead, leader)
	dead.Inject(rpctest.CutBefore)
	if _, err := c.CreateVolume(t.Context(), &o3v1.CreateVolumeRequest{Volume: "one"}); err != nil {
		t.Fatal(err)
	}
	if c.Address() != leader.URL || m.Writes("CreateVolume") != 1 {
		t.Errorf("address %s, writes %d", c.Address(), m.Writes("CreateVolume"))
	}

	c = dial(t, client.Options{}, dead) // knows only the follower
	dead.Inject(answer(errs.NotLeader, strings.TrimPrefix(leader.URL, "http://")))
	if _, err := c.CreateVolume(t.Context(), &o3v1.CreateVolumeRequest{Volume: "two"}); err != nil {
		t.Fatal(err)
	}
	if c.Address() != leader.URL || m.Writes("CreateVolume") != 2 {
		t.Errorf("address %s, writes %d", c.Address(), m.Writes("CreateVolume"))
	}
	leader.Inject(rpctest.CutBefore) // the leader dies: back to the list
	if _, err := c.GetVolume(t.Context(), &o3v1.GetVolumeRequest{Volume: "s3v"}); err != nil {
		t.Fatal(err)
	}
	if c.Address() != dead.URL {
		t.Errorf("after the hinted leader failed: %s", c.Address())
	}
}

// TestEveryWriteIsStamped calls every method: a request that has a field for a
// stamp leaves with one, the caller's message is not changed, and all but the
// stamp arrives as it was given.
func TestEveryWriteIsStamped(t *testing.T) {
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	c := dial(t, client.Options{RetryFor: -1}, s)
	api := reflect.TypeFor[o3v1connect.OMHandler]()
	sequence := uint64(0)
	for i := range api.NumMethod() {
		name := api.Method(i).Name
		req := reflect.New(api.Method(i).Type.In(1).Elem())
		msg := req.Interface().(proto.Message)
		stamp := msg.ProtoReflect().Descriptor().Fields().ByName("stamp")
		if f := req.Elem().FieldByName("Volume"); f.IsValid() {
			f.SetString("a-volume")
		}
		before, got := proto.Clone(msg), proto.Clone(msg)
		proto.Reset(got)
		var path string
		s.Inject(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			path = r.URL.Path
			raw, err := io.ReadAll(r.Body)
			if err := errors.Join(err, proto.Unmarshal(raw, got)); err != nil {
				t.Error(err)
			}
			return httpStatus(http.StatusTeapot)(w, r, nil)
		})
		reflect.ValueOf(c).MethodByName(name).Call([]reflect.Value{reflect.ValueOf(t.Context()), req})
		if path != "/o3.v1.OM/"+name {
			t.Fatalf("%s went to %s", name, path)
		}
		if !proto.Equal(msg, before) {
			t.Errorf("%s changed the caller's request to %v", name, msg)
		}
		if stamp != nil {
			sequence++
			sent := got.ProtoReflect().Get(stamp).Message().Interface().(*o3v1.Stamp)
			if sent.ClientId == 0 || sent.Sequence != sequence || sent.Acked != sequence {
				t.Errorf("%s left with the stamp %v; want sequence %d", name, sent, sequence)
			}
			got.ProtoReflect().Clear(stamp)
		}
		if !proto.Equal(msg, got) {
			t.Errorf("%s: given %v, sent %v", name, msg, got)
		}
	}
	if sequence < 20 {
		t.Fatalf("only %d writes", sequence)
	}
}

// TestConcurrentWrites: many writers under random faults; each write is done
// once, and in the end nothing is outstanding.
func TestConcurrentWrites(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	m := rpctest.NewMemory()
	s := rpctest.Start(t, m, rpc.Options{})
	c := dial(t, client.Options{}, s)
	bucketOf(t, c, "OBJECT_STORE")
	const writers, each = 8, 25
	for range writers * each / 4 {
		s.Inject([]rpctest.Fault{rpctest.CutBefore, rpctest.CutAfter, func(http.ResponseWriter, *http.Request, http.Handler) bool { return false }}[rnd.IntN(3)])
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := c.CommitKey(t.Context(), &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "photos", Key: fmt.Sprintf("%d/%d", w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := m.Writes("CommitKey"); got != writers*each {
		t.Errorf("%d writes done, want %d", got, writers*each)
	}
	if _, err := c.CreateVolume(t.Context(), &o3v1.CreateVolumeRequest{Volume: "last"}); err != nil {
		t.Fatal(err)
	}
	if got := m.Acked(); got != writers*each+2 { // the bucket, the keys, and this one
		t.Errorf("acked %d, want %d", got, writers*each+2)
	}
}

// TestPages: iterators yield everything in order whatever the page size, stop
// when told, and can be ranged over again.
func TestPages(t *testing.T) {
	c := dial(t, client.Options{}, rpctest.Start(t, rpctest.NewMemory(), rpc.Options{}))
	bucketOf(t, c, "OBJECT_STORE")
	var want []string
	for i := range 17 {
		name := fmt.Sprintf("d%d/k%02d", i%3, i)
		want = append(want, name)
		if _, err := c.CommitKey(t.Context(), &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "photos", Key: name}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	for _, limit := range []uint32{1, 2, 5, 17, 0} {
		keys := c.Keys(t.Context(), &o3v1.ListKeysRequest{Volume: "s3v", Bucket: "photos", Limit: limit})
		for range 2 {
			var got []string
			for item, err := range keys {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, item.Name())
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: %v", limit, got)
			}
		}
		var prefixes []string
		for item, err := range c.Keys(t.Context(), &o3v1.ListKeysRequest{Volume: "s3v", Bucket: "photos", Delimiter: "/", Limit: limit}) {
			if err != nil {
				t.Fatal(err)
			}
			prefixes = append(prefixes, item.Prefix)
		}
		if !slices.Equal(prefixes, []string{"d0/", "d1/", "d2/"}) {
			t.Errorf("limit %d: prefixes %v", limit, prefixes)
		}
	}
	for item, err := range c.Keys(t.Context(), &o3v1.ListKeysRequest{Volume: "s3v", Bucket: "photos", Limit: 2}) {
		if err != nil || item.Name() != want[0] {
			t.Fatal(item, err)
		}
		break
	}
	for _, err := range c.Buckets(t.Context(), &o3v1.ListBucketsRequest{Volume: "nope"}) {
		wantKind(t, err, errs.NoSuchVolume)
	}
}

// TestPutAndGet: bodies around the part size, known and unknown lengths, names
// that URLs and routers dislike, ranges; under cuts.
func TestPutAndGet(t *testing.T) {
	m := rpctest.NewMemory()
	s := rpctest.Start(t, m, rpc.Options{})
	const part = 5 << 20
	c := dial(t, client.Options{PartSize: part, Parallel: 2}, s)
	bucketOf(t, c, "OBJECT_STORE")
	body := make([]byte, 2*part+1)
	for i := range body {
		body[i] = byte(i * 7 >> 3)
	}
	names := []string{"plain", "a//b", "../up/./x", "sp ace+plus&amp=?#%41", "ünï/✓", "trailing/"}
	for i, n := range []int{0, 1, part - 1, part, part + 1, 2*part + 1} {
		for _, size := range []int64{int64(n), -1} {
			name := names[i]
			if i%2 == 0 {
				s.Inject(rpctest.CutAfter)
			}
			etag, err := c.Put(t.Context(), "s3v", "photos", name, bytes.NewReader(body[:n]), size, client.PutOptions{ContentType: "text/x-test", User: map[string]string{"who": "me"}})
			if err != nil {
				t.Fatalf("%d bytes, size %d: %v", n, size, err)
			}
			o, err := c.Get(t.Context(), "s3v", "photos", name, client.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(o)
			if err != nil || !bytes.Equal(got, body[:n]) {
				t.Fatalf("%d bytes came back as %d, %v", n, len(got), err)
			}
			if o.ETag != etag || o.Size != int64(n) || o.ContentType != "text/x-test" || o.User["who"] != "me" || o.Modified.IsZero() {
				t.Errorf("%+v, put said %s", o, etag)
			}
			_ = o.Close()
		}
	}
	o, err := c.Get(t.Context(), "s3v", "photos", names[5], client.GetOptions{Offset: part - 3, Length: 7})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(o)
	if err != nil || !bytes.Equal(got, body[part-3:part+4]) || o.Size != 2*part+1 || o.Length != 7 {
		t.Errorf("range: %d bytes, %v, %+v", len(got), err, o)
	}
	_ = o.Close()
}

// TestPutRefusals: bodies of the wrong length and failed uploads leave nothing.
func TestPutRefusals(t *testing.T) {
	m := rpctest.NewMemory()
	s := rpctest.Start(t, m, rpc.Options{})
	const part = 5 << 20
	c := dial(t, client.Options{PartSize: part}, s)
	bucketOf(t, c, "OBJECT_STORE")
	put := func(body io.Reader, size int64, opts client.PutOptions) error {
		_, err := c.Put(t.Context(), "s3v", "photos", "k", body, size, opts)
		return err
	}
	wantKind(t, put(strings.NewReader("short"), 6, client.PutOptions{}), errs.Invalid)
	wantKind(t, put(strings.NewReader("longer"), 5, client.PutOptions{}), errs.Invalid)
	wantKind(t, put(io.LimitReader(zeros{}, part+5), 3*part, client.PutOptions{}), errs.Invalid)
	wantKind(t, put(strings.NewReader(""), 6<<40, client.PutOptions{}), errs.TooLarge)
	broken := errors.New("disk on fire")
	if err := put(io.MultiReader(io.LimitReader(zeros{}, part+5), failing{broken}), -1, client.PutOptions{}); !errors.Is(err, broken) {
		t.Errorf("a reader's error: %v", err)
	}
	s.Inject(nothing, denied) // the second request is a part
	wantKind(t, put(io.LimitReader(zeros{}, part+5), part+5, client.PutOptions{}), errs.Denied)
	if m.Uploads() != 0 {
		t.Errorf("%d uploads left behind", m.Uploads())
	}
	_, err := c.Get(t.Context(), "s3v", "photos", "k", client.GetOptions{})
	wantKind(t, err, errs.NoSuchKey)
	if err := put(strings.NewReader("x"), 1, client.PutOptions{IfAbsent: true}); err != nil {
		t.Error(err)
	}
	wantKind(t, put(strings.NewReader("y"), 1, client.PutOptions{IfAbsent: true}), errs.PreconditionFailed)
	wantKind(t, put(strings.NewReader("y"), 1, client.PutOptions{IfMatch: "other"}), errs.PreconditionFailed)
	for _, o := range []client.PutOptions{
		{ContentType: "a\nb"}, {CacheControl: "\x7f"}, {User: map[string]string{"a b": "c"}}, {User: map[string]string{"a": "b\rc"}},
	} { // not a server that cannot be reached
		wantKind(t, put(strings.NewReader("y"), 1, o), errs.Invalid)
		wantKind(t, put(io.LimitReader(zeros{}, part+5), part+5, o), errs.Invalid)
	}
}

// TestLostAnswerOfConditionalPut: the retry is refused because the first try
// succeeded; that is success.
func TestLostAnswerOfConditionalPut(t *testing.T) {
	m := rpctest.NewMemory()
	s := rpctest.Start(t, m, rpc.Options{})
	c := dial(t, client.Options{PartSize: 5 << 20}, s)
	bucketOf(t, c, "OBJECT_STORE")
	s.Inject(rpctest.CutAfter)
	if _, err := c.Put(t.Context(), "s3v", "photos", "k", strings.NewReader("x"), 1, client.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	s.Inject(nothing, nothing, nothing, rpctest.CutAfter) // create, two parts, and the answer to complete is lost
	if _, err := c.Put(t.Context(), "s3v", "photos", "big", io.LimitReader(zeros{}, 6<<20), -1, client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if m.Uploads() != 0 || m.Writes("PutObject") != 2 {
		t.Errorf("%d uploads left, %d writes", m.Uploads(), m.Writes("PutObject"))
	}
}

// TestGetResumes: a connection that breaks within the body is taken up again
// where it broke; not if the key has changed meanwhile.
func TestGetResumes(t *testing.T) {
	m := rpctest.NewMemory()
	s := rpctest.Start(t, m, rpc.Options{})
	c := dial(t, client.Options{}, s)
	bucketOf(t, c, "OBJECT_STORE")
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i ^ i>>8)
	}
	put := func(b []byte) {
		if _, err := c.Put(t.Context(), "s3v", "photos", "k", bytes.NewReader(b), int64(len(b)), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put(body)
	s.Inject(cutBody(100), cutBody(300_000), rpctest.CutBefore, cutBody(1))
	o, err := c.Get(t.Context(), "s3v", "photos", "k", client.GetOptions{Offset: 10})
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if n, err := io.Copy(h, o); err != nil || n != int64(len(body)-10) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if want := sha256.Sum256(body[10:]); !bytes.Equal(h.Sum(nil), want[:]) || s.Left() != 0 {
		t.Errorf("other bytes, or %d faults left", s.Left())
	}
	_ = o.Close()

	s.Inject(cutBody(100))
	o, err = c.Get(t.Context(), "s3v", "photos", "k", client.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	put(body[:len(body)-1])
	_, err = io.Copy(io.Discard, o)
	wantKind(t, err, errs.PreconditionFailed)
	_ = o.Close()
}

// cutBody cuts the connection after n bytes of the body.
func cutBody(n int) rpctest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		next.ServeHTTP(&cutter{w, n}, r)
		return true
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// denied reads a request and refuses it.
func denied(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
	return true
}

func nothing(http.ResponseWriter, *http.Request, http.Handler) bool { return false }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOptions(t *testing.T) {
	ok := client.Options{AccessKey: "a", SecretKey: "b"}
	for _, c := range []struct {
		change func(*client.Options)
		want   string
	}{
		{func(o *client.Options) { o.SecretKey = "" }, "go together"},
		{func(o *client.Options) { o.AccessKey, o.SecretKey = "", "" }, "is needed"},
		{func(o *client.Options) { o.Address = "ftp://x" }, "address ftp://x"},
		{func(o *client.Options) { o.Address = "http://host:1/path" }, "address http://host:1/path"},
		{func(o *client.Options) { o.Address = ":9874" }, "address :9874"},
		{func(o *client.Options) { o.PartSize = 1 }, "5 MiB to 5 GiB"},
		{func(o *client.Options) { o.Parallel = -1 }, "negative"},
	} {
		opts := ok
		c.change(&opts)
		if _, err := client.New(opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q in it", err, c.want)
		}
	}
	c, err := client.New(ok)
	if err != nil || c.Address() != client.DefaultAddress {
		t.Errorf("%v %v", c, err)
	}
}

func TestWrongServer(t *testing.T) {
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	c := dial(t, client.Options{}, s)
	s.Inject(httpStatus(http.StatusTeapot))
	_, err := c.Status(t.Context(), &o3v1.StatusRequest{})
	if e := wantKind(t, err, errs.Internal); !strings.Contains(e.Detail, "418") || !strings.Contains(e.Detail, "not from an O3") {
		t.Error(e)
	}
	c = dial(t, client.Options{Address: "https" + strings.TrimPrefix(s.URL, "http")})
	_, err = c.Status(t.Context(), &o3v1.StatusRequest{})
	wantKind(t, err, errs.Invalid)
}

func TestCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), client.CredentialsFile)
	want := client.Credentials{Version: 1, AccessKey: "id", SecretKey: "secret"}
	for range 2 {
		if err := client.WriteCredentials(path, want); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := client.ReadCredentials(path); err != nil || got != want {
		t.Fatalf("%+v %v", got, err)
	}
	for _, c := range []struct {
		text string
		mode uint32
		want errs.Kind
	}{
		{`{"version":1,"accessKey":"a","secretKey":"b"}`, 0o644, errs.Unauthenticated},
		{`{"version":2,"accessKey":"a","secretKey":"b"}`, 0o600, errs.FormatTooNew},
		{`{"version":1,"accessKey":"a"}`, 0o600, errs.FormatUnknown},
		{`accessKey = a`, 0o600, errs.FormatUnknown},
	} {
		writeMode(t, path, c.text, c.mode)
		_, err := client.ReadCredentials(path)
		if e := wantKind(t, err, c.want); !strings.Contains(e.Subject, path) {
			t.Errorf("the error does not name the file: %v", e)
		}
	}
}

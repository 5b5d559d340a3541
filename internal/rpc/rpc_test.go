package rpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/leaktest"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
	"o3/internal/s3/sigv4"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// calls collects what the listener hears.
type calls struct {
	mu     sync.Mutex
	begun  int
	ended  []rpc.Call
	panics int
	end    chan struct{}
}

func (c *calls) listener() rpc.Listener {
	c.end = make(chan struct{}, 100)
	return rpc.Listener{
		Begin: func(string) { c.mu.Lock(); c.begun++; c.mu.Unlock() },
		End:   func(call rpc.Call) { c.mu.Lock(); c.ended = append(c.ended, call); c.mu.Unlock(); c.end <- struct{}{} },
		Panic: func(rpc.Call, any, []byte) { c.mu.Lock(); c.panics++; c.mu.Unlock() },
	}
}

// last waits for the next call to end and returns it.
func (c *calls) last() rpc.Call {
	<-c.end
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended[len(c.ended)-1]
}

func post(t *testing.T, url, body string, change ...func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, f := range change {
		f(r)
	}
	return r
}

func sum(body string) string {
	h := sha256.Sum256([]byte(body))
	return hex.EncodeToString(h[:])
}

func sign(body string) func(*http.Request) {
	return signAs(rpctest.RootKey, rpctest.RootSecret, "o3", sum(body), time.Now())
}

func signAs(key, secret, service, payload string, at time.Time) func(*http.Request) {
	return func(r *http.Request) {
		(&sigv4.Signer{AccessKeyID: key, Secret: secret, Region: "us-east-1", Service: service}).Sign(r, payload, at)
	}
}

func do(t *testing.T, r *http.Request) (status int, body string, header http.Header) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw), resp.Header
}

// TestJSON: what docs/api.md shows with curl works, and what is known of a
// call reaches the listener.
func TestJSON(t *testing.T) {
	var heard calls
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{Listener: heard.listener()})
	body := `{"volume":"s3v","bucket":"photos","layout":"OBJECT_STORE"}`
	status, answer, header := do(t, post(t, s.URL+"/o3.v1.OM/CreateBucket", body, sign(body)))
	var got struct {
		Bucket struct{ Name, Owner, Layout string }
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if got.Bucket.Name != "photos" || got.Bucket.Owner != "root" {
		t.Errorf("%s", answer)
	}
	call := heard.last()
	if call.Procedure != "CreateBucket" || !call.Write || call.Subject != "/s3v/photos" || call.Principal.User != "root" ||
		call.AccessKey != rpctest.RootKey || call.Err != nil || call.Bytes != int64(len(body)) || call.Duration <= 0 ||
		call.RequestID != header.Get(rpc.RequestIDHeader) || call.RequestID == "" || call.Remote == "" {
		t.Errorf("%+v", call)
	}
	body = `{"volume":"s3v","bucket":"nope","key":"a"}`
	status, answer, _ = do(t, post(t, s.URL+"/o3.v1.OM/GetKey", body, sign(body)))
	if status != http.StatusNotFound || !strings.Contains(answer, `"code":"not_found"`) || !strings.Contains(answer, "no such bucket: s3v/nope") {
		t.Errorf("%d %s", status, answer)
	}
	if call := heard.last(); call.Write || errs.KindOf(call.Err) != errs.NoSuchBucket || call.Subject != "/s3v/nope/a" {
		t.Errorf("%+v", call)
	}
}

// TestCurl runs the example of docs/api.md with the curl of the machine.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl here")
	}
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	body := `{"volume":"s3v"}`
	out, err := exec.CommandContext(t.Context(), curl, "-sS", "--noproxy", "*",
		"--aws-sigv4", "aws:amz:us-east-1:o3", "--user", rpctest.RootKey+":"+rpctest.RootSecret,
		"-H", "Content-Type: application/json", "-H", "x-amz-content-sha256: "+sum(body),
		"-d", body, s.URL+"/o3.v1.OM/GetVolume").CombinedOutput()
	if err != nil && strings.Contains(string(out), "unknown") {
		t.Skipf("this curl cannot sign: %s", out)
	}
	if err != nil || !strings.Contains(string(out), `"name":"s3v"`) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRefused is the table of bad requests: each with the status and the
// words of its answer.
func TestRefused(t *testing.T) {
	var heard calls
	m := rpctest.NewMemory()
	s := rpctest.Start(t, m, rpc.Options{MaxMessage: 1000, Listener: heard.listener()})
	if _, err := m.UpdateUser(asRoot(), &o3v1.UpdateUserRequest{User: "root"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CreateUser(asRoot(), &o3v1.CreateUserRequest{User: "gone"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CreateAccessKey(asRoot(), &o3v1.CreateAccessKeyRequest{User: "gone", Id: "GONE", Secret: "secret"}); err != nil {
		t.Fatal(err)
	}
	off := true
	if _, err := m.UpdateUser(asRoot(), &o3v1.UpdateUserRequest{User: "gone", Disabled: &off}); err != nil {
		t.Fatal(err)
	}
	const get = "/o3.v1.OM/GetVolume"
	good := `{"volume":"s3v"}`
	long := `{"volume":"` + strings.Repeat("v", 2000) + `"}`
	now := time.Now()
	for _, c := range []struct {
		name, path, body string
		change           func(*http.Request)
		status           int
		want             string
	}{
		{"unsigned", get, good, func(*http.Request) {}, 401, "not signed"},
		{"unsigned unknown method", "/o3.v1.OM/Nope", good, func(*http.Request) {}, 401, "not signed"},
		{"unknown key", get, good, signAs("NOBODY", "x", "o3", sum(good), now), 401, "AWSAccessKeyId: NOBODY"},
		{"disabled user", get, good, signAs("GONE", "secret", "o3", sum(good), now), 401, "AWSAccessKeyId: GONE"},
		{"wrong secret", get, good, signAs(rpctest.RootKey, "x", "o3", sum(good), now), 401, "does not match"},
		{"signed for S3", get, good, signAs(rpctest.RootKey, rpctest.RootSecret, "s3", sum(good), now), 401, `belongs to \"o3\"`},
		{"too old", get, good, signAs(rpctest.RootKey, rpctest.RootSecret, "o3", sum(good), now.Add(-16*time.Minute)), 401, "MaxAllowedSkewMilliseconds: 900000"},
		{"too early", get, good, signAs(rpctest.RootKey, rpctest.RootSecret, "o3", sum(good), now.Add(16*time.Minute)), 401, "ServerTime"},
		{"unsigned payload", get, good, signAs(rpctest.RootKey, rpctest.RootSecret, "o3", "UNSIGNED-PAYLOAD", now), 401, "must be the SHA-256 of the body"},
		{"other body", get, good, signAs(rpctest.RootKey, rpctest.RootSecret, "o3", sum("other"), now), 400, "not the one that was signed"},
		{"header added", get, good, func(r *http.Request) { sign(good)(r); r.Header.Set("X-Amz-Extra", "1") }, 401, "x-amz-extra"},
		{"header changed", get, good, func(r *http.Request) { sign(good)(r); r.Header.Set("Content-Type", "application/proto") }, 401, "does not match"},
		{"path changed", get, good, func(r *http.Request) { sign(good)(r); r.URL.Path = "/o3.v1.OM/GetBucket" }, 401, "does not match"},
		{"presigned", get, good, presign, 401, "presigned"},
		{"not JSON", get, "{", sign("{"), 400, "invalid_argument"},
		{"unknown field", get, `{"volum":"s3v"}`, sign(`{"volum":"s3v"}`), 400, "volum"},
		{"wrong type", get, `{"volume":7}`, sign(`{"volume":7}`), 400, "invalid_argument"},
		{"unknown method", "/o3.v1.OM/Nope", good, sign(good), 501, "Nope"},
		{"unknown encoding", get, good, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain"); sign(good)(r) }, 415, ""},
		{"too large", get, long, sign(long), 400, "at most 1000"},
		{"too large, length unknown", get, long, func(r *http.Request) {
			sign(long)(r)
			r.ContentLength = -1
			r.Body = io.NopCloser(strings.NewReader(long))
		}, 400, "1000 bytes allowed"},
		{"gzip is off", get, zipped(good), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip"); sign(zipped(good))(r) }, 501, "compression"},
		{"GET", get, "", func(r *http.Request) { r.Method, r.Body, r.ContentLength = "GET", nil, 0; sign("")(r) }, 400, "POST"},
		{"unknown page", "/nope", good, sign(good), 404, "/o3.v1.OM/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, header := do(t, post(t, s.URL+c.path, c.body, c.change))
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("answer %d %s; want %d with %q", status, body, c.status, c.want)
			}
			if strings.HasPrefix(c.path, "/o3.v1.OM/") {
				call := heard.last()
				if call.Err == nil || call.RequestID != header.Get(rpc.RequestIDHeader) {
					t.Errorf("the listener heard %+v", call)
				}
				if status == 401 && !call.Principal.Anonymous() {
					t.Errorf("refused, and yet known as %v", call.Principal)
				}
			}
		})
	}
	if status, body, _ := do(t, post(t, s.URL+get, good, sign(good))); status != 200 {
		t.Errorf("the good request: %d %s", status, body)
	}
}

func asRoot() context.Context {
	return access.NewContext(context.Background(), access.Principal{User: "root", Role: access.RoleAdmin})
}

func presign(r *http.Request) {
	u, err := (&sigv4.Signer{AccessKeyID: rpctest.RootKey, Secret: rpctest.RootSecret, Region: "us-east-1", Service: "o3"}).Presign(r, time.Minute, time.Now())
	if err != nil {
		panic(err)
	}
	r.URL, _ = r.URL.Parse(u)
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// TestOptions: the limits and switches of Options change what they say.
func TestOptions(t *testing.T) {
	m := rpctest.NewMemory()
	body := `{"volume":"s3v"}`
	old := signAs(rpctest.RootKey, rpctest.RootSecret, "o3", sum(body), time.Now().Add(-16*time.Minute))
	s := rpctest.Start(t, m, rpc.Options{Skew: time.Hour, Compress: true})
	if status, answer, _ := do(t, post(t, s.URL+"/o3.v1.OM/GetVolume", body, old)); status != 200 {
		t.Errorf("within a skew of an hour: %d %s", status, answer)
	}
	z := zipped(body)
	status, answer, _ := do(t, post(t, s.URL+"/o3.v1.OM/GetVolume", z, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip"); sign(z)(r) }))
	if status != 200 {
		t.Errorf("gzip switched on: %d %s", status, answer)
	}
	for _, c := range []struct {
		opts rpc.Options
		want string
	}{
		{rpc.Options{Principals: m}, "required"},
		{rpc.Options{Backend: m}, "required"},
		{rpc.Options{Backend: m, Principals: m, MaxMessage: -1}, "negative"},
		{rpc.Options{Backend: m, Principals: m, Admin: map[string]http.Handler{"/": nil}}, "prefix"},
		{rpc.Options{Backend: m, Principals: m, Admin: map[string]http.Handler{"/s3/x/": nil}}, "prefix"},
		{rpc.Options{Backend: m, Principals: m, Own: map[string]http.Handler{"/o3.v1.OMLog/x/": nil}}, "prefix"},
	} {
		if _, err := rpc.New(c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q in it", err, c.want)
		}
	}
}

// slow is a backend whose GetVolume waits.
type slow struct {
	*rpctest.Memory
	entered, leave chan struct{}
}

func (s *slow) GetVolume(ctx context.Context, q *o3v1.GetVolumeRequest) (*o3v1.GetVolumeResponse, error) {
	if q.Volume == "panic" {
		panic("on purpose")
	}
	s.entered <- struct{}{}
	<-s.leave
	return s.Memory.GetVolume(ctx, q)
}

func TestTooManyAtOnce(t *testing.T) {
	b := &slow{rpctest.NewMemory(), make(chan struct{}), make(chan struct{})}
	s := rpctest.Start(t, b.Memory, rpc.Options{Backend: b, MaxInFlight: 1})
	body := `{"volume":"s3v"}`
	first := make(chan int)
	go func() {
		status, _, _ := do(t, post(t, s.URL+"/o3.v1.OM/GetVolume", body, sign(body)))
		first <- status
	}()
	<-b.entered
	status, answer, _ := do(t, post(t, s.URL+"/o3.v1.OM/GetVolume", body, sign(body)))
	if status != http.StatusTooManyRequests || !strings.Contains(answer, "slow down") {
		t.Errorf("%d %s", status, answer)
	}
	close(b.leave)
	if status := <-first; status != 200 {
		t.Errorf("the first: %d", status)
	}
}

func TestPanicIsInternal(t *testing.T) {
	var heard calls
	b := &slow{Memory: rpctest.NewMemory()}
	s := rpctest.Start(t, b.Memory, rpc.Options{Backend: b, Listener: heard.listener()})
	body := `{"volume":"panic"}`
	status, answer, _ := do(t, post(t, s.URL+"/o3.v1.OM/GetVolume", body, sign(body)))
	if status != 500 || strings.Contains(answer, "purpose") {
		t.Errorf("%d %s", status, answer)
	}
	if call := heard.last(); errs.KindOf(call.Err) != errs.Internal || !strings.Contains(call.Err.Error(), "on purpose") || heard.panics != 1 {
		t.Errorf("%+v, %d panics heard", call, heard.panics)
	}
}

// TestPages: health is open, metrics only when configured, admin pages for
// admins.
func TestPages(t *testing.T) {
	m := rpctest.NewMemory()
	say := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s %s", s, access.FromContext(r.Context()).User)
		})
	}
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := rpc.Caller(r.Context())
		_, _ = fmt.Fprintf(w, "%s %v %v", p.User, p.Admin(), errs.KindOf(err))
	})
	s := rpctest.Start(t, m, rpc.Options{
		Metrics: say("metrics"), Ready: down, Admin: map[string]http.Handler{"/debug/pprof/": say("pprof")}, Own: map[string]http.Handler{"/transfer/": own},
	})
	bare := rpctest.Start(t, m, rpc.Options{})
	if _, err := m.CreateUser(asRoot(), &o3v1.CreateUserRequest{User: "ann", Role: "user"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CreateAccessKey(asRoot(), &o3v1.CreateAccessKeyRequest{User: "ann", Id: "ANN", Secret: "secret"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url    string
		change func(*http.Request)
		status int
		want   string
	}{
		{s.URL + "/healthz", nil, 200, "ok"},
		{s.URL + "/readyz", nil, 503, ""},
		{bare.URL + "/readyz", nil, 200, "ok"},
		{s.URL + "/metrics", nil, 200, "metrics"},
		{bare.URL + "/metrics", nil, 404, "not implemented"},
		{s.URL + "/debug/pprof/heap", nil, 401, "not signed"},
		{s.URL + "/debug/pprof/heap", signAs("ANN", "secret", "o3", sigv4.EmptySHA256, time.Now()), 403, "for admins"},
		{s.URL + "/debug/pprof/heap", sign(""), 200, "pprof root"},
		{bare.URL + "/debug/pprof/heap", sign(""), 404, ""},
		{s.URL + "/transfer/x", sign(""), 200, "root true ok"},
		{s.URL + "/transfer/x", signAs("ANN", "secret", "o3", sigv4.EmptySHA256, time.Now()), 200, "ann false ok"},
		{s.URL + "/transfer/x", signAs("ANN", "wrong", "o3", sigv4.EmptySHA256, time.Now()), 200, " false unauthenticated"},
		{s.URL + "/transfer/x", nil, 200, " false unauthenticated"},
		{bare.URL + "/transfer/x", sign(""), 404, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.change != nil {
			c.change(r)
		}
		if status, body, _ := do(t, r); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %d with %q", c.url, status, body, c.status, c.want)
		}
	}
}

// TestShutdown: Serve lets the request in flight finish, refuses new ones, and
// returns; after the grace it cuts.
func TestShutdown(t *testing.T) {
	for _, finishes := range []bool{true, false} {
		b := &slow{rpctest.NewMemory(), make(chan struct{}), make(chan struct{})}
		opts := rpc.Options{Backend: b, Principals: b.Memory}
		if !finishes {
			opts.Grace = 10 * time.Millisecond
		}
		s, err := rpc.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- s.Serve(ctx, ln) }()
		body := `{"volume":"s3v"}`
		url := "http://" + ln.Addr().String() + "/o3.v1.OM/GetVolume"
		answered := make(chan error)
		go func() {
			r := post(t, url, body, sign(body))
			r.Close = true
			resp, err := http.DefaultClient.Do(r)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				err = errors.Join(err, resp.Body.Close())
			}
			answered <- err
		}()
		<-b.entered
		stop()
		if finishes {
			close(b.leave)
		}
		if err := <-answered; (err == nil) != finishes {
			t.Errorf("finishes %v: the request in flight: %v", finishes, err)
		}
		if !finishes {
			close(b.leave)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := http.DefaultClient.Do(post(t, url, body, sign(body))); err == nil {
			t.Error("served after the end")
		}
	}
}

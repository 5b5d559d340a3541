package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/audit"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/leaktest"
	"o3/internal/s3/sigv4"
)

func TestMain(m *testing.M) {
	// Pebble leaves it behind when a disk fails while it closes.
	leaktest.Main(m, goleak.IgnoreTopFunction("github.com/cockroachdb/pebble/v2.(*ConcurrencyLimitScheduler).periodicGranter"))
}

// patience bounds how long a test waits for what must happen.
const patience = 60 * time.Second

// settings is how a test wants its server.
type settings struct {
	dir   string   // "": one of its own
	set   []string // as -D
	env   []string
	log   io.Writer // beside the buffer
	hooks hooks
}

// server is a node that runs in the test.
type server struct {
	Endpoints
	t        testing.TB
	node     *node
	out, log *buffer
	root     client.Credentials
	om       *client.Client
	http     *http.Client
	stop     context.CancelFunc
	done     chan struct{}
	err      error // of Run, when done is closed
}

// buffer is a bytes.Buffer for two.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts a server, which must serve. It ends with the test, in good order.
func start(t testing.TB, o settings) *server {
	t.Helper()
	s, err := try(t, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.shut(); err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	return s
}

// try starts a server and returns what kept it from serving.
func try(t testing.TB, o settings) (*server, error) {
	t.Helper()
	if o.dir == "" {
		o.dir = filepath.Join(t.TempDir(), "data")
	}
	set := append([]string{
		"ozone.om.address=127.0.0.1:0", "ozone.s3g.http-address=127.0.0.1:0", "ozone.block.reserve=0",
		"ozone.recon.http-address=127.0.0.1:0", "ozone.server.roles=s3,om",
		"ozone.om.db.cache.size=4MB", "ozone.om.db.memtable.size=1MB", "ozone.service.shutdown.timeout=10s",
	}, o.set...)
	cfg, err := config.Load(config.Sources{Data: o.dir, Env: o.env, Set: set})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &server{t: t, out: new(buffer), log: new(buffer), stop: stop, done: make(chan struct{})}
	made := o.hooks.made
	o.hooks.made = func(n *node) {
		s.node = n
		if made != nil {
			made(n)
		}
	}
	log := io.Writer(s.log)
	if o.log != nil {
		log = io.MultiWriter(s.log, o.log)
	}
	ready := make(chan Endpoints, 1)
	go func() {
		defer close(s.done)
		s.err = Run(ctx, Options{Config: cfg, Out: s.out, Log: log, hooks: o.hooks, Ready: func(e Endpoints) { ready <- e }})
	}()
	select {
	case s.Endpoints = <-ready:
	case <-s.done:
		stop()
		return s, s.err
	case <-time.After(patience):
		stop()
		t.Fatalf("the server is not ready; its log:\n%s", s.log)
	}
	return s, s.connect(cfg)
}

// connect makes the clients.
func (s *server) connect(cfg *config.Config) (err error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	s.http = &http.Client{Transport: transport, Timeout: patience}
	s.t.Cleanup(transport.CloseIdleConnections)
	if s.OM == "" {
		return nil
	}
	s.root, err = client.ReadCredentials(filepath.Join(cfg.Node.DataDir, client.CredentialsFile))
	if err != nil {
		return err
	}
	if strings.HasPrefix(s.OM, "http:") {
		s.om = s.client(s.root)
	}
	return nil
}

// client returns a client of the OM API that never repeats a call.
func (s *server) client(c client.Credentials) *client.Client {
	out, err := client.New(client.Options{Address: s.OM, AccessKey: c.AccessKey, SecretKey: c.SecretKey, RetryFor: -1, CallTimeout: patience})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { out.Close() })
	return out
}

// freeAddress returns an address that nobody listens at. Its port is below those
// that systems give to connections, one of which might have it meanwhile.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// shut stops the server and returns what Run did.
func (s *server) shut() error {
	if s.om != nil {
		s.om.Close()
	}
	s.http.CloseIdleConnections()
	s.stop()
	return s.ended()
}

// ended waits until the server has ended.
func (s *server) ended() error {
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("the server does not end; its log:\n%s", s.log)
	}
	return s.err
}

// answer is what an HTTP request got.
type answer struct {
	status int
	code   string // of S3
	body   []byte
	header http.Header
}

func (a answer) String() string { return fmt.Sprintf("%d %s %.300s", a.status, a.code, a.body) }

// ask sends a request to url (or to a path of the S3 API) that who signs for
// service ("" is s3); edits come before the signature.
func (s *server) ask(who client.Credentials, service, method, url string, body []byte, edits ...func(*http.Request)) (answer, error) {
	if strings.HasPrefix(url, "/") {
		url = s.S3 + url
	}
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	at := time.Now()
	for _, edit := range edits {
		edit(r)
	}
	if h := r.Header.Get("Test-Time"); h != "" {
		r.Header.Del("Test-Time")
		at, _ = time.Parse(time.RFC3339, h)
	}
	if who.AccessKey != "" {
		region := r.Header.Get("Test-Region")
		r.Header.Del("Test-Region")
		if region == "" {
			region = "us-east-1"
		}
		sum := sha256.Sum256(body)
		signer := sigv4.Signer{AccessKeyID: who.AccessKey, Secret: who.SecretKey, Region: region, Service: service}
		signer.Sign(r, hex.EncodeToString(sum[:]), at)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, err
	}
	var doc struct{ Code string }
	if xml.Unmarshal(a.body, &doc) == nil {
		a.code = doc.Code
	}
	return a, nil
}

// s3 is ask as root; it must be answered.
func (s *server) s3(method, path string, body []byte, edits ...func(*http.Request)) answer {
	s.t.Helper()
	a, err := s.ask(s.root, "", method, path, body, edits...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// must is s3 for requests that succeed.
func (s *server) must(method, path string, body []byte, edits ...func(*http.Request)) answer {
	s.t.Helper()
	a := s.s3(method, path, body, edits...)
	if a.status/100 != 2 {
		s.t.Fatalf("%s %s: %v\n%s", method, path, a, s.log)
	}
	return a
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// page gets a page of the OM listener, without a signature.
func (s *server) page(path string) answer {
	s.t.Helper()
	a, err := s.ask(client.Credentials{}, "", "GET", s.OM+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// metric returns the sum of a metric's series whose labels hold all of with.
func (s *server) metric(name string, with ...string) (sum float64) {
	s.t.Helper()
	a := s.page("/metrics")
	for line := range strings.Lines(string(a.body)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		base, labels, _ := strings.Cut(series, "{")
		if base != name {
			continue
		}
		holds := true
		for _, w := range with {
			holds = holds && strings.Contains(labels, w)
		}
		if n, err := strconv.ParseFloat(value, 64); err == nil && holds {
			sum += n
		}
	}
	return sum
}

func (s *server) status() *o3v1.StatusResponse {
	s.t.Helper()
	st, err := s.om.Status(s.t.Context(), &o3v1.StatusRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// bucket makes a bucket in s3v with a layout.
func (s *server) bucket(name, layout string) {
	s.t.Helper()
	_, err := s.om.CreateBucket(s.t.Context(), &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: name, Layout: layout})
	if err != nil {
		s.t.Fatal(err)
	}
}

// user makes a user with an access key.
func (s *server) user(name, role string) client.Credentials {
	s.t.Helper()
	if _, err := s.om.CreateUser(s.t.Context(), &o3v1.CreateUserRequest{User: name, Role: role}); err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.om.CreateAccessKey(s.t.Context(), &o3v1.CreateAccessKeyRequest{User: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return client.Credentials{AccessKey: resp.Key.Id, SecretKey: resp.Key.Secret}
}

// commit writes a key through the namespace, small bytes as they are.
func (s *server) commit(bucket, key string, data []byte) error {
	_, err := s.om.CommitKey(s.t.Context(), &o3v1.CommitKeyRequest{
		Volume: "s3v", Bucket: bucket, Key: key, Data: data, Size: uint64(len(data)),
	})
	return err
}

// records returns the audit records that q selects.
func (s *server) records(path string, q audit.Query) (out []audit.Record) {
	s.t.Helper()
	_, err := audit.Read(path, q, func(r audit.Record) error { out = append(out, r); return nil })
	if err != nil && errs.KindOf(err) != errs.NoSuchKey {
		s.t.Fatal(err)
	}
	return out
}

// wait waits until cond holds.
func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// kind checks the kind of an error, and that its text holds every text.
func kind(t testing.TB, err error, want errs.Kind, texts ...string) {
	t.Helper()
	if err == nil || errs.KindOf(err) != want {
		t.Errorf("%v: want kind %v", err, want)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q lacks %q", err, text)
		}
	}
}

var errFault = errors.New("planted fault")

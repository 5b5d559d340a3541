package s3

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block"
	"o3/internal/s3/sigv4"
)

// VolumePrefix is the path below which VolumeHandler serves:
// /s3/<volume>/<bucket>/<key>.
const VolumePrefix = "/s3/"

// bufferSize is the length of the pooled buffers: a request holds at most one.
const bufferSize = 256 << 10

// Gateway serves the S3 API of one namespace and one block store. It is safe
// for concurrent use and needs no closing.
type Gateway struct {
	opts     Options
	ns       Namespace
	blocks   block.Store
	keys     Credentials
	verifier *sigv4.Verifier
	router   *router

	inFlight atomic.Int64
	requests atomic.Uint64
	idBase   uint64
	hostID   string
	buffers  sync.Pool // of *[bufferSize]byte
	scratch  sync.Pool // of *[]byte, for documents
}

// New returns a gateway to a namespace and a block store, whose clients sign
// with the keys that credentials knows. It starts nothing.
func New(namespace Namespace, blocks block.Store, credentials Credentials, opts Options) (*Gateway, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	g := &Gateway{opts: opts.withDefaults(), ns: namespace, blocks: blocks, keys: credentials, router: newRouter(routes)}
	g.verifier = sigv4.NewVerifier(sigv4.Options{Region: g.opts.Region, MaxSkew: g.opts.ClockSkew, Keys: new(sigv4.KeyCache)})
	var seed [8 + 24]byte
	rand.Read(seed[:])
	g.idBase = binary.LittleEndian.Uint64(seed[:])
	g.hostID = base64.StdEncoding.EncodeToString(seed[8:])
	g.buffers.New = func() any { return new([bufferSize]byte) }
	g.scratch.New = func() any { return new([]byte) }
	return g, nil
}

// InFlight returns how many requests are being served.
func (g *Gateway) InFlight() int64 { return g.inFlight.Load() }

// ServeHTTP serves the buckets of Options.Volume.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.serve(w, r, g.addressOf) }

// VolumeHandler serves the same API for every volume, path-style, below
// VolumePrefix. The signature covers the whole path.
func (g *Gateway) VolumeHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, volumeAddressOf) })
}

// request is one request on its way through the gateway.
type request struct {
	*http.Request
	address
	ctx       context.Context
	id        string
	started   time.Time
	target    *target
	query     query
	principal access.Principal
	identity  *sigv4.Identity // nil: anonymous
	in        *source
	out       sink
	header    http.Header // of the answer
	values    [16]string  // backs the values of header
	used      int
	described bool // the headers of a key are set

	details       map[string]string // for the report, as are
	keys, refused []string
}

// set sets a header of the answer. name is in canonical form.
func (r *request) set(name, value string) {
	if r.used == len(r.values) {
		r.header[name] = []string{value}
		return
	}
	r.values[r.used] = value
	r.header[name] = r.values[r.used : r.used+1 : r.used+1]
	r.used++
}

// setIf sets a header of the answer unless its value is empty.
func (r *request) setIf(name, value string) {
	if value != "" {
		r.set(name, value)
	}
}

// reply is what a handler answers: a document, or a body that it writes
// itself, or neither. Headers are set through request.set.
type reply struct {
	status   int
	document document
	// body writes the body; length is its exact length. It is called after the
	// headers were sent, and not for HEAD. close, if set, is called in any case.
	body   func(w *sink) error
	length int64
	close  func()
}

// document is an XML document of package xmlapi.
type document interface{ AppendXML([]byte) []byte }

// serve is the life of every request: the only function that admits,
// authenticates, authorises headers, measures, translates errors and writes.
func (g *Gateway) serve(w http.ResponseWriter, hr *http.Request, locate func(*http.Request) (address, error)) {
	if expectsNothing(hr) {
		w.WriteHeader(http.StatusContinue)
	}
	r := &request{Request: hr, started: time.Now(), id: g.nextID(), header: w.Header()}
	r.ctx = hr.Context()
	r.out = sink{w: w, idle: g.opts.IdleTimeout}
	r.in = &source{body: hr.Body, idle: g.opts.IdleTimeout, w: w}
	r.set("X-Amz-Request-Id", r.id)
	r.set("X-Amz-Id-2", g.hostID)
	r.set("Server", "O3")

	n := g.inFlight.Add(1)
	defer g.inFlight.Add(-1)
	var rep reply
	var err error
	if n > int64(g.opts.MaxInFlight) {
		err = refusal("SlowDown", codes["SlowDown"].text)
		r.set("Retry-After", "1")
	} else if rep, err = g.handle(r, locate); err == nil {
		err = g.write(r, &rep)
	}
	done := Request{Err: err, Status: rep.status}
	switch {
	case err == nil:
	case r.out.started:
		done.Aborted = true
		a := answerOf(r.cause(err))
		done.Code = a.code
	default:
		done.Status, done.Code = g.writeError(r, r.cause(err))
	}
	r.in.leave()
	g.report(r, done) // before a change is acknowledged, it is written down
	r.out.rest()
	if done.Aborted {
		panic(http.ErrAbortHandler) // the client sees a short read
	}
}

// expectsNothing reports whether a client waits to be told to send a body that
// has no bytes. net/http tells it nothing and keeps the connection, after which
// boto clients (and so the aws command) misread the answer to their next
// request there and wait a minute for the rest of it.
func expectsNothing(r *http.Request) bool {
	return r.ContentLength == 0 && r.ProtoMajor == 1 && r.ProtoMinor >= 1 && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// cause prefers what happened to the client over what that did to others.
func (r *request) cause(err error) error {
	if r.in.err != nil && !errors.As(err, new(coded)) {
		return r.in.err
	}
	return err
}

// handle routes, authenticates and serves a request.
func (g *Gateway) handle(r *request, locate func(*http.Request) (address, error)) (reply, error) {
	var err error
	if r.address, err = locate(r.Request); err != nil {
		return reply{}, err
	}
	if r.query, err = parseQuery(r.URL.RawQuery); err != nil {
		return reply{}, err
	}
	if r.target, err = g.router.find(r.Method, r.level(), r.query, r.Request.Header); err != nil {
		return reply{}, err
	}
	r.Pattern = r.target.action // for whoever observes the request
	if err := g.authenticate(r); err != nil {
		return reply{}, err
	}
	if r.target.handler == nil {
		return reply{}, notImplemented(r.target.action).with("Action", r.target.action)
	}
	if r.bucket != "" {
		if err := checkBucketName(r.bucket); err != nil {
			return reply{}, err
		}
	}
	if err := checkKey(r.key); err != nil {
		return reply{}, err
	}
	if err := g.router.checkParams(r.target, r.query); err != nil {
		return reply{}, err
	}
	if err := checkHeaders(r.target, r.Request.Header); err != nil {
		return reply{}, err
	}
	if err := r.checkVersion(); err != nil {
		return reply{}, err
	}
	if err := g.checkOwner(r, "X-Amz-Expected-Bucket-Owner", r.volume, r.bucket); err != nil {
		return reply{}, err
	}
	return r.target.handler(g, r)
}

// authenticate verifies the signature and puts the principal into the context.
// A request without one goes on as anonymous: the namespace decides.
func (g *Gateway) authenticate(r *request) error {
	id, err := g.verifier.Verify(sigv4.FromHTTP(r.Request), r.started, func(accessKeyID string) (string, error) {
		secret, p, err := g.keys.Secret(r.ctx, accessKeyID)
		r.principal = p
		return secret, err
	})
	if err != nil {
		r.principal = access.Principal{}
		if !errors.Is(err, sigv4.ErrAnonymous) {
			return err
		}
		for _, p := range r.query {
			if strings.HasPrefix(p.name, "response-") {
				return refusal("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
			}
		}
	}
	r.identity = id
	if id != nil && id.Presigned {
		if err := r.hoist(); err != nil {
			return err
		}
	}
	r.ctx = access.NewContext(r.ctx, r.principal)
	return nil
}

// hoist turns the x-amz-* parameters of a presigned URL into the headers they
// stand for.
func (r *request) hoist() error {
	kept := r.query[:0]
	for _, p := range r.query {
		if len(p.name) <= 6 || !strings.EqualFold(p.name[:6], "x-amz-") {
			kept = append(kept, p)
			continue
		}
		name := http.CanonicalHeaderKey(p.name)
		if old, both := r.Request.Header[name]; both && (len(old) != 1 || old[0] != p.value) {
			return argument(p.name, p.value, "The query parameter and the header "+p.name+" differ.")
		}
		r.Request.Header[name] = []string{p.value}
	}
	r.query = kept
	return nil
}

// checkVersion accepts the one version that every object has.
func (r *request) checkVersion() error {
	id, given := r.query.lookup("versionId")
	if !given {
		return nil
	}
	return checkVersionID(id)
}

func checkVersionID(id string) error {
	if id == "null" {
		return nil
	}
	plain := len(id) == 32
	for i := range len(id) {
		c := id[i]
		plain = plain && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	switch {
	case id == "":
		return argument("versionId", id, "Version id cannot be the empty string")
	case !plain:
		return argument("versionId", id, "Invalid version id specified")
	}
	return refusal("NoSuchVersion", codes["NoSuchVersion"].text).with("VersionId", id)
}

// checkOwner compares the owner of a bucket with the one the client expects.
func (g *Gateway) checkOwner(r *request, header, volume, bucket string) error {
	want, err := once(r.Request.Header, header)
	if want == "" || err != nil || bucket == "" || r.target.action == "CreateBucket" {
		return err
	}
	got, err := g.ns.GetBucket(r.ctx, &o3v1.GetBucketRequest{Volume: volume, Bucket: bucket})
	if err != nil {
		return err
	}
	if got.Bucket.GetOwner() != want {
		return refusal("AccessDenied", codes["AccessDenied"].text+": the bucket "+bucket+" has another owner than "+strings.ToLower(header)+" says.")
	}
	return nil
}

// nextID returns 16 hexadecimal digits, unlike those of any request before.
func (g *Gateway) nextID() string {
	x := g.idBase + g.requests.Add(1)*0x9e3779b97f4a7c15
	x ^= x >> 31
	x *= 0x7fb5d329728ea185
	x ^= x >> 27
	const hex = "0123456789ABCDEF"
	var b [16]byte
	for i := range b {
		b[i] = hex[x>>(60-4*i)&15]
	}
	return string(b[:])
}

// report tells the listener.
func (g *Gateway) report(r *request, done Request) {
	if g.opts.Listener.RequestDone == nil {
		return
	}
	done.ID, done.Method, done.Started, done.Duration = r.id, r.Method, r.started, time.Since(r.started)
	done.Action = "Unknown"
	if r.target != nil {
		done.Action, done.Changes = r.target.action, r.Method != http.MethodGet && r.Method != http.MethodHead
	}
	done.Volume, done.Bucket, done.Key = r.volume, r.bucket, r.key
	done.Details, done.Keys, done.Refused = r.details, r.keys, r.refused
	done.Principal, done.RemoteAddr, done.UserAgent = r.principal, r.RemoteAddr, r.UserAgent()
	done.BytesIn, done.BytesOut = r.in.read, r.out.written
	g.opts.Listener.RequestDone(done)
}

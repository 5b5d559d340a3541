// Package rpc is the listener of the namespace manager (OM): the API of
// api/o3/v1/om.proto as gRPC, gRPC-Web and Connect (binary and JSON), the
// S3-compatible path /s3/ that the Go client moves object data through, and
// the pages /healthz, /readyz and /metrics.
//
// An RPC is served only to an authenticated caller: signature V4 with the
// service name "o3" over the whole request, or a client certificate that the
// TLS layer verified and whose common name is a user. The handler finds the
// caller in its context (access.FromContext) and answers with errs kinds,
// which are translated once, by package rpcerr. The signature is checked
// before a byte of the body is read.
//
// A captured request can be sent again for as long as its date is accepted
// (Options.Skew). A write that carries a Stamp is then answered, not repeated;
// a write without one is repeated: use TLS where the network is not trusted.
//
// New starts nothing. Serve owns the goroutines of its connections and has
// ended them when it returns. A Server is safe for concurrent use.
package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	"o3/api/o3/v1/o3v1connect"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// Service is the service name in the scope of a signature.
const Service = "o3"

// RequestIDHeader is the response header that names the request in logs.
const RequestIDHeader = "X-O3-Request-Id"

// The defaults of Options.
const (
	DefaultMaxMessage  = 64 << 20
	DefaultMaxInFlight = 1024
	DefaultBodyTimeout = 2 * time.Minute
	DefaultGrace       = 30 * time.Second

	// streamStall is how long the caller of a stream may take nothing of it.
	streamStall = time.Minute
)

// A message above largeMessage bytes counts against the largeMessages that may
// be in memory at once; one more waits.
const (
	largeMessage  = 1 << 20
	largeMessages = 16
)

// Principals finds who may call. Errors of kind NoSuchPrincipal refuse the
// request as Unauthenticated; any other is answered as it is. The methods are
// called concurrently, once per request, so they must be fast.
type Principals interface {
	// Secret returns the secret of an access key and whose it is. Revoked
	// keys and keys of disabled users are NoSuchPrincipal.
	Secret(ctx context.Context, id string) (secret string, p access.Principal, err error)
	// User returns the principal of a user; a disabled one is NoSuchPrincipal.
	User(ctx context.Context, name string) (access.Principal, error)
}

// Options configures a Server. Backend and Principals are required.
type Options struct {
	Backend    o3v1connect.OMHandler
	Principals Principals

	S3      http.Handler             // serves /s3/ and authenticates by itself; nil: 404
	Metrics http.Handler             // serves /metrics to anyone; nil: 404
	Admin   map[string]http.Handler  // served below these prefixes ("/debug/pprof/") to admins
	Own     map[string]http.Handler  // served below these prefixes to whom they let in themselves: see Caller
	Log     o3v1connect.OMLogHandler // serves the service OMLog; nil: it is not there
	Alive   http.Handler             // serves /healthz; nil: 200 "ok"
	Ready   http.Handler             // serves /readyz; nil: 200 "ok"

	// Wrap is put around everything the listener serves, to observe it. The
	// request's Pattern is set to what was served: a bounded set. Nil: nothing.
	Wrap func(http.Handler) http.Handler

	TLS         *tls.Config   // nil: plain text
	MaxMessage  int           // bytes of one message, sent or received; 0: DefaultMaxMessage
	MaxInFlight int           // RPCs served at once, beyond which SlowDown; 0: DefaultMaxInFlight
	Skew        time.Duration // how far a request's date may be off; 0: 15 minutes
	BodyTimeout time.Duration // to receive a message; 0: DefaultBodyTimeout
	Grace       time.Duration // for requests in flight when Serve ends; 0: DefaultGrace
	Compress    bool          // accept and answer gzip

	Listener Listener
}

// Listener hears what the server does. Nil fields are silent. Calls are
// synchronous and must not block.
type Listener struct {
	// Begin is called when an RPC arrives, before it is authenticated.
	Begin func(procedure string)
	// End is called when an RPC, of which Begin told, is over.
	End func(Call)
	// Panic is called when a handler panicked; the call ends as Internal.
	Panic func(c Call, value any, stack []byte)
}

// Call is one RPC, for metrics and the audit log.
type Call struct {
	RequestID string
	Procedure string // "CreateBucket"; as sent and shortened where there is no such
	Remote    string // address of the peer
	Principal access.Principal
	AccessKey string            // named by the request, believed only if Principal is not anonymous
	Write     bool              // changes the namespace or is an admin act
	Subject   string            // what it is about: "/volume/bucket/key", a user, an access key
	Details   map[string]string // of a write: what it changes, "quotaBytes": "1000"; nothing secret
	Keys      []string          // of DeleteKeys: those that are gone; all that were asked for if it failed
	Refused   []string          // of DeleteKeys: those that are not, each with the kind of its error
	Duration  time.Duration     // from the arrival of the header to the end of the answer
	Bytes     int64             // received
	Err       error             // nil, or with an errs kind; with its causes
}

// Server serves RPC. Make it with New.
type Server struct {
	opts     Options
	verifier *sigv4.Verifier
	rpc      http.Handler
	log      http.Handler // nil without Options.Log
	failure  *connect.ErrorWriter
	inFlight chan struct{}
	large    *semaphore.Weighted
	pages    []mount
	methods  map[string]method
}

// New returns a Server. Errors name the option that is missing or wrong.
func New(opts Options) (*Server, error) {
	if opts.Backend == nil || opts.Principals == nil {
		return nil, errs.New(errs.Invalid, "rpc.Options", "Backend and Principals are required")
	}
	if opts.MaxMessage < 0 || opts.MaxInFlight < 0 || opts.Skew < 0 || opts.BodyTimeout < 0 || opts.Grace < 0 {
		return nil, errs.New(errs.Invalid, "rpc.Options", "negative limits are not allowed; 0 is the default")
	}
	setDefault(&opts.MaxMessage, DefaultMaxMessage)
	setDefault(&opts.MaxInFlight, DefaultMaxInFlight)
	setDefault(&opts.Skew, sigv4.DefaultSkew)
	setDefault(&opts.BodyTimeout, DefaultBodyTimeout)
	setDefault(&opts.Grace, DefaultGrace)
	s := &Server{
		opts:     opts,
		verifier: sigv4.NewVerifier(sigv4.Options{Service: Service, MaxSkew: opts.Skew, Keys: new(sigv4.KeyCache)}),
		inFlight: make(chan struct{}, opts.MaxInFlight),
		large:    semaphore.NewWeighted(largeMessages),
		methods:  methodsOf(),
	}
	handlerOptions := []connect.HandlerOption{
		connect.WithReadMaxBytes(opts.MaxMessage),
		connect.WithSendMaxBytes(opts.MaxMessage),
		connect.WithInterceptors(interceptor{s}),
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
	}
	if !opts.Compress {
		handlerOptions = append(handlerOptions, connect.WithCompression("gzip", nil, nil))
	}
	_, s.rpc = o3v1connect.NewOMHandler(opts.Backend, handlerOptions...)
	if opts.Log != nil {
		_, s.log = o3v1connect.NewOMLogHandler(opts.Log, handlerOptions...)
	}
	s.failure = connect.NewErrorWriter(handlerOptions...)
	pages, err := mounts(opts.Admin, opts.Own)
	if err != nil {
		return nil, err
	}
	s.pages = pages
	return s, nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

type requestIDKey struct{}

// RequestID returns the id that the answer to the request of ctx carries in
// RequestIDHeader; "" outside a request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// errDecode stands for what the RPC library refused before the handler saw it.
var errDecode = errors.New("the message does not fit the procedure's request, or its encoding")

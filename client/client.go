// Package client is the Go client of O3: every call of the namespace API
// (api/o3/v1/om.proto), listings as iterators, and the bytes of keys through
// Put and Get.
//
// A Client signs each request, remembers which of several addresses answers,
// and repeats a call that failed on the way (the node was unreachable, not the
// leader, or lost the connection) until Options.RetryFor or the context ends.
// A repeated write is safe: it carries the same Stamp, so a server that has
// already done it answers again instead of doing it twice. Errors are
// *errs.Error values as the server made them (see Kind).
//
// New starts no goroutine; the pool of connections has some, which Close ends
// with the idle connections. A Client is safe for concurrent use. A request
// message is only read, never changed.
package client

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"

	"o3/api/o3/v1/o3v1connect"
	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// The defaults of Options.
const (
	DefaultAddress     = "http://127.0.0.1:9874"
	DefaultRegion      = "us-east-1"
	DefaultCallTimeout = time.Minute
	DefaultRetryFor    = 30 * time.Second
	DefaultPartSize    = 16 << 20
	DefaultParallel    = 4
	DefaultMaxMessage  = 64 << 20
)

// Options configures a Client. The zero value is not enough: an access key or
// a client certificate (TLS.Certificates) is needed.
type Options struct {
	Address   string   // http://host:port, https://host:port or host:port; "": DefaultAddress
	Addresses []string // further OMs of the same cluster, tried in order when one fails

	AccessKey string
	SecretKey string
	TLS       *tls.Config // for https; nil: the system's roots, no client certificate
	Region    string      // in signatures; "": DefaultRegion

	CallTimeout time.Duration // for one attempt of a call; 0: DefaultCallTimeout
	RetryFor    time.Duration // how long to repeat a call that failed on the way; 0: DefaultRetryFor; negative: never
	MaxMessage  int           // bytes of one message; 0: DefaultMaxMessage

	PartSize int64 // bytes of a part of Put, from 5 MiB; 0: DefaultPartSize
	Parallel int   // parts in flight per Put, each held in memory; 0: DefaultParallel

	UserAgent string // "": "o3-client"

	Listener Listener
}

// Listener hears what a Client does. Nil fields are silent. Calls are
// synchronous and must not block.
type Listener struct {
	// Retry is called before a call is repeated: what failed, and how.
	Retry func(method, address string, err error)
}

// Client calls one O3 cluster. Make it with New.
type Client struct {
	opts    Options
	at      *endpoints
	stamps  *stamps
	rpc     o3v1connect.OMClient
	log     o3v1connect.OMLogClient
	rpcHTTP *http.Transport
	s3HTTP  *http.Transport
	rpcSign *sigv4.Signer // nil: the client certificate speaks for us
	s3Sign  *sigv4.Signer
}

var _ o3v1connect.OMHandler = (*Client)(nil)

// New returns a Client. It does not connect. Errors name the option.
func New(opts Options) (*Client, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	at, err := newEndpoints(append([]string{opts.Address}, opts.Addresses...), opts.TLS != nil)
	if err != nil {
		return nil, err
	}
	c := &Client{opts: opts, at: at, stamps: newStamps()}
	c.rpcHTTP, c.s3HTTP = newTransport(opts.TLS), newTransport(opts.TLS)
	if opts.AccessKey != "" {
		keys := new(sigv4.KeyCache)
		c.rpcSign = &sigv4.Signer{AccessKeyID: opts.AccessKey, Secret: opts.SecretKey, Region: opts.Region, Service: "o3", Keys: keys}
		c.s3Sign = &sigv4.Signer{AccessKeyID: opts.AccessKey, Secret: opts.SecretKey, Region: opts.Region, Service: "s3", Keys: keys}
	}
	options := []connect.ClientOption{
		connect.WithReadMaxBytes(opts.MaxMessage),
		connect.WithSendMaxBytes(opts.MaxMessage),
		connect.WithAcceptCompression("gzip", nil, nil),
	}
	const somewhere = "http://o3.invalid" // sender puts the address in
	c.rpc = o3v1connect.NewOMClient(&sender{c}, somewhere, options...)
	c.log = o3v1connect.NewOMLogClient(&sender{c}, somewhere, options...)
	return c, nil
}

// complete checks opts and puts the defaults in.
func (o *Options) complete() error {
	if o.Address == "" {
		o.Address = DefaultAddress
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return errs.New(errs.Invalid, "client.Options", "AccessKey and SecretKey go together; one of them is empty")
	}
	hasCert := o.TLS != nil && (len(o.TLS.Certificates) > 0 || o.TLS.GetClientCertificate != nil)
	if o.AccessKey == "" && !hasCert {
		return errs.New(errs.Unauthenticated, "client.Options", "an access key or a client certificate is needed")
	}
	if o.PartSize != 0 && (o.PartSize < minPart || o.PartSize > maxPart) {
		return errs.New(errs.Invalid, "client.Options.PartSize", "must be from 5 MiB to 5 GiB")
	}
	if o.CallTimeout < 0 || o.MaxMessage < 0 || o.Parallel < 0 {
		return errs.New(errs.Invalid, "client.Options", "CallTimeout, MaxMessage and Parallel must not be negative")
	}
	setDefault(&o.Region, DefaultRegion)
	setDefault(&o.CallTimeout, DefaultCallTimeout)
	setDefault(&o.RetryFor, DefaultRetryFor)
	setDefault(&o.MaxMessage, DefaultMaxMessage)
	setDefault(&o.PartSize, DefaultPartSize)
	setDefault(&o.Parallel, DefaultParallel)
	setDefault(&o.UserAgent, "o3-client")
	return nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// newTransport returns a pool of HTTP/1.1 connections: for small calls they
// are faster than HTTP/2's one connection (BenchmarkCall), and for object data
// they do without its flow control.
func newTransport(conf *tls.Config) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	if conf != nil {
		conf = conf.Clone()
		conf.NextProtos = nil
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: 10 * time.Second,
		Protocols:           protocols,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     32 << 10,
		ReadBufferSize:      32 << 10,
	}
}

// Close ends the idle connections. Calls in flight are not disturbed.
func (c *Client) Close() error {
	c.rpcHTTP.CloseIdleConnections()
	c.s3HTTP.CloseIdleConnections()
	return nil
}

// Address returns the URL that the next call goes to.
func (c *Client) Address() string { return c.at.current().String() }

// Kind returns the kind of an error of this package.
func Kind(err error) errs.Kind { return errs.KindOf(err) }

// parseAddress reads an address in any of the forms of Options.Address.
func parseAddress(s, scheme string) (*url.URL, error) {
	bad := func() (*url.URL, error) {
		return nil, errs.New(errs.Invalid, "address "+s, "must be http://host:port, https://host:port or host:port")
	}
	text := s
	if !strings.Contains(text, "://") {
		text = scheme + "://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return bad()
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// Package s3target keeps images of nodes in a bucket of any store that speaks S3:
// it implements image.Target.
//
// What it guarantees: an object appears whole or not at all; every request that
// brings bytes is signed over their SHA-256 and, unless the URL says otherwise,
// carries a checksum that the store compares and keeps; reading goes on where a
// connection broke; one export or prune works at a place at a time (Lock). Memory
// is bounded by Options.PartSize times Options.Parallel for each Put. Retries and
// the time of every request are bounded.
//
// Goroutines: those of Put end before it returns; Lock starts one that renews the
// lock, which closing the lock ends. A Target may be used by several goroutines.
package s3target

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"o3/internal/errs"
)

// Options is the configuration of a Target. Place must be set; the zero value of
// every other field is its default.
type Options struct {
	Place Place

	// Static keys. Without them they come from the environment: AWS_ACCESS_KEY_ID,
	// AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile AWS_PROFILE of
	// the file AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials).
	AccessKey, SecretKey string

	Getenv func(string) string // the environment; nil: an empty one
	Owner  string              // who holds a lock, for people; "" means o3
	Alone  bool                // no two of this Owner work at once, ever: a lock of its name is of one that is dead

	PartSize int64         // bytes of a part; larger for objects of more than 9,000 parts. 0 means 8 MiB
	Parallel int           // parts under way at once. 0 means 4
	Attempts int           // of a request, and of reading on without getting ahead. 0 means 6
	Patience time.Duration // for a request besides 1 s for each 64 KiB, and for bytes to move. 0 means 1 minute
	Pause    time.Duration // before an attempt is repeated, growing up to 50 times. 0 means 200 ms
	Renew    time.Duration // between renewals of the lock, which is lost after 3 of them and can be taken after 6. 0 means 20 s

	Transport http.RoundTripper // nil: one of its own
}

// Target is a place for images in a bucket.
type Target struct {
	o      Options
	client *s3.Client
	own    *http.Transport // nil: Options.Transport

	mu   sync.Mutex
	held *lock // nil: none
}

// New returns the Target; it does not ask the store anything. Kinds:
// Unauthenticated (no credentials), Invalid.
func New(o Options) (*Target, error) {
	o = o.withDefaults()
	keys, err := o.credentials()
	if err != nil {
		return nil, err
	}
	t := &Target{o: o}
	if o.Transport == nil {
		if t.own, err = o.transport(); err != nil {
			return nil, err
		}
		o.Transport = t.own
	}
	retryer := retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = o.Attempts
		r.MaxBackoff = 50 * o.Pause
		r.Backoff = backoff{o.Pause}
		r.RateLimiter = ratelimit.None
		r.Retryables = append(r.Retryables, damagedOnTheWay)
	})
	t.client = s3.New(s3.Options{
		Region: o.Place.Region, BaseEndpoint: endpointOf(o.Place.Endpoint), UsePathStyle: o.Place.PathStyle,
		Credentials: keys, HTTPClient: &http.Client{Transport: o.Transport}, Retryer: retryer,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		AppID:                      "o3",
	})
	return t, nil
}

func (o Options) withDefaults() Options {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	p := &o.Place
	p.Endpoint = first(p.Endpoint, o.Getenv("AWS_ENDPOINT_URL_S3"), o.Getenv("AWS_ENDPOINT_URL"))
	p.Region = first(p.Region, o.Getenv("AWS_REGION"), o.Getenv("AWS_DEFAULT_REGION"), "us-east-1")
	if p.Style == "" {
		p.PathStyle = p.Endpoint != "" // Amazon's own takes either
	}
	o.Owner = first(o.Owner, "o3")
	for to, def := range map[*int]int{&o.Parallel: 4, &o.Attempts: 6} {
		if *to <= 0 {
			*to = def
		}
	}
	for to, def := range map[*time.Duration]time.Duration{&o.Patience: time.Minute, &o.Pause: 200 * time.Millisecond, &o.Renew: 20 * time.Second} {
		if *to <= 0 {
			*to = def
		}
	}
	if o.PartSize <= 0 {
		o.PartSize = 8 << 20
	}
	return o
}

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

func endpointOf(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// transport makes the connections. AWS_CA_BUNDLE names a PEM file of authorities
// to trust beside the system's.
func (o Options) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 5 * o.Patience, // a store may be long about putting parts together
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   2 * o.Parallel,
		DisableCompression:    true,
		ForceAttemptHTTP2:     false, // one connection broken is one request broken
	}
	file := o.Getenv("AWS_CA_BUNDLE")
	if file == "" {
		return t, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, &errs.Error{Kind: errs.Invalid, Subject: "AWS_CA_BUNDLE " + file, Detail: "it cannot be read", Err: err}
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(raw) {
		return nil, errs.New(errs.Invalid, "AWS_CA_BUNDLE "+file, "it holds no certificate in PEM")
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// backoff doubles the pause.
type backoff struct{ pause time.Duration }

func (b backoff) BackoffDelay(attempt int, _ error) (time.Duration, error) {
	return b.pause * time.Duration(min(50, 1<<min(attempt, 10))), nil
}

// Close ends idle connections.
func (t *Target) Close() error {
	if t.own != nil {
		t.own.CloseIdleConnections()
	}
	return nil
}

// String implements image.Target.
func (t *Target) String() string { return t.o.Place.short() }

// key is the key of a file.
func (t *Target) key(name string) string { return t.o.Place.Prefix + name }

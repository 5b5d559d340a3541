package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/recon/web"
	"o3/internal/rpc"
	"o3/internal/s3/sigv4"
)

// principals finds who asks; kind NoSuchPrincipal refuses.
type principals interface {
	Secret(ctx context.Context, id string) (secret string, p access.Principal, err error)
	User(ctx context.Context, name string) (access.Principal, error)
}

// door lets those in whose credentials are good: signature V4 with service o3,
// the access key and its secret by HTTP Basic, or a client certificate. All that
// it leads to share what it remembers of wrong ones. It is safe for concurrent use.
type door struct {
	who      principals
	verifier *sigv4.Verifier
	denied   func(how string)

	mu    sync.Mutex
	wrong map[string]*rate.Limiter // by address: wrong credentials
}

// refused hears of a request that is not let in, but not of those of the
// throttled.
type refused func(w http.ResponseWriter, r *http.Request, p access.Principal, err error)

// The bounds of what comes without good credentials.
const (
	wrongRate  = 1    // a second, from an address
	wrongBurst = 20   //
	wrongKept  = 4096 // addresses
	doorBody   = 64 << 10
)

func newDoor(who principals, skew time.Duration, denied func(how string)) *door {
	return &door{
		who: who, denied: denied, wrong: map[string]*rate.Limiter{},
		verifier: sigv4.NewVerifier(sigv4.Options{Service: rpc.Service, MaxSkew: skew, Keys: new(sigv4.KeyCache)}),
	}
}

// to leads to next. tell may be nil.
func (d *door) to(next http.Handler, tell refused) http.Handler {
	if tell == nil {
		tell = func(http.ResponseWriter, *http.Request, access.Principal, error) {}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := d.from(r)
		if d.tooMany(from) {
			d.denied("throttled")
			w.Header().Set("Retry-After", "1")
			refuseJSON(w, errs.New(errs.SlowDown, "Recon", "too many wrong credentials came from "+from), http.StatusTooManyRequests)
			return
		}
		p, how, err := d.identify(w, r)
		if err == nil && fromElsewhere(r) {
			err := errs.New(errs.Denied, r.URL.Path, "a page of another site may not ask for it")
			tell(w, r, p, err)
			refuseJSON(w, err, http.StatusForbidden)
			return
		}
		if err != nil {
			tell(w, r, access.Principal{}, err)
			d.refuse(w, from, how, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(access.NewContext(r.Context(), p)))
	})
}

// refuse answers why somebody is not let in.
func (d *door) refuse(w http.ResponseWriter, from, how string, err error) {
	status := http.StatusServiceUnavailable
	switch errs.KindOf(err) {
	case errs.Unauthenticated, errs.NoSuchPrincipal:
		status = http.StatusUnauthorized
		d.denied(how)
		if how != "none" {
			d.note(from)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="O3 Recon", charset="UTF-8"`)
	case errs.Denied:
		status = http.StatusForbidden
		d.denied(how)
	case errs.Invalid, errs.BadDigest, errs.TooLarge, errs.NotImplemented:
		status = http.StatusBadRequest
	default:
		w.Header().Set("Retry-After", "5")
	}
	refuseJSON(w, err, status)
}

// fromElsewhere reports whether a browser asks because of another site's page: it
// would send the credentials that it knows. What changes nothing is no harm: the
// page cannot read the answer.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead || strings.HasPrefix(r.URL.Path, triggerPrefix)
	return changes && site != "" && site != "same-origin" && site != "none"
}

func refuseJSON(w http.ResponseWriter, err error, status int) {
	body := web.Error{Kind: errs.KindOf(err).String(), Status: status}
	if e, ok := errors.AsType[*errs.Error](err); ok {
		body.Subject, body.Detail = e.Subject, e.Detail
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

// identify returns who sent r, and by what.
func (d *door) identify(w http.ResponseWriter, r *http.Request) (p access.Principal, how string, err error) {
	authorization := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(authorization, "Basic "):
		p, err = d.basic(r)
		return p, "basic", err
	case authorization != "" || strings.Contains(r.URL.RawQuery, "X-Amz-"):
		p, err = d.signed(w, r)
		return p, "signature", err
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		p, err = d.certificate(r)
		return p, "certificate", err
	}
	return p, "none", errs.New(errs.Unauthenticated, r.URL.Path,
		"the request is not signed: sign it with signature V4, service \""+rpc.Service+"\", send access key and secret by HTTP Basic, or present a client certificate")
}

// basic takes an access key and its secret, which must not travel readable.
func (d *door) basic(r *http.Request) (access.Principal, error) {
	const subject = "HTTP Basic"
	if host, _, _ := net.SplitHostPort(r.RemoteAddr); r.TLS == nil && !net.ParseIP(host).IsLoopback() {
		return access.Principal{}, errs.New(errs.Denied, subject, "it sends the secret itself: use https (ozone.recon.tls.cert), or sign the request")
	}
	id, secret, ok := r.BasicAuth()
	if !ok {
		return access.Principal{}, errs.New(errs.Unauthenticated, subject, "the header is malformed")
	}
	want, p, err := d.who.Secret(r.Context(), id)
	if err != nil && errs.KindOf(err) != errs.NoSuchPrincipal {
		return access.Principal{}, err
	}
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(secret))
	if same := subtle.ConstantTimeCompare(a[:], b[:]) == 1; !same || err != nil || p.Anonymous() {
		return access.Principal{}, errs.New(errs.Unauthenticated, subject, "there is no such access key, or its secret is another")
	}
	p.AccessKey = id
	return p, nil
}

// signed takes a signature of the headers and of the body, if there is one.
func (d *door) signed(w http.ResponseWriter, r *http.Request) (p access.Principal, err error) {
	id, err := d.verifier.Verify(sigv4.FromHTTP(r), time.Now(), func(key string) (secret string, err error) {
		secret, p, err = d.who.Secret(r.Context(), key)
		p.AccessKey = key
		return secret, err
	})
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return access.Principal{}, &errs.Error{Kind: errs.KindOf(err), Subject: r.URL.Path, Detail: e.Message, Err: err}
	}
	switch {
	case err != nil:
		return access.Principal{}, err
	case id.Presigned || id.Payload != sigv4.PayloadHash:
		return access.Principal{}, errs.New(errs.Unauthenticated, r.URL.Path, "sign the headers, with the SHA-256 of the body in x-amz-content-sha256")
	case p.Anonymous():
		return access.Principal{}, errs.New(errs.Unauthenticated, r.URL.Path, "the access key belongs to nobody")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, doorBody))
	if err != nil {
		return access.Principal{}, errs.Wrap(errs.TooLarge, r.URL.Path+": reading the body", err)
	}
	sum := sha256.Sum256(body)
	if !strings.EqualFold(hex.EncodeToString(sum[:]), id.PayloadSHA256) {
		return access.Principal{}, errs.New(errs.BadDigest, r.URL.Path, "the body is not the one that was signed")
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return p, nil
}

// certificate takes the common name of a verified certificate as a user.
func (d *door) certificate(r *http.Request) (access.Principal, error) {
	name := r.TLS.VerifiedChains[0][0].Subject.CommonName
	p, err := d.who.User(r.Context(), name)
	if errs.KindOf(err) == errs.NoSuchPrincipal || err == nil && p.Anonymous() {
		return access.Principal{}, errs.New(errs.Unauthenticated, "client certificate", "its common name is no user, or one that is disabled: "+strconv.QuoteToASCII(name))
	}
	return p, err
}

func (d *door) from(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// tooMany reports whether an address has to wait.
func (d *door) tooMany(from string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.wrong[from]
	return l != nil && l.Tokens() < 1
}

// note counts wrong credentials. When very many addresses send such, those noted
// are forgotten.
func (d *door) note(from string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.wrong[from]
	if l == nil {
		if len(d.wrong) >= wrongKept {
			clear(d.wrong)
		}
		l = rate.NewLimiter(wrongRate, wrongBurst)
		d.wrong[from] = l
	}
	l.Allow()
}

// requestIDHeader tells a client its request's id.
const requestIDHeader = rpc.RequestIDHeader

func withRequestID(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(requestIDHeader, rand.Text()[:16])
		h.ServeHTTP(w, r)
	})
}

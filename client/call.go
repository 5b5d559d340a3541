package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/api/o3/v1/o3v1connect"
	"o3/internal/errs"
	"o3/internal/rpc/rpcerr"
	"o3/internal/s3/sigv4"
)

// Pauses between attempts double from one to the other; each is shortened by
// up to half at random.
const (
	firstPause = 25 * time.Millisecond
	longPause  = time.Second
)

// read calls a method that changes nothing.
func read[Q, R any](ctx context.Context, c *Client, name string, req *Q, f func(o3v1connect.OMClient, context.Context, *Q) (*R, error)) (*R, error) {
	var out *R
	err := c.repeat(ctx, name, func(ctx context.Context) (err error) {
		out, err = f(c.rpc, ctx, req)
		return err
	})
	return out, err
}

// write calls a method that changes the namespace, under one stamp however
// often it is sent. A request that has a stamp keeps it.
func write[Q, R any, P interface {
	*Q
	proto.Message
	GetStamp() *o3v1.Stamp
}](ctx context.Context, c *Client, name string, req P, f func(o3v1connect.OMClient, context.Context, *Q) (*R, error)) (*R, error) {
	if req.GetStamp() == nil {
		stamp := c.stamps.begin()
		defer c.stamps.end(stamp)
		req = stamped(req.ProtoReflect(), stamp).(P)
	}
	return read(ctx, c, name, (*Q)(req), f)
}

// attempt is one try at a call, noted by the sender.
type attempt struct {
	to     *url.URL
	sent   bool  // the request left the client library
	err    error // of the connection
	status int   // of the answer, 0 if there was none
}

type attemptKey struct{}

// repeat runs f until it succeeds, fails for good, or there is no time left.
func (c *Client) repeat(ctx context.Context, name string, f func(context.Context) error) error {
	_, err := c.retry(ctx, name, c.opts.CallTimeout, f)
	return err
}

// retry is repeat with a time limit per attempt (0: none). It reports whether
// an attempt failed in a way that leaves open whether the server has done it.
func (c *Client) retry(ctx context.Context, name string, limit time.Duration, f func(context.Context) error) (unsure bool, _ error) {
	begin, pause, hops := time.Now(), firstPause, 0
	for n := 1; ; n++ {
		a := &attempt{to: c.at.current()}
		err := c.once(ctx, a, limit, f)
		if err == nil {
			return unsure, nil
		}
		e := c.explain(ctx, a, err)
		if !retryable(e) || ctx.Err() != nil || c.opts.RetryFor < 0 {
			return unsure, e
		}
		unsure = unsure || (a.sent && e.Kind != errs.NotLeader && e.Kind != errs.SlowDown)
		direct := false
		switch {
		case e.Kind == errs.NotLeader:
			direct = c.at.redirect(a.to, e.Subject) && hops < 3
			if !direct {
				c.at.failed(a.to)
			}
			hops++
		case e.Kind != errs.SlowDown:
			c.at.failed(a.to)
			direct = n < len(c.at.list) // every address once, then pause
		}
		if c.opts.Listener.Retry != nil {
			c.opts.Listener.Retry(name, a.to.String(), e)
		}
		if direct {
			continue
		}
		wait := pause/2 + rand.N(pause/2+1)
		if time.Since(begin)+wait > c.opts.RetryFor {
			e.Detail += fmt.Sprintf(" (gave up after %d attempts in %v)", n, time.Since(begin).Round(time.Millisecond))
			return unsure, e
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return unsure, e
		}
		pause = min(2*pause, longPause)
	}
}

func (c *Client) once(ctx context.Context, a *attempt, limit time.Duration, f func(context.Context) error) error {
	ctx = context.WithValue(ctx, attemptKey{}, a)
	if limit == 0 {
		return f(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// retryable reports whether an error says that the call may yet succeed.
func retryable(e *errs.Error) bool {
	return e.Kind == errs.Unavailable || e.Kind == errs.NotLeader || e.Kind == errs.SlowDown
}

// explain turns the error of an attempt into one with a kind.
func (c *Client) explain(ctx context.Context, a *attempt, err error) *errs.Error {
	switch ctx.Err() {
	case context.Canceled:
		return errs.Wrap(errs.Canceled, a.to.String(), context.Cause(ctx))
	case context.DeadlineExceeded:
		return &errs.Error{Kind: errs.DeadlineExceeded, Subject: a.to.String(), Detail: "no answer in the time given", Err: err}
	}
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return &errs.Error{Kind: e.Kind, Op: e.Op, Subject: e.Subject, Detail: e.Detail, Err: e.Err}
	}
	e, exact := rpcerr.Decode(err)
	switch {
	case exact && e.Kind != errs.DeadlineExceeded:
		return e
	case a.err != nil:
		return connectionError(a, err)
	case !a.sent: // refused by the library: too large, not a valid message
		return e
	case errors.Is(err, context.DeadlineExceeded), e.Kind == errs.DeadlineExceeded:
		return &errs.Error{Kind: errs.Unavailable, Subject: a.to.String(), Detail: "no answer within " + c.opts.CallTimeout.String(), Err: err}
	case connect.IsWireError(err):
		return e
	case a.status == http.StatusOK: // the answer was cut
		return &errs.Error{Kind: errs.Unavailable, Subject: a.to.String(), Detail: "the answer was cut: " + err.Error(), Err: err}
	}
	return &errs.Error{Kind: e.Kind, Subject: a.to.String(), Detail: fmt.Sprintf("HTTP status %d, not from an O3 namespace manager? %s", a.status, e.Detail), Err: err}
}

// connectionError says why a request got no answer. What no retry can mend is
// not Unavailable.
func connectionError(a *attempt, err error) *errs.Error {
	cause := a.err
	if u, ok := errors.AsType[*url.Error](cause); ok {
		cause = u.Err
	}
	out := &errs.Error{Kind: errs.Unavailable, Subject: a.to.String(), Detail: "no answer: " + cause.Error(), Err: err}
	if untrusted(cause) {
		out.Kind, out.Detail = errs.Unauthenticated, "the server's certificate is not trusted: "+cause.Error()
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](cause); ok {
		out.Kind, out.Detail = errs.Invalid, "https was asked for and the server does not speak it: "+cause.Error()
	}
	return out
}

// untrusted reports whether cause is about the server's certificate.
func untrusted(cause error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](cause)
	_, authority := errors.AsType[x509.UnknownAuthorityError](cause)
	_, name := errors.AsType[x509.HostnameError](cause)
	_, invalid := errors.AsType[x509.CertificateInvalidError](cause)
	return verification || authority || name || invalid
}

// sender is the HTTP client below the RPC library: it puts in the address,
// signs, and notes what happened.
type sender struct{ c *Client }

// Do implements connect.HTTPClient.
func (s *sender) Do(r *http.Request) (*http.Response, error) {
	a, _ := r.Context().Value(attemptKey{}).(*attempt)
	if a == nil {
		return nil, errors.New("client: a call outside of retry")
	}
	r.URL.Scheme, r.URL.Host, r.Host = a.to.Scheme, a.to.Host, a.to.Host
	r.Header.Set("User-Agent", s.c.opts.UserAgent)
	if s.c.rpcSign != nil {
		sum, err := hashBody(r)
		if err != nil {
			return nil, err
		}
		s.c.rpcSign.Sign(r, sum, time.Now())
	}
	return s.c.send(s.c.rpcHTTP, a, r)
}

// send sends r and notes the outcome. Redirects are answers like any other.
func (c *Client) send(via *http.Transport, a *attempt, r *http.Request) (*http.Response, error) {
	a.sent = true
	resp, err := via.RoundTrip(r)
	if err != nil {
		a.err = err
		return nil, err
	}
	a.status = resp.StatusCode
	return resp, nil
}

// hashBody returns the SHA-256 of r's body and rewinds it.
func hashBody(r *http.Request) (string, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return sigv4.EmptySHA256, nil
	}
	h := sha256.New()
	if r.GetBody == nil { // a stream of answers: its one request is written to a pipe
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return "", err
		}
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
		r.Body, _ = r.GetBody()
		r.ContentLength = int64(len(raw))
	}
	if _, err := io.Copy(h, r.Body); err != nil {
		return "", err
	}
	body, err := r.GetBody()
	if err != nil {
		return "", err
	}
	r.Body = body
	return hex.EncodeToString(h.Sum(nil)), nil
}

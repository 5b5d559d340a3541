package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"o3/internal/errs"
)

// Source is a node that may have images.
type Source struct {
	// Name is how errors and progress call it; "" means URL's host.
	Name string

	// URL is where its Server is mounted: http:// is for loopback only, unless
	// Options.Insecure.
	URL string

	// Client makes the requests; nil means one of Fetch's own. It must not have
	// a timeout of its own.
	Client *http.Client

	// Sign adds the credentials to a request; it may be nil.
	Sign func(*http.Request) error
}

// client talks to one source.
type client struct {
	name     string
	base     *url.URL
	http     *http.Client
	sign     func(*http.Request) error
	receiver string
	stall    time.Duration
	limit    *throttle
	count    func(n int) // hears of bytes that came in
}

func newClient(s Source, o *Options, limit *throttle, shared *http.Client, count func(int)) (*client, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errs.New(errs.Invalid, "source "+shorten(s.URL), "an address http[s]://HOST[:PORT]/PATH is needed")
	}
	if u.Scheme == "http" && !o.Insecure && !loopback(u.Hostname()) {
		return nil, errs.New(errs.Invalid, "source "+shorten(s.URL), "images travel over TLS or on loopback only")
	}
	c := &client{name: s.Name, base: u, http: s.Client, sign: s.Sign, receiver: o.Receiver, stall: o.Stall, limit: limit, count: count}
	if c.name == "" {
		c.name = u.Host
	}
	if c.http == nil {
		c.http = shared
	}
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// fault describes what went wrong with this source. file may be nil.
func (c *client) fault(err error, file *File, off int64) error {
	e := &errs.Error{Kind: kindOr(err, errs.Unavailable), Op: "transfer", Subject: "source " + c.name, Err: err}
	if file != nil {
		e.Subject += ", file " + file.Path + ", offset " + strconv.FormatInt(off, 10)
	}
	if inner, ok := errors.AsType[*errs.Error](err); ok {
		e.Detail, e.Err = strings.TrimPrefix(inner.Subject+": "+inner.Detail, ": "), inner.Err
	}
	return e
}

func (c *client) list(ctx context.Context) ([]Info, error) {
	raw, err := c.small(ctx, http.MethodGet, "/images", nil, maxList)
	if err != nil {
		return nil, err
	}
	var out []Info
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, damaged("a list of images that cannot be read: %v", err)
	}
	return out, nil
}

func (c *client) manifest(ctx context.Context, id string) ([]byte, error) {
	return c.small(ctx, http.MethodGet, "/images/"+id+"/manifest", nil, MaxManifest)
}

// hold takes or renews the lease on an image and returns how long it lasts.
func (c *client) hold(ctx context.Context, id string) (time.Duration, error) {
	raw, err := c.small(ctx, http.MethodPost, "/images/"+id+"/hold", url.Values{"receiver": {c.receiver}}, maxProblem)
	if err != nil {
		return 0, err
	}
	var a holdAnswer
	if err := json.Unmarshal(raw, &a); err != nil || a.TTL <= 0 {
		return 0, damaged("a lease that cannot be read: %q", raw)
	}
	return time.Duration(a.TTL) * time.Millisecond, nil
}

func (c *client) release(ctx context.Context, id string) error {
	_, err := c.small(ctx, http.MethodDelete, "/images/"+id+"/hold", url.Values{"receiver": {c.receiver}}, maxProblem)
	return err
}

// data asks for parts of files. The caller closes the body.
func (c *client) data(ctx context.Context, id string, manifest Sum, chunk int, how Compression, parts []part) (*body, error) {
	return c.do(ctx, http.MethodGet, "/images/"+id+"/data", url.Values{
		"manifest": {manifest.String()}, "chunk": {strconv.Itoa(chunk)}, "compress": {how.String()}, "parts": {formatParts(parts)},
	})
}

// small asks for what fits in memory.
func (c *client) small(ctx context.Context, method, path string, q url.Values, limit int) ([]byte, error) {
	b, err := c.do(ctx, method, path, q)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	f := frames{r: b, chunk: 64 << 10}
	defer f.close()
	return f.all(limit)
}

func (c *client) do(ctx context.Context, method, path string, q url.Values) (*body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &body{c: c, ctx: ctx, cancel: cancel}
	b.timer = time.AfterFunc(c.stall, func() {
		cancel(fmt.Errorf("%w: nothing came for %s", errCut, c.stall))
	})
	resp, err := c.send(ctx, method, path, q)
	b.timer.Stop()
	if err != nil {
		err = b.why(err)
		b.Close()
		return nil, err
	}
	b.r = resp.Body
	if resp.StatusCode == http.StatusOK {
		return b, nil
	}
	defer b.Close()
	raw, err := io.ReadAll(io.LimitReader(b, maxProblem))
	var p problem
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Kind == errs.OK {
		return nil, foreign(resp.Status, resp.StatusCode)
	}
	return nil, p.error()
}

// foreign is the error of an answer that no Server gave: a proxy, or another
// program at this address.
func foreign(status string, code int) error {
	k := errs.Unavailable
	switch code {
	case http.StatusUnauthorized:
		k = errs.Unauthenticated
	case http.StatusForbidden:
		k = errs.Denied
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		k = errs.NotImplemented
	case http.StatusTooManyRequests:
		k = errs.SlowDown
	}
	return errs.New(k, "", "it answers "+shorten(status))
}

func (c *client) send(ctx context.Context, method, path string, q url.Values) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set(versionHeader, strconv.Itoa(wireVersion))
	r.Header.Set("Accept-Encoding", "identity")
	if c.sign != nil {
		if err := c.sign(r); err != nil {
			return nil, errs.Wrap(kindOr(err, errs.Unauthenticated), "credentials", err)
		}
	}
	return c.http.Do(r)
}

// body is the body of an answer: throttled, counted, and cut when nothing comes
// for too long. Time that the reader takes is not counted.
type body struct {
	c      *client
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	r      io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	if t := b.c.limit; t != nil && len(p) > t.piece {
		p = p[:t.piece]
	}
	b.timer.Reset(b.c.stall)
	n, err := b.r.Read(p)
	b.timer.Stop()
	b.c.count(n)
	if n > 0 {
		if werr := b.c.limit.wait(b.ctx, n); werr != nil {
			return n, b.why(werr)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.why(err)
	}
	return n, err
}

// why returns the cause of a canceled request in place of "canceled".
func (b *body) why(err error) error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	return err
}

// Close ends the request.
func (b *body) Close() {
	b.timer.Stop()
	b.cancel(context.Canceled)
	if b.r != nil {
		_ = b.r.Close() // nothing is kept of it
	}
}

package freon

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// target is an S3 endpoint and who calls it. It is safe for concurrent use.
type target struct {
	base   *url.URL // path: what stands before the bucket; without a slash at the end
	dial   string   // host:port
	tls    *tls.Config
	sign   *sigv4.Signer
	bucket string
	lives  time.Duration // bound of one request
}

// newTarget checks an endpoint: http(s)://host[:port][/path].
func newTarget(endpoint, bucket, id, secret, region string, tlsConfig *tls.Config) (*target, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return nil, errs.New(errs.Invalid, "--endpoint "+endpoint, "it must be the URL of an S3 server: http://host:port or https://host:port")
	}
	if bucket == "" || strings.Contains(bucket, "/") {
		return nil, errs.New(errs.Invalid, "--bucket "+strconv.Quote(bucket), "it must be the name of a bucket")
	}
	t := &target{base: u, dial: u.Host, bucket: bucket}
	if u.Path == "/" {
		u.Path = ""
	}
	if u.Port() == "" {
		t.dial = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	if u.Scheme == "https" {
		t.tls = &tls.Config{}
		if tlsConfig != nil {
			t.tls = tlsConfig.Clone()
		}
		t.tls.NextProtos = []string{"http/1.1"}
		if t.tls.ServerName == "" {
			t.tls.ServerName = u.Hostname()
		}
	}
	t.sign = &sigv4.Signer{AccessKeyID: id, Secret: secret, Region: region, Service: "s3", Keys: new(sigv4.KeyCache)}
	return t, nil
}

// call is a request of S3.
type call struct {
	method string
	key    string // "": the bucket itself
	query  string // escaped
	sum    string // x-amz-content-sha256; "": of an empty body
	body   body
}

// wire is one connection, as one client uses it: a request at a time, written
// and read by the caller's goroutine. It dials again when the server closed
// the connection between two requests. It belongs to one goroutine.
type wire struct {
	t      *target
	conn   net.Conn
	unhook func() bool // takes back that the end of the run wakes who waits on conn
	r      *bufio.Reader
	w      *bufio.Writer
	uses   int // requests that this connection has served
	path   []byte
	header http.Header
}

const (
	wireBuffer = 32 << 10
	maxError   = 64 << 10 // bytes read of an error document
)

func newWire(t *target) *wire {
	return &wire{t: t, header: http.Header{}, r: bufio.NewReaderSize(nil, wireBuffer), w: bufio.NewWriterSize(nil, wireBuffer)}
}

func (c *wire) close() {
	if c.conn == nil {
		return
	}
	c.unhook()
	_ = c.conn.Close() // nothing is outstanding
	c.conn = nil
}

// connect dials unless there is a connection.
func (c *wire) connect(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	dialing, cancel := context.WithTimeout(ctx, min(10*time.Second, c.t.lives))
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dialing, "tcp", c.t.dial)
	if err != nil {
		return err
	}
	if c.t.tls != nil {
		secure := tls.Client(conn, c.t.tls)
		if err := secure.HandshakeContext(dialing); err != nil {
			_ = conn.Close() // never used
			return err
		}
		conn = secure
	}
	c.conn, c.uses = conn, 0
	c.r.Reset(conn)
	c.w.Reset(conn)
	c.unhook = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // the reader sees the end of ctx
	return nil
}

// do sends q and hands the answer to read, which must take its whole body. A
// status of 300 and more is an *answer. ctx is that of the run; the request has
// the time that the target allows.
func (c *wire) do(ctx context.Context, q call, read func(*http.Response) error) error {
	for {
		if err := c.connect(ctx); err != nil {
			return err
		}
		if err := c.conn.SetDeadline(time.Now().Add(c.t.lives)); err != nil {
			c.close()
			return err
		}
		if ctx.Err() != nil { // it may have ended before the deadline was set
			return ctx.Err()
		}
		used := c.uses > 0
		resp, err := c.exchange(q)
		if err == nil {
			err = c.finish(resp, read)
			if resp.Close {
				c.close()
			}
			return err
		}
		c.close()
		if !used || !lost(err) || ctx.Err() != nil {
			return err
		}
		// The server had closed the idle connection; every request here may be repeated.
	}
}

// lost reports whether a connection ended before an answer began.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// exchange writes q and reads the head of its answer.
func (c *wire) exchange(q call) (*http.Response, error) {
	r := c.request(q)
	sum := q.sum
	if sum == "" {
		sum = sigv4.EmptySHA256
	}
	c.t.sign.Sign(r, sum, time.Now())
	sendErr := c.send(r, q)
	if _, err := c.r.Peek(1); err != nil { // an answer may be there although the server stopped reading
		if sendErr != nil {
			return nil, sendErr
		}
		return nil, err
	}
	resp, err := http.ReadResponse(c.r, r)
	if err != nil {
		return nil, err
	}
	if sendErr != nil {
		resp.Close = true
	}
	c.uses++
	return resp, nil
}

// request makes what the signer and http.ReadResponse need to know.
func (c *wire) request(q call) *http.Request {
	clear(c.header)
	c.path = append(c.path[:0], c.t.base.Path...)
	c.path = append(c.path, '/')
	c.path = append(c.path, c.t.bucket...)
	if q.key != "" {
		c.path = escape(append(c.path, '/'), q.key)
	}
	raw := string(c.path)
	u := &url.URL{Scheme: c.t.base.Scheme, Host: c.t.base.Host, Path: raw, RawQuery: q.query}
	if strings.Contains(raw, "%") {
		u.Path, u.RawPath = c.t.base.Path+"/"+c.t.bucket+"/"+q.key, raw
	}
	return &http.Request{Method: q.method, URL: u, Host: c.t.base.Host, Header: c.header, ContentLength: q.body.size}
}

// escape appends a key as a path.
func escape(dst []byte, key string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(key) {
		b := key[i]
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', strings.IndexByte("-_.~/", b) >= 0:
			dst = append(dst, b)
		default:
			dst = append(dst, '%', hex[b>>4], hex[b&15])
		}
	}
	return dst
}

// send writes a signed request and its body.
func (c *wire) send(r *http.Request, q call) error {
	w := c.w
	put := func(parts ...string) {
		for _, p := range parts {
			_, _ = w.WriteString(p) // Flush repeats the error
		}
	}
	put(q.method, " ")
	_, _ = w.Write(c.path)
	if q.query != "" {
		put("?", q.query)
	}
	put(" HTTP/1.1\r\nHost: ", r.Host, "\r\nUser-Agent: o3-freon\r\n")
	for name, values := range r.Header {
		put(name, ": ", values[0], "\r\n")
	}
	if q.method == http.MethodPut || q.body.size > 0 {
		put("Content-Length: ", strconv.FormatInt(q.body.size, 10), "\r\n")
	}
	put("\r\n")
	for at := int64(0); at < q.body.size; {
		piece := q.body.at(at)
		if _, err := w.Write(piece); err != nil {
			return err
		}
		at += int64(len(piece))
	}
	return w.Flush()
}

// finish reads the rest of an answer. It sets resp.Close when the connection
// cannot be used again.
func (c *wire) finish(resp *http.Response, read func(*http.Response) error) error {
	if resp.StatusCode < 300 {
		err := read(resp)
		if err != nil {
			resp.Close = true // bytes may be left
		}
		return err
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil || len(text) == maxError {
		resp.Close = true
	}
	a := &answer{status: resp.StatusCode, code: between(text, "<Code>", "</Code>"), text: between(text, "<Message>", "</Message>")}
	if a.code == "" {
		a.code = "HTTP " + strconv.Itoa(resp.StatusCode)
	}
	return a
}

// between returns the text between the first left and the next right.
func between(text []byte, left, right string) string {
	_, rest, ok := strings.Cut(string(text), left)
	if !ok {
		return ""
	}
	found, _, _ := strings.Cut(rest, right)
	return found
}

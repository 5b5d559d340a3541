package s3target

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// proxy stands between a target and a store, and does harm.
type proxy struct {
	*httptest.Server
	backend *httputil.ReverseProxy

	mu    sync.Mutex
	asked []string // method and path of each request
	harm  func(w http.ResponseWriter, r *http.Request) (done bool)
	reply func(r *http.Response) error
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	p.backend = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0), // it does harm on purpose
		ModifyResponse: func(r *http.Response) error {
			p.mu.Lock()
			reply := p.reply
			p.mu.Unlock()
			if reply == nil {
				return nil
			}
			return reply(r)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) },
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r.Method+" "+r.URL.Path)
		harm := p.harm
		p.mu.Unlock()
		if harm == nil || !harm(w, r) {
			p.backend.ServeHTTP(w, r)
		}
	}))
	p.Config.ErrorLog = p.backend.ErrorLog
	p.Start()
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// does sets what harm it does; nil is none.
func (p *proxy) does(harm func(http.ResponseWriter, *http.Request) bool, reply func(*http.Response) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.harm, p.reply, p.asked = harm, reply, nil
}

func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// reset breaks the connection of a request.
func reset(w http.ResponseWriter) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // the other side sees a reset
		}
		_ = conn.Close()
	}
	return true
}

// status answers with an error of S3, or with what is none when code is "".
func status(w http.ResponseWriter, n int, code string) bool {
	if code == "" {
		w.WriteHeader(n)
		_, _ = io.WriteString(w, "<html>not S3</html>")
		return true
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(n)
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>from the test</Message></Error>`)
	return true
}

// cut is a body that ends, with err, after n bytes.
type cut struct {
	io.ReadCloser
	left int64
	err  error
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.err
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// flipped is a body of which a bit is wrong.
type flipped struct {
	io.ReadCloser
	at, off int64
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.at >= f.off && f.at < f.off+int64(n) {
		p[f.at-f.off] ^= 0x10
	}
	f.off += int64(n)
	return n, err
}

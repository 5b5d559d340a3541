package rpctest

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"

	"o3/internal/rpc"
)

// Server is a real RPC server on 127.0.0.1 that a test can disturb.
type Server struct {
	URL    string
	Memory *Memory

	mu     sync.Mutex
	faults []Fault
}

// Fault decides about a request: it returns false to serve it as usual. It may
// answer instead; or panic with http.ErrAbortHandler to cut the connection,
// before or after calling next.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// CutBefore cuts the connection without serving the request.
func CutBefore(http.ResponseWriter, *http.Request, http.Handler) bool {
	panic(http.ErrAbortHandler)
}

// CutAfter serves the request and cuts the connection instead of answering.
func CutAfter(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	next.ServeHTTP(&nowhere{header: http.Header{}}, r)
	panic(http.ErrAbortHandler)
}

// nowhere is a response that nobody gets.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}

// Inject queues faults: each takes one of the following requests.
func (s *Server) Inject(f ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f...)
}

// Left returns how many faults have not struck yet.
func (s *Server) Left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

func (s *Server) next() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return f
}

// Start serves m until the test ends. opts may leave out what m provides; with
// opts.TLS the URL is https.
func Start(t testing.TB, m *Memory, opts rpc.Options) *Server {
	t.Helper()
	if opts.Backend == nil {
		opts.Backend = m
	}
	if opts.Principals == nil {
		opts.Principals = m
	}
	if opts.S3 == nil {
		opts.S3 = m.Data()
	}
	inner, err := rpc.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "http://" + ln.Addr().String(), Memory: m}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	disturbed := &http.Server{Protocols: protocols, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.next(); f == nil || !f(w, r, inner) {
			inner.ServeHTTP(w, r)
		}
	})}
	if opts.TLS != nil {
		s.URL = "https://" + ln.Addr().String()
		ln = tls.NewListener(ln, opts.TLS)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = disturbed.Serve(ln) }()
	context.AfterFunc(ctx, func() { _ = disturbed.Close() })
	t.Cleanup(func() { cancel(); <-done })
	return s
}

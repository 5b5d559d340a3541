package rpc

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"o3/api/o3/v1/o3v1connect"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/rpc/rpcerr"
)

const (
	rpcPrefix = "/" + o3v1connect.OMName + "/"
	logPrefix = "/" + o3v1connect.OMLogName + "/"
	s3Prefix  = "/s3/"
)

type mount struct {
	prefix  string
	handler http.Handler
	own     bool // it decides itself who may see it
}

// mounts returns the pages, longest prefix first.
func mounts(admin, own map[string]http.Handler) ([]mount, error) {
	var out []mount
	add := func(option string, pages map[string]http.Handler) error {
		for p, h := range pages {
			below := slices.ContainsFunc([]string{rpcPrefix, logPrefix, s3Prefix}, func(other string) bool { return strings.HasPrefix(p, other) })
			if !strings.HasPrefix(p, "/") || !strings.HasSuffix(p, "/") || below || p == "/" {
				return errs.New(errs.Invalid, option, "prefix "+p+" must begin and end with / and not be / or below "+rpcPrefix+", "+logPrefix+" or "+s3Prefix)
			}
			out = append(out, mount{p, h, option == "rpc.Options.Own"})
		}
		return nil
	}
	if err := errors.Join(add("rpc.Options.Admin", admin), add("rpc.Options.Own", own)); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b mount) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	return out, nil
}

// ServeHTTP routes a request. It is no http.ServeMux because that would
// redirect keys with "//" or "/../" in their names.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, rpcPrefix):
		s.serveRPC(w, r, strings.TrimPrefix(path, rpcPrefix), s.rpc)
		return
	case strings.HasPrefix(path, logPrefix) && s.log != nil:
		s.serveRPC(w, r, strings.TrimPrefix(path, logPrefix), s.log)
		return
	case strings.HasPrefix(path, s3Prefix) && s.opts.S3 != nil:
		s.opts.S3.ServeHTTP(w, r)
		return
	case path == "/healthz":
		r.Pattern = path
		health(w, r, s.opts.Alive)
		return
	case path == "/readyz":
		r.Pattern = path
		health(w, r, s.opts.Ready)
		return
	case path == "/metrics" && s.opts.Metrics != nil:
		r.Pattern = path
		s.opts.Metrics.ServeHTTP(w, r)
		return
	}
	for _, m := range s.pages {
		if strings.HasPrefix(path, m.prefix) {
			r.Pattern = m.prefix
			s.servePage(w, r, m)
			return
		}
	}
	writeJSON(w, errs.New(errs.NotImplemented, shorten(r.Method+" "+path),
		"this port serves RPC (POST "+rpcPrefix+"<method>), object data ("+s3Prefix+"<volume>/<bucket>/<key>), /healthz and /readyz"), http.StatusNotFound)
}

// health answers a health check.
func health(w http.ResponseWriter, r *http.Request, h http.Handler) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	case h != nil:
		h.ServeHTTP(w, r)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "ok\n") // the client may be gone
	}
}

type callerKey struct{}

type caller struct {
	who access.Principal
	err error
}

// Caller returns who called a page of Options.Own, or why that is not known: an
// error of kind Unauthenticated, or of a request that is not what was signed.
func Caller(ctx context.Context) (access.Principal, error) {
	c, ok := ctx.Value(callerKey{}).(caller)
	if !ok {
		return access.Principal{}, errs.New(errs.Unauthenticated, "caller", "not known")
	}
	return c.who, c.err
}

// servePage serves a page that admins may see, or that decides itself.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request, m mount) {
	ctx := s.identify(w, r)
	call := &Call{Procedure: r.URL.Path}
	p, err := s.authenticate(ctx, r, call)
	if m.own {
		if err == nil {
			err = s.bindBody(ctx, w, r, call)
		}
		if err != nil {
			p = access.Principal{AccessKey: call.AccessKey} // that it named
		}
		ctx = context.WithValue(ctx, callerKey{}, caller{p, err})
		m.handler.ServeHTTP(w, r.WithContext(access.NewContext(ctx, p)))
		return
	}
	if err == nil && !p.Admin() {
		err = errs.New(errs.Denied, r.URL.Path, "the page is for admins; user "+p.User+" has role "+string(p.Role))
	}
	if err == nil {
		err = s.bindBody(ctx, w, r, call)
	}
	if err != nil {
		status := http.StatusUnauthorized
		switch errs.KindOf(err) {
		case errs.Denied:
			status = http.StatusForbidden
		case errs.Invalid, errs.TooLarge, errs.BadDigest:
			status = http.StatusBadRequest
		case errs.Unauthenticated:
		default:
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, err, status)
		return
	}
	m.handler.ServeHTTP(w, r.WithContext(access.NewContext(ctx, p)))
}

// writeJSON answers err in the shape of a Connect error.
func writeJSON(w http.ResponseWriter, err error, status int) {
	e := rpcerr.Encode(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": e.Code().String(), "message": e.Message()})
}

// identify gives the request its id.
func (s *Server) identify(w http.ResponseWriter, r *http.Request) context.Context {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	id := hex.EncodeToString(b[:])
	w.Header().Set(RequestIDHeader, id)
	return context.WithValue(r.Context(), requestIDKey{}, id)
}

// serveRPC serves one RPC and tells the listener.
func (s *Server) serveRPC(w http.ResponseWriter, r *http.Request, name string, service http.Handler) {
	begin := time.Now()
	ctx := s.identify(w, r)
	m, known := s.methods[strings.TrimPrefix(r.URL.Path, "/")]
	if known {
		r.Pattern = name
	}
	call := &Call{RequestID: RequestID(ctx), Procedure: shorten(name), Remote: r.RemoteAddr, Write: m.write}
	if s.opts.Listener.Begin != nil {
		s.opts.Listener.Begin(call.Procedure)
	}
	defer func() {
		if s.opts.Listener.End != nil {
			call.Duration = time.Since(begin)
			s.opts.Listener.End(*call)
		}
	}()
	select {
	case s.inFlight <- struct{}{}:
		defer func() { <-s.inFlight }()
	default:
		s.refuse(w, r, call, errs.New(errs.SlowDown, call.Procedure, "too many requests at once: try again later"))
		return
	}
	ctx, err := s.admit(ctx, w, r, call, known)
	if err != nil {
		s.refuse(w, r, call, err)
		return
	}
	if isLarge(r) {
		if err := s.large.Acquire(ctx, 1); err != nil {
			s.refuse(w, r, call, err)
			return
		}
		defer s.large.Release(1)
	}
	if err := s.bindBody(ctx, w, r, call); err != nil {
		s.refuse(w, r, call, err)
		return
	}
	call.Err = errs.Wrap(errs.Invalid, call.Procedure, errDecode) // until the interceptor knows better
	if m.stream {
		out := &streamWriter{w, http.NewResponseController(w)}
		defer out.end()
		w = out
	}
	service.ServeHTTP(w, r.WithContext(context.WithValue(ctx, callKey{}, call)))
}

// streamWriter cuts a stream whose caller takes nothing.
type streamWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

// Write implements http.ResponseWriter.
func (w *streamWriter) Write(p []byte) (int, error) {
	_ = w.rc.SetWriteDeadline(time.Now().Add(streamStall)) // not every writer can
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (w *streamWriter) Flush() {
	_ = w.rc.SetWriteDeadline(time.Now().Add(streamStall))
	_ = w.rc.Flush() // the next write fails too
}

// Unwrap is for http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *streamWriter) end() { _ = w.rc.SetWriteDeadline(time.Time{}) }

// admit decides whether the caller may be heard at all.
func (s *Server) admit(ctx context.Context, w http.ResponseWriter, r *http.Request, call *Call, known bool) (context.Context, error) {
	p, err := s.authenticate(ctx, r, call)
	if err != nil {
		return ctx, err
	}
	call.Principal = p
	if !known {
		return ctx, errs.New(errs.NotImplemented, call.Procedure, "no such method of "+strings.Trim(path.Dir(r.URL.Path), "/"))
	}
	if r.Method != http.MethodPost {
		return ctx, errs.New(errs.Invalid, r.Method+" "+call.Procedure, "a method is called with POST")
	}
	return access.NewContext(ctx, p), nil
}

func isLarge(r *http.Request) bool { return r.ContentLength < 0 || r.ContentLength > largeMessage }

// refuse answers err in the protocol of the request.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, call *Call, err error) {
	call.Err = err
	if s.failure.IsSupported(r) {
		_ = s.failure.Write(w, r, rpcerr.Encode(err)) // the peer is gone
		return
	}
	status := http.StatusBadRequest
	switch errs.KindOf(err) {
	case errs.Unauthenticated:
		status = http.StatusUnauthorized
	case errs.SlowDown, errs.Unavailable:
		status = http.StatusServiceUnavailable
	case errs.NotImplemented:
		status = http.StatusNotFound
	}
	writeJSON(w, err, status)
}

// shorten bounds what a caller can put into logs and metrics.
func shorten(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Serve answers the connections of ln until ctx ends; then it refuses new
// work, lets requests in flight finish for Options.Grace, and returns nil. It
// closes ln. Options.TLS applies.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	var handler http.Handler = s
	if s.opts.Wrap != nil {
		handler = s.opts.Wrap(s)
	}
	srv := &http.Server{
		Handler:           handler,
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          silent(),
	}
	done := make(chan error, 1)
	go func() {
		if s.opts.TLS != nil {
			srv.TLSConfig = s.opts.TLS.Clone()
			done <- srv.ServeTLS(ln, "", "")
			return
		}
		done <- srv.Serve(ln)
	}()
	select {
	case err := <-done:
		_ = srv.Close()
		return errs.Wrap(errs.Internal, ln.Addr().String(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Grace)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		_ = srv.Close() // the grace is over: cut what is left
	}
	<-done
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

var _ http.Handler = (*Server)(nil)

package obs

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The slow-request log writes at most so many lines per second, after a burst.
const (
	slowLogRate  = 10
	slowLogBurst = 100
)

// Request is what is known of an HTTP request when it is over.
type Request struct {
	Listener string // s3, om, recon
	Route    string // from the listener's table of routes: a bounded set
	Code     int    // status; 0 = the connection was cut instead of answered
	Method   string
	Path     string
	From     string // the client's address
	ID       string // the request id the client was given; may be empty
	Took     time.Duration
	Received int64 // bytes of the body read
	Sent     int64 // bytes of the answer's body
	Stream   bool  // it lasts as long as the client wants, and is never slow
}

// Request counts a request that is over, and logs it when it was slow.
func (o *Obs) Request(r Request) {
	if r.Route == "" {
		r.Route = "other"
	}
	code := "aborted"
	if r.Code != 0 {
		code = strconv.Itoa(r.Code)
	}
	o.Counter("o3_http_requests_total", r.Listener, r.Route, code).Inc()
	o.Histogram("o3_http_request_seconds", r.Listener, r.Route).Observe(r.Took.Seconds())
	o.Counter("o3_http_received_bytes_total", r.Listener).Add(float64(r.Received))
	o.Counter("o3_http_sent_bytes_total", r.Listener).Add(float64(r.Sent))
	if o.slow <= 0 || r.Took <= o.slow || r.Stream {
		return
	}
	o.Counter("o3_http_slow_requests_total", r.Listener).Inc()
	if o.slowRate.Allow() {
		o.Log.Warn("slow request", slog.String("listener", r.Listener), slog.String("route", r.Route), slog.String("method", r.Method),
			slog.String("path", r.Path), slog.String("from", r.From), slog.String("request_id", r.ID), slog.String("code", code),
			slog.Duration("took", r.Took), slog.Int64("received", r.Received), slog.Int64("sent", r.Sent))
	}
}

// HTTP says how a handler's requests are observed.
type HTTP struct {
	Listener string
	// Route names the route of a request after it was served, from a bounded
	// set; nil takes the pattern of http.ServeMux.
	Route func(*http.Request) string
	// RequestID is the header of the answer that holds the request's id.
	RequestID string
	Tracer    trace.Tracer // nil = no spans
	Stream    string       // the route whose requests last as long as the client wants
}

// Observe wraps next: it counts, times and traces each request, and logs the
// slow ones. Panics pass through, counted as aborted.
func (o *Obs) Observe(h HTTP, next http.Handler) http.Handler {
	if h.Route == nil {
		h.Route = func(r *http.Request) string { return r.Pattern }
	}
	inFlight := o.Gauge("o3_http_requests_in_flight", h.Listener)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		inFlight.Inc()
		body := &countingBody{ReadCloser: r.Body}
		rw := &recorder{ResponseWriter: w}
		var span trace.Span
		if h.Tracer != nil {
			ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
			ctx, span = h.Tracer.Start(ctx, h.Listener, trace.WithSpanKind(trace.SpanKindServer))
			r = r.WithContext(ctx)
		}
		if r.Body != nil && r.Body != http.NoBody {
			r = r.WithContext(r.Context()) // the caller's request keeps its own body
			r.Body = body
		}
		returned := false
		defer func() {
			inFlight.Dec()
			code := rw.code
			switch {
			case !returned:
				code = 0
			case code == 0:
				code = http.StatusOK
			}
			route := h.Route(r)
			if span != nil {
				finish(span, route, r.Method, code)
			}
			o.Request(Request{
				Listener: h.Listener, Route: route, Code: code, Method: r.Method, Path: r.URL.Path, From: r.RemoteAddr,
				ID: w.Header().Get(h.RequestID), Took: time.Since(start), Received: body.n.Load(), Sent: rw.n,
				Stream: h.Stream != "" && route == h.Stream,
			})
		}()
		next.ServeHTTP(rw, r)
		returned = true
	})
}

func finish(span trace.Span, route, method string, code int) {
	span.SetName(route)
	span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", route), attribute.Int("http.response.status_code", code))
	if code == 0 || code >= 500 {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

type countingBody struct {
	io.ReadCloser
	n atomic.Int64 // a stream may still read while its handler returns
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// recorder remembers the status and counts the bytes of an answer.
type recorder struct {
	http.ResponseWriter
	code int
	n    int64
}

// WriteHeader implements http.ResponseWriter. Informational answers are not the answer.
func (w *recorder) WriteHeader(code int) {
	if w.code == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// ReadFrom lets the connection take bytes from a file without copying them here.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, r)
	w.n += n
	return n, err
}

// Flush implements http.Flusher; RPC streams need it.
func (w *recorder) Flush() {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach deadlines and the like.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

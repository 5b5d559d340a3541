package obs

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is a collector: it takes what is sent and answers with code.
type spans struct {
	mu    sync.Mutex
	code  int
	path  string
	names []string
	trace string
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		in, _ = gzip.NewReader(r.Body)
	}
	body, _ := io.ReadAll(in)
	var m collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.path = r.URL.Path
	for _, rs := range m.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, span := range ss.Spans {
				s.names = append(s.names, ss.Scope.Name+" "+span.Name)
				s.trace = string(span.TraceId)
			}
		}
	}
	w.WriteHeader(s.code)
}

func TestTracing(t *testing.T) {
	c := &spans{code: 200}
	server := httptest.NewServer(c)
	defer server.Close()
	o := New(Options{})
	tracing, err := o.StartTracing(t.Context(), TracingOptions{Endpoint: server.URL, SampleRatio: 1, Node: "om1"})
	if err != nil || !tracing.Enabled() {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{key}", func(http.ResponseWriter, *http.Request) {})
	h := o.Observe(HTTP{Listener: "s3", Tracer: tracing.Tracer("s3")}, mux)
	r := httptest.NewRequest("GET", "/a", nil)
	r.Header.Set("traceparent", "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if err := tracing.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.path != "/v1/traces" || strings.Join(c.names, ",") != "o3/s3 GET /{key}" || !bytes.HasPrefix([]byte(c.trace), []byte{1, 2, 3, 4}) {
		t.Errorf("%s %v %x", c.path, c.names, c.trace)
	}
	has(t, o, "o3_trace_export_errors_total 0")
}

// TestTracingRatio: the share applies where the client did not decide.
func TestTracingRatio(t *testing.T) {
	c := &spans{code: 200}
	server := httptest.NewServer(c)
	defer server.Close()
	o := New(Options{})
	tracing, err := o.StartTracing(t.Context(), TracingOptions{Endpoint: server.URL + "/own/path", SampleRatio: 0})
	if err != nil {
		t.Fatal(err)
	}
	h := o.Observe(HTTP{Listener: "s3", Tracer: tracing.Tracer("s3")}, http.NotFoundHandler())
	for i := range 20 {
		r := httptest.NewRequest("GET", "/a", nil)
		if i == 7 {
			r.Header.Set("traceparent", "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01")
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	if err := tracing.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.names) != 1 || c.path != "/own/path" {
		t.Errorf("%v at %s", c.names, c.path)
	}
}

// TestCollectorAway: spans are lost, counted and told; nothing else happens.
func TestCollectorAway(t *testing.T) {
	server := httptest.NewServer(&spans{code: http.StatusBadRequest})
	defer server.Close()
	var log bytes.Buffer
	o := New(Options{Log: &log})
	tracing, err := o.StartTracing(t.Context(), TracingOptions{Endpoint: server.URL, SampleRatio: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracing.Tracer("x").Start(t.Context(), "x")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := tracing.Close(ctx); err != nil {
		t.Fatal(err)
	}
	has(t, o, "o3_trace_export_errors_total 1")
	if strings.Count(log.String(), "traces not sent") != 1 {
		t.Errorf("the log is %q", log.String())
	}
}

func TestTracingOff(t *testing.T) {
	o := New(Options{})
	tracing, err := o.StartTracing(t.Context(), TracingOptions{})
	if err != nil || tracing.Enabled() {
		t.Fatal(err)
	}
	_, span := tracing.Tracer("x").Start(t.Context(), "x")
	if span.IsRecording() {
		t.Error("it records")
	}
	span.End()
	if err := tracing.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

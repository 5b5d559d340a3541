package obs

import (
	"context"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/time/rate"

	"o3/internal/errs"
)

// TracingOptions is the configuration of tracing.
type TracingOptions struct {
	Endpoint    string  // URL of an OTLP/HTTP collector; without a path, /v1/traces is meant; "" = off
	SampleRatio float64 // share of requests traced when the client did not decide
	Node        string
	Version     string
}

// Tracing makes spans and sends them to the collector. Off, it makes spans
// that cost nothing and sends nothing.
type Tracing struct {
	provider trace.TracerProvider
	sdk      *sdktrace.TracerProvider // nil = off
}

// StartTracing connects to the collector, if there is one; it starts the
// goroutine that sends, which Close ends. A collector that is away loses
// spans, never requests: that is counted, and logged at most once a minute.
func (o *Obs) StartTracing(ctx context.Context, t TracingOptions) (*Tracing, error) {
	if t.Endpoint == "" {
		return &Tracing{provider: noop.NewTracerProvider()}, nil
	}
	endpoint, err := url.Parse(t.Endpoint)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, "tracing endpoint", err)
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint.String()))
	if err != nil {
		return nil, err
	}
	sdk := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&reportingExporter{SpanExporter: exporter, obs: o, limit: rate.Sometimes{First: 1, Interval: time.Minute}}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.SampleRatio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "o3"), attribute.String("service.instance.id", t.Node), attribute.String("service.version", t.Version))),
	)
	return &Tracing{sdk, sdk}, nil
}

// Tracer returns what makes the spans of a component.
func (t *Tracing) Tracer(component string) trace.Tracer { return t.provider.Tracer("o3/" + component) }

// Enabled reports whether spans are sent anywhere.
func (t *Tracing) Enabled() bool { return t.sdk != nil }

// Close sends what waits and stops, at the latest when ctx ends.
func (t *Tracing) Close(ctx context.Context) error {
	if t.sdk == nil {
		return nil
	}
	return t.sdk.Shutdown(ctx)
}

// reportingExporter reports errors here instead of to OpenTelemetry's
// process-wide handler.
type reportingExporter struct {
	sdktrace.SpanExporter
	obs   *Obs
	limit rate.Sometimes
}

func (e *reportingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.obs.Counter("o3_trace_export_errors_total").Inc()
		e.limit.Do(func() { e.obs.Log.Warn("traces not sent", "spans", len(spans), "error", err) })
	}
	return nil
}

// Package obs is what operators see of a node: logs, metrics, traces, health.
//
// It is the only package that knows both the Listener and Stats structs of the
// components and slog, Prometheus and OpenTelemetry: a component reports, an
// adapter here (one file per component) turns the report into log lines and
// metrics. All metrics are rows of one table (table.go), from which
// docs/metrics.md is generated.
//
// Nothing is process-wide: each Obs has its own logger, registry and health,
// so that several nodes live in one process. New starts no goroutine;
// StartTracing does when an endpoint is set, and its Close ends it.
package obs

import (
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"
)

// Options is the configuration of an Obs.
type Options struct {
	Log         io.Writer     // where log lines go; nil discards them
	Format      string        // "json", anything else is text
	Level       slog.Level    // the least severe lines; Obs.SetLevel changes it
	Node        string        // the node's id, in every log line; "" = none
	SlowRequest time.Duration // requests that take longer are logged; 0 = none
	Version     string        // of the program; "" = from the build
}

// Obs is the observability of one node. It is safe for concurrent use.
type Obs struct {
	Log    *slog.Logger
	Health *Health

	level    *slog.LevelVar
	registry *prometheus.Registry
	metrics  metrics
	slow     time.Duration
	slowRate *rate.Limiter
}

// New returns an Obs with its metrics registered and everything at zero.
func New(o Options) *Obs {
	if o.Log == nil {
		o.Log = io.Discard
	}
	build := buildInfo(o.Version)
	obs := &Obs{
		level:    new(slog.LevelVar),
		registry: prometheus.NewRegistry(),
		slow:     o.SlowRequest,
		slowRate: rate.NewLimiter(slowLogRate, slowLogBurst),
	}
	obs.level.Set(o.Level)
	obs.Log = newLogger(o.Log, o.Format, obs.level)
	if o.Node != "" {
		obs.Log = obs.Log.With("node", o.Node)
	}
	obs.Health = &Health{version: build.version, started: time.Now()}
	obs.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	obs.metrics.register(obs.registry)
	obs.Gauge("o3_build_info", build.version, build.revision, build.goVersion).Set(1)
	return obs
}

// SetLevel changes the least severe lines that are logged, from now on.
func (o *Obs) SetLevel(l slog.Level) { o.level.Set(l) }

// MetricsHandler shows every metric in Prometheus' text format.
func (o *Obs) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
	})
}

// Registry returns the registry of the metrics, for collectors that do not
// come from the table.
func (o *Obs) Registry() *prometheus.Registry { return o.registry }

type build struct{ version, revision, goVersion string }

func buildInfo(version string) build {
	b := build{version: version, revision: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.goVersion = info.GoVersion
	if b.version == "" {
		b.version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.revision = s.Value
		}
	}
	return b
}

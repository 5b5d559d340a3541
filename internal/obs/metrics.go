package obs

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

//go:generate go test -run TestMetricsDocument -update .

// metrics are the rows of the table made real.
type metrics struct {
	counters   map[string]*prometheus.CounterVec
	gauges     map[string]*prometheus.GaugeVec
	histograms map[string]*prometheus.HistogramVec
	sampled    map[string]sampledMetric

	mu struct {
		sync.Mutex
		samplers []func(*Sampler)
	}
}

type sampledMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func (m *metrics) register(r prometheus.Registerer) {
	m.counters = map[string]*prometheus.CounterVec{}
	m.gauges = map[string]*prometheus.GaugeVec{}
	m.histograms = map[string]*prometheus.HistogramVec{}
	m.sampled = map[string]sampledMetric{}
	for _, row := range Table() {
		switch {
		case row.Sampled:
			kind := prometheus.GaugeValue
			if row.Type == Counter {
				kind = prometheus.CounterValue
			}
			m.sampled[row.Name] = sampledMetric{prometheus.NewDesc(row.Name, row.Help, row.Labels, nil), kind}
		case row.Type == Counter:
			v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: row.Name, Help: row.Help}, row.Labels)
			m.counters[row.Name] = v
			r.MustRegister(v)
			if len(row.Labels) == 0 {
				v.WithLabelValues() // shown as 0 from the start
			}
		case row.Type == Gauge:
			v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: row.Name, Help: row.Help}, row.Labels)
			m.gauges[row.Name] = v
			r.MustRegister(v)
			if len(row.Labels) == 0 {
				v.WithLabelValues()
			}
		case row.Type == Histogram:
			v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: row.Name, Help: row.Help, Buckets: row.Buckets}, row.Labels)
			m.histograms[row.Name] = v
			r.MustRegister(v)
		}
	}
	r.MustRegister(m)
}

// Counter returns the counter of the table with these label values, in the
// table's order. Adapters look it up once and keep it. It panics when the
// table has no such row: a test would have seen it.
func (o *Obs) Counter(name string, labels ...string) prometheus.Counter {
	v, ok := o.metrics.counters[name]
	if !ok {
		panic("obs: no counter named " + name + " in the table")
	}
	return v.WithLabelValues(labels...)
}

// Gauge is like Counter.
func (o *Obs) Gauge(name string, labels ...string) prometheus.Gauge {
	v, ok := o.metrics.gauges[name]
	if !ok {
		panic("obs: no gauge named " + name + " in the table")
	}
	return v.WithLabelValues(labels...)
}

// Histogram is like Counter.
func (o *Obs) Histogram(name string, labels ...string) prometheus.Observer {
	v, ok := o.metrics.histograms[name]
	if !ok {
		panic("obs: no histogram named " + name + " in the table")
	}
	return v.WithLabelValues(labels...)
}

// Sample calls f at every scrape, from any goroutine, until the process ends:
// f reads a component's Stats and sets rows of the table marked Sampled.
func (o *Obs) Sample(f func(*Sampler)) {
	o.metrics.mu.Lock()
	defer o.metrics.mu.Unlock()
	o.metrics.mu.samplers = append(o.metrics.mu.samplers, f)
}

// Sampler takes the numbers of one scrape.
type Sampler struct {
	metrics *metrics
	out     chan<- prometheus.Metric
}

// Set gives the number of a Sampled row, once per scrape and set of labels. It
// panics when the table has no such row.
func (s *Sampler) Set(name string, value float64, labels ...string) {
	row, ok := s.metrics.sampled[name]
	if !ok {
		panic("obs: no sampled metric named " + name + " in the table")
	}
	s.out <- prometheus.MustNewConstMetric(row.desc, row.kind, value, labels...)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, row := range m.sampled {
		out <- row.desc
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	samplers := slices.Clone(m.mu.samplers)
	m.mu.Unlock()
	for _, f := range samplers {
		f(&Sampler{m, out})
	}
}

// MetricsDocument returns docs/metrics.md.
func MetricsDocument() string {
	var b strings.Builder
	b.WriteString("<!-- Generated from internal/obs/table.go by go generate; do not edit. -->\n# Metrics\n\n" +
		"Shown under `/metrics` on the OM listener, and on that of Recon, unless `ozone.metrics.enabled` is false, together with those of the Go runtime (`go_*`) and the process (`process_*`).\n\n" +
		"| Name | Type | Labels | Unit | Meaning |\n|---|---|---|---|---|\n")
	for _, m := range Table() {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Type, labels, m.Unit, m.Help)
	}
	return b.String()
}

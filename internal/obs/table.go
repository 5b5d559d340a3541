package obs

import "slices"

// MetricType is what a metric's numbers do.
type MetricType uint8

// The types.
const (
	Counter   MetricType = iota // only grows while the process lives
	Gauge                       // goes up and down
	Histogram                   // counts values in Buckets
)

// String names the type as Prometheus does.
func (t MetricType) String() string { return [...]string{"counter", "gauge", "histogram"}[t] }

// Metric is one row of the table.
type Metric struct {
	Name    string
	Type    MetricType
	Unit    string   // of the number: seconds, bytes, requests …
	Labels  []string // each from a bounded set of values
	Help    string   // one sentence without the full stop
	Buckets []float64
	Sampled bool // read from the component at each scrape, by a sampler (Obs.Sample), instead of being counted as it happens
}

// latencyBuckets suit requests from cached reads to uploads of gigabytes, in seconds.
func latencyBuckets() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120, 600}
}

// Table returns every metric of ours, in the order of docs/metrics.md. The Go
// runtime and the process add theirs (go_*, process_*).
func Table() []Metric {
	return slices.Concat(processTable(), storeTable(), raftTable(), blockTable(), reclaimTable(), snapshotTable(), lifecycleTable(), imageTable(), transferTable(), bootstrapTable(), reconTable(), stagingTable())
}

// processTable returns the metrics of the process and its listeners.
func processTable() []Metric {
	return []Metric{
		// The process.
		{Name: "o3_build_info", Type: Gauge, Labels: []string{"version", "revision", "goversion"}, Unit: "1",
			Help: "Always 1; the labels say what runs"},

		// HTTP, every listener.
		{Name: "o3_http_requests_total", Type: Counter, Labels: []string{"listener", "route", "code"}, Unit: "requests",
			Help: "Requests answered; code aborted means that the connection was cut instead"},
		{Name: "o3_http_request_seconds", Type: Histogram, Labels: []string{"listener", "route"}, Unit: "seconds", Buckets: latencyBuckets(),
			Help: "Time from the request's headers to the end of the answer"},
		{Name: "o3_http_requests_in_flight", Type: Gauge, Labels: []string{"listener"}, Unit: "requests",
			Help: "Requests being served"},
		{Name: "o3_http_received_bytes_total", Type: Counter, Labels: []string{"listener"}, Unit: "bytes",
			Help: "Bytes of request bodies read"},
		{Name: "o3_http_sent_bytes_total", Type: Counter, Labels: []string{"listener"}, Unit: "bytes",
			Help: "Bytes of answer bodies written"},
		{Name: "o3_http_slow_requests_total", Type: Counter, Labels: []string{"listener"}, Unit: "requests",
			Help: "Requests that took longer than ozone.log.slow.request; not all of them are logged when there are many"},

		// Audit log.
		{Name: "o3_audit_written_total", Type: Counter, Unit: "records",
			Help: "Audit records written"},
		{Name: "o3_audit_lost_total", Type: Counter, Labels: []string{"reason"}, Unit: "records",
			Help: "Audit records that could not be written (reason full, error or closed)"},
		{Name: "o3_audit_rotations_total", Type: Counter, Unit: "files",
			Help: "Audit files begun because the one before was full"},

		// TLS.
		{Name: "o3_tls_reloads_total", Type: Counter, Labels: []string{"listener", "result"}, Unit: "reloads",
			Help: "Changed certificate files taken into use (ok) or refused (error)"},
		{Name: "o3_tls_certificate_expiry_seconds", Type: Gauge, Labels: []string{"listener"}, Unit: "Unix time", Sampled: true,
			Help: "When the certificate in use expires"},

		// Traces.
		{Name: "o3_trace_export_errors_total", Type: Counter, Unit: "batches",
			Help: "Batches of trace spans that the collector did not take"},
	}
}

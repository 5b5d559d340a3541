package freon

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"o3/internal/cli"
	"o3/internal/errs"
)

// about says what was run.
type about struct {
	Command  string  `json:"command"`
	Endpoint string  `json:"endpoint"`
	Bucket   string  `json:"bucket"`
	Size     string  `json:"size"`
	Keys     int64   `json:"keys,omitempty"` // that were there
	Mix      string  `json:"mix,omitempty"`
	Threads  int     `json:"threads"`
	Rate     float64 `json:"rate,omitempty"` // operations per second that were due
	Seed     uint64  `json:"seed"`
}

// Result is the report of a run, as --json prints it. Times are milliseconds,
// unless the name says otherwise; a MiB is 2^20 bytes.
type Result struct {
	about
	Seconds    float64     `json:"seconds"` // from the first to the end of the last operation
	Total      Operation   `json:"total"`
	Operations []Operation `json:"operations"`
	Failures   []Failure   `json:"failures,omitempty"`
	Unbegun    int64       `json:"unbegun,omitempty"` // operations that were due and that no client had time to begin
	GaveUp     bool        `json:"gaveUp,omitempty"`  // after too many errors
	Client     CPU         `json:"clientCPU"`
	Server     *CPU        `json:"serverCPU,omitempty"`
}

// Operation is what is known of one kind of operation. Latencies are of those
// that succeeded.
type Operation struct {
	Name          string  `json:"name"`
	Count         int64   `json:"count"` // that succeeded
	Errors        int64   `json:"errors"`
	PerSecond     float64 `json:"perSecond"`
	MiBPerSecond  float64 `json:"mibPerSecond"`
	KeysPerSecond float64 `json:"keysPerSecond,omitempty"` // of listings
	Mean          float64 `json:"mean"`
	P50           float64 `json:"p50"`
	P90           float64 `json:"p90"`
	P99           float64 `json:"p99"`
	P999          float64 `json:"p999"`
	Max           float64 `json:"max"`
}

// Failure is how often operations failed in one way.
type Failure struct {
	Operation string `json:"operation"`
	Kind      string `json:"kind"`
	Count     int64  `json:"count"`
	Example   string `json:"example"`
}

// CPU is the processor time of one side, user and system.
type CPU struct {
	Seconds      float64 `json:"seconds"`
	PerOperation float64 `json:"microsPerOperation"`
	Cores        float64 `json:"cores"` // in use on average
}

// report makes the report of a run.
func report(a about, ops []string, m *measured, used *meter) *Result {
	r := &Result{about: a, Seconds: m.took.Seconds(), Unbegun: m.unbegun, GaveUp: m.gaveUp}
	all := new(histogram)
	var bytes, items, failed int64
	for i, name := range ops {
		h := &m.latency[i]
		all.merge(h)
		bytes, items, failed = bytes+m.bytes[i], items+m.items[i], failed+m.failures.of(i)
		r.Operations = append(r.Operations, operation(name, h, m.bytes[i], m.items[i], m.failures.of(i), m.took))
	}
	r.Total = operation("total", all, bytes, items, failed, m.took)
	for _, id := range m.failures.ordered() {
		one := m.failures[id]
		r.Failures = append(r.Failures, Failure{ops[id.op], id.kind, one.count, one.example})
	}
	done := int64(all.n) + failed
	r.Client = cpu(used.client, done, m.took)
	if used.measuredServ {
		server := cpu(used.serverUsed, done, m.took)
		r.Server = &server
	}
	return r
}

func operation(name string, h *histogram, bytes, items, failed int64, took time.Duration) Operation {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	o := Operation{
		Name: name, Count: int64(h.n), Errors: failed, Mean: ms(h.mean()), Max: ms(h.max),
		P50: ms(h.at(.5)), P90: ms(h.at(.9)), P99: ms(h.at(.99)), P999: ms(h.at(.999)),
	}
	if s := took.Seconds(); s > 0 {
		o.PerSecond, o.MiBPerSecond, o.KeysPerSecond = float64(h.n)/s, float64(bytes)/s/(1<<20), float64(items)/s
	}
	return o
}

func cpu(used time.Duration, operations int64, took time.Duration) CPU {
	c := CPU{Seconds: used.Seconds()}
	if operations > 0 {
		c.PerOperation = float64(used.Microseconds()) / float64(operations)
	}
	if took > 0 {
		c.Cores = used.Seconds() / took.Seconds()
	}
	return c
}

// print writes the report: as JSON, or for people.
func (r *Result) print(s *cli.Session) error {
	var err error
	if s.JSON {
		err = json.NewEncoder(s.Stdout).Encode(r)
	} else {
		err = r.table(s.Stdout)
	}
	if err != nil {
		return errs.Wrap(errs.Internal, "writing the output", err)
	}
	return nil
}

// table writes the report for people.
func (r *Result) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	loop := "closed loop"
	if r.Rate > 0 {
		loop = fmt.Sprintf("open loop, %g per second due", r.Rate)
	}
	fmt.Fprintf(out, "%s %s, bucket %s, %d clients, size %s, %s, seed %d, %.1f s\n\n", r.Command, r.Endpoint, r.Bucket, r.Threads, r.Size, loop, r.Seed, r.Seconds)
	fmt.Fprint(w, "operation\tcount\terrors\tops/s\tMiB/s\tkeys/s\tmean ms\tp50\tp90\tp99\tp99.9\tmax\t\n")
	rows := r.Operations
	if len(rows) > 1 {
		rows = append(rows[:len(rows):len(rows)], r.Total)
	}
	for _, o := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%.2f\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n",
			o.Name, o.Count, o.Errors, o.PerSecond, o.MiBPerSecond, o.KeysPerSecond, o.Mean, o.P50, o.P90, o.P99, o.P999, o.Max)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nclient CPU  %.1f µs per operation, %.2f cores\n", r.Client.PerOperation, r.Client.Cores)
	if r.Server != nil {
		fmt.Fprintf(out, "server CPU  %.1f µs per operation, %.2f cores\n", r.Server.PerOperation, r.Server.Cores)
	}
	if r.Unbegun > 0 {
		fmt.Fprintf(out, "the server or the %d clients were too slow: %d operations were due and not begun\n", r.Threads, r.Unbegun)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(out, "%d × %s: %s, such as: %s\n", f.Count, f.Operation, f.Kind, f.Example)
	}
	if r.GaveUp {
		fmt.Fprintln(out, "gave up: too many errors")
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// reconResult is the result of the recon run.
type reconResult struct {
	Rebuilds []rebuildResult
	Delta    []deltaTime
	Lag      []lagTime
	Cost     []costTime
}

// deltaTime is a Recon that catches up.
type deltaTime struct {
	Entries, Requests int64
	Seconds           float64
}

// lagTime is how far Recon is behind while clients write at a steady rate.
type lagTime struct {
	Where                   string
	PerSecond               float64 // writes
	Samples                 int
	Entries50, Entries99    float64
	Seconds50, Seconds99    float64
	SecondsMost             float64
	EntriesMost, Unanswered int64
}

// costTime is a load with and without Recon.
type costTime struct {
	Where          string
	Alone, Beside  float64 // writes per second
	AloneP99, P99  float64 // milliseconds
	Behind         int64   // entries that Recon was behind when the load ended
	CaughtUp       float64 // seconds until it was not
	OMCPU, CPUMore float64 // µs of the OM's process per write, alone and beside
}

// recon measures Recon.
func (s *settings) recon(ctx context.Context, l *lab) error {
	begin, before := time.Now(), loadAverage()
	r := new(reconResult)
	for _, step := range []func(context.Context, *lab, *reconResult) error{s.rebuilds, s.following} {
		if err := step(ctx, l, r); err != nil {
			return err
		}
	}
	return s.save("recon", r, s.reconText(r, before, time.Since(begin))+l.remarks())
}

func (s *settings) reconText(r *reconResult, load string, took time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	const mib = 1 << 20
	p("Machine: %s. OM, Recon and load share it. One-minute load average before the run %s, after it %s; %s in all.\n", machine(), load, loadAverage(), took.Round(time.Second))
	p("| Keys | rebuild of all tables, keys/s | raw scan, keys/s | share | CPU µs per key | of the scan | derived rows | spilled MiB | memory before, MiB | peak, MiB |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, i := range r.Rebuilds {
		n := float64(i.Keys)
		p("| %d | %.0f | %.0f | **%.2f** | %.2f | %.2f | %d | %d | %d | %d |", i.Keys, n/i.Took, n/i.Scan, i.Scan/i.Took, 1e6*i.CPU/n, 1e6*i.ScanCPU/n, i.Written, i.Spilled/mib, i.Before/mib, i.Peak/mib)
	}
	if n := len(r.Rebuilds); n > 0 {
		last := r.Rebuilds[n-1]
		p("\n| Task, rebuild of %d keys | rows read | rows written | seconds of its own, all threads |\n|---|---|---|---|", last.Keys)
		for _, t := range last.Tasks {
			p("| %s | %d | %d | %.2f |", t.Task, t.Rows, t.Written, t.Took.Seconds())
		}
	}
	p("\n| Catching up on a log | entries | requests | seconds | requests/s |\n|---|---|---|---|---|")
	for i, d := range r.Delta {
		p("| round %d | %d | %d | %.2f | **%.0f** |", i+1, d.Entries, d.Requests, d.Seconds, float64(d.Requests)/d.Seconds)
	}
	p("\n| Behind the OM | writes/s | samples | entries, median | p99 | most | ms, median | p99 | most |\n|---|---|---|---|---|---|---|---|---|")
	for _, i := range r.Lag {
		p("| %s | %.0f | %d | %.0f | %.0f | %d | %.0f | %.0f | %.0f |", i.Where, i.PerSecond, i.Samples, i.Entries50, i.Entries99, i.EntriesMost, 1000*i.Seconds50, 1000*i.Seconds99, 1000*i.SecondsMost)
	}
	p("\n| Recon attached | writes/s without | with | share | p99 ms without | with | CPU µs per write of the OM's process, without | with | entries behind at the end | s to catch up |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, i := range r.Cost {
		p("| %s | %.0f | %.0f | **%.2f** | %.1f | %.1f | %.0f | %.0f | %d | %.2f |", i.Where, i.Alone, i.Beside, i.Beside/i.Alone, i.AloneP99, i.P99, i.OMCPU, i.CPUMore, i.Behind, i.CaughtUp)
	}
	return b.String()
}

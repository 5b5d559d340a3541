package freon

import (
	"context"
	"fmt"

	"o3/internal/cli"
	"o3/internal/errs"
	"o3/internal/progress"
)

// optionalKeys is a --keys that may be 0.
type optionalKeys int64

func (k optionalKeys) check() error {
	if k < 0 || k > maxKeys {
		return errs.New(errs.Invalid, fmt.Sprintf("--keys %d", int64(k)), "it must be from 0 to 1000000000")
	}
	return nil
}

// numbers returns the key that operation n puts.
func (f *loadFlags) numbers(wrap int64) func(n uint64) uint64 {
	start := f.Start
	if wrap == 0 {
		return func(n uint64) uint64 { return start + n }
	}
	return func(n uint64) uint64 { return start + n%uint64(wrap) }
}

// prepare does count operations of j, with a bar.
func prepare(ctx context.Context, s *cli.Session, clients int, count int64, j job) error {
	bar := progress.Start(progress.Options{Label: "preparing", Total: count, Unit: "keys", Out: s.Stderr, Quiet: s.Quiet || s.JSON})
	defer bar.Close()
	return each(ctx, clients, count, j, bar.Add)
}

// measure runs j, prints the report, and returns the error of operations that
// failed.
func (f *loadFlags) measure(ctx context.Context, s *cli.Session, a about, j job) error {
	m := &meter{ctx: ctx, server: serverCPU(f.ServerPID, f.ServerMetrics)}
	if m.server != nil {
		if _, err := m.server(ctx); err != nil { // before the load, not after it
			return err
		}
	}
	bar := progress.Start(progress.Options{Label: a.Command, Total: f.Count, Unit: "operations", Out: s.Stderr, Quiet: s.Quiet || s.JSON})
	got, err := run(ctx, plan{
		clients: f.Threads, count: f.Count, duration: f.Duration, warmup: f.Warmup, rate: f.Rate, maxErrors: f.MaxErrors,
		begun: m.begin, ended: m.end, done: bar.Add,
	}, j)
	bar.Close()
	if err != nil {
		return err
	}
	a.Threads, a.Rate, a.Seed = f.Threads, f.Rate, f.Seed
	r := report(a, j.ops, got, m)
	if err := r.print(s); err != nil {
		return err
	}
	switch {
	case len(got.failures) > 0:
		return got.failures.err(a.Command)
	case got.canceled:
		return errs.New(errs.Canceled, a.Command, "interrupted")
	case m.err != nil:
		return m.err
	}
	return nil
}

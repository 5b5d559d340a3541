package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"o3/internal/freon"
	"o3/internal/s3/sigv4"
)

// profile saves CPU profiles of the server under load, and what `go tool
// pprof` says of them.
func (s *settings) profile(ctx context.Context, l *lab) error {
	o3, err := l.startO3(filepath.Join(l.dir, "data"), "ozone.profiler.enabled=true")
	if err != nil {
		return err
	}
	defer o3.stop(false) // its data go anyway
	type load struct {
		name     string
		endpoint string
		args     []string
		before   []string // makes what is needed
	}
	seconds := int(s.duration.Seconds())
	long := fmt.Sprint(s.duration + 2*s.warmup)
	for _, c := range []load{
		{"put4k", o3.s3, []string{"s3put", "-t", "32", "-d", long}, nil},
		{"get4k", o3.s3, []string{"s3get", "-t", "32", "-d", long, "-k", "2000"}, nil},
		{"head", o3.s3, []string{"s3head", "-t", "32", "-d", long, "-k", "2000"}, nil},
		{"list", o3.s3, []string{"s3list", "-t", "32", "-d", long, "-k", "2000"}, nil},
		{"delete", o3.s3, []string{"s3delete", "-t", "32", "-d", long, "-k", "100000", "--prefix", "gone/"},
			[]string{"s3put", "-t", "64", "-n", "100000", "--prefix", "gone/"}},
		{"put1m", o3.s3, []string{"s3put", "-t", "32", "-d", long, "--size", "1MB", "--prefix", "large/", "--keys", "1000"}, nil},
		{"get1m", o3.s3, []string{"s3get", "-t", "32", "-d", long, "--size", "1MB", "--prefix", "large/", "-k", "500"}, nil},
		{"omkg", o3.om, []string{"omkg", "-t", "128", "-d", long, "--prefix", "om/"}, nil},
		{"ommg", o3.om, []string{"ommg", "-t", "128", "-d", long, "--prefix", "om/", "-k", "2000"}, nil},
	} {
		if c.before != nil {
			if _, err := l.freon(ctx, o3, c.endpoint, c.before...); err != nil {
				return err
			}
		}
		got := make(chan error, 1)
		go func() { got <- s.fetchProfile(ctx, o3.om, c.name, seconds) }()
		r, err := l.freon(ctx, o3, c.endpoint, c.args...)
		if profErr := <-got; err == nil {
			err = profErr
		}
		if err != nil {
			return err
		}
		say("%s: %s", c.name, line(r))
		for _, order := range []string{"-flat", "-cum"} {
			text := filepath.Join(s.out, c.name+order+".txt")
			out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", order, "-nodecount=90", l.o3, filepath.Join(s.out, c.name+".pprof")).Output()
			if err != nil {
				return err
			}
			if err := os.WriteFile(text, out, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func line(r *freon.Result) string {
	return fmt.Sprintf("%.0f/s, p50 %.2f ms, p99 %.2f ms, server %.0f µs, client %.0f µs", r.Total.PerSecond, r.Total.P50, r.Total.P99, r.Server.PerOperation, r.Client.PerOperation)
}

// fetchProfile saves a CPU profile of the server at the OM URL.
func (s *settings) fetchProfile(ctx context.Context, om, name string, seconds int) error {
	select {
	case <-time.After(s.warmup):
	case <-ctx.Done():
		return ctx.Err()
	}
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", om, seconds), nil)
	if err != nil {
		return err
	}
	sign := &sigv4.Signer{AccessKeyID: accessKey, Secret: secretKey, Region: "us-east-1", Service: "o3"}
	sign.Sign(r, sigv4.EmptySHA256, time.Now())
	raw, err := get(ctx, r, 64<<20)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.out, name+".pprof"), raw, 0o644)
}

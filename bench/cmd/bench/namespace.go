package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"o3/internal/freon"
)

// namespaceResult is the result of the namespace run.
type namespaceResult struct {
	Keys     int
	RowBytes rowSizes
	Core     []coreResult // in one process, no network
	API      []apiResult  // over the OM API
	Restarts []restart
	DiskPerKey,
	LogDisk float64 // bytes; of the store per key, of the Raft log in all
}

type apiResult struct {
	Operation    string
	Clients      int
	PerSecond    float64 // keys per second for lists
	P50, P99     float64
	ServerMicros float64
	ClientMicros float64
}

type restart struct {
	How      string
	Seconds  float64 // until the endpoints are printed
	Resident int64   // bytes, right after
}

// namespace measures the namespace: over the OM API, in one process without a
// network, and the raw store below it with rows of the same sizes; then how
// long a server with all the keys takes to start.
func (s *settings) namespace(ctx context.Context, l *lab) error {
	begin, before := time.Now(), loadAverage()
	data := filepath.Join(l.dir, "o3-data")
	r := &namespaceResult{Keys: s.keys}
	if err := s.overAPI(ctx, l, data, r); err != nil {
		return err
	}
	if err := s.inProcess(ctx, data, filepath.Join(l.dir, "raw"), r); err != nil {
		return err
	}
	if err := s.restarts(ctx, l, data, r); err != nil {
		return err
	}
	return s.save("namespace", r, s.namespaceText(r, before, time.Since(begin))+l.remarks())
}

// overAPI measures calls of the OM API, a request at a time for each client.
func (s *settings) overAPI(ctx context.Context, l *lab, data string, r *namespaceResult) error {
	o3, err := l.startO3(data)
	if err != nil {
		return err
	}
	for _, clients := range s.clients {
		for _, c := range []struct {
			op   string
			args []string
		}{
			{"create", []string{"omkg", "--bucket", fmt.Sprintf("api-%d", clients)}},
			{"lookup", []string{"ommg", "--bucket", fmt.Sprintf("api-%d", clients), "-k", "500"}},
			{"list", []string{"omlist", "--bucket", fmt.Sprintf("api-%d", clients), "-k", "500"}},
		} {
			args := append(c.args, "-t", fmt.Sprint(clients), "-d", s.duration.String(), "--warmup", s.warmup.String())
			got, err := l.freon(ctx, o3, o3.om, args...)
			if err != nil {
				_ = o3.stop(true) // the first error matters
				return err
			}
			say("%s over the API × %d: %s", c.op, clients, line(got))
			r.API = append(r.API, api(c.op, clients, got))
		}
	}
	return o3.stop(false)
}

func api(op string, clients int, r *freon.Result) apiResult {
	a := apiResult{
		Operation: op, Clients: clients, PerSecond: r.Total.PerSecond, P50: r.Total.P50, P99: r.Total.P99,
		ServerMicros: r.Server.PerOperation, ClientMicros: r.Client.PerOperation,
	}
	if op == "list" {
		a.PerSecond = r.Total.KeysPerSecond
	}
	return a
}

// restarts measures how soon a server with all the keys serves again.
func (s *settings) restarts(ctx context.Context, l *lab, data string, r *namespaceResult) error {
	r.DiskPerKey = float64(diskUse(filepath.Join(data, "om", "store"))) / float64(s.keys)
	r.LogDisk = float64(diskUse(filepath.Join(data, "om", "raft")))
	for _, how := range []string{"after an orderly stop", "after kill -9 under load"} {
		o3, err := l.startO3(data)
		if err != nil {
			return err
		}
		r.Restarts = append(r.Restarts, restart{how, o3.took.Seconds(), resident(o3.pid())})
		say("restart %s: %v, %d MiB", how, o3.took, resident(o3.pid())>>20)
		if len(r.Restarts) == 2 {
			return o3.stop(true)
		}
		// The next one comes after a crash with work in the log.
		_, err = l.freon(ctx, o3, o3.om, "omkg", "--bucket", "crash", "-t", "128", "-d", s.duration.String())
		if stopErr := o3.stop(true); err == nil {
			err = stopErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// diskUse returns the bytes of the files below dir.
func diskUse(dir string) (sum int64) {
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil // a file that goes away meanwhile does not count
	})
	return sum
}

// resident returns the memory of a process, in bytes.
func resident(pid string) int64 {
	raw, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	var kb int64
	if _, err := fmt.Sscanf(strings.TrimSpace(rest), "%d kB", &kb); err != nil {
		return 0
	}
	return kb << 10
}

func (s *settings) namespaceText(r *namespaceResult, load string, took time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Machine: %s. One-minute load average before the run %s; %s in all. %d keys; a key's row has %d bytes of key and %d of value.\n",
		machine(), load, took.Round(time.Second), r.Keys, r.RowBytes.Key, r.RowBytes.Value)
	p("| In one process, durable | callers | per second | CPU µs | compared with | per second | CPU µs | share by rate | share by CPU |\n|---|---|---|---|---|---|---|---|---|")
	for _, c := range r.Core {
		p("| %s | %d | %s | %.2f | %s × %d | %s | %.2f | **%.0f %%** | **%.0f %%** |", c.Operation, c.Callers, rate(c.Ours.PerSecond), c.Ours.Micros,
			c.RawName, c.RawCallers, rate(c.Raw.PerSecond), c.Raw.Micros, 100*c.Ours.PerSecond/c.Raw.PerSecond, 100*c.Raw.Micros/c.Ours.Micros)
	}
	p("\n| Over the OM API | clients | per second | p50, p99 ms | server CPU µs | client CPU µs |\n|---|---|---|---|---|---|")
	for _, a := range r.API {
		p("| %s | %d | %s | %.2f, %.2f | %.0f | %.0f |", a.Operation, a.Clients, rate(a.PerSecond), a.P50, a.P99, a.ServerMicros, a.ClientMicros)
	}
	p("\nList rates are keys per second, in pages of 1,000.\n")
	p("| With %d keys | seconds until it serves | resident MiB |\n|---|---|---|", r.Keys)
	for _, one := range r.Restarts {
		p("| start %s | %.2f | %d |", one.How, one.Seconds, one.Resident>>20)
	}
	p("\nOn disk: %.0f bytes per key in the store, %.1f MiB of Raft log; a resident set of %.0f bytes per key.", r.DiskPerKey, r.LogDisk/(1<<20),
		float64(r.Restarts[0].Resident)/float64(r.Keys))
	return b.String()
}

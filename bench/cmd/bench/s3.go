package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"o3/internal/freon"
)

// scene is one comparison: an operation, a size and a number of clients.
type scene struct {
	Operation string
	Size      string
	Clients   int
	O3        figure
	Versity   figure
}

// figure is the median of the rounds of one server.
type figure struct {
	PerSecond, MiBPerSecond float64
	P50, P99                float64 // ms
	ServerMicros            float64 // CPU per request
	ClientMicros            float64
	Rounds                  []float64 // requests per second of each
}

// s3 compares O3 with versitygw over a directory of the same disk. The servers
// run side by side, one of them idle, and take turns request kind by request
// kind, so that what else happens on the machine meets both.
func (s *settings) s3(ctx context.Context, l *lab) error {
	begin := time.Now()
	before := loadAverage()
	o3, err := l.startO3(filepath.Join(l.dir, "o3-data"))
	if err != nil {
		return err
	}
	defer o3.stop(true) // its data go anyway
	versity, err := l.startVersity(ctx, filepath.Join(l.dir, "versitygw-data"))
	if err != nil {
		return err
	}
	defer versity.stop(true)
	var scenes []scene
	for _, kind := range []struct{ size, op string }{
		{"4KB", "s3put"}, {"4KB", "s3get"}, {"4KB", "s3head"}, {"4KB", "s3list"}, {"4KB", "s3delete"},
		{"1MB", "s3put"}, {"1MB", "s3get"}, {"1MB", "s3delete"},
	} {
		for _, clients := range s.clients {
			sc := scene{Operation: strings.ToUpper(strings.TrimPrefix(kind.op, "s3")), Size: kind.size, Clients: clients}
			results := map[*server][]*freon.Result{}
			for round := range s.rounds {
				order := []*server{o3, versity}
				if round%2 == 1 {
					slices.Reverse(order)
				}
				for _, server := range order {
					r, err := s.scene(ctx, l, server, kind.op, kind.size, clients, round)
					if err != nil {
						return err
					}
					results[server] = append(results[server], r)
					say("%-9s %-8s %s × %d: %s", server.name, kind.op, kind.size, clients, line(r))
				}
			}
			sc.O3, sc.Versity = median(results[o3]), median(results[versity])
			scenes = append(scenes, sc)
		}
	}
	text := s.comparison(scenes, before, time.Since(begin))
	return s.save("s3", scenes, text+l.remarks())
}

// The keys that reads find, and the most that puts make, by size.
func population(size string) (keys, puts int) {
	if size == "1MB" {
		return 256, 2000
	}
	return 10_000, 200_000
}

// scene measures one operation on one server. What it needs is made before,
// and the disk is quiet when it begins.
func (s *settings) scene(ctx context.Context, l *lab, server *server, op, size string, clients, round int) (*freon.Result, error) {
	keys, puts := population(size)
	read := "read-" + strings.ToLower(size)
	fresh := fmt.Sprintf("%s-%s-%d-%d", op, strings.ToLower(size), clients, round)
	args := []string{op, "--size", size, "-t", fmt.Sprint(clients), "-d", s.duration.String()}
	warmup := []string{"--warmup", s.warmup.String()}
	make := func(bucket string, n int) error {
		_, err := l.freon(ctx, server, server.s3, "s3put", "--size", size, "-t", "32", "-n", fmt.Sprint(n), "-d", "5m", "--bucket", bucket)
		return err
	}
	switch op {
	case "s3put":
		args = append(append(args, warmup...), "--bucket", fresh, "-n", fmt.Sprint(puts))
	case "s3delete":
		n := keys
		if size == "1MB" {
			n = 1000
		}
		if err := make(fresh, n); err != nil {
			return nil, err
		}
		args = append(args, "--bucket", fresh, "-k", fmt.Sprint(n))
	default:
		if round == 0 && op == "s3get" && clients == s.clients[0] {
			if err := make(read, keys); err != nil {
				return nil, err
			}
		}
		args = append(append(args, warmup...), "--bucket", read, "-k", fmt.Sprint(keys))
	}
	syscall.Sync() // what a server left to the system to write does not burden the next run
	return l.freon(ctx, server, server.s3, args...)
}

// median returns the round in the middle, by rate.
func median(rounds []*freon.Result) figure {
	sorted := slices.Clone(rounds)
	slices.SortFunc(sorted, func(a, b *freon.Result) int { return cmp.Compare(a.Total.PerSecond, b.Total.PerSecond) })
	r := sorted[len(sorted)/2]
	f := figure{
		PerSecond: r.Total.PerSecond, MiBPerSecond: r.Total.MiBPerSecond, P50: r.Total.P50, P99: r.Total.P99,
		ServerMicros: r.Server.PerOperation, ClientMicros: r.Client.PerOperation,
	}
	for _, r := range rounds {
		f.Rounds = append(f.Rounds, r.Total.PerSecond)
	}
	return f
}

func (s *settings) comparison(scenes []scene, load string, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Machine: %s. Client and server share it. %s of each run after %s of warm-up, median of %d rounds; one-minute load average before the first %s; %s in all.\n\n",
		machine(), s.duration, s.warmup, s.rounds, load, took.Round(time.Second))
	b.WriteString("| | Clients | O3 /s | versitygw /s | ratio | O3 p50, p99 ms | versitygw p50, p99 ms | O3 server CPU µs | versitygw server CPU µs | ratio | rounds: O3; versitygw |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range scenes {
		what := c.Operation
		if c.Operation == "PUT" || c.Operation == "GET" || c.Operation == "DELETE" {
			what = c.Size + " " + what
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | **%.2f** | %.2f, %.2f | %.2f, %.2f | %.0f | %.0f | **%.2f** | %s; %s |\n",
			what, c.Clients, rate(c.O3.PerSecond), rate(c.Versity.PerSecond), c.O3.PerSecond/c.Versity.PerSecond,
			c.O3.P50, c.O3.P99, c.Versity.P50, c.Versity.P99, c.O3.ServerMicros, c.Versity.ServerMicros, c.O3.ServerMicros/c.Versity.ServerMicros,
			rates(c.O3.Rounds), rates(c.Versity.Rounds))
	}
	return b.String()
}

func rate(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

func rates(all []float64) string {
	var out []string
	for _, v := range all {
		out = append(out, rate(v))
	}
	return strings.Join(out, " ")
}

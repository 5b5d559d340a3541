// Command bench makes the figures of docs/performance.md. It builds what it
// measures, starts it on the loopback interface with its data in a temporary
// directory, and removes that directory at the end.
//
//	go run ./cmd/bench s3          O3 beside versitygw, through S3
//	go run ./cmd/bench namespace   the namespace beside raw Pebble; restart, memory, disk
//	go run ./cmd/bench snapshots   snapshots and their diffs
//	go run ./cmd/bench recon       Recon: rebuilds, following, what it costs the OM
//	go run ./cmd/bench staging     Recon's stages: their cost beside rebuilds in place, the API meanwhile
//	go run ./cmd/bench lifecycle   lifecycle scans
//	go run ./cmd/bench profile     CPU profiles of the server under load
//	go run ./cmd/bench docs        put the results into docs/performance.md
//
// Results are JSON and Markdown files below --out (results/).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are the flags of all commands.
type settings struct {
	duration time.Duration
	warmup   time.Duration
	clients  []int
	rounds   int
	keys     int
	out      string
	work     string
	keep     bool
	profiles bool
	set      []string // -D of the O3 server
	root     string   // of the module o3
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what: s3, namespace, snapshots, bootstrap, recon, staging, lifecycle, profile or docs")
	}
	if args[0] == rebuildCommand && len(args) == 2 {
		return rebuildHere(ctx, args[1])
	}
	if args[0] == stagingCommand && len(args) == 2 {
		return stagingHere(ctx, args[1])
	}
	s, err := parse(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	if args[0] == "docs" {
		return s.docs()
	}
	commands := map[string]func(context.Context, *lab) error{"s3": s.s3, "namespace": s.namespace, "snapshots": s.snapshots, "bootstrap": s.bootstrap, "recon": s.recon, "staging": s.staging, "lifecycle": s.lifecycle, "profile": s.profile}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("%q is none of s3, namespace, snapshots, bootstrap, recon, staging, lifecycle, profile, docs", args[0])
	}
	l, err := newLab(ctx, s)
	if err != nil {
		return err
	}
	defer l.close()
	return command(ctx, l)
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.DurationVar(&s.duration, "duration", 5*time.Second, "measured time of one run; at most 1m")
	f.DurationVar(&s.warmup, "warmup", time.Second, "time before it")
	clients := f.String("clients", "1,32,128", "numbers of clients")
	f.IntVar(&s.rounds, "rounds", 3, "how often each run is repeated; the median counts")
	f.IntVar(&s.keys, "keys", 1_000_000, "keys of the namespace, the most where there are several; at most 10000000, of staging 100000000")
	f.StringVar(&s.out, "out", "results", "where results go")
	f.StringVar(&s.work, "work", "", "where temporary data go; default: the system's temporary directory")
	f.BoolVar(&s.keep, "keep", false, "keep the temporary directory")
	f.BoolVar(&s.profiles, "profiles", false, "save CPU profiles of the namespace in one process, and of a server with Recon")
	f.Func("D", "key=value for the O3 server; may be repeated", func(v string) error { s.set = append(s.set, v); return nil })
	if err := f.Parse(args[1:]); err != nil {
		return nil, err
	}
	for _, one := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(one)
		if err != nil || n < 1 || n > 4096 {
			return nil, fmt.Errorf("--clients %s: must be numbers from 1 to 4096", *clients)
		}
		s.clients = append(s.clients, n)
	}
	most := 10_000_000
	if args[0] == "staging" {
		most = 100_000_000
	}
	if s.duration <= 0 || s.duration > time.Minute || s.warmup < 0 || s.warmup > time.Minute || s.rounds < 1 || s.rounds > 9 || s.keys < 1000 || s.keys > most {
		return nil, fmt.Errorf("a flag is out of its bounds: see --help")
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s.root = filepath.Dir(here)
	if _, err := os.Stat(filepath.Join(s.root, "cmd", "o3")); err != nil {
		return nil, fmt.Errorf("run it in the directory bench of the tree")
	}
	return s, nil
}

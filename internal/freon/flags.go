package freon

import (
	"fmt"
	"math/rand/v2"
	"time"

	"o3/internal/errs"
)

// The bounds of a run.
const (
	defaultDuration = 10 * time.Second
	countedDuration = 10 * time.Minute // where only a count was given
	maxDuration     = 24 * time.Hour
	maxCount        = 1_000_000_000
	maxThreads      = 4096
	maxKeys         = 1_000_000_000
)

// loadFlags say how much load, and how it is measured.
type loadFlags struct {
	Threads        int           `short:"t" default:"32" help:"Clients that work at the same time, each with a connection of its own; at most 4096."`
	Duration       time.Duration `short:"d" help:"How long to measure, at most 24h (default: 10s; 10m with --count)."`
	Count          int64         `short:"n" help:"End after so many operations (0: only the time ends it)."`
	Warmup         time.Duration `help:"How long to run before measuring begins."`
	Rate           float64       `help:"Open loop: so many operations per second are due, and latency counts from when each was due (0: closed loop, each client waits for its answer)."`
	Prefix         string        `default:"freon/" help:"What the names of the keys begin with."`
	Dirs           int           `help:"Spread the keys over so many directories below the prefix (0: none)."`
	Start          uint64        `help:"Number of the first key that is put or created."`
	Seed           uint64        `default:"1" help:"Of contents and of random choices; 0 chooses one and prints it."`
	MaxErrors      int64         `default:"100" help:"Give up after more errors than these."`
	RequestTimeout time.Duration `default:"60s" help:"Time for one operation."`
	ServerPID      int           `name:"server-pid" placeholder:"PID" help:"Process of the server on this machine, to show its CPU time per operation."`
	ServerMetrics  string        `placeholder:"URL" help:"Prometheus page of the server instead, such as http://127.0.0.1:9874/metrics."`
}

// check returns what is wrong with the flags, and puts the defaults in.
func (f *loadFlags) check() error {
	bad := func(flag string, value any, want string) error {
		return errs.New(errs.Invalid, fmt.Sprintf("--%s %v", flag, value), "it must be "+want)
	}
	switch {
	case f.Threads < 1 || f.Threads > maxThreads:
		return bad("threads", f.Threads, "from 1 to 4096")
	case f.Duration < 0 || f.Duration > maxDuration:
		return bad("duration", f.Duration, "at most 24h")
	case f.Count < 0 || f.Count > maxCount:
		return bad("count", f.Count, "from 0 to 1000000000")
	case f.Warmup < 0 || f.Warmup > maxDuration:
		return bad("warmup", f.Warmup, "at most 24h")
	case !(f.Rate >= 0 && f.Rate <= 1e7): // not a number is refused too
		return bad("rate", f.Rate, "from 0 to 10000000")
	case len(f.Prefix) > 800:
		return bad("prefix", f.Prefix, "at most 800 bytes")
	case f.Dirs < 0 || f.Dirs > 1_000_000:
		return bad("dirs", f.Dirs, "from 0 to 1000000")
	case f.Start > maxKeys:
		return bad("start", f.Start, "at most 1000000000")
	case f.MaxErrors < 0:
		return bad("max-errors", f.MaxErrors, "0 or more")
	case f.RequestTimeout <= 0 || f.RequestTimeout > maxDuration:
		return bad("request-timeout", f.RequestTimeout, "more than 0 and at most 24h")
	case f.ServerPID < 0:
		return bad("server-pid", f.ServerPID, "a process id")
	case f.ServerPID != 0 && f.ServerMetrics != "":
		return errs.New(errs.Invalid, "--server-pid and --server-metrics", "only one of them can be given")
	}
	if f.Duration == 0 {
		f.Duration = defaultDuration
		if f.Count > 0 {
			f.Duration = countedDuration
		}
	}
	if f.Seed == 0 {
		f.Seed = rand.Uint64()
	}
	return nil
}

// name returns the name of key n.
func (f *loadFlags) name(n uint64) string {
	if f.Dirs > 0 {
		return fmt.Sprintf("%s%06d/%010d", f.Prefix, scramble(n)%uint64(f.Dirs), n)
	}
	return fmt.Sprintf("%s%010d", f.Prefix, n)
}

// readFlags are those of commands that need keys.
type readFlags struct {
	Keys    int64 `short:"k" default:"10000" help:"How many keys there are: 0 to this, without it."`
	Prepare bool  `help:"Make the keys first."`
}

func (f *readFlags) check() error {
	if f.Keys < 1 || f.Keys > maxKeys {
		return errs.New(errs.Invalid, fmt.Sprintf("--keys %d", f.Keys), "it must be from 1 to 1000000000")
	}
	return nil
}

// putFlags are those of commands that put contents.
type putFlags struct {
	Size     Sizes  `short:"s" default:"4KB" help:"Bytes of an object: 4KB, or a range such as 1KB-1MB."`
	Data     string `enum:"random,zero" default:"random" help:"What objects hold: random bytes, or zeros."`
	Unsigned bool   `help:"Leave bodies out of the signature, as clients do over https; it saves both sides a checksum."`
}

// listFlags are those of commands that list.
type listFlags struct {
	Page int `default:"1000" help:"Keys of one page; at most 1000."`
}

func (f *listFlags) check() error {
	if f.Page < 1 || f.Page > 1000 {
		return errs.New(errs.Invalid, fmt.Sprintf("--page %d", f.Page), "it must be from 1 to 1000")
	}
	return nil
}

// checks returns the first error of several groups of flags.
func checks(all ...interface{ check() error }) error {
	for _, f := range all {
		if err := f.check(); err != nil {
			return err
		}
	}
	return nil
}

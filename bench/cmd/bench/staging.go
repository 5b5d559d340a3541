package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stagingResult is what `bench staging` finds.
type stagingResult struct {
	Keys  int
	Pairs []stagingPair // a round each
	API   stagingRun
}

// stagingPair is a rebuild in each mode, one after the other.
type stagingPair struct{ Staged, InPlace stagingRun }

func (p stagingPair) time() float64   { return p.Staged.Local / p.InPlace.Local }
func (p stagingPair) memory() float64 { return float64(p.Staged.Peak) / float64(p.InPlace.Peak) }

// stagingBytes is the disk that a key takes at most: the namespace, two
// generations of which the replicas share its files, and what is sorted.
const stagingBytes = 300

// stagingCompared is the most keys of which rebuilds in both modes are compared:
// with more, one server is measured, which takes an hour by itself.
const stagingCompared = 10_000_000

// stagingClients ask the API.
const stagingClients = 8

// staging measures stages, each run in a process of its own.
func (s *settings) staging(ctx context.Context, l *lab) error {
	begin, before := time.Now(), loadAverage()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(l.dir, &disk); err != nil {
		return err
	}
	if free, need := disk.Bavail*uint64(disk.Bsize), uint64(s.keys)*stagingBytes; free < need {
		return fmt.Errorf("%d keys take up to %d MiB of %s, which has %d MiB free: choose another place by --work, or fewer --keys", s.keys, need>>20, l.dir, free>>20)
	}
	dir := filepath.Join(l.dir, "om")
	say("making %d keys", s.keys)
	if err := countedKeys(dir, s.keys); err != nil {
		return err
	}
	r := &stagingResult{Keys: s.keys}
	rounds := s.rounds
	if s.keys > stagingCompared {
		rounds = 0
	}
	for i := range rounds {
		var p stagingPair
		for turn := range 2 {
			to := &p.Staged
			inPlace := (i+turn)%2 == 1 // who begins changes from round to round
			if inPlace {
				to = &p.InPlace
			}
			one, err := stagingIn(ctx, stagingOrder{Dir: dir, InPlace: inPlace})
			if err != nil {
				return err
			}
			*to = one
			say("in place %v: %.2f s, peak %d MiB; the first one %.2f s", inPlace, one.Local, one.Peak>>20, one.First)
		}
		r.Pairs = append(r.Pairs, p)
	}
	var err error
	say("a server with clients of its API")
	if r.API, err = stagingIn(ctx, stagingOrder{Dir: dir, Clients: stagingClients, Duration: s.duration}); err != nil {
		return err
	}
	say("API: %+v", r.API)
	return s.save("staging", r, s.stagingText(r, before, time.Since(begin))+l.remarks())
}

// stagingIn has another process make stages.
func stagingIn(ctx context.Context, o stagingOrder) (one stagingRun, err error) {
	self, err := os.Executable()
	if err != nil {
		return one, err
	}
	order, err := json.Marshal(o)
	if err != nil {
		return one, err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Hour)
	defer cancel()
	c := exec.CommandContext(ctx, self, stagingCommand, string(order))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := c.Run(); err != nil {
		return one, fmt.Errorf("%s: %w", stagingCommand, err)
	}
	return one, json.Unmarshal(out.Bytes(), &one)
}

// middlePair returns the value in the middle; of an even number the larger of the two.
func middlePair(pairs []stagingPair, f func(stagingPair) float64) float64 {
	var all []float64
	for _, p := range pairs {
		all = append(all, f(p))
	}
	slices.SortFunc(all, cmp.Compare[float64])
	return all[len(all)/2]
}

func (s *settings) stagingText(r *stagingResult, load string, took time.Duration) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	command := fmt.Sprintf("`bench/run.sh staging --keys %d`", r.Keys)
	row := func(what, target string, format string, args ...any) {
		p("| %s | %s | **%s** | %s |", what, target, fmt.Sprintf(format, args...), command)
	}
	a, mib := r.API, func(n int64) int64 { return n >> 20 }
	p("Machine: %s. Recon, its clients and nothing of an OM but its store in one process. One-minute load average before the run %s, after it %s; %s in all. %d keys, %d rounds.\n",
		machine(), load, loadAverage(), took.Round(time.Second), r.Keys, len(r.Pairs))
	p("| Criterion | target | measured | command |\n|---|---|---|---|")
	if len(r.Pairs) > 0 {
		row("Time of a rebuild, staged over in place", "< 1.25", "%.2f", middlePair(r.Pairs, stagingPair.time))
		row("Peak memory of the process, staged over in place", "< 1.5", "%.2f", middlePair(r.Pairs, stagingPair.memory))
	}
	row("A rebuild", "bounded", "%.1f s, peak of memory %d MiB", a.Local, mib(a.Peak))
	row("Switch", "seconds", "%.1f ms", 1000*a.Switch)
	row("Rollback to the generation before", "< 60 s", "%.3f s", a.Rollback)
	row("Rollback of a stage that is cancelled in the middle", "< 60 s", "%.3f s", a.Undone)
	row("From snapshot to fresh data", "< 300 s", "%.1f s", a.First)
	row(fmt.Sprintf("99th percentile of API reads of %d clients during a rebuild, over that at rest", stagingClients), "≤ 2", "%.2f", a.During.P99/a.Rest.P99)
	row("The same after a rollback, over that at rest", "as before", "%.2f", a.After.P99/a.Rest.P99)
	row("API reads that failed or were empty", "0", "%d of %d", a.Rest.Failed+a.During.Failed+a.After.Failed, a.Rest.Requests+a.During.Requests+a.After.Requests)
	if len(r.Pairs) > 0 {
		p("\n| Round | staged, s | in place, s | ratio | staged, MiB before, peak | in place, MiB before, peak | ratio |\n|---|---|---|---|---|---|---|")
		for i, x := range r.Pairs {
			p("| %d | %.2f | %.2f | %.2f | %d, %d | %d, %d | %.2f |", i+1, x.Staged.Local, x.InPlace.Local, x.time(),
				mib(x.Staged.Before), mib(x.Staged.Peak), mib(x.InPlace.Before), mib(x.InPlace.Peak), x.memory())
		}
	}
	p("\n| API, %d clients | requests | per second | median, ms | 99th percentile, ms | failed or empty |\n|---|---|---|---|---|---|", stagingClients)
	for _, x := range []struct {
		name string
		apiLoad
	}{{"at rest", a.Rest}, {"during a rebuild", a.During}, {"after a rollback", a.After}} {
		p("| %s | %d | %s | %.2f | %.2f | %d |", x.name, x.Requests, rate(x.PerSecond), x.P50, x.P99, x.Failed)
	}
	return b.String()
}

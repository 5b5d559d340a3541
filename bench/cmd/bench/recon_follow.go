package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/freon"
)

// The cores of OM and load, and of Recon, where it runs beside them.
const (
	omCore    = "0"
	reconCore = "1"
)

// startRole starts a server of a role, pinned to a core unless core is "".
func (l *lab) startRole(role, core, dir string, set ...string) (*server, error) {
	args := []string{"OZONE_RECON_OM_SECRET_KEY=" + secretKey}
	if !strings.HasPrefix(role, "recon") {
		args = nil
	}
	if core != "" {
		args = append(args, "taskset", "-c", core)
	}
	args = append(args, l.o3, "server", "--data", dir)
	for _, one := range append([]string{"ozone.server.roles=" + role, "ozone.recon.http-address=127.0.0.1:0", "ozone.om.address=127.0.0.1:0", "ozone.log.level=warn"}, append(l.set, set...)...) {
		args = append(args, "-D", one)
	}
	urls := map[string]string{}
	s, err := start(role, func(line string) bool {
		fields := strings.Fields(line)
		if len(fields) > 1 {
			urls[fields[0]] = fields[len(fields)-1]
		}
		return len(fields) == 2 && fields[0] == "data"
	}, nil, "env", args...)
	if err != nil {
		return nil, err
	}
	s.om, s.recon = urls["OM"], urls["Recon"]
	return s, nil
}

// reconStatus is what Recon says of itself.
type reconStatus struct {
	State                       string
	ReflectedIndex, CommitIndex uint64
	Op                          string
}

// errNothing says that Recon has nothing to answer from yet.
var errNothing = errors.New("Recon has not read the namespace yet")

// reconNow asks Recon how far it is.
func reconNow(ctx context.Context, url string) (st reconStatus, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/sync/status", nil)
	if err != nil {
		return st, err
	}
	q.SetBasicAuth(accessKey, secretKey)
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode == http.StatusServiceUnavailable {
		return st, errNothing
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, raw)
	}
	return st, errors.Join(err, json.Unmarshal(raw, &st))
}

// omAt returns a client of an OM.
func omAt(url string) (*client.Client, error) {
	return client.New(client.Options{Address: url, AccessKey: accessKey, SecretKey: secretKey})
}

// caughtUp waits until Recon reflects what the OM has now. It returns how far it
// was when it first answered, in entries and requests, and the time from there.
func caughtUp(ctx context.Context, om, recon string) (d deltaTime, err error) {
	c, err := omAt(om)
	if err != nil {
		return d, err
	}
	defer c.Close()
	goal, err := c.Status(ctx, &o3v1.StatusRequest{})
	if err != nil {
		return d, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	began := time.Now()
	for first := true; ; {
		st, err := reconNow(ctx, recon)
		if errors.Is(err, errNothing) && pause(ctx, 5*time.Millisecond) == nil {
			continue
		}
		if err != nil {
			return d, err
		}
		var op int64
		if _, err := fmt.Sscan(st.Op, &op); err != nil {
			return d, err
		}
		if first {
			began, first = time.Now(), false
			d.Entries, d.Requests = int64(goal.CommitIndex)-int64(st.ReflectedIndex), int64(goal.Op)-op
		}
		if st.ReflectedIndex >= goal.CommitIndex {
			d.Seconds = time.Since(began).Seconds()
			return d, nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return d, fmt.Errorf("Recon does not catch up: %+v: %w", st, err)
		}
	}
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// following measures a Recon that follows: elsewhere, and in the OM's process.
func (s *settings) following(ctx context.Context, l *lab, r *reconResult) error {
	if _, err := exec.LookPath("taskset"); err != nil || runtime.NumCPU() < 2 {
		l.notes = append(l.notes, "a Recon on another core was not measured: it takes taskset and two cores")
	} else if err := s.elsewhere(ctx, l, r); err != nil {
		return err
	}
	return s.oneProcess(ctx, l, r)
}

// write has clients replace keys.
func (s *settings) write(ctx context.Context, l *lab, o3 *server, core string, rate float64) (*freon.Result, error) {
	args := []string{"omkg", "--bucket", "load", "-k", "20000", "-t", "32", "-d", s.duration.String(), "--warmup", s.warmup.String()}
	if rate > 0 {
		args = append(args, "--rate", fmt.Sprintf("%.0f", rate))
	}
	l.pinned = core
	defer func() { l.pinned = "" }()
	return l.freon(ctx, o3, o3.om, args...)
}

// elsewhere measures a Recon with a core of its own, beside an OM and its clients
// on the other.
func (s *settings) elsewhere(ctx context.Context, l *lab, r *reconResult) (err error) {
	om, err := l.startRole("om", omCore, filepath.Join(l.dir, "om"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, om.stop(err != nil)) }()
	dir, set := filepath.Join(l.dir, "console"), []string{"ozone.recon.om.address=" + om.om, "ozone.recon.om.access.key=" + accessKey}
	// withRecon does something while Recon follows.
	withRecon := func(do func(recon *server, d deltaTime) error) error {
		recon, err := l.startRole("recon", reconCore, dir, set...)
		if err != nil {
			return err
		}
		d, err := caughtUp(ctx, om.om, recon.recon)
		if err == nil {
			err = do(recon, d)
		}
		return errors.Join(err, recon.stop(err != nil))
	}
	if _, err := s.write(ctx, l, om, omCore, 0); err != nil { // makes the keys
		return err
	}
	if err := withRecon(func(*server, deltaTime) error { return nil }); err != nil { // its first image
		return err
	}
	var all []costTime
	for range s.rounds {
		alone, err := s.write(ctx, l, om, omCore, 0)
		if err != nil {
			return err
		}
		err = withRecon(func(recon *server, d deltaTime) error {
			say("catching up: %+v", d)
			r.Delta = append(r.Delta, d)
			beside, err := s.write(ctx, l, om, omCore, 0)
			if err != nil {
				return err
			}
			one, err := cost(ctx, "elsewhere, on the other core", alone, beside, om, recon)
			all = append(all, one)
			return err
		})
		if err != nil {
			return err
		}
	}
	r.Cost = append(r.Cost, typical(all))
	return withRecon(func(recon *server, _ deltaTime) error {
		one, err := s.lag(ctx, l, "elsewhere, on the other core", om, recon, omCore, typical(all).Alone/2)
		r.Lag = append(r.Lag, one)
		return err
	})
}

// oneProcess measures a Recon in the OM's process.
func (s *settings) oneProcess(ctx context.Context, l *lab, r *reconResult) (err error) {
	alone, err := l.startRole("om", "", filepath.Join(l.dir, "alone"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alone.stop(err != nil)) }()
	both, err := l.startRole("om,recon", "", filepath.Join(l.dir, "both"), fmt.Sprintf("ozone.profiler.enabled=%v", s.profiles))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, both.stop(err != nil)) }()
	var all []costTime
	for i := range s.rounds + 1 {
		a, err := s.write(ctx, l, alone, "", 0)
		if err != nil {
			return err
		}
		saved := make(chan error, 1)
		if s.profiles {
			go func() { saved <- s.fetchProfile(ctx, both.om, "recon", max(1, int(s.duration.Seconds()))) }()
		} else {
			saved <- nil
		}
		b, err := s.write(ctx, l, both, "", 0)
		if err := errors.Join(err, <-saved); err != nil {
			return err
		}
		one, err := cost(ctx, "in one process", a, b, both, both)
		if err != nil {
			return err
		}
		if i > 0 { // the first one makes the keys
			all = append(all, one)
		}
	}
	r.Cost = append(r.Cost, typical(all))
	one, err := s.lag(ctx, l, "in one process", both, both, "", typical(all).Alone/2)
	r.Lag = append(r.Lag, one)
	return err
}

// cost compares loads, and waits until Recon has what the last one wrote.
func cost(ctx context.Context, where string, alone, beside *freon.Result, om, recon *server) (costTime, error) {
	one := costTime{Where: where, Alone: alone.Total.PerSecond, Beside: beside.Total.PerSecond, AloneP99: alone.Total.P99, P99: beside.Total.P99,
		OMCPU: alone.Server.PerOperation, CPUMore: beside.Server.PerOperation}
	d, err := caughtUp(ctx, om.om, recon.recon)
	one.Behind, one.CaughtUp = max(d.Entries, 0), d.Seconds
	say("Recon attached: %+v", one)
	return one, err
}

// typical returns the one with the share in the middle; of an even number, with
// the worse of the two in the middle.
func typical(all []costTime) costTime {
	slices.SortFunc(all, func(a, b costTime) int { return cmp.Compare(a.Beside/a.Alone, b.Beside/b.Alone) })
	return all[(len(all)-1)/2]
}

// at is where a log was at a time.
type at struct {
	time  time.Time
	index uint64
}

// lag measures how far Recon is behind while clients write at a rate: every ten
// milliseconds the OM and Recon are asked where they are.
func (s *settings) lag(ctx context.Context, l *lab, where string, om, recon *server, core string, rate float64) (one lagTime, err error) {
	c, err := omAt(om.om)
	if err != nil {
		return one, err
	}
	defer c.Close()
	var written, shown []at
	stop, watched := make(chan struct{}), sync.WaitGroup{}
	var errs [2]error
	watch := func(to *[]at, err *error, ask func() (uint64, error)) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			index, asked := ask()
			if asked != nil {
				*err = asked
				return
			}
			*to = append(*to, at{time.Now(), index})
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}
	watched.Go(func() {
		watch(&written, &errs[0], func() (uint64, error) {
			st, err := c.Status(ctx, &o3v1.StatusRequest{})
			return st.GetCommitIndex(), err
		})
	})
	watched.Go(func() {
		watch(&shown, &errs[1], func() (uint64, error) {
			st, err := reconNow(ctx, recon.recon)
			return st.ReflectedIndex, err
		})
	})
	got, err := s.write(ctx, l, om, core, rate)
	close(stop)
	watched.Wait()
	if err := errors.Join(err, errs[0], errs[1]); err != nil {
		return one, err
	}
	one = behind(written, shown)
	one.Where, one.PerSecond = where, got.Total.PerSecond
	say("behind: %+v", one)
	return one, nil
}

// behind compares where the OM was with where Recon was.
func behind(written, shown []at) (one lagTime) {
	var entries, seconds []float64
	j := 0
	for _, w := range written {
		// What Recon showed last at that time, and when it showed what the OM had.
		last, _ := slices.BinarySearchFunc(shown, w.time, func(a at, t time.Time) int { return a.time.Compare(t) })
		for j < len(shown) && shown[j].index < w.index {
			j++
		}
		if last == 0 || j == len(shown) {
			one.Unanswered++ // before the first look, or after the last one
			continue
		}
		entries = append(entries, max(0, float64(w.index)-float64(shown[last-1].index)))
		seconds = append(seconds, max(0, shown[j].time.Sub(w.time).Seconds()))
	}
	if one.Samples = len(entries); one.Samples == 0 {
		return one
	}
	slices.Sort(entries)
	slices.Sort(seconds)
	of := func(all []float64, part float64) float64 { return all[int(part*float64(len(all)-1))] }
	one.Entries50, one.Entries99, one.EntriesMost = of(entries, 0.5), of(entries, 0.99), int64(of(entries, 1))
	one.Seconds50, one.Seconds99, one.SecondsMost = of(seconds, 0.5), of(seconds, 0.99), of(seconds, 1)
	return one
}

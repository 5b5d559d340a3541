package transfer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"o3/internal/errs"
)

// Fetch brings an image into Options.Dir and returns when it is whole, verified and
// durable there. It goes on where an earlier Fetch into the same directory was
// stopped, whatever stopped it. On an error the directory holds what was verified
// so far. Errors are of errs kinds and name source, file and offset.
//
// It holds at most Streams × 2 chunks in memory, and what the compression takes.
func Fetch(ctx context.Context, o Options) (*Result, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	begun := time.Now()
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	f := &fetch{o: &o, disk: newThrottle(o.DiskRate), verified: map[string]key{}}
	f.meter.listener = &o.Listener
	own := newTransport(&o)
	shared := sharedClient(own)
	limit := newThrottle(o.Rate)
	for _, s := range o.Sources {
		c, err := newClient(s, &o, limit, shared, func(n int) { f.meter.sent.Add(int64(n)) })
		if err != nil {
			return nil, err
		}
		f.sources = append(f.sources, c)
	}
	var ticking sync.WaitGroup
	tick, stop := context.WithCancel(ctx)
	ticking.Go(func() { f.meter.run(tick, o.ProgressEvery) })
	err := f.run(ctx)
	stop()
	ticking.Wait()
	if err != nil {
		own.CloseIdleConnections()
		f.meter.update(func(*Progress) {}) // how far it came
		return nil, f.outcome(ctx, err)
	}
	f.meter.phase(PhaseDone)
	f.lease.own = own
	return &Result{Spec: *f.plan.spec, Source: f.lease.c.name, Progress: f.meter.snapshot(), Took: time.Since(begun), Lease: f.lease}, nil
}

func newTransport(o *Options) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: o.Streams + 1,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
		WriteBufferSize:     16 << 10,
		ReadBufferSize:      64 << 10,
	}
}

// fetch is one Fetch.
type fetch struct {
	o       *Options
	sources []*client // that may still be asked
	disk    *throttle
	meter   meter
	space   space
	looking bool // at what is here: reading counts against DiskRate

	plan    *plan // of the image begun; nil until its manifest is here
	journal *journal
	lease   *Lease // at the end

	mu       sync.Mutex
	verified map[string]key // files in place that this process has read back, by path
}

// outcome tells why it ended when the reason was the time or the caller.
func (f *fetch) outcome(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	p := f.meter.snapshot()
	k := errs.Canceled
	detail := fmt.Sprintf("%s, %d of %d bytes are here", p.Phase, p.Done, p.Bytes)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		k = errs.DeadlineExceeded
		if f.o.Timeout > 0 {
			detail += fmt.Sprintf(" after %s; what is here is kept", f.o.Timeout)
		}
	}
	return &errs.Error{Kind: k, Op: "transfer", Subject: "image " + p.Image, Detail: detail, Err: err}
}

func (f *fetch) state(name ...string) string {
	return filepath.Join(append([]string{f.o.Dir, stateDir}, name...)...)
}

func (f *fetch) run(ctx context.Context) error {
	f.meter.phase(PhaseAsking)
	lock, err := f.begin()
	if err != nil {
		return err
	}
	defer lock.Close()
	defer func() {
		if f.journal != nil {
			f.journal.close()
		}
	}()
	if err := f.takeUp(ctx); err != nil {
		return err
	}
	var failed []error
	for {
		c, id, err := f.pick(ctx)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		err = f.from(ctx, c, id)
		if err == nil {
			break
		}
		if ctx.Err() != nil || isLocal(err) {
			return err
		}
		failed = append(failed, err)
		f.drop(c, err)
		if len(f.sources) == 0 {
			return errors.Join(failed...)
		}
	}
	if err := f.end(ctx); err != nil {
		f.lease.giveUp(ctx)
		return err
	}
	return nil
}

func (f *fetch) drop(c *client, err error) {
	f.sources = slices.DeleteFunc(f.sources, func(s *client) bool { return s == c })
	if l := f.o.Listener.SourceFailed; l != nil {
		l(c.name, err)
	}
}

// takeUp goes on with the image that an earlier Fetch was in the middle of.
func (f *fetch) takeUp(ctx context.Context) error {
	raw, err := os.ReadFile(f.state("manifest"))
	if err != nil {
		return nil // there is none
	}
	spec, err := f.parse(raw)
	if err != nil {
		return nil // it was cut while it was written, or is an older program's
	}
	return f.adopt(ctx, "", &spec)
}

// parse reads a manifest.
func (f *fetch) parse(raw []byte) (Spec, error) {
	spec, err := f.o.Parse(raw)
	if err != nil {
		return spec, err
	}
	spec.Manifest = raw
	if err := spec.Validate(); err != nil {
		return spec, err
	}
	for i := range spec.Files {
		if f.o.Manifest != "" && spec.Files[i].Path == f.o.Manifest {
			return spec, errs.New(errs.Invalid, "image "+spec.ID, "a file is called like the manifest, "+f.o.Manifest)
		}
	}
	return spec, nil
}

func (f *fetch) begun() string {
	if f.plan == nil {
		return ""
	}
	return f.plan.spec.ID
}

// pick asks the sources what they have: the first that leads to the image begun,
// else the first that has one.
func (f *fetch) pick(ctx context.Context) (*client, string, error) {
	for round := 0; ; round++ {
		f.meter.phase(PhaseAsking)
		var other *client
		var otherID string
		var failed []error
		for _, c := range slices.Clone(f.sources) {
			id, err := f.ask(ctx, c)
			switch {
			case ctx.Err() != nil:
				return nil, "", ctx.Err()
			case err != nil:
				failed = append(failed, err)
				if permanent(err) {
					f.drop(c, err)
				}
			case f.begun() == "" || id == f.begun():
				return c, id, nil
			case other == nil:
				other, otherID = c, id
			}
		}
		if other != nil {
			return other, otherID, nil
		}
		if len(f.sources) == 0 || round >= f.o.Retries {
			return nil, "", errors.Join(failed...)
		}
		f.retrying(f.sources[0], failed[len(failed)-1])
		if err := f.backoff(ctx, round+1); err != nil {
			return nil, "", err
		}
	}
}

// ask returns the image that a source is to be asked for.
func (f *fetch) ask(ctx context.Context, c *client) (string, error) {
	f.meter.update(func(p *Progress) { p.Source = c.name })
	listed, err := c.list(ctx)
	if err != nil {
		return "", c.fault(err, nil, 0)
	}
	id := f.o.Choose(c.name, listed, f.begun())
	if id == "" {
		return "", c.fault(errs.New(errs.NoSuchSnapshot, "", fmt.Sprintf("it lists %d images, none of them will do", len(listed))), nil, 0)
	}
	if !validID(id) {
		return "", c.fault(errs.New(errs.Corrupt, "", "it lists an image without a proper id"), nil, 0)
	}
	return id, nil
}

// from fetches an image from a source, and another one when the source has that
// one no longer.
func (f *fetch) from(ctx context.Context, c *client, id string) error {
	for strikes, before := 0, int64(-1); ; {
		err := f.image(ctx, c, id)
		k := errs.KindOf(err)
		if err == nil || ctx.Err() != nil || isLocal(err) || k != errs.NoSuchSnapshot && k != errs.Conflict {
			return err
		}
		if now := f.meter.done.Load(); now != before {
			strikes, before = 0, now
		}
		if strikes++; strikes > f.o.Retries {
			return err
		}
		f.retrying(c, err)
		if k == errs.Conflict {
			f.plan = nil // the same name, another image: what is here is looked at again
		}
		if err := f.backoff(ctx, strikes); err != nil {
			return err
		}
		if err := f.retry(ctx, c, func() (err error) { id, err = f.ask(ctx, c); return err }); err != nil {
			return err
		}
	}
}

// image fetches one image from a source.
func (f *fetch) image(ctx context.Context, c *client, id string) error {
	lease := &Lease{c: c, image: id, lost: func(err error) { f.retrying(c, c.fault(err, nil, 0)) }}
	if err := f.retry(ctx, c, func() error { return c.faulty(lease.take(ctx)) }); err != nil {
		return err
	}
	renew, stop := context.WithCancel(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { _ = lease.Run(renew) })
	err := f.files(ctx, c, id)
	stop()
	renewing.Wait()
	if err != nil {
		lease.giveUp(ctx)
		return err
	}
	lease.lost = nil
	f.lease = lease
	return nil
}

// giveUp releases a lease that nobody needs, if the source can be reached soon.
func (l *Lease) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = l.c.release(ctx, l.image) // else it expires
}

func (f *fetch) files(ctx context.Context, c *client, id string) error {
	if f.begun() != id {
		var spec Spec
		err := f.retry(ctx, c, func() error {
			raw, err := c.manifest(ctx, id)
			if err == nil {
				spec, err = f.parse(raw)
			}
			if err == nil && spec.ID != id {
				err = errs.New(errs.Corrupt, "", fmt.Sprintf("the manifest is that of image %s, expected %s", spec.ID, id))
			}
			return c.faulty(err)
		})
		if err != nil {
			return err
		}
		if err := f.adopt(ctx, c.name, &spec); err != nil {
			return err
		}
	}
	return newAttempt(f, c).run(ctx)
}

// faulty describes a failure of this source, if it is one.
func (c *client) faulty(err error) error {
	if err == nil {
		return nil
	}
	return c.fault(err, nil, 0)
}

// permanent reports whether a source will not answer otherwise however often it
// is asked.
func permanent(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unauthenticated, errs.Denied, errs.Invalid, errs.InvalidRange, errs.FormatTooNew, errs.NoSuchSnapshot, errs.Conflict, errs.TooMany:
		return true
	}
	return false
}

// patience is how many times in a row a source may say that it is busy, for each
// retry allowed.
const patience = 10

// retry calls do until it succeeds, or failed too often.
func (f *fetch) retry(ctx context.Context, c *client, do func() error) error {
	for strikes, busy := 0, 0; ; {
		err := do()
		if err == nil || ctx.Err() != nil || permanent(err) || isLocal(err) {
			return err
		}
		if errs.KindOf(err) == errs.SlowDown && busy < patience*(f.o.Retries+1) {
			busy++
		} else if strikes++; strikes > f.o.Retries {
			return err
		}
		f.retrying(c, err)
		if err := f.backoff(ctx, strikes+busy); err != nil {
			return err
		}
	}
}

func (f *fetch) retrying(c *client, err error) {
	if l := f.o.Listener.Retry; l != nil {
		l(c.name, err)
	}
}

// backoff waits before the n-th retry in a row, from 1 on.
func (f *fetch) backoff(ctx context.Context, n int) error {
	d := min(f.o.Backoff<<min(max(n-1, 0), 20), f.o.MaxBackoff)
	return pause(ctx, d/2+rand.N(d/2+1))
}

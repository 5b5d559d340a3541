// Package alert tells people of what goes wrong in Recon: it looks now and then
// how Recon is, notes what begins and what ends, and posts that to a webhook in
// the form of Prometheus' Alertmanager (docs/recon.md).
//
// What goes on is posted once, and again every few hours. What the webhook does
// not take is tried again with growing waits, for an hour. Run owns all
// goroutines; Notice may be called by many and never waits.
package alert

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"o3/internal/recon"
	"o3/internal/recon/staging"
)

// The alerts.
const (
	StagingFailed = "O3ReconStagingFailed" // a stage came to nothing and is not tried again by itself
	Lag           = "O3ReconLag"           // answers lack for long what the OM has
	LowDisk       = "O3ReconLowDisk"       // Recon's disk is nearly full
)

// The statuses of an alert.
const (
	Firing   = "firing"
	Resolved = "resolved"
)

// Options configures Alerts. Status, Staging and Free are required; a zero field
// means its default.
type Options struct {
	Instance string // how alerts call this server
	Webhook  string // where they are posted; "": nowhere, the Listener hears of them only
	Client   *http.Client

	Status  func() recon.Status
	Staging func() recon.StagingStatus
	Free    func() (bytes uint64, err error) // of Recon's disk

	Lag      time.Duration // longest that answers may lack something; 5 min
	DiskFree uint64        // least free bytes; 0: none
	Interval time.Duration // between looks; 10 s

	Repeat     time.Duration // after which what goes on is posted again; 4 h
	Timeout    time.Duration // of a request; 10 s
	Backoff    time.Duration // before a second try, doubled each time; 1 s
	MaxBackoff time.Duration // 1 min
	GiveUp     time.Duration // after which an alert is not tried again; 1 h

	Listener Listener
}

// Listener hears of alerts. Nil fields are silent. Calls are synchronous, from
// Run's goroutines and from Notice's caller, and must not call Notice.
type Listener struct {
	Changed func(name, status, summary string) // it begins or ends
	Posted  func(name string, err error)       // one request; err: it is tried again
	Dropped func(name string, err error)       // it is not
}

// Alerts looks and posts.
type Alerts struct {
	o       Options
	wake    chan struct{} // there is something to post; holds one
	started time.Time

	changing sync.Mutex // held while an alert begins or ends and that is told; before mu

	mu      sync.Mutex
	active  map[string]*active
	pending []post // of each name one at most
}

// active is an alert that goes on.
type active struct {
	about        string // which thing: another one is another alert
	since, told  time.Time
	summary, why string
	labels       map[string]string
}

// New returns Alerts; Run makes it work.
func New(o Options) *Alerts {
	fill(&o.Lag, 5*time.Minute)
	fill(&o.Interval, 10*time.Second)
	fill(&o.Repeat, 4*time.Hour)
	fill(&o.Timeout, 10*time.Second)
	fill(&o.Backoff, time.Second)
	fill(&o.MaxBackoff, time.Minute)
	fill(&o.GiveUp, time.Hour)
	if o.Client == nil {
		o.Client = &http.Client{}
	}
	c := *o.Client
	c.Timeout = o.Timeout
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o.Client = &c
	return &Alerts{o: o, wake: make(chan struct{}, 1), active: map[string]*active{}}
}

func fill(field *time.Duration, value time.Duration) {
	if *field == 0 {
		*field = value
	}
}

// Run looks and posts until ctx ends.
func (a *Alerts) Run(ctx context.Context) {
	a.started = time.Now()
	var posting sync.WaitGroup
	if a.o.Webhook != "" {
		posting.Go(func() { a.deliver(ctx) })
	}
	defer posting.Wait()
	a.known()
	tick := time.NewTicker(a.o.Interval)
	defer tick.Stop()
	var f freshness
	for {
		a.look(time.Now(), &f)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// known raises what a start finds: a stage that failed before it.
func (a *Alerts) known() {
	if st := a.o.Staging(); st.State == staging.Failed {
		a.stagingFailed(st.StagingID, st.LastError)
	}
}

// Notice is told of every change of a stage's state.
func (a *Alerts) Notice(t staging.Transition) {
	switch t.To {
	case staging.Failed:
		a.stagingFailed(t.StagingID, t.Detail)
	case staging.Committed:
		a.resolve(StagingFailed)
	}
}

func (a *Alerts) stagingFailed(id, why string) {
	a.raise(StagingFailed, active{
		about: id, summary: "Stage " + id + " of Recon on " + a.o.Instance + " has failed and is not tried again by itself", why: why,
		labels: map[string]string{"severity": "critical", "stagingId": id},
	})
}

// look raises and ends what depends on how Recon is now.
func (a *Alerts) look(now time.Time, f *freshness) {
	st := a.o.Status()
	if behind := f.behind(now, a.started, st); behind > a.o.Lag {
		why := fmt.Sprintf("answers reflect entry %d, the OM is known to have %d", st.Index, max(st.Commit, st.Index))
		if st.Error != "" {
			why += ": " + st.Error
		}
		a.raise(Lag, active{summary: fmt.Sprintf("What Recon on %s answers is older than %s", a.o.Instance, a.o.Lag), why: why, labels: map[string]string{"severity": "warning"}})
	} else {
		a.resolve(Lag)
	}
	free, err := a.o.Free()
	switch {
	case err != nil:
	case free < a.o.DiskFree:
		a.raise(LowDisk, active{
			summary: fmt.Sprintf("The disk of Recon on %s has less than %d MiB free", a.o.Instance, a.o.DiskFree>>20),
			why:     fmt.Sprintf("%d MiB are free", free>>20), labels: map[string]string{"severity": "warning"},
		})
	case free >= a.o.DiskFree+a.o.DiskFree/10: // not at every file that comes and goes
		a.resolve(LowDisk)
	}
	a.remind(now)
}

// raise begins an alert, unless it goes on already.
func (a *Alerts) raise(name string, about active) {
	about.since = time.Now()
	about.told = about.since
	a.change(name, Firing, func() *active {
		if old := a.active[name]; old != nil && old.about == about.about {
			old.why = about.why
			return nil
		}
		a.active[name] = &about
		return &about
	})
}

// resolve ends an alert, if it goes on.
func (a *Alerts) resolve(name string) {
	a.change(name, Resolved, func() *active {
		old := a.active[name]
		delete(a.active, name)
		return old
	})
}

// change has made begin or end an alert, and tells of the one it returns: the Listener
// first, which so hears of changes in their order and of what becomes of a post
// after what it is about.
func (a *Alerts) change(name, status string, made func() *active) {
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	about := made()
	a.mu.Unlock()
	if about == nil {
		return
	}
	if a.o.Listener.Changed != nil {
		a.o.Listener.Changed(name, status, about.summary)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue(post{name: name, status: status, active: *about, at: time.Now()})
}

// remind posts again what goes on for long.
func (a *Alerts) remind(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, one := range a.active {
		if now.Sub(one.told) >= a.o.Repeat {
			one.told = now
			a.queue(post{name: name, status: Firing, active: *one, at: now})
		}
	}
}

// freshness finds out since when answers lack something that the OM has.
type freshness struct {
	seen []sample // entries of the OM that answers lacked when they were first known of
}

type sample struct {
	at     time.Time
	commit uint64
}

// maxSamples bounds what is kept; of more, every second one goes.
const maxSamples = 1024

// behind returns how long answers have lacked something, or the OM was silent.
func (f *freshness) behind(now, started time.Time, st recon.Status) time.Duration {
	for len(f.seen) > 0 && f.seen[0].commit <= st.Index {
		f.seen = f.seen[1:]
	}
	if n := len(f.seen); st.Commit > st.Index && (n == 0 || f.seen[n-1].commit < st.Commit) {
		f.seen = append(f.seen, sample{now, st.Commit})
	}
	if len(f.seen) > maxSamples {
		kept := f.seen[:0]
		for i, s := range f.seen {
			if i%2 == 0 {
				kept = append(kept, s)
			}
		}
		f.seen = kept
	}
	silent := now.Sub(started)
	if !st.Heard.IsZero() {
		silent = now.Sub(st.Heard)
	}
	if len(f.seen) == 0 {
		return silent
	}
	return max(silent, now.Sub(f.seen[0].at))
}

package transfer

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"o3/internal/errs"
)

// leases are the holds of receivers. Each keeps its image open, and what the
// image's user keeps by ServerOptions.Hold, until it is released or not renewed
// in time.
type leases struct {
	s *Server

	turn   sync.Mutex // held through a change and what it calls, so that a Release never overtakes a Hold
	mu     sync.Mutex // guards what follows, briefly
	held   map[leaseKey]*lease
	closed bool
}

type leaseKey struct{ who, receiver, image string }

type lease struct {
	hold  Hold
	begun time.Time
	pin   *pin
	timer *time.Timer
}

// holdAnswer is the body of an answer to a hold.
type holdAnswer struct {
	TTL int64 `json:"ttlMillis"`
}

// hold takes a lease or renews it.
func (s *Server) hold(w http.ResponseWriter, r *http.Request, who string) error {
	key := leaseKey{who, shorten(r.URL.Query().Get("receiver")), r.PathValue("id")}
	h, err := s.leases.renew(r, key)
	if err != nil {
		return err
	}
	body, _ := json.Marshal(holdAnswer{time.Until(h.Until).Milliseconds()})
	return s.whole(w, r, body)
}

func (s *Server) release(w http.ResponseWriter, r *http.Request, who string) error {
	s.leases.end(leaseKey{who, shorten(r.URL.Query().Get("receiver")), r.PathValue("id")}, nil)
	return s.whole(w, r, []byte("{}"))
}

func (l *leases) renew(r *http.Request, key leaseKey) (Hold, error) {
	o := &l.s.o
	n, err := l.s.pins.get(r.Context(), key.image)
	if err != nil {
		return Hold{}, err
	}
	l.turn.Lock()
	defer l.turn.Unlock()
	now := time.Now()
	h := Hold{key.who, key.receiver, key.image, now.Add(o.LeaseTTL)}
	old, others, closed := l.look(key)
	switch {
	case closed:
		err = errs.New(errs.Unavailable, "image source", "it is stopping")
	case old == nil && others >= o.MaxLeases:
		err = errs.New(errs.SlowDown, "image "+key.image, "too many receivers hold an image: try later")
	case old != nil && now.Sub(old.begun) > o.MaxHold:
		err = errs.New(errs.TooMany, "image "+key.image, "it was held for "+o.MaxHold.String()+", no longer is allowed")
	case o.Hold != nil:
		err = o.Hold(r.Context(), h)
	}
	if err != nil {
		l.s.pins.put(n)
		return Hold{}, err
	}
	if old != nil {
		l.s.pins.put(n)
		old.timer.Stop()
		l.set(key, old, h)
		return h, nil
	}
	l.set(key, &lease{begun: now, pin: n}, h)
	if f := o.Listener.HoldBegin; f != nil {
		f(h)
	}
	return h, nil
}

func (l *leases) look(key leaseKey) (e *lease, all int, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key], len(l.held), l.closed
}

// set puts h in force.
func (l *leases) set(key leaseKey, e *lease, h Hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[leaseKey]*lease{}
	}
	e.hold = h
	e.timer = l.expiry(key, e)
	l.held[key] = e
}

// expiry ends e when it is not renewed.
func (l *leases) expiry(key leaseKey, e *lease) *time.Timer {
	until := e.hold.Until
	return time.AfterFunc(time.Until(until), func() {
		l.end(key, func(now *lease) bool { return now == e && e.hold.Until.Equal(until) })
	})
}

// end ends a lease if it is there, by its receiver or, when due is not nil, by
// expiry.
func (l *leases) end(key leaseKey, due func(*lease) bool) {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.mu.Lock()
	e := l.held[key]
	if e == nil || due != nil && !due(e) {
		l.mu.Unlock()
		return
	}
	delete(l.held, key)
	l.mu.Unlock()
	l.finish(e, due != nil)
}

func (l *leases) finish(e *lease, expired bool) {
	e.timer.Stop()
	l.s.pins.put(e.pin)
	if f := l.s.o.Release; f != nil {
		f(e.hold)
	}
	if f := l.s.o.Listener.HoldEnd; f != nil {
		f(e.hold, expired)
	}
}

func (l *leases) close() {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.mu.Lock()
	held := l.held
	l.held, l.closed = nil, true
	l.mu.Unlock()
	for _, e := range held {
		l.finish(e, false)
	}
}

func (l *leases) list() []Hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Hold
	for _, e := range l.held {
		out = append(out, e.hold)
	}
	slices.SortFunc(out, func(a, b Hold) int {
		return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Receiver, b.Receiver), cmp.Compare(a.Who, b.Who))
	})
	return out
}

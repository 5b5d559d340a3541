package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// post is a message for the webhook.
type post struct {
	name, status string
	active       active
	at           time.Time // when it was to be told
}

// queue has a message posted; one of the same alert that was not yet is not posted
// any more. a.mu is held.
func (a *Alerts) queue(p post) {
	if a.o.Webhook == "" {
		return
	}
	a.pending = append(slices.DeleteFunc(a.pending, func(old post) bool { return old.name == p.name }), p)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// take returns the message that is next.
func (a *Alerts) take() (p post, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending) == 0 {
		return p, false
	}
	p, a.pending = a.pending[0], a.pending[1:]
	return p, true
}

// again puts a message back, behind the others, unless there is a newer one of its
// alert.
func (a *Alerts) again(p post) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.ContainsFunc(a.pending, func(other post) bool { return other.name == p.name }) {
		a.pending = append(a.pending, p)
	}
}

// deliver posts what there is to post, until ctx ends.
func (a *Alerts) deliver(ctx context.Context) {
	defer a.o.Client.CloseIdleConnections()
	wait := a.o.Backoff
	for {
		p, ok := a.take()
		if !ok {
			select {
			case <-a.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := a.post(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if r := (*refused)(nil); errors.As(err, &r) || err != nil && time.Since(p.at) >= a.o.GiveUp {
			a.dropped(p.name, err)
			continue
		}
		if a.o.Listener.Posted != nil {
			a.o.Listener.Posted(p.name, err)
		}
		if err == nil {
			wait = a.o.Backoff
			continue
		}
		a.again(p)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		wait = min(2*wait, a.o.MaxBackoff)
	}
}

func (a *Alerts) dropped(name string, err error) {
	if a.o.Listener.Dropped != nil {
		a.o.Listener.Dropped(name, err)
	}
}

// refused is an answer that another try will not change.
type refused struct{ status int }

func (r *refused) Error() string {
	return fmt.Sprintf("the webhook refuses it: %d %s", r.status, http.StatusText(r.status))
}

// post sends a message once.
func (a *Alerts) post(ctx context.Context, p post) error {
	raw, err := json.Marshal(a.message(p))
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.o.Webhook, bytes.NewReader(raw))
	if err != nil {
		return withoutURL(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "o3-recon")
	resp, err := a.o.Client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	switch s := resp.StatusCode; {
	case s/100 == 2:
		return nil
	case s/100 == 5, s == http.StatusRequestTimeout, s == http.StatusTooManyRequests:
		return fmt.Errorf("the webhook answers %d %s", s, http.StatusText(s))
	default:
		return &refused{s}
	}
}

// withoutURL leaves out the URL, which may hold a token.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// message is the body, as Alertmanager's webhooks have it (version 4).
type message struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []oneAlert        `json:"alerts"`
}

type oneAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // the zero time while it goes on
	GeneratorURL string            `json:"generatorURL"`
}

func (a *Alerts) message(p post) message {
	labels := maps.Clone(p.active.labels)
	labels["alertname"], labels["instance"] = p.name, a.o.Instance
	notes := map[string]string{"summary": p.active.summary, "description": p.active.why}
	one := oneAlert{Status: p.status, Labels: labels, Annotations: notes, StartsAt: p.active.since.UTC()}
	if p.status == Resolved {
		one.EndsAt = p.at.UTC()
	}
	return message{
		Version: "4", GroupKey: p.name + "/" + a.o.Instance, Status: p.status, Receiver: "o3-recon",
		GroupLabels: map[string]string{"alertname": p.name}, CommonLabels: labels, CommonAnnotations: notes, Alerts: []oneAlert{one},
	}
}

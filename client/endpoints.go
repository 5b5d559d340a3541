package client

import (
	"net/url"
	"strings"
	"sync"
)

// endpoints remembers which of the cluster's addresses to call. It is safe for
// concurrent use.
type endpoints struct {
	list []*url.URL
	mu   struct {
		sync.Mutex
		next int      // index into list
		hint *url.URL // the leader as a node named it; nil: use list
	}
}

func newEndpoints(addresses []string, secure bool) (*endpoints, error) {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	e := new(endpoints)
	for _, a := range addresses {
		u, err := parseAddress(a, scheme)
		if err != nil {
			return nil, err
		}
		e.list = append(e.list, u)
	}
	return e, nil
}

// current returns the address to call.
func (e *endpoints) current() *url.URL {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.hint != nil {
		return e.mu.hint
	}
	return e.list[e.mu.next]
}

// failed moves on from u, unless another call has already.
func (e *endpoints) failed(u *url.URL) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.mu.hint == u:
		e.mu.hint = nil
	case e.mu.hint == nil && e.list[e.mu.next] == u:
		e.mu.next = (e.mu.next + 1) % len(e.list)
	}
}

// redirect takes the word of u that the leader is at address, and reports
// whether that is somewhere new. It never goes from https to http.
func (e *endpoints) redirect(u *url.URL, address string) bool {
	to, err := parseAddress(address, u.Scheme)
	if address == "" || err != nil || (u.Scheme == "https" && to.Scheme != "https") || strings.EqualFold(to.Host, u.Host) {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, known := range e.list {
		if known.Scheme == to.Scheme && strings.EqualFold(known.Host, to.Host) {
			e.mu.next, e.mu.hint = i, nil
			return true
		}
	}
	e.mu.hint = to
	return true
}

package app

import (
	"net/http"
	"sync"
)

// gate counts the requests inside, so that the node's core outlives the last
// of them: closing a connection ends its request, but does not wait for it.
// It is safe for concurrent use.
type gate struct {
	mu struct {
		sync.Mutex
		closed bool
		inside int
		empty  chan struct{} // closed when the last one leaves; nil while open
	}
}

// wrap lets requests to h through the gate while it is open.
func (g *gate) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.enter() {
			panic(http.ErrAbortHandler) // its connection is closed already
		}
		defer g.leave()
		h.ServeHTTP(w, r)
	})
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return false
	}
	g.mu.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.inside--; g.mu.inside == 0 && g.mu.closed {
		close(g.mu.empty)
	}
}

// close lets nobody in any more and waits until everybody has left.
func (g *gate) close() {
	g.mu.Lock()
	g.mu.closed = true
	empty := make(chan struct{})
	if g.mu.inside == 0 {
		close(empty)
	}
	g.mu.empty = empty
	g.mu.Unlock()
	<-empty
}

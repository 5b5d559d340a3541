package transfer

import (
	"context"
	"sync"

	"o3/internal/errs"
)

// pins counts who uses an image: it is opened once, and closed when the last
// user gives it back, so that the catalog does not remove what is being read.
type pins struct {
	catalog Catalog

	mu   sync.Mutex
	open map[string]*pin
}

type pin struct {
	spec  *Spec
	sum   Sum // of the manifest
	image Image
	err   error
	ready chan struct{} // closed when the fields above are set
	users int           // guarded by pins.mu
}

// get opens an image or shares it.
func (p *pins) get(ctx context.Context, id string) (*pin, error) {
	if !validID(id) {
		return nil, errs.New(errs.Invalid, "image "+shorten(id), "no id of an image")
	}
	p.mu.Lock()
	if p.open == nil {
		p.open = map[string]*pin{}
	}
	n := p.open[id]
	if n != nil {
		n.users++
		p.mu.Unlock()
		select {
		case <-n.ready:
		case <-ctx.Done():
			p.drop(id, n)
			return nil, ctx.Err()
		}
	} else {
		n = &pin{ready: make(chan struct{}), users: 1}
		p.open[id] = n
		p.mu.Unlock()
		// Others may wait for it: it does not end with this request.
		n.image, n.err = p.catalog.Open(context.WithoutCancel(ctx), id)
		if n.err == nil {
			n.spec = n.image.Spec()
			n.sum = SumOf(n.spec.Manifest)
		}
		close(n.ready)
	}
	if n.err != nil {
		p.drop(id, n)
		return nil, n.err
	}
	return n, nil
}

// put gives an image back.
func (p *pins) put(n *pin) { p.drop(n.spec.ID, n) }

func (p *pins) drop(id string, n *pin) {
	p.mu.Lock()
	n.users--
	last := n.users == 0
	if last || n.failed() {
		if p.open[id] == n {
			delete(p.open, id)
		}
	}
	p.mu.Unlock()
	if last && n.image != nil {
		_ = n.image.Close() // it was only read
	}
}

func (n *pin) failed() bool {
	select {
	case <-n.ready:
		return n.err != nil
	default:
		return false
	}
}

func (p *pins) counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]int, len(p.open))
	for id, n := range p.open {
		out[id] = n.users
	}
	return out
}

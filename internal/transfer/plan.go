package transfer

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
)

// key names a content: files of an image with the same key are the same.
type key struct {
	sum  Sum
	size int64
}

// String is the name of the content's file in the state directory.
func (k key) String() string { return fmt.Sprintf("%s-%d", k.sum, k.size) }

func parseKey(s string) (k key, ok bool) {
	if len(s) < 34 || s[32] != '-' {
		return k, false
	}
	if _, err := hex.Decode(k.sum[:], []byte(s[:32])); err != nil {
		return k, false
	}
	_, err := fmt.Sscanf(s[33:], "%d", &k.size)
	return k, err == nil && k.String() == s
}

func (k key) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(b, k.sum[:]...), uint64(k.size))
}

// item is a content that the image wants. While its bytes come in it is guarded
// by plan.mu; once it is ready, one goroutine at a time has it.
type item struct {
	key     key
	index   uint32   // of its first file
	missing []string // paths where it is not yet
	have    extents  // of the content, verified by chunk
	got     int64    // bytes of have
	ready   bool     // all bytes are here
}

// segment is a range of an item that is to be fetched. Whoever took it from the
// plan owns it.
type segment struct {
	it      *item
	off, n  int64
	strikes int // failures since it last moved
}

// plan is what is left to do for an image.
type plan struct {
	spec *Spec
	sum  Sum // of the manifest

	mu     sync.Mutex
	cond   sync.Cond
	items  []*item // in the order of the manifest
	byKey  map[key]*item
	queue  []*segment
	queued int64   // bytes of queue
	ready  []*item // complete, not yet verified and in place
	left   int     // items not in place
}

func newPlan(spec *Spec) *plan {
	p := &plan{spec: spec, sum: SumOf(spec.Manifest), byKey: map[key]*item{}}
	p.cond.L = &p.mu
	for i := range spec.Files {
		f := &spec.Files[i]
		k := key{f.Sum, f.Size}
		it := p.byKey[k]
		if it == nil {
			it = &item{key: k, index: uint32(i)}
			p.byKey[k] = it
			p.items = append(p.items, it)
		}
		it.missing = append(it.missing, f.Path)
	}
	p.left = len(p.items)
	return p
}

func (p *plan) file(it *item) *File { return &p.spec.Files[it.index] }

// fill makes the queue of what is missing, once, before work begins.
func (p *plan) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.items {
		if len(it.missing) == 0 {
			p.left--
			continue
		}
		p.enqueue(it)
	}
}

// enqueue puts what is missing of an item at the end of the queue.
func (p *plan) enqueue(it *item) {
	if it.got == it.key.size {
		it.ready = true
		p.ready = append(p.ready, it)
		return
	}
	for _, h := range it.have.holes(it.key.size) {
		p.queue = append(p.queue, &segment{it: it, off: h.off, n: h.end - h.off})
		p.queued += h.end - h.off
	}
}

// take returns segments to fetch with one request: about as much as a share of what
// is queued, so that all streams end together, at least least bytes and at most
// most. It waits for some; nil without an error means that all is done.
func (p *plan) take(ctx context.Context, shares int, least, most int64) ([]*segment, error) {
	defer context.AfterFunc(ctx, p.wake)()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 {
		if ctx.Err() != nil || p.left == 0 {
			return nil, ctx.Err()
		}
		p.cond.Wait()
	}
	target := min(max(p.queued/int64(shares), least), most)
	var out []*segment
	for target > 0 && len(p.queue) > 0 && len(out) < maxParts/2 {
		s := p.queue[0]
		if s.n > target+least { // leave the rest, but no crumbs
			head := &segment{it: s.it, off: s.off, n: target, strikes: s.strikes}
			s.off, s.n = s.off+target, s.n-target
			s = head
		} else {
			p.queue = p.queue[1:]
		}
		p.queued -= s.n
		target -= s.n
		out = append(out, s)
	}
	return out, ctx.Err()
}

// giveBack puts what was not fetched at the front of the queue.
func (p *plan) giveBack(segs []*segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	segs = slices.DeleteFunc(segs, func(s *segment) bool { return s.n == 0 })
	for _, s := range segs {
		p.queued += s.n
	}
	p.queue = append(segs, p.queue...)
	p.cond.Broadcast()
}

// came notes bytes of an item that are verified and written.
func (p *plan) came(it *item, off, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	it.got += it.have.add(off, off+n)
	if it.got == it.key.size && !it.ready {
		it.ready = true
		p.ready = append(p.ready, it)
		p.cond.Broadcast()
	}
}

// takeReady waits for an item whose bytes are all here; nil without an error
// means that all is done.
func (p *plan) takeReady(ctx context.Context) (*item, error) {
	defer context.AfterFunc(ctx, p.wake)()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ready) == 0 {
		if ctx.Err() != nil || p.left == 0 {
			return nil, ctx.Err()
		}
		p.cond.Wait()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	it := p.ready[0]
	p.ready = p.ready[1:]
	return it, nil
}

// again puts an item back that could not be finished.
func (p *plan) again(it *item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, it)
	p.cond.Broadcast()
}

// refetch forgets the bytes of an item.
func (p *plan) refetch(it *item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	it.have, it.got, it.ready = nil, 0, false
	p.enqueue(it)
	p.cond.Broadcast()
}

// placed notes that an item is in place.
func (p *plan) placed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left--
	p.cond.Broadcast()
}

// forgive forgets the failures: another source is tried.
func (p *plan) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.queue {
		s.strikes = 0
	}
}

// need returns the bytes that are still to be written.
func (p *plan) need() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.items {
		if c := int64(len(it.missing)); c > 0 {
			n += it.key.size*c - it.got
		}
	}
	return n
}

func (p *plan) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cond.Broadcast()
}

// extent is a range of bytes.
type extent struct{ off, end int64 }

// extents are ranges in order that do not touch.
type extents []extent

// add adds a range and returns how many of its bytes are new.
func (e *extents) add(off, end int64) int64 {
	s := *e
	i, _ := slices.BinarySearchFunc(s, off, func(x extent, off int64) int {
		if x.end < off {
			return -1
		}
		return 1
	})
	fresh, j := end-off, i
	for ; j < len(s) && s[j].off <= end; j++ {
		if a, b := max(s[j].off, off), min(s[j].end, end); b > a {
			fresh -= b - a
		}
	}
	if j > i {
		off, end = min(off, s[i].off), max(end, s[j-1].end)
	}
	*e = slices.Replace(s, i, j, extent{off, end})
	return fresh
}

// holes returns what is missing of the first size bytes.
func (e extents) holes(size int64) []extent {
	var out []extent
	at := int64(0)
	for _, x := range e {
		if x.off > at {
			out = append(out, extent{at, x.off})
		}
		at = x.end
	}
	if at < size {
		out = append(out, extent{at, size})
	}
	return out
}

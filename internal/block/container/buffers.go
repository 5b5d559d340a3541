package container

import "sync"

// buffers lends memory in a few sizes.
type buffers struct {
	sizes []int
	pools []sync.Pool
}

// buffer is lent memory; it goes back by put.
type buffer struct {
	b    []byte
	from int // its pool
}

// newBuffers makes the largest size hold a record of small bytes and one more.
func newBuffers(sh shape, small int) *buffers {
	largest := int(sh.record(int64(small))) + 64
	p := &buffers{}
	for _, n := range []int{8 << 10, 32 << 10, 128 << 10} {
		if n < largest {
			p.sizes = append(p.sizes, n)
		}
	}
	p.sizes = append(p.sizes, largest)
	p.pools = make([]sync.Pool, len(p.sizes))
	return p
}

// get returns a buffer of at least n bytes, or of the largest size.
func (p *buffers) get(n int) *buffer {
	i := 0
	for i < len(p.sizes)-1 && p.sizes[i] < n {
		i++
	}
	if b, ok := p.pools[i].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, p.sizes[i]), from: i}
}

func (p *buffers) put(b *buffer) {
	if b != nil {
		p.pools[b.from].Put(b)
	}
}

// grow returns a larger buffer with the first n bytes of b, which goes back.
func (p *buffers) grow(b *buffer, n int) *buffer {
	next := p.get(p.sizes[b.from] + 1)
	copy(next.b, b.b[:n])
	p.put(b)
	return next
}

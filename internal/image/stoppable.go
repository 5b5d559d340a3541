package image

import (
	"context"

	"o3/internal/kv"
)

// stoppable is a reader whose scans end with ctx.
type stoppable struct {
	kv.Reader
	ctx context.Context
}

type stoppableIter struct {
	kv.Iterator
	ctx context.Context
	n   int
}

func (s stoppable) Iter(lower, upper []byte) (kv.Iterator, error) {
	it, err := s.Reader.Iter(lower, upper)
	return &stoppableIter{Iterator: it, ctx: s.ctx}, err
}

func (i *stoppableIter) Next() bool {
	if i.n++; i.n%4096 == 0 && i.ctx.Err() != nil {
		return false
	}
	return i.Iterator.Next()
}

func (i *stoppableIter) Err() error {
	if err := i.Iterator.Err(); err != nil {
		return err
	}
	return canceled(i.ctx)
}

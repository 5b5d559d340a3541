package consensus

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
)

// Run drives the node until ctx ends, when it returns nil, or until the node
// halts, when it returns why. All its goroutines have ended by then, and every
// caller that waited has an answer. It can be called once.
func (n *Node) Run(ctx context.Context) error {
	if !n.busy.CompareAndSwap(false, true) {
		return errs.New(errs.Internal, "consensus", "the node is driven already")
	}
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return n.repeat(inner, n.in.wake, n.turn) })
	g.Go(func() error { return n.repeat(inner, n.hand.wake, n.applyTurn) })
	g.Go(func() error {
		return n.repeat(inner, n.fetch.wake, func() (bool, error) { return n.fetchTurn(inner), nil })
	})
	g.Go(func() error { return n.keepTime(inner) })
	g.Go(func() error { return n.keepHouse(inner) })
	err := g.Wait()
	if err == nil || err == context.Canceled && ctx.Err() != nil {
		n.end(unavailable("the node is stopping", nil))
		return nil
	}
	if l := n.opt.Listener.Fatal; l != nil {
		l(err)
	}
	n.end(err)
	return err
}

// repeat calls turn until it has nothing to do, then waits for wake.
func (n *Node) repeat(ctx context.Context, wake <-chan struct{}, turn func() (bool, error)) error {
	for {
		for {
			if ctx.Err() != nil {
				return context.Canceled
			}
			runtime.Gosched() // let those just answered ask again, and share a sync
			worked, err := turn()
			if err != nil {
				return err
			}
			if !worked {
				break
			}
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Canceled
		}
	}
}

func (n *Node) keepTime(ctx context.Context) error {
	t := time.NewTicker(n.opt.TickInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			n.in.tick(2)
		case <-ctx.Done():
			return context.Canceled
		}
	}
}

// keepHouse runs maintain about once per election timeout.
func (n *Node) keepHouse(ctx context.Context) error {
	t := time.NewTicker(n.opt.TickInterval * time.Duration(n.opt.ElectionTick))
	defer t.Stop()
	for {
		if err := n.maintain(); err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Canceled
		}
	}
}

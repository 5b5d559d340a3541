package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
)

// finishers is how many files are read back and put in place at once.
const finishers = 2

// attempt is the work on a plan with one source. It ends when all files are in
// place, or with the reason why this source cannot do it; the plan then holds
// what is left for the next one.
type attempt struct {
	f     *fetch
	c     *client
	p     *plan
	chunk atomic.Int64 // bytes; less than Options.Chunk while the line keeps breaking

	mu     sync.Mutex
	misfit map[*item]int // how often a whole file was not what the manifest says
}

func newAttempt(f *fetch, c *client) *attempt {
	a := &attempt{f: f, c: c, p: f.plan, misfit: map[*item]int{}}
	a.chunk.Store(int64(f.o.Chunk))
	return a
}

func (a *attempt) run(ctx context.Context) error {
	a.p.forgive()
	a.f.meter.update(func(p *Progress) { p.Phase, p.Source = PhaseTransferring, a.c.name })
	g, ctx := errgroup.WithContext(ctx)
	for range a.f.o.Streams {
		g.Go(func() error { return a.work(ctx) })
	}
	for range finishers {
		g.Go(func() error { return a.finish(ctx) })
	}
	return g.Wait()
}

// work is one stream: it asks for a batch of segments at a time.
func (a *attempt) work(ctx context.Context) error {
	busy := 0
	for {
		chunk := a.chunk.Load()
		segs, err := a.p.take(ctx, 2*a.f.o.Streams, chunk, max(a.f.o.Batch, chunk))
		if segs == nil {
			return err
		}
		if err = a.f.room(ctx); err == nil {
			err = a.stream(ctx, segs, int(chunk))
		}
		wait, err := a.judge(ctx, segs, err, &busy)
		a.p.giveBack(segs)
		if err != nil {
			return err
		}
		if wait > 0 {
			if err := a.f.backoff(ctx, wait); err != nil {
				return err
			}
		}
	}
}

// judge decides what follows from the end of a request: an error ends the
// attempt, else the next request comes after so many turns of backoff.
func (a *attempt) judge(ctx context.Context, segs []*segment, err error, busy *int) (wait int, fatal error) {
	switch {
	case err == nil:
		*busy = 0
		if c := a.chunk.Load(); c < int64(a.f.o.Chunk) {
			a.chunk.CompareAndSwap(c, min(2*c, int64(a.f.o.Chunk)))
		}
		return 0, nil
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case full(err):
		a.f.space.ranOut()
		return 0, nil
	case isLocal(err) || permanent(err):
		return 0, err
	}
	if errs.KindOf(err) == errs.SlowDown && *busy < patience*(a.f.o.Retries+1) {
		*busy++
		a.f.retrying(a.c, err)
		return *busy, nil
	}
	strikes := 1
	for _, s := range segs {
		if s.n > 0 {
			s.strikes++
			strikes = s.strikes
			break
		}
	}
	if strikes > 1 { // not even a chunk came: ask for smaller ones
		c := a.chunk.Load()
		a.chunk.CompareAndSwap(c, max(c/2, MinChunk))
	}
	if strikes > a.f.o.Retries {
		return 0, err
	}
	a.f.retrying(a.c, err)
	return strikes, nil
}

// stream fetches segments with one request. What came is taken off them.
func (a *attempt) stream(ctx context.Context, segs []*segment, chunk int) error {
	parts := make([]part, len(segs))
	for i, s := range segs {
		parts[i] = part{s.it.index, s.off, s.n}
	}
	b, err := a.c.data(ctx, a.p.spec.ID, a.p.sum, chunk, a.f.o.Compression, parts)
	if err != nil {
		return a.fault(err, segs[0])
	}
	defer b.Close()
	fr := frames{r: b, chunk: chunk}
	defer fr.close()
	for _, s := range segs {
		if err := a.segment(ctx, &fr, s); err != nil {
			return err
		}
	}
	h, _, err := fr.next()
	if err == nil && h.kind != frameEnd {
		err = damaged("there is more than was asked for")
	}
	if err != nil {
		return a.fault(err, segs[len(segs)-1])
	}
	return nil
}

// segment writes a segment's chunks to its part file.
func (a *attempt) segment(ctx context.Context, fr *frames, s *segment) (err error) {
	name := a.f.partName(s.it.key)
	file, err := a.f.o.Disk.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return local("file "+name, err)
	}
	defer func() {
		if cerr := file.Close(); err == nil && cerr != nil {
			err = local("file "+name, cerr)
		}
	}()
	for s.n > 0 {
		h, data, err := fr.next()
		switch {
		case err != nil:
			return a.fault(err, s)
		case h.kind == frameEnd:
			return a.fault(damaged("the stream ends too early"), s)
		case h.file != s.it.index || h.off != s.off || len(data) == 0 || int64(len(data)) > s.n:
			return a.fault(damaged("a chunk of file number %d, offset %d, %d bytes, expected number %d, offset %d, at most %d bytes",
				h.file, h.off, len(data), s.it.index, s.off, s.n), s)
		}
		if err := a.f.disk.wait(ctx, len(data)); err != nil {
			return err
		}
		if _, err := file.WriteAt(data, s.off); err != nil {
			return local("file "+name, err)
		}
		if err := a.f.journal.add(record{s.it.key, s.off, h.raw, h.rawSum}); err != nil {
			return local("journal", err)
		}
		a.f.meter.done.Add(int64(len(data)))
		a.f.meter.phase(PhaseTransferring)
		s.off, s.n, s.strikes = s.off+int64(len(data)), s.n-int64(len(data)), 0
		a.p.came(s.it, s.off-int64(len(data)), int64(len(data)))
	}
	return nil
}

func (a *attempt) fault(err error, s *segment) error {
	return a.c.fault(err, a.p.file(s.it), s.off)
}

// finish reads complete items back and puts them in place.
func (a *attempt) finish(ctx context.Context) error {
	for {
		it, err := a.p.takeReady(ctx)
		if it == nil {
			return err
		}
		err = a.f.complete(ctx, it)
		misfit, isMisfit := errors.AsType[*misfitError](err)
		switch {
		case err == nil:
			a.p.placed()
		case isMisfit:
			if err := a.refuse(it, misfit); err != nil {
				return err
			}
		case full(err) && ctx.Err() == nil:
			a.f.space.ranOut()
			if errors.Is(err, errUnsynced) {
				a.f.forget(it)
			} else {
				a.p.again(it)
			}
			if err := a.f.room(ctx); err != nil {
				return err
			}
		default:
			a.p.again(it)
			return err
		}
	}
}

// refuse forgets a file that is not what the manifest says. It is fetched once
// more from this source.
func (a *attempt) refuse(it *item, m *misfitError) error {
	a.f.forget(it)
	err := a.c.fault(errs.New(errs.Corrupt, "", fmt.Sprintf("the whole file has checksum %s, expected %s", m.found, it.key.sum)), a.p.file(it), 0)
	a.mu.Lock()
	a.misfit[it]++
	n := a.misfit[it]
	a.mu.Unlock()
	if n > 1 {
		return err
	}
	a.f.retrying(a.c, err)
	return nil
}

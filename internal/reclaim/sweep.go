package reclaim

import (
	"context"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/errs"
	"o3/internal/view"
)

// sweepBatch is how many blocks a sweep frees at once.
const sweepBatch = 1000

// Sweep is the outcome of a sweep.
type Sweep struct {
	Blocks int // that the store holds
	Freed  int // that no row named
}

// Sweep frees the blocks that were written before the grace and that no row
// names: what a crash between writing and committing leaves. It holds a few
// bits per block in memory.
func (s *Service) Sweep(ctx context.Context) (Sweep, error) {
	var out Sweep
	before := time.Now().Add(-s.o.SweepGrace)
	old := map[uint64]*roaring64.Bitmap{}
	err := s.o.Blocks.List(ctx, func(b block.Info) error {
		out.Blocks++
		if b.Created.Before(before) {
			add(old, b.ID)
		}
		return ctx.Err()
	})
	hurt := err
	if err != nil && errs.KindOf(err) != errs.Corrupt {
		return out, err
	}
	// A damaged container was passed over: what was listed can be swept.
	// The rows are read after the list: a block named by then is in the view.
	snap := s.o.Store.Snapshot()
	err = view.Named(snap, func(extents []*o3v1.Extent) error {
		for _, e := range extents {
			if m := old[e.Container]; m != nil {
				m.Remove(e.Local)
			}
		}
		return ctx.Err()
	})
	snap.Close()
	if err != nil {
		return out, err
	}
	if err := s.free(ctx, old, &out); err != nil {
		return out, err
	}
	if s.o.Listener.Swept != nil {
		s.o.Listener.Swept(out)
	}
	return out, hurt
}

func add(sets map[uint64]*roaring64.Bitmap, id block.ID) {
	m := sets[id.Container]
	if m == nil {
		m = roaring64.New()
		sets[id.Container] = m
	}
	m.Add(id.Local)
}

// free frees the blocks of sets in batches.
func (s *Service) free(ctx context.Context, sets map[uint64]*roaring64.Bitmap, out *Sweep) error {
	var batch []block.ID
	flush := func() error {
		err := s.o.Blocks.Delete(ctx, batch)
		if err == nil {
			out.Freed += len(batch)
			batch = batch[:0]
		}
		return err
	}
	for container, m := range sets {
		for it := m.Iterator(); it.HasNext(); {
			batch = append(batch, block.ID{Container: container, Local: it.Next()})
			if len(batch) < sweepBatch {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return flush()
}

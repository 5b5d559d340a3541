package recon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
)

// build makes new generations when they are asked for.
func (s *Service) build(ctx context.Context) error {
	backoff := s.o.Backoff
	for at := 0; ; {
		var a ask
		select {
		case a = <-s.asks:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		rebuilt, err := s.make(ctx, a, s.o.Sources[at%len(s.o.Sources)])
		s.over(ctx, a, began, rebuilt, err)
		if err == nil {
			backoff = s.o.Backoff
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		at++
		if a.reason == ReasonManual || a.reason == ReasonRebuild {
			continue // what there is goes on; whoever asked sees how it ended
		}
		wait := time.NewTimer(backoff)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		backoff = min(2*backoff, s.o.MaxBackoff)
		s.wish(a)
	}
}

// over notes how making a generation ended.
func (s *Service) over(ctx context.Context, a ask, began time.Time, rebuilt task.Rebuilt, err error) {
	if ctx.Err() != nil && err != nil {
		return // it was stopped
	}
	done := Synced{Reason: a.reason, Detail: a.detail, Finished: time.Now(), Took: time.Since(began)}
	s.mu.Lock()
	s.built = nil
	if err != nil {
		done.Error = err.Error()
		s.status.Failed++
	} else {
		s.status.Syncs++
	}
	s.status.LastSync = &done
	s.mu.Unlock()
	if s.o.Listener.Built != nil {
		s.o.Listener.Built(done, rebuilt)
	}
}

// step begins a step of making a generation.
func (s *Service) step(name string, a ask, p Phase) {
	s.mu.Lock()
	s.built = &Building{Generation: name, Reason: a.reason, Detail: a.detail, Phase: p, Since: time.Now()}
	b := *s.built
	s.mu.Unlock()
	if s.o.Listener.Building != nil {
		s.o.Listener.Building(b)
	}
}

func (s *Service) progress(done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.built != nil {
		s.built.Done, s.built.Total = done, total
	}
}

// make makes a generation, brings it up to date, and puts it into force.
func (s *Service) make(ctx context.Context, a ask, src Source) (out task.Rebuilt, err error) {
	name := generationName(s.next)
	dir := filepath.Join(s.o.Dir, name)
	cur, _ := s.now()
	s.step(name, a, PhaseImage)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return out, errs.Wrap(errs.Internal, dir, err)
	}
	m, err := s.image(ctx, a, src, cur, filepath.Join(dir, generation.ReplicaDir))
	if err != nil {
		return out, err // what came in stays for the next try
	}
	s.next++
	g, err := s.openGeneration(ctx, name)
	if err == nil {
		if out, err = s.complete(ctx, a, src, name, g, m); err != nil {
			err = errors.Join(err, g.Close())
		}
	}
	if err != nil {
		return out, errors.Join(err, os.RemoveAll(dir))
	}
	s.step(name, a, PhaseSwitch)
	if err := writeCurrent(s.o.Dir, name); err != nil {
		return out, errors.Join(err, g.Close())
	}
	old := s.take(&served{name, g}, name)
	from := ""
	if old != nil {
		from = old.name
		s.closing.Go(func() { s.retire(old) })
	}
	if s.o.Listener.Switched != nil {
		s.o.Listener.Switched(from, name)
	}
	return out, nil
}

// image brings the replica of a new generation.
func (s *Service) image(ctx context.Context, a ask, src Source, cur *served, dir string) (*image.Manifest, error) {
	if a.local && cur != nil {
		return nil, cur.g.Checkpoint(dir)
	}
	var reuse []string
	if cur != nil {
		reuse = append(reuse, filepath.Join(s.o.Dir, cur.name, generation.ReplicaDir))
	}
	return src.Image(ctx, dir, reuse, s.progress)
}

// complete derives the tables of a generation and brings it up to date.
func (s *Service) complete(ctx context.Context, a ask, src Source, name string, g *generation.Generation, m *image.Manifest) (out task.Rebuilt, err error) {
	if pos := g.Position(); m != nil && (pos.Index != m.Index || pos.Digest.String() != m.Digest) {
		return out, errs.New(errs.Corrupt, "image "+m.ID, "the replica made of it is at another index or has another digest")
	}
	s.step(name, a, PhaseRebuild)
	o, rows, total := s.o.Rebuild, map[string]int64{}, int64(0)
	o.Progress = func(table string, n int64) {
		total += n - rows[table]
		rows[table] = n
		s.progress(total, 0)
	}
	if out, err = g.Rebuild(ctx, o); err != nil {
		return out, err
	}
	s.step(name, a, PhaseCatchUp)
	began := g.Position().Index
	commit := uint64(0)
	err = follow(ctx, g, src, func(m *o3v1.ReadLogResponse, _ time.Duration) {
		s.tell(m)
		commit = max(commit, m.CommitIndex)
		s.progress(int64(g.Position().Index-began), int64(max(commit, began)-began))
	}, func() bool { return g.Position().Index >= commit })
	if err != nil {
		return out, err
	}
	return out, g.Flush()
}

// retire closes a generation that is not in force any more, when nobody looks at
// it, and removes it.
func (s *Service) retire(old *served) {
	s.failed("close "+old.name, old.g.Close())
	s.failed("remove "+old.name, os.RemoveAll(filepath.Join(s.o.Dir, old.name)))
}

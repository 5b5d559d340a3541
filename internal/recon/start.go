package recon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"o3/internal/durable"
	"o3/internal/errs"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
)

// recordFile is the record of the stage.
const recordFile = "staging"

// open opens the generation in force, ends the stage that a stop or a crash has
// cut, and removes what is of no use.
func (s *Service) open(ctx context.Context) error {
	for _, name := range []string{currentFile, recordFile} {
		if err := s.d.removeAll(s.d.path(name + durable.NewSuffix)); err != nil {
			return err
		}
	}
	m, err := s.d.readCurrent()
	if err != nil {
		return err
	}
	r, err := s.readRecord()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.marker, s.record, s.stage, s.queue, s.retry = m, r, nil, nil, nil
	s.mu.Unlock()
	if err := s.number(m, r); err != nil {
		return err
	}
	s.resume()
	if err := s.clear(); err != nil {
		return err
	}
	if m.Generation == "" {
		s.wish(ask{kind: staging.Full, reason: ReasonFirst})
		return nil
	}
	return s.openCurrent(ctx)
}

// readRecord reads the record of the stage. One that says nothing is told of and
// is that of no stage.
func (s *Service) readRecord() (staging.Record, error) {
	path := s.d.path(recordFile)
	raw, err := s.d.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return staging.New(), nil
	}
	if err != nil {
		return staging.New(), errs.Wrap(errs.Internal, path, err)
	}
	r, err := staging.Decode(path, raw)
	if errs.KindOf(err) == errs.Corrupt && err != nil {
		s.failed("read "+path, err)
		return staging.New(), nil
	}
	return r, err
}

// number finds the number of the next generation: none is used twice.
func (s *Service) number(m marker, r staging.Record) error {
	all, err := s.d.generations()
	if err != nil {
		return err
	}
	for _, name := range []string{m.Generation, m.Previous, r.StagingID} {
		if n, ok := generationNumber(name); ok {
			all[name] = n
		}
	}
	for _, n := range all {
		s.next = max(s.next, n+1)
	}
	return nil
}

// resume ends the stage that was being made when the server ended, and has it made
// again.
func (s *Service) resume() {
	r := s.record
	switch {
	case r.State == staging.None && r.RetryMs > 0:
		s.later(jobOf(r, r.Attempt+1), time.UnixMilli(r.RetryMs))
		return
	case !r.State.Running():
		return
	case r.State == staging.Committing && r.StagingID == s.marker.Generation: // the marker is all that counts
		s.move(staging.Committed, string(staging.EndRestart), "")
	}
	if s.record.State == staging.Committed {
		s.move(staging.None, string(staging.EndRestart), "")
		return
	}
	detail, made := "the server has ended during the stage", r.Attempt
	if r.Stopped {
		detail, made = "the server was stopped", r.Attempt-1
	}
	if s.d.kept(r.StagingID) == nil && r.StagingID != s.marker.Generation {
		s.failed("salvage the image of "+r.StagingID, s.d.salvage(r.StagingID, true))
	}
	if r.State != staging.RollingBack {
		s.move(staging.RollingBack, string(staging.EndRestart), detail)
	}
	due, failed := s.retries().Next(staging.EndRestart, made, s.clock.Now())
	if r.Stopped {
		due, failed = s.clock.Now(), false
	}
	s.settle(jobOf(r, made), staging.EndRestart, detail, due, failed)
}

// clear removes generations and stages that nobody wants.
func (s *Service) clear() error {
	all, err := s.d.generations()
	if err != nil {
		return err
	}
	newest := ""
	for name := range all {
		if s.d.kept(name) != nil {
			newest = max(newest, name)
		}
	}
	for name := range all {
		if name == s.marker.Generation || name == s.marker.Previous || name == newest {
			continue
		}
		if err := s.d.remove(name); err != nil {
			return err
		}
	}
	return nil
}

// openCurrent opens the generation in force; where that is not possible, the one
// before, if it is kept; and has a new one made.
func (s *Service) openCurrent(ctx context.Context) error {
	name := s.marker.Generation
	s.d.unkeep(name)
	g, err := s.openGeneration(ctx, name)
	if err == nil {
		return s.serve(g, name)
	}
	s.failed("open "+name, err)
	s.wish(ask{kind: staging.Full, reason: ReasonDamaged, detail: err.Error()})
	previous := s.marker.Previous
	if previous == "" {
		return nil
	}
	if g, err = s.openGeneration(ctx, previous); err != nil {
		s.failed("open "+previous, err)
		return nil
	}
	if built, err := g.Built(); err != nil || !built {
		return g.Close()
	}
	if err := s.mark(marker{Generation: previous, SinceMs: s.clock.Now().UnixMilli()}); err != nil {
		return errors.Join(err, g.Close())
	}
	s.failed("remove "+name, s.d.remove(name))
	s.take(&served{name: previous, g: g, follow: new(sync.Mutex)})
	return nil
}

// serve puts the generation in force that the marker names. If its derived tables
// were being built in place, or a version with other tasks has built them, they are
// not shown until they are built again.
func (s *Service) serve(g *generation.Generation, name string) error {
	cur := &served{name: name, g: g, follow: new(sync.Mutex)}
	built, err := g.Built()
	if err != nil || !built {
		why, reason := "its derived tables are older than its replica", ReasonDamaged
		if whole, werr := g.Whole(); err == nil && werr == nil && !whole {
			why, reason = "its derived tables are those of another version", ReasonVersion
		} else if err = errors.Join(err, werr); err != nil {
			why = err.Error()
		}
		if reason == ReasonDamaged {
			s.failed("open "+name, errs.New(errs.Corrupt, name, why))
		}
		g.Withhold(s.withheld(why))
		cur.paused = true
		s.wish(ask{kind: staging.Local, reason: reason, detail: why})
	}
	s.take(cur)
	return nil
}

// withheld tells why derived tables are not shown.
func (s *Service) withheld(why string) *generation.Withheld {
	return &generation.Withheld{Why: "they are being rebuilt: " + why, RetryAfter: s.o.Staging.HealthInterval}
}

func (s *Service) openGeneration(ctx context.Context, name string) (*generation.Generation, error) {
	o := s.o.Generation
	var err error
	if o.Dir, err = s.d.at(name); err != nil {
		return nil, err
	}
	if !s.d.exists(s.d.fs.PathJoin(o.Dir, generation.ReplicaDir)) {
		return nil, errs.New(errs.Corrupt, o.Dir, fmt.Sprintf("it has no %s", generation.ReplicaDir))
	}
	return generation.Open(ctx, o)
}

// mark changes the marker: what is in force.
func (s *Service) mark(m marker) error {
	if err := s.d.writeCurrent(m); err != nil {
		return err
	}
	s.mu.Lock()
	s.marker = m
	s.mu.Unlock()
	return nil
}

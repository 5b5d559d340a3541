package recon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/staging"
)

// ask is a wish for a new generation.
type ask struct {
	kind   staging.Kind
	reason Reason
	detail string
	clean  bool   // nothing of earlier tries is used
	from   uint64 // of an incremental one: an entry that must be in what it begins with
	manual bool   // somebody wants it now
}

// job is a stage that is to be made.
type job struct {
	ask
	id      string // its stagingId, also the name of its directory
	attempt int    // 1 for the first one
	inPlace bool
	due     time.Time

	waitsForDisk bool   // the try before found no room
	freeThen     uint64 // bytes, then
}

// jobOf returns the job of which a record is, as its nth try.
func jobOf(r staging.Record, attempt int) job {
	return job{
		ask: ask{kind: r.Kind, reason: Reason(r.Reason), detail: r.Detail, from: r.From}, id: r.StagingID, attempt: attempt, inPlace: r.InPlace,
	}
}

// Trigger is what a new generation is wanted of.
type Trigger struct {
	Kind   staging.Kind // "": Full
	Reason Reason       // "": that of the kind
	Clean  bool         // from nothing: what earlier tries have left is removed first
	From   uint64       // Incremental: an entry that must be in what the stage begins with; 0: any
}

// Triggered says what became of a Trigger.
type Triggered struct {
	StagingID string
	Joined    bool // a stage that is being made, or is to be made already, does it
	Queued    bool // it comes after the one that is being made
}

// Trigger has a new generation made. One that is being made, or comes next, and
// does the same is joined; else it comes next. Kinds: Invalid, Unavailable (there
// is nothing yet to make it of).
func (s *Service) Trigger(t Trigger) (Triggered, error) {
	reasons := map[staging.Kind]Reason{staging.Full: ReasonManual, staging.Local: ReasonRebuild, staging.Incremental: ReasonIncremental}
	fill(&t.Kind, staging.Full)
	if reasons[t.Kind] == "" {
		return Triggered{}, errs.New(errs.Invalid, "kind", fmt.Sprintf("%q: a stage is FULL, LOCAL or INCREMENTAL", t.Kind))
	}
	fill(&t.Reason, reasons[t.Kind])
	if t.Kind != staging.Full {
		if err := s.canBeginWith(t); err != nil {
			return Triggered{}, err
		}
	}
	return s.wish(ask{kind: t.Kind, reason: t.Reason, clean: t.Clean, from: t.From, manual: true}), nil
}

// canBeginWith reports why a stage cannot be made of the generation in force.
func (s *Service) canBeginWith(t Trigger) error {
	cur, _ := s.now()
	if cur == nil {
		return errs.New(errs.Unavailable, "Recon", "there is no generation yet to make one of")
	}
	if t.Kind != staging.Incremental {
		return nil
	}
	if s.o.Staging.Disabled {
		return errs.New(errs.Invalid, "incremental staging", "staging is disabled: tables are rebuilt in place")
	}
	if at := cur.g.Position().Index; t.From > at {
		return errs.New(errs.Invalid, "incremental staging", "the generation in force reflects an earlier entry than the one it is to begin with")
	}
	return nil
}

// Sync has the namespace brought from the OM anew. It reports whether it will be;
// else one that does it is being made already.
func (s *Service) Sync() bool {
	t, err := s.Trigger(Trigger{Kind: staging.Full})
	return err == nil && !t.Joined
}

// Reinit has the derived tables built anew from the replica that is here.
func (s *Service) Reinit() bool {
	t, err := s.Trigger(Trigger{Kind: staging.Local})
	return err == nil && !t.Joined
}

// wish asks for a new generation.
func (s *Service) wish(a ask) Triggered {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.manual {
		s.needs = &a
	}
	running := s.stage != nil
	if running && s.joinable(a) {
		return Triggered{StagingID: s.stage.job.id, Joined: true}
	}
	if q := s.queue; q != nil {
		clean := q.clean || a.clean
		if !q.kind.Covers(a.kind) {
			q.ask = a
		}
		q.clean = clean
		return Triggered{StagingID: q.id, Joined: true, Queued: running}
	}
	if r := s.retry; r != nil && r.kind.Covers(a.kind) {
		if !a.manual {
			return Triggered{StagingID: r.id, Joined: true}
		}
		a.kind, a.reason, a.detail, a.from = r.kind, r.reason, r.detail, r.from // now, and not later
	}
	s.queue, s.retry = &job{ask: a, id: generationName(s.next), attempt: 1}, nil
	s.next++
	s.nudge()
	return Triggered{StagingID: s.queue.id, Queued: running}
}

// needed says what those who follow wait for, and how it is begun, where nothing
// is made or due: somebody has cancelled it, or it has failed. s.mu is held.
func (s *Service) needed() string {
	if s.needs == nil || s.stage != nil || s.queue != nil || s.retry != nil || s.due != nil {
		return ""
	}
	kind := strings.ToLower(string(s.needs.kind))
	return fmt.Sprintf("a new generation is needed (%s) and none is made or due: o3 admin staging reprocess --kind %s begins it, as a restart does", s.needs.reason, kind)
}

// joinable reports whether the stage that is being made does what is asked: what
// it ends with is not older than the ask. s.mu is held.
func (s *Service) joinable(a ask) bool {
	return !s.stage.over && !a.clean && s.stage.job.kind.Covers(a.kind) && s.stage.job.from >= a.from
}

// nudge wakes the builder.
func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// later has a job made again when it is due.
func (s *Service) later(j job, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry = s.again(j, due)
	s.nudge()
}

// again returns a job as another stage, which is due then; s.mu is held.
func (s *Service) again(j job, due time.Time) *job {
	j.id, j.due, j.clean = generationName(s.next), due, false
	s.next++
	return &j
}

// build makes generations when they are asked for, one at a time.
func (s *Service) build(ctx context.Context) error {
	defer s.forgetRetry() // that was cancelled when ctx ended
	for {
		st, inner, due := s.begin(ctx)
		if st == nil {
			s.forgetRetry()
			if !s.pause(ctx, due) {
				return nil
			}
			continue
		}
		s.runStage(ctx, inner, st)
		s.exec.Unlock()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// forgetRetry writes that a retry was cancelled.
func (s *Service) forgetRetry() {
	s.mu.Lock()
	r, forget := s.record, s.forget
	s.forget = false
	s.mu.Unlock()
	if forget {
		s.failed("write "+s.d.path(recordFile), s.writeRecord(r))
	}
}

// pause waits until there may be something new: until due, for ever when that is
// zero, or a nudge. It reports whether ctx goes on.
func (s *Service) pause(ctx context.Context, due time.Time) bool {
	var fired <-chan time.Time
	if !due.IsZero() {
		var stop func()
		fired, stop = s.clock.Timer(due.Sub(s.clock.Now()))
		defer stop()
		if !s.clock.Now().Before(due) { // it came while the timer was set
			return ctx.Err() == nil
		}
	}
	select {
	case <-fired:
	case <-s.wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// begin takes the next job, if there is one that is due, with s.exec held; else it
// returns when one is due, zero for never. inner is what ends when the stage is
// cancelled, which can be from now on.
func (s *Service) begin(ctx context.Context) (st *stage, inner context.Context, due time.Time) {
	s.exec.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var j *job
	switch {
	case s.queue != nil:
		j, s.queue = s.queue, nil
	case s.retry != nil:
		if due = s.retry.due; !s.clock.Now().Before(due) {
			j, s.retry = s.retry, nil
		}
	}
	if j == nil {
		s.exec.Unlock()
		return nil, nil, due
	}
	j.inPlace = j.inPlace || s.o.Staging.Disabled
	inner, cancel := context.WithCancelCause(ctx)
	s.stage = &stage{job: *j, began: s.clock.Now(), cancel: cancel}
	s.forget = false
	return s.stage, inner, time.Time{}
}

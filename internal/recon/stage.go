package recon

import (
	"context"
	"errors"
	"sync"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
)

// stage is a stage that is being made. What is not said to be of the builder alone
// is guarded by Service.mu.
type stage struct {
	job    job
	began  time.Time
	cancel context.CancelCauseFunc

	building *Building
	over     bool          // it switches, or came to nothing: what is asked for now needs another
	idle     time.Duration // waited for OMs that do not answer
	waiting  bool
	progress progress
	breaker  staging.Breaker
	why      string         // of the breaker
	limits   staging.Limits // without the breaker's
	paused   chan struct{}  // closed when it goes on; nil: it does
	turns    int            // threads that read
	freed    chan struct{}  // closed when one has read, or the breaker has moved; nil: nobody waits

	g       *generation.Generation // of the builder, as what follows
	rebuilt task.Rebuilt
	tasks   []string // that were told of the beginning
	wg      sync.WaitGroup
}

// ended is that a stage came to nothing, and how.
type ended struct {
	how staging.Ending
	err error
}

func (e *ended) Error() string { return e.err.Error() }
func (e *ended) Unwrap() error { return e.err }

// end returns err with how it ended the stage, unless it has that already.
func end(how staging.Ending, err error) error {
	if err == nil {
		return nil
	}
	if e := (*ended)(nil); errors.As(err, &e) {
		return err
	}
	if diskFull(err) {
		how = staging.EndDisk
	}
	return &ended{how, err}
}

func diskFull(err error) bool {
	return errs.KindOf(err) == errs.ReadOnly || diskKind(err) == errs.ReadOnly
}

var (
	errCancelled = &ended{staging.EndCancelled, errs.New(errs.Canceled, "stage", "it was cancelled")}
	errTimeout   = &ended{staging.EndTimeout, errs.New(errs.DeadlineExceeded, "stage", "it has taken longer than ozone.recon.staging.timeout.minutes")}
)

// runStage makes a stage, and has it made again when that is due. Where ctx ends,
// it leaves the stage for the next start; where only inner does, it was cancelled.
func (s *Service) runStage(ctx, inner context.Context, st *stage) {
	s.mu.Lock()
	s.told.operations++
	s.mu.Unlock()
	s.guard(inner, st)
	err := s.advance(inner, st)
	if cause := context.Cause(inner); err != nil && ctx.Err() == nil && cause != nil {
		err = cause // what was cut says less
	}
	st.cancel(nil)
	st.wg.Wait()
	switch {
	case err != nil && ctx.Err() != nil:
		s.stopped(st)
	case err != nil:
		s.rollbackStagingArea(st, end(staging.EndTask, err))
	}
	s.mu.Lock()
	s.stage = nil
	s.mu.Unlock()
}

// end notes that nobody can join the stage any more.
func (s *Service) end(st *stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.over = true
}

// stopped leaves a stage as it is: the server ends.
func (s *Service) stopped(st *stage) {
	s.closeStage(st)
	s.mu.Lock()
	s.record.Stopped = s.record.State.Running()
	r := s.record
	s.mu.Unlock()
	s.failed("write "+s.d.path(recordFile), s.writeRecord(r))
}

func (s *Service) closeStage(st *stage) {
	if st.g != nil {
		s.failed("close "+st.job.id, st.g.Close())
		st.g = nil
	}
}

// move makes the stage of another state, durably, and tells of it. On the way back
// the state changes also when that cannot be written: a start finds out by itself.
func (s *Service) move(to staging.State, reason, detail string) error {
	next, t, err := s.record.To(to, reason, detail, s.clock.Now())
	if err != nil {
		return err
	}
	return s.moved(next, t)
}

func (s *Service) moved(next staging.Record, t staging.Transition) error {
	if err := s.writeRecord(next); err != nil {
		if t.To == staging.Initializing || t.To == staging.Processing || t.To == staging.ReadyToCommit || t.To == staging.Committing {
			return err
		}
		s.failed("write "+s.d.path(recordFile), err)
	}
	s.mu.Lock()
	s.record = next
	if !next.State.Running() { // it is over, for everybody at once
		if s.due != nil && (s.retry == nil || s.due.kind.Covers(s.retry.kind)) {
			s.retry = s.due
		}
		s.stage, s.due = nil, nil
		s.nudge()
	}
	s.mu.Unlock()
	if s.o.Listener.Transition != nil {
		s.o.Listener.Transition(t)
	}
	return nil
}

func (s *Service) writeRecord(r staging.Record) error {
	raw, err := r.Encode()
	if err != nil {
		return err
	}
	if err := s.d.write(s.d.path(recordFile), raw); err != nil {
		return errs.Wrap(diskKind(err), s.d.path(recordFile), err)
	}
	return nil
}

// initialize begins the stage.
func (s *Service) initialize(st *stage) error {
	j := st.job
	next := staging.Record{StagingID: j.id, Kind: j.kind, Reason: string(j.reason), Detail: j.detail, From: j.from, Clean: j.clean, InPlace: j.inPlace, Attempt: j.attempt}
	next, t, err := s.record.Begin(next, s.clock.Now())
	if err != nil {
		return err
	}
	return s.moved(next, t)
}

// advance makes a stage and switches to it.
func (s *Service) advance(ctx context.Context, st *stage) error {
	if err := s.initialize(st); err != nil {
		return end(staging.EndTask, err)
	}
	if err := s.roomFor(st); err != nil {
		return err
	}
	s.plan(st)
	if st.job.inPlace {
		return s.inPlace(ctx, st)
	}
	steps := []struct {
		do func(context.Context, *stage) error
		to staging.State
	}{{s.createStagingArea, staging.Processing}, {s.process, staging.ReadyToCommit}}
	for _, step := range steps {
		if err := step.do(ctx, st); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.move(step.to, "", ""); err != nil {
			return end(staging.EndTask, err)
		}
	}
	s.end(st)
	if err := s.move(staging.Committing, "", ""); err != nil {
		return end(staging.EndSwitch, err)
	}
	return s.commitStagingArea(st)
}

// createStagingArea makes the directory of a stage, and its replica.
func (s *Service) createStagingArea(ctx context.Context, st *stage) error {
	name := st.job.id
	if st.job.clean {
		if err := s.discardSalvage("a stage from nothing was asked for"); err != nil {
			return end(staging.EndTask, err)
		}
	}
	if err := s.d.begin(name); err != nil {
		return end(staging.EndTask, errs.Wrap(diskKind(err), s.d.path(name), err))
	}
	at, err := s.d.at(name)
	if err != nil {
		return end(staging.EndTask, err)
	}
	s.step(st, PhaseImage)
	cur, _ := s.now()
	switch {
	case st.job.kind == staging.Full || cur == nil:
		err = s.bring(ctx, st, at)
	case st.job.kind == staging.Incremental:
		if err = cur.g.Clone(ctx, at); err == nil {
			err = s.openStagingStorage(ctx, st)
		}
	default:
		if err = cur.g.Checkpoint(s.d.fs.PathJoin(at, generation.ReplicaDir)); err == nil {
			err = s.openStagingStorage(ctx, st)
		}
	}
	if err != nil {
		return end(staging.EndImage, err)
	}
	return nil
}

func (s *Service) openStagingStorage(ctx context.Context, st *stage) (err error) {
	st.g, err = s.openGeneration(ctx, st.job.id)
	return err
}

// process has the tasks fill the tables of a stage, brings it up to date, and
// compares it with what the namespace says of itself.
func (s *Service) process(ctx context.Context, st *stage) error {
	if st.job.kind != staging.Incremental {
		if err := s.reprocessToStaging(ctx, st); err != nil {
			return err
		}
	}
	s.step(st, PhaseCatchUp)
	if err := s.applyDeltaToStaging(ctx, st); err != nil {
		return err
	}
	if err := st.g.Flush(); err != nil {
		return end(staging.EndTask, err)
	}
	if at, err := s.d.at(st.job.id); err == nil {
		if err := s.d.sync(at); err != nil {
			return end(staging.EndTask, errs.Wrap(errs.Internal, at, err))
		}
	}
	s.step(st, PhaseValidate)
	return s.validateStagingData(ctx, st)
}

// commitStagingArea is the switch: one file is replaced. Until then a failure changes nothing,
// and after it nothing can fail.
func (s *Service) commitStagingArea(st *stage) error {
	began := s.clock.Now()
	s.step(st, PhaseSwitch)
	s.files.Lock()
	defer s.files.Unlock()
	before, name := s.inForce(), st.job.id
	next := marker{Generation: name, SinceMs: began.UnixMilli()}
	cur, _ := s.now()
	if s.o.Staging.Retention > 0 && cur != nil && !cur.paused { // one that answers nothing is not worth keeping
		next.Previous = cur.name
	}
	if err := s.mark(next); err != nil {
		if now, rerr := s.d.readCurrent(); rerr != nil || now.Generation == name { // it is not known to be lost
			if before.Generation == "" {
				rerr = s.d.removeAll(s.d.path(currentFile))
			} else {
				rerr = s.d.writeCurrent(before)
			}
			s.failed("write "+s.d.path(currentFile), rerr)
		}
		return end(staging.EndSwitch, &ended{staging.EndSwitch, err})
	}
	old := s.take(&served{name: name, g: st.g, follow: new(sync.Mutex)})
	st.g = nil
	from := ""
	if old != nil {
		from = old.name
		s.retire(old, next.Previous == from)
	}
	s.switched(from, name)
	switching := s.clock.Now().Sub(began)
	for _, older := range []string{before.Previous, before.Generation} {
		if older != "" && older != from && older != next.Previous {
			s.discard("previous generation", older, "there is a newer one")
		}
	}
	s.committed(st, switching)
	return nil
}

func (s *Service) switched(from, to string) {
	if s.o.Listener.Switched != nil {
		s.o.Listener.Switched(from, to)
	}
}

// committed ends a stage whose generation is in force.
func (s *Service) committed(st *stage, switching time.Duration) {
	took := s.clock.Now().Sub(st.began)
	s.failed("move", s.move(staging.Committed, "", ""))
	s.onStagingComplete(st, true)
	s.mu.Lock()
	s.record.Error, s.record.RetryMs = "", 0
	s.told.successful++
	s.told.took, s.told.switching = took, switching
	s.rows = st.rebuilt.Rows
	s.mu.Unlock()
	if s.o.Listener.Committed != nil {
		s.o.Listener.Committed(st.job.id, took, switching)
	}
	s.finished(st, nil)
	s.failed("move", s.move(staging.None, "", ""))
}

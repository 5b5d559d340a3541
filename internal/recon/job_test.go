package recon

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"o3/internal/recon/staging"
)

// TestQueueStaysClean: who asks for a stage of nothing that was left gets one, also
// when somebody asks for a larger one after it.
func TestQueueStaysClean(t *testing.T) {
	s := New(Options{Dir: t.TempDir()})
	first := s.wish(ask{kind: staging.Local, reason: ReasonRebuild, clean: true, manual: true})
	second := s.wish(ask{kind: staging.Full, reason: ReasonTruncated})
	if q := s.queue; !second.Joined || second.StagingID != first.StagingID || q.kind != staging.Full || q.reason != ReasonTruncated || !q.clean {
		t.Errorf("%+v, %+v, %+v", first, second, q)
	}
}

// TestCancelAtOnce: a stage can be cancelled from the moment at which it does not
// wait any more.
func TestCancelAtOnce(t *testing.T) {
	s := New(Options{Dir: t.TempDir()})
	s.wish(ask{kind: staging.Full, reason: ReasonManual, manual: true})
	st, inner, _ := s.begin(t.Context())
	defer s.exec.Unlock()
	if st == nil || !s.CancelStaging() || !errors.Is(context.Cause(inner), errCancelled) {
		t.Errorf("%+v goes on: %v", st, context.Cause(inner))
	}
}

// onTimer is a clock that calls when somebody begins to wait.
type onTimer struct {
	realClock
	call func()
}

// Timer implements Clock.
func (c onTimer) Timer(time.Duration) (<-chan time.Time, func()) {
	c.call()
	return nil, func() {}
}

// TestCancelledRetryStaysSo: a retry that was cancelled while the server began to
// stop is not there after the next start.
func TestCancelledRetryStaysSo(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var s *Service
	s = New(Options{Dir: t.TempDir(), Staging: StagingOptions{Clock: onTimer{call: func() {
		if !s.CancelStaging() {
			t.Error("there is nothing to cancel")
		}
		<-s.wake // who stops need not look whether there is anything new
		stop()
	}}}})
	s.record.StagingID, s.record.RetryMs = generationName(1), time.Now().Add(time.Hour).UnixMilli()
	if err := s.writeRecord(s.record); err != nil {
		t.Fatal(err)
	}
	s.later(jobOf(s.record, 2), time.UnixMilli(s.record.RetryMs))
	<-s.wake
	if err := s.build(ctx); err != nil {
		t.Error(err)
	}
	if r, err := s.readRecord(); err != nil || r.StagingID != generationName(1) || r.RetryMs != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNoLookAfterTheEnd: a look at what the machine has for a stage, which was on its
// way when the stage ended, says nothing of it.
func TestNoLookAfterTheEnd(t *testing.T) {
	var told []staging.Step
	s := New(Options{
		Dir: t.TempDir(), Staging: StagingOptions{Memory: func() (uint64, uint64) { return 99, 100 }},
		Listener: Listener{Breaker: func(_ string, _, to staging.Step, _ string) { told = append(told, to) }},
	})
	s.stage = &stage{cancel: func(error) {}}
	s.examine(s.stage)
	over := s.stage
	s.stage = nil
	s.examine(over)
	if len(told) != 1 || told[0] != staging.StepBatches {
		t.Errorf("told of %v", told)
	}
}

// TestDueWhileTheTimerIsSet: who held the builder up between a look at the time and
// the setting of its timer has it look again.
func TestDueWhileTheTimerIsSet(t *testing.T) {
	due := time.Now().Add(time.Hour)
	now := due.Add(-time.Minute)
	s := New(Options{Dir: t.TempDir(), Staging: StagingOptions{Clock: lateClock{now: &now}}})
	if !s.pause(t.Context(), due) || now.Before(due) {
		t.Error(now)
	}
}

// lateClock is a clock that passes an hour while a timer is set, which never fires.
type lateClock struct{ now *time.Time }

func (c lateClock) Now() time.Time { return *c.now }

func (c lateClock) Timer(time.Duration) (<-chan time.Time, func()) {
	*c.now = c.now.Add(time.Hour)
	return nil, func() {}
}

// TestAskedBeforeTheFirstStart: whoever asks before Recon has a directory is told of
// nothing, and nothing has failed.
func TestAskedBeforeTheFirstStart(t *testing.T) {
	s := New(Options{Dir: filepath.Join(t.TempDir(), "recon"), Listener: Listener{Failed: func(what string, err error) { t.Error(what, err) }}})
	if st := s.Staging(); st.State != staging.None || len(st.Kept) != 0 {
		t.Errorf("%+v", st)
	}
}

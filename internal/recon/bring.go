package recon

import (
	"context"
	"errors"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/recon/generation"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
)

// passes reports whether an error of an OM may pass by itself: it does not answer,
// refuses, is too busy, or has removed what it had promised.
func passes(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.NotLeader, errs.SlowDown, errs.DeadlineExceeded, errs.Canceled, errs.Unauthenticated, errs.Denied, errs.Conflict, errs.NoSuchSnapshot:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// bring brings an image of an OM, and makes it the replica of a stage. As long as
// no OM answers it goes on asking.
func (s *Service) bring(ctx context.Context, st *stage, at string) error {
	if err := s.takeSalvage(at); err != nil {
		return err
	}
	dir := s.d.fs.PathJoin(at, generation.ReplicaDir)
	var m *image.Manifest
	backoff := s.o.Backoff
	for try := 0; ; try++ {
		src := s.o.Sources[try%len(s.o.Sources)]
		var err error
		m, err = src.Image(ctx, dir, s.reusable(), func(done, total int64) { s.imageProgress(st, done, total) })
		if err == nil {
			break
		}
		if ctx.Err() != nil || !passes(err) {
			return err
		}
		s.failedTry(st, err)
		if !s.idle(ctx, st, backoff) {
			return context.Cause(ctx)
		}
		backoff = min(2*backoff, s.o.MaxBackoff)
	}
	if err := s.openStagingStorage(ctx, st); err != nil {
		return err
	}
	if pos := st.g.Position(); pos.Index != m.Index || pos.Digest.String() != m.Digest {
		return errs.New(errs.Corrupt, "image "+m.ID, "the replica made of it is at another index or has another digest")
	}
	return s.discardSalvage("the image is whole")
}

// reusable returns the directories whose files need not be sent again.
func (s *Service) reusable() (dirs []string) {
	m := s.inForce()
	for _, name := range []string{m.Generation, m.Previous} {
		if at, err := s.d.at(name); name != "" && err == nil {
			dirs = append(dirs, s.d.fs.PathJoin(at, generation.ReplicaDir))
		}
	}
	whole := s.d.fs.PathJoin(s.d.base, salvageDir, generation.ReplicaDir)
	if s.d.exists(whole) {
		dirs = append(dirs, whole)
	}
	return dirs
}

// takeSalvage gives a stage what there is of an image that was on its way.
func (s *Service) takeSalvage(at string) error {
	s.files.Lock()
	defer s.files.Unlock()
	const part = generation.ReplicaDir + FetchSuffix
	from, to := s.d.fs.PathJoin(s.d.base, salvageDir, part), s.d.fs.PathJoin(at, part)
	if !s.d.exists(from) {
		return nil
	}
	if err := s.d.fs.Rename(from, to); err != nil {
		return errs.Wrap(errs.Internal, from, err)
	}
	return s.d.sync(at)
}

// discardSalvage removes what is left of images.
func (s *Service) discardSalvage(why string) error {
	path := s.d.fs.PathJoin(s.d.base, salvageDir)
	if !s.d.exists(path) {
		return nil
	}
	if err := s.d.removeAll(path); err != nil {
		return err
	}
	if s.o.Listener.Removed != nil {
		s.o.Listener.Removed("image", path, why)
	}
	return nil
}

// failedTry notes that an OM gave no image; another try follows.
func (s *Service) failedTry(st *stage, err error) {
	done := Synced{Reason: st.job.reason, Detail: st.job.detail, Finished: s.clock.Now(), Took: s.clock.Now().Sub(st.began), Error: err.Error()}
	s.mu.Lock()
	s.record.Error = err.Error()
	s.status.Failed++
	s.status.LastSync = &done
	s.mu.Unlock()
	if s.o.Listener.Built != nil {
		s.o.Listener.Built(done, task.Rebuilt{})
	}
}

// idle waits before an OM is asked again. That is no time of the stage's. It
// reports whether ctx goes on.
func (s *Service) idle(ctx context.Context, st *stage, d time.Duration) bool {
	began := s.clock.Now()
	s.mu.Lock()
	st.waiting = true
	s.mu.Unlock()
	fired, stop := s.clock.Timer(d)
	defer stop()
	select {
	case <-fired:
	case <-ctx.Done():
	}
	s.mu.Lock()
	st.waiting = false
	st.idle += s.clock.Now().Sub(began)
	s.mu.Unlock()
	return ctx.Err() == nil
}

// applyDeltaToStaging applies what the OM's log has beyond a stage. What passes is tried again.
func (s *Service) applyDeltaToStaging(ctx context.Context, st *stage) error {
	began, commit, backoff := st.g.Position().Index, uint64(0), s.o.Backoff
	for try := 0; ; try++ {
		src := s.o.Sources[try%len(s.o.Sources)]
		err := follow(ctx, st.g, src, func(m *o3v1.ReadLogResponse, _ time.Duration) {
			s.tell(m)
			commit = max(commit, m.CommitIndex)
			s.catchUpProgress(st, st.g.Position().Index-began, max(commit, began)-began)
			s.pace(ctx, st)
		}, func() bool { return ctx.Err() != nil || st.g.Position().Index >= commit })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			return nil
		}
		if b := (*broken)(nil); errors.As(err, &b) {
			return endOfLog(st.job, b)
		}
		if !passes(err) {
			return end(staging.EndSource, err)
		}
		if cur, _ := s.now(); cur != nil && st.job.kind != staging.Full && st.g.Position().Index >= cur.g.Position().Index {
			return nil // it is as new as what serves
		}
		s.failedTry(st, err)
		if !s.idle(ctx, st, backoff) {
			return context.Cause(ctx)
		}
		backoff = min(2*backoff, s.o.MaxBackoff)
	}
}

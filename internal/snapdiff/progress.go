package snapdiff

import (
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/snapdiff/delta"
)

// shares are the parts of a job's time that its phases take, roughly, in the
// order they run.
var shares = []struct {
	phase delta.Phase
	share float64
}{
	{delta.JournalScan, 40}, {delta.SortJoin, 15}, {delta.PathResolution, 25}, {delta.Ordering, 10}, {delta.ReportWriting, 10},
}

// progress notes where a running job is. It never goes back.
func (s *Service) progress(j *job, phase delta.Phase, n, of int64) {
	before := 0.0
	for _, p := range shares {
		if p.phase == phase || p.phase == delta.JournalScan && phase == delta.FullScan {
			if of > 0 {
				before += p.share * min(1, float64(n)/float64(of))
			}
			break
		}
		before += p.share
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.phase, j.percent = string(phase), max(j.percent, min(before, 99.9))
}

// fill adds what only this node knows to a job's description. A job that was
// interrupted waits, though the store has it as running.
func (s *Service) fill(key schema.DiffJobKey, info *o3v1.DiffJob) {
	s.mu.Lock()
	j := s.jobs[key]
	if j != nil && command.UploadID(ns.ObjectID(j.id)) != info.JobId {
		j = nil
	}
	var now job
	if j != nil {
		now = *j
	}
	s.mu.Unlock()
	if j != nil && now.stop == nil && info.State == inProgress {
		info.State = queued
	}
	switch info.State {
	case queued, rejected:
		info.WaitMs = s.o.WaitTime.Milliseconds()
	case inProgress:
		info.WaitMs = s.o.WaitTime.Milliseconds()
		info.Phase, info.Percent = now.phase, now.percent
		if now.percent >= 1 {
			left := time.Since(now.started).Seconds() * (100 - now.percent) / now.percent
			info.EtaMs = int64(1000 * left)
			info.WaitMs = min(info.WaitMs, max(info.EtaMs, 100))
		}
	case done:
		info.Percent = 100
	}
}

package recon

import (
	"maps"
	"slices"
	"time"

	"o3/internal/recon/staging"
)

// StagingStatus is how the stage is that is being made, or how the last one ended.
type StagingStatus struct {
	State               staging.State           `json:"state"`
	StagingID           string                  `json:"stagingId"`
	Kind                staging.Kind            `json:"kind"`
	Reason              Reason                  `json:"reason"`
	Detail              string                  `json:"detail,omitempty"`
	Phase               Phase                   `json:"phase,omitempty"`
	Progress            float64                 `json:"progress"` // percent
	StartTime           *time.Time              `json:"startTime"`
	Since               *time.Time              `json:"since"` // of the state
	EstimatedCompletion *time.Time              `json:"estimatedCompletion"`
	TaskProgress        map[string]TaskProgress `json:"taskProgress"`        // of one that came to nothing: as it was then, until the next one begins or the server ends
	TableRows           map[string]int64        `json:"tableRows,omitempty"` // read, by table of the namespace; likewise

	Attempt     int        `json:"attempt"`
	MaxAttempts int        `json:"maxAttempts"`
	RetryAt     *time.Time `json:"retryAt,omitempty"`
	LastError   string     `json:"lastError,omitempty"`
	InPlace     bool       `json:"inPlace"`
	Queued      string     `json:"queued,omitempty"` // stagingId of the one that comes next
	Needed      string     `json:"needed,omitempty"` // what is needed and neither made nor due, and what begins it

	Breaker     string `json:"breaker"`
	BreakerWhy  string `json:"breakerWhy,omitempty"`
	Threads     int    `json:"threads"`
	BatchRows   int    `json:"batchRows"`
	MemoryBytes int    `json:"memoryBytes"` // that it may take, for counters and sorting
	MemoryUsed  int    `json:"memoryUsed"`  // that it takes of them
	DiskBytes   int64  `json:"diskBytes"`   // that it takes, the replica's hard links included

	Previous *Previous `json:"previous,omitempty"`
	Kept     []Kept    `json:"kept,omitempty"`

	Operations   uint64        `json:"operations"` // since the start of the process
	Successful   uint64        `json:"successful"`
	Failures     uint64        `json:"failures"`
	LastDuration time.Duration `json:"-"`
	LastSwitch   time.Duration `json:"-"`
}

// Previous is the generation before the one in force.
type Previous struct {
	Generation string    `json:"generation"`
	Until      time.Time `json:"until"` // it is kept, at most
}

// StagingState returns where the stage is.
func (s *Service) StagingState() staging.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record.State
}

// Staging returns how the stage is.
func (s *Service) Staging() StagingStatus {
	s.mu.Lock()
	r, m := s.record, s.marker
	out := StagingStatus{
		State: r.State, StagingID: r.StagingID, Kind: r.Kind, Reason: Reason(r.Reason), Detail: r.Detail,
		StartTime: timeOf(r.StartedMs), Since: timeOf(r.SinceMs), Attempt: r.Attempt, MaxAttempts: 1 + s.o.Staging.MaxRetries,
		LastError: r.Error, InPlace: r.InPlace, Breaker: staging.StepNone.String(), TaskProgress: map[string]TaskProgress{},
		Needed: s.needed(), Operations: s.told.operations, Successful: s.told.successful, Failures: s.told.failures, LastDuration: s.told.took, LastSwitch: s.told.switching,
	}
	if s.o.Staging.NoAutoRetry {
		out.MaxAttempts = 1
	}
	switch {
	case s.queue != nil:
		out.Queued = s.queue.id
	case s.stage != nil && s.stage.job.id != r.StagingID: // it is about to begin
		out.Queued = s.stage.job.id
	}
	if s.retry != nil {
		at := s.retry.due.UTC()
		out.RetryAt = &at
	}
	if st := s.stage; st != nil && st.job.id == r.StagingID && r.State.Running() {
		s.stageStatus(st, &out)
	} else if s.last.id == r.StagingID && s.last.tasks != nil && r.Error != "" {
		out.TaskProgress, out.TableRows = maps.Clone(s.last.tasks), maps.Clone(s.last.rows)
	}
	s.mu.Unlock()
	if m.Previous != "" {
		out.Previous = &Previous{m.Previous, time.UnixMilli(m.SinceMs).Add(s.o.Staging.Retention).UTC()}
	}
	if at, err := s.d.at(r.StagingID); err == nil && r.State.Running() {
		out.DiskBytes = s.d.size(at)
	}
	kept := s.keptStages()
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		out.Kept = append(out.Kept, *kept[name])
	}
	return out
}

// stageStatus adds what is known of the stage that is being made; s.mu is held.
func (s *Service) stageStatus(st *stage, out *StagingStatus) {
	p := &st.progress
	out.Phase, out.TaskProgress, out.TableRows = p.phase, maps.Clone(p.tasks), maps.Clone(p.rows)
	if out.TaskProgress == nil {
		out.TaskProgress = map[string]TaskProgress{}
	}
	if p.phase != "" {
		out.Progress = p.percent(st.job.kind)
	}
	if r := s.record.State; r == staging.Committed {
		out.Progress = 100
	}
	limits := st.limits.Within(st.breaker.Step)
	out.Breaker, out.BreakerWhy = st.breaker.Step.String(), st.why
	out.Threads, out.BatchRows, out.MemoryBytes, out.MemoryUsed = limits.Threads, limits.Batch, limits.Memory, p.held
	now := s.clock.Now()
	if took := now.Sub(st.began); out.Progress >= 1 && out.Progress < 100 && out.State != staging.RollingBack {
		at := now.Add(time.Duration(float64(took) * (100 - out.Progress) / out.Progress)).UTC()
		out.EstimatedCompletion = &at
	}
}

func timeOf(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

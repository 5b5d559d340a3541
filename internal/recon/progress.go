package recon

import (
	"context"
	"maps"
	"slices"
	"time"

	"o3/internal/recon/staging"
	"o3/internal/recon/task"
)

// The states of a task in a stage.
const (
	TaskPending = "PENDING"
	TaskRunning = "RUNNING"
	TaskDone    = "DONE"
	TaskFailed  = "FAILED"
)

// TaskProgress is how far a task is with a stage.
type TaskProgress struct {
	State    string  `json:"state"`
	Progress float64 `json:"progress"` // percent
	Rows     int64   `json:"rows"`     // of the tables it reads
	TookMs   int64   `json:"tookMs"`
	Error    string  `json:"error,omitempty"`
}

// progress is how far a stage is. Service.mu guards it.
type progress struct {
	phase       Phase
	done, total int64            // of the phase
	rows        map[string]int64 // read, by source table
	expected    map[string]int64 // likewise, as far as known
	all         int64            // rows expected; 0: not known
	tasks       map[string]TaskProgress
	held        int // bytes of memory, for counters and sorting
}

// share is what part of a stage each phase is, in percent, and where it begins.
var share = map[staging.Kind]map[Phase][2]float64{
	staging.Full:        {PhaseImage: {0, 40}, PhaseRebuild: {40, 45}, PhaseCatchUp: {85, 10}, PhaseValidate: {95, 4}, PhaseSwitch: {99, 1}},
	staging.Local:       {PhaseImage: {0, 1}, PhaseRebuild: {1, 84}, PhaseCatchUp: {85, 10}, PhaseValidate: {95, 4}, PhaseSwitch: {99, 1}},
	staging.Incremental: {PhaseImage: {0, 5}, PhaseCatchUp: {5, 90}, PhaseValidate: {95, 4}, PhaseSwitch: {99, 1}},
}

// percent returns how much of the stage is done.
func (p *progress) percent(kind staging.Kind) float64 {
	part := share[kind][p.phase]
	if p.total <= 0 {
		return part[0]
	}
	return part[0] + part[1]*min(float64(p.done)/float64(p.total), 1)
}

// step begins a phase of a stage.
func (s *Service) step(st *stage, p Phase) {
	s.mu.Lock()
	st.progress.phase, st.progress.done, st.progress.total = p, 0, 0
	st.building = &Building{Generation: st.job.id, Reason: st.job.reason, Detail: st.job.detail, Phase: p, Since: s.clock.Now()}
	b := *st.building
	s.mu.Unlock()
	if s.o.Listener.Building != nil {
		s.o.Listener.Building(b)
	}
}

func (s *Service) imageProgress(st *stage, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.set(done, total)
}

func (s *Service) catchUpProgress(st *stage, done, total uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.set(int64(done), int64(total))
}

// set notes how far the phase is; Service.mu is held.
func (st *stage) set(done, total int64) {
	st.progress.done, st.progress.total = done, total
	if st.building != nil {
		st.building.Done, st.building.Total = done, total
	}
}

// expect makes out how many rows a rebuild will read: as many as the last one, or
// as the generation in force has counted.
func (s *Service) expect(ctx context.Context, st *stage) {
	all := int64(0)
	s.mu.Lock()
	known, cur := maps.Clone(s.rows), s.current
	s.mu.Unlock()
	for _, n := range known {
		all += n
	}
	if all == 0 && cur != nil {
		all = counted(ctx, cur)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &st.progress
	p.rows, p.expected, p.all, p.tasks = map[string]int64{}, known, all, map[string]TaskProgress{}
	for _, t := range s.tasks() {
		p.tasks[t.Name] = TaskProgress{State: TaskRunning}
	}
}

// counted returns how many rows a generation says that there are.
func counted(ctx context.Context, cur *served) (all int64) {
	v, err := cur.g.View(ctx)
	if err != nil {
		return 0
	}
	defer v.Close()
	stats, err := v.SQL.Stats()
	if err != nil {
		return 0
	}
	for name, n := range stats {
		if len(name) > 5 && name[len(name)-5:] == "Count" {
			all += n
		}
	}
	return all
}

func (s *Service) tasks() []task.Task {
	if s.o.Generation.Tasks != nil {
		return s.o.Generation.Tasks
	}
	return task.All()
}

// rebuildProgress notes that so many rows of a table were read.
func (s *Service) rebuildProgress(st *stage, table string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &st.progress
	p.rows[table] = n
	done := int64(0)
	for _, n := range p.rows {
		done += n
	}
	st.set(done, max(p.all, 0))
	for _, t := range s.tasks() {
		have, want := int64(0), int64(0)
		for _, name := range t.Reads {
			have, want = have+p.rows[name], want+p.expected[name]
		}
		tp := p.tasks[t.Name]
		tp.Rows = have
		if want > 0 {
			tp.Progress = min(100*float64(have)/float64(want), 99)
		}
		p.tasks[t.Name] = tp
	}
}

// holds notes how much memory a rebuild takes.
func (s *Service) holds(st *stage, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.progress.held = bytes
}

// tasksDone notes that the tables were filled, or that this has failed.
func (s *Service) tasksDone(st *stage, took time.Duration, err error) {
	s.mu.Lock()
	own := map[string]time.Duration{}
	for _, w := range st.rebuilt.Tasks {
		own[w.Task] = w.Took
	}
	for name, t := range st.progress.tasks {
		if _, known := own[name]; !known {
			own[name] = took
		}
		t.TookMs, t.State, t.Progress = own[name].Milliseconds(), TaskDone, 100
		if err != nil {
			t.State, t.Progress, t.Error = TaskFailed, 0, err.Error()
		}
		st.progress.tasks[name] = t
	}
	names := slices.Sorted(maps.Keys(st.progress.tasks))
	s.mu.Unlock()
	if s.o.Listener.TaskStaged == nil {
		return
	}
	for _, name := range names {
		s.o.Listener.TaskStaged(st.job.id, name, own[name], err)
	}
}

// taskFailed notes that one task has failed.
func (s *Service) taskFailed(st *stage, name string, err error) {
	s.mu.Lock()
	if st.progress.tasks == nil {
		st.progress.tasks = map[string]TaskProgress{}
	}
	t := st.progress.tasks[name]
	t.State, t.Error = TaskFailed, err.Error()
	st.progress.tasks[name] = t
	s.mu.Unlock()
	if s.o.Listener.TaskStaged != nil {
		s.o.Listener.TaskStaged(st.job.id, name, time.Duration(t.TookMs)*time.Millisecond, err)
	}
}

// finished notes how making a generation ended.
func (s *Service) finished(st *stage, err error) {
	done := Synced{Reason: st.job.reason, Detail: st.job.detail, Finished: s.clock.Now(), Took: s.clock.Now().Sub(st.began)}
	s.mu.Lock()
	st.building = nil
	if err != nil {
		done.Error = err.Error()
		s.status.Failed++
	} else {
		s.status.Syncs++
	}
	s.status.LastSync = &done
	s.mu.Unlock()
	if s.o.Listener.Built != nil {
		s.o.Listener.Built(done, st.rebuilt)
	}
}

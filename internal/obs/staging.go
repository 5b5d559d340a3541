package obs

import (
	"context"
	"log/slog"
	"time"

	"o3/internal/recon"
	"o3/internal/recon/staging"
	"o3/internal/recon/task"
)

// stagingTable returns the metrics of how Recon makes new generations.
func stagingTable() []Metric {
	long := append(latencyBuckets(), 1800, 3600, 7200, 14400)
	return []Metric{
		{Name: "o3_recon_staging_seconds", Type: Histogram, Unit: "seconds", Buckets: long, Help: "Time that a stage took from its beginning until its generation was in force (stagingDuration)"},
		{Name: "o3_recon_staging_switch_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(), Help: "Time of the switch in it (atomicSwitchDuration)"},
		sampled(Gauge, "o3_recon_staging_state", "1", "1 for the state that the stage is in (currentStagingState)", "state"),
		sampled(Gauge, "o3_recon_staging_progress_percent", "percent", "How far the stage is; 0 while there is none (stagingProgressPercent)"),
		{Name: "o3_recon_staging_operations_total", Type: Counter, Unit: "stages", Help: "Stages that were begun, each try of one counted (stagingOperationsTotal)"},
		{Name: "o3_recon_staging_operations_successful_total", Type: Counter, Unit: "stages", Help: "Stages whose generation came into force (stagingOperationsSuccessful)"},
		{Name: "o3_recon_staging_operations_failures_total", Type: Counter, Unit: "stages", Labels: []string{"reason"}, Help: "Stages that came to nothing, by how (stagingOperationsFailures)"},
		{Name: "o3_recon_staging_transitions_total", Type: Counter, Unit: "transitions", Labels: []string{"to"}, Help: "Changes of the state of stages"},
		{Name: "o3_recon_staging_state_seconds", Type: Histogram, Unit: "seconds", Labels: []string{"state"}, Buckets: long, Help: "Time that stages spent in a state"},
		sampled(Gauge, "o3_recon_staging_disk_bytes", "bytes", "Size of the stage's files, those included that are hard links to files of others (stagingDiskUsage)"),
		sampled(Gauge, "o3_recon_staging_memory_bytes", "bytes", "Memory that the stage takes for counters and sorting; 0 while it has no tables to fill (stagingMemoryUsage)"),
		sampled(Gauge, "o3_recon_staging_threads", "threads", "Threads that are given to the stage; 0 while there is none (stagingThreadCount)"),
		sampled(Gauge, "o3_recon_staging_batch_rows", "rows", "Rows that a thread of the stage reads at once; 0 while there is none"),
		sampled(Gauge, "o3_recon_staging_attempt", "tries", "Which try of the stage this is, or the last one was"),
		sampled(Gauge, "o3_recon_staging_retry_at_seconds", "Unix time", "When the stage is tried again; 0: no retry is due"),
		sampled(Gauge, "o3_recon_staging_kept", "stages", "Stages that failed and are kept to be looked at"),
		sampled(Gauge, "o3_recon_staging_previous_kept", "1", "1 while the generation before the one in force is kept"),
		sampled(Gauge, "o3_recon_staging_breaker", "step", "How far the stage is cut down for want of memory or disk: 0 not at all, 1 smaller batches, 2 fewer threads, 3 paused, 4 failed"),
		{Name: "o3_recon_staging_breaker_steps_total", Type: Counter, Unit: "steps", Labels: []string{"to"}, Help: "Times that a stage was cut down, or let go on, by step"},
		{Name: "o3_recon_staging_removed_total", Type: Counter, Unit: "directories", Labels: []string{"what"}, Help: "Directories that were removed: previous generation, stage, kept stage, image"},
		{Name: "o3_recon_rollback_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(), Help: "Time of rollbacks to the generation before"},
		sampled(Gauge, "o3_recon_task_staging_progress_percent", "percent", "How far a task is with the stage; not shown without ozone.recon.staging.monitoring.enhanced (taskStagingProgress)", "task"),
		{Name: "o3_recon_task_staging_seconds", Type: Histogram, Unit: "seconds", Labels: []string{"task"}, Buckets: long, Help: "Time of its own that a task took to fill its tables of a stage, on all processors; what all tasks share, such as reading the namespace, is not in it (taskStagingDuration)"},
		{Name: "o3_recon_task_staging_failures_total", Type: Counter, Unit: "failures", Labels: []string{"task"}, Help: "Times that a task failed in a stage"},
		sampled(Gauge, "o3_recon_staging_table_rows", "rows", "Rows of a table of the namespace that the stage has read; not shown without ozone.recon.staging.monitoring.enhanced", "table"),
		{Name: "o3_recon_alerts_total", Type: Counter, Unit: "alerts", Labels: []string{"alert", "status"}, Help: "Alerts that were raised (firing) and that ended (resolved)"},
		{Name: "o3_recon_alerts_posted_total", Type: Counter, Unit: "requests", Help: "Alerts that ozone.recon.alert.webhook.url has taken"},
		{Name: "o3_recon_alert_failures_total", Type: Counter, Unit: "requests", Help: "Requests to it that failed; each is tried again for an hour"},
		{Name: "o3_recon_alerts_dropped_total", Type: Counter, Unit: "alerts", Help: "Alerts that it did not take in time, or refused for good"},
	}
}

// staging adds what Recon reports of its stages.
func (o *Obs) staging(l *recon.Listener, enhanced bool) {
	for _, s := range staging.States() {
		o.Counter("o3_recon_staging_transitions_total", string(s)) // shown with 0 from the start
	}
	l.Transition = o.transition
	l.StagingProgress = func(st recon.StagingStatus) {
		args := []any{"stagingId", st.StagingID, "state", string(st.State), "phase", string(st.Phase), "percent", round(st.Progress), "disk", st.DiskBytes, "memory", st.MemoryUsed, "threads", st.Threads}
		if st.EstimatedCompletion != nil {
			args = append(args, "done_at", st.EstimatedCompletion.Format(time.RFC3339))
		}
		if enhanced {
			for _, t := range task.All() {
				if p, ok := st.TaskProgress[t.Name]; ok {
					args = append(args, t.Name, round(p.Progress))
				}
			}
		}
		o.Log.Info("recon: a stage goes on", args...)
	}
	l.Breaker = func(id string, from, to staging.Step, why string) {
		o.Counter("o3_recon_staging_breaker_steps_total", to.String()).Inc()
		level := slog.LevelWarn
		if to < from {
			level = slog.LevelInfo
		}
		o.Log.Log(context.Background(), level, "recon: a stage may take more or less than before", "stagingId", id, "from", from.String(), "to", to.String(), "why", why)
	}
	l.TaskStaged = func(id, task string, took time.Duration, err error) {
		if err != nil {
			o.Counter("o3_recon_task_staging_failures_total", task).Inc()
			o.Log.Error("recon: a task failed in a stage", "stagingId", id, "task", task, "took", took, "error", err)
			return
		}
		if enhanced {
			o.Histogram("o3_recon_task_staging_seconds", task).Observe(took.Seconds())
		}
	}
	whole, switched, back := o.Histogram("o3_recon_staging_seconds"), o.Histogram("o3_recon_staging_switch_seconds"), o.Histogram("o3_recon_rollback_seconds") // shown with 0 from the start
	l.Committed = func(_ string, took, switching time.Duration) {
		o.Counter("o3_recon_staging_operations_successful_total").Inc()
		whole.Observe(took.Seconds())
		switched.Observe(switching.Seconds())
	}
	l.RolledBack = func(from, to string, took time.Duration) {
		back.Observe(took.Seconds())
		o.Log.Warn("recon: the generation before is in force again", "from", from, "to", to, "duration", took)
	}
	l.Removed = func(what, path, why string) {
		o.Counter("o3_recon_staging_removed_total", what).Inc()
		o.Log.Info("recon: removed a "+what, "path", path, "why", why)
	}
}

// transition writes the line of a stage's change of state.
func (o *Obs) transition(t staging.Transition) {
	o.Counter("o3_recon_staging_transitions_total", string(t.To)).Inc()
	if t.From.Running() {
		o.Histogram("o3_recon_staging_state_seconds", string(t.From)).Observe(t.Took.Seconds())
	}
	level := slog.LevelInfo
	switch t.To {
	case staging.Initializing:
		o.Counter("o3_recon_staging_operations_total").Inc()
	case staging.RollingBack:
		level = slog.LevelWarn
		o.Counter("o3_recon_staging_operations_failures_total", t.Reason).Inc()
	case staging.Failed:
		level = slog.LevelError
	}
	o.Log.Log(context.Background(), level, "recon: staging", "stagingId", t.StagingID, "from", string(t.From), "to", string(t.To),
		"reason", t.Reason, "detail", t.Detail, "attempt", t.Attempt, "duration", t.Took)
}

func round(percent float64) float64 { return float64(int(percent*10)) / 10 }

// SampleStaging shows how the stage is at each scrape.
func (o *Obs) SampleStaging(status func() recon.StagingStatus, enhanced bool) {
	o.Sample(func(s *Sampler) {
		st := status()
		for _, state := range staging.States() {
			s.Set("o3_recon_staging_state", truth(st.State == state), string(state))
		}
		retry := 0.0
		if st.RetryAt != nil {
			retry = float64(st.RetryAt.Unix())
		}
		step := 0
		for i := staging.StepNone; i <= staging.StepFailed; i++ {
			if st.Breaker == i.String() {
				step = int(i)
			}
		}
		s.Set("o3_recon_staging_progress_percent", st.Progress)
		s.Set("o3_recon_staging_disk_bytes", float64(st.DiskBytes))
		s.Set("o3_recon_staging_memory_bytes", float64(st.MemoryUsed))
		s.Set("o3_recon_staging_threads", float64(st.Threads))
		s.Set("o3_recon_staging_batch_rows", float64(st.BatchRows))
		s.Set("o3_recon_staging_attempt", float64(st.Attempt))
		s.Set("o3_recon_staging_retry_at_seconds", retry)
		s.Set("o3_recon_staging_kept", float64(len(st.Kept)))
		s.Set("o3_recon_staging_previous_kept", truth(st.Previous != nil))
		s.Set("o3_recon_staging_breaker", float64(step))
		if !enhanced {
			return
		}
		for _, t := range task.All() {
			s.Set("o3_recon_task_staging_progress_percent", st.TaskProgress[t.Name].Progress, t.Name)
		}
		for table, n := range st.TableRows {
			s.Set("o3_recon_staging_table_rows", float64(n), table)
		}
	})
}

// StagingHealth is the stage as a component of the node's health. One that failed
// does not keep anybody from being served.
func StagingHealth(st recon.StagingStatus) Component {
	switch st.State {
	case staging.None, staging.Committed:
		return Component{Status: Up, Details: map[string]any{"staging": "idle"}}
	case staging.Processing:
		return Component{Status: Up, Details: map[string]any{"staging": "in-progress", "progress": round(st.Progress)}}
	case staging.Failed:
		return Component{Status: Down, Error: st.LastError, Details: map[string]any{"staging": "failed", "error": st.LastError}}
	}
	return Component{Status: Unknown, Details: map[string]any{"staging": string(st.State)}}
}

// ReconAlert tells of an alert that was raised or that ended.
func (o *Obs) ReconAlert(name, status, summary string) {
	o.Counter("o3_recon_alerts_total", name, status).Inc()
	level := slog.LevelWarn
	if status != "firing" {
		level = slog.LevelInfo
	}
	o.Log.Log(context.Background(), level, "recon: alert", "alert", name, "status", status, "summary", summary)
}

// ReconAlertPosted tells of a request to the webhook.
func (o *Obs) ReconAlertPosted(name string, err error) {
	if err == nil {
		o.Counter("o3_recon_alerts_posted_total").Inc()
		return
	}
	o.Counter("o3_recon_alert_failures_total").Inc()
	o.Log.Warn("recon: an alert could not be posted; it is tried again", "alert", name, "error", err)
}

// ReconAlertDropped tells of an alert that the webhook did not take.
func (o *Obs) ReconAlertDropped(name string, err error) {
	o.Counter("o3_recon_alerts_dropped_total").Inc()
	o.Log.Error("recon: an alert was not posted", "alert", name, "error", err)
}

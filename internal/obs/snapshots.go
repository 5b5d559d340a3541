package obs

import (
	"context"
	"log/slog"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/kv"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/snapdiff"
	"o3/internal/view"
)

// snapshotTable returns the metrics of snapshots and their diffs.
func snapshotTable() []Metric {
	return []Metric{
		{Name: "o3_snapshot_reclaimed_rows_total", Type: Counter, Unit: "rows",
			Help: "Rows of the journal that were looked at for deleted snapshots, or cut"},
		{Name: "o3_snapshot_freed_history_rows_total", Type: Counter, Unit: "rows",
			Help: "Rows of history that no snapshot saw any more and that were dropped"},
		{Name: "o3_snapshots_reclaimed_total", Type: Counter, Unit: "snapshots",
			Help: "Deleted snapshots of which nothing is left"},
		sampled(Gauge, "o3_snapshots", "snapshots", "Live snapshots"),
		sampled(Gauge, "o3_snapshots_deleted", "snapshots", "Deleted snapshots that are being reclaimed"),
		sampled(Gauge, "o3_snapshot_reclaim_lag_seconds", "seconds", "Time since the oldest of them was deleted"),
		sampled(Gauge, "o3_snapshot_history_rows", "rows", "Old rows that are kept for snapshots"),
		sampled(Gauge, "o3_snapshot_history_bytes", "bytes", "Their keys and values"),
		sampled(Gauge, "o3_snapshot_journal_rows", "rows", "Touches that are kept for diffs and reclaim"),
		sampled(Gauge, "o3_snapshot_journal_bytes", "bytes", "Their keys and values"),

		{Name: "numSnapshotDiffJobs", Type: Counter, Unit: "jobs", Help: "Snapshot diffs that were submitted; the name is Ozone's"},
		{Name: "o3_snapdiff_rejected_total", Type: Counter, Unit: "jobs", Help: "Snapshot diffs that were turned away because too many waited"},
		{Name: "o3_snapdiff_finished_total", Type: Counter, Unit: "jobs", Labels: []string{"state"}, Help: "Snapshot diffs that ended, by state"},
		{Name: "o3_snapdiff_entries_total", Type: Counter, Unit: "entries", Labels: []string{"type"}, Help: "Entries of finished reports, by type"},
		{Name: "o3_snapdiff_rows_total", Type: Counter, Unit: "rows", Help: "Rows that finished diffs have read"},
		{Name: "o3_snapdiff_spilled_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes that finished diffs could not hold in memory"},
		{Name: "o3_snapdiff_phase_seconds", Type: Histogram, Unit: "seconds", Labels: []string{"phase"}, Buckets: latencyBuckets(),
			Help: "Time that finished diffs took, by phase"},
		{Name: "o3_snapdiff_failures_total", Type: Counter, Unit: "failures", Labels: []string{"task"},
			Help: "Work around diffs that failed and is tried again"},
		sampled(Gauge, "o3_snapdiff_queue_length", "jobs", "Snapshot diffs that wait for a thread on this node"),
		sampled(Gauge, "o3_snapdiff_running", "jobs", "Snapshot diffs that run on this node"),
		sampled(Gauge, "o3_snapdiff_jobs", "jobs", "Snapshot diffs that are kept, by state", "state"),
	}
}

// SnapDiff is what the service of snapshot diffs reports.
func (o *Obs) SnapDiff() snapdiff.Listener {
	submitted, rejected := o.Counter("numSnapshotDiffJobs"), o.Counter("o3_snapdiff_rejected_total")
	return snapdiff.Listener{
		Submitted: submitted.Inc,
		Rejected:  rejected.Inc,
		Finished: func(f snapdiff.Finished) {
			state := command.StateName(f.Job.State)
			o.Counter("o3_snapdiff_finished_total", state).Inc()
			o.Counter("o3_snapdiff_rows_total").Add(float64(f.Rows))
			o.Counter("o3_snapdiff_spilled_bytes_total").Add(float64(f.Spill))
			for kind, n := range map[string]uint64{
				"create": f.Counts.Created, "delete": f.Counts.Deleted, "modify": f.Counts.Modified, "rename": f.Counts.Renamed,
			} {
				o.Counter("o3_snapdiff_entries_total", kind).Add(float64(n))
			}
			for phase, took := range f.Phases {
				o.Histogram("o3_snapdiff_phase_seconds", string(phase)).Observe(took.Seconds())
			}
			at := slog.LevelInfo
			if f.Err != nil {
				at = slog.LevelWarn
			}
			o.Log.Log(context.Background(), at, "snapdiff: a job ended", "job", f.Job.JobId, "bucket", f.Job.Volume+"/"+f.Job.Bucket,
				"state", state, "reason", f.Job.Reason, "entries", f.Counts.Total(), "error", f.Err)
		},
		Failed: func(task string, err error) {
			o.Counter("o3_snapdiff_failures_total", task).Inc()
			o.Log.Warn("snapdiff: will be tried again", "task", task, "error", err)
		},
	}
}

// SampleSnapshots shows the state of snapshots and diffs at each scrape.
func (o *Obs) SampleSnapshots(store kv.Reader, diffs *snapdiff.Service) {
	o.Sample(func(s *Sampler) {
		v := view.New(store)
		if c, err := v.Counters(); err == nil {
			s.Set("o3_snapshots", float64(c.Snapshots))
			s.Set("o3_snapshots_deleted", float64(c.Reclaims))
			s.Set("o3_snapshot_history_rows", float64(c.HistoryRows))
			s.Set("o3_snapshot_history_bytes", float64(c.HistoryBytes))
			s.Set("o3_snapshot_journal_rows", float64(c.JournalRows))
			s.Set("o3_snapshot_journal_bytes", float64(c.JournalBytes))
		}
		s.Set("o3_snapshot_reclaim_lag_seconds", reclaimLag(store).Seconds())
		queued, running := diffs.Stats()
		s.Set("o3_snapdiff_queue_length", float64(queued))
		s.Set("o3_snapdiff_running", float64(running))
		states := map[string]int{}
		for n := range o3v1.DiffState_name {
			if kept := o3v1.DiffState(n); kept != 0 && kept != o3v1.DiffState_DIFF_STATE_REJECTED { // which is not kept
				states[command.StateName(kept)] = 0
			}
		}
		_ = v.DiffJobs(0, schema.DiffJobKey{}, func(j view.DiffJob) (bool, error) {
			states[command.StateName(j.Info().State)]++
			return true, nil
		})
		for state, n := range states {
			s.Set("o3_snapdiff_jobs", float64(n), state)
		}
	})
}

// maxLagRows bounds the rows that one look at the lag reads.
const maxLagRows = 10_000

// reclaimLag returns how long ago the oldest deletion was that is not done.
func reclaimLag(store kv.Reader) time.Duration {
	oldest, rows := int64(0), 0
	lower, upper := schema.Reclaims.All()
	_ = schema.Reclaims.Scan(store, lower, upper, func(_ schema.SnapshotKey, r *schemapb.Reclaim) (bool, error) {
		if oldest == 0 || r.DeletedMs < oldest {
			oldest = r.DeletedMs
		}
		rows++
		return rows < maxLagRows, nil
	})
	if oldest == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(oldest)))
}

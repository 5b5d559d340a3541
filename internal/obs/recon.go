package obs

import (
	"strings"
	"time"

	"o3/internal/errs"
	"o3/internal/pebblekv"
	"o3/internal/recon"
	"o3/internal/recon/task"
)

// reconTable returns the metrics of Recon.
func reconTable() []Metric {
	return []Metric{
		sampled(Gauge, "o3_recon_state", "1", "1 for the state that Recon is in: STARTING, FOLLOWING, RETRYING or SYNCING", "state"),
		sampled(Gauge, "o3_recon_index", "index", "Last entry of the OM's log that Recon's answers reflect"),
		sampled(Gauge, "o3_recon_om_commit_index", "index", "Last entry of the OM's log that Recon knows of"),
		sampled(Gauge, "o3_recon_lag_entries", "entries", "Entries of the OM's log that the answers do not reflect yet"),
		sampled(Gauge, "o3_recon_age_seconds", "seconds", "Time since the OM last told of itself; since the start while it never did"),
		sampled(Gauge, "o3_recon_compared_index", "index", "Last entry at which the replica's digest was the OM's"),
		sampled(Gauge, "o3_recon_serving", "1", "1 while there is a generation to answer from"),
		sampled(Gauge, "o3_recon_building", "1", "1 for the step of making a generation that is under way", "phase"),
		sampled(Gauge, "o3_recon_building_done", "bytes, rows, entries", "How far that step is: bytes of the image, rows read by the rebuild, entries caught up"),
		{Name: "o3_recon_syncs_total", Type: Counter, Unit: "generations", Labels: []string{"reason", "result"}, Help: "Generations that were made or could not be made (result ok or failed), by what made them necessary"},
		{Name: "o3_recon_sync_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(), Help: "Time to make a generation, from its image to the switch"},
		{Name: "o3_recon_phase_seconds", Type: Histogram, Unit: "seconds", Labels: []string{"phase"}, Buckets: latencyBuckets(), Help: "Time that a step of it took"},
		{Name: "o3_recon_switches_total", Type: Counter, Unit: "switches", Help: "Generations that were put into force"},
		{Name: "o3_recon_image_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes of the images that generations were made of"},
		{Name: "o3_recon_image_sent_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes of them that came over the network; the others were here already, or are shared with the OM in the same process"},
		{Name: "o3_recon_image_failures_total", Type: Counter, Unit: "images", Labels: []string{"reason"}, Help: "Images that could not be brought, by the kind of error"},
		{Name: "o3_recon_rebuild_rows_total", Type: Counter, Unit: "rows", Labels: []string{"table"}, Help: "Rows of the namespace that rebuilds read, by table"},
		{Name: "o3_recon_rebuild_spilled_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes that rebuilds put on disk because ozone.recon.rebuild.memory did not hold them"},
		{Name: "o3_recon_derived_rows_total", Type: Counter, Unit: "rows", Help: "Derived rows that rebuilds wrote"},
		{Name: "o3_recon_applied_entries_total", Type: Counter, Unit: "entries", Help: "Entries of the OM's log that were applied to the replica and the derived tables"},
		{Name: "o3_recon_log_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes of those entries"},
		{Name: "o3_recon_apply_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(), Help: "Time to apply a message with entries"},
		{Name: "o3_recon_follow_errors_total", Type: Counter, Unit: "errors", Labels: []string{"reason"}, Help: "Times that the OM's log could not be followed, by the kind of error; transient ones are tried again, the others lead to a new generation"},
		{Name: "o3_recon_failures_total", Type: Counter, Unit: "failures", Labels: []string{"what"}, Help: "Things beside that went wrong and are tried again: open, flush, close or remove a generation, run"},
		{Name: "o3_recon_broken_total", Type: Counter, Unit: "failures", Labels: []string{"reason"}, Help: "Times that the OM's log could not be followed any more with the generation in force, by what made another one necessary"},
		{Name: "o3_recon_task_failures_total", Type: Counter, Unit: "failures", Help: "Times that the tasks, which are one pass, could not apply entries; each leads to a new generation"},
		{Name: "o3_recon_task_apply_seconds", Type: Histogram, Unit: "seconds", Labels: []string{"task"}, Buckets: latencyBuckets(), Help: "Time of its own that a task took for entries that were applied together; what all tasks share is not in it"},
		{Name: "o3_recon_task_rows_total", Type: Counter, Unit: "rows", Labels: []string{"task"}, Help: "Rows of the namespace that a task was given by entries; one that changed counts twice"},
		{Name: "o3_recon_task_written_rows_total", Type: Counter, Unit: "rows", Labels: []string{"task"}, Help: "Derived rows that a task made, changed or dropped for entries"},
		{Name: "o3_recon_denied_total", Type: Counter, Unit: "requests", Labels: []string{"how"}, Help: "Requests whose credentials were refused: signature, basic, certificate, none, or throttled (too many wrong ones from that address)"},
		sampled(Gauge, "o3_recon_task_index", "index", "Last entry of the OM's log that the tables of a task reflect", "task"),
		{Name: "o3_recon_store_corruptions_total", Type: Counter, Unit: "files", Help: "Times that stored bytes of a table of Recon failed their checksum"},
	}
}

// Recon is what Recon reports; enhanced: also of single tasks of a stage.
func (o *Obs) Recon(enhanced bool) recon.Listener {
	r := &reconSteps{o: o}
	apply, took := o.Histogram("o3_recon_apply_seconds"), o.Histogram("o3_recon_sync_seconds")
	for _, reason := range []recon.Reason{recon.ReasonFirst, recon.ReasonManual, recon.ReasonRebuild, recon.ReasonTruncated, recon.ReasonOther,
		recon.ReasonDigest, recon.ReasonGap, recon.ReasonDecode, recon.ReasonTasks, recon.ReasonDamaged, recon.ReasonDisk, recon.ReasonVersion, recon.ReasonIncremental} {
		o.Counter("o3_recon_syncs_total", string(reason), "ok") // shown with 0 from the start
		o.Counter("o3_recon_syncs_total", string(reason), "failed")
	}
	l := recon.Listener{
		State: func(from, to recon.State, why error) {
			if to == recon.StateFollowing {
				o.Log.Info("recon: the OM is followed", "was", string(from))
				return
			}
			o.Counter("o3_recon_follow_errors_total", errs.KindOf(why).String()).Inc()
			o.Log.Warn("recon: the OM's log is not followed", "state", string(to), "why", why)
		},
		Applied: func(entries, bytes int, took time.Duration) {
			o.Counter("o3_recon_applied_entries_total").Add(float64(entries))
			o.Counter("o3_recon_log_bytes_total").Add(float64(bytes))
			apply.Observe(took.Seconds())
		},
		Broken: func(reason recon.Reason, _ error) { // State is told the error
			o.Counter("o3_recon_broken_total", string(reason)).Inc()
			if reason == recon.ReasonTasks {
				o.Counter("o3_recon_task_failures_total").Inc()
			}
		},
		Building: r.begin,
		Built: func(s recon.Synced, built task.Rebuilt) {
			r.end()
			for table, n := range built.Rows {
				o.Counter("o3_recon_rebuild_rows_total", table).Add(float64(n))
			}
			o.Counter("o3_recon_rebuild_spilled_bytes_total").Add(float64(built.Spilled))
			o.Counter("o3_recon_derived_rows_total").Add(float64(built.Written))
			if s.Error != "" {
				o.Counter("o3_recon_syncs_total", string(s.Reason), "failed").Inc()
				o.Log.Error("recon: a generation could not be made", "reason", string(s.Reason), "detail", s.Detail, "took", s.Took, "error", s.Error)
				return
			}
			o.Counter("o3_recon_syncs_total", string(s.Reason), "ok").Inc()
			took.Observe(s.Took.Seconds())
			o.Log.Info("recon: a generation was made", "reason", string(s.Reason), "detail", s.Detail, "took", s.Took, "derived_rows", built.Written)
		},
		Switched: func(from, to string) {
			o.Counter("o3_recon_switches_total").Inc()
			o.Log.Info("recon: answers come from another generation", "from", from, "to", to)
		},
		Failed: func(what string, err error) { o.ReconFailed(what, err) },
	}
	o.staging(&l, enhanced)
	return l
}

// ReconTasks is what the tasks report of entries that were applied together.
func (o *Obs) ReconTasks(all []task.Work) {
	for _, w := range all {
		o.Histogram("o3_recon_task_apply_seconds", w.Task).Observe(w.Took.Seconds())
		o.Counter("o3_recon_task_rows_total", w.Task).Add(float64(w.Rows))
		o.Counter("o3_recon_task_written_rows_total", w.Task).Add(float64(w.Written))
	}
}

// ReconFailed tells of something that went wrong in Recon and is tried again.
func (o *Obs) ReconFailed(what string, err error) {
	verb, _, _ := strings.Cut(what, " ")
	o.Counter("o3_recon_failures_total", verb).Inc()
	o.Log.Error("recon: "+what, "error", err)
}

// reconSteps times the steps of making a generation, which come one after the
// other.
type reconSteps struct {
	o     *Obs
	phase recon.Phase
	since time.Time
}

func (r *reconSteps) begin(b recon.Building) {
	r.end()
	r.phase, r.since = b.Phase, b.Since
	if b.Phase == recon.PhaseImage {
		r.o.Log.Info("recon: a generation is being made", "generation", b.Generation, "reason", string(b.Reason), "detail", b.Detail)
	}
}

func (r *reconSteps) end() {
	if r.phase != "" {
		r.o.Histogram("o3_recon_phase_seconds", string(r.phase)).Observe(time.Since(r.since).Seconds())
	}
	r.phase = ""
}

// ReconImage tells of an image that Recon was brought: its bytes, and how many of
// them came over the network.
func (o *Obs) ReconImage(source, id string, bytes, sent int64, took time.Duration, err error) {
	if err != nil {
		o.Counter("o3_recon_image_failures_total", errs.KindOf(err).String()).Inc()
		return // the generation's failure is logged
	}
	o.Counter("o3_recon_image_bytes_total").Add(float64(bytes))
	o.Counter("o3_recon_image_sent_bytes_total").Add(float64(sent))
	o.Log.Info("recon: an image is here", "source", source, "image", id, "bytes", bytes, "sent", sent, "took", took)
}

// ReconDenied counts a request of which it is not known whose it is.
func (o *Obs) ReconDenied(how string) { o.Counter("o3_recon_denied_total", how).Inc() }

// ReconStore is what the stores of Recon's generations report.
func (o *Obs) ReconStore() pebblekv.Listener {
	return pebblekv.Listener{
		Fatal: func(err error) { o.ReconFailed("store", err) }, // the next entry fails, which leads to a new generation
		Corruption: func(path string, err error) {
			o.Counter("o3_recon_store_corruptions_total").Inc()
			o.Log.Error("recon: a table is damaged", "file", path, "error", err)
		},
		DiskSlow: func(path, operation string, sofar time.Duration) {
			o.Log.Warn("recon: the disk is slow", "file", path, "operation", operation, "so_far", sofar)
		},
	}
}

// SampleRecon shows how Recon is at each scrape.
func (o *Obs) SampleRecon(status func() recon.Status) {
	started := time.Now()
	o.Sample(func(s *Sampler) {
		st := status()
		for _, state := range []recon.State{recon.StateStarting, recon.StateFollowing, recon.StateRetrying, recon.StateSyncing} {
			s.Set("o3_recon_state", truth(st.State == state), string(state))
		}
		age := time.Since(started)
		if !st.Heard.IsZero() {
			age = st.Age(time.Now())
		}
		s.Set("o3_recon_index", float64(st.Index))
		s.Set("o3_recon_om_commit_index", float64(st.Commit))
		s.Set("o3_recon_lag_entries", float64(st.Lag()))
		s.Set("o3_recon_age_seconds", age.Seconds())
		s.Set("o3_recon_compared_index", float64(st.Compared))
		s.Set("o3_recon_serving", truth(st.Generation != ""))
		done, phase := int64(0), recon.Phase("")
		if st.Building != nil {
			done, phase = st.Building.Done, st.Building.Phase
		}
		s.Set("o3_recon_building_done", float64(done))
		for _, p := range []recon.Phase{recon.PhaseImage, recon.PhaseRebuild, recon.PhaseCatchUp, recon.PhaseValidate, recon.PhaseSwitch} {
			s.Set("o3_recon_building", truth(phase == p), string(p))
		}
		for _, t := range task.All() {
			s.Set("o3_recon_task_index", float64(st.Index), t.Name) // a run is in all of them before it is in the replica
		}
	})
}

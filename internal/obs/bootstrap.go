package obs

import (
	"o3/internal/bootstrap"
)

// bootstrapTable returns the metrics of how the node came to be. A bootstrap runs
// while the node does not: they are read from its record.
func bootstrapTable() []Metric {
	return []Metric{
		sampled(Counter, "o3_bootstrap_total", "bootstraps", "Bootstraps of this data directory that ended (result ok or failed), by reason", "result", "reason"),
		sampled(Counter, "o3_bootstrap_validations_total", "validations", "Images that bootstraps validated, by mode (normal, strict) and result (ok, failed)", "mode", "result"),
		sampled(Gauge, "o3_bootstrap_phase_seconds", "seconds", "Time that each phase of the last bootstrap took", "phase"),
		sampled(Gauge, "o3_bootstrap_bytes", "bytes", "Bytes of the last bootstrap: total of its image, sent over the network, reused of what was on this machine, resumed from one that was cut off", "kind"),
		sampled(Gauge, "o3_bootstrap_bytes_per_second", "bytes/s", "Rate of the last bootstrap's transfer over the network"),
		sampled(Gauge, "o3_bootstrap_retries", "retries", "Retries of the last bootstrap"),
		sampled(Gauge, "o3_bootstrap_last_timestamp_seconds", "Unix time", "When the last bootstrap ended; 0: there was none"),
	}
}

// SampleBootstrap shows the record of bootstraps of the data directory dir. It is
// read once: no bootstrap runs while the node does. One that cannot be read is
// logged, and shown as empty.
func (o *Obs) SampleBootstrap(dir string) {
	rec, err := bootstrap.ReadRecord(dir)
	if err != nil {
		o.Log.Warn("bootstrap: the record cannot be read", "error", err)
		rec = new(bootstrap.Record)
	}
	last := rec.Last()
	if last != nil {
		o.Log.Info("bootstrap: the last one", "result", last.Result, "reason", last.Reason, "source", last.Source, "image", last.Image,
			"index", last.Index, "bytes", last.Bytes, "sent", last.Sent, "reused", last.Reused)
	}
	o.Sample(func(s *Sampler) {
		ended := map[[2]string]int64{{bootstrap.Succeeded, string(bootstrap.ReasonNone)}: 0} // shown from the start
		for _, t := range rec.Totals {
			ended[[2]string{t.Result, string(t.Reason)}] += t.Count
		}
		for k, n := range ended {
			s.Set("o3_bootstrap_total", float64(n), k[0], k[1])
		}
		checked := map[[2]string]int64{}
		for _, v := range rec.Validations {
			checked[[2]string{v.Mode, v.Result}] += v.Count
		}
		for _, mode := range []string{"normal", "strict"} {
			for _, result := range []string{bootstrap.Succeeded, bootstrap.Failed} {
				s.Set("o3_bootstrap_validations_total", float64(checked[[2]string{mode, result}]), mode, result)
			}
		}
		lastBootstrap(s, last)
	})
}

// lastBootstrap shows the last attempt; nil: there was none.
func lastBootstrap(s *Sampler, a *bootstrap.Attempt) {
	if a == nil {
		a = new(bootstrap.Attempt)
	}
	took := map[bootstrap.Phase]float64{}
	for _, p := range a.Phases {
		took[p.Phase] += float64(p.Ms) / 1000
	}
	for _, p := range bootstrap.Phases() {
		s.Set("o3_bootstrap_phase_seconds", took[p], string(p))
	}
	for kind, n := range map[string]int64{"total": a.Bytes, "sent": a.Sent, "reused": a.Reused, "resumed": a.Resumed} {
		s.Set("o3_bootstrap_bytes", float64(n), kind)
	}
	s.Set("o3_bootstrap_bytes_per_second", float64(a.Rate))
	s.Set("o3_bootstrap_retries", float64(a.Retries))
	s.Set("o3_bootstrap_last_timestamp_seconds", float64(a.EndedMs)/1000)
}

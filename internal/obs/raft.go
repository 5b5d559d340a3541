package obs

import (
	"time"

	"o3/internal/consensus"
)

// Consensus is what the Raft node reports. fatal is called when it halts.
func (o *Obs) Consensus(fatal func(error)) consensus.Listener {
	appendTime, applyTime := o.Histogram("o3_raft_append_seconds"), o.Histogram("o3_raft_apply_seconds")
	appended, bytes := o.Counter("o3_raft_appended_entries_total"), o.Counter("o3_raft_appended_bytes_total")
	applied, requests := o.Counter("o3_raft_applied_entries_total"), o.Counter("o3_raft_applied_requests_total")
	roles := o.Counter("o3_raft_role_changes_total")
	return consensus.Listener{
		Role: func(r consensus.RoleChange) {
			roles.Inc()
			o.Log.Info("raft: role", "role", r.Role.String(), "term", r.Term, "leader", r.Leader)
		},
		Appended: func(a consensus.Append) {
			appendTime.Observe(a.Took.Seconds())
			appended.Add(float64(a.Entries))
			bytes.Add(float64(a.Bytes))
		},
		Applied: func(a consensus.Applied) {
			applyTime.Observe(a.Took.Seconds())
			applied.Add(float64(a.Entries))
			requests.Add(float64(a.Requests))
		},
		Members:   func(_ []byte, index uint64) { o.Log.Info("raft: members changed", "index", index) },
		Truncated: func(first uint64) { o.Log.Debug("raft: log truncated", "first", first) },
		Flushed:   func(took time.Duration) { o.Log.Debug("raft: store flushed for the log", "took", took) },
		Image: func(event string, m consensus.ImageMeta) {
			o.Log.Info("raft: image", "event", event, "index", m.Index, "term", m.Term)
		},
		ImageFail: func(peer uint64, reason string) {
			o.Log.Warn("raft: image given up", "peer", peer, "reason", reason)
		},
		Dropped: func(what string, n int) {
			o.Counter("o3_raft_dropped_messages_total", what).Add(float64(n))
		},
		Fatal:   fatal,
		Trouble: func(err error) { o.Log.Warn("raft: log store", "error", err) },
	}
}

// SampleConsensus shows the state of the Raft node at each scrape.
func (o *Obs) SampleConsensus(n *consensus.Node) {
	o.Sample(func(s *Sampler) {
		st := n.Status()
		s.Set("o3_raft_term", float64(st.Term))
		s.Set("o3_raft_is_leader", truth(st.Role == consensus.Leader))
		s.Set("o3_raft_commit_index", float64(st.Commit))
		s.Set("o3_raft_applied_index", float64(st.Applied))
		s.Set("o3_raft_durable_index", float64(st.Durable))
		s.Set("o3_raft_first_index", float64(st.First))
		s.Set("o3_raft_last_index", float64(st.Last))
		s.Set("o3_raft_log_bytes", float64(st.LogBytes))
		s.Set("o3_raft_queued_requests", float64(st.QueuedRequests))
	})
}

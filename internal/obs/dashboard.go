package obs

import (
	"encoding/json"
	"strings"
)

// dashRow is a row of panels of the Grafana dashboard.
type dashRow struct {
	title  string
	panels []dashPanel
}

// dashPanel is a graph: a name of a curve and its expression, in turns.
type dashPanel struct {
	title, unit string
	curves      []string
}

// dashboard says what the Grafana dashboard shows.
func dashboard() []dashRow {
	rate := func(metric, by string) string {
		return "sum by (" + by + ") (rate(" + metric + "{" + dashFilter + "}[$__rate_interval]))"
	}
	quantile := func(q, metric, by string) string {
		return "histogram_quantile(" + q + ", sum by (" + strings.TrimPrefix(by+", le", ", ") + ") (rate(" + metric + "_bucket{" + dashFilter + "}[$__rate_interval])))"
	}
	gauge := func(metric string) string { return metric + "{" + dashFilter + "}" }
	return []dashRow{
		{"Requests", []dashPanel{
			{"Requests by listener and code", "reqps", []string{"{{listener}} {{code}}", rate("o3_http_requests_total", "listener, code")}},
			{"Latency, 99th percentile", "s", []string{"{{listener}} {{route}}", quantile("0.99", "o3_http_request_seconds", "listener, route")}},
			{"In flight", "short", []string{"{{instance}} {{listener}}", gauge("o3_http_requests_in_flight")}},
			{"Bytes", "Bps", []string{"in {{listener}}", rate("o3_http_received_bytes_total", "listener"), "out {{listener}}", rate("o3_http_sent_bytes_total", "listener")}},
		}},
		{"Namespace", []dashPanel{
			{"Applied requests", "reqps", []string{"{{instance}}", rate("o3_raft_applied_requests_total", "instance")}},
			{"Log: write and sync, 99th percentile", "s", []string{"append", quantile("0.99", "o3_raft_append_seconds", ""), "apply", quantile("0.99", "o3_raft_apply_seconds", "")}},
			{"Entries not durable in the store", "short", []string{"{{instance}}", gauge("o3_raft_applied_index") + " - " + gauge("o3_raft_durable_index")}},
			{"Store", "bytes", []string{"disk", gauge("o3_store_disk_bytes"), "log", gauge("o3_raft_log_bytes"), "debt", gauge("o3_store_compaction_debt_bytes")}},
			{"Writes stalled", "s", []string{"{{reason}}", rate("o3_store_stall_seconds_total", "reason")}},
			{"Failed or damaged", "short", []string{"store failed", gauge("o3_store_failed"), "tables damaged", gauge("o3_store_corruptions_total"), "blocks damaged", gauge("o3_block_damages_total")}},
		}},
		{"Blocks", []dashPanel{
			{"Bytes", "bytes", []string{"live", gauge("o3_block_live_bytes"), "dead", gauge("o3_block_dead_bytes"), "disk", gauge("o3_block_disk_bytes"), "free", gauge("o3_block_disk_free_bytes")}},
			{"Throughput", "Bps", []string{"put", rate("o3_block_put_bytes_total", "instance"), "get", rate("o3_block_get_bytes_total", "instance")}},
			{"Space given back", "Bps", []string{"freed", rate("o3_reclaim_freed_bytes_total", "instance"), "rewritten", rate("o3_block_rewritten_bytes_total", "instance")}},
			{"Read-only", "short", []string{"{{instance}}", gauge("o3_block_read_only")}},
		}},
		{"Snapshots", []dashPanel{
			{"Snapshots", "short", []string{"live", gauge("o3_snapshots"), "being reclaimed", gauge("o3_snapshots_deleted")}},
			{"Rows kept for them", "short", []string{"history", gauge("o3_snapshot_history_rows"), "journal", gauge("o3_snapshot_journal_rows")}},
			{"Reclaim lag", "s", []string{"{{instance}}", gauge("o3_snapshot_reclaim_lag_seconds")}},
			{"Diffs", "short", []string{"waiting", gauge("o3_snapdiff_queue_length"), "running", gauge("o3_snapdiff_running"), "rejected", rate("o3_snapdiff_rejected_total", "instance")}},
			{"Diffs: time by phase, 99th percentile", "s", []string{"{{phase}}", quantile("0.99", "o3_snapdiff_phase_seconds", "phase")}},
		}},
		{"Recon", []dashPanel{
			{"Entries behind the OM", "short", []string{"{{instance}}", gauge("o3_recon_lag_entries")}},
			{"Age of what the OM told", "s", []string{"{{instance}}", gauge("o3_recon_age_seconds")}},
			{"Entries applied", "ops", []string{"{{instance}}", rate("o3_recon_applied_entries_total", "instance")}},
			{"Time to apply a message, 99th percentile", "s", []string{"apply", quantile("0.99", "o3_recon_apply_seconds", "")}},
			{"Generations made, by reason and result", "short", []string{"{{reason}} {{result}}", "sum by (reason, result) (increase(o3_recon_syncs_total{" + dashFilter + "}[$__rate_interval])) > 0"}},
			{"State", "short", []string{"{{instance}} {{state}}", gauge("o3_recon_state") + " == 1", "{{instance}} {{phase}}", gauge("o3_recon_building") + " == 1"}},
			{"Stage: state", "short", []string{"{{instance}} {{state}}", gauge("o3_recon_staging_state") + " == 1"}},
			{"Stage: progress", "percent", []string{"{{instance}}", gauge("o3_recon_staging_progress_percent"), "{{task}}", gauge("o3_recon_task_staging_progress_percent")}},
			{"Stage: disk and memory", "bytes", []string{"{{instance}} disk", gauge("o3_recon_staging_disk_bytes"), "{{instance}} memory", gauge("o3_recon_staging_memory_bytes")}},
			{"Stages that came to nothing", "short", []string{"{{instance}} {{reason}}", "sum by (instance, reason) (increase(o3_recon_staging_operations_failures_total{" + dashFilter + "}[$__rate_interval])) > 0"}},
		}},
	}
}

// dashFilter picks the instances chosen on the page.
const dashFilter = `instance=~"$instance"`

// The grid of a page has 24 columns.
const (
	dashColumns = 24
	dashWidth   = 8
	dashHeight  = 8
)

// Dashboard returns the Grafana dashboard of docs/grafana/o3.json.
func Dashboard() ([]byte, error) {
	var panels []any
	id, y := 0, 0
	for _, row := range dashboard() {
		id++
		panels = append(panels, map[string]any{
			"id": id, "type": "row", "title": row.title, "collapsed": false, "panels": []any{}, "gridPos": dashPlace(0, y, dashColumns, 1),
		})
		y++
		for i, p := range row.panels {
			id++
			x := i * dashWidth % dashColumns
			if i > 0 && x == 0 {
				y += dashHeight
			}
			panels = append(panels, p.json(id, dashPlace(x, y, dashWidth, dashHeight)))
		}
		y += dashHeight
	}
	source := map[string]any{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
	instance := map[string]any{
		"name": "instance", "type": "query", "label": "Node", "datasource": dashSource(), "query": "label_values(o3_build_info, instance)",
		"includeAll": true, "multi": true, "refresh": 2, "current": map[string]any{"text": "All", "value": "$__all"},
	}
	out, err := json.MarshalIndent(map[string]any{
		"title": "O3", "uid": "o3", "tags": []string{"o3"}, "schemaVersion": 39, "refresh": "30s", "time": map[string]any{"from": "now-3h", "to": "now"},
		"templating": map[string]any{"list": []any{source, instance}}, "panels": panels,
	}, "", "  ")
	return append(out, '\n'), err
}

func dashPlace(x, y, w, h int) map[string]any { return map[string]any{"x": x, "y": y, "w": w, "h": h} }

func dashSource() map[string]any { return map[string]any{"type": "prometheus", "uid": "${datasource}"} }

func (p dashPanel) json(id int, place map[string]any) any {
	var targets []any
	for i := 0; i < len(p.curves); i += 2 {
		targets = append(targets, map[string]any{
			"refId": string(rune('A' + i/2)), "datasource": dashSource(), "legendFormat": p.curves[i], "expr": p.curves[i+1],
		})
	}
	return map[string]any{
		"id": id, "type": "timeseries", "title": p.title, "datasource": dashSource(), "gridPos": place, "targets": targets,
		"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit, "min": 0}, "overrides": []any{}},
	}
}

package obs

// sampled returns a row that is read at each scrape.
func sampled(t MetricType, name, unit, help string, labels ...string) Metric {
	return Metric{Name: name, Type: t, Unit: unit, Help: help, Labels: labels, Sampled: true}
}

// storeTable returns the metrics of the namespace store.
func storeTable() []Metric {
	return []Metric{
		{Name: "o3_store_stall_seconds_total", Type: Counter, Unit: "seconds", Labels: []string{"reason"},
			Help: "Time that commits waited for flushes or compactions"},
		{Name: "o3_store_flush_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(),
			Help: "Time to write rows in memory as tables"},
		{Name: "o3_store_compaction_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(),
			Help: "Time to merge tables"},
		{Name: "o3_store_corruptions_total", Type: Counter, Unit: "files",
			Help: "Times that stored bytes of a table failed their checksum"},
		{Name: "o3_store_disk_slow_total", Type: Counter, Unit: "operations",
			Help: "Disk operations of the store that took longer than five seconds"},
		sampled(Gauge, "o3_store_disk_bytes", "bytes", "Size of the store's files"),
		sampled(Gauge, "o3_store_memtable_bytes", "bytes", "Rows in memory that are not in tables yet"),
		sampled(Gauge, "o3_store_compaction_debt_bytes", "bytes", "Bytes of tables still to merge, estimated"),
		sampled(Gauge, "o3_store_read_amplification", "tables", "Tables that one read may have to look at"),
		sampled(Gauge, "o3_store_level_bytes", "bytes", "Size of a level of tables", "level"),
		sampled(Gauge, "o3_store_cache_bytes", "bytes", "Memory used for blocks of tables"),
		sampled(Counter, "o3_store_cache_hits_total", "reads", "Blocks of tables found in memory"),
		sampled(Counter, "o3_store_cache_misses_total", "reads", "Blocks of tables read from disk"),
		sampled(Gauge, "o3_store_failed", "1", "1 when the store takes no writes any more"),
	}
}

// raftTable returns the metrics of the Raft node.
func raftTable() []Metric {
	return []Metric{
		{Name: "o3_raft_append_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(),
			Help: "Time to write and sync a batch of the log"},
		{Name: "o3_raft_appended_entries_total", Type: Counter, Unit: "entries", Help: "Entries written to the log"},
		{Name: "o3_raft_appended_bytes_total", Type: Counter, Unit: "bytes", Help: "Bytes written to the log"},
		{Name: "o3_raft_apply_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(),
			Help: "Time to apply a run of entries"},
		{Name: "o3_raft_applied_entries_total", Type: Counter, Unit: "entries", Help: "Entries applied"},
		{Name: "o3_raft_applied_requests_total", Type: Counter, Unit: "requests", Help: "Requests applied"},
		{Name: "o3_raft_role_changes_total", Type: Counter, Unit: "changes", Help: "Changes of role, term or leader"},
		{Name: "o3_raft_dropped_messages_total", Type: Counter, Unit: "messages", Labels: []string{"what"},
			Help: "Messages dropped because the inbox was full"},
		sampled(Gauge, "o3_raft_term", "terms", "Current term"),
		sampled(Gauge, "o3_raft_is_leader", "1", "1 while this node leads"),
		sampled(Gauge, "o3_raft_commit_index", "index", "Last entry known to be committed"),
		sampled(Gauge, "o3_raft_applied_index", "index", "Last entry applied"),
		sampled(Gauge, "o3_raft_durable_index", "index", "Last entry whose effect a power cut would leave in the store"),
		sampled(Gauge, "o3_raft_first_index", "index", "First entry of the log"),
		sampled(Gauge, "o3_raft_last_index", "index", "Last entry of the log"),
		sampled(Gauge, "o3_raft_log_bytes", "bytes", "Size of the log, about"),
		sampled(Gauge, "o3_raft_queued_requests", "requests", "Requests that wait for the log"),
	}
}

// blockTable returns the metrics of the block store.
func blockTable() []Metric {
	return []Metric{
		{Name: "o3_block_damages_total", Type: Counter, Unit: "ranges",
			Help: "Times that bytes of a container failed their checksum; the same damage may be met again"},
		{Name: "o3_block_torn_total", Type: Counter, Unit: "files",
			Help: "Containers whose end a crash had cut off"},
		{Name: "o3_block_rewritten_bytes_total", Type: Counter, Unit: "bytes",
			Help: "Bytes of disk freed by rewriting and removing containers"},
		{Name: "o3_block_failures_total", Type: Counter, Unit: "failures", Labels: []string{"what"},
			Help: "Background work on a container that failed and is tried again"},
		{Name: "o3_block_left_total", Type: Counter, Unit: "blocks",
			Help: "Blocks of failed writes that could not be deleted at once; the sweep frees them"},
		sampled(Gauge, "o3_block_containers", "containers", "Containers by state", "state"),
		sampled(Gauge, "o3_block_live_blocks", "blocks", "Blocks stored"),
		sampled(Gauge, "o3_block_live_bytes", "bytes", "Their bytes"),
		sampled(Gauge, "o3_block_dead_bytes", "bytes", "Bytes of deleted blocks whose space is not freed yet"),
		sampled(Gauge, "o3_block_disk_bytes", "bytes", "Size of the container files"),
		sampled(Gauge, "o3_block_disk_free_bytes", "bytes", "Free bytes of the containers' disk when last looked at"),
		sampled(Gauge, "o3_block_read_only", "1", "1 while writes are refused for want of space"),
		sampled(Counter, "o3_block_puts_total", "blocks", "Blocks written"),
		sampled(Counter, "o3_block_put_bytes_total", "bytes", "Bytes of blocks written"),
		sampled(Counter, "o3_block_gets_total", "reads", "Reads of blocks begun"),
		sampled(Counter, "o3_block_get_bytes_total", "bytes", "Bytes asked for by reads of blocks"),
		sampled(Counter, "o3_block_deletes_total", "blocks", "Blocks deleted"),
		sampled(Counter, "o3_block_syncs_total", "syncs", "Syncs of files and directories"),
		sampled(Gauge, "o3_block_scrub_blocks", "blocks", "Blocks read by the scrub under way, or by the last one"),
		sampled(Gauge, "o3_block_scrub_damages", "ranges", "Damages it found"),
	}
}

// reclaimTable returns the metrics of the service that gives space back.
func reclaimTable() []Metric {
	return []Metric{
		{Name: "o3_reclaim_purged_rows_total", Type: Counter, Unit: "rows", Help: "Rows below deleted directories that were purged"},
		{Name: "o3_reclaim_freed_blocks_total", Type: Counter, Unit: "blocks", Help: "Blocks of deleted keys that were freed"},
		{Name: "o3_reclaim_freed_bytes_total", Type: Counter, Unit: "bytes", Help: "Their bytes"},
		{Name: "o3_reclaim_expired_clients_total", Type: Counter, Unit: "sessions", Help: "Idle client sessions forgotten"},
		{Name: "o3_reclaim_expired_open_keys_total", Type: Counter, Unit: "keys", Help: "Open keys dropped because nobody finished them"},
		{Name: "o3_reclaim_sweeps_total", Type: Counter, Unit: "sweeps", Help: "Sweeps finished"},
		{Name: "o3_reclaim_swept_blocks_total", Type: Counter, Unit: "blocks", Help: "Blocks no row named that sweeps freed"},
		{Name: "o3_reclaim_failures_total", Type: Counter, Unit: "failures", Labels: []string{"task"},
			Help: "Runs of a task that failed; it is tried again at its next interval"},
	}
}

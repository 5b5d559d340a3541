package config

import "o3/internal/lifecycle"

func lifecycleKeys() group {
	life := func(f func(*Lifecycle) any) func(*Config) any { return func(c *Config) any { return f(&c.Lifecycle) } }
	const intro = "Rules are set per bucket; see [lifecycle](lifecycle.md). What follows is about the service that makes them happen, on the leader."
	return group{"Lifecycle", intro, []Key{
		{
			Name: "ozone.lifecycle.service.enabled", Type: Bool, Default: "true", ShownBy: "app.TestKeyLifecycleEnabled",
			Doc:   "Scan buckets that have rules, and do what these say.",
			field: life(func(l *Lifecycle) any { return &l.Enabled }),
		}, {
			Name: "ozone.lifecycle.service.interval", Type: Duration, Default: "24h", Min: "1ms", Max: "365d", ShownBy: "app.TestKeyLifecycleInterval",
			Doc:   "Time from the end of a bucket's scan to its next; a bucket without a finished scan is scanned at once.",
			field: life(func(l *Lifecycle) any { return &l.Interval }),
		}, {
			Name: "ozone.lifecycle.service.timeout", Type: Duration, Default: "2h", Min: "1ms", Max: "365d", ShownBy: "app.TestKeyLifecycleTimeout",
			Doc:   "After which time a scan is reported as overdue, in its status, the log and the metrics; it goes on.",
			field: life(func(l *Lifecycle) any { return &l.Timeout }),
		}, {
			Name: "ozone.lifecycle.service.workers", Type: Int, Default: "5", Min: "1", Max: "100", ShownBy: "app.TestKeyLifecycleWorkers",
			Doc:   "How many buckets are scanned at once; others take turns with them.",
			field: life(func(l *Lifecycle) any { return &l.Workers }),
		}, {
			Name: "ozone.lifecycle.service.delete.batch-size", Type: Int, Default: "1000", Min: "1", Max: "1000", ShownBy: "app.TestKeyLifecycleBatch",
			Doc:   "The most keys, directories and uploads that one command deals with.",
			field: life(func(l *Lifecycle) any { return &l.Batch }),
		}, {
			Name: "ozone.lifecycle.service.delete.rate", Type: Int, Default: "10000", Min: "0", Max: "10000000", ShownBy: "app.TestKeyLifecycleRate",
			Doc:   "The most keys, directories and uploads that are dealt with in a second, of all buckets together; 0: no bound.",
			field: life(func(l *Lifecycle) any { return &l.Rate }),
		}, {
			Name: "ozone.lifecycle.service.work.window", Type: String, Default: "", ShownBy: "app.TestKeyLifecycleWindow",
			Doc:   "The time of day, UTC, in which scans may work, such as 22:00-06:00; empty: always.",
			check: func(v string) error { _, err := lifecycle.ParseWindow(v); return err },
			field: life(func(l *Lifecycle) any { return &l.Window }),
		}, {
			Name: "ozone.lifecycle.service.state.save.interval.ms", Type: Duration, Default: "300000ms", Min: "1ms", Max: "1d", ShownBy: "app.TestKeyLifecycleSaveInterval",
			Doc:   "After which time a scan that found nothing to do is saved, so that it would go on from there.",
			field: life(func(l *Lifecycle) any { return &l.SaveInterval }),
		}, {
			Name: "ozone.lifecycle.service.state.save.keys.processed", Type: Int, Default: "100000", Min: "1", Max: "1000000000", ShownBy: "app.TestKeyLifecycleSaveKeys",
			Doc:   "After how many rows it is saved at the latest.",
			field: life(func(l *Lifecycle) any { return &l.SaveRows }),
		}, {
			Name: "ozone.lifecycle.service.mpu.abort.limit.per.task", Type: Int, Default: "1000", Min: "1", Max: "1000000", ShownBy: "app.TestKeyLifecycleAbort",
			Doc:   "The most parts of multipart uploads that one command drops; an upload with more is dropped by one of its own.",
			field: life(func(l *Lifecycle) any { return &l.AbortParts }),
		}, {
			Name: "ozone.lifecycle.service.move.to.trash.enabled", Type: Bool, Default: "false", ShownBy: "app.TestKeyLifecycleTrash",
			Doc:   "Move what expires to .Trash/OWNER/Current/ of its bucket instead of deleting it.",
			field: life(func(l *Lifecycle) any { return &l.Trash }),
		}, {
			Name: "ozone.lifecycle.service.trash.checkpoint.interval", Type: Duration, Default: "1h", Min: "1ms", Max: "365d", ShownBy: "app.TestKeyLifecycleTrashCheckpoint",
			Doc:   "Where expired things are moved to trash: how often what is in the trash of a bucket with rules is set aside, .Trash/OWNER/Current becoming .Trash/OWNER/yyMMddHHmmss.",
			field: life(func(l *Lifecycle) any { return &l.TrashCheckpoint }),
		}, {
			Name: "ozone.lifecycle.service.trash.retention", Type: Duration, Default: "24h", Min: "0", Max: "3650d", ShownBy: "app.TestKeyLifecycleTrashRetention",
			Doc:   "Where expired things are moved to trash: after which time what was set aside is deleted, whatever put it there; 0: trash is left alone.",
			field: life(func(l *Lifecycle) any { return &l.TrashKeep }),
		}, {
			Name: "ozone.lifecycle.service.day", Type: Duration, Default: "24h", Min: "1ms", Max: "24h", ShownBy: "app.TestKeyLifecycleDay",
			Doc:   "How long a day of a rule is; for tests and trials only.",
			field: life(func(l *Lifecycle) any { return &l.Day }),
		},
	}}
}

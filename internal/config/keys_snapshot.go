package config

func snapshotKeys() group {
	snap := func(f func(*Snapshot) any) func(*Config) any { return func(c *Config) any { return f(&c.Snapshot) } }
	return group{"Snapshots and their diffs", "", []Key{
		{
			Name: "ozone.om.fs.snapshot.max.limit", Type: Int, Default: "10000", Min: "1", Max: "10000000", ShownBy: "app.TestKeySnapshotLimit",
			Doc:   "How many snapshots the whole store may have, deleted ones that are not reclaimed yet included.",
			field: snap(func(s *Snapshot) any { return &s.Limit }),
		}, {
			Name: "ozone.snapshot.deleting.service.interval", Type: Duration, Default: "5s", Min: "10ms", Max: "1d", ShownBy: "app.TestKeySnapshotReclaim",
			Doc:   "How often what only deleted snapshots saw is reclaimed.",
			field: snap(func(s *Snapshot) any { return &s.ReclaimInterval }),
		}, {
			Name: "ozone.snapshot.key.deleting.limit.per.task", Type: Int, Default: "2000", Min: "1", Max: "10000", ShownBy: "app.TestKeySnapshotReclaim",
			Doc:   "How many rows one command of that looks at.",
			field: snap(func(s *Snapshot) any { return &s.ReclaimBatch }),
		}, {
			Name: "ozone.om.snapshot.diff.thread.pool.size", Type: Int, Default: "10", Min: "1", Max: "1000", ShownBy: "app.TestKeyDiffThreads",
			Doc:   "How many diffs run at once; as many more may wait, any other is answered REJECTED.",
			field: snap(func(s *Snapshot) any { return &s.DiffThreads }),
		}, {
			Name: "ozone.om.snapshot.diff.max.page.size", Type: Int, Default: "5000", Min: "1", Max: "100000", ShownBy: "app.TestKeyDiffPage",
			Doc:   "The most entries of a page of a report; a request for more, or for none, gets as many.",
			field: snap(func(s *Snapshot) any { return &s.DiffMaxPage }),
		}, {
			Name: "ozone.om.snapshot.diff.job.default.wait.time", Type: Duration, Default: "1m", Min: "1ms", Max: "1d", ShownBy: "app.TestKeyDiffWait",
			Doc:   "After which time a client is told to ask again for a diff that is not done; less where the estimate is less.",
			field: snap(func(s *Snapshot) any { return &s.DiffWait }),
		}, {
			Name: "ozone.om.snapshot.diff.job.report.persistent.time", Type: Duration, Default: "7d", Min: "1s", Max: "3650d", ShownBy: "app.TestKeyDiffCleanup",
			Doc:   "How long a diff that is done, and its report, are kept.",
			field: snap(func(s *Snapshot) any { return &s.DiffKeep }),
		}, {
			Name: "ozone.om.snapshot.diff.cleanup.service.run.interval", Type: Duration, Default: "1h", Min: "10ms", Max: "30d", ShownBy: "app.TestKeyDiffCleanup",
			Doc:   "How often diffs that are too old are removed, and those that failed or were cancelled longer ago than this.",
			field: snap(func(s *Snapshot) any { return &s.DiffCleanup }),
		}, {
			Name: "ozone.om.snapshot.diff.max.allowed.keys.changed.per.job", Type: Int, Default: "1000000000", Min: "1", Max: "1000000000000", ShownBy: "app.TestKeyDiffLimit",
			Doc:   "How many changes one diff may have to look at; one with more fails.",
			field: snap(func(s *Snapshot) any { return &s.DiffMaxChanges }),
		}, {
			Name: "ozone.om.snapshot.force.full.diff", Type: Bool, Default: "false", ShownBy: "app.TestKeyForceFullDiff",
			Doc:   "Compare all rows of both snapshots, instead of those that the journal names. The report is the same.",
			field: snap(func(s *Snapshot) any { return &s.ForceFull }),
		}, {
			Name: "ozone.om.snapshot.diff.db.dir", Type: Path, Default: "${ozone.metadata.dirs}/om/snapdiff", ShownBy: "app.TestKeyDiffDir",
			Doc:   "The directory of reports, and of what a diff does not hold in memory.",
			field: snap(func(s *Snapshot) any { return &s.DiffDir }),
		}, {
			Name: "ozone.om.snapshot.diff.max.memory.per.job", Type: Size, Default: "32MB", Min: "1MB", Max: "64GB", ShownBy: "app.TestKeyDiffMemory",
			Doc:   "How much memory one diff may use to sort; the rest goes to disk.",
			field: snap(func(s *Snapshot) any { return &s.DiffMemory }),
		},
	}}
}

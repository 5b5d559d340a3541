package config

func obsKeys() group {
	return group{"Logs, audit, metrics, traces", "", []Key{
		{
			Name: "ozone.log.level", Type: Enum, Values: []string{"debug", "info", "warn", "error"}, Default: "info", ShownBy: "app.TestKeyLog",
			Doc:   "The least severe lines that are logged.",
			field: func(c *Config) any { return &c.Log.Level },
		}, {
			Name: "ozone.log.format", Type: Enum, Values: []string{"text", "json"}, Default: "text", ShownBy: "app.TestKeyLog",
			Doc:   "The form of the log on standard error.",
			field: func(c *Config) any { return &c.Log.Format },
		}, {
			Name: "ozone.log.slow.request", Type: Duration, Default: "5s", Min: "0s", Max: "1d", ShownBy: "app.TestKeySlowRequest",
			Doc:   "Requests that take longer are logged; 0 logs none.",
			field: func(c *Config) any { return &c.Log.SlowRequest },
		}, {
			Name: "ozone.audit.log.enabled", Type: Bool, Default: "true", ShownBy: "app.TestKeyAudit",
			Doc:   "Whether every change and every act of an administrator is written to the audit log.",
			field: func(c *Config) any { return &c.Audit.Enabled },
		}, {
			Name: "ozone.audit.log.path", Type: Path, Default: "${ozone.metadata.dirs}/audit/audit.log", ShownBy: "app.TestKeyAudit",
			Doc:   "The file of the audit log; older ones lie beside it with a number.",
			field: func(c *Config) any { return &c.Audit.Path },
		}, {
			Name: "ozone.audit.log.max.size", Type: Size, Default: "64MB", Min: "4KB", Max: "16GB", ShownBy: "app.TestKeyAudit",
			Doc:   "The size at which the next audit file is begun.",
			field: func(c *Config) any { return &c.Audit.MaxSize },
		}, {
			Name: "ozone.audit.log.max.files", Type: Int, Default: "16", Min: "2", Max: "100000", ShownBy: "app.TestKeyAudit",
			Doc:   "How many audit files are kept, the current one included.",
			field: func(c *Config) any { return &c.Audit.MaxFiles },
		}, {
			Name: "ozone.audit.log.queue", Type: Int, Default: "8192", Min: "1", Max: "1000000", ShownBy: "app.TestKeyAuditQueue",
			Doc:   "How many records may wait to be written; beyond it they are counted as lost, or with strict the next ones wait.",
			field: func(c *Config) any { return &c.Audit.Queue },
		}, {
			Name: "ozone.audit.log.sync", Type: Enum, Values: []string{"always", "interval", "never"}, Default: "interval", ShownBy: "app.TestKeyAuditSync",
			Doc:   "When audit records are forced to disk: each batch, every second, or whenever the system likes.",
			field: func(c *Config) any { return &c.Audit.Sync },
		}, {
			Name: "ozone.audit.log.strict", Type: Bool, Default: "false", ShownBy: "app.TestKeyAudit",
			Doc:   "Whether changes are refused while the audit log cannot be written.",
			field: func(c *Config) any { return &c.Audit.Strict },
		}, {
			Name: "ozone.metrics.enabled", Type: Bool, Default: "true", ShownBy: "app.TestKeyMetrics",
			Doc:   "Whether the OM listener and that of Recon show Prometheus metrics under `/metrics`.",
			field: func(c *Config) any { return &c.Metrics.Enabled },
		}, {
			Name: "ozone.profiler.enabled", Type: Bool, Default: "false", ShownBy: "app.TestKeyProfiler",
			Doc:   "Whether the OM listener shows Go profiles under `/debug/pprof/` to administrators.",
			field: func(c *Config) any { return &c.Metrics.Profiler },
		}, {
			Name: "ozone.tracing.endpoint", Type: URL, ShownBy: "app.TestKeyTracing",
			Doc:   "The OTLP/HTTP collector to which traces are sent; unset, nothing is traced.",
			field: func(c *Config) any { return &c.Tracing.Endpoint },
		}, {
			Name: "ozone.tracing.sample.ratio", Type: Float, Default: "1", Min: "0", Max: "1", ShownBy: "app.TestKeyTracing",
			Doc:   "The share of requests that are traced, where the client did not decide.",
			field: func(c *Config) any { return &c.Tracing.SampleRatio },
		},
	}}
}

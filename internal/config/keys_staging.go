package config

import (
	"errors"
	"fmt"
	"net/url"
)

// The keys of staging that look at each other.
const (
	stagingEnabled     = "ozone.recon.staging.enabled"
	stagingFallback    = "ozone.recon.staging.fallback.enabled"
	stagingDevelopment = "ozone.recon.staging.development.mode"
	stagingBeta        = "ozone.recon.staging.beta.mode"
	stagingProduction  = "ozone.recon.staging.production.mode"
)

// stagingKeys is how Recon makes new generations.
func stagingKeys() []Key {
	staging := func(f func(*Staging) any) func(*Config) any {
		return func(c *Config) any { return f(&c.Recon.Staging) }
	}
	keys := []Key{
		{
			Name: stagingEnabled, Type: Bool, Default: "true", ShownBy: "app.TestKeyStagingEnabled",
			Doc:   "Whether tables that are built anew are built beside those that serve; if not, they are rebuilt in place, and questions about them are refused meanwhile. In development mode the default is false.",
			field: staging(func(s *Staging) any { return &s.Enabled }),
		}, {
			Name: "ozone.recon.staging.base.path", Type: Path, Default: "${ozone.recon.db.dir}", ShownBy: "app.TestKeyStagingBasePath",
			Doc:   "Where stages are made, and stay when they are in force; on another file system than the replica, its files are copied.",
			field: staging(func(s *Staging) any { return &s.BasePath }),
		}, {
			Name: "ozone.recon.staging.cleanup.retention.hours", Type: Duration, Default: "24h", Min: "0s", Max: "3650d", ShownBy: "app.TestKeyStagingRetention",
			Doc:   "How long the generation before the one in force is kept for a rollback, and a stage that failed its validation or its switch; less if the disk is needed; 0 keeps none.",
			field: staging(func(s *Staging) any { return &s.Retention }),
		}, {
			Name: "ozone.recon.staging.timeout.minutes", Type: Duration, Default: "2h", Min: "0s", Max: "365d", ShownBy: "app.TestKeyStagingTimeout",
			Doc:   "How long a stage may take, without the time it waits for an OM that does not answer; 0 is for ever.",
			field: staging(func(s *Staging) any { return &s.Timeout }),
		}, {
			Name: "ozone.recon.staging.memory.factor", Type: Float, Default: "0.5", Min: "0.01", Max: "1", ShownBy: "app.TestKeyStagingMemory",
			Doc:   "How much of the memory that is left below the limit of the process (GOMEMLIMIT, or that of its control group) a stage takes, at most `ozone.recon.rebuild.memory`.",
			field: staging(func(s *Staging) any { return &s.MemoryFactor }),
		}, {
			Name: "ozone.recon.staging.thread.pool.size", Type: Int, Default: "4", Min: "1", Max: "256", ShownBy: "app.TestKeyStagingThreads",
			Doc:   "How many threads of its own a stage has to read the namespace.",
			field: staging(func(s *Staging) any { return &s.Threads }),
		}, {
			Name: "ozone.recon.staging.batch.size.multiplier", Type: Float, Default: "2", Min: "0.01", Max: "100", ShownBy: "app.TestKeyStagingMemory",
			Doc:   "By how much the batches of rows are larger than what follows from the memory; they have 16 to 65,536 rows.",
			field: staging(func(s *Staging) any { return &s.BatchMultiplier }),
		},
	}
	return append(append(keys, retryKeys(staging)...), modeKeys(staging)...)
}

func retryKeys(staging func(func(*Staging) any) func(*Config) any) []Key {
	return []Key{
		{
			Name: "ozone.recon.staging.auto.retry.enabled", Type: Bool, Default: "true", ShownBy: "app.TestKeyStagingRetry",
			Doc:   "Whether a stage that came to nothing is tried again by itself.",
			field: staging(func(s *Staging) any { return &s.AutoRetry }),
		}, {
			Name: "ozone.recon.staging.max.retry.attempts", Type: Int, Default: "3", Min: "0", Max: "1000000", ShownBy: "app.TestKeyStagingRetry",
			Doc:   "How often, after the first try.",
			field: staging(func(s *Staging) any { return &s.MaxRetries }),
		}, {
			Name: "ozone.recon.staging.retry.delay.minutes", Type: Duration, Default: "10m", Min: "10ms", Max: "365d", ShownBy: "app.TestKeyStagingRetry",
			Doc:   "How long after.",
			field: staging(func(s *Staging) any { return &s.RetryDelay }),
		}, {
			Name: "ozone.recon.staging.progress.report.interval.seconds", Type: Duration, Default: "30s", Min: "10ms", Max: "1d", ShownBy: "app.TestKeyStagingProgress",
			Doc:   "How often the log says how far a stage is.",
			field: staging(func(s *Staging) any { return &s.ProgressInterval }),
		}, {
			Name: "ozone.recon.staging.health.check.interval.seconds", Type: Duration, Default: "10s", Min: "10ms", Max: "1h", ShownBy: "app.TestKeyStagingHealth",
			Doc:   "How often marker, disk, memory and the files of a stage are looked at, and what alerts are about.",
			field: staging(func(s *Staging) any { return &s.HealthInterval }),
		},
	}
}

func modeKeys(staging func(func(*Staging) any) func(*Config) any) []Key {
	alert := func(f func(*Alert) any) func(*Config) any { return func(c *Config) any { return f(&c.Recon.Alert) } }
	return []Key{
		{
			Name: stagingDevelopment, Type: Bool, Default: "false", ShownBy: "app.TestKeyStagingModes",
			Doc:   "The first phase of a rollout: staging is off unless it is enabled explicitly. One of the three modes is true; setting another one makes `ozone.recon.staging.production.mode` false.",
			field: staging(func(s *Staging) any { return &s.Development }),
		}, {
			Name: stagingBeta, Type: Bool, Default: "false", ShownBy: "app.TestKeyStagingModes",
			Doc:   "The second phase: a stage that failed for good is tried once more in place, unless that is disabled explicitly.",
			field: staging(func(s *Staging) any { return &s.Beta }),
		}, {
			Name: stagingProduction, Type: Bool, Default: "true", ShownBy: "app.TestKeyStagingModes",
			Doc:   "The third phase: what serves is never touched before its successor is whole.",
			field: staging(func(s *Staging) any { return &s.Production }),
		}, {
			Name: stagingFallback, Type: Bool, Default: "false", ShownBy: "app.TestKeyStagingFallback",
			Doc:   "Whether a stage that failed for good is tried once more in place; true by default in beta mode, and refused in production mode.",
			field: staging(func(s *Staging) any { return &s.Fallback }),
		}, {
			Name: "ozone.recon.staging.monitoring.enhanced", Type: Bool, Default: "true", ShownBy: "app.TestKeyStagingEnhanced",
			Doc:   "Whether metrics, status and log also tell of each task and each table of a stage.",
			field: staging(func(s *Staging) any { return &s.Enhanced }),
		}, {
			Name: "ozone.recon.alert.webhook.url", Type: Text, ShownBy: "app.TestKeyAlertWebhook", check: checkWebhook,
			Doc:   "Where alerts of Recon are posted, as Prometheus' Alertmanager posts its own; it may hold a token and is never shown.",
			field: alert(func(a *Alert) any { return &a.Webhook }),
		}, {
			Name: "ozone.recon.alert.lag", Type: Duration, Default: "5m", Min: "10ms", Max: "365d", ShownBy: "app.TestKeyAlertLag",
			Doc:   "How long answers may lack what the OM is known to have, or the OM may be silent, before there is an alert.",
			field: alert(func(a *Alert) any { return &a.Lag }),
		}, {
			Name: "ozone.recon.alert.disk.free", Type: Size, Default: "2GB", Min: "0", Max: "1PB", ShownBy: "app.TestKeyAlertDisk",
			Doc:   "Free bytes of Recon's disk below which there is an alert.",
			field: alert(func(a *Alert) any { return &a.DiskFree }),
		},
	}
}

func checkWebhook(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("not an http or https URL")
	}
	return nil
}

// stagingFits applies the mode to what was not given, and refuses what
// contradicts it.
func stagingFits(l *loader) {
	s := &l.config.Recon.Staging
	given := func(key string) bool { _, ok := l.given[key]; return ok }
	if !given(stagingProduction) {
		s.Production = !s.Development && !s.Beta
	}
	const one = "exactly one of " + stagingDevelopment + ", " + stagingBeta + " and " + stagingProduction + " true"
	modes := []struct {
		key string
		on  bool
	}{{stagingProduction, s.Production}, {stagingBeta, s.Beta}, {stagingDevelopment, s.Development}}
	first := ""
	for _, m := range modes {
		switch {
		case m.on && first != "":
			l.conflict(m.key, first+" = true is another mode", one, stagingDevelopment, stagingBeta, stagingProduction)
			return
		case m.on:
			first = m.key
		}
	}
	if first == "" {
		l.conflict(stagingProduction, "no mode is left", one, stagingDevelopment, stagingBeta)
		return
	}
	if !given(stagingEnabled) {
		s.Enabled = !s.Development
	}
	if !given(stagingFallback) {
		s.Fallback = s.Beta && s.Enabled
	}
	switch {
	case s.Fallback && s.Production:
		l.conflict(stagingFallback, fmt.Sprintf("%s = true: what serves is never touched then", stagingProduction), "false, or "+stagingBeta+" = true", stagingProduction)
	case s.Fallback && !s.Enabled:
		l.conflict(stagingFallback, stagingEnabled+" = false: tables are rebuilt in place anyway", "false, or "+stagingEnabled+" = true", stagingEnabled)
	}
}

package app

import (
	"context"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"o3/internal/access"
	"o3/internal/admin/stages"
	"o3/internal/audit"
	"o3/internal/config"
	"o3/internal/errs"
	"o3/internal/obs"
	"o3/internal/recon"
	"o3/internal/recon/alert"
	"o3/internal/recon/staging"
)

// stagingCheck is the component of the node's health that stages are. It never
// keeps the node from being ready: what was there before a stage serves.
const stagingCheck = "staging"

// stagingOptions is how new generations are made.
func stagingOptions(c *config.Config) recon.StagingOptions {
	s := c.Recon.Staging
	o := recon.StagingOptions{
		Disabled: !s.Enabled, Fallback: s.Fallback, BasePath: s.BasePath, Retention: orNever(s.Retention), Timeout: orNever(s.Timeout),
		MemoryFactor: s.MemoryFactor, Threads: s.Threads, BatchMultiplier: s.BatchMultiplier,
		NoAutoRetry: !s.AutoRetry || s.MaxRetries == 0, MaxRetries: s.MaxRetries, RetryDelay: s.RetryDelay,
		ProgressInterval: s.ProgressInterval, HealthInterval: s.HealthInterval, Reserve: uint64(c.Block.Reserve),
	}
	if !s.Enabled {
		o.Threads = c.Recon.Threads // a rebuild in place has no threads of its own
	}
	return o
}

// orNever makes of a duration that is none what the Service takes for none.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// watchStaging has alerts, metrics and health tell of stages; it changes what the
// service will tell.
func (r *console) watchStaging(l *recon.Listener) {
	n, c := r.n, r.n.cfg.Recon
	r.alerts = alert.New(alert.Options{
		Instance: instance(c.Address), Webhook: string(c.Alert.Webhook), Lag: c.Alert.Lag, DiskFree: uint64(c.Alert.DiskFree), Interval: c.Staging.HealthInterval,
		Status:  func() recon.Status { return r.service.Status() },
		Staging: func() recon.StagingStatus { return r.service.Staging() },
		Free:    func() (uint64, error) { free, _, err := diskSpace(c.Dir); return free, err },
		Listener: alert.Listener{
			Changed: n.obs.ReconAlert, Posted: n.obs.ReconAlertPosted, Dropped: n.obs.ReconAlertDropped,
		},
	})
	told := l.Transition
	l.Transition = func(t staging.Transition) {
		told(t)
		r.alerts.Notice(t)
	}
}

// showStaging shows stages in metrics and health.
func (r *console) showStaging() {
	n := r.n
	n.obs.SampleStaging(r.service.Staging, n.cfg.Recon.Staging.Enhanced)
	n.obs.Health.Register(obs.Check{Name: stagingCheck, Look: func(context.Context) obs.Component { return obs.StagingHealth(r.service.Staging()) }})
}

// admin is what administrators do about stages.
func (r *console) admin(in *door) http.Handler {
	n := r.n
	return stages.New(stages.Options{
		Source: r.service, Guard: n.trail.guard, Basic: !n.cfg.Recon.Staging.Enhanced,
		Auth: func(next http.Handler) http.Handler {
			return in.to(next, r.noteStranger)
		},
		Listener: stages.Listener{
			Changed: r.noteChange,
			Failed: func(path string, err error) {
				n.obs.Log.Warn("recon: a request failed", "route", path, "error", err)
			},
		},
	})
}

// noteStranger records who wants something of Recon and is not let in.
func (r *console) noteStranger(w http.ResponseWriter, q *http.Request, p access.Principal, err error) {
	if q.Method == http.MethodPost && slices.Contains(stages.Paths(), q.URL.Path) {
		r.noteFor(p, w.Header(), q, stages.Change{Action: path.Base(q.URL.Path), Result: errs.KindOf(err), Detail: errorDetail(err)})
	}
}

// noteChange records who wanted what of Recon, and what came of it.
func (r *console) noteChange(answer http.Header, q *http.Request, c stages.Change) {
	r.noteFor(access.FromContext(q.Context()), answer, q, c)
}

func (r *console) noteFor(p access.Principal, answer http.Header, q *http.Request, c stages.Change) {
	line := audit.Record{
		RequestID: answer.Get(requestIDHeader), Principal: p.User, AccessKey: p.AccessKey, From: q.RemoteAddr, Action: "recon:Staging" + strings.ToUpper(c.Action[:1]) + c.Action[1:],
		Resource: r.n.cfg.Recon.Dir, Params: c.Params, Result: c.Result.String(), Detail: c.Detail,
	}
	if c.Action == "backup" {
		line.Action = "recon:Backup"
	}
	if c.Result == errs.OK {
		line.Detail = ""
	}
	r.n.trail.record(q.Context(), line)
}

// instance is how Prometheus would call the server that listens at address.
func instance(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return net.JoinHostPort(host, port)
}

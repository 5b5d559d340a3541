package obs

import (
	"sync"
	"time"

	"o3/internal/errs"
	"o3/internal/lifecycle"
	"o3/internal/schema/schemapb"
)

// ozoneLifecycle is how Ozone's metrics of lifecycle scans begin.
const ozoneLifecycle = "key_lifecycle_service_metrics_"

// maxRules bounds the rules that have series of their own; what others do is
// counted together.
const maxRules = 200

// lifecycleTable returns the metrics of lifecycle scans. Those whose names begin
// as Ozone's do are Ozone's KeyLifecycleServiceMetrics.
func lifecycleTable() []Metric {
	ozone := func(name, unit, help string) Metric {
		return Metric{Name: ozoneLifecycle + name, Type: Counter, Unit: unit, Help: help}
	}
	return []Metric{
		ozone("num_success_task", "scans", "Lifecycle scans of buckets that reached their end"),
		ozone("num_failure_task", "turns", "Times that the work on a bucket failed; it is tried again"),
		ozone("num_skipped_task", "turns", "Times that the work on a bucket began anew because the bucket, its rules or its scan had become others"),
		ozone("task_latency_ms", "milliseconds", "Time spent on scans"),
		ozone("num_key_iterated", "rows", "Rows of keys that were looked at"),
		ozone("num_dir_iterated", "directories", "Directories that were looked at"),
		ozone("num_key_deleted", "keys", "Keys deleted"),
		ozone("num_dir_deleted", "directories", "Directories deleted"),
		ozone("size_key_deleted", "bytes", "Bytes of the keys deleted"),
		ozone("num_key_renamed", "keys", "Keys moved to trash"),
		ozone("num_dir_renamed", "directories", "Directories moved to trash"),
		ozone("size_key_renamed", "bytes", "Bytes of the keys moved to trash"),
		ozone("num_multipart_uploads_iterated", "uploads", "Multipart uploads that were looked at"),
		ozone("num_multipart_uploads_aborted", "uploads", "Multipart uploads that were aborted"),
		{Name: "o3_lifecycle_rule_objects_total", Type: Counter, Unit: "objects", Labels: []string{"bucket", "rule", "result"},
			Help: "What a rule did: deleted, moved, aborted, or skipped because it had changed; the first 200 rules by themselves, others as (others)"},
		{Name: "o3_lifecycle_rule_bytes_total", Type: Counter, Unit: "bytes", Labels: []string{"bucket", "rule"},
			Help: "Bytes of what a rule deleted, moved or aborted; labelled likewise"},
		{Name: "o3_lifecycle_commands_total", Type: Counter, Unit: "commands", Labels: []string{"carries"},
			Help: "Commands of scans: with victims, or with nothing but the position"},
		{Name: "o3_lifecycle_command_seconds", Type: Histogram, Unit: "seconds", Buckets: latencyBuckets(),
			Help: "Time until a command of a scan was applied"},
		{Name: "o3_lifecycle_throttled_seconds_total", Type: Counter, Unit: "seconds",
			Help: "Time that scans waited for ozone.lifecycle.service.delete.rate"},
		{Name: "o3_lifecycle_overdue_total", Type: Counter, Unit: "scans",
			Help: "Scans that took longer than ozone.lifecycle.service.timeout"},
		{Name: "o3_lifecycle_trash_total", Type: Counter, Unit: "commands", Labels: []string{"what"},
			Help: "Commands that set trash aside or deleted it"},
		sampled(Gauge, "o3_lifecycle_buckets", "buckets", "Buckets that have lifecycle rules, as the leader knows"),
		sampled(Gauge, "o3_lifecycle_running", "buckets", "Buckets that this node is scanning"),
		sampled(Gauge, "o3_lifecycle_waiting", "buckets", "Buckets that wait for their turn"),
		sampled(Gauge, "o3_lifecycle_stalled_seconds", "seconds", "Time since the scan moved that has not for the longest time, of those whose turn it is"),
	}
}

// Lifecycle is what the lifecycle service reports.
func (o *Obs) Lifecycle() lifecycle.Listener {
	ozone := func(name string) func(uint64) {
		c := o.Counter(ozoneLifecycle + name)
		return func(n uint64) { c.Add(float64(n)) }
	}
	iterated, dirs, uploads := ozone("num_key_iterated"), ozone("num_dir_iterated"), ozone("num_multipart_uploads_iterated")
	ok, failed, skipped, latency := ozone("num_success_task"), ozone("num_failure_task"), ozone("num_skipped_task"), ozone("task_latency_ms")
	overdue := o.Counter("o3_lifecycle_overdue_total")
	return lifecycle.Listener{
		Began: func(s lifecycle.Scan) {
			o.Log.Info("lifecycle: a scan began", "bucket", s.Volume+"/"+s.Bucket, "scan", s.State.ScanID, "estimated", s.State.EstimatedRows)
		},
		Looked: func(rows, directories, parts int) {
			iterated(uint64(max(rows-directories-parts, 0)))
			dirs(uint64(directories))
			uploads(uint64(parts))
		},
		Stepped: o.lifecycleSteps(ozone),
		Ended: func(s lifecycle.Scan) {
			ok(1)
			o.Log.Info("lifecycle: a scan ended", "bucket", s.Volume+"/"+s.Bucket, "scan", s.State.ScanID, "rows", s.State.ScannedRows,
				"commands", s.State.Sequence, "took", time.Duration(s.State.ScanEndTime-s.State.ScanStartTime)*time.Millisecond)
		},
		Overdue: func(s lifecycle.Scan) {
			overdue.Inc()
			o.Log.Warn("lifecycle: a scan takes longer than ozone.lifecycle.service.timeout", "bucket", s.Volume+"/"+s.Bucket,
				"scan", s.State.ScanID, "rows", s.State.ScannedRows, "estimated", s.State.EstimatedRows)
		},
		Turned: func(t lifecycle.Turn) {
			latency(uint64(t.Took.Milliseconds()))
			switch errs.KindOf(t.Err) {
			case errs.Conflict, errs.NoSuchConfiguration, errs.NoSuchBucket, errs.NoSuchVolume:
				skipped(1)
			}
		},
		Emptied: func(e lifecycle.Emptied) {
			what := "set aside"
			if e.Gone {
				what = "deleted"
			}
			o.Counter("o3_lifecycle_trash_total", what).Inc()
			o.Log.Info("lifecycle: trash was "+what, "bucket", e.Volume+"/"+e.Bucket, "owner", e.Owner, "checkpoint", e.Checkpoint, "keys", e.Keys)
		},
		Failed: func(bucket string, err error) {
			failed(1)
			o.Log.Warn("lifecycle: will be tried again", "bucket", bucket, "error", err)
		},
	}
}

// lifecycleSteps counts what the commands of scans do.
func (o *Obs) lifecycleSteps(ozone func(string) func(uint64)) func(lifecycle.Step) {
	sums := []struct {
		add func(uint64)
		of  func(*schemapb.LifecycleRuleCounters) uint64
	}{
		{ozone("num_key_deleted"), (*schemapb.LifecycleRuleCounters).GetDeletedKeys},
		{ozone("num_dir_deleted"), (*schemapb.LifecycleRuleCounters).GetDeletedDirs},
		{ozone("size_key_deleted"), (*schemapb.LifecycleRuleCounters).GetDeletedBytes},
		{ozone("num_key_renamed"), (*schemapb.LifecycleRuleCounters).GetMovedKeys},
		{ozone("num_dir_renamed"), (*schemapb.LifecycleRuleCounters).GetMovedDirs},
		{ozone("size_key_renamed"), (*schemapb.LifecycleRuleCounters).GetMovedBytes},
		{ozone("num_multipart_uploads_aborted"), (*schemapb.LifecycleRuleCounters).GetAbortedUploads},
	}
	took, throttled := o.Histogram("o3_lifecycle_command_seconds"), o.Counter("o3_lifecycle_throttled_seconds_total")
	rules := &ruleSeries{o: o, own: map[[2]string]bool{}}
	return func(s lifecycle.Step) {
		carries := "victims"
		if len(s.Victims) == 0 {
			carries = "position"
		}
		o.Counter("o3_lifecycle_commands_total", carries).Inc()
		took.Observe(s.Took.Seconds())
		throttled.Add(s.Waited.Seconds())
		for _, sum := range sums {
			sum.add(sum.of(s.Reply.Done))
		}
		for _, r := range s.ByRule() {
			rules.count(s.Volume+"/"+s.Bucket, r)
		}
	}
}

// ruleSeries counts what rules do, so many of them by themselves.
type ruleSeries struct {
	o   *Obs
	mu  sync.Mutex
	own map[[2]string]bool
}

// name returns the labels of a rule.
func (r *ruleSeries) name(bucket, id string) (string, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{bucket, id}
	if len(r.own) < maxRules {
		r.own[key] = true
	}
	if !r.own[key] {
		return "(others)", "(others)"
	}
	return bucket, id
}

func (r *ruleSeries) count(bucket string, c *schemapb.LifecycleRuleCounters) {
	bucket, id := r.name(bucket, c.Id)
	for result, n := range map[string]uint64{
		"deleted": c.DeletedKeys + c.DeletedDirs, "moved": c.MovedKeys + c.MovedDirs, "aborted": c.AbortedUploads, "skipped": c.Skipped,
	} {
		if n > 0 {
			r.o.Counter("o3_lifecycle_rule_objects_total", bucket, id, result).Add(float64(n))
		}
	}
	r.o.Counter("o3_lifecycle_rule_bytes_total", bucket, id).Add(float64(c.DeletedBytes + c.MovedBytes + c.AbortedBytes))
}

// SampleLifecycle shows the state of lifecycle scans at each scrape.
func (o *Obs) SampleLifecycle(service *lifecycle.Service) {
	o.Sample(func(s *Sampler) {
		running, waiting := service.Stats()
		s.Set("o3_lifecycle_running", float64(running))
		s.Set("o3_lifecycle_waiting", float64(waiting))
		s.Set("o3_lifecycle_buckets", float64(service.Buckets()))
		s.Set("o3_lifecycle_stalled_seconds", service.Stalled().Seconds())
	})
}

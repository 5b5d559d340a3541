package query

import (
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Expired is what lifecycle scans did, counted when it was done.
type Expired struct {
	DeletedKeys    int64 `json:"deletedKeys"`
	DeletedBytes   int64 `json:"deletedBytes"`
	DeletedDirs    int64 `json:"deletedDirectories"`
	MovedKeys      int64 `json:"movedKeys" doc:"to trash"`
	MovedBytes     int64 `json:"movedBytes"`
	MovedDirs      int64 `json:"movedDirectories"`
	AbortedUploads int64 `json:"abortedUploads"`
	AbortedBytes   int64 `json:"abortedBytes" doc:"of their parts"`
	Skipped        int64 `json:"skipped" doc:"changed or gone since they were seen, or directories that were not empty"`
}

func expiredOf(e task.Expired) Expired { return Expired(e) }

// LifecycleSummaryResponse answers /lifecycle/summary.
type LifecycleSummaryResponse struct {
	Fresh
	LifecycleSummary
}

// LifecycleSummary is what is known of the lifecycle of all buckets.
type LifecycleSummary struct {
	Buckets          int64  `json:"buckets" doc:"with rules"`
	Rules            int64  `json:"rules"`
	EnabledRules     int64  `json:"enabledRules"`
	Suspended        bool   `json:"suspended" doc:"the scans of all buckets are"`
	SuspendedSince   int64  `json:"suspendedSince" doc:"0: they are not"`
	SuspendedReason  string `json:"suspendedReason"`
	SuspendedBuckets int64  `json:"suspendedBuckets" doc:"by themselves"`
	Scans            int64  `json:"scans" doc:"buckets that were scanned, whose last scan all numbers below are about: the one under way, or the one that ended last"`
	UnfinishedScans  int64  `json:"unfinishedScans" doc:"begun and not at their end; one whose rules were replaced counts until the next begins"`
	FailedScans      int64  `json:"failedScans" doc:"that met an error, which need not have ended them"`
	ScannedRows      int64  `json:"scannedRows"`
	EstimatedRows    int64  `json:"estimatedRows"`
	Commands         int64  `json:"commands" doc:"by which the scans saved where they stand"`
	Expired
}

// LifecycleTotals says what is known of the lifecycle of all buckets together.
func LifecycleTotals(v *generation.View) (LifecycleSummaryResponse, error) {
	l, err := task.LifecycleOf(v.Derived, schema.EveryBucket)
	if err != nil {
		return LifecycleSummaryResponse{}, err
	}
	r := LifecycleSummary{
		Buckets: l.Configured, Rules: l.Rules, EnabledRules: l.Enabled, Suspended: l.AllSuspended, SuspendedBuckets: l.Suspended,
		Scans: l.Scans, UnfinishedScans: l.Unfinished, FailedScans: l.Failed,
		ScannedRows: l.Rows, EstimatedRows: l.Estimated, Commands: l.Commands, Expired: expiredOf(l.Done),
	}
	if l.AllSuspended {
		row, _, err := v.LifecycleSuspension(schema.EveryBucket)
		if err != nil {
			return LifecycleSummaryResponse{}, err
		}
		r.SuspendedSince, r.SuspendedReason = row.GetSinceMs(), row.GetReason()
	}
	return LifecycleSummaryResponse{LifecycleSummary: r}, nil
}

// ScanState is how the lifecycle scan of a bucket is.
type ScanState string

// The states of scans.
const (
	ScanNone     ScanState = "NO_RULES"      // the bucket is suspended, and has no rules
	ScanNever    ScanState = "NEVER_SCANNED" // there was no scan since there are rules
	ScanUnderWay ScanState = "UNDER_WAY"     // also while nobody goes on with it
	ScanDone     ScanState = "DONE"
	ScanReplaced ScanState = "RULES_REPLACED" // since the scan; the next one begins anew
)

// Lifecycle is what is known of the lifecycle of a bucket.
type Lifecycle struct {
	Volume        string    `json:"volume"`
	Bucket        string    `json:"bucket"`
	Rules         int64     `json:"rules"`
	EnabledRules  int64     `json:"enabledRules"`
	Suspended     bool      `json:"suspended" doc:"the bucket by itself; all may be"`
	State         ScanState `json:"state" enum:"NO_RULES,NEVER_SCANNED,UNDER_WAY,DONE,RULES_REPLACED" doc:"of the last scan, which what follows is about"`
	Phase         string    `json:"phase" enum:"KEYS,UPLOADS,DONE,NONE" doc:"what is scanned now; NONE: there was no scan"`
	StartTime     int64     `json:"startTime"`
	EndTime       int64     `json:"endTime" doc:"0: it is not at its end"`
	SavedTime     int64     `json:"savedTime" doc:"when it last saved where it stands"`
	ScannedRows   int64     `json:"scannedRows"`
	EstimatedRows int64     `json:"estimatedRows" doc:"as known at the start"`
	Percent       float64   `json:"percent"`
	Commands      int64     `json:"commands"`
	Expired
	LastError     string `json:"lastError"`
	LastErrorTime int64  `json:"lastErrorTime" doc:"0: there was none"`
}

// LifecyclesResponse answers /lifecycle.
type LifecyclesResponse struct {
	Fresh
	Buckets []Lifecycle `json:"buckets" doc:"that have rules, or are suspended"`
	Cursor  string      `json:"cursor" doc:"of the next page; empty: there is none"`
}

// Lifecycles lists the buckets that have lifecycle rules or are suspended by
// themselves, in the order of their ids.
func Lifecycles(v *generation.View, in InBucket, p Page) (LifecyclesResponse, error) {
	r := LifecyclesResponse{Buckets: []Lifecycle{}}
	b, one, err := oneBucket(v, in.Volume, in.Bucket)
	if err != nil {
		return r, err
	}
	var after, last ns.ObjectID
	if p.After != "" {
		x, rest, ok := takeNumber(p.After)
		if !ok || rest != "" {
			return r, badCursor("cursor", p.After, "/bucket id")
		}
		after = ns.ObjectID(x)
		last = after
	}
	if one && after < b.ID() {
		after = b.ID() - 1
	}
	n, left := newNames(v), p.rows()
	err = task.Lifecycles(v.Derived, after, func(bucket ns.ObjectID, l task.Lifecycle) (bool, error) {
		if one && bucket != b.ID() {
			return false, nil
		}
		if len(r.Buckets) >= p.limit() || left <= 0 {
			r.Cursor = "/" + id(last)
			return false, nil
		}
		left--
		last = bucket
		volume, name, err := n.title(bucket)
		if err != nil || in.Volume != "" && volume != in.Volume {
			return err == nil, err
		}
		x, err := lifecycleOf(v, bucket, l)
		x.Volume, x.Bucket = volume, name
		r.Buckets = append(r.Buckets, x)
		return true, err
	})
	return r, err
}

func lifecycleOf(v *generation.View, bucket ns.ObjectID, l task.Lifecycle) (Lifecycle, error) {
	x := Lifecycle{
		Rules: l.Rules, EnabledRules: l.Enabled, Suspended: l.Suspended > 0, State: ScanNever, Phase: "NONE",
		StartTime: l.Started, EndTime: l.Ended, SavedTime: l.Saved, ScannedRows: l.Rows, EstimatedRows: l.Estimated, Commands: l.Commands,
		Expired: expiredOf(l.Done), LastErrorTime: l.ErrorAt,
	}
	switch {
	case l.Configured == 0:
		x.State = ScanNone
		return x, nil
	case l.Scans == 0:
		return x, nil
	case l.ScanBy != l.RulesBy:
		x.State = ScanReplaced
	case l.Phase == schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE:
		x.State, x.Percent = ScanDone, 100
	default:
		x.State = ScanUnderWay
		if l.Estimated > 0 {
			x.Percent = min(99.9, 100*float64(l.Rows)/float64(l.Estimated))
		}
	}
	switch l.Phase {
	case schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS:
		x.Phase = "KEYS"
	case schemapb.LifecyclePhase_LIFECYCLE_PHASE_UPLOADS:
		x.Phase = "UPLOADS"
	case schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE:
		x.Phase = "DONE"
	}
	if l.Failed == 0 {
		return x, nil
	}
	row, _, err := v.LifecycleScan(bucket)
	x.LastError = row.GetLastError()
	return x, err
}

// LifecycleRule is a rule of a bucket, and what the last scan did by it.
type LifecycleRule struct {
	Volume  string `json:"volume"`
	Bucket  string `json:"bucket"`
	Number  int64  `json:"number" doc:"its place in the configuration, from 0"`
	ID      string `json:"id"`
	Enabled bool   `json:"enabled"`
	InForce bool   `json:"inForce" doc:"false: it was replaced since the scan that did what is counted"`
	Expired
}

// LifecycleRulesResponse answers /lifecycle/rules.
type LifecycleRulesResponse struct {
	Fresh
	Rules  []LifecycleRule `json:"rules"`
	Cursor string          `json:"cursor" doc:"of the next page; empty: there is none"`
}

// LifecycleRules lists the lifecycle rules of buckets, in the order of the buckets'
// ids and of their configurations.
func LifecycleRules(v *generation.View, in InBucket, p Page) (LifecycleRulesResponse, error) {
	r := LifecycleRulesResponse{Rules: []LifecycleRule{}}
	b, one, err := oneBucket(v, in.Volume, in.Bucket)
	if err != nil {
		return r, err
	}
	only, last, after := schema.EveryBucket, task.RuleKey{}, (*task.RuleKey)(nil)
	if one {
		only = b.ID()
	}
	if p.After != "" {
		ids, name, ok := parseRowKey(p.After, 3)
		if !ok || one && ns.ObjectID(ids[0]) != only {
			return r, badCursor("cursor", p.After, "/bucket id/configuration/number/rule id")
		}
		last = task.RuleKey{Bucket: ns.ObjectID(ids[0]), Configuration: ids[1], Number: ids[2], ID: name}
		from := last
		after = &from
	}
	n, left := newNames(v), p.rows()
	err = task.LifecycleRules(v.Derived, only, after, func(x task.Rule) (bool, error) {
		if len(r.Rules) >= p.limit() || left <= 0 {
			r.Cursor = rowKey(last.ID, uint64(last.Bucket), last.Configuration, last.Number)
			return false, nil
		}
		left--
		last = x.RuleKey
		volume, name, err := n.title(x.Bucket)
		if err != nil || in.Volume != "" && volume != in.Volume {
			return err == nil, err
		}
		r.Rules = append(r.Rules, LifecycleRule{volume, name, int64(x.Number), x.ID, x.Enabled, x.InForce, expiredOf(x.Done)})
		return true, nil
	})
	return r, err
}

package web_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/recon/query"
	"o3/internal/schema/schemapb"
)

// finished reports whether a scan is at its end.
func finished(s *schemapb.LifecycleScanState) bool {
	return s.Phase == schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE
}

// doneOf adds up what rules did.
func doneOf(list ...*schemapb.LifecycleRuleCounters) (e query.Expired) {
	for _, r := range list {
		e.DeletedKeys += int64(r.DeletedKeys)
		e.DeletedBytes += int64(r.DeletedBytes)
		e.DeletedDirs += int64(r.DeletedDirs)
		e.MovedKeys += int64(r.MovedKeys)
		e.MovedBytes += int64(r.MovedBytes)
		e.MovedDirs += int64(r.MovedDirs)
		e.AbortedUploads += int64(r.AbortedUploads)
		e.AbortedBytes += int64(r.AbortedBytes)
		e.Skipped += int64(r.Skipped)
	}
	return e
}

func examLifecycles(e *exam) {
	r := read[query.LifecyclesResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	var want []query.Lifecycle
	for _, b := range e.c.buckets {
		if b.rules == nil && !b.suspended || !e.within(b.path) {
			continue
		}
		x := query.Lifecycle{Suspended: b.suspended, State: query.ScanNever, Phase: "NONE"}
		x.Volume, x.Bucket, _ = strings.Cut(b.path[1:], "/")
		x.Rules = int64(len(b.rules.GetRules()))
		for _, rule := range b.rules.GetRules() {
			if rule.Enabled {
				x.EnabledRules++
			}
		}
		if b.rules == nil {
			x.State = query.ScanNone
		}
		if s := b.scan; s != nil {
			x.Phase = strings.TrimPrefix(s.Phase.String(), "LIFECYCLE_PHASE_")
			x.StartTime, x.EndTime, x.SavedTime = int64(s.ScanStartTime), int64(s.ScanEndTime), int64(s.SavedTime)
			x.ScannedRows, x.EstimatedRows, x.Commands = int64(s.ScannedRows), int64(s.EstimatedRows), int64(s.Sequence)
			x.Expired, x.LastError, x.LastErrorTime = doneOf(s.Rules...), s.LastError, int64(s.LastErrorTime)
			switch {
			case s.LifecycleConfigurationUpdateID != b.rules.UpdateId:
				x.State = query.ScanReplaced
			case finished(s):
				x.State, x.Percent = query.ScanDone, 100
			default:
				x.State = query.ScanUnderWay
				if s.EstimatedRows > 0 {
					x.Percent = min(99.9, 100*float64(s.ScannedRows)/float64(s.EstimatedRows))
				}
			}
		}
		want = append(want, x)
	}
	path := func(a, b query.Lifecycle) int {
		return cmp.Or(strings.Compare(a.Volume, b.Volume), strings.Compare(a.Bucket, b.Bucket))
	}
	slices.SortFunc(want, path)
	slices.SortFunc(r.Buckets, path)
	are(e, "buckets", r.Buckets, want)
}

func examLifecycleRules(e *exam) {
	r := read[query.LifecycleRulesResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	var got, want []string
	show := func(bucket string, number int, id string, enabled, inForce bool, done query.Expired) string {
		return fmt.Sprintf("%s rule %d %q %v %v %+v", bucket, number, id, enabled, inForce, done)
	}
	for _, x := range r.Rules {
		got = append(got, show("/"+x.Volume+"/"+x.Bucket, int(x.Number), x.ID, x.Enabled, x.InForce, x.Expired))
	}
	for _, b := range e.c.buckets {
		if !e.within(b.path) || b.rules == nil {
			continue
		}
		same := b.scan != nil && b.scan.LifecycleConfigurationUpdateID == b.rules.UpdateId
		for i, rule := range b.rules.Rules {
			done := query.Expired{}
			if same {
				if at := slices.IndexFunc(b.scan.Rules, func(c *schemapb.LifecycleRuleCounters) bool { return int(c.Rule) == i }); at >= 0 {
					done = doneOf(b.scan.Rules[at])
				}
			}
			want = append(want, show(b.path, i, rule.Id, rule.Enabled, true, done))
		}
		if b.scan != nil && !same {
			for _, c := range b.scan.Rules {
				want = append(want, show(b.path, int(c.Rule), c.Id, false, false, doneOf(c)))
			}
		}
	}
	sorted(e, "rules", got, want)
}

func examLifecycleSummary(e *exam) {
	r := read[query.LifecycleSummaryResponse](e)
	fresh(e, r.Fresh, "")
	want := query.LifecycleSummary{Suspended: e.c.suspended != nil, SuspendedSince: e.c.suspended.GetSinceMs(), SuspendedReason: e.c.suspended.GetReason()}
	var all []*schemapb.LifecycleRuleCounters
	for _, b := range e.c.buckets {
		if b.suspended {
			want.SuspendedBuckets++
		}
		if b.rules != nil {
			want.Buckets++
			want.Rules += int64(len(b.rules.Rules))
			want.EnabledRules += int64(len(slices.DeleteFunc(slices.Clone(b.rules.Rules), func(r *o3v1.LifecycleRule) bool { return !r.Enabled })))
		}
		if s := b.scan; s != nil {
			want.Scans++
			if !finished(s) {
				want.UnfinishedScans++
			}
			if s.LastError != "" {
				want.FailedScans++
			}
			want.ScannedRows += int64(s.ScannedRows)
			want.EstimatedRows += int64(s.EstimatedRows)
			want.Commands += int64(s.Sequence)
			all = append(all, s.Rules...)
		}
	}
	want.Expired = doneOf(all...)
	is(e, "all of it", r.LifecycleSummary, want)
}

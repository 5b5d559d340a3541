package command

import (
	"fmt"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// scanState is a lifecycle scan as a command finds it.
type scanState struct {
	b     *bucketState
	rules *schemapb.LifecycleConfiguration
	row   *schemapb.LifecycleScanState // nil: the bucket was never scanned
}

// scan finds the scan that a command goes on with. It refuses a command that
// was made for another bucket, by other rules, or when the scan stood elsewhere:
// all of it, as what it would skip or repeat nobody would know.
func (t *Tx) scan(c *commandpb.LifecycleScan) (s scanState, err error) {
	if s.b, err = t.bucket(c.GetVolume(), c.GetBucket()); err != nil {
		return s, err
	}
	subject := "lifecycle scan of " + s.b.path()
	if s.b.row.ObjectId != c.BucketId {
		return s, errs.New(errs.Conflict, subject, "the bucket was made anew meanwhile")
	}
	if err := t.mayScan(s.b); err != nil {
		return s, err
	}
	rules, ok, err := schema.Lifecycles.Get(t.w, s.b.id())
	switch {
	case err != nil:
		return s, err
	case !ok:
		return s, errs.New(errs.NoSuchConfiguration, subject, "the bucket has no lifecycle rules")
	case rules.UpdateId != c.ConfigurationId:
		return s, errs.New(errs.Conflict, subject, "the rules were changed meanwhile")
	}
	row, ok, err := schema.LifecycleScans.Get(t.w, s.b.id())
	if err != nil {
		return s, err
	}
	if row.GetScanID() != c.ScanId || row.GetSequence() != c.Sequence {
		return s, errs.New(errs.Conflict, subject, fmt.Sprintf("scan %s is at command %d, not scan %s at command %d",
			UploadID(ns.ObjectID(row.GetScanID())), row.GetSequence(), UploadID(ns.ObjectID(c.ScanId)), c.Sequence))
	}
	s.rules = rules
	if ok {
		s.row = row
	}
	return s, nil
}

// underway reports whether the scan is to be continued: it is by these rules and
// not at its end.
func (s scanState) underway() bool {
	return s.row != nil && s.row.Phase != schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE &&
		s.row.LifecycleConfigurationUpdateID == s.rules.UpdateId && s.row.BucketObjID == s.b.row.ObjectId
}

// startLifecycleScan begins a scan, unless one is under way.
func startLifecycleScan(t *Tx, c *commandpb.StartLifecycleScan) (*commandpb.StartLifecycleScanReply, error) {
	s, err := t.scan(c.Scan)
	if err != nil {
		return nil, err
	}
	subject := "lifecycle scan of " + s.b.path()
	if s.underway() {
		return nil, errs.New(errs.Conflict, subject, "one is under way and is to be continued")
	}
	cutoff := c.CutoffMs
	if cutoff == 0 {
		cutoff = t.now
	}
	if cutoff < 0 || cutoff > t.now {
		return nil, errs.New(errs.Invalid, subject, fmt.Sprintf("the cutoff time %d is not one of the past", cutoff))
	}
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	row := &schemapb.LifecycleScanState{
		BucketKey: "/" + s.b.path(), BucketObjID: s.b.row.ObjectId, LifecycleConfigurationUpdateID: s.rules.UpdateId,
		ScanStartTime: uint64(t.now), ScanID: uint64(id), Phase: schemapb.LifecyclePhase_LIFECYCLE_PHASE_KEYS,
		CutoffTime: uint64(cutoff), EstimatedRows: c.EstimatedRows, SavedTime: uint64(t.now),
		Previous: summary(s.row),
	}
	t.wrote()
	return &commandpb.StartLifecycleScanReply{State: row}, schema.LifecycleScans.Put(t.w, s.b.id(), row)
}

// summary returns what is kept of the last scan that reached its end.
func summary(row *schemapb.LifecycleScanState) *schemapb.LifecycleScanSummary {
	if row == nil || row.Phase != schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE {
		return row.GetPrevious()
	}
	total := &schemapb.LifecycleRuleCounters{}
	for _, r := range row.Rules {
		addCounters(total, r)
	}
	return &schemapb.LifecycleScanSummary{
		ScanID: row.ScanID, ScanStartTime: row.ScanStartTime, ScanEndTime: row.ScanEndTime,
		ScannedRows: row.ScannedRows, Commands: row.Sequence, Total: total,
	}
}

// addCounters adds what more says was done to sum.
func addCounters(sum, more *schemapb.LifecycleRuleCounters) {
	sum.DeletedKeys += more.DeletedKeys
	sum.DeletedBytes += more.DeletedBytes
	sum.DeletedDirs += more.DeletedDirs
	sum.MovedKeys += more.MovedKeys
	sum.MovedBytes += more.MovedBytes
	sum.MovedDirs += more.MovedDirs
	sum.AbortedUploads += more.AbortedUploads
	sum.AbortedBytes += more.AbortedBytes
	sum.Skipped += more.Skipped
}

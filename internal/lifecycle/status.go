package lifecycle

import (
	"context"
	"errors"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// The most buckets of a page of a status, by default and at all.
const (
	defaultPage = 1000
	maxPage     = 10_000
)

// LifecycleStatus tells where scans stand: those of a bucket, for who controls it,
// or of all, for admins. How fast they go only the leader knows.
func (s *Service) LifecycleStatus(ctx context.Context, r *o3v1.LifecycleStatusRequest) (*o3v1.LifecycleStatusResponse, error) {
	if err := s.mayControl(ctx, r.Volume, r.Bucket, "status of the lifecycle scans"); err != nil {
		return nil, err
	}
	after, err := idOf(r.Token)
	if err != nil {
		return nil, err
	}
	limit := defaultPage
	if r.Limit > 0 {
		limit = int(min(r.Limit, maxPage))
	}
	resp := &o3v1.LifecycleStatusResponse{
		Enabled: !s.o.Off, Leads: s.o.Leads(), InWindow: s.o.Window.Open(time.Now()), Window: s.o.Window.String(),
	}
	running, waiting := s.Stats()
	resp.Running, resp.Waiting = uint32(running), uint32(waiting)
	err = s.o.Namespace.Read(ctx, func(v view.View) error {
		all, ok, err := v.LifecycleSuspension(schema.EveryBucket)
		if err != nil {
			return err
		}
		resp.Suspension = suspensionInfo(all, ok)
		if r.Bucket != "" || r.Volume != "" {
			b, err := v.Bucket(r.Volume, r.Bucket)
			if err != nil {
				return err
			}
			rules, ok, err := v.Lifecycle(b.ID())
			if err != nil || !ok {
				return errors.Join(err, errs.New(errs.NoSuchConfiguration, r.Volume+"/"+r.Bucket, "the bucket has no lifecycle configuration"))
			}
			return s.statusOf(v, b.ID(), rules, resp)
		}
		return v.Lifecycles(after, func(id ns.ObjectID, rules *schemapb.LifecycleConfiguration) (bool, error) {
			if len(resp.Buckets) == limit {
				resp.NextToken = command.UploadID(after)
				return false, nil
			}
			after = id
			return true, s.statusOf(v, id, rules, resp)
		})
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// statusOf appends the status of a bucket.
func (s *Service) statusOf(v view.View, id ns.ObjectID, rules *schemapb.LifecycleConfiguration, resp *o3v1.LifecycleStatusResponse) error {
	row, found, err := v.LifecycleScan(id)
	if err != nil {
		return err
	}
	suspended, ok, err := v.LifecycleSuspension(id)
	if err != nil {
		return err
	}
	out := &o3v1.LifecycleBucketStatus{
		Volume: rules.Volume, Bucket: rules.Bucket, Rules: uint32(len(rules.Rules)), ConfigurationId: rules.UpdateId,
		Suspension: suspensionInfo(suspended, ok),
	}
	if found {
		if out.Scan, err = scanInfo(row); err != nil {
			return err
		}
		out.Rows = row.ScannedRows
	}
	now := time.Now()
	due := s.dueAt(rules, row, found)
	current := found && row.LifecycleConfigurationUpdateID == rules.UpdateId
	if current && row.Phase == phaseDone {
		out.Percent, out.NextMs = 100, due.UnixMilli()
	}
	out.Activity = s.activity(id, out, !due.After(now), out.Suspension != nil || resp.Suspension != nil)
	if current && row.Phase != phaseDone {
		s.underway(id, row, now, out)
	}
	resp.Buckets = append(resp.Buckets, out)
	return nil
}

// activity returns what the service does about a bucket, and fills in what went
// wrong.
func (s *Service) activity(id ns.ObjectID, out *o3v1.LifecycleBucketStatus, due, suspended bool) o3v1.LifecycleActivity {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[id]
	if t != nil && t.err != nil {
		out.Error, out.ErrorMs = t.err.Error(), t.errAt.UnixMilli()
	}
	switch {
	case suspended:
		return o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_SUSPENDED
	case s.o.Off || !s.o.Leads():
		return o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_OFF
	case t != nil && t.running:
		return o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_RUNNING
	case t != nil && t.err != nil:
		return o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_RETRYING
	case due:
		return o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_DUE
	}
	return o3v1.LifecycleActivity_LIFECYCLE_ACTIVITY_IDLE
}

// underway fills in how far a scan has come, and how fast it goes.
func (s *Service) underway(id ns.ObjectID, row *schemapb.LifecycleScanState, now time.Time, out *o3v1.LifecycleBucketStatus) {
	started := time.UnixMilli(int64(row.ScanStartTime))
	out.Overdue = now.Sub(started) > s.o.Timeout
	if saved := time.UnixMilli(int64(row.SavedTime)).Sub(started).Seconds(); saved > 0 {
		out.RowsPerSecond = float64(row.ScannedRows) / saved
	}
	s.mu.Lock()
	if t := s.tasks[id]; t != nil && t.progress.scan == row.ScanID {
		out.Rows = max(out.Rows, t.progress.rows)
		if rate := t.progress.perSecond(); rate > 0 {
			out.RowsPerSecond = rate
		}
	}
	s.mu.Unlock()
	if row.EstimatedRows > 0 {
		out.Percent = min(99.9, 100*float64(out.Rows)/float64(row.EstimatedRows))
		if out.RowsPerSecond > 0 && out.Rows < row.EstimatedRows {
			out.EtaMs = int64(1000 * float64(row.EstimatedRows-out.Rows) / out.RowsPerSecond)
		}
	}
}

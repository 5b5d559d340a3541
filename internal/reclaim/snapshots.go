package reclaim

import (
	"context"
	"errors"
	"fmt"

	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/om"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Reclaim drops the rows that only deleted snapshots saw, until no deleted
// snapshot is left but those that somebody holds. One that cannot be reclaimed
// does not keep the others.
func (s *Service) Reclaim(ctx context.Context) error {
	var due []schema.SnapshotKey
	lower, upper := schema.Reclaims.All()
	err := schema.Reclaims.Scan(s.o.Store, lower, upper, func(k schema.SnapshotKey, _ *schemapb.Reclaim) (bool, error) {
		due = append(due, k)
		return true, nil
	})
	if err != nil {
		return err
	}
	var all []error
	for _, k := range due {
		err := s.reclaimOne(ctx, k)
		switch errs.KindOf(err) {
		case errs.OK:
			continue
		case errs.NotLeader, errs.Unavailable, errs.Canceled, errs.DeadlineExceeded:
			return errors.Join(append(all, err)...) // the others would fare no better
		}
		if all = append(all, fmt.Errorf("snapshot of op %d: %w", k.Op, err)); len(all) == maxFailures {
			break
		}
	}
	return errors.Join(all...)
}

// maxFailures is how many snapshots may fail before a run gives up.
const maxFailures = 10

// reclaimOne drops what one deleted snapshot saw, batch by batch.
func (s *Service) reclaimOne(ctx context.Context, k schema.SnapshotKey) error {
	for done := false; !done; {
		if s.o.Holds != nil && s.o.Holds(k) {
			return nil
		}
		reply, err := om.Execute[commandpb.ReclaimSnapshotReply](ctx, s.o.Namespace, command.ReclaimSnapshot,
			&commandpb.ReclaimSnapshot{BucketId: uint64(k.Bucket), SnapshotOp: uint64(k.Op), Limit: s.o.ReclaimBatch})
		if err != nil {
			return err
		}
		done = reply.Done
		if s.o.Listener.Reclaimed != nil {
			s.o.Listener.Reclaimed(int(reply.Rows), int(reply.Freed), done)
		}
	}
	return nil
}

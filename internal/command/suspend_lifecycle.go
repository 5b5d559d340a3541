package command

import (
	"fmt"
	"unicode/utf8"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// MaxSuspensionReason is the most bytes of why scans are suspended.
const MaxSuspensionReason = 1024

// suspendLifecycle stops the scans of a bucket, or of all, wherever they stand;
// or lets them go on. Suspending what is suspended takes the new reason.
func suspendLifecycle(t *Tx, c *commandpb.SuspendLifecycle) (*commandpb.SuspendLifecycleReply, error) {
	if len(c.Reason) > MaxSuspensionReason || !utf8.ValidString(c.Reason) {
		return nil, errs.New(errs.Invalid, "reason of a suspension", fmt.Sprintf("%d bytes; at most %d of UTF-8 are allowed", len(c.Reason), MaxSuspensionReason))
	}
	key := schema.EveryBucket
	if c.Volume != "" || c.Bucket != "" {
		b, err := t.bucket(c.Volume, c.Bucket)
		if err != nil {
			return nil, err
		}
		key = b.id()
	}
	row, suspended, err := schema.LifecycleSuspensions.Get(t.w, key)
	if err != nil {
		return nil, err
	}
	reply := &commandpb.SuspendLifecycleReply{Changed: suspended != c.Suspended}
	if !c.Suspended {
		if !suspended {
			return reply, nil
		}
		t.wrote()
		return reply, schema.LifecycleSuspensions.Delete(t.w, key)
	}
	if !suspended {
		row = &schemapb.LifecycleSuspension{SinceMs: t.now, Volume: c.Volume, Bucket: c.Bucket}
	}
	row.Owner, row.Reason = t.principal, c.Reason
	t.wrote()
	return reply, schema.LifecycleSuspensions.Put(t.w, key, row)
}

// mayScan refuses what a lifecycle scan does while scans are suspended.
func (t *Tx) mayScan(b *bucketState) error {
	for _, key := range []ns.ObjectID{schema.EveryBucket, b.id()} {
		row, suspended, err := schema.LifecycleSuspensions.Get(t.w, key)
		if err != nil {
			return err
		}
		if suspended {
			return errs.New(errs.Conflict, "lifecycle of "+b.path(), fmt.Sprintf("suspended by %s: %s", row.Owner, orElse(row.Reason, "no reason was given")))
		}
	}
	return nil
}

package fsmtest

import (
	"fmt"

	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// walkLifecycle: every bucket says of its lifecycle configuration what that says
// itself, and no row is of a bucket that is gone.
func (c *checker) walkLifecycle() error {
	rules := map[ns.ObjectID]*schemapb.LifecycleConfiguration{}
	err := Scan(c.r, schema.Lifecycles, func(id ns.ObjectID, row *schemapb.LifecycleConfiguration) error {
		rules[id] = row
		return nil
	})
	if err != nil {
		return err
	}
	err = Scan(c.r, schema.LifecycleScans, func(id ns.ObjectID, row *schemapb.LifecycleScanState) error {
		switch {
		case rules[id] == nil:
			return fmt.Errorf("there is a scan of %s, which has no lifecycle rules", row.BucketKey)
		case ns.ObjectID(row.BucketObjID) != id || row.BucketKey != "/"+rules[id].Volume+"/"+rules[id].Bucket:
			return fmt.Errorf("the scan of bucket %d says it is of %s, %d", id, row.BucketKey, row.BucketObjID)
		case row.ScanEndTime > 0 != (row.Phase == schemapb.LifecyclePhase_LIFECYCLE_PHASE_DONE):
			return fmt.Errorf("the scan of %s ended at %d, in phase %v", row.BucketKey, row.ScanEndTime, row.Phase)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = Scan(c.r, schema.LifecycleSuspensions, func(id ns.ObjectID, row *schemapb.LifecycleSuspension) error {
		if id != schema.EveryBucket && c.buckets[id] == nil {
			return fmt.Errorf("a suspension is of bucket %s, which is gone", row.Bucket)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = Scan(c.r, schema.Buckets, func(k schema.BucketKey, b *schemapb.Bucket) error {
		if row := rules[ns.ObjectID(b.ObjectId)]; row.GetUpdateId() != b.LifecycleUpdateId || row != nil && row.Bucket != k.Name {
			return fmt.Errorf("bucket %s says its lifecycle rules are of op %d, they are %v", k.Name, b.LifecycleUpdateId, row)
		}
		delete(rules, ns.ObjectID(b.ObjectId))
		return nil
	})
	if err == nil && len(rules) > 0 {
		err = fmt.Errorf("lifecycle rules of buckets that are gone: %v", rules)
	}
	return err
}

package delta_test

import (
	"google.golang.org/protobuf/proto"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// reclaim does up to limit rows of work for each deleted snapshot of the bucket.
func (r *rig) reclaim(send func(proto.Message) fsmtest.Answer, limit uint32) errs.Kind {
	var gone []schema.SnapshotKey
	lower, upper := schema.Reclaims.InBucket(r.id)
	err := schema.Reclaims.Scan(r.d.Store, lower, upper, func(k schema.SnapshotKey, _ *schemapb.Reclaim) (bool, error) {
		gone = append(gone, k)
		return true, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, k := range gone {
		a := send(&commandpb.ReclaimSnapshot{BucketId: uint64(k.Bucket), SnapshotOp: uint64(k.Op), Limit: limit})
		if a.Kind != errs.OK {
			return a.Kind
		}
	}
	return errs.OK
}

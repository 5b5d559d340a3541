package schema

import (
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// The tables of lifecycle, each by the id of the bucket.
var (
	Lifecycles = &Table[ns.ObjectID, schemapb.LifecycleConfiguration, *schemapb.LifecycleConfiguration]{
		space: spaceLifecycle, name: "lifecycleConfigurationTable", tuple: "bucket id", since: 4,
		append: appendBucket, parse: parseBucket,
	}
	// LifecycleScans says where the scan of a bucket stands, or how the last one
	// ended. A bucket without a configuration has no row.
	LifecycleScans = &Table[ns.ObjectID, schemapb.LifecycleScanState, *schemapb.LifecycleScanState]{
		space: spaceScans, name: "lifecycleStateTable", tuple: "bucket id", since: 4,
		append: appendBucket, parse: parseBucket,
	}
	// LifecycleSuspensions has the buckets whose scans are suspended. EveryBucket
	// stands for all of them.
	LifecycleSuspensions = &Table[ns.ObjectID, schemapb.LifecycleSuspension, *schemapb.LifecycleSuspension]{
		space: spaceSuspensions, name: "lifecycleSuspensions", tuple: "bucket id", since: 4,
		append: appendBucket, parse: parseBucket,
	}
)

// EveryBucket is the key of the suspension of all scans. No bucket has this id.
const EveryBucket = ns.ObjectID(0)

func appendBucket(b []byte, id ns.ObjectID) []byte { return ids(b, id) }

func parseBucket(b []byte) (ns.ObjectID, error) {
	id, b, err := takeID(b)
	return id, end(b, err)
}

package fsm_test

import (
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
)

// lifecycleScript goes on with what format 4 added.
func lifecycleScript(one func(proto.Message) []fsmtest.Request, blocks func(container uint64, n int, length int64) []*o3v1.Extent, tags []*o3v1.Pair) [][]fsmtest.Request {
	const far = 1 << 60
	const trash, deletion, abort = commandpb.LifecycleAction_LIFECYCLE_ACTION_TRASH, commandpb.LifecycleAction_LIFECYCLE_ACTION_DELETE, commandpb.LifecycleAction_LIFECYCLE_ACTION_ABORT
	scan := func(bucket string, id, rules, scan, seq uint64) *commandpb.LifecycleScan {
		return &commandpb.LifecycleScan{Volume: "s3v", Bucket: bucket, BucketId: id << 10, ConfigurationId: rules, ScanId: scan << 10, Sequence: seq}
	}
	all := []*o3v1.LifecycleRule{
		{Id: "everything", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: proto.Int32(30)},
		{Id: "older", Prefix: proto.String("logs/"), ExpireDateMs: proto.Int64(fsmtest.Start), AbortDays: proto.Int32(7)},
		{Id: "é", Enabled: true, Filter: &o3v1.LifecycleFilter{Prefix: proto.String("")}, AbortDays: proto.Int32(7)},
		{Id: "tag", Enabled: true, Filter: &o3v1.LifecycleFilter{Tags: tags[:1]}, ExpireDays: proto.Int32(1)},
		{Id: "sizes", Enabled: true, Filter: &o3v1.LifecycleFilter{
			And: true, Prefix: proto.String("a"), Tags: tags, SizeGreaterThan: proto.Uint64(5), SizeLessThan: proto.Uint64(9),
		}, ExpireDays: proto.Int32(1)},
	}
	set := func(bucket string, rules ...*o3v1.LifecycleRule) *o3v1.SetLifecycleRequest {
		return &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: bucket, Configuration: &o3v1.LifecycleConfiguration{Rules: rules}}
	}
	return [][]fsmtest.Request{
		one(set("flat", all[1])), // 80
		one(set("flat", all...)), // 81
		one(set("tree", all[0])), // 82
		one(&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "flat", Key: "mpu"}), // 83
		one(&o3v1.CommitPartRequest{Volume: "s3v", Bucket: "flat", Key: "mpu", UploadId: command.UploadID(83 << 10), Number: 1, Size: 9, Etag: "p", Extents: blocks(8, 1, 9), DeadlineMs: far}),
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "logs/1", Size: 2, Data: []byte("no")}),                     // 85
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "logs/2", Size: 3, Data: []byte("yes")}),                    // 86
		one(&o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "tree", Path: "t/e"}),                                              // 87: t/ has id .0
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: "t/k", Size: 3, Extents: blocks(9, 1, 3), DeadlineMs: far}), // 88
		one(&commandpb.StartLifecycleScan{Scan: scan("flat", 13, 81, 0, 0), CutoffMs: fsmtest.Start, EstimatedRows: 9}),            // 89
		one(&commandpb.LifecycleStep{Scan: scan("flat", 13, 81, 89, 0), Phase: phaseKeys, LastScannedKey: "logs/2", LastScannedParent: 13 << 10, ScannedRows: 4, Error: "slow",
			Victims: []*commandpb.LifecycleVictim{
				{Action: deletion, Path: "logs/1", ParentId: 13 << 10, Since: 85},
				{Action: trash, Rule: 1, Path: "logs/2", ParentId: 13 << 10, Since: 86},
			}}), // 90
		one(&commandpb.LifecycleStep{Scan: scan("flat", 13, 81, 89, 1), Phase: phaseDone, LastScannedMpuKey: command.UploadPosition("mpu", ns.ObjectID(83<<10)),
			Victims: []*commandpb.LifecycleVictim{{Action: abort, Rule: 2, Path: "mpu", UploadId: 83 << 10}}}), // 91
		one(&commandpb.StartLifecycleScan{Scan: scan("flat", 13, 81, 89, 2)}), // 92
		one(&commandpb.StartLifecycleScan{Scan: scan("tree", 14, 82, 0, 0)}),  // 93
		one(&commandpb.LifecycleStep{Scan: scan("tree", 14, 82, 93, 0), Phase: phaseKeys, LastScannedKey: "t/k", LastScannedParent: 87 << 10,
			Victims: []*commandpb.LifecycleVictim{
				{Action: trash, Path: "t/e/", ParentId: 87 << 10, Since: 87},
				{Action: trash, Path: "t/k", ParentId: 87 << 10, Since: 88},
			}}), // 94
		one(&commandpb.CheckpointTrash{Volume: "s3v", Bucket: "tree", BucketId: 14 << 10, Owner: "bob", Checkpoint: "231114221320", Limit: 9}),  // 95
		one(&commandpb.CheckpointTrash{Volume: "s3v", Bucket: "flat", BucketId: 13 << 10, Owner: "root", Checkpoint: "231114221320", Limit: 9}), // 96
		one(&commandpb.EmptyTrash{Volume: "s3v", Bucket: "tree", BucketId: 14 << 10, Owner: "bob", Checkpoint: "231114221320", Limit: 9}),       // 97
		one(&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "other", Layout: "OBS"}),                                                           // 98
		one(set("other", all[0])), // 99
		one(&o3v1.DeleteLifecycleRequest{Volume: "s3v", Bucket: "other"}),                                              // 100
		one(&commandpb.SuspendLifecycle{Volume: "s3v", Bucket: "other", Suspended: true, Reason: "it is looked into"}), // 101
		one(&commandpb.SuspendLifecycle{Suspended: true, Reason: "for now"}),                                           // 102
		one(&commandpb.SuspendLifecycle{Volume: "s3v", Bucket: "tree", Suspended: true}),                               // 103
		one(&commandpb.SuspendLifecycle{Volume: "s3v", Bucket: "tree"}),                                                // 104
	}
}

package query

import (
	"bytes"

	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// DeletedKeysResponse answers /keys/deletePending.
type DeletedKeysResponse struct {
	LastKey              string       `json:"lastKey" doc:"prevKey of the next page; empty: there is none"`
	ReplicatedDataSize   int64        `json:"replicatedDataSize" doc:"of this page"`
	UnreplicatedDataSize int64        `json:"unreplicatedDataSize" doc:"likewise"`
	DeletedKeyInfo       []DeletedKey `json:"deletedKeyInfo"`
	Status               Status       `json:"status"`
}

// Empty reports whether there is nothing, here and on further pages.
func (r DeletedKeysResponse) Empty() bool { return len(r.DeletedKeyInfo) == 0 && r.LastKey == "" }

// DeletedKey is what one request deleted or overwrote and nothing names any more.
type DeletedKey struct {
	OmKeyInfoList []DeletedBlocks `json:"omKeyInfoList"`
}

// DeletedBlocks are the blocks of a key, to be freed.
type DeletedBlocks struct {
	Key            string `json:"key" doc:"of the row: prevKey of a page that begins after it"`
	VolumeName     string `json:"volumeName"`
	BucketName     string `json:"bucketName"`
	KeyName        string `json:"keyName" doc:"always empty: rows of blocks to be freed do not have the name of the key"`
	DataSize       int64  `json:"dataSize"`
	ReplicatedSize int64  `json:"replicatedSize"`
	Blocks         int64  `json:"blocks"`
	DeletionTime   int64  `json:"deletionTime"`
}

// DeletedKeys lists the blocks that wait to be freed, the oldest first; those of a
// bucket if startPrefix names one. What a snapshot still sees is not among them.
func DeletedKeys(v *generation.View, startPrefix string, p Page) (DeletedKeysResponse, error) {
	r := DeletedKeysResponse{DeletedKeyInfo: []DeletedKey{}, Status: StatusOK}
	var only ns.ObjectID
	if startPrefix != "" {
		in, err := parsePrefix(v, startPrefix)
		if err != nil {
			return r, err
		}
		only = in.bucket.ID()
	}
	lower, upper, err := queue(schema.Deleted.Key, p.After, schema.Deleted.All)
	if err != nil {
		return r, err
	}
	n := newNames(v)
	left, last := p.rows(), ""
	err = schema.Deleted.Scan(v.Rows, lower, upper, func(k schema.OpKey, row *schemapb.DeletedBlocks) (bool, error) {
		if len(r.DeletedKeyInfo) >= p.limit() || left <= 0 {
			r.LastKey = last
			return false, nil
		}
		left--
		last = opKey(k)
		if only != 0 && ns.ObjectID(row.BucketId) != only {
			return true, nil
		}
		volume, bucket, err := n.title(ns.ObjectID(row.BucketId))
		d := DeletedBlocks{
			Key: last, VolumeName: volume, BucketName: bucket, DataSize: int64(row.Bytes), ReplicatedSize: int64(row.Bytes),
			Blocks: int64(len(row.Extents)), DeletionTime: row.DeletedMs,
		}
		r.DeletedKeyInfo = append(r.DeletedKeyInfo, DeletedKey{[]DeletedBlocks{d}})
		r.ReplicatedDataSize += d.ReplicatedSize
		r.UnreplicatedDataSize += d.DataSize
		return true, err
	})
	return r, err
}

func opKey(k schema.OpKey) string { return "/" + id(ns.ObjectID(k.Op)) + "/" + id(ns.ObjectID(k.N)) }

// queue returns the bounds of a queue's rows after a cursor.
func queue(key func(schema.OpKey) []byte, after string, all func() (lower, upper []byte)) (lower, upper []byte, err error) {
	lower, upper = all()
	if after == "" {
		return lower, upper, nil
	}
	op, rest, ok := takeNumber(after)
	n, rest, good := takeNumber(rest)
	if !ok || !good || rest != "" || n > 1<<32-1 {
		return nil, nil, badCursor("prevKey", after, "/op/n")
	}
	if next := append(key(schema.OpKey{Op: ns.Op(op), N: uint32(n)}), 0); bytes.Compare(next, lower) > 0 {
		lower = next
	}
	return lower, upper, nil
}

// DeletedSummaryResponse answers /keys/deletePending/summary.
type DeletedSummaryResponse struct {
	TotalDeletedKeys          int64 `json:"totalDeletedKeys"`
	TotalReplicatedDataSize   int64 `json:"totalReplicatedDataSize"`
	TotalUnreplicatedDataSize int64 `json:"totalUnreplicatedDataSize"`
}

// DeletedSummary counts what DeletedKeys lists.
func DeletedSummary(v *generation.View) (DeletedSummaryResponse, error) {
	s, err := v.SQL.Stats()
	return DeletedSummaryResponse{s["deletedTableCount"], s["deletedTableReplicatedDataSize"], s["deletedTableUnReplicatedDataSize"]}, err
}

// DeletedDirsResponse answers /keys/deletePending/dirs.
type DeletedDirsResponse struct {
	LastKey              string      `json:"lastKey" doc:"prevKey of the next page; empty: there is none"`
	ReplicatedDataSize   int64       `json:"replicatedDataSize" doc:"of this page"`
	UnreplicatedDataSize int64       `json:"unreplicatedDataSize" doc:"likewise"`
	DeletedDirInfo       []KeyEntity `json:"deletedDirInfo" doc:"size: of what is left in the directory and below it"`
	Status               Status      `json:"status"`
}

// DeletedDirs lists the directories that wait to be purged, the oldest first.
func DeletedDirs(v *generation.View, p Page) (DeletedDirsResponse, error) {
	r := DeletedDirsResponse{DeletedDirInfo: []KeyEntity{}, Status: StatusOK}
	lower, upper, err := queue(schema.DeletedDirs.Key, p.After, schema.DeletedDirs.All)
	if err != nil {
		return r, err
	}
	last := ""
	err = schema.DeletedDirs.Scan(v.Rows, lower, upper, func(k schema.OpKey, row *schemapb.DeletedDir) (bool, error) {
		if len(r.DeletedDirInfo) >= p.limit() {
			r.LastKey = last
			return false, nil
		}
		last = opKey(k)
		s, err := task.Total(v.Derived, ns.ObjectID(row.BucketId), ns.ObjectID(row.DirId))
		r.DeletedDirInfo = append(r.DeletedDirInfo, KeyEntity{
			Key: last, Path: join(row.Volume, row.Bucket, row.Path), InStateSince: row.DeletedMs, Size: s.Bytes, ReplicatedSize: s.Bytes,
			ReplicationInfo: once(), ModificationTime: row.DeletedMs,
		})
		r.ReplicatedDataSize += s.Bytes
		r.UnreplicatedDataSize += s.Bytes
		return true, err
	})
	return r, err
}

// DeletedDirsSummaryResponse answers /keys/deletePending/dirs/summary.
type DeletedDirsSummaryResponse struct {
	TotalDeletedDirectories int64 `json:"totalDeletedDirectories"`
}

// DeletedDirsSummary counts what DeletedDirs lists.
func DeletedDirsSummary(v *generation.View) (DeletedDirsSummaryResponse, error) {
	s, err := v.SQL.Stats()
	return DeletedDirsSummaryResponse{s["deletedDirectoryTableCount"]}, err
}

// PendingDeletionResponse answers /pendingDeletion?component=om. Snapshots hold
// what is counted under their names and nowhere else: it is not pending.
type PendingDeletionResponse struct {
	PendingDirectorySize int64 `json:"pendingDirectorySize" doc:"bytes of the keys left in deleted directories"`
	PendingKeySize       int64 `json:"pendingKeySize" doc:"bytes of blocks that wait to be freed"`
	TotalSize            int64 `json:"totalSize" doc:"of both"`

	PendingDirectories  int64 `json:"pendingDirectories" doc:"of our own, as all that follow: deleted directories that wait to be purged"`
	PendingKeys         int64 `json:"pendingKeys" doc:"keys left in them"`
	SnapshotHeldSize    int64 `json:"snapshotHeldSize" doc:"bytes of deleted and overwritten keys that snapshots still see; freed with these, so in none of the sizes above"`
	SnapshotHeldNames   int64 `json:"snapshotHeldNames"`
	ReclaimingSnapshots int64 `json:"reclaimingSnapshots" doc:"deleted snapshots whose rows are being dropped"`
}

// PendingDeletion says what is deleted and still takes space. What is below
// deleted directories is what all rows of keys add up to, less what can be
// reached from the buckets.
func PendingDeletion(v *generation.View) (r PendingDeletionResponse, err error) {
	s, err := v.SQL.Stats()
	if err != nil {
		return r, err
	}
	live := counted{}
	err = eachBucket(v, "", func(b view.Bucket) error {
		t, err := task.Total(v.Derived, b.ID(), b.ID())
		live.add(t)
		return err
	})
	if err != nil {
		return r, err
	}
	r.PendingDirectorySize = s["fileTableUnReplicatedDataSize"] + s["keyTableUnReplicatedDataSize"] - live.Bytes
	r.PendingKeys = s["fileTableCount"] + s["keyTableCount"] - live.Files
	r.PendingKeySize = s["deletedTableUnReplicatedDataSize"]
	r.TotalSize = r.PendingDirectorySize + r.PendingKeySize
	r.PendingDirectories = s["deletedDirectoryTableCount"]
	err = task.SnapshotSpaces(v.Derived, 0, func(_ ns.ObjectID, h task.Held) (bool, error) {
		r.SnapshotHeldSize += h.Bytes
		r.SnapshotHeldNames += h.Names
		r.ReclaimingSnapshots += h.Deleted
		return true, nil
	})
	return r, err
}

package web_test

import (
	"fmt"
	"slices"
	"strings"

	"o3/internal/recon/query"
)

func examPendingDeletion(e *exam) {
	c := e.c
	is(e, "all of it", read[query.PendingDeletionResponse](e), query.PendingDeletionResponse{
		PendingDirectorySize: c.bytes["pending"], PendingKeySize: c.bytes["deleted"], TotalSize: c.bytes["pending"] + c.bytes["deleted"],
		PendingDirectories: c.counts["dirs"], PendingKeys: c.counts["pending"], SnapshotHeldSize: c.bytes["cells"],
		SnapshotHeldNames: c.counts["names"], ReclaimingSnapshots: c.counts["reclaims"],
	})
}

func examContainers(e *exam) {
	d := read[query.ContainersResponse](e).Data
	is(e, "total", d.TotalCount, int64(len(e.c.containers)))
	is(e, "listed", len(d.Containers), len(e.c.containers))
	is(e, "next", d.PrevKey, 0)
	for _, x := range d.Containers {
		is(e, fmt.Sprintf("container %d", x.ContainerID), x.NumberOfKeys, int64(len(e.c.containers[x.ContainerID])))
	}
}

func examContainerKeys(e *exam) {
	var id uint64
	if _, err := fmt.Sscanf(e.target, "/containers/%d/keys", &id); err != nil {
		e.t.Fatal(err)
	}
	r := read[query.KeysResponse](e)
	is(e, "total", r.TotalCount, int64(len(e.c.containers[id])))
	is(e, "last key", r.LastKey, "")
	var got, want []string
	for _, k := range r.Keys {
		got = append(got, fmt.Sprint(k.Volume, " ", k.Bucket, " ", k.Key, " ", k.DataSize, " ", len(k.Blocks["0"])))
	}
	for _, x := range e.c.entries {
		if blocks := e.c.containers[id][rowKeyOf(x.key)]; blocks > 0 {
			volume, bucket, _ := strings.Cut(x.bucket[1:], "/")
			key := strings.TrimPrefix(x.path, x.bucket+"/")
			want = append(want, fmt.Sprint(volume, " ", bucket, " ", key, " ", x.row.Size, " ", blocks))
		}
	}
	sorted(e, "keys", got, want)
}

func examOpen(e *exam) {
	r := read[query.OpenKeysResponse](e)
	is(e, "last key", r.LastKey, "")
	var got, want []string
	bytes := int64(0)
	for i, list := range [][]query.KeyEntity{r.FSO, r.NonFSO} {
		for _, k := range list {
			got = append(got, fmt.Sprint(k.Path, k.Size, k.ReplicatedSize, i == 0))
		}
	}
	for _, o := range e.c.opens {
		if strings.HasPrefix(o.path+"/", e.values.Get("startPrefix")) && (o.tree || e.values.Get("includeFso") == "") {
			want = append(want, fmt.Sprint(o.path, o.size, o.size, o.tree))
			bytes += o.size
		}
	}
	sorted(e, "keys", got, want)
	is(e, "bytes", r.UnreplicatedDataSize, bytes)
	is(e, "replicated", r.ReplicatedDataSize, bytes)
}

func examOpenSummary(e *exam) {
	n, bytes := e.c.counts["open"], e.c.bytes["open"]
	is(e, "all of it", read[query.OpenSummaryResponse](e), query.OpenSummaryResponse{TotalOpenKeys: n, TotalReplicatedDataSize: bytes, TotalUnreplicatedDataSize: bytes})
}

func examUploads(e *exam) {
	n, bytes := e.c.counts["uploads"], e.c.bytes["uploads"]
	is(e, "all of it", read[query.MPUSummaryResponse](e), query.MPUSummaryResponse{TotalOpenMPUKeys: n, TotalReplicatedDataSize: bytes, TotalDataSize: bytes})
}

func examDeleted(e *exam) {
	r := read[query.DeletedKeysResponse](e)
	n, bytes := e.c.counts["deleted"], e.c.bytes["deleted"]
	if b := e.bucket(); b != nil {
		n, bytes = b.counts["deleted"], b.bytes["deleted"]
	}
	is(e, "listed", int64(len(r.DeletedKeyInfo)), n)
	is(e, "bytes", r.UnreplicatedDataSize, bytes)
	is(e, "replicated", r.ReplicatedDataSize, bytes)
	is(e, "last key", r.LastKey, "")
	for _, d := range r.DeletedKeyInfo {
		for _, b := range d.OmKeyInfoList {
			bytes -= b.DataSize
			if b.Blocks < 1 || b.ReplicatedSize != b.DataSize || b.DeletionTime == 0 || e.c.bucket("/"+b.VolumeName+"/"+b.BucketName) == nil {
				e.t.Errorf("%s: %+v", e.target, b)
			}
		}
	}
	is(e, "bytes of rows", bytes, 0)
}

func examDeletedSummary(e *exam) {
	n, bytes := e.c.counts["deleted"], e.c.bytes["deleted"]
	is(e, "all of it", read[query.DeletedSummaryResponse](e), query.DeletedSummaryResponse{TotalDeletedKeys: n, TotalReplicatedDataSize: bytes, TotalUnreplicatedDataSize: bytes})
}

func examDeletedDirs(e *exam) {
	r := read[query.DeletedDirsResponse](e)
	var got, want []int64
	for _, d := range r.DeletedDirInfo {
		got = append(got, d.Size)
	}
	for _, id := range e.c.dirIDs {
		left := int64(0)
		if s := e.c.gone[id]; s != nil {
			left = s.bytes
		}
		want = append(want, left)
	}
	are(e, "bytes in each", got, want)
	is(e, "bytes", r.UnreplicatedDataSize, e.c.bytes["pending"])
	is(e, "replicated", r.ReplicatedDataSize, e.c.bytes["pending"])
	is(e, "last key", r.LastKey, "")
}

func examDeletedDirsSummary(e *exam) {
	is(e, "all of it", read[query.DeletedDirsSummaryResponse](e).TotalDeletedDirectories, e.c.counts["dirs"])
}

func examListKeys(e *exam) {
	r := read[query.ListKeysResponse](e)
	prefix, least := e.values.Get("startPrefix"), uint64(0)
	if e.values.Get("keySize") != "" {
		least = 100
	}
	b := e.bucket()
	if prefix == b.path {
		prefix += "/"
	}
	var got, want []string
	bytes := int64(0)
	for _, k := range r.Keys {
		got = append(got, fmt.Sprint(k.Path, " ", k.Size, " ", k.ReplicatedSize))
	}
	for _, x := range e.c.entries {
		if x.isKey && !x.deleted && x.bucket == b.path && strings.HasPrefix(x.path, prefix) && x.row.Size >= least {
			want = append(want, fmt.Sprint(x.path, " ", x.row.Size, " ", x.row.Size))
			bytes += int64(x.row.Size)
		}
	}
	if !slices.IsSortedFunc(r.Keys, func(x, y query.BasicKey) int { return strings.Compare(x.Path, y.Path) }) {
		e.t.Errorf("%s: not in order", e.target)
	}
	sorted(e, "keys", got, want)
	is(e, "bytes", r.UnReplicatedDataSize, bytes)
	is(e, "replicated", r.ReplicatedDataSize, bytes)
	is(e, "last key", r.LastKey, "")
}

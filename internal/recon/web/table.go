package web

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strconv"

	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/recon/query"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
)

func text(n uint64) string { return strconv.FormatUint(n, 10) }

// say makes a handler's result of a query's.
func say[T any](body T, err error) (reply, error) { return reply{body: body}, err }

// fresh is say for answers that say themselves how fresh they are.
func fresh[T any](body T, err error) (reply, error) { return reply{body: &body}, err }

// routes returns the table.
func routes() []route {
	return slices.Concat(totals(), keyRoutes(), listRoutes(), insightRoutes(), lifecycleRoutes(), syncRoutes())
}

func totals() []route {
	replica := param{name: "replica", kind: kindFlag, def: "false", doc: "sizes with replicas too; they are the same, since O3 names each block once"}
	usage := route{
		method: get, path: "/namespace/usage", summary: "How large what is directly in a path is.", answer: query.UsageResponse{},
		params: []param{
			pPath, {name: "files", kind: kindFlag, def: "false", doc: "keys too"}, replica,
			{name: "sortSubPaths", kind: kindFlag, def: "true", doc: "the 30 largest, the largest first; false: all, in pages. When a path has more sub-paths than are looked at for a page, `lastKey` says so, and the 30 are of those that were"},
			pLimit, pPrevKey,
		},
		list: func(b any) any { return b.(query.UsageResponse).SubPaths },
		handle: func(_ context.Context, q *question) (reply, error) {
			return say(query.Usage(q.view, q.text("path"), query.UsageOptions{
				Files: q.flag("files"), Replica: q.flag("replica"), Sort: q.flag("sortSubPaths"), Page: q.page(pPrevKey),
			}))
		},
	}
	du := usage
	du.path, du.summary = "/namespace/du", "The old name of /namespace/usage."
	return []route{
		{
			method: get, path: "/clusterState", summary: "How much there is of everything.", answer: query.ClusterStateResponse{},
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.ClusterState(q.view, q.status.Source))
			},
		},
		{
			method: get, path: "/namespace/summary", summary: "What is at a path and how much is below it.", params: []param{pPath}, answer: query.SummaryResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.Summary(q.view, q.text("path"))) },
		},
		usage, du,
		{
			method: get, path: "/namespace/quota", summary: "What a volume or bucket may use and does.", params: []param{pPath}, answer: query.QuotaResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.Quota(q.view, q.text("path"))) },
		},
		{
			method: get, path: "/namespace/dist", summary: "How many files of which size are below a path.", params: []param{pPath}, answer: query.DistResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.Dist(q.view, q.text("path"))) },
		},
		{
			method: get, path: "/utilization/fileCount", summary: "How many files of which size there are, by volume, bucket and size.", answer: []query.FileCount{},
			params: []param{
				pVolume, {name: "bucket", kind: kindText, doc: "only buckets of this name"},
				{name: "fileSize", kind: kindNumber, max: math.MaxInt64, allowed: fileSizes(), doc: "only this bin, by its largest size"},
				{name: "limit", kind: kindLimit, def: "-1", doc: "rows of the page; -1: as many as a page may have"}, pPrevKey,
			},
			list: func(b any) any { return b },
			handle: func(_ context.Context, q *question) (reply, error) {
				out, next, err := query.FileCounts(q.view, query.FileCountOptions{
					Volume: q.text("volume"), Bucket: q.text("bucket"), FileSize: q.number("fileSize"), Page: q.page(pPrevKey),
				})
				return reply{body: out, next: next}, err
			},
		},
		{
			method: get, path: "/pendingDeletion", summary: "What is deleted and still takes space, and what snapshots hold.", answer: query.PendingDeletionResponse{},
			params: []param{{name: "component", kind: kindText, required: true, allowed: []string{"om"}, doc: "Ozone's scm and dn are not part of O3"}},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.PendingDeletion(q.view)) },
		},
	}
}

func fileSizes() (all []string) {
	for _, n := range query.FileSizes() {
		all = append(all, strconv.FormatInt(n, 10))
	}
	return all
}

func listRoutes() []route {
	return []route{
		{
			method: get, path: "/volumes", summary: "The volumes, by name.", params: []param{pLimit, pPrevKey}, answer: query.VolumesResponse{},
			list: func(b any) any { return b.(query.VolumesResponse).Volumes },
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.Volumes(q.view, q.page(pPrevKey)))
			},
		},
		{
			method: get, path: "/buckets", summary: "The buckets, by volume and name.", params: []param{pVolume, pLimit, pPrevKey}, answer: query.BucketsResponse{},
			list: func(b any) any { return b.(query.BucketsResponse).Buckets },
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.Buckets(q.view, q.text("volume"), q.page(pPrevKey)))
			},
		},
		{
			method: get, path: "/containers", summary: "The containers that keys have blocks in, by number.", answer: query.ContainersResponse{},
			params: []param{pLimit, {name: "prevKey", kind: kindNumber, max: math.MaxInt64, doc: "the number of the container after which the page begins"}},
			list:   func(b any) any { return b.(query.ContainersResponse).Data.Containers },
			handle: func(_ context.Context, q *question) (reply, error) {
				p := q.page(pPrevKey)
				if n := q.number("prevKey"); n > 0 {
					p.After = text(uint64(n))
				}
				r, err := query.Containers(q.view, p)
				next := ""
				if r.Data.PrevKey > 0 {
					next = text(uint64(r.Data.PrevKey))
				}
				return reply{body: r, next: next}, err
			},
		},
		{
			method: get, path: "/containers/{id}/keys", summary: "The keys that have blocks in a container.", answer: query.KeysResponse{},
			params: []param{{name: "id", kind: kindNumber, inPath: true, required: true, min: 1, max: math.MaxInt64, doc: "the container's number"}, pLimit, pPrevKey},
			list:   func(b any) any { return b.(query.KeysResponse).Keys },
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.KeysOf(q.view, uint64(q.number("id")), q.page(pPrevKey)))
			},
		},
	}
}

func keyRoutes() []route {
	startPrefix := param{name: "startPrefix", kind: kindText, doc: "`/volume/bucket`, or with the beginning of keys' names after it"}
	need := startPrefix
	need.required = true
	return []route{
		{
			method: get, path: "/keys/open", summary: "Keys that are being written.", none: true, answer: query.OpenKeysResponse{},
			params: []param{
				startPrefix, {name: "includeFso", kind: kindFlag, def: "false", doc: "of file-system buckets; with neither of the two, all"},
				{name: "includeNonFso", kind: kindFlag, def: "false", doc: "of object-store buckets"}, pLimit, pPrevKey,
			},
			list: func(b any) any {
				r := b.(query.OpenKeysResponse)
				return slices.Concat(r.FSO, r.NonFSO)
			},
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.OpenKeys(q.view, query.OpenKeysOptions{
					StartPrefix: q.text("startPrefix"), FSO: q.flag("includeFso"), NonFSO: q.flag("includeNonFso"), Page: q.page(pPrevKey),
				}))
			},
		},
		{
			method: get, path: "/keys/open/summary", summary: "How many keys are being written, and how large they will be.", answer: query.OpenSummaryResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.OpenSummary(q.view)) },
		},
		{
			method: get, path: "/keys/open/mpu/summary", summary: "How many multipart uploads are unfinished, and how large their parts are.", answer: query.MPUSummaryResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.MPUSummary(q.view)) },
		},
		{
			method: get, path: "/keys/deletePending", summary: "Blocks of deleted and overwritten keys that wait to be freed.", none: true, answer: query.DeletedKeysResponse{},
			params: []param{startPrefix, pLimit, pPrevKey},
			list: func(b any) any {
				var all []query.DeletedBlocks
				for _, k := range b.(query.DeletedKeysResponse).DeletedKeyInfo {
					all = append(all, k.OmKeyInfoList...)
				}
				return all
			},
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.DeletedKeys(q.view, q.text("startPrefix"), q.page(pPrevKey)))
			},
		},
		{
			method: get, path: "/keys/deletePending/summary", summary: "How much waits to be freed.", answer: query.DeletedSummaryResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.DeletedSummary(q.view)) },
		},
		{
			method: get, path: "/keys/deletePending/dirs", summary: "Deleted directories that wait to be purged.", params: []param{pLimit, pPrevKey}, answer: query.DeletedDirsResponse{},
			list: func(b any) any { return b.(query.DeletedDirsResponse).DeletedDirInfo },
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.DeletedDirs(q.view, q.page(pPrevKey)))
			},
		},
		{
			method: get, path: "/keys/deletePending/dirs/summary", summary: "How many directories wait to be purged.", answer: query.DeletedDirsSummaryResponse{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(query.DeletedDirsSummary(q.view)) },
		},
		{
			method: get, path: "/keys/listKeys", summary: "Keys below a prefix, by path.", none: true, answer: query.ListKeysResponse{},
			params: []param{
				need, {name: "replicationType", kind: kindText, allowed: []string{"RATIS", "EC", "STAND_ALONE"}, doc: "of O3 all keys are STAND_ALONE"},
				{name: "creationDate", kind: kindDate, doc: "created then or later"},
				{name: "keySize", kind: kindNumber, def: "0", max: math.MaxInt64, doc: "bytes, at least"}, pLimit, pPrevKey,
			},
			list: func(b any) any { return b.(query.ListKeysResponse).Keys },
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.ListKeys(q.view, query.ListKeysOptions{
					StartPrefix: q.text("startPrefix"), ReplicationType: q.text("replicationType"),
					CreatedFrom: q.number("creationDate"), MinSize: q.number("keySize"), Page: q.page(pPrevKey),
				}))
			},
		},
	}
}

// in returns the bucket that a request is about.
func (q *question) in() query.InBucket {
	return query.InBucket{Volume: q.text("volume"), Bucket: q.text("bucket")}
}

func insightRoutes() []route {
	paged := []param{pVolume, pBucket, pLimit, pCursor}
	sized := []param{
		{name: "minSize", kind: kindNumber, def: "0", max: math.MaxInt64, doc: "only what has at least so many bytes"},
		{name: "maxSize", kind: kindNumber, def: text(math.MaxInt64), max: math.MaxInt64, doc: "only what has at most so many bytes"},
	}
	sizes := func(q *question) query.Sizes {
		return query.Sizes{Min: q.number("minSize"), Max: q.number("maxSize")}
	}
	snapshots := func(q *question) query.SnapshotsOptions {
		return query.SnapshotsOptions{Volume: q.text("volume"), Bucket: q.text("bucket"), Page: q.page(pCursor)}
	}
	return []route{
		{
			method: get, path: "/snapshots", summary: "Snapshots, live and being reclaimed, and what each alone holds.", ours: true, params: paged, answer: query.SnapshotsResponse{},
			list: func(b any) any { return b.(*query.SnapshotsResponse).Snapshots },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.Snapshots(q.view, snapshots(q)))
			},
		},
		{
			method: get, path: "/snapshots/buckets", summary: "What the snapshots of each bucket hold together.", ours: true, params: []param{pLimit, pCursor}, answer: query.SnapshotSpaceResponse{},
			list: func(b any) any { return b.(*query.SnapshotSpaceResponse).Buckets },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.SnapshotSpaces(q.view, q.page(pCursor)))
			},
		},
		{
			method: get, path: "/snapshots/diffs", summary: "Jobs that compare snapshots.", ours: true, params: paged, answer: query.DiffsResponse{},
			list:   func(b any) any { return b.(*query.DiffsResponse).Diffs },
			handle: func(_ context.Context, q *question) (reply, error) { return fresh(query.Diffs(q.view, snapshots(q))) },
		},
		{
			method: get, path: "/images", summary: "The OM's images.", ours: true, blind: true, answer: ImagesResponse{},
			list: func(b any) any { return b.(*ImagesResponse).Images },
			handle: func(ctx context.Context, q *question) (reply, error) {
				if q.o.Images == nil {
					return reply{}, errs.New(errs.NotImplemented, "images", "they are not known here: ask the OM")
				}
				all, err := q.o.Images(ctx)
				return fresh(ImagesResponse{Images: append([]Image{}, all...)}, err)
			},
		},
		{
			method: get, path: "/insights/largest/files", summary: "The largest files.", ours: true, params: slices.Concat(sized, paged), answer: query.LargestFilesResponse{},
			list: func(b any) any { return b.(*query.LargestFilesResponse).Files },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.LargestFiles(q.view, q.in(), sizes(q), q.page(pCursor)))
			},
		},
		{
			method: get, path: "/insights/largest/directories", summary: "The buckets and directories that hold most.", ours: true,
			params: append(slices.Clone(sized), pVolume, pBucket, pLimit), answer: query.LargestDirectoriesResponse{},
			list: func(b any) any { return b.(*query.LargestDirectoriesResponse).Directories },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.LargestDirectories(q.view, q.in(), sizes(q), q.page(pCursor)))
			},
		},
		{
			method: get, path: "/insights/age", summary: "How much was last changed in which month.", ours: true, params: paged, answer: query.AgeResponse{},
			list: func(b any) any { return b.(*query.AgeResponse).Ages },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.Ages(q.view, q.in(), q.page(pCursor)))
			},
		},
		{
			method: get, path: "/search", summary: "Keys and directories with a text in their names.", ours: true, answer: query.SearchResponse{},
			params: append([]param{
				{name: "name", kind: kindText, required: true, bytes: 1024, doc: "a text in the last component of the path"},
				{name: "ignoreCase", kind: kindFlag, def: "false", doc: "whether A is a"},
			}, paged...),
			list: func(b any) any { return b.(*query.SearchResponse).Entries },
			handle: func(_ context.Context, q *question) (reply, error) {
				return fresh(query.Search(q.view, query.SearchOptions{
					Name: q.text("name"), IgnoreCase: q.flag("ignoreCase"), InBucket: q.in(), Page: q.page(pCursor),
				}))
			},
		},
	}
}

func syncRoutes() []route {
	return []route{
		{
			method: get, path: "/task/status", summary: "How the tasks of Recon are.", answer: []query.TaskStatus{},
			list: func(b any) any { return b },
			handle: func(_ context.Context, q *question) (reply, error) {
				return say(query.TaskStatuses(q.view, q.status), nil)
			},
		},
		{
			method: get, path: "/triggerdbsync/om", summary: "Has the namespace brought from the OM anew. False: that is under way.", role: triggers, blind: true, answer: true,
			handle: func(_ context.Context, q *question) (reply, error) { return say(q.o.Source.Sync(), nil) },
		},
		{
			method: post, path: "/triggerdbsync/om/reinit", summary: "Has the derived tables built anew from the replica that is here.", role: triggers, blind: true, accepted: true, answer: Reinit{},
			handle: func(_ context.Context, q *question) (reply, error) {
				if !q.o.Source.Reinit() {
					return reply{status: http.StatusConflict, body: Reinit{"RETRY", "a new generation is being made already"}}, nil
				}
				return reply{status: http.StatusAccepted, body: Reinit{"ACCEPTED", "the derived tables will be built anew"}}, nil
			},
		},
		{
			method: get, path: "/features/disabledFeatures", summary: "What is switched off.", blind: true, answer: []string{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(q.o.DisabledFeatures, nil) },
		},
		{
			method: get, path: "/sync/status", summary: "How Recon follows the OM.", ours: true, blind: true, answer: SyncStatus{},
			handle: func(_ context.Context, q *question) (reply, error) { return say(syncStatus(q.status), nil) },
		},
		{
			method: get, path: "/whoami", summary: "Who asks, and what they may.", ours: true, role: signedIn, blind: true, answer: Who{},
			handle: func(ctx context.Context, q *question) (reply, error) {
				p := access.FromContext(ctx)
				may := func(r role) bool { return q.may(ctx, route{role: r}) == nil }
				return say(&Who{User: p.User, AccessKey: p.AccessKey, Role: string(p.Role), MayLook: may(looks), MayTrigger: may(triggers)}, nil)
			},
		},
		{
			method: get, path: "/openapi.json", summary: "This API as an OpenAPI document.", ours: true, blind: true, answer: map[string]any{},
			handle: func(_ context.Context, _ *question) (reply, error) { return say(OpenAPI(), nil) },
		},
	}
}

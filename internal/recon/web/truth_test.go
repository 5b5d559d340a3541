package web_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/query"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// truth is what a plain count over all rows finds.
type truth struct {
	buckets map[ns.ObjectID]*tBucket
	volumes map[string]*tVolume
	dirs    map[schema.DirKey]*schemapb.Dir
	entries []tEntry
	below   map[string]*tSum // by path of what is reachable: "/", volumes, buckets, directories
	gone    map[ns.ObjectID]*tSum

	containers map[uint64]map[string]bool
	counts     map[string]int64
	bytes      map[string]int64
	held       map[ns.ObjectID]int64
}

type tVolume struct{ buckets int64 }

type tBucket struct {
	path string
	row  *schemapb.Bucket
}

type tEntry struct {
	key     schema.EntryKey
	row     *schemapb.Entry
	path    string
	bucket  string // its path
	deleted bool
	isKey   bool
}

type tSum struct {
	files, dirs, bytes, buckets int64
	bins                        [task.SizeBins]int64
	direct, directBytes         int64 // sub-paths, bytes of keys
}

func (s *tSum) add(e tEntry) {
	if !e.isKey {
		s.dirs++
		return
	}
	s.files++
	s.bytes += int64(e.row.Size)
	s.bins[task.SizeBin(e.row.Size)]++
}

// count makes the truth of a look.
func count(t *testing.T, v *generation.View) *truth {
	t.Helper()
	c := &truth{
		buckets: map[ns.ObjectID]*tBucket{}, volumes: map[string]*tVolume{}, dirs: map[schema.DirKey]*schemapb.Dir{}, below: map[string]*tSum{"/": {}},
		gone: map[ns.ObjectID]*tSum{}, containers: map[uint64]map[string]bool{}, counts: map[string]int64{}, bytes: map[string]int64{}, held: map[ns.ObjectID]int64{},
	}
	ids := map[ns.ObjectID]string{}
	each(t, v, schema.Volumes, func(name string, row *schemapb.Volume) {
		c.volumes[name], c.below["/"+name] = &tVolume{}, &tSum{}
		ids[ns.ObjectID(row.ObjectId)] = name
	})
	each(t, v, schema.Buckets, func(k schema.BucketKey, row *schemapb.Bucket) {
		path := "/" + ids[k.Volume] + "/" + k.Name
		c.buckets[ns.ObjectID(row.ObjectId)], c.below[path] = &tBucket{path, row}, &tSum{}
		c.volumes[ids[k.Volume]].buckets++
	})
	each(t, v, schema.Dirs, func(k schema.DirKey, row *schemapb.Dir) { c.dirs[k] = row })
	each(t, v, schema.Entries, func(k schema.EntryKey, row *schemapb.Entry) { c.entry(v, t, k, row) })
	for _, e := range c.entries {
		if !e.isKey && !e.deleted && c.below[e.path] == nil {
			c.below[e.path] = &tSum{}
		}
	}
	for _, e := range c.entries {
		c.sum(e)
	}
	c.queues(t, v)
	return c
}

func each[K, R any, P schema.Message[R]](t *testing.T, v *generation.View, table *schema.Table[K, R, P], f func(K, P)) {
	t.Helper()
	if err := fsmtest.Scan(v.Rows, table, func(k K, row P) error { f(k, row); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (c *truth) entry(v *generation.View, t *testing.T, k schema.EntryKey, row *schemapb.Entry) {
	e := tEntry{key: k, row: row, isKey: row.Kind == o3v1.EntryKind_ENTRY_KIND_KEY}
	path := k.Name
	at := k.Parent
	for at != k.Bucket {
		d := c.dirs[schema.DirKey{Bucket: k.Bucket, Dir: at}]
		if d == nil {
			e.deleted = true
			if c.gone[at] == nil {
				c.gone[at] = &tSum{}
			}
			c.gone[at].add(e)
			break
		}
		path, at = d.Name+path, ns.ObjectID(d.ParentId)
	}
	if b := c.buckets[k.Bucket]; b != nil {
		e.bucket = b.path
		e.path = strings.TrimSuffix(b.path+"/"+path, "/")
	} else if !e.deleted {
		t.Errorf("%v is in no bucket", k)
	}
	c.entries = append(c.entries, e)
	extents, err := v.Extents(row)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range extents {
		if x.Container != 0 {
			if c.containers[x.Container] == nil {
				c.containers[x.Container] = map[string]bool{}
			}
			c.containers[x.Container][fmt.Sprint(k)] = true
		}
	}
}

// sum counts an entry in all that it is in.
func (c *truth) sum(e tEntry) {
	if e.deleted {
		return
	}
	c.below["/"].add(e)
	volume, _, _ := strings.Cut(e.bucket[1:], "/")
	c.below["/"+volume].add(e)
	bucket := c.below[e.bucket]
	bucket.add(e)
	in := e.bucket
	if e.key.Parent != e.key.Bucket {
		parts := strings.Split(strings.TrimPrefix(e.path, e.bucket+"/"), "/")
		for _, p := range parts[:len(parts)-1] {
			in += "/" + p
			c.below[in].add(e)
		}
	}
	c.below[in].direct++
	if e.isKey {
		c.below[in].directBytes += int64(e.row.Size)
	}
}

func (c *truth) queues(t *testing.T, v *generation.View) {
	tally := func(name string, bytes uint64) { c.counts[name]++; c.bytes[name] += int64(bytes) }
	each(t, v, schema.OpenKeys, func(_ schema.OpenKeyKey, row *schemapb.OpenKey) { tally("open", row.ExpectedSize) })
	each(t, v, schema.Uploads, func(_ schema.UploadKey, row *schemapb.Upload) { tally("uploads", row.Bytes) })
	each(t, v, schema.Deleted, func(_ schema.OpKey, row *schemapb.DeletedBlocks) { tally("deleted", row.Bytes) })
	each(t, v, schema.DeletedDirs, func(schema.OpKey, *schemapb.DeletedDir) { tally("dirs", 0) })
	each(t, v, schema.Snapshots, func(schema.SnapshotKey, *schemapb.Snapshot) { tally("snapshots", 0) })
	each(t, v, schema.Reclaims, func(schema.SnapshotKey, *schemapb.Reclaim) { tally("reclaims", 0) })
	each(t, v, schema.DiffJobs, func(schema.DiffJobKey, *schemapb.DiffJob) { tally("diffs", 0) })
	each(t, v, schema.Cells, func(k schema.CellKey, row *schemapb.Cell) {
		tally("cells", row.Bytes)
		c.held[k.Bucket] += int64(row.Bytes)
	})
	for _, e := range c.entries {
		switch {
		case e.isKey:
			tally("keys", e.row.Size)
			if e.deleted {
				tally("pending", e.row.Size)
			}
		}
	}
}

// summary is query.SummaryResponse as far as it is compared.
type summary struct {
	CountStats query.CountStats `json:"countStats"`
}

// check asks every endpoint and compares.
func (c *truth) check(r *rig) {
	r.t.Helper()
	c.checkTotals(r)
	c.checkKeys(r)
	c.checkInsights(r)
}

func want[T comparable](r *rig, what string, got, want T) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (c *truth) checkTotals(r *rig) {
	r.t.Helper()
	for path, s := range c.below {
		q := "?path=" + escape(path)
		sum := get[summary](r, "/namespace/summary"+q)
		want(r, path+": directories", sum.CountStats.NumDir, s.dirs)
		want(r, path+": keys", sum.CountStats.NumKey, s.files)
		dist := get[query.DistResponse](r, "/namespace/dist"+q)
		if !slices.Equal(dist.Dist, s.bins[:]) {
			r.t.Errorf("%s: %v, want %v", path, dist.Dist, s.bins)
		}
		u := get[query.UsageResponse](r, "/namespace/usage"+q+"&files=true&sortSubPaths=false&limit=-1&replica=true")
		want(r, path+": bytes", u.Size, s.bytes)
		want(r, path+": replicated", u.SizeWithReplica, s.bytes)
		switch {
		case path == "/":
			want(r, "volumes", sum.CountStats.NumVolume, int64(len(c.volumes)))
			want(r, "buckets", sum.CountStats.NumBucket, int64(len(c.buckets)))
			want(r, "sub-paths", u.SubPathCount, int64(len(c.volumes)))
		case strings.Count(path, "/") == 1:
			want(r, path+": buckets", sum.CountStats.NumBucket, c.volumes[path[1:]].buckets)
			want(r, path+": sub-paths", u.SubPathCount, c.volumes[path[1:]].buckets)
		default:
			want(r, path+": sub-paths", u.SubPathCount, s.direct)
			want(r, path+": direct", u.SizeDirectKey, s.directBytes)
		}
		if u.LastKey == "" {
			want(r, path+": shown", int64(len(u.SubPaths)), u.SubPathCount)
			below := max(u.SizeDirectKey, 0)
			for _, p := range u.SubPaths {
				if !p.IsKey {
					below += p.Size
					want(r, p.Path, p.Size, c.below[p.Path].bytes)
				}
			}
			want(r, path+": sum", below, s.bytes)
		}
	}
	state := get[query.ClusterStateResponse](r, "/clusterState")
	want(r, "state", state, query.ClusterStateResponse{
		Containers: int64(len(c.containers)), Volumes: int64(len(c.volumes)), Buckets: int64(len(c.buckets)), Keys: c.counts["keys"],
		KeysPendingDeletion: c.counts["deleted"], DeletedDirs: c.counts["dirs"], OmServiceID: "om1", Snapshots: c.counts["snapshots"],
	})
	want(r, "volumes", len(get[query.VolumesResponse](r, "/volumes").Volumes), len(c.volumes))
	buckets := get[query.BucketsResponse](r, "/buckets").Buckets
	want(r, "buckets", len(buckets), len(c.buckets))
}

func (c *truth) checkKeys(r *rig) {
	r.t.Helper()
	want(r, "open", get[query.OpenSummaryResponse](r, "/keys/open/summary"), query.OpenSummaryResponse{
		TotalOpenKeys: c.counts["open"], TotalReplicatedDataSize: c.bytes["open"], TotalUnreplicatedDataSize: c.bytes["open"],
	})
	want(r, "uploads", get[query.MPUSummaryResponse](r, "/keys/open/mpu/summary"), query.MPUSummaryResponse{
		TotalOpenMPUKeys: c.counts["uploads"], TotalReplicatedDataSize: c.bytes["uploads"], TotalDataSize: c.bytes["uploads"],
	})
	want(r, "deleted", get[query.DeletedSummaryResponse](r, "/keys/deletePending/summary"), query.DeletedSummaryResponse{
		TotalDeletedKeys: c.counts["deleted"], TotalReplicatedDataSize: c.bytes["deleted"], TotalUnreplicatedDataSize: c.bytes["deleted"],
	})
	want(r, "deleted, listed", get[query.DeletedKeysResponse](r, "/keys/deletePending?limit=-1").UnreplicatedDataSize, c.bytes["deleted"])
	p := get[query.PendingDeletionResponse](r, "/pendingDeletion?component=om")
	want(r, "pending", p, query.PendingDeletionResponse{
		PendingDirectorySize: c.bytes["pending"], PendingKeySize: c.bytes["deleted"], TotalSize: c.bytes["pending"] + c.bytes["deleted"],
		PendingDirectories: c.counts["dirs"], PendingKeys: c.counts["pending"], SnapshotHeldSize: c.bytes["cells"],
		SnapshotHeldNames: p.SnapshotHeldNames, ReclaimingSnapshots: c.counts["reclaims"],
	})
	dirs := get[query.DeletedDirsResponse](r, "/keys/deletePending/dirs?limit=-1")
	want(r, "deleted directories", int64(len(dirs.DeletedDirInfo)), c.counts["dirs"])
	want(r, "bytes in them", dirs.UnreplicatedDataSize, c.bytes["pending"])
	all := get[query.ContainersResponse](r, "/containers?limit=-1").Data
	want(r, "containers", all.TotalCount, int64(len(c.containers)))
	for _, x := range all.Containers {
		want(r, fmt.Sprintf("container %d", x.ContainerID), x.NumberOfKeys, int64(len(c.containers[x.ContainerID])))
		keys := get[query.KeysResponse](r, fmt.Sprintf("/containers/%d/keys?limit=-1", x.ContainerID))
		want(r, fmt.Sprintf("container %d", x.ContainerID), len(keys.Keys), len(c.containers[x.ContainerID]))
		want(r, fmt.Sprintf("container %d", x.ContainerID), keys.TotalCount, x.NumberOfKeys)
	}
	listed := int64(0)
	for _, b := range c.buckets {
		l := get[query.ListKeysResponse](r, "/keys/listKeys?limit=-1&startPrefix="+escape(b.path))
		listed += int64(len(l.Keys))
		want(r, b.path+": bytes listed", l.UnReplicatedDataSize, c.below[b.path].bytes)
	}
	want(r, "keys listed", listed, c.counts["keys"]-c.counts["pending"])
}

func (c *truth) checkInsights(r *rig) {
	r.t.Helper()
	type bin struct {
		bucket string
		n      any
	}
	sizes, ages := map[bin]int64{}, map[bin]int64{}
	var large, found []string
	for _, e := range c.entries {
		if e.isKey {
			size := int64(1024)
			for size < int64(e.row.Size) {
				size *= 2
			}
			sizes[bin{e.bucket, size}]++
			ages[bin{e.bucket, time.UnixMilli(e.row.ModifiedMs).UTC().Format("2006-01")}] += int64(e.row.Size)
		}
		if e.isKey && !e.deleted && e.row.Size >= task.LargeFile {
			large = append(large, fmt.Sprintf("%020d %s", 1<<60-e.row.Size, e.path))
		}
		if name := e.path[strings.LastIndexByte(e.path, '/')+1:]; !e.deleted && strings.Contains(name, "1") {
			found = append(found, e.path)
		}
	}
	for _, f := range get[[]query.FileCount](r, "/utilization/fileCount") {
		want(r, fmt.Sprint("sizes of ", f), f.Count, sizes[bin{"/" + f.Volume + "/" + f.Bucket, f.FileSize}])
		delete(sizes, bin{"/" + f.Volume + "/" + f.Bucket, f.FileSize})
	}
	want(r, "sizes that are missing", len(sizes), 0)
	for _, a := range get[query.AgeResponse](r, "/insights/age").Ages {
		want(r, fmt.Sprint("age ", a), a.Bytes, ages[bin{"/" + a.Volume + "/" + a.Bucket, a.Month}])
		delete(ages, bin{"/" + a.Volume + "/" + a.Bucket, a.Month})
	}
	want(r, "ages that are missing", len(ages), 0)
	var got []string
	for _, f := range get[query.LargestFilesResponse](r, "/insights/largest/files?limit=-1").Files {
		got = append(got, fmt.Sprintf("%020d %s", 1<<60-uint64(f.Size), f.Path))
	}
	same(r, "largest files", got, large, true)
	got = nil
	for _, e := range get[query.SearchResponse](r, "/search?name=1&limit=-1").Entries {
		got = append(got, e.Path)
	}
	same(r, "search", got, found, true)
	var dirs []query.LargestDirectory
	for path, s := range c.below {
		if strings.Count(path, "/") < 2 {
			continue
		}
		d := query.LargestDirectory{Path: path, Type: query.TypeDirectory, Size: s.bytes, Files: s.files, Directories: s.dirs}
		if strings.Count(path, "/") == 2 {
			d.Type = query.TypeBucket
		}
		dirs = append(dirs, d)
	}
	slices.SortFunc(dirs, func(a, b query.LargestDirectory) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Path, b.Path))
	})
	largest := get[query.LargestDirectoriesResponse](r, "/insights/largest/directories?limit=7")
	if !slices.Equal(largest.Directories, dirs[:min(7, len(dirs))]) {
		r.t.Errorf("largest directories:\n%v, want\n%v", largest.Directories, dirs[:min(7, len(dirs))])
	}
	held := int64(0)
	for _, b := range get[query.SnapshotSpaceResponse](r, "/snapshots/buckets").Buckets {
		held += b.HeldBytes
	}
	want(r, "held by snapshots", held, c.bytes["cells"])
	want(r, "snapshots", int64(len(get[query.SnapshotsResponse](r, "/snapshots").Snapshots)), c.counts["snapshots"]+c.counts["reclaims"])
	want(r, "diffs", int64(len(get[query.DiffsResponse](r, "/snapshots/diffs").Diffs)), c.counts["diffs"])
}

// same compares lists, without regard to their order if sorted.
func same(r *rig, what string, got, want []string, sorted bool) {
	r.t.Helper()
	if sorted {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("%s:\n%q, want\n%q", what, got, want)
	}
}

package web_test

import (
	"cmp"
	"slices"
	"strings"

	"o3/internal/ns"
	"o3/internal/recon/query"
)

// quota writes one as Ozone does.
func quota(n uint64) int64 {
	if n == 0 {
		return -1
	}
	return int64(n)
}

func examClusterState(e *exam) {
	c := e.c
	is(e, "all of it", read[query.ClusterStateResponse](e), query.ClusterStateResponse{
		Containers: int64(len(c.containers)), Volumes: int64(len(c.volumes)), Buckets: int64(len(c.buckets)), Keys: c.counts["keys"],
		KeysPendingDeletion: c.counts["deleted"], DeletedDirs: c.counts["dirs"], OmServiceID: "om1", Snapshots: c.counts["snapshots"],
	})
}

// at returns what is at the path of an exam: a sum, or a key, or neither.
func (e *exam) at() (path string, s *tSum, key *tEntry) {
	path = e.values.Get("path")
	if s = e.c.below[path]; s != nil {
		return path, s, nil
	}
	for i, x := range e.c.entries {
		if x.isKey && !x.deleted && x.path == path {
			return path, nil, &e.c.entries[i]
		}
	}
	return path, nil, nil
}

// info is query.ObjectInfo, whichever it is.
type info struct {
	Name                  string
	QuotaInBytes          int64
	QuotaInNamespace      int64
	UsedNamespace         int64
	UsedBytes             int64
	SnapshotUsedBytes     int64
	SnapshotUsedNamespace int64
	DataSize              int64
}

func examSummary(e *exam) {
	path, s, key := e.at()
	r := read[struct {
		Path       string
		Type       query.Type
		CountStats query.CountStats
		ObjectInfo *info
		Status     query.Status
	}](e)
	is(e, "path", r.Path, path)
	switch depth := strings.Count(path, "/"); {
	case s == nil && key == nil:
		is(e, "status", r.Status, query.StatusNotFound)
		is(e, "type", r.Type, query.TypeUnknown)
		is(e, "counts", r.CountStats, query.CountStats{NumVolume: -1, NumBucket: -1, NumDir: -1})
		return
	case key != nil:
		is(e, "type", r.Type, query.TypeKey)
		is(e, "counts", r.CountStats, query.CountStats{NumVolume: -1, NumBucket: -1, NumDir: -1})
		is(e, "size", r.ObjectInfo.DataSize, int64(key.row.Size))
	case path == "/":
		is(e, "type", r.Type, query.TypeRoot)
		is(e, "counts", r.CountStats, query.CountStats{NumVolume: int64(len(e.c.volumes)), NumBucket: int64(len(e.c.buckets)), NumDir: s.dirs, NumKey: s.files})
		is(e, "info", *r.ObjectInfo, info{Name: "/", QuotaInBytes: -1, QuotaInNamespace: -1, UsedNamespace: s.files + s.dirs})
	case depth == 1:
		v := e.c.volumes[path[1:]]
		is(e, "type", r.Type, query.TypeVolume)
		is(e, "counts", r.CountStats, query.CountStats{NumVolume: -1, NumBucket: v.buckets, NumDir: s.dirs, NumKey: s.files})
		is(e, "info", *r.ObjectInfo, info{Name: path[1:], QuotaInBytes: quota(v.row.QuotaBytes), QuotaInNamespace: quota(v.row.QuotaNames), UsedNamespace: v.names})
	case depth == 2:
		is(e, "type", r.Type, query.TypeBucket)
		is(e, "counts", r.CountStats, query.CountStats{NumVolume: -1, NumBucket: -1, NumDir: s.dirs, NumKey: s.files})
		is(e, "info", *r.ObjectInfo, e.c.bucket(path).info())
	default:
		is(e, "type", r.Type, query.TypeDirectory)
		is(e, "counts", r.CountStats, query.CountStats{NumVolume: -1, NumBucket: -1, NumDir: s.dirs, NumKey: s.files})
	}
	is(e, "status", r.Status, query.StatusOK)
}

func (c *truth) bucket(path string) *tBucket {
	for _, b := range c.buckets {
		if b.path == path {
			return b
		}
	}
	return nil
}

func (b *tBucket) info() info {
	return info{
		Name: b.path[strings.LastIndexByte(b.path, '/')+1:], QuotaInBytes: quota(b.row.QuotaBytes), QuotaInNamespace: quota(b.row.QuotaNames),
		UsedNamespace: b.names(), UsedBytes: b.used(), SnapshotUsedBytes: b.bytes["cells"], SnapshotUsedNamespace: b.counts["names"],
	}
}

func examUsage(e *exam) {
	path, s, key := e.at()
	r := read[query.UsageResponse](e)
	files, replica, top := e.values.Get("files") == "true", e.values.Get("replica") == "true", e.values.Get("sortSubPaths") != "false"
	is(e, "path", r.Path, path)
	with := func(n int64) int64 {
		if replica {
			return n
		}
		return -1
	}
	var want []query.SubPath
	count, direct := int64(0), int64(-1)
	switch depth := strings.Count(path, "/"); {
	case key != nil:
		s = &tSum{bytes: int64(key.row.Size)}
	case s == nil:
		is(e, "status", r.Status, query.StatusNotFound)
		is(e, "size", r.Size, 0)
		return
	default:
		want = e.c.in(path, files)
		count = int64(len(want))
		if depth > 1 {
			direct = s.directBytes
		}
	}
	is(e, "status", r.Status, query.StatusOK)
	is(e, "size", r.Size, s.bytes)
	is(e, "with replicas", r.SizeWithReplica, with(s.bytes))
	is(e, "count", r.SubPathCount, count)
	is(e, "direct", r.SizeDirectKey, direct)
	is(e, "last key", r.LastKey, "")
	for i, p := range want {
		want[i].SizeWithReplica = with(p.Size)
	}
	order := func(a, b query.SubPath) int { return strings.Compare(a.Path, b.Path) }
	if top {
		order = func(a, b query.SubPath) int {
			return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Path, b.Path))
		}
		slices.SortFunc(want, order)
		want = want[:min(query.Top, len(want))]
	} else {
		slices.SortFunc(want, order)
		slices.SortFunc(r.SubPaths, order)
	}
	are(e, "sub-paths", r.SubPaths, want)
}

// in lists what is directly in a path.
func (c *truth) in(path string, files bool) (out []query.SubPath) {
	at := strings.TrimSuffix(path, "/") + "/"
	for p, s := range c.below {
		if rest, ok := strings.CutPrefix(p, at); ok && rest != "" && !strings.Contains(rest, "/") {
			out = append(out, query.SubPath{Path: p, Size: s.bytes})
		}
	}
	flat := false // names in it have slashes that mean nothing
	if b := c.bucket(path); b != nil {
		flat = ns.Layout(b.row.Layout) == ns.ObjectStore
	}
	for _, e := range c.entries {
		rest, ok := strings.CutPrefix(e.path, at)
		if files && e.isKey && !e.deleted && ok && (flat || !strings.Contains(rest, "/")) {
			out = append(out, query.SubPath{Path: e.path, Size: int64(e.row.Size), IsKey: true})
		}
	}
	return out
}

func examQuota(e *exam) {
	path, s, key := e.at()
	want := query.QuotaResponse{Status: query.StatusOK}
	switch depth := strings.Count(path, "/"); {
	case s == nil && key == nil:
		want.Status = query.StatusNotFound
	case path == "/":
		for _, v := range e.c.volumes {
			want.Used += v.used
			if v.row.QuotaBytes == 0 || want.Allowed < 0 {
				want.Allowed = -1
			} else {
				want.Allowed += int64(v.row.QuotaBytes)
			}
		}
	case depth == 1:
		v := e.c.volumes[path[1:]]
		want.Allowed, want.Used = quota(v.row.QuotaBytes), v.used
	case depth == 2:
		b := e.c.bucket(path)
		want.Allowed, want.Used = quota(b.row.QuotaBytes), b.used()
	default:
		want.Status = query.StatusNotApplicable
	}
	is(e, "all of it", read[query.QuotaResponse](e), want)
}

func examDist(e *exam) {
	_, s, key := e.at()
	r := read[query.DistResponse](e)
	switch {
	case key != nil:
		is(e, "status", r.Status, query.StatusNotApplicable)
		are(e, "bins", r.Dist, nil)
	case s == nil:
		is(e, "status", r.Status, query.StatusNotFound)
		are(e, "bins", r.Dist, nil)
	default:
		is(e, "status", r.Status, query.StatusOK)
		are(e, "bins", r.Dist, s.bins[:])
	}
}

func examFileCounts(e *exam) {
	var want []query.FileCount
	for _, x := range e.c.entries {
		volume, bucket, _ := strings.Cut(x.bucket[1:], "/")
		size := int64(1024)
		for size < int64(x.row.Size) {
			size *= 2
		}
		if only := e.values.Get("fileSize"); !x.isKey || !e.within(x.bucket) || only == "1024" && size != 1024 {
			continue
		}
		same := func(f query.FileCount) bool { return f.Volume == volume && f.Bucket == bucket && f.FileSize == size }
		if i := slices.IndexFunc(want, same); i >= 0 {
			want[i].Count++
		} else {
			want = append(want, query.FileCount{Volume: volume, Bucket: bucket, FileSize: size, Count: 1})
		}
	}
	slices.SortFunc(want, func(a, b query.FileCount) int {
		return cmp.Or(strings.Compare(a.Volume, b.Volume), strings.Compare(a.Bucket, b.Bucket), cmp.Compare(a.FileSize, b.FileSize))
	})
	are(e, "counts", read[[]query.FileCount](e), want)
}

func examVolumes(e *exam) {
	r := read[struct {
		TotalCount int64
		Volumes    []info
		LastKey    string
	}](e)
	is(e, "total", r.TotalCount, int64(len(e.c.volumes)))
	is(e, "last key", r.LastKey, "")
	var want []info
	for name, v := range e.c.volumes {
		want = append(want, info{Name: name, QuotaInBytes: quota(v.row.QuotaBytes), QuotaInNamespace: quota(v.row.QuotaNames), UsedNamespace: v.names})
	}
	slices.SortFunc(want, func(a, b info) int { return strings.Compare(a.Name, b.Name) })
	are(e, "volumes", r.Volumes, want)
}

func examBuckets(e *exam) {
	r := read[struct {
		TotalCount int64
		Buckets    []struct {
			info
			VolumeName string
		}
		LastKey string
	}](e)
	type row struct {
		path string
		info
	}
	var got, want []row
	for _, b := range r.Buckets {
		got = append(got, row{"/" + b.VolumeName + "/" + b.Name, b.info})
	}
	for _, b := range e.c.buckets {
		if e.within(b.path) {
			want = append(want, row{b.path, b.info()})
		}
	}
	slices.SortFunc(want, func(a, b row) int { return strings.Compare(a.path, b.path) })
	are(e, "buckets", got, want)
	is(e, "total", r.TotalCount, int64(len(want)))
	is(e, "last key", r.LastKey, "")
}

package web_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"o3/internal/recon/query"
	"o3/internal/recon/task"
	"o3/internal/recon/web"
)

// fresh checks what answers say of themselves.
func fresh(e *exam, f query.Fresh, cursor string) {
	e.t.Helper()
	is(e, "index", f.Index, e.c.index)
	is(e, "cursor", cursor, "")
	if f.AgeMs < 0 {
		e.t.Errorf("%s: %d ms old", e.target, f.AgeMs)
	}
}

func examSnapshots(e *exam) {
	r := read[query.SnapshotsResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	var got, want []string
	for _, s := range r.Snapshots {
		got = append(got, fmt.Sprintf("/%s/%s/%s/%s %v keys %d bytes %d, alone %d %d, dirs %d", s.Volume, s.Bucket, s.Name, s.Op, s.State == "DELETED", s.UsedKeys, s.UsedBytes, s.ExclusiveNames, s.ExclusiveBytes, s.PendingDirectories))
	}
	for path, s := range e.c.snapshots {
		if e.within(path) {
			want = append(want, fmt.Sprintf("%s %v keys %d bytes %d, alone %d %d, dirs %d", path, s.deleted, s.keys, s.bytes, s.names, s.alone, e.c.buckets[s.bucket].counts["dirs"]))
		}
	}
	sorted(e, "snapshots", got, want)
}

func examSnapshotSpaces(e *exam) {
	r := read[query.SnapshotSpaceResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	var got, want []string
	for _, b := range r.Buckets {
		got = append(got, fmt.Sprintf("/%s/%s %d %d %d %d", b.Volume, b.Bucket, b.HeldBytes, b.HeldNames, b.Snapshots, b.Deleted))
	}
	for _, b := range e.c.buckets {
		if b.counts["cells"]+b.counts["snapshots"]+b.counts["reclaims"] > 0 {
			want = append(want, fmt.Sprintf("%s %d %d %d %d", b.path, b.bytes["cells"], b.counts["names"], b.counts["snapshots"], b.counts["reclaims"]))
		}
	}
	sorted(e, "buckets", got, want)
}

func examDiffs(e *exam) {
	r := read[query.DiffsResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	n := int64(0)
	for _, b := range e.c.buckets {
		if e.within(b.path) {
			n += b.counts["diffs"]
		}
	}
	is(e, "diffs", int64(len(r.Diffs)), n)
}

// sized says whether what has so many bytes is asked for.
func (e *exam) sized(bytes int64) bool {
	limit := func(name string, none int64) int64 {
		if n, err := strconv.ParseInt(e.values.Get(name), 10, 64); err == nil {
			return n
		}
		return none
	}
	return bytes >= limit("minSize", 0) && bytes <= limit("maxSize", math.MaxInt64)
}

func examLargestFiles(e *exam) {
	r := read[query.LargestFilesResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	is(e, "smallest", r.MinSize, task.LargeFile)
	var got, want []string
	for _, f := range r.Files {
		got = append(got, fmt.Sprint(f.Path, " ", f.Size))
	}
	for _, x := range e.c.entries {
		if x.isKey && !x.deleted && x.row.Size >= task.LargeFile && e.within(x.path) && e.sized(int64(x.row.Size)) {
			want = append(want, fmt.Sprint(x.path, " ", x.row.Size))
		}
	}
	if !slices.IsSortedFunc(r.Files, func(a, b query.LargestFile) int { return cmp.Compare(b.Size, a.Size) }) {
		e.t.Errorf("%s: not in order", e.target)
	}
	sorted(e, "files", got, want)
}

func examLargestDirectories(e *exam) {
	r := read[query.LargestDirectoriesResponse](e)
	fresh(e, r.Fresh, "")
	is(e, "complete", r.Complete, true)
	var want []query.LargestDirectory
	for path, s := range e.c.below {
		depth := strings.Count(path, "/")
		if depth < 2 || !e.within(path) || !e.sized(s.bytes) {
			continue
		}
		d := query.LargestDirectory{Path: path, Type: query.TypeDirectory, Size: s.bytes, Files: s.files, Directories: s.dirs}
		if depth == 2 {
			d.Type = query.TypeBucket
		}
		want = append(want, d)
	}
	slices.SortFunc(want, func(a, b query.LargestDirectory) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Path, b.Path))
	})
	if e.values.Get("limit") == "3" {
		want = want[:min(3, len(want))]
	}
	are(e, "directories", r.Directories, want)
}

func examAges(e *exam) {
	r := read[query.AgeResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	var want []query.Age
	for _, x := range e.c.entries {
		if !x.isKey || !e.within(x.bucket) {
			continue
		}
		volume, bucket, _ := strings.Cut(x.bucket[1:], "/")
		month := time.UnixMilli(x.row.ModifiedMs).UTC().Format("2006-01")
		i := slices.IndexFunc(want, func(a query.Age) bool { return a.Volume == volume && a.Bucket == bucket && a.Month == month })
		if i < 0 {
			i = len(want)
			want = append(want, query.Age{Volume: volume, Bucket: bucket, Month: month})
		}
		want[i].Files++
		want[i].Bytes += int64(x.row.Size)
	}
	slices.SortFunc(want, func(a, b query.Age) int {
		return cmp.Or(strings.Compare(a.Volume, b.Volume), strings.Compare(a.Bucket, b.Bucket), strings.Compare(a.Month, b.Month))
	})
	are(e, "ages", r.Ages, want)
}

func examSearch(e *exam) {
	r := read[query.SearchResponse](e)
	fresh(e, r.Fresh, r.Cursor)
	var got, want []string
	for _, f := range r.Entries {
		got = append(got, fmt.Sprint(f.Path, " ", f.IsKey, " ", f.Size))
	}
	looked, text := int64(0), e.values.Get("name")
	for _, x := range e.c.entries {
		if x.bucket != "" && !e.within(x.bucket) {
			continue
		}
		looked++
		name := x.path[strings.LastIndexByte(x.path, '/')+1:]
		if e.values.Get("ignoreCase") == "true" {
			name, text = strings.ToLower(name), strings.ToLower(text)
		}
		if x.deleted || !strings.Contains(name, text) {
			continue
		}
		size := int64(x.row.Size)
		if !x.isKey {
			size = e.c.below[x.path].bytes
		}
		want = append(want, fmt.Sprint(x.path, " ", x.isKey, " ", size))
	}
	sorted(e, "entries", got, want)
	is(e, "rows looked at", r.Looked, looked)
}

func examTasks(e *exam) {
	names := []string{"OmDeltaRequest", "OmSnapshotRequest"}
	for _, t := range task.All() {
		names = append(names, t.Name)
	}
	var got []string
	for _, t := range read[[]query.TaskStatus](e) {
		got = append(got, t.TaskName)
		is(e, t.TaskName+": entry", t.LastUpdatedSeqNumber, e.c.index)
		is(e, t.TaskName+": time", t.LastUpdatedTimestamp, e.c.time)
	}
	sorted(e, "tasks", got, names)
}

func examImages(e *exam) {
	r := read[web.ImagesResponse](e)
	fresh(e, r.Fresh, "")
	is(e, "images", len(r.Images), 1)
}

func examFeatures(e *exam) { are(e, "all of it", read[[]string](e), []string{"HEATMAP"}) }

func examSync(e *exam) {
	r := read[web.SyncStatus](e)
	fresh(e, r.Fresh, "")
	is(e, "reflected", r.ReflectedIndex, e.c.index)
	is(e, "op", r.Op, fmt.Sprint(e.c.op))
	is(e, "digest", r.Digest, e.c.digest)
	is(e, "time", r.Time, e.c.time)
	is(e, "lag", r.Lag, max(r.CommitIndex, e.c.index)-e.c.index)
	if r.Generation == "" {
		e.t.Errorf("%s: no generation", e.target)
	}
}

func examOpenAPI(e *exam) {
	paths, _ := read[map[string]any](e)["paths"].(map[string]any)
	described, _ := web.OpenAPI()["paths"].(map[string]any)
	is(e, "paths", len(paths), len(described))
}

func examWho(e *exam) {
	r := read[web.Who](e)
	fresh(e, r.Fresh, "")
	r.Fresh = query.Fresh{}
	is(e, "all of it", r, web.Who{User: "u", Role: "admin", MayLook: true, MayTrigger: true})
}

package web_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"o3/internal/recon/web"
)

// exam is an answer that is compared with the truth.
type exam struct {
	t      *testing.T
	c      *truth
	target string
	values url.Values // parameters
	body   []byte
}

// examined is what is asked of a path, and how an answer is compared: every number
// of it is.
type examined struct {
	targets func(c *truth) []string
	check   func(e *exam)
}

// exams are of each path of the API that is read.
var exams = map[string]examined{
	"/clusterState":                    {one("/clusterState"), examClusterState},
	"/namespace/summary":               {paths("/namespace/summary?"), examSummary},
	"/namespace/usage":                 {usages("/namespace/usage?"), examUsage},
	"/namespace/du":                    {usages("/namespace/du?"), examUsage},
	"/namespace/quota":                 {paths("/namespace/quota?"), examQuota},
	"/namespace/dist":                  {paths("/namespace/dist?"), examDist},
	"/utilization/fileCount":           {inBuckets("/utilization/fileCount?limit=-1", "/utilization/fileCount?fileSize=1024", "/utilization/fileCount?bucket=tree"), examFileCounts},
	"/pendingDeletion":                 {one("/pendingDeletion?component=om"), examPendingDeletion},
	"/volumes":                         {one("/volumes"), examVolumes},
	"/buckets":                         {inVolumes("/buckets?limit=-1"), examBuckets},
	"/containers":                      {one("/containers?limit=-1"), examContainers},
	"/containers/{id}/keys":            {ofContainers, examContainerKeys},
	"/keys/open":                       {startPrefixes("/keys/open?limit=-1", "/keys/open?includeFso=true"), examOpen},
	"/keys/open/summary":               {one("/keys/open/summary"), examOpenSummary},
	"/keys/open/mpu/summary":           {one("/keys/open/mpu/summary"), examUploads},
	"/keys/deletePending":              {startPrefixes("/keys/deletePending?limit=-1"), examDeleted},
	"/keys/deletePending/summary":      {one("/keys/deletePending/summary"), examDeletedSummary},
	"/keys/deletePending/dirs":         {one("/keys/deletePending/dirs?limit=-1"), examDeletedDirs},
	"/keys/deletePending/dirs/summary": {one("/keys/deletePending/dirs/summary"), examDeletedDirsSummary},
	"/keys/listKeys":                   {startPrefixes("", "/keys/listKeys?startPrefix=/vol/tree&keySize=100&limit=-1"), examListKeys},
	"/snapshots":                       {inBuckets("/snapshots?limit=-1"), examSnapshots},
	"/snapshots/buckets":               {one("/snapshots/buckets?limit=-1"), examSnapshotSpaces},
	"/snapshots/diffs":                 {inBuckets("/snapshots/diffs?limit=-1"), examDiffs},
	"/images":                          {one("/images"), examImages},
	"/insights/largest/files":          {inBuckets("/insights/largest/files?limit=-1", "/insights/largest/files?limit=-1&minSize=2000000&maxSize=40000000"), examLargestFiles},
	"/insights/largest/directories":    {inBuckets("/insights/largest/directories?limit=-1", "/insights/largest/directories?limit=3", "/insights/largest/directories?limit=-1&minSize=1000&maxSize=10000000"), examLargestDirectories},
	"/insights/age":                    {inBuckets("/insights/age?limit=-1"), examAges},
	"/search":                          {inBuckets("/search?limit=-1&name=1", "/search?limit=-1&name=D&ignoreCase=true"), examSearch},
	"/lifecycle":                       {inBuckets("/lifecycle?limit=-1"), examLifecycles},
	"/lifecycle/rules":                 {inBuckets("/lifecycle/rules?limit=-1"), examLifecycleRules},
	"/lifecycle/summary":               {one("/lifecycle/summary"), examLifecycleSummary},
	"/task/status":                     {one("/task/status"), examTasks},
	"/features/disabledFeatures":       {one("/features/disabledFeatures"), examFeatures},
	"/sync/status":                     {one("/sync/status"), examSync},
	"/openapi.json":                    {one("/openapi.json"), examOpenAPI},
	"/whoami":                          {one("/whoami"), examWho},
}

// triggers are the paths that are not only read.
var triggers = []string{"/triggerdbsync/om", "/triggerdbsync/om/reinit"}

// TestEveryPathIsExamined: there is no path whose answers nobody compares.
func TestEveryPathIsExamined(t *testing.T) {
	described, _ := web.OpenAPI()["paths"].(map[string]any)
	all := slices.Sorted(func(yield func(string) bool) {
		for p := range described {
			if !yield(strings.TrimPrefix(p, web.Prefix)) {
				return
			}
		}
	})
	have := slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(exams)), triggers...)))
	if !slices.Equal(all, have) {
		t.Errorf("the API has\n%q, examined are\n%q", all, have)
	}
}

// ask sends a request of an exam.
func ask(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", web.Prefix+target, nil))
	return w
}

// examine compares an answer with the truth of the index that it states, which at
// returns.
func examine(t *testing.T, path, target string, w *httptest.ResponseRecorder, at func(index uint64) *truth) {
	t.Helper()
	index, err := strconv.ParseUint(w.Header().Get("X-O3-Index"), 10, 64)
	if err != nil || w.Code != http.StatusOK && w.Code != http.StatusNoContent {
		t.Errorf("%s: %d %v %s", target, w.Code, w.Header(), w.Body)
		return
	}
	if w.Header().Get("X-O3-Last-Key") != "" {
		t.Errorf("%s: it is not all of it", target)
	}
	_, query, _ := strings.Cut(target, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Errorf("%s: %v", target, err)
	}
	e := &exam{t: t, c: at(index), target: target, values: values, body: w.Body.Bytes()}
	if e.c == nil {
		t.Errorf("%s: there was no index %d", target, index)
		return
	}
	exams[path].check(e)
}

// examineAll asks everything that there is to ask.
func (c *truth) examineAll(r *rig) {
	r.t.Helper()
	for path, x := range exams {
		for _, target := range x.targets(c) {
			examine(r.t, path, target, ask(r.h, target), func(index uint64) *truth {
				if index != c.index {
					return nil
				}
				return c
			})
		}
	}
}

// read decodes an answer; what is not known is an error. Of an answer without a
// body it is empty.
func read[T any](e *exam) (body T) {
	e.t.Helper()
	if len(e.body) > 0 {
		if err := json.Unmarshal(e.body, &body); err != nil {
			e.t.Errorf("%s: %v: %s", e.target, err, e.body)
		}
	}
	return body
}

// is compares a part of an answer.
func is[T comparable](e *exam, what string, got, want T) {
	e.t.Helper()
	if got != want {
		e.t.Errorf("%s at %d: %s: %v, want %v", e.target, e.c.index, what, got, want)
	}
}

// are compares lists.
func are[T comparable](e *exam, what string, got, want []T) {
	e.t.Helper()
	if !slices.Equal(got, want) {
		e.t.Errorf("%s at %d: %s: %d\n%v, want %d\n%v", e.target, e.c.index, what, len(got), got, len(want), want)
	}
}

// sorted compares lists whose order says nothing.
func sorted(e *exam, what string, got, want []string) {
	e.t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	are(e, what, got, want)
}

// The targets.

func one(target string) func(*truth) []string {
	return func(*truth) []string { return []string{target} }
}

// paths asks of everything that can be reached, of three keys, and of nothing.
func paths(target string) func(*truth) []string {
	return func(c *truth) (all []string) {
		for path := range c.below {
			all = append(all, target+"path="+escape(path))
		}
		left := 3
		for _, e := range c.entries {
			if e.isKey && !e.deleted && left > 0 {
				left--
				all = append(all, target+"path="+escape(e.path))
			}
		}
		return append(all, target+"path=/vol/tree/none", target+"path=/none")
	}
}

func usages(target string) func(*truth) []string {
	return func(c *truth) (all []string) {
		for _, more := range []string{"", "&files=true&replica=true", "&sortSubPaths=false&limit=-1", "&files=true&sortSubPaths=false&limit=-1&replica=true"} {
			for _, t := range paths(target)(c) {
				all = append(all, t+more)
			}
		}
		return all
	}
}

func inVolumes(target string) func(*truth) []string {
	return func(c *truth) []string {
		all := []string{target}
		for v := range c.volumes {
			all = append(all, target+"&volume="+escape(v))
		}
		return all
	}
}

// inBuckets asks of all, of each volume and of each bucket; then more.
func inBuckets(target string, more ...string) func(*truth) []string {
	return func(c *truth) []string {
		all := inVolumes(target)(c)
		for _, b := range c.buckets {
			volume, bucket, _ := strings.Cut(b.path[1:], "/")
			all = append(all, target+"&volume="+escape(volume)+"&bucket="+escape(bucket))
		}
		return append(all, more...)
	}
}

// startPrefixes asks of all, of each bucket and of a directory of it; without a
// target keys are listed, which takes a bucket.
func startPrefixes(target string, more ...string) func(*truth) []string {
	return func(c *truth) (all []string) {
		start := target
		if target == "" {
			start = "/keys/listKeys?limit=-1"
		} else {
			all = append(all, target)
		}
		for _, b := range c.buckets {
			all = append(all, start+"&startPrefix="+escape(b.path))
			if !strings.Contains(target, "deletePending") {
				all = append(all, start+"&startPrefix="+escape(b.path+"/d1/"))
			}
		}
		return append(all, more...)
	}
}

func ofContainers(c *truth) []string {
	all := []string{"/containers/999999/keys"}
	for id := range c.containers {
		all = append(all, "/containers/"+strconv.FormatUint(id, 10)+"/keys?limit=-1")
	}
	return all
}

// bucket returns the bucket that an exam is about, nil for all.
func (e *exam) bucket() *tBucket {
	path := "/" + e.values.Get("volume") + "/" + e.values.Get("bucket")
	if p := e.values.Get("startPrefix"); p != "" {
		path = strings.Join(strings.SplitN(p, "/", 4)[:3], "/")
	}
	for _, b := range e.c.buckets {
		if b.path == path {
			return b
		}
	}
	return nil
}

// within reports whether a path is of the volume and bucket that an exam is about.
func (e *exam) within(path string) bool {
	parts := strings.SplitN(path, "/", 4)
	v, b := e.values.Get("volume"), e.values.Get("bucket")
	return (v == "" || parts[1] == v) && (b == "" || parts[2] == b)
}

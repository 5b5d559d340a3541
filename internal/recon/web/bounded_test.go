package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/view"
)

// counter counts what is read of a look.
type counter struct{ rows int }

// over returns a look whose reads are counted.
func (c *counter) over(v *generation.View) *generation.View {
	v.Rows, v.Derived, v.SQL = countedReader{v.Rows, c}, countedReader{v.Derived, c}, countedSQL{v.SQL, c}
	v.View = view.New(v.Rows)
	return v
}

type countedReader struct {
	kv.Reader
	c *counter
}

func (r countedReader) Get(key []byte) ([]byte, bool, error) {
	r.c.rows++
	return r.Reader.Get(key)
}

func (r countedReader) Iter(lower, upper []byte) (kv.Iterator, error) {
	it, err := r.Reader.Iter(lower, upper)
	return countedIter{it, r.c}, err
}

type countedIter struct {
	kv.Iterator
	c *counter
}

func (i countedIter) First() bool          { i.c.rows++; return i.Iterator.First() }
func (i countedIter) Last() bool           { i.c.rows++; return i.Iterator.Last() }
func (i countedIter) SeekGE(k []byte) bool { i.c.rows++; return i.Iterator.SeekGE(k) }
func (i countedIter) SeekLT(k []byte) bool { i.c.rows++; return i.Iterator.SeekLT(k) }
func (i countedIter) Next() bool           { i.c.rows++; return i.Iterator.Next() }
func (i countedIter) Prev() bool           { i.c.rows++; return i.Iterator.Prev() }

type countedSQL struct {
	generation.SQLView
	c *counter
}

func (s countedSQL) FileCounts(of sqltables.Counts, f func(sqltables.FileCount) error) error {
	if of.Buckets == nil {
		s.c.rows += 1 << 20 // of all: never
	}
	s.c.rows += len(of.Buckets)
	return s.SQLView.FileCounts(of, func(c sqltables.FileCount) error { s.c.rows++; return f(c) })
}

func (s countedSQL) Bucket(id ns.ObjectID) (sqltables.BucketName, bool, error) {
	s.c.rows++
	return s.SQLView.Bucket(id)
}

func (s countedSQL) Buckets(from ns.ObjectID, f func(sqltables.BucketName) (bool, error)) error {
	return s.SQLView.Buckets(from, func(b sqltables.BucketName) (bool, error) { s.c.rows++; return f(b) })
}

// many gives the namespace much of everything.
func (r *rig) many(buckets, keys, others int) {
	r.t.Helper()
	for i := range buckets {
		r.do(fmt.Sprintf("bucket vol/b%d OBS", i))
		r.do(fmt.Sprintf("put vol/b%d/k size=%d", i, 1<<(i%20)))
		r.do(fmt.Sprintf("rules vol/b%d n=3 on=1", i))
		r.do(fmt.Sprintf("scan vol/b%d", i))
		r.do(fmt.Sprintf("step vol/b%d slow n=1", i))
		r.do(fmt.Sprintf("volume v%d", i))
	}
	for i := range keys {
		r.do(fmt.Sprintf("put vol/tree/full/k%d size=5 container=7", i))
		r.do(fmt.Sprintf("put vol/flat/d/k%d size=5 container=7", i))
	}
	for i := range others {
		r.do(fmt.Sprintf("put vol/tree/wide/d%d/k size=%d container=%d", i, 2<<20+i, 10+i))
		r.do(fmt.Sprintf("put vol/tree/wide/d%d/k size=1", i))
		r.do(fmt.Sprintf("put vol/flat/large%d size=%d", i, 2<<20+i))
		r.do(fmt.Sprintf("put vol/tree/gone%d/k size=1", i))
		r.do(fmt.Sprintf("delete vol/tree/gone%d/", i))
		r.do(fmt.Sprintf("open vol/tree/o%d", i))
		r.do(fmt.Sprintf("upload vol/flat/u%d size=1", i))
		r.do(fmt.Sprintf("snapshot two/tree/s%d", i))
		r.do(fmt.Sprintf("put two/tree/k size=%d", 1+i))
	}
	for i := range others {
		r.do(fmt.Sprintf("diff two/tree/s%d", i))
		if i%2 == 1 {
			r.do(fmt.Sprintf("unsnapshot two/tree/s%d", i))
		}
	}
	r.catchUp()
}

// TestBounded: a request reads no more rows when there is more of everything, but
// for the sums over all buckets, which read a row or two of each, and the number
// of containers, which is counted.
func TestBounded(t *testing.T) {
	const rows, limit = 60, 10
	r := newRig(t)
	r.o.Rows, r.o.Images = rows, images
	r.serve()
	r.begin()
	perBucket := map[string]bool{
		"/namespace/summary?path=/": true, "/namespace/summary?path=/vol": true, "/namespace/dist?path=/": true, "/namespace/quota?path=/": true,
		"/namespace/usage?path=/": true, "/namespace/usage?path=/vol": true, "/namespace/du?path=/vol": true, "/pendingDeletion?component=om": true,
		"/insights/largest/directories?limit=10": true, "/insights/largest/directories?limit=10&volume=vol": true,
	}
	perContainer := map[string]bool{"/clusterState": true, "/containers?limit=10": true}
	targets := map[string][]string{
		"/namespace/summary":            {"/namespace/summary?path=/", "/namespace/summary?path=/vol", "/namespace/summary?path=/vol/tree", "/namespace/summary?path=/vol/tree/full/k1"},
		"/namespace/usage":              {"/namespace/usage?path=/", "/namespace/usage?path=/vol", "/namespace/usage?path=/vol/tree/full&files=true", "/namespace/usage?path=/vol/flat&files=true&sortSubPaths=false&limit=10", "/namespace/usage?path=/vol/tree/wide"},
		"/namespace/du":                 {"/namespace/du?path=/vol", "/namespace/du?path=/vol/tree/wide&files=true"},
		"/namespace/quota":              {"/namespace/quota?path=/", "/namespace/quota?path=/vol/tree"},
		"/namespace/dist":               {"/namespace/dist?path=/", "/namespace/dist?path=/vol/flat"},
		"/utilization/fileCount":        {"/utilization/fileCount?limit=10", "/utilization/fileCount", "/utilization/fileCount?fileSize=1125899906842624", "/utilization/fileCount?volume=vol&bucket=flat", "/utilization/fileCount?bucket=tree", "/utilization/fileCount?limit=10&prevKey=/vol/b20/1024"},
		"/buckets":                      {"/buckets?limit=10", "/buckets?limit=10&volume=vol", "/buckets?limit=10&prevKey=/vol/b20"},
		"/volumes":                      {"/volumes?limit=10", "/volumes?limit=10&prevKey=v20"},
		"/containers":                   {"/containers?limit=10"},
		"/containers/{id}/keys":         {"/containers/7/keys?limit=10", "/containers/7/keys?limit=-1"},
		"/keys/open":                    {"/keys/open?limit=10", "/keys/open?startPrefix=/vol/tree&includeNonFso=true"},
		"/keys/deletePending":           {"/keys/deletePending?limit=10", "/keys/deletePending?startPrefix=/two/flat"},
		"/keys/deletePending/dirs":      {"/keys/deletePending/dirs?limit=10"},
		"/keys/listKeys":                {"/keys/listKeys?startPrefix=/vol/flat&limit=10", "/keys/listKeys?startPrefix=/vol/flat&keySize=1000000000", "/keys/listKeys?startPrefix=/vol/tree/full&replicationType=EC", "/keys/listKeys?startPrefix=/vol/tree&keySize=1000000000"},
		"/snapshots":                    {"/snapshots?limit=10", "/snapshots?volume=vol"},
		"/snapshots/buckets":            {"/snapshots/buckets?limit=10"},
		"/snapshots/diffs":              {"/snapshots/diffs?limit=10", "/snapshots/diffs?volume=vol"},
		"/insights/largest/files":       {"/insights/largest/files?limit=10", "/insights/largest/files?volume=two"},
		"/insights/largest/directories": {"/insights/largest/directories?limit=10", "/insights/largest/directories?limit=10&volume=vol", "/insights/largest/directories?volume=vol&bucket=tree"},
		"/insights/age":                 {"/insights/age?limit=10", "/insights/age", "/insights/age?volume=vol&limit=10", "/insights/age?volume=vol&bucket=flat"},
		"/lifecycle":                    {"/lifecycle?limit=10", "/lifecycle?volume=two", "/lifecycle?volume=vol&bucket=b20"},
		"/lifecycle/rules":              {"/lifecycle/rules?limit=10", "/lifecycle/rules?volume=two", "/lifecycle/rules?volume=vol&bucket=b20"},
		"/search":                       {"/search?name=k1&limit=10", "/search?name=none", "/search?name=none&volume=two", "/search?name=none&volume=vol", "/search?name=none&volume=vol&bucket=flat"},
	}
	measure := func() map[string]int {
		got := map[string]int{}
		for path, x := range exams {
			list := targets[path]
			if list == nil {
				list = x.targets(&truth{})
			}
			for _, target := range list {
				r.reads = &counter{}
				w := r.ask("GET", "/api/v1"+target)
				if w.Code != http.StatusOK && w.Code != http.StatusNoContent {
					t.Errorf("%s: %d %s", target, w.Code, w.Body)
				}
				got[target] = r.reads.rows
			}
		}
		r.reads = nil
		return got
	}
	r.many(100, 200, 80)
	few := measure()
	r.many(300, 1000, 200)
	for target, n := range measure() {
		bound := few[target] + few[target]/10 + 10 // the paths to what is found may differ
		switch {
		case perBucket[target]:
			bound += 2 * (200 + 200) // buckets and volumes, a row and a sum of each
		case perContainer[target]:
			bound += 120
		}
		if n > bound {
			t.Errorf("%s reads %d rows, and %d when there is less of everything", target, n, few[target])
		}
		if most := 8 * (rows + limit); n > most && !perBucket[target] && !perContainer[target] && !strings.Contains(target, "fileCount") {
			t.Errorf("%s reads %d rows", target, n)
		}
	}
}

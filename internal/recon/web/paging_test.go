package web_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"o3/internal/recon/web"
)

// lists are the endpoints with pages: where the rows of an answer are, and which
// field is the cursor's, given as which parameter; ":header" for a bare list.
var lists = []struct {
	target         string
	rows           []string
	cursor, param  string
	atLeast        int
	mayExceedLimit bool
}{
	{target: "/volumes?", rows: []string{"volumes"}, cursor: "lastKey", param: "prevKey", atLeast: 3},
	{target: "/buckets?", rows: []string{"buckets"}, cursor: "lastKey", param: "prevKey", atLeast: 5},
	{target: "/buckets?volume=two", rows: []string{"buckets"}, cursor: "lastKey", param: "prevKey", atLeast: 3},
	{target: "/containers?", rows: []string{"containers"}, cursor: "prevKey", param: "prevKey", atLeast: 4},
	{target: "/containers/2/keys?", rows: []string{"keys"}, cursor: "lastKey", param: "prevKey", atLeast: 5},
	{target: "/keys/open?", rows: []string{"fso", "nonFSO"}, cursor: "lastKey", param: "prevKey", atLeast: 5},
	{target: "/keys/open?startPrefix=/vol/tree&includeFso=true", rows: []string{"fso"}, cursor: "lastKey", param: "prevKey", atLeast: 2},
	{target: "/keys/deletePending?", rows: []string{"deletedKeyInfo"}, cursor: "lastKey", param: "prevKey", atLeast: 5},
	{target: "/keys/deletePending?startPrefix=/two/flat", rows: []string{"deletedKeyInfo"}, cursor: "lastKey", param: "prevKey", atLeast: 2},
	{target: "/keys/deletePending/dirs?", rows: []string{"deletedDirInfo"}, cursor: "lastKey", param: "prevKey", atLeast: 2},
	{target: "/keys/listKeys?startPrefix=/vol/tree", rows: []string{"keys"}, cursor: "lastKey", param: "prevKey", atLeast: 5},
	{target: "/keys/listKeys?startPrefix=/vol/flat/d&keySize=1000", rows: []string{"keys"}, cursor: "lastKey", param: "prevKey", atLeast: 5},
	{target: "/namespace/usage?path=/vol/tree&sortSubPaths=false&files=true", rows: []string{"subPaths"}, cursor: "lastKey", param: "prevKey", atLeast: 3},
	{target: "/namespace/usage?path=/vol/tree&sortSubPaths=false", rows: []string{"subPaths"}, cursor: "lastKey", param: "prevKey", atLeast: 2},
	{target: "/namespace/usage?path=/&sortSubPaths=false", rows: []string{"subPaths"}, cursor: "lastKey", param: "prevKey", atLeast: 3},
	{target: "/namespace/usage?path=/two&sortSubPaths=false", rows: []string{"subPaths"}, cursor: "lastKey", param: "prevKey", atLeast: 3},
	{target: "/utilization/fileCount?", cursor: ":header", param: "prevKey", atLeast: 5},
	{target: "/snapshots?", rows: []string{"snapshots"}, cursor: "cursor", param: "cursor", atLeast: 4},
	{target: "/snapshots?volume=two", rows: []string{"snapshots"}, cursor: "cursor", param: "cursor", atLeast: 1},
	{target: "/snapshots?volume=vol&bucket=tree", rows: []string{"snapshots"}, cursor: "cursor", param: "cursor", atLeast: 1},
	{target: "/snapshots/buckets?", rows: []string{"buckets"}, cursor: "cursor", param: "cursor", atLeast: 2},
	{target: "/snapshots/diffs?", rows: []string{"diffs"}, cursor: "cursor", param: "cursor", atLeast: 3},
	{target: "/snapshots/diffs?volume=vol", rows: []string{"diffs"}, cursor: "cursor", param: "cursor", atLeast: 3},
	{target: "/insights/largest/files?", rows: []string{"files"}, cursor: "cursor", param: "cursor", atLeast: 3},
	{target: "/insights/largest/files?volume=vol", rows: []string{"files"}, cursor: "cursor", param: "cursor", atLeast: 2},
	{target: "/insights/age?", rows: []string{"ages"}, cursor: "cursor", param: "cursor", atLeast: 5, mayExceedLimit: true},
	{target: "/insights/age?volume=two", rows: []string{"ages"}, cursor: "cursor", param: "cursor", atLeast: 2, mayExceedLimit: true},
	{target: "/lifecycle?", rows: []string{"buckets"}, cursor: "cursor", param: "cursor", atLeast: 5},
	{target: "/lifecycle?volume=two", rows: []string{"buckets"}, cursor: "cursor", param: "cursor", atLeast: 2},
	{target: "/lifecycle/rules?", rows: []string{"rules"}, cursor: "cursor", param: "cursor", atLeast: 15},
	{target: "/lifecycle/rules?volume=two", rows: []string{"rules"}, cursor: "cursor", param: "cursor", atLeast: 6},
	{target: "/lifecycle/rules?volume=vol&bucket=tree", rows: []string{"rules"}, cursor: "cursor", param: "cursor", atLeast: 5},
	{target: "/search?name=1", rows: []string{"entries"}, cursor: "cursor", param: "cursor", atLeast: 10},
	{target: "/search?name=1&volume=two", rows: []string{"entries"}, cursor: "cursor", param: "cursor", atLeast: 5},
	{target: "/search?name=D&ignoreCase=true&volume=vol&bucket=tree", rows: []string{"entries"}, cursor: "cursor", param: "cursor", atLeast: 2},
}

// TestPaging: pages of every list, however small and however early they end, hold
// everything exactly once, in the same order as one page with all.
func TestPaging(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	r := newRig(t)
	r.begin()
	r.work(rng, 700)
	for i := range 3 {
		for _, b := range []string{"vol/tree", "two/flat", "vol/flat"} {
			r.do(fmt.Sprintf("put %s/big%d size=%d", b, i, 2<<20+i/2))
			r.do(fmt.Sprintf("put %s/gone%d/k%d size=5", b, i, i))
			r.do(fmt.Sprintf("snapshot %s/t%d", b, i))
			r.do(fmt.Sprintf("delete %s/gone%d/", b, i))
		}
		r.do(fmt.Sprintf("diff vol/tree/t%d", i))
	}
	for i := range 8 {
		r.do(fmt.Sprintf("put vol/flat/d9/late%d size=2000", i))
	}
	r.do("resume all")
	for i, b := range []string{"vol/tree", "vol/flat", "two/tree", "two/flat", "two/empty"} {
		r.do("resume " + b)
		r.do(fmt.Sprintf("rules %s n=%d", b, 3+i))
		r.do("scan " + b)
		r.do("step " + b + " n=4")
	}
	r.do("rules vol/tree n=2") // what was done by the rules before is kept
	r.do("unsnapshot two/flat/t1")
	r.do("volume last")
	r.catchUp()
	for _, l := range lists {
		t.Run(l.target, func(t *testing.T) {
			r.t = t
			r.o.Rows = 0
			r.serve()
			whole, _ := pages(r, l.target, -1, l.rows, l.cursor, l.param, true)
			if len(whole) < l.atLeast {
				t.Fatalf("%d rows, which tells nothing", len(whole))
			}
			for _, c := range []struct{ limit, rows int }{{1, 0}, {2, 0}, {3, 0}, {10000, 1}, {10000, 2}, {10000, 7}, {2, 3}} {
				r.o.Rows = c.rows
				r.serve()
				got, most := pages(r, l.target, c.limit, l.rows, l.cursor, l.param, false)
				if !slices.Equal(got, whole) {
					t.Errorf("%+v: %d rows of %d:\n%s\n\n%s", c, len(got), len(whole), strings.Join(got, "\n"), strings.Join(whole, "\n"))
				}
				if most > c.limit && !l.mayExceedLimit {
					t.Errorf("%+v: a page of %d rows", c, most)
				}
			}
		})
	}
}

// pages reads all pages of a list, and returns its rows and the length of the
// longest page. The lists of an answer that has two come one after the other.
func pages(r *rig, target string, limit int, fields []string, cursor, param string, one bool) (rows []string, most int) {
	r.t.Helper()
	parts := make([][]string, max(len(fields), 1))
	after := ""
	for n := 0; ; n++ {
		if n > 5000 {
			r.t.Fatal("there is no end")
		}
		q := fmt.Sprintf("%s&limit=%d", target, limit)
		if after != "" {
			q += "&" + param + "=" + after
		}
		w := r.ask("GET", "/api/v1"+q)
		if w.Code == http.StatusNoContent && n > 0 {
			return slices.Concat(parts...), most
		}
		if w.Code != http.StatusOK {
			r.t.Fatalf("%s: %d %s", q, w.Code, w.Body)
		}
		length := 0
		after = ""
		if cursor == ":header" {
			var list []json.RawMessage
			decode(r, w, &list)
			for _, row := range list {
				parts[0] = append(parts[0], string(row))
			}
			length, after = len(list), w.Header().Get("X-O3-Last-Key")
		} else {
			body := map[string]any{}
			decode(r, w, &body)
			at := body
			if d, ok := body["data"].(map[string]any); ok {
				at = d
			}
			for i, f := range fields {
				for _, row := range at[f].([]any) {
					raw, err := json.Marshal(row)
					if err != nil {
						r.t.Fatal(err)
					}
					parts[i] = append(parts[i], string(raw))
					length++
				}
			}
			switch c := at[cursor].(type) {
			case string:
				after = escape(c)
			case float64:
				if c > 0 {
					after = fmt.Sprint(c)
				}
			}
		}
		if most = max(most, length); after == "" {
			return slices.Concat(parts...), most
		}
		if one {
			r.t.Fatalf("%s does not fit a page", q)
		}
	}
}

func decode(r *rig, w *httptest.ResponseRecorder, to any) {
	r.t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), to); err != nil {
		r.t.Fatalf("%v: %s", err, w.Body)
	}
}

// TestWire: what a client on a connection gets: compression if it is asked for,
// no body for HEAD, and what the listener hears.
func TestWire(t *testing.T) {
	r := newRig(t)
	r.begin()
	for i := range 50 {
		r.do(fmt.Sprintf("put vol/flat/key%d size=%d", i, i))
	}
	r.catchUp()
	var heard []string
	r.o.Listener = web.Listener{Served: func(route string, status int, _ time.Duration) {
		heard = append(heard, fmt.Sprint(route, " ", status))
	}}
	r.serve()
	srv := httptest.NewServer(r.h)
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	fetch := func(method, target, encoding string) (*http.Response, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/api/v1"+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if encoding != "" {
			req.Header.Set("Accept-Encoding", encoding)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, body
	}
	const list = "/keys/listKeys?startPrefix=/vol/flat"
	_, plain := fetch("GET", list, "")
	resp, packed := fetch("GET", list, "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" || len(packed)*2 > len(plain) {
		t.Errorf("%d bytes of %d, %v", len(packed), len(plain), resp.Header)
	}
	z, err := gzip.NewReader(strings.NewReader(string(packed)))
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := io.ReadAll(z); err != nil || string(unpacked) != string(plain) {
		t.Errorf("it unpacks to something else (%v)", err)
	}
	if resp, body := fetch("HEAD", list, ""); resp.StatusCode != http.StatusOK || len(body) > 0 || resp.Header.Get("X-O3-Index") == "" {
		t.Errorf("%v %q", resp, body)
	}
	fetch("GET", "/containers/7/keys", "")
	fetch("GET", "/containers/x/keys", "")
	fetch("GET", "/nowhere", "")
	want := []string{
		"GET /api/v1/keys/listKeys 200", "GET /api/v1/keys/listKeys 200", "GET /api/v1/keys/listKeys 200",
		"GET /api/v1/containers/{id}/keys 200", "GET /api/v1/containers/{id}/keys 400", " 404",
	}
	if !slices.Equal(heard, want) {
		t.Errorf("%q", heard)
	}
}

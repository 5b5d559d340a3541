package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/recon/query"
	"o3/internal/recon/web"
)

// names are such as people give, and such as they should not.
var names = []string{
	"a b", "100%", "%2F", "%2f%2e", "ünï/cødé", "日本/語", "\"q\"", "a&b=c", "plus+", "#frag?x=1", "-", "…", "a\tb", "emoji/🙂", "=1+1", "é", "e\u0301", "<b>", "\\back",
}

// TestNames: whatever is in a name, it is listed, found, counted, described and
// paged over as it is.
func TestNames(t *testing.T) {
	r := newRig(t)
	r.begin()
	for _, b := range []string{"flat", "tree"} {
		for i, name := range names {
			r.d.Must(t, &o3v1.CommitKeyRequest{
				Volume: "vol", Bucket: b, Key: name, Size: uint64(i) + 1, Etag: "e", DeadlineMs: r.d.Now + 60_000,
				Extents: []*o3v1.Extent{{Container: 3, Local: uint64(i) + 1, Length: int64(i) + 1}},
			})
		}
	}
	r.catchUp()
	for _, b := range []string{"/vol/flat", "/vol/tree"} {
		var all []query.BasicKey
		for after := ""; ; {
			page := get[query.ListKeysResponse](r, "/keys/listKeys?limit=1&startPrefix="+b+"&prevKey="+escape(after))
			all = append(all, page.Keys...)
			if after = page.LastKey; after == "" {
				break
			}
		}
		if len(all) != len(names) {
			t.Errorf("%s: %d keys of %d: %v", b, len(all), len(names), all)
		}
		for _, k := range all {
			info := get[struct {
				Type       query.Type
				Path       string
				ObjectInfo struct{ DataSize int64 }
			}](r, "/namespace/summary?path="+escape(k.Path))
			if info.Type != query.TypeKey || info.Path != k.Path || info.ObjectInfo.DataSize != k.Size {
				t.Errorf("%s: %+v", k.Path, info)
			}
			last := k.Path[strings.LastIndexByte(k.Path, '/')+1:]
			found := get[query.SearchResponse](r, "/search?volume=vol&bucket="+b[5:]+"&name="+escape(last)).Entries
			if !slices.ContainsFunc(found, func(f query.Found) bool { return f.Path == k.Path && f.Size == k.Size }) {
				t.Errorf("%s is not found: %v", k.Path, found)
			}
		}
	}
	var keys []string
	for after := ""; ; {
		page := get[query.KeysResponse](r, "/containers/3/keys?limit=1&prevKey="+escape(after))
		for _, k := range page.Keys {
			keys = append(keys, k.CompletePath)
		}
		if after = page.LastKey; after == "" {
			break
		}
	}
	if slices.Sort(keys); len(slices.Compact(keys)) != 2*len(names) {
		t.Errorf("%d keys in the container: %q", len(keys), keys)
	}
}

// TestNonsense: what makes no sense is answered with what is wrong and what is
// allowed, or that there is no such thing; never with an error of ours.
func TestNonsense(t *testing.T) {
	r := newRig(t)
	r.begin()
	r.do("put vol/tree/d/k size=1")
	r.catchUp()
	ask := func(target string) (int, web.Error) {
		t.Helper()
		w := r.ask("GET", "/api/v1"+target)
		var e web.Error
		if w.Code >= 400 {
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Status != w.Code || e.Kind == "" || e.Subject == "" {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
		if w.Code >= 500 {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
		return w.Code, e
	}
	// Cursors that no page ended with.
	for _, l := range lists {
		sep := "&"
		if strings.HasSuffix(l.target, "?") {
			sep = ""
		}
		for _, bad := range []string{"nonsense", "/", "//", "/-1/2/x", "/1", "1.5", "/99999999999999999999/1/2/x", "\x00", "\xff\xfe", "/a/b/c/d/e", "日本"} {
			target := l.target + sep + l.param + "=" + url.QueryEscape(bad)
			if bad == "/1" && (strings.HasPrefix(target, "/snapshots/buckets") || strings.HasPrefix(target, "/lifecycle?")) {
				continue // it is one
			}
			code, e := ask(target)
			if byName := strings.HasPrefix(l.target, "/volumes") || strings.Contains(l.target, "volume=two") && strings.HasPrefix(l.target, "/buckets") || strings.Contains(l.target, "files=true") || strings.HasPrefix(l.target, "/namespace/usage?path=/"); byName && code == http.StatusOK {
				continue // any name is a place to go on from
			}
			if code != http.StatusBadRequest || !strings.Contains(e.Subject, l.param) || e.Detail == "" {
				t.Errorf("%s: %d %+v", target, code, e)
			}
		}
	}
	// Places that there are not.
	for _, path := range []string{"/none", "/none/b", "/vol/none", "/vol/none/k", "/vol/tree/none", "/vol/tree/d/none", "/vol/tree/d/k/none", "//", "//tree", "/vol//k", "/%2Fvol", "/VOL", "/vol/tree/../flat", "/vol/tree/\x00", "/vol/tree/\xff", "/日本", "/vol/tree/" + strings.Repeat("x/", 1500), "/vol/tree/.snapshot/none/k"} {
		for _, at := range []string{"summary", "usage", "quota", "dist"} {
			w := r.ask("GET", "/api/v1/namespace/"+at+"?path="+url.QueryEscape(path))
			var body struct{ Status query.Status }
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusOK || body.Status != query.StatusNotFound {
				t.Errorf("%s of %q: %d %s", at, path, w.Code, w.Body)
			}
		}
	}
	for _, path := range []string{"vol", "vol/tree", "%2Fvol", ".", "\\vol"} {
		for _, at := range []string{"summary", "usage", "quota", "dist"} {
			if code, e := ask("/namespace/" + at + "?path=" + url.QueryEscape(path)); code != http.StatusBadRequest || !strings.Contains(e.Subject, "path") || !strings.Contains(e.Detail, "/") {
				t.Errorf("%s of %q: %d %+v", at, path, code, e)
			}
		}
	}
	for target, want := range map[string]int{
		"/buckets?volume=none": 404, "/snapshots?volume=none": 404, "/snapshots?volume=vol&bucket=none": 404, "/snapshots?bucket=tree": 400,
		"/utilization/fileCount?volume=none": 404, "/utilization/fileCount?volume=vol&bucket=none": 404, "/utilization/fileCount?bucket=none": 200,
		"/insights/age?volume=none": 404, "/insights/largest/files?volume=vol&bucket=none": 404, "/search?name=x&volume=none": 404,
		"/keys/listKeys?startPrefix=/vol": 400, "/keys/listKeys?startPrefix=vol/tree": 400, "/keys/listKeys?startPrefix=/vol/none": 404, "/keys/open?startPrefix=//": 400,
		"/keys/deletePending?startPrefix=/none/b": 404, "/containers/0/keys": 400, "/containers/x%2Fy/keys": 400, "/containers/-1/keys": 400,
		"/containers/18446744073709551615/keys": 400, "/containers/77/keys": 200, "/pendingDeletion": 400, "/pendingDeletion?component=scm": 400,
		"/keys/listKeys?startPrefix=/vol/tree&keySize=-1": 400, "/volumes?limit=-2": 400, "/volumes?limit=0": 400, "/volumes?limit=10001": 400, "/volumes?limit=1e3": 400, "/volumes?limit=%201": 400,
		"/nowhere": 404, "/": 404, "/volumes/": 404, "/Volumes": 404, "/volumes%2F": 404, "/containers//keys": 404, "/containers/1/keys/": 404, "/../api/v1/volumes": 404, "/volumes;x=1": 404,
	} {
		code, e := ask(target)
		if code != want && !(want == 404 && code/100 == 3) {
			t.Errorf("%s: %d %+v, want %d", target, code, e, want)
		}
		if code == http.StatusBadRequest && e.Detail == "" {
			t.Errorf("%s: %+v does not say what is allowed", target, e)
		}
	}
}

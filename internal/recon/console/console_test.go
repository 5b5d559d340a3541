package console_test

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"o3/internal/recon/console"
)

// get asks a server that has the console, and an API beside it.
func get(t *testing.T, method, target string, header ...string) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	console.Mount(mux)
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sources returns the files as they are in the tree.
func sources(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	tree := os.DirFS("static")
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 5 {
		t.Fatalf("only %d files", len(files))
	}
	return files
}

// TestFiles: every file is served as it is, with what a browser needs to trust
// it, and again only when it changed.
func TestFiles(t *testing.T) {
	types := map[string]string{
		".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	}
	tags := map[string]string{}
	for name, text := range sources(t) {
		r := get(t, "GET", console.Prefix+name)
		if got := body(t, r); r.StatusCode != 200 || string(got) != text {
			t.Errorf("%s: status %d, %d bytes, want %d", name, r.StatusCode, len(got), len(text))
		}
		for key, want := range map[string]string{
			"Content-Type": types[path.Ext(name)], "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer",
		} {
			if got := r.Header.Get(key); got != want || want == "" {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
		if p := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'self';") || strings.Contains(p, "unsafe") || !strings.Contains(p, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", name, p)
		}
		tag := r.Header.Get("ETag")
		if len(tag) < 20 || tags[tag] != "" {
			t.Errorf("%s: tag %q, that of %q", name, tag, tags[tag])
		}
		tags[tag] = name
		if r := get(t, "GET", console.Prefix+name, "If-None-Match", tag); r.StatusCode != http.StatusNotModified || len(body(t, r)) != 0 {
			t.Errorf("%s: status %d when it is known already", name, r.StatusCode)
		}
		if r := get(t, "GET", console.Prefix+name, "If-None-Match", `"another"`); r.StatusCode != 200 {
			t.Errorf("%s: status %d when another is known", name, r.StatusCode)
		}
		if r := get(t, "HEAD", console.Prefix+name); r.StatusCode != 200 || len(body(t, r)) != 0 || r.Header.Get("ETag") != tag {
			t.Errorf("%s: HEAD: status %d", name, r.StatusCode)
		}
	}
}

// TestPlaces: the root leads to the page, what is not there is not found, nothing
// is written, and all else is left to others.
func TestPlaces(t *testing.T) {
	index := sources(t)["index.html"]
	if r := get(t, "GET", console.Prefix); r.StatusCode != 200 || string(body(t, r)) != index {
		t.Errorf("%s: status %d", console.Prefix, r.StatusCode)
	}
	for _, c := range []struct {
		method, target string
		status         int
		location       string
	}{
		{"GET", "/", 302, console.Prefix},
		{"GET", strings.TrimSuffix(console.Prefix, "/"), 307, console.Prefix},
		{"POST", "/", 405, ""},
		{"POST", console.Prefix, 405, ""},
		{"DELETE", console.Prefix + "app.js", 405, ""},
		{"GET", console.Prefix + "none.js", 404, ""},
		{"GET", console.Prefix + "static/app.js", 404, ""},
		{"GET", console.Prefix + "%2e%2e/console.go", 404, ""},
		{"GET", "/api/v1/clusterState", http.StatusTeapot, ""},
		{"GET", "/favicon.ico", http.StatusTeapot, ""},
	} {
		r := get(t, c.method, c.target)
		if r.StatusCode != c.status || r.Header.Get("Location") != c.location {
			t.Errorf("%s %s: status %d, location %q, want %d, %q", c.method, c.target, r.StatusCode, r.Header.Get("Location"), c.status, c.location)
		}
		if c.status < http.StatusTeapot && c.status != 307 && r.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s %s: no policy", c.method, c.target)
		}
	}
}

var (
	referred = regexp.MustCompile(`(?:src|href)="([^"#]+)"|\bfrom "([^"]+)"|\bimport "([^"]+)"|url\(["']?([^"')]+)|new URL\("([^"]+)"`)
	scheme   = regexp.MustCompile(`(?i)\b(?:https?|wss?|data|blob|javascript):|["'(]//`)
	inline   = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+="|<script(?:\s+type="module")?\s*>|\beval\(|innerHTML|insertAdjacentHTML|document\.write`)
)

// TestReferences: every file that a file names is there, every file is named,
// and none names anything elsewhere or what the policy forbids.
func TestReferences(t *testing.T) {
	files, named := sources(t), map[string]bool{"index.html": true}
	for name, text := range files {
		for _, m := range referred.FindAllStringSubmatch(text, -1) {
			target := strings.Join(m[1:], "")
			if strings.HasPrefix(target, "../api/v1/") { // the API's own test has its paths
				continue
			}
			if target = strings.TrimPrefix(target, "./"); files[target] == "" {
				t.Errorf("%s refers to %q, which is not there", name, target)
			}
			named[target] = true
		}
		text = strings.ReplaceAll(text, `"http://www.w3.org/2000/svg"`, "") // a name of elements, never loaded
		if m := scheme.FindString(text); m != "" {
			t.Errorf("%s: %q names something elsewhere", name, m)
		}
		if m := inline.FindString(text); m != "" {
			t.Errorf("%s: %q is what the policy forbids, or text taken for markup", name, m)
		}
	}
	for name := range files {
		if !named[name] {
			t.Errorf("no file refers to %s", name)
		}
	}
}

// TestIDs: every element that a script looks for is in the page.
func TestIDs(t *testing.T) {
	files := sources(t)
	page := files["index.html"]
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("the id %q stands twice in the page", m[1])
		}
		ids[m[1]] = true
	}
	looked := 0
	for name, text := range files {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:\$|getElementById)\("([^"]+)"\)`).FindAllStringSubmatch(text, -1) {
			looked++
			if !ids[m[1]] {
				t.Errorf("%s looks for %q, which is not in the page", name, m[1])
			}
		}
	}
	for _, m := range regexp.MustCompile(`aria-(?:labelledby|describedby)="([^"]+)"|for="([^"]+)"|href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if id := strings.Join(m[1:], ""); !ids[id] {
			t.Errorf("the page refers to %q, which is not in it", id)
		}
	}
	for _, part := range []string{"totals", "sizes", "tasks"} {
		if !ids["problem-"+part] {
			t.Errorf("no place for problems of %s", part)
		}
	}
	if looked < 10 {
		t.Errorf("only %d look-ups were found", looked)
	}
}

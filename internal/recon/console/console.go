// Package console is what a browser shows of Recon: static files, without a
// build step and without anything from elsewhere, that ask Recon's API with the
// browser's own credentials. The files hold nothing that is secret, so they are
// served to everybody; what they ask for is not.
//
// It has no goroutines. What Mount adds is safe for concurrent use.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// Prefix is where the files are; the API is asked for beside it, at ../api/v1/.
const Prefix = "/console/"

// policy is what the browser may do for the pages: load from this server and
// nowhere else, run no scripts but the files', be in no other page's frame.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

//go:embed static
var static embed.FS

// kinds are the content types of the files there are.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// file is one of them.
type file struct {
	kind, tag string
	text      []byte
}

// Mount adds the console to a mux: its files below Prefix, and a redirect to
// them at the root itself. Only GET and HEAD are answered. Browsers keep the
// files and ask each time whether they changed.
func Mount(mux *http.ServeMux) {
	files := load()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		if readable(w, r) {
			http.Redirect(w, r, strings.TrimPrefix(Prefix, "/"), http.StatusFound)
		}
	})
	mux.HandleFunc(Prefix, func(w http.ResponseWriter, r *http.Request) {
		if !readable(w, r) {
			return
		}
		name := strings.TrimPrefix(r.URL.Path, Prefix)
		if name == "" {
			name = "index.html"
		}
		f, ok := files[name]
		if !ok {
			http.Error(w, "there is no such page", http.StatusNotFound)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("ETag", f.tag)
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.text))
	})
}

// readable sets the headers of every answer, and refuses what would change
// something.
func readable(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	h.Set("Allow", "GET, HEAD")
	http.Error(w, "the console is only read", http.StatusMethodNotAllowed)
	return false
}

// load returns the files by name. They are part of the program: what is wrong
// with them is found by this package's test, and at the start.
func load() map[string]file {
	files := map[string]file{}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		kind, ok := kinds[path.Ext(name)]
		if !ok {
			panic("console: no content type for " + name)
		}
		sum := sha256.Sum256(text)
		files[strings.TrimPrefix(name, "static/")] = file{kind, `"` + hex.EncodeToString(sum[:16]) + `"`, text}
		return nil
	})
	if err != nil {
		panic("console: " + err.Error())
	}
	return files
}

// Package web serves what Recon knows over HTTP, under /api/v1, with the paths and
// the JSON of Ozone's Recon (docs/recon-api.md).
//
// One table of routes is the API: the router, the reading and checking of
// parameters, the roles, the OpenAPI document and the page of the documentation
// derive from it. Every answer is of one index, which a header says. The package
// starts no goroutines; a request does bounded work. Who asks is found out by the
// middleware it is given.
package web

import (
	"context"
	"net/http"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"o3/internal/recon"
	"o3/internal/recon/generation"
)

// Source is Recon as the API sees it; *recon.Service is one.
type Source interface {
	// View takes a look; the caller closes it. Kind Unavailable: there is nothing yet.
	View(ctx context.Context) (*generation.View, error)
	Status() recon.Status
	Sync() bool   // has the namespace brought anew; false: that is under way
	Reinit() bool // has the derived tables built anew; false: likewise
}

// Options configures the API. Source is required; a zero field means its default.
type Options struct {
	Source Source

	// Auth puts the principal into the context of a request (access.NewContext), or
	// answers by itself. nil: it is there already; without one nobody may look.
	Auth func(http.Handler) http.Handler

	// ReadersMayLook lets every user read, not admins only.
	ReadersMayLook bool

	// Images tells of the OM's images. nil: not known here, which is an error of kind
	// NotImplemented.
	Images func(ctx context.Context) ([]Image, error)

	DisabledFeatures []string // as Ozone calls them; default: HEATMAP

	Rows int              // looked at for a page at most; default and most: query.MaxRows
	Now  func() time.Time // default: time.Now

	Listener Listener
}

// Listener hears what the API does. Nil fields are silent. Calls are synchronous
// and must not block.
type Listener struct {
	Served func(route string, status int, took time.Duration) // route: method and pattern of the table, or "" for none
	Failed func(route string, err error)                      // answered with a status of 500 or above
}

// api is the handler.
type api struct{ o Options }

// New returns the handler. It serves the whole paths.
func New(o Options) http.Handler {
	if o.DisabledFeatures == nil {
		o.DisabledFeatures = []string{"HEATMAP"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &api{o}
	mux := http.NewServeMux()
	byPath := map[string][]route{}
	for _, r := range routes() {
		byPath[r.path] = append(byPath[r.path], r)
	}
	for path, rs := range byPath {
		mux.Handle(Prefix+path, a.path(rs))
	}
	mux.Handle("/", a.nowhere())
	var h http.Handler = mux
	if o.Auth != nil {
		h = o.Auth(h)
	}
	return gzhttp.GzipHandler(h)
}

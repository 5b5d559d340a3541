package app

import (
	"context"
	"net/http"
	"strconv"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/admin/stages"
	"o3/internal/audit"
	"o3/internal/errs"
	"o3/internal/recon"
	pages "o3/internal/recon/console"
	"o3/internal/recon/web"
)

// triggerPrefix is where Recon is told to do something.
const triggerPrefix = web.Prefix + "/triggerdbsync/"

// reconInFlight bounds the requests to Recon's API that are served at once.
const reconInFlight = 64

// routes returns what the listener serves: the API to those who may, health and
// metrics to everybody, as the OM listener does.
func (r *console) routes() http.Handler {
	n := r.n
	in := newDoor(r.who, n.cfg.S3.ClockSkew, n.obs.ReconDenied)
	api := web.New(web.Options{
		Source: r.service, ReadersMayLook: n.cfg.Recon.Readers, Images: r.images,
		Auth: func(next http.Handler) http.Handler {
			return in.to(r.noteTriggers(next), r.noteRefused)
		},
		Listener: web.Listener{Failed: func(route string, err error) {
			n.obs.Log.Warn("recon: a request failed", "route", route, "error", err)
		}},
	})
	mux := http.NewServeMux()
	mux.Handle("/", bounded(api))
	mux.Handle(stages.Prefix, bounded(r.admin(in)))
	pages.Mount(mux)
	mux.Handle("GET /healthz", n.obs.Health.Alive())
	mux.Handle("GET /readyz", n.obs.Health.Part(reconCheck))
	if n.cfg.Metrics.Enabled {
		mux.Handle("GET /metrics", n.obs.MetricsHandler())
	}
	return withRequestID(mux)
}

// bounded refuses more requests at once than there may be.
func bounded(next http.Handler) http.Handler {
	inside := make(chan struct{}, reconInFlight)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case inside <- struct{}{}:
			defer func() { <-inside }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			refuseJSON(w, errs.New(errs.SlowDown, "Recon", "too many requests at once"), http.StatusServiceUnavailable)
		}
	})
}

// route names routes for metrics.
func (r *console) route() func(*http.Request) string {
	names := http.NewServeMux()
	nothing := http.NotFoundHandler()
	paths, _ := web.OpenAPI()["paths"].(map[string]any)
	for path := range paths {
		names.Handle(path, nothing)
	}
	for _, path := range stages.Paths() {
		names.Handle(path, nothing)
	}
	for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
		names.Handle(page, nothing)
	}
	pages.Mount(names)
	return func(q *http.Request) string {
		_, pattern := names.Handler(q)
		return pattern
	}
}

// triggers are what Recon is told to do, by path.
var triggers = map[string]string{triggerPrefix + "om": "recon:Resync", triggerPrefix + "om/reinit": "recon:Rebuild"}

// noteTriggers records who tells Recon to do something, and who may not.
func (r *console) noteTriggers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if triggers[q.URL.Path] == "" {
			next.ServeHTTP(w, q)
			return
		}
		if err := r.n.trail.guard(q.Context()); err != nil {
			refuseJSON(w, err, http.StatusServiceUnavailable)
			return
		}
		code := &codeOf{ResponseWriter: w}
		next.ServeHTTP(code, q)
		result, detail := errs.Invalid, ""
		switch code.status {
		case http.StatusOK, http.StatusAccepted:
			result = errs.OK
		case http.StatusForbidden:
			result, detail = errs.Denied, "it takes an admin"
		case http.StatusConflict:
			result, detail = errs.Conflict, "a new generation is being made already"
		}
		r.noteTrigger(w, q, access.FromContext(q.Context()), result, detail)
	})
}

// noteRefused records who tells Recon to do something and is not let in.
func (r *console) noteRefused(w http.ResponseWriter, q *http.Request, p access.Principal, err error) {
	if triggers[q.URL.Path] != "" {
		r.noteTrigger(w, q, p, errs.KindOf(err), errorDetail(err))
	}
}

func (r *console) noteTrigger(w http.ResponseWriter, q *http.Request, p access.Principal, result errs.Kind, detail string) {
	r.n.trail.record(q.Context(), audit.Record{
		RequestID: w.Header().Get(requestIDHeader), Principal: p.User, AccessKey: p.AccessKey, From: q.RemoteAddr,
		Action: triggers[q.URL.Path], Resource: r.n.cfg.Recon.Dir, Result: result.String(), Detail: detail,
	})
}

// codeOf remembers the status of an answer.
type codeOf struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (c *codeOf) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *codeOf) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return c.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (c *codeOf) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// listedImage is an image of the OM as Recon shows it.
type listedImage = web.Image

// images lists the OM's images: of several OMs, those of the first that answers.
func (r *console) images(ctx context.Context) (out []listedImage, err error) {
	for _, s := range r.sources {
		if out, err = s.images(ctx); err == nil {
			return out, nil
		}
	}
	return nil, err
}

func listImage(i *o3v1.ImageInfo) listedImage {
	return listedImage{
		ID: i.Id, Index: i.Index, Term: i.Term, Op: strconv.FormatUint(i.Op, 10), CreationTime: i.CreatedMs, Digest: i.Digest,
		Bytes: int64(i.Bytes), Files: int64(i.Files), Readers: int64(i.Readers), Blocks: i.Blocks,
	}
}

// replicaPrincipals finds who asks in Recon's own replica: users and keys as the
// OM had them at the index that answers reflect.
type replicaPrincipals struct{ service *recon.Service }

// Secret implements principals.
func (r replicaPrincipals) Secret(ctx context.Context, id string) (secret string, p access.Principal, err error) {
	v, err := r.service.View(ctx)
	if err != nil {
		return "", p, err
	}
	defer v.Close()
	return v.Credential(id)
}

// User implements principals.
func (r replicaPrincipals) User(ctx context.Context, name string) (access.Principal, error) {
	v, err := r.service.View(ctx)
	if err != nil {
		return access.Principal{}, err
	}
	defer v.Close()
	return v.Principal(name)
}

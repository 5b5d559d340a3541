// Package stages serves what administrators do about Recon's stages and about
// backups of its generation, over HTTP, under /admin (docs/recon.md). Paths and
// texts of status, cancel and retry are those of the design of staging in Ozone's
// Recon.
//
// Only admins may; who asks is found out by the middleware it is given, and every
// request that would change something is told of, done or refused. The package
// starts no goroutines.
package stages

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/recon"
	"o3/internal/recon/staging"
	"o3/internal/recon/web"
)

// Prefix is what all paths begin with.
const Prefix = "/admin/"

// The texts of cancel and retry, which are of the design.
const (
	Cancelled    = "Staging operation cancelled"
	NothingThere = "No staging operation to cancel"
	RetryBegun   = "Staging retry initiated"
	RetryRefused = "Retry failed: "
)

// Source is Recon as the API sees it; *recon.Service is one.
type Source interface {
	Staging() recon.StagingStatus
	CancelStaging() bool
	RetryStaging(clean bool) error
	Trigger(t recon.Trigger) (recon.Triggered, error)
	Rollback(ctx context.Context) (from, to string, err error)
	Backup(ctx context.Context, dir string) (recon.BackupManifest, error)
}

// Options configures the API. Source is required.
type Options struct {
	Source Source

	// Auth puts the principal into the context of a request (access.NewContext), or
	// answers by itself. nil: it is there already; without one nobody may do anything.
	Auth func(http.Handler) http.Handler

	// Guard refuses changes, nil allows them.
	Guard func(ctx context.Context) error

	Basic    bool // the status leaves out tables one by one
	Listener Listener
}

// Listener hears what was asked. Nil fields are silent. Calls are synchronous.
type Listener struct {
	Changed func(answer http.Header, r *http.Request, c Change) // or was refused
	Failed  func(path string, err error)                        // answered with a status of 500 or above
}

// Change is what somebody wanted.
type Change struct {
	Action string // cancel, retry, reprocess, rollback, backup
	Params map[string]string
	Result errs.Kind
	Detail string // why not
}

// Rolled is the answer to a rollback.
type Rolled struct {
	From string `json:"from"` // the generation that was in force
	To   string `json:"to"`   // the one that is now
}

// Begun is the answer to a trigger.
type Begun struct {
	StagingID string `json:"stagingId"`
	Joined    bool   `json:"joined"` // a stage that is there already does it
	Queued    bool   `json:"queued"` // it comes after the one that is being made
}

type api struct{ o Options }

// action is what one path does. It returns what the answer holds: a text, or an
// object.
type action struct {
	name, method string
	params       []string
	do           func(a *api, r *http.Request, q url.Values) (status int, body any, err error)
}

func actions() map[string]action {
	return map[string]action{
		"staging/status":    {"", http.MethodGet, nil, (*api).status},
		"staging/cancel":    {"cancel", http.MethodPost, nil, (*api).cancel},
		"staging/retry":     {"retry", http.MethodPost, []string{"clean"}, (*api).retry},
		"staging/reprocess": {"reprocess", http.MethodPost, []string{"kind", "clean", "from"}, (*api).reprocess},
		"staging/rollback":  {"rollback", http.MethodPost, nil, (*api).rollback},
		"recon/backup":      {"backup", http.MethodPost, []string{"path"}, (*api).backup},
	}
}

// Paths returns the paths that are served.
func Paths() (out []string) {
	for path := range actions() {
		out = append(out, Prefix+path)
	}
	slices.Sort(out)
	return out
}

// New returns the handler. It serves the whole paths.
func New(o Options) http.Handler {
	a := &api{o}
	mux := http.NewServeMux()
	for path, act := range actions() {
		mux.Handle(Prefix+path, a.path(act))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, web.Error{Kind: "no such path", Subject: r.URL.Path, Detail: "there are " + strings.Join(Paths(), ", ")})
	})
	var h http.Handler = mux
	if o.Auth != nil {
		h = o.Auth(h)
	}
	return h
}

// path serves one path.
func (a *api) path(act action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if act.method != r.Method && !(act.method == http.MethodGet && r.Method == http.MethodHead) {
			w.Header().Set("Allow", act.method)
			refuse(w, http.StatusMethodNotAllowed, web.Error{Kind: "method not allowed", Subject: r.Method + " " + r.URL.Path, Detail: "allowed: " + act.method})
			return
		}
		if act.name == "backup" {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // it takes as long as it takes
		}
		status, body, params, err := a.serve(r, act)
		if act.name != "" && a.o.Listener.Changed != nil {
			c := Change{Action: act.name, Params: params, Result: errs.KindOf(err)}
			if err != nil {
				c.Detail = detail(err)
			}
			a.o.Listener.Changed(w.Header(), r, c)
		}
		if err != nil && status == 0 {
			a.fail(w, r, err)
			return
		}
		answer(w, status, body)
	})
}

// serve does what is asked, if who asks may.
func (a *api) serve(r *http.Request, act action) (status int, body any, params map[string]string, err error) {
	if p := access.FromContext(r.Context()); p.Anonymous() {
		return 0, nil, nil, errs.New(errs.Unauthenticated, r.URL.Path, "sign the request")
	} else if !p.Admin() {
		return 0, nil, nil, errs.New(errs.Denied, r.URL.Path, "it takes an admin")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return 0, nil, nil, errs.New(errs.Invalid, r.URL.Path, "the query is malformed")
	}
	for name, values := range q {
		switch {
		case strings.HasPrefix(name, "X-Amz-"):
		case !slices.Contains(act.params, name):
			return 0, nil, nil, errs.New(errs.Invalid, name, "there is no such parameter; there are: "+cmp.Or(strings.Join(act.params, ", "), "none"))
		case len(values) > 1:
			return 0, nil, nil, errs.New(errs.Invalid, name, "it is given more than once")
		default:
			if params == nil {
				params = map[string]string{}
			}
			params[name] = values[0]
		}
	}
	if act.name != "" && a.o.Guard != nil {
		if err := a.o.Guard(r.Context()); err != nil {
			return 0, nil, params, err
		}
	}
	status, body, err = act.do(a, r, q)
	return status, body, params, err
}

func (a *api) status(*http.Request, url.Values) (int, any, error) {
	st := a.o.Source.Staging()
	if a.o.Basic {
		st.TableRows = nil
	}
	return http.StatusOK, st, nil
}

func (a *api) cancel(*http.Request, url.Values) (int, any, error) {
	if !a.o.Source.CancelStaging() {
		return http.StatusBadRequest, NothingThere, errs.New(errs.Conflict, "staging", NothingThere)
	}
	return http.StatusOK, Cancelled, nil
}

func (a *api) retry(_ *http.Request, q url.Values) (int, any, error) {
	clean, err := flag(q, "clean")
	if err != nil {
		return 0, nil, err
	}
	if err := a.o.Source.RetryStaging(clean); err != nil {
		return http.StatusBadRequest, RetryRefused + detail(err), err
	}
	return http.StatusOK, RetryBegun, nil
}

func (a *api) reprocess(_ *http.Request, q url.Values) (status int, body any, err error) {
	t := recon.Trigger{Kind: staging.Kind(strings.ToUpper(q.Get("kind")))}
	if t.Clean, err = flag(q, "clean"); err != nil {
		return 0, nil, err
	}
	if from := q.Get("from"); from != "" {
		if t.From, err = strconv.ParseUint(from, 10, 64); err != nil {
			return 0, nil, errs.New(errs.Invalid, "from", fmt.Sprintf("%q: it is the index of an entry of the OM's log", from))
		}
		if t.Kind != staging.Incremental {
			return 0, nil, errs.New(errs.Invalid, "from", "it goes with kind=INCREMENTAL")
		}
	}
	got, err := a.o.Source.Trigger(t)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusAccepted, Begun{got.StagingID, got.Joined, got.Queued}, nil
}

func (a *api) rollback(r *http.Request, _ url.Values) (int, any, error) {
	from, to, err := a.o.Source.Rollback(r.Context())
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, Rolled{from, to}, nil
}

func (a *api) backup(r *http.Request, q url.Values) (int, any, error) {
	if q.Get("path") == "" {
		return 0, nil, errs.New(errs.Invalid, "path", "it must be given: the directory, on the server's machine, that the backup becomes")
	}
	m, err := a.o.Source.Backup(r.Context(), q.Get("path"))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, m.Summary(), nil
}

func flag(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "":
		return false, nil
	case "true", "false":
		return q.Get(name) == "true", nil
	}
	return false, errs.New(errs.Invalid, name, fmt.Sprintf("%q: it is true or false", q.Get(name)))
}

// codes are the statuses of kinds. Others are faults of ours.
var codes = map[errs.Kind]int{
	errs.Invalid:          http.StatusBadRequest,
	errs.Unauthenticated:  http.StatusUnauthorized,
	errs.Denied:           http.StatusForbidden,
	errs.Conflict:         http.StatusConflict,
	errs.NotEmpty:         http.StatusConflict,
	errs.Unavailable:      http.StatusServiceUnavailable,
	errs.Canceled:         http.StatusServiceUnavailable,
	errs.ReadOnly:         http.StatusInsufficientStorage,
	errs.DeadlineExceeded: http.StatusGatewayTimeout,
}

// fail answers why something was not done.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, known := codes[errs.KindOf(err)]
	if !known {
		status = http.StatusInternalServerError
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if status >= http.StatusInternalServerError && a.o.Listener.Failed != nil {
		a.o.Listener.Failed(r.URL.Path, err)
	}
	body := web.Error{Kind: errs.KindOf(err).String()}
	body.Subject, body.Detail = parts(err)
	refuse(w, status, body)
}

// parts are what a user sees of an error beside its kind.
func parts(err error) (subject, detail string) {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Subject, e.Detail
	}
	return "", ""
}

// detail is the reason alone, without kind and subject where there is one.
func detail(err error) string {
	if _, text := parts(err); text != "" {
		return text
	}
	return errs.Message(err)
}

func refuse(w http.ResponseWriter, status int, body web.Error) {
	body.Status = status
	answer(w, status, body)
}

// answer writes a text as text, anything else as JSON.
func answer(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	var raw []byte
	if text, ok := body.(string); ok {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		raw = []byte(text)
	} else {
		h.Set("Content-Type", "application/json")
		raw, _ = json.Marshal(body) // of our own types
		raw = append(raw, '\n')
	}
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the client may be gone
}

package web

import (
	"bytes"
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
	"o3/internal/recon/generation"
	"o3/internal/recon/query"
)

// The headers of answers.
const (
	headerIndex = "X-O3-Index"    // the OM's log entry that the answer reflects
	headerAge   = "X-O3-Age-Ms"   // how old it may be
	headerNext  = "X-O3-Last-Key" // where the next page of a bare list begins; absent: there is none
)

// retryAfter is when a client should ask again while there is nothing to answer
// from.
const retryAfter = 5 * time.Second

// path serves the routes of one path.
func (a *api) path(routes []route) http.Handler {
	var methods []string
	for _, r := range routes {
		methods = append(methods, r.method)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, r := range routes {
			if r.method == req.Method || r.method == http.MethodGet && req.Method == http.MethodHead && r.role != triggers {
				a.serve(w, req, r)
				return
			}
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		a.write(w, req, "", answer{status: http.StatusMethodNotAllowed, body: Error{
			"method not allowed", req.Method + " " + req.URL.Path, "allowed: " + strings.Join(methods, ", "), http.StatusMethodNotAllowed,
		}}, a.o.Now())
	})
}

// nowhere answers for paths that are none of the API.
func (a *api) nowhere() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		a.write(w, req, "", answer{status: http.StatusNotFound, body: Error{
			"no such path", req.URL.Path, "see " + Prefix + "/openapi.json", http.StatusNotFound,
		}}, a.o.Now())
	})
}

// answer is what goes out.
type answer struct {
	status int
	body   any
	list   any // not nil: as CSV
	next   string
}

// serve answers a request to a route. It is the only place that decides who may,
// reads parameters, takes looks and says how fresh an answer is.
func (a *api) serve(w http.ResponseWriter, req *http.Request, r route) {
	start := a.o.Now()
	out, err := a.answer(w, req, r)
	if err != nil {
		out = answer{status: statusOf(err)}
		out.body = bodyOf(err, out.status)
		if out.status == http.StatusServiceUnavailable {
			wait := retryAfter
			if withheld, ok := errors.AsType[*generation.Withheld](err); ok && withheld.RetryAfter > 0 {
				wait = withheld.RetryAfter
			}
			w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		}
		if out.status >= http.StatusInternalServerError && a.o.Listener.Failed != nil {
			a.o.Listener.Failed(r.name(), err)
		}
	}
	a.write(w, req, r.name(), out, start)
}

func (a *api) answer(w http.ResponseWriter, req *http.Request, r route) (out answer, err error) {
	ctx := req.Context()
	q := question{api: a, route: r, status: a.o.Source.Status()}
	if err := a.may(ctx, r); err != nil {
		return out, err
	}
	index, age := q.status.Index, a.age(q.status, q.status.Index, q.status.Time)
	setFresh(w.Header(), index, age)
	if q.values, err = r.read(req); err != nil {
		return out, err
	}
	if !r.blind {
		v, err := a.o.Source.View(ctx)
		if err != nil {
			return out, err
		}
		defer v.Close()
		q.view = v
		index, age = v.At.Index, a.age(q.status, v.At.Index, time.UnixMilli(v.At.TimeMs))
	}
	setFresh(w.Header(), index, age)
	p, err := r.handle(ctx, &q)
	if err != nil {
		return out, err
	}
	out = answer{status: p.status, next: p.next}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	if e, ok := p.body.(interface{ Empty() bool }); ok && r.none && e.Empty() {
		return answer{status: http.StatusNoContent}, nil
	}
	if f, ok := p.body.(interface {
		SetFresh(uint64, time.Duration)
	}); ok {
		f.SetFresh(index, age)
	}
	out.body = p.body
	if r.list != nil && wantsCSV(req, &q) {
		out.list = r.list(p.body)
		if out.next == "" {
			out.next = cursorOf(p.body)
		}
	}
	return out, nil
}

// setFresh says of what an answer is true, unless there is nothing yet.
func setFresh(h http.Header, index uint64, age time.Duration) {
	if index > 0 {
		h.Set(headerIndex, strconv.FormatUint(index, 10))
		h.Set(headerAge, strconv.FormatInt(age.Milliseconds(), 10))
	}
}

// may refuses who has not the role that a route needs.
func (a *api) may(ctx context.Context, r route) error {
	p := access.FromContext(ctx)
	switch {
	case p.Admin(), !p.Anonymous() && (r.role == signedIn || r.role == looks && a.o.ReadersMayLook):
		return nil
	case p.Anonymous():
		return errs.New(errs.Unauthenticated, r.name(), "sign the request")
	}
	return errs.New(errs.Denied, r.name(), "it takes an admin")
}

// age is how old an answer may be: since when everything that the OM had is in
// it. While the OM has more, or was not heard of yet, that is not known better
// than by the time of the last command in it.
func (a *api) age(st recon.Status, index uint64, last time.Time) time.Duration {
	now := a.o.Now()
	switch {
	case index == 0:
		return 0 // there is nothing
	case st.Heard.IsZero(), st.Commit > index:
		return max(now.Sub(last), 0)
	}
	return st.Age(now)
}

// write sends an answer.
func (a *api) write(w http.ResponseWriter, req *http.Request, name string, out answer, start time.Time) {
	var b bytes.Buffer
	h := w.Header()
	switch {
	case out.status == http.StatusNoContent:
	case out.list != nil:
		h.Set("Content-Type", "text/csv; charset=utf-8")
		writeCSV(&b, out.list)
	default:
		h.Set("Content-Type", "application/json")
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(out.body); err != nil { // values of ours that JSON cannot have
			out.status = http.StatusInternalServerError
			b.Reset()
			fmt.Fprintf(&b, `{"kind":"internal error","subject":"","detail":"the answer cannot be encoded","status":500}`+"\n")
			if a.o.Listener.Failed != nil {
				a.o.Listener.Failed(name, err)
			}
		}
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept")
	if out.next != "" {
		h.Set(headerNext, headerText(out.next))
	}
	w.WriteHeader(out.status)
	if req.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // the client may be gone
	}
	if a.o.Listener.Served != nil {
		a.o.Listener.Served(name, out.status, a.o.Now().Sub(start))
	}
}

// headerText writes a cursor, which has names in it, as a query takes it.
func headerText(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }

// wantsCSV reports whether the list is asked for in place of JSON.
func wantsCSV(req *http.Request, q *question) bool {
	if f := q.text(pFormat.name); f != "" {
		return f == "csv"
	}
	return slices.ContainsFunc(strings.Split(req.Header.Get("Accept"), ","), func(s string) bool {
		kind, _, _ := strings.Cut(s, ";")
		return strings.TrimSpace(kind) == "text/csv"
	})
}

// page returns the page that a request asks for.
func (q *question) page(cursor param) query.Page {
	return query.Page{Limit: int(q.number(pLimit.name)), After: q.text(cursor.name), Rows: q.o.Rows}
}

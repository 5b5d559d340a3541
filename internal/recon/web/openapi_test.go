package web_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"o3/internal/recon/web"
)

var update = flag.Bool("update", false, "write docs/recon-api.md")

// TestDocument: the page of the documentation is what the table of routes says.
func TestDocument(t *testing.T) {
	const path = "../../../docs/recon-api.md"
	want := web.Document()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not what the routes say (%v): run go test ./internal/recon/web -run TestDocument -update", path, err)
	}
}

// described is the OpenAPI document, as another library reads it.
var described = sync.OnceValues(func() (*openapi3.T, error) {
	raw, err := json.Marshal(web.OpenAPI())
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err == nil {
		err = doc.Validate(openapi3.NewLoader().Context)
	}
	return doc, err
})

var router = sync.OnceValues(func() (routers.Router, error) {
	doc, err := described()
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc)
})

// conforms checks an answer against the document.
func conforms(req *http.Request, w *httptest.ResponseRecorder) error {
	find, err := router()
	if err != nil {
		return err
	}
	route, params, err := find.FindRoute(req)
	if err != nil {
		elsewhere := w.Code == http.StatusNotFound || w.Code == http.StatusMethodNotAllowed || w.Code/100 == 3
		if elsewhere || req.Method == http.MethodHead || strings.Contains(req.URL.EscapedPath(), "%2F") { // which that library takes apart
			return nil
		}
		return fmt.Errorf("%s %s is not in the document: %w", req.Method, req.URL, err)
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
		return nil
	}
	return openapi3filter.ValidateResponse(req.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

// TestOpenAPI: the document is one, has an answer for every route there is, and
// every route in it is served.
func TestOpenAPI(t *testing.T) {
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.o.Images = images
	r.serve()
	raw := r.ask("GET", "/api/v1/openapi.json").Body.Bytes()
	if served, err := openapi3.NewLoader().LoadFromData(raw); err != nil || served.Paths.Len() != doc.Paths.Len() {
		t.Errorf("what is served is not the document: %v", err)
	}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			var query []string
			for _, p := range o.Parameters {
				if p.Value.Required && p.Value.In == "query" {
					query = append(query, p.Value.Name+"="+map[string]string{"path": "/", "component": "om", "startPrefix": "/vol/none", "name": "x"}[p.Value.Name])
				}
			}
			target := strings.ReplaceAll(path, "{id}", "1") + "?" + strings.Join(query, "&")
			w := r.ask(method, target)
			if w.Code >= 400 && !(strings.HasSuffix(path, "/listKeys") && w.Code == http.StatusNotFound) {
				t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
			}
			if w.Header().Get("X-O3-Index") == "" || w.Header().Get("X-O3-Age-Ms") == "" {
				t.Errorf("%s %s does not say how fresh it is", method, target)
			}
		}
	}
}

// TestParameters: every parameter of every route refuses what it does not allow,
// with its name, the value and what is allowed; what is not known is refused too.
func TestParameters(t *testing.T) {
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	refused := func(method, target string, says ...string) {
		t.Helper()
		w := r.ask(method, target)
		var e web.Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != http.StatusBadRequest || e.Status != http.StatusBadRequest || e.Kind != "invalid" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
		for _, s := range says {
			if !strings.Contains(e.Subject+" "+e.Detail, s) {
				t.Errorf("%s: %+v does not say %q", target, e, s)
			}
		}
	}
	tried := 0
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			if method != http.MethodGet {
				continue
			}
			path := path
			for _, p := range o.Parameters {
				for _, bad := range badValues(p.Value) {
					tried++
					target := strings.ReplaceAll(path, "{id}", "1") + "?" + p.Value.Name + "=" + escape(bad)
					if p.Value.In == "path" {
						target = strings.ReplaceAll(path, "{id}", escape(bad))
					}
					refusedFor := []string{p.Value.Name, "allowed: "}
					if bad != "" && len(bad) < 100 {
						refusedFor = append(refusedFor, bad)
					}
					refused(method, target+required(o, p.Value, strings.Contains(target, "?")), refusedFor...)
				}
			}
			plain := strings.ReplaceAll(path, "{id}", "1")
			refused(method, plain+"?"+"Limit=1"+required(o, nil, true), `"Limit"`, "allowed: ")
			refused(method, plain+"?a=%zz", "%zz")
		}
	}
	refused("GET", "/api/v1/volumes?limit=1&limit=2", "limit", "more than once")
	if tried < 100 {
		t.Errorf("%d values", tried)
	}
}

// required returns values for the other parameters that must be there.
func required(o *openapi3.Operation, but *openapi3.Parameter, more bool) string {
	out := ""
	for _, p := range o.Parameters {
		if v := p.Value; v.Required && v.In == "query" && (but == nil || v.Name != but.Name) {
			out += "&" + v.Name + "=" + map[string]string{"path": "/", "component": "om", "startPrefix": "/vol/none", "name": "x"}[v.Name]
		}
	}
	if !more && out != "" {
		return "?" + out[1:]
	}
	return out
}

// badValues are values that a parameter does not allow.
func badValues(p *openapi3.Parameter) (all []string) {
	s := p.Schema.Value
	switch {
	case s.Type.Is("integer"):
		all = append(all, "x", "1.5", "99999999999999999999", fmt.Sprint(int64(*s.Min)-1))
		if *s.Max < 1<<62 {
			all = append(all, fmt.Sprint(int64(*s.Max)+1))
		}
		if p.Name == "limit" {
			all = append(all, "0")
		}
	case s.Type.Is("boolean"):
		all = append(all, "yes", "1", "TRUE")
	case len(s.Enum) > 0:
		all = append(all, "nonsense")
	case s.MaxLength != nil:
		all = append(all, strings.Repeat("x", int(*s.MaxLength)+1))
	}
	if p.Name == "creationDate" {
		all = append(all, "2026-01-01", "13-01-2026 00:00:00")
	}
	if p.Required && p.In == "query" {
		all = append(all, "")
	}
	return all
}

package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"o3/internal/errs"
	"o3/internal/recon/query"
)

// param is a parameter of a route: a value of the query, or a part of the path.
type param struct {
	name     string
	kind     paramKind
	doc      string
	inPath   bool
	required bool
	def      string   // default, as it would be written
	min, max int64    // of numbers
	allowed  []string // of texts and numbers; nil: all
	bytes    int      // longest text; 0: maxText
}

type paramKind string

const (
	kindText   paramKind = "string"
	kindNumber paramKind = "integer"
	kindFlag   paramKind = "boolean"
	kindLimit  paramKind = "limit" // a number of rows: -1 or 1 to query.MaxLimit
	kindDate   paramKind = "date"  // dateForm, in UTC; its value is in milliseconds
)

const (
	dateForm = "01-02-2006 15:04:05"
	maxText  = 4096
)

// The parameters that many routes have.
var (
	pPath    = param{name: "path", kind: kindText, required: true, doc: "`/`, `/volume`, `/volume/bucket`, or a directory or key in one"}
	pLimit   = param{name: "limit", kind: kindLimit, def: strconv.Itoa(query.DefaultLimit), doc: "rows of the page; -1: as many as a page may have"}
	pPrevKey = param{name: "prevKey", kind: kindText, doc: "where the page before ended; the page begins after it"}
	pCursor  = param{name: "cursor", kind: kindText, doc: "`cursor` of the page before"}
	pVolume  = param{name: "volume", kind: kindText, doc: "only this volume"}
	pBucket  = param{name: "bucket", kind: kindText, doc: "only this bucket; with `volume`"}
	pFormat  = param{name: "format", kind: kindText, allowed: []string{"json", "csv"}, doc: "`csv`: the list as comma-separated values, as with `Accept: text/csv`; the next page is in the header `X-O3-Last-Key`"}
)

// all returns the parameters of a route, with those that come by themselves.
func (r route) all() []param {
	if r.list == nil {
		return r.params
	}
	return append(slices.Clone(r.params), pFormat)
}

// read reads the parameters of a request. Kind Invalid, with the parameter, its
// value and what is allowed.
func (r route) read(req *http.Request) (map[string]any, error) {
	given, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return nil, errs.New(errs.Invalid, "query "+req.URL.RawQuery, err.Error())
	}
	params := r.all()
	for name, values := range given {
		if !slices.ContainsFunc(params, func(p param) bool { return p.name == name && !p.inPath }) {
			return nil, errs.New(errs.Invalid, fmt.Sprintf("parameter %q", name), "is not known here; allowed: "+names(params))
		}
		if len(values) > 1 {
			return nil, errs.New(errs.Invalid, fmt.Sprintf("parameter %q", name), "is given more than once")
		}
	}
	out := map[string]any{}
	for _, p := range params {
		s, ok := given.Get(p.name), given.Has(p.name)
		if p.inPath {
			s, ok = req.PathValue(p.name), true
		}
		if !ok || s == "" && p.kind != kindText {
			if p.required {
				return nil, errs.New(errs.Invalid, fmt.Sprintf("parameter %q", p.name), "is missing; allowed: "+p.allows())
			}
			s = p.def
		}
		if s == "" && p.required {
			return nil, p.bad(s)
		}
		if s == "" {
			continue
		}
		if out[p.name], err = p.parse(s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func names(params []param) string {
	var all []string
	for _, p := range params {
		if !p.inPath {
			all = append(all, p.name)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

func (p param) bad(s string) error {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return errs.New(errs.Invalid, fmt.Sprintf("parameter %q, value %q", p.name, s), "allowed: "+p.allows())
}

// allows says which values are.
func (p param) allows() string {
	switch {
	case p.allowed != nil:
		return strings.Join(p.allowed, ", ")
	case p.kind == kindLimit:
		return fmt.Sprintf("-1, or 1 to %d", query.MaxLimit)
	case p.kind == kindNumber:
		return fmt.Sprintf("%d to %d", p.min, p.max)
	case p.kind == kindFlag:
		return "true, false"
	case p.kind == kindDate:
		return "MM-dd-yyyy HH:mm:ss, in UTC"
	}
	return fmt.Sprintf("1 to %d bytes", p.most())
}

func (p param) most() int {
	if p.bytes == 0 {
		return maxText
	}
	return p.bytes
}

func (p param) parse(s string) (any, error) {
	if p.allowed != nil && !slices.Contains(p.allowed, s) {
		return nil, p.bad(s)
	}
	switch p.kind {
	case kindNumber, kindLimit:
		n, err := strconv.ParseInt(s, 10, 64)
		switch {
		case err != nil, p.kind == kindNumber && (n < p.min || n > p.max), p.kind == kindLimit && (n < -1 || n == 0 || n > query.MaxLimit):
			return nil, p.bad(s)
		}
		return n, nil
	case kindFlag:
		if s != "true" && s != "false" {
			return nil, p.bad(s)
		}
		return s == "true", nil
	case kindDate:
		t, err := time.Parse(dateForm, s)
		if err != nil {
			return nil, p.bad(s)
		}
		return t.UnixMilli(), nil
	}
	if len(s) > p.most() {
		return nil, p.bad(s)
	}
	return s, nil
}

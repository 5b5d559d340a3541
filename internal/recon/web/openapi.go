package web

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"o3/internal/recon/query"
)

// OpenAPI returns the API as an OpenAPI 3.0 document, made from the table of
// routes.
func OpenAPI() map[string]any {
	s := &schemas{object{}}
	failure := s.of(reflect.TypeFor[Error]())
	paths := object{}
	for _, r := range routes() {
		item, _ := paths[Prefix+r.path].(object)
		if item == nil {
			item = object{}
			paths[Prefix+r.path] = item
		}
		item[strings.ToLower(r.method)] = r.operation(s, failure)
	}
	return object{
		"openapi": "3.0.3",
		"info": object{
			"title": "Recon of O3", "version": "v1",
			"description": "What Recon knows of the namespace. Every answer is of one index of the OM's log (header " + headerIndex +
				") and says how old it may be (" + headerAge + ").",
		},
		"paths":      paths,
		"components": object{"schemas": s.named},
	}
}

func (r route) operation(s *schemas, failure object) object {
	var params []any
	for _, p := range r.all() {
		params = append(params, p.openAPI())
	}
	fresh := object{
		headerIndex: object{"description": "the OM's log entry that the answer reflects", "schema": object{"type": "integer", "format": "int64"}},
		headerAge:   object{"description": "how old the answer may be, in milliseconds", "schema": object{"type": "integer", "format": "int64"}},
	}
	content := object{"application/json": object{"schema": s.of(reflect.TypeOf(r.answer))}}
	if r.list != nil {
		content["text/csv"] = object{"schema": object{"type": "string"}}
		fresh[headerNext] = object{"description": "where the next page begins, of a list that does not say so itself", "schema": object{"type": "string"}}
	}
	good := object{"description": "the answer", "headers": fresh, "content": content}
	answers := object{"default": object{"description": "an error", "content": object{"application/json": object{"schema": failure}}}}
	switch {
	case r.accepted:
		answers[strconv.Itoa(http.StatusAccepted)], answers[strconv.Itoa(http.StatusConflict)] = good, good
	default:
		answers[strconv.Itoa(http.StatusOK)] = good
	}
	if r.none {
		answers[strconv.Itoa(http.StatusNoContent)] = object{"description": "there is nothing", "headers": fresh}
	}
	o := object{"operationId": r.id(), "summary": r.summary, "responses": answers, "x-o3-role": r.role.String(), "x-o3-own": r.ours}
	if params != nil {
		o["parameters"] = params
	}
	return o
}

// id names a route in one word.
func (r route) id() string {
	clean := strings.NewReplacer("{", "", "}", "", ".", "/").Replace(r.path)
	name := strings.ToLower(r.method)
	for _, part := range strings.Split(clean, "/")[1:] {
		name += strings.ToUpper(part[:1]) + part[1:]
	}
	return name
}

// String says who has the role.
func (r role) String() string {
	switch r {
	case triggers:
		return "admin"
	case signedIn:
		return "user"
	}
	return "reader"
}

func (p param) openAPI() object {
	of := object{"type": "string"}
	var def any = p.def
	number := func(s string) any { n, _ := strconv.ParseInt(s, 10, 64); return n }
	switch p.kind {
	case kindNumber:
		of = object{"type": "integer", "format": "int64", "minimum": p.min, "maximum": p.max}
		def = number(p.def)
	case kindLimit:
		of = object{"type": "integer", "format": "int64", "minimum": -1, "maximum": query.MaxLimit}
		def = number(p.def)
	case kindFlag:
		of = object{"type": "boolean"}
		def = p.def == "true"
	case kindText:
		if p.allowed == nil {
			of["maxLength"] = p.most()
		}
	}
	if p.def != "" {
		of["default"] = def
	}
	for _, a := range p.allowed {
		var v any = a
		if p.kind == kindNumber {
			v = number(a)
		}
		list, _ := of["enum"].([]any)
		of["enum"] = append(list, v)
	}
	in := "query"
	if p.inPath {
		in = "path"
	}
	return object{"name": p.name, "in": in, "required": p.required, "description": p.doc, "schema": of}
}

package web

import (
	"context"

	"o3/internal/recon"
	"o3/internal/recon/generation"
)

// Prefix is what all paths begin with.
const Prefix = "/api/v1"

// role is who may use a route.
type role int

const (
	looks    role = iota // admins; every user if Options.ReadersMayLook
	triggers             // admins; what is not only read
	signedIn             // every user
)

// route is an entry of the table.
type route struct {
	method, path string
	summary      string // one sentence
	ours         bool   // Ozone's Recon does not have it
	role         role
	params       []param
	answer       any                // a value of the type of the body
	none         bool               // 204 when there is nothing
	accepted     bool               // 202 and 409 in place of 200
	blind        bool               // does without a look
	list         func(body any) any // the part of the answer that is a list, for CSV; nil: there is none

	handle func(ctx context.Context, q *question) (reply, error)
}

func (r route) name() string { return r.method + " " + Prefix + r.path }

// question is a request whose parameters were found good.
type question struct {
	*api
	route  route
	values map[string]any   // string, int64 or bool, by parameter
	view   *generation.View // nil for a route that does without
	status recon.Status     // when the request came
}

// reply is an answer.
type reply struct {
	status int    // 0: 200
	body   any    // nil: none
	next   string // where the next page begins, for answers that do not say so themselves
}

func (q *question) text(name string) string  { s, _ := q.values[name].(string); return s }
func (q *question) number(name string) int64 { n, _ := q.values[name].(int64); return n }
func (q *question) flag(name string) bool    { b, _ := q.values[name].(bool); return b }

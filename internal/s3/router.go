package s3

import (
	"net/http"
	"strings"
)

// target is a compiled route.
type target struct {
	*route
	needs    []param // of route.query
	anyValue []bool  // by needs: whether any value will do
	honours  map[string]bool
}

// router finds the row of the table that serves a request.
type router struct {
	plain map[spot][]*target            // rows without parameters
	sub   map[spot]map[string][]*target // rows by their first parameter
	known map[string]bool               // every parameter the table names
	subs  [3]map[string]bool            // first parameters, by level
}

type spot struct {
	method string
	level  level
}

func newRouter(rows []route) *router {
	r := &router{plain: map[spot][]*target{}, sub: map[spot]map[string][]*target{}, known: map[string]bool{}}
	for i := range rows {
		t := compile(&rows[i])
		at := spot{t.method, t.level}
		for name := range t.honours {
			r.known[name] = true
		}
		if len(t.needs) == 0 {
			r.plain[at] = append(r.plain[at], t)
			continue
		}
		if r.sub[at] == nil {
			r.sub[at] = map[string][]*target{}
		}
		if r.subs[t.level] == nil {
			r.subs[t.level] = map[string]bool{}
		}
		first := t.needs[0].name
		r.sub[at][first] = append(r.sub[at][first], t)
		if first != "x-id" {
			r.subs[t.level][first] = true
		}
	}
	return r
}

func compile(row *route) *target {
	t := &target{route: row, honours: map[string]bool{}}
	for _, name := range strings.Fields(row.params) {
		t.honours[name] = true
	}
	if row.query == "" {
		return t
	}
	for _, need := range strings.Split(row.query, "&") {
		name, value, fixed := strings.Cut(need, "=")
		t.needs = append(t.needs, param{name, value})
		t.anyValue = append(t.anyValue, !fixed)
		t.honours[name] = true
	}
	return t
}

// matches returns how many conditions t has, or -1 when one does not hold.
func (t *target) matches(q query, h http.Header) int {
	for i, need := range t.needs {
		v, ok := q.lookup(need.name)
		if !ok || (!t.anyValue[i] && v != need.value) {
			return -1
		}
	}
	score := 2 * len(t.needs)
	if t.header != "" {
		if _, ok := h[t.header]; !ok {
			return -1
		}
		score++
	}
	return score
}

// find returns the row for a request; nil with an error when there is none.
func (r *router) find(method string, at level, q query, h http.Header) (*target, error) {
	var best *target
	score := -1
	consider := func(rows []*target) {
		for _, t := range rows {
			if n := t.matches(q, h); n > score {
				best, score = t, n
			}
		}
	}
	where := spot{method, at}
	consider(r.plain[where])
	misplaced := ""
	for _, p := range q {
		rows := r.sub[where][p.name]
		consider(rows)
		if rows == nil && r.subs[at][p.name] {
			misplaced = p.name
		}
	}
	if best == nil || (misplaced != "" && !best.honours[misplaced]) {
		return nil, refusal("MethodNotAllowed", codes["MethodNotAllowed"].text).
			with("Method", method).with("ResourceType", resourceType(at, misplaced))
	}
	return best, nil
}

func resourceType(at level, sub string) string {
	if sub != "" {
		return levelNames[at] + " ?" + sub
	}
	return levelNames[at]
}

// checkParams refuses the parameters that the row does not honour. Those that
// begin with "x-" belong to the client: S3 reserves them for its logs.
func (r *router) checkParams(t *target, q query) error {
	for _, p := range q {
		if t.honours[p.name] || strings.HasPrefix(p.name, "x-") && !strings.HasPrefix(p.name, "x-amz-") {
			continue
		}
		if r.known[p.name] {
			return argument(p.name, p.value, "The query parameter "+p.name+" does not go with "+t.action+".")
		}
		return notImplemented("The query parameter " + p.name)
	}
	return nil
}

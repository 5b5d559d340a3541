package s3

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Coverage returns what the gateway answers, as Markdown: the actions, the
// headers and the error codes, each from the table that decides it.
func Coverage() string {
	var b strings.Builder
	done := 0
	for _, r := range routes {
		if r.handler != nil {
			done++
		}
	}
	fmt.Fprintf(&b, "### Actions\n\n%d implemented, %d answered NotImplemented.\n\n", done, len(routes)-done)
	b.WriteString("| Action | Request | Permission in AWS's words | Parameters honoured | |\n|---|---|---|---|---|\n")
	for _, r := range routes {
		state := "yes"
		if r.handler == nil {
			state = "501"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", r.action, r.pattern(), r.permission, strings.Join(strings.Fields(r.params), ", "), state)
	}
	b.WriteString("\n### Headers\n\nAn `x-amz-*` header that is not here is answered NotImplemented by name; so is one that stands here, with an action that does not honour it.\n\n")
	b.WriteString("| Header | Actions | Values |\n|---|---|---|\n")
	fmt.Fprintf(&b, "| x-amz-meta-* | %s | |\n", actionsWith(hContent))
	for _, name := range slices.Sorted(maps.Keys(headerRules)) {
		rule := headerRules[name]
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.ToLower(name), actionsWith(rule.in), allowed(rule.values))
	}
	b.WriteString("\n### Errors\n\n| Code | Status | Text |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(codes)) {
		fmt.Fprintf(&b, "| %s | %d | %s |\n", name, codes[name].status, codes[name].text)
	}
	return b.String()
}

// pattern shows the request that a row serves.
func (r *route) pattern() string {
	path := [...]string{"/", "/bucket", "/bucket/key"}[r.level]
	if r.query != "" {
		path += "?" + r.query
	}
	if r.header != "" {
		path += " " + strings.ToLower(r.header)
	}
	return r.method + " " + path
}

func actionsWith(in headerSet) string {
	if in == hAll {
		return "all"
	}
	var out []string
	for _, r := range routes {
		if r.accepts&in != 0 && r.handler != nil {
			out = append(out, r.action)
		}
	}
	return strings.Join(out, ", ")
}

func allowed(values map[string]string) string {
	var out []string
	for _, v := range slices.Sorted(maps.Keys(values)) {
		if values[v] == "ok" {
			out = append(out, v)
		}
	}
	return strings.Join(out, ", ")
}

package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what one line holds, in bytes: longer texts are cut and
// end in "…". Even escaped, all of it stays below maxLine.
const (
	maxText   = 4096
	maxParam  = 1024
	maxParams = 32 // further ones are left out
	maxLine   = 1 << 20
)

// secretWords mark parameters whose values are never written.
var secretWords = [...]string{"secret", "password", "token", "signature", "credential", "authorization"}

// trimmed returns r bounded and without secrets. It does not change r's map.
func trimmed(r Record) Record {
	for _, s := range []*string{&r.RequestID, &r.Principal, &r.AccessKey, &r.From, &r.Action, &r.Resource, &r.Result, &r.Detail} {
		*s = cut(*s, maxText)
	}
	if len(r.Params) == 0 {
		return r
	}
	params := make(map[string]string, len(r.Params))
	for _, name := range slices.Sorted(maps.Keys(r.Params)) {
		if len(params) == maxParams {
			break
		}
		value := r.Params[name]
		lower := strings.ToLower(name)
		for _, w := range secretWords {
			if strings.Contains(lower, w) {
				value = "***"
			}
		}
		params[cut(name, maxParam)] = cut(value, maxParam)
	}
	r.Params = params
	return r
}

// List joins names for a parameter, each quoted, as far as there is room (one
// at least, if need be cut); "and N more" stands for the rest.
func List(names []string) string {
	const rest = len(" and 1000000000 more")
	var b []byte
	for i, name := range names {
		if i > 0 {
			b = append(b, ' ')
		}
		before := b
		b = strconv.AppendQuote(b, name)
		room := maxParam
		if i < len(names)-1 {
			room -= rest
		}
		if len(b) <= room {
			continue
		}
		shown, left := strings.TrimSuffix(string(before), " "), len(names)-i
		if i == 0 {
			shown, left = cut(string(b), room-len("…")), left-1
		}
		if left > 0 {
			shown += " and " + strconv.Itoa(left) + " more"
		}
		return shown
	}
	return string(b)
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// appendLine appends r as one line. Bytes that are not UTF-8 become U+FFFD.
func appendLine(buf []byte, r Record) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b) // ends with a newline
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		panic("audit: a record of texts cannot be encoded: " + err.Error()) // only a year beyond 9999
	}
	return append(buf, b.Bytes()...)
}

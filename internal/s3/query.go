package s3

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// param is a name and a value of a query, decoded.
type param struct{ name, value string }

// query is the decoded query of a request, without the parameters of a
// presigned signature, which belong to package sigv4.
type query []param

// parseQuery decodes a raw query. A name given twice is an error, since only
// one of them could be honoured.
func parseQuery(raw string) (query, error) {
	if raw == "" {
		return nil, nil
	}
	out := make(query, 0, 1+strings.Count(raw, "&"))
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		var err error
		if name, err = unescape(name); err == nil {
			value, err = unescape(value)
		}
		if err != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, refusal("InvalidURI", "Couldn't parse the specified URI.")
		}
		if strings.HasPrefix(name, "X-Amz-") && signatureParam(name) {
			continue
		}
		if _, twice := out.lookup(name); twice {
			return nil, argument(name, value, "The query parameter "+name+" is given twice.")
		}
		out = append(out, param{name, value})
	}
	return out, nil
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	return url.QueryUnescape(s)
}

func signatureParam(name string) bool {
	switch name {
	case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
		"X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Content-Sha256", "X-Amz-Security-Token":
		return true
	}
	return false
}

func (q query) lookup(name string) (string, bool) {
	for _, p := range q {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

func (q query) has(name string) bool { _, ok := q.lookup(name); return ok }

func (q query) get(name string) string { v, _ := q.lookup(name); return v }

// number returns a parameter that is a whole number from min to max, or def
// when it is absent or empty. A value above max is an error unless clip is set.
func (q query) number(name string, def, min, max int, clip bool) (int, error) {
	v := q.get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	switch {
	case err == nil && clip && n > uint64(max):
		return max, nil
	case err != nil || n < uint64(min) || n > uint64(max):
		limit := max
		if clip {
			limit = 1<<31 - 1
		}
		return 0, argument(name, v, "Argument "+name+" must be an integer between "+itoa(int64(min))+" and "+itoa(int64(limit))+".")
	}
	return int(n), nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

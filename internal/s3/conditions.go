package s3

import (
	"net/http"
	"strings"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// conditions are the four of HTTP, or the four of a copy's source. Each is
// empty where absent.
type conditions struct {
	match, noneMatch               string
	modifiedSince, unmodifiedSince string
}

func readConditions(h http.Header) conditions {
	return conditions{
		match: list(h["If-Match"]), noneMatch: list(h["If-None-Match"]),
		modifiedSince: list(h["If-Modified-Since"]), unmodifiedSince: list(h["If-Unmodified-Since"]),
	}
}

func sourceConditions(h http.Header) conditions {
	return conditions{
		match: list(h["X-Amz-Copy-Source-If-Match"]), noneMatch: list(h["X-Amz-Copy-Source-If-None-Match"]),
		modifiedSince: list(h["X-Amz-Copy-Source-If-Modified-Since"]), unmodifiedSince: list(h["X-Amz-Copy-Source-If-Unmodified-Since"]),
	}
}

func list(values []string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	return strings.Join(values, ", ")
}

// check evaluates the conditions in the order of RFC 9110: an ETag goes before
// a date. The answer is nil, NotModified or PreconditionFailed.
func (c conditions) check(etag string, modified time.Time) error {
	if c == (conditions{}) {
		return nil
	}
	modified = modified.Truncate(time.Second)
	if c.match != "" {
		if !etagIn(c.match, etag, false) {
			return failed("If-Match")
		}
	} else if at, err := http.ParseTime(c.unmodifiedSince); err == nil && modified.After(at) {
		return failed("If-Unmodified-Since")
	}
	if c.noneMatch != "" {
		if etagIn(c.noneMatch, etag, true) {
			return refusal("NotModified", codes["NotModified"].text)
		}
	} else if at, err := http.ParseTime(c.modifiedSince); err == nil && !modified.After(at) {
		return refusal("NotModified", codes["NotModified"].text)
	}
	return nil
}

func failed(condition string) error {
	return refusal("PreconditionFailed", codes["PreconditionFailed"].text).with("Condition", condition)
}

// etagIn reports whether a list of entity tags holds etag. S3 also takes tags
// without quotes; a weak one matches only where weak comparison is asked for.
func etagIn(list, etag string, weak bool) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return true
		}
		if rest, isWeak := strings.CutPrefix(tag, "W/"); isWeak {
			if !weak {
				continue
			}
			tag = rest
		}
		if strings.Trim(tag, `"`) == etag {
			return true
		}
	}
	return false
}

// writeConditions reads If-Match and If-None-Match of a write. If-None-Match
// can only be "*", as in S3.
func writeConditions(h http.Header) (*o3v1.Preconditions, error) {
	match, noneMatch := list(h["If-Match"]), list(h["If-None-Match"])
	given, noneGiven := len(h["If-Match"]) > 0, len(h["If-None-Match"]) > 0
	switch {
	case !given && !noneGiven:
		return nil, nil
	case given && noneGiven:
		return nil, notImplemented("If-Match together with If-None-Match in a write")
	case noneGiven && noneMatch != "*":
		return nil, notImplemented("If-None-Match with another value than * in a write").with("Header", "If-None-Match")
	case noneMatch == "*":
		return &o3v1.Preconditions{IfAbsent: true}, nil
	}
	tag, err := singleTag(match)
	return &o3v1.Preconditions{IfMatch: tag}, err
}

// singleTag reads one entity tag, with or without quotes, or "*".
func singleTag(value string) (string, error) {
	tag := strings.Trim(value, `"`)
	if tag == "" || len(tag) > 128 || strings.ContainsAny(tag, "\", ") || !printable(tag) {
		return "", argument("If-Match", strings.ToValidUTF8(value, "?"), "If-Match must hold one entity tag.")
	}
	return tag, nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// foreseen checks the conditions of a write against the key as it is now, so
// that a body need not be sent in vain. What decides is the commit.
func (g *Gateway) foreseen(r *request, c *o3v1.Preconditions) error {
	got, err := g.ns.GetKey(r.ctx, &o3v1.GetKeyRequest{Volume: r.volume, Bucket: r.bucket, Key: r.key})
	switch kind := errs.KindOf(err); {
	case kind == errs.NoSuchKey:
		if c.GetIfMatch() != "" {
			return err
		}
		return nil
	case kind == errs.Denied:
		return nil // who may write need not be allowed to read
	case err != nil:
		return err
	case c.GetIfAbsent() && !got.Key.GetImplicit():
		return failed("If-None-Match")
	case c.GetIfMatch() != "" && c.IfMatch != "*" && c.IfMatch != etagOf(got.Key):
		return failed("If-Match")
	}
	return nil
}

package s3

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	o3v1 "o3/api/o3/v1"
	"o3/internal/s3/checksum"
	"o3/internal/s3/chunked"
	"o3/internal/s3/xmlapi"
)

const (
	defaultContentType = "binary/octet-stream"
	emptyETag          = "d41d8cd98f00b204e9800998ecf8427e" // MD5 of nothing: what a directory has
)

// contentHeaders reads the attributes that are stored with a key.
func contentHeaders(h http.Header) (*o3v1.Headers, error) {
	out := &o3v1.Headers{}
	size := 0
	for name, values := range h {
		var field *string
		switch name {
		case "Content-Type":
			field = &out.ContentType
		case "Cache-Control":
			field = &out.CacheControl
		case "Content-Disposition":
			field = &out.ContentDisposition
		case "Content-Encoding":
			field = &out.ContentEncoding
		case "Content-Language":
			field = &out.ContentLanguage
		case "Expires":
			field = &out.Expires
		default:
			if !strings.HasPrefix(name, metaPrefix) {
				continue
			}
		}
		value := list(values)
		if !utf8.ValidString(value) || !utf8.ValidString(name) {
			return nil, argument(strings.ToLower(strings.ToValidUTF8(name, "?")), strings.ToValidUTF8(value, "?"), "Header values must be UTF-8.")
		}
		if field != nil {
			*field = value
			continue
		}
		user := strings.ToLower(name[len(metaPrefix):])
		size += len(user) + len(value)
		out.User = append(out.User, &o3v1.Pair{Name: user, Value: value})
	}
	if size > maxUserMeta {
		return nil, refusal("MetadataTooLarge", codes["MetadataTooLarge"].text).
			with("Size", strconv.Itoa(size)).with("MaxSizeAllowed", strconv.Itoa(maxUserMeta))
	}
	slices.SortFunc(out.User, func(a, b *o3v1.Pair) int { return strings.Compare(a.Name, b.Name) })
	out.ContentEncoding = chunked.ContentEncoding(out.ContentEncoding)
	return out, nil
}

// tagsOf reads x-amz-tagging.
func tagsOf(h http.Header) ([]*o3v1.Pair, error) {
	value, err := once(h, "X-Amz-Tagging")
	if value == "" || err != nil {
		return nil, err
	}
	tagging, err := xmlapi.ParseTagHeader(value)
	if err != nil {
		return nil, err
	}
	return pairs(tagging.Tags), nil
}

func pairs(tags []xmlapi.Tag) []*o3v1.Pair {
	out := make([]*o3v1.Pair, len(tags))
	for i, t := range tags {
		out[i] = &o3v1.Pair{Name: t.Key, Value: t.Value}
	}
	return out
}

func tagsFrom(p []*o3v1.Pair) []xmlapi.Tag {
	out := make([]xmlapi.Tag, len(p))
	for i, t := range p {
		out[i] = xmlapi.Tag{Key: t.Name, Value: t.Value}
	}
	return out
}

// describe sets the headers of an answer that describe a key.
func (r *request) describe(key *o3v1.KeyInfo) {
	r.described = true
	r.set("Etag", quoted(etagOf(key)))
	r.set("Last-Modified", modified(key).Format(http.TimeFormat))
	r.set("Accept-Ranges", "bytes")
	h := key.GetHeaders()
	if ct := h.GetContentType(); ct != "" {
		r.set("Content-Type", ct)
	} else {
		r.set("Content-Type", defaultContentType)
	}
	if h != nil {
		r.setIf("Cache-Control", h.CacheControl)
		r.setIf("Content-Disposition", h.ContentDisposition)
		r.setIf("Content-Encoding", h.ContentEncoding)
		r.setIf("Content-Language", h.ContentLanguage)
		r.setIf("Expires", h.Expires)
		for _, p := range h.User {
			r.header[sentMetaPrefix+p.Name] = []string{p.Value}
		}
	}
	if n := len(key.Tags); n > 0 {
		r.set("X-Amz-Tagging-Count", strconv.Itoa(n))
	}
	if r.query.has("versionId") {
		r.set("X-Amz-Version-Id", "null")
	}
	r.setExpiration(key)
}

// overrides are the response-* parameters and the headers they replace.
var overrides = [...][2]string{
	{"response-cache-control", "Cache-Control"}, {"response-content-disposition", "Content-Disposition"},
	{"response-content-encoding", "Content-Encoding"}, {"response-content-language", "Content-Language"},
	{"response-content-type", "Content-Type"}, {"response-expires", "Expires"},
}

func (r *request) override() {
	if len(r.query) == 0 {
		return
	}
	for _, o := range overrides {
		r.setIf(o[1], r.query.get(o[0]))
	}
}

// setChecksum sets the header that holds a checksum, and its type.
func (r *request) setChecksum(c *o3v1.Checksum) {
	if c == nil || len(c.Value) == 0 {
		return
	}
	r.set(http.CanonicalHeaderKey("x-amz-checksum-"+c.Algorithm), checksumText(c))
	r.setIf("X-Amz-Checksum-Type", c.Type)
}

// checksumText is the value of a checksum as headers and documents hold it.
func checksumText(c *o3v1.Checksum) string {
	if c.Type == checksum.Composite.String() {
		return checksum.CompositeString(checksum.Digest{Sum: c.Value}, int(c.Parts))
	}
	return base64.StdEncoding.EncodeToString(c.Value)
}

// checksums is a checksum as documents hold it.
func checksums(c *o3v1.Checksum) []xmlapi.Checksum {
	if c == nil || len(c.Value) == 0 {
		return nil
	}
	return []xmlapi.Checksum{{Algorithm: c.Algorithm, Value: checksumText(c)}}
}

// checksumType is the type of a checksum, "" without one.
func checksumType(c *o3v1.Checksum) string {
	if c == nil || len(c.Value) == 0 {
		return ""
	}
	return c.Type
}

func quoted(etag string) string { return `"` + etag + `"` }

// etagOf returns the ETag of a key; a directory has that of no bytes.
func etagOf(key *o3v1.KeyInfo) string {
	if key.Etag == "" && key.Size == 0 {
		return emptyETag
	}
	return key.Etag
}

func modified(key *o3v1.KeyInfo) time.Time { return instant(key.ModifiedMs) }

func instant(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func owner(user string) xmlapi.Owner { return xmlapi.Owner{ID: user, DisplayName: user} }

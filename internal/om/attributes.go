package om

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
)

// Bounds of what comes along with names and bytes. A listing holds a thousand
// rows in memory, so what a row carries must be small, whoever sends it.
const (
	maxHeaders     = 8 << 10 // bytes of all headers of a key, names and values
	maxTags        = 50
	maxTagName     = 128  // characters
	maxTagValue    = 256  // characters
	maxGrants      = 1000 // of a key; those of a bucket or volume must fit into a log entry
	maxEtag        = 128  // bytes
	maxChecksum    = 64   // bytes of the value
	maxDescription = 1024
)

// checkAttributes refuses a request whose attributes are larger than a row may
// hold, or that could not be sent to an S3 client as they are.
func checkAttributes(m proto.Message) error {
	if r, ok := m.(interface{ GetHeaders() *o3v1.Headers }); ok {
		if err := checkKeyHeaders(r.GetHeaders()); err != nil {
			return err
		}
	}
	if r, ok := m.(interface{ GetTags() []*o3v1.Pair }); ok {
		if err := checkTags(r.GetTags()); err != nil {
			return err
		}
	}
	if r, ok := m.(*o3v1.UpdateKeyRequest); ok && len(r.Grants) > maxGrants {
		return errs.New(errs.Invalid, "grants", fmt.Sprintf("%d grants, at most %d are allowed on a key", len(r.Grants), maxGrants))
	}
	if r, ok := m.(interface{ GetEtag() string }); ok {
		if e := r.GetEtag(); len(e) > maxEtag || strings.ContainsFunc(e, func(c rune) bool { return c <= ' ' || c == '"' || c > '~' }) {
			return errs.New(errs.Invalid, "etag", fmt.Sprintf("must have at most %d printable ASCII characters without quotes", maxEtag))
		}
	}
	if r, ok := m.(interface{ GetChecksum() *o3v1.Checksum }); ok {
		if c := r.GetChecksum(); len(c.GetValue()) > maxChecksum || len(c.GetAlgorithm()) > maxChecksum || len(c.GetType()) > maxChecksum {
			return errs.New(errs.Invalid, "checksum", "is longer than any checksum")
		}
	}
	if r, ok := m.(*o3v1.CreateUploadRequest); ok && (len(r.ChecksumAlgorithm) > maxChecksum || len(r.ChecksumType) > maxChecksum) {
		return errs.New(errs.Invalid, "checksum", "its algorithm or type is longer than any there is")
	}
	if r, ok := m.(interface{ GetDescription() string }); ok && len(r.GetDescription()) > maxDescription {
		return errs.New(errs.Invalid, "description", fmt.Sprintf("has %d bytes, at most %d are allowed", len(r.GetDescription()), maxDescription))
	}
	return checkOwner(m)
}

// checkOwner refuses an owner whom no user can be.
func checkOwner(m proto.Message) error {
	r := m.ProtoReflect()
	if f := r.Descriptor().Fields().ByName("owner"); f != nil && r.Has(f) {
		return ns.CheckUserName(r.Get(f).String())
	}
	return nil
}

func checkTags(tags []*o3v1.Pair) error {
	if len(tags) > maxTags {
		return errs.New(errs.Invalid, "tags", fmt.Sprintf("%d tags, at most %d are allowed", len(tags), maxTags))
	}
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		switch n := utf8.RuneCountInString(t.Name); {
		case n == 0 || n > maxTagName:
			return errs.New(errs.Invalid, "tags", fmt.Sprintf("a name has %d characters, 1 to %d are allowed", n, maxTagName))
		case utf8.RuneCountInString(t.Value) > maxTagValue:
			return errs.New(errs.Invalid, "tag "+t.Name, fmt.Sprintf("its value has more than %d characters", maxTagValue))
		case seen[t.Name]:
			return errs.New(errs.Invalid, "tag "+t.Name, "is given twice")
		}
		seen[t.Name] = true
	}
	return nil
}

func checkKeyHeaders(h *o3v1.Headers) error {
	if h == nil {
		return nil
	}
	size := 0
	for _, x := range []struct{ name, value string }{
		{"content_type", h.ContentType}, {"cache_control", h.CacheControl}, {"content_disposition", h.ContentDisposition},
		{"content_encoding", h.ContentEncoding}, {"content_language", h.ContentLanguage}, {"expires", h.Expires},
		{"storage_class", h.StorageClass}, {"website_redirect", h.WebsiteRedirect},
	} {
		if size += len(x.value); !headerValue(x.value) {
			return errs.New(errs.Invalid, "header "+x.name, "may not hold control characters")
		}
	}
	for _, u := range h.User {
		if !headerName(u.Name) {
			return errs.New(errs.Invalid, fmt.Sprintf("user metadata %q", u.Name), "the name may hold only the characters of HTTP header names")
		}
		if size += len(u.Name) + len(u.Value); !headerValue(u.Value) {
			return errs.New(errs.Invalid, "user metadata "+u.Name, "may not hold control characters")
		}
	}
	if size > maxHeaders {
		return errs.New(errs.TooLarge, "headers", fmt.Sprintf("%d bytes with the user metadata, at most %d are allowed", size, maxHeaders))
	}
	return nil
}

// headerName reports whether s can be (the end of) the name of a header.
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// headerValue reports whether s can be the value of a header.
func headerValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

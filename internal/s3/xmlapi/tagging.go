package xmlapi

import (
	"io"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of tag sets.
const (
	MaxObjectTags = 10
	MaxBucketTags = 50
	maxTagKey     = 128 // UTF-16 units, as S3 counts
	maxTagValue   = 256
)

// DecodeTagging reads the body of PutObjectTagging or PutBucketTagging, at most
// 64 KiB, and checks it: at most max tags, no name twice, lengths and
// characters as S3 allows.
func DecodeTagging(body io.Reader, max int) (Tagging, error) {
	var t Tagging
	n, err := read(body, maxSmallBody, "Tagging")
	if err != nil {
		return t, err
	}
	found := false
	err = n.take(field{name: "TagSet", each: func(x *node) error {
		found = true
		return x.take(field{name: "Tag", many: true, each: func(e *node) error {
			var tag Tag
			err := e.take(field{name: "Key", leaf: &tag.Key}, field{name: "Value", leaf: &tag.Value})
			t.Tags = append(t.Tags, tag)
			return err
		}})
	}})
	if err == nil && !found {
		err = malformed("no TagSet")
	}
	if err == nil {
		err = t.Check(max)
	}
	return t, err
}

// ParseTagHeader reads x-amz-tagging: name=value pairs, URL-encoded and joined
// by "&". Names without a value have the empty one. It checks as DecodeTagging
// does, with MaxObjectTags.
func ParseTagHeader(header string) (Tagging, error) {
	var t Tagging
	for header != "" {
		var piece string
		piece, header, _ = strings.Cut(header, "&")
		name, value, _ := strings.Cut(piece, "=")
		key, err1 := url.QueryUnescape(name)
		val, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return t, &Error{Code: codeInvalidArg, Message: "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
				Elements: [][2]string{{"ArgumentName", "x-amz-tagging"}, {"ArgumentValue", piece}}}
		}
		t.Tags = append(t.Tags, Tag{key, val})
		if len(t.Tags) > MaxObjectTags {
			break
		}
	}
	return t, t.Check(MaxObjectTags)
}

// Check refuses more than max tags, names given twice, and names and values
// that S3 does not allow.
func (t *Tagging) Check(max int) error {
	if len(t.Tags) > max {
		what := "Object tags cannot be greater than 10"
		if max == MaxBucketTags {
			what = "Bucket tag count cannot be greater than 50"
		}
		return &Error{Code: codeBadRequest, Message: what}
	}
	seen := make(map[string]bool, len(t.Tags))
	for _, tag := range t.Tags {
		if tag.Key == "" || !tagText(tag.Key, maxTagKey) {
			return &Error{Code: codeInvalidTag, Message: "The TagKey you have provided is invalid", Elements: [][2]string{{"TagKey", tag.Key}}}
		}
		if !tagText(tag.Value, maxTagValue) {
			return &Error{Code: codeInvalidTag, Message: "The TagValue you have provided is invalid",
				Elements: [][2]string{{"TagKey", tag.Key}, {"TagValue", tag.Value}}}
		}
		if strings.HasPrefix(tag.Key, "aws:") {
			return &Error{Code: codeInvalidTag, Message: "System tags cannot be added/updated by requester", Elements: [][2]string{{"TagKey", tag.Key}}}
		}
		if seen[tag.Key] {
			return &Error{Code: codeInvalidTag, Message: "Cannot provide multiple Tags with the same key", Elements: [][2]string{{"TagKey", tag.Key}}}
		}
		seen[tag.Key] = true
	}
	return nil
}

// tagText reports whether s may be a tag name or value of at most max UTF-16
// units: letters, digits and white space of any script, and _ . : / = + - @.
func tagText(s string, max int) bool {
	units := 0
	for _, r := range s {
		if r == utf8.RuneError {
			return false
		}
		if units++; r > 0xFFFF {
			units++
		}
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && !unicode.Is(unicode.Z, r) && !strings.ContainsRune("_.:/=+-@", r) {
			return false
		}
	}
	return units <= max
}

package s3

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// headerSet says which groups of headers an action honours.
type headerSet uint16

const (
	hContent     headerSet = 1 << iota // attributes of the content, user metadata, storage class
	hTags                              // x-amz-tagging
	hACL                               // x-amz-acl: private
	hBody                              // digests and the framing of a body
	hRead                              // Range, conditions and checksum mode of a read
	hIf                                // If-Match and If-None-Match of a write
	hDelete                            // If-Match of a delete
	hCopy                              // directives of a copy
	hSource                            // the source of a copy and its conditions
	hSourceRange                       // the range of a copied part
	hCreate                            // of a bucket
	hUpload                            // algorithm and type of a checksum to come
	hComplete                          // expected size and type of a whole upload
	hAttributes                        // which attributes to show
	hLifecycle                         // of a lifecycle configuration
	hAll         headerSet = 1<<16 - 1
)

// headerRule is what the gateway does with one header.
type headerRule struct {
	in     headerSet         // where it is honoured; 0: nowhere
	values map[string]string // allowed values; others map to the code of their refusal, "" to NotImplemented
}

// only allows one value; others of S3's are not implemented, the rest wrong.
func only(allowed string, known ...string) map[string]string {
	m := map[string]string{allowed: "ok"}
	for _, k := range known {
		m[k] = "NotImplemented"
	}
	return m
}

// headerRules covers every x-amz-* header of S3 and the conditional headers of
// HTTP. An x-amz-* header that is not here is not implemented.
var headerRules = map[string]headerRule{
	// Every request.
	"X-Amz-Date":                   {in: hAll},
	"X-Amz-Content-Sha256":         {in: hAll},
	"X-Amz-Security-Token":         {in: hAll}, // refused by the signature check
	"X-Amz-User-Agent":             {in: hAll},
	"X-Amz-Expected-Bucket-Owner":  {in: hAll},
	"X-Amz-Sdk-Checksum-Algorithm": {in: hBody},
	"X-Amz-Decoded-Content-Length": {in: hBody},
	"X-Amz-Trailer":                {in: hBody},

	// Bodies.
	"X-Amz-Checksum-Crc32":     {in: hBody | hComplete},
	"X-Amz-Checksum-Crc32c":    {in: hBody | hComplete},
	"X-Amz-Checksum-Crc64nvme": {in: hBody | hComplete},
	"X-Amz-Checksum-Sha1":      {in: hBody | hComplete},
	"X-Amz-Checksum-Sha256":    {in: hBody | hComplete},
	"X-Amz-Checksum-Mode":      {in: hRead, values: only("ENABLED")},
	"X-Amz-Checksum-Algorithm": {in: hUpload},
	"X-Amz-Checksum-Type":      {in: hUpload | hComplete},
	"X-Amz-Mp-Object-Size":     {in: hComplete},

	// Attributes.
	"X-Amz-Storage-Class": {in: hContent, values: only("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA",
		"INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP")},
	"X-Amz-Tagging": {in: hTags},
	"X-Amz-Acl": {in: hACL, values: only("private", "public-read", "public-read-write", "authenticated-read",
		"aws-exec-read", "bucket-owner-read", "bucket-owner-full-control", "log-delivery-write")},
	"X-Amz-Object-Attributes":                      {in: hAttributes},
	"X-Amz-Max-Parts":                              {in: hAttributes},
	"X-Amz-Part-Number-Marker":                     {in: hAttributes},
	"X-Amz-If-Match-Size":                          {in: hDelete},
	"X-Amz-Object-Ownership":                       {in: hCreate, values: only("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")},
	"X-O3-Layout":                                  {in: hCreate},
	"X-Amz-Metadata-Directive":                     {in: hCopy, values: map[string]string{"COPY": "ok", "REPLACE": "ok"}},
	"X-Amz-Tagging-Directive":                      {in: hCopy, values: map[string]string{"COPY": "ok", "REPLACE": "ok"}},
	"X-Amz-Copy-Source":                            {in: hSource},
	"X-Amz-Copy-Source-Range":                      {in: hSourceRange},
	"X-Amz-Copy-Source-If-Match":                   {in: hSource},
	"X-Amz-Copy-Source-If-None-Match":              {in: hSource},
	"X-Amz-Copy-Source-If-Modified-Since":          {in: hSource},
	"X-Amz-Copy-Source-If-Unmodified-Since":        {in: hSource},
	"X-Amz-Source-Expected-Bucket-Owner":           {in: hSource},
	"X-Amz-Transition-Default-Minimum-Object-Size": {in: hLifecycle, values: only(minimumSize, "varies_by_storage_class")},
	"X-Amz-Bucket-Object-Lock-Enabled":             {in: hCreate, values: only("false", "true", "True", "TRUE")},

	// HTTP's own. A body that is a part of something is nowhere understood.
	"Content-Range":       {},
	"Range":               {in: hRead},
	"If-Range":            {in: hRead},
	"If-Match":            {in: hRead | hIf | hDelete},
	"If-None-Match":       {in: hRead | hIf},
	"If-Modified-Since":   {in: hRead},
	"If-Unmodified-Since": {in: hRead},
}

const metaPrefix = "X-Amz-Meta-"

// sentMetaPrefix is how the names of user metadata are written in answers: in
// lower case, as S3 does, since clients take names from them as they stand.
const sentMetaPrefix = "x-amz-meta-"

// ruleFor returns the rule of a header, and whether the header is one that the
// gateway must honour or refuse. name is in canonical form.
func ruleFor(name string) (headerRule, bool) {
	if strings.HasPrefix(name, metaPrefix) {
		return headerRule{in: hContent}, true
	}
	rule, known := headerRules[name]
	return rule, known || strings.HasPrefix(name, "X-Amz-") || strings.HasPrefix(name, "X-O3-")
}

// checkHeaders refuses the headers that the action does not honour, and values
// that nothing honours.
func checkHeaders(t *target, h http.Header) error {
	for name, values := range h {
		if c := name[0]; c != 'X' && c != 'I' && c != 'R' && c != 'C' {
			continue
		}
		rule, governed := ruleFor(name)
		if !governed {
			continue
		}
		if rule.in != hAll && rule.in&t.accepts == 0 {
			return refuseHeader(t, name, rule)
		}
		if rule.values == nil || len(values) == 0 {
			continue
		}
		switch code := rule.values[values[0]]; {
		case code == "ok" && len(values) == 1:
		case code == "NotImplemented":
			return notImplemented("The header "+strings.ToLower(name)+": "+values[0]).with("Header", name)
		case name == "X-Amz-Storage-Class":
			return refusal("InvalidStorageClass", codes["InvalidStorageClass"].text).with("StorageClassRequested", values[0])
		default:
			return argument(strings.ToLower(name), strings.Join(values, ", "),
				"The value of "+strings.ToLower(name)+" is not one of "+strings.Join(slices.Sorted(maps.Keys(rule.values)), ", ")+".")
		}
	}
	return nil
}

func refuseHeader(t *target, name string, rule headerRule) error {
	what := "The header " + strings.ToLower(name)
	if rule.in != 0 {
		what += " with " + t.action
	}
	return notImplemented(what).with("Header", name)
}

// once returns a header that may be given once only.
func once(h http.Header, name string) (string, error) {
	v := h[name]
	switch len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	}
	return "", argument(strings.ToLower(name), strings.Join(v, ", "), "The header "+strings.ToLower(name)+" is given more than once.")
}

package s3target

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"o3/internal/errs"
)

// Scheme begins the URL of a place in a bucket.
const Scheme = "s3://"

// Place says where in which store images are kept. It holds no secret.
type Place struct {
	Bucket   string
	Prefix   string // of all keys: "", or ends with "/"
	Endpoint string // http:// or https://; "" means AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else Amazon's of the region
	Region   string // "" means AWS_REGION, AWS_DEFAULT_REGION, else us-east-1
	Style    string // "true": path-style, "false": virtual-host, "": path-style if there is an endpoint
	Checksum string // that goes with objects: "" means crc64nvme; sha256, none
	Unlocked bool   // the lock is left out

	PathStyle bool // follows Style
}

// IsURL reports whether a target's name is meant to be the URL of a place.
func IsURL(s string) bool {
	return len(s) >= len(Scheme) && strings.EqualFold(s[:len(Scheme)], Scheme)
}

var (
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]{0,62}$`)
)

// Parse reads the URL of a place,
//
//	s3://BUCKET[/PREFIX][?endpoint=URL&region=R&path-style=true|false&checksum=crc64nvme|sha256|none&lock=on|off]
//
// Kind Invalid; the error does not repeat what could be a secret: values, and
// anything of a URL with user information.
func Parse(s string) (Place, error) {
	bad := func(subject, detail string) (Place, error) {
		return Place{}, errs.New(errs.Invalid, subject, detail)
	}
	const form = "s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION"
	u, err := url.Parse(s)
	if err != nil || !IsURL(s) {
		return bad("URL of a bucket", "it has the form "+form)
	}
	if u.User != nil {
		return bad("URL of a bucket", "keys do not belong in it: they come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or, for a node, from its configuration")
	}
	p := Place{Bucket: u.Host}
	if !bucketForm.MatchString(p.Bucket) {
		return bad("URL of a bucket", "it needs the name of a bucket behind s3://, of 3 to 63 of a-z 0-9 . -; a host goes into ?endpoint=")
	}
	if u.Fragment != "" || strings.HasSuffix(s, "#") {
		return bad("URL of bucket "+p.Bucket, "it has a #, which must be written %23")
	}
	if p.Prefix, err = prefixOf(u.Path); err != nil {
		return Place{}, err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("URL of bucket "+p.Bucket, "what is behind ? is malformed")
	}
	for name, values := range query {
		if len(values) != 1 {
			return bad("URL of bucket "+p.Bucket, "a parameter is there twice")
		}
		if err := p.set(name, values[0]); err != nil {
			return Place{}, err
		}
	}
	return p, nil
}

// prefixOf checks the path of a URL.
func prefixOf(path string) (string, error) {
	path = strings.Trim(path, "/")
	if path == "" {
		return "", nil
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "", errs.New(errs.Invalid, "prefix in a bucket", "it must have no empty part, and none of dots only")
		}
	}
	if len(path) > 512 || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return "", errs.New(errs.Invalid, "prefix in a bucket", "it has at most 512 bytes of printable text")
	}
	return path + "/", nil
}

// set takes one parameter.
func (p *Place) set(name, value string) error {
	one := func(of ...string) error {
		if !slices.Contains(of, value) {
			return errs.New(errs.Invalid, "parameter "+name+" of the URL of a bucket", "one of "+strings.Join(of, ", "))
		}
		return nil
	}
	switch name {
	case "endpoint":
		e, err := url.Parse(value)
		if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil || e.RawQuery != "" || e.Fragment != "" {
			return errs.New(errs.Invalid, "parameter endpoint of the URL of a bucket", "http:// or https:// with a host, and no more than a port and a path")
		}
		p.Endpoint = strings.TrimSuffix(value, "/")
	case "region":
		if !regionForm.MatchString(value) {
			return errs.New(errs.Invalid, "parameter region of the URL of a bucket", "a region has 1 to 63 of a-z A-Z 0-9 -")
		}
		p.Region = value
	case "path-style":
		p.Style, p.PathStyle = value, value == "true"
		return one("true", "false")
	case "checksum":
		p.Checksum = value
		return one("crc64nvme", "sha256", "none")
	case "lock":
		p.Unlocked = value == "off"
		return one("on", "off")
	default:
		return errs.New(errs.Invalid, "URL of a bucket", "it may have the parameters endpoint, region, path-style, checksum and lock only; never keys")
	}
	return nil
}

// URL returns the place in its one form, which Parse reads.
func (p Place) URL() string {
	q := url.Values{}
	for name, value := range map[string]string{"endpoint": p.Endpoint, "region": p.Region, "path-style": p.Style, "checksum": p.Checksum} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if p.Unlocked {
		q.Set("lock", "off")
	}
	u := url.URL{Scheme: "s3", Host: p.Bucket, Path: "/" + strings.TrimSuffix(p.Prefix, "/"), RawQuery: q.Encode()}
	if p.Prefix == "" {
		u.Path = ""
	}
	return u.String()
}

// short names the place without its parameters.
func (p Place) short() string { return strings.TrimSuffix(Scheme+p.Bucket+"/"+p.Prefix, "/") }

package xmlapi

import (
	"io"
	"strconv"
	"strings"
)

// Bounds of the request bodies.
const (
	MaxDeleteKeys = 1000
	MaxParts      = 10000
	MaxGrants     = 100

	maxSmallBody    = 64 << 10
	maxDeleteBody   = 4 << 20
	maxCompleteBody = 8 << 20
)

// CreateBucket is CreateBucketConfiguration.
type CreateBucket struct {
	LocationConstraint string // "" where absent
}

// DecodeCreateBucket reads the body of CreateBucket, at most 64 KiB. An empty
// body is the zero value. What only directory buckets have (Location, Bucket)
// and Tags answer NotImplemented.
func DecodeCreateBucket(body io.Reader) (CreateBucket, error) {
	var c CreateBucket
	blank, body, err := empty(body)
	if blank || err != nil {
		return c, err
	}
	n, err := read(body, maxSmallBody, "CreateBucketConfiguration")
	if err != nil {
		return c, err
	}
	err = n.take(
		field{name: "LocationConstraint", leaf: &c.LocationConstraint},
		field{name: "Location", each: later}, field{name: "Bucket", each: later}, field{name: "Tags", each: later})
	c.LocationConstraint = strings.TrimSpace(c.LocationConstraint)
	return c, err
}

// later refuses an element that S3 knows and this package does not.
func later(x *node) error {
	return &Error{Code: codeNotImplemented, Message: "An element you provided implies functionality that is not implemented: " + x.name + "."}
}

// empty reports whether body has no byte at all; else it returns a reader of
// the whole body.
func empty(body io.Reader) (bool, io.Reader, error) {
	var first [1]byte
	n, err := io.ReadFull(body, first[:])
	if n == 0 {
		if err == io.EOF {
			return true, nil, nil
		}
		return false, nil, err
	}
	return false, io.MultiReader(strings.NewReader(string(first[:])), body), nil
}

// DeleteKey names one object to delete. The last three are conditions, empty
// where absent; a caller that does not implement them must refuse them.
type DeleteKey struct {
	Key              string
	VersionID        string
	ETag             string
	LastModifiedTime string
	Size             string
}

// Delete is the body of DeleteObjects.
type Delete struct {
	Quiet   bool
	Objects []DeleteKey // 1 to MaxDeleteKeys
}

// DecodeDelete reads the body of DeleteObjects, at most 4 MiB.
func DecodeDelete(body io.Reader) (Delete, error) {
	var d Delete
	n, err := read(body, maxDeleteBody, "Delete")
	if err != nil {
		return d, err
	}
	quiet := ""
	err = n.take(field{name: "Quiet", leaf: &quiet}, field{name: "Object", many: true, each: func(x *node) error {
		var k DeleteKey
		if len(d.Objects) == MaxDeleteKeys {
			return malformed("more than 1000 keys")
		}
		err := x.take(field{name: "Key", leaf: &k.Key}, field{name: "VersionId", leaf: &k.VersionID},
			field{name: "ETag", leaf: &k.ETag}, field{name: "LastModifiedTime", leaf: &k.LastModifiedTime},
			field{name: "Size", leaf: &k.Size})
		if err == nil && k.Key == "" {
			err = &Error{Code: codeMalformedXML, Message: "User key must have a length greater than 0."}
		}
		d.Objects = append(d.Objects, k)
		return err
	}})
	if err != nil {
		return d, err
	}
	if d.Quiet, err = flag(quiet); err != nil {
		return d, err
	}
	if len(d.Objects) == 0 {
		return d, malformed("no Object")
	}
	return d, nil
}

func flag(s string) (bool, error) {
	switch strings.TrimSpace(s) {
	case "true", "1", "True", "TRUE":
		return true, nil
	case "false", "0", "False", "FALSE", "":
		return false, nil
	}
	return false, malformed("neither true nor false: " + s)
}

// CompletePart names a part of CompleteMultipartUpload.
type CompletePart struct {
	Number    int    // 1 to 10000
	ETag      string // without quotes
	Checksums []Checksum
}

// checksumNames are the algorithms a part may name, each as Checksum<name>.
var checksumNames = [...]string{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"}

// laterChecksums are those of clients that answer NotImplemented.
var laterChecksums = [...]string{"SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"}

// DecodeCompleteUpload reads the body of CompleteMultipartUpload, at most
// 8 MiB. It returns 1 to MaxParts parts in the order given: that they ascend is
// for the caller to check (InvalidPartOrder).
func DecodeCompleteUpload(body io.Reader) ([]CompletePart, error) {
	n, err := read(body, maxCompleteBody, "CompleteMultipartUpload")
	if err != nil {
		return nil, err
	}
	var parts []CompletePart
	err = n.take(field{name: "Part", many: true, each: func(x *node) error {
		if len(parts) == MaxParts {
			return malformed("more than 10000 parts")
		}
		p, err := completePart(x)
		parts = append(parts, p)
		return err
	}})
	if err == nil && len(parts) == 0 {
		err = malformed("no Part")
	}
	if err != nil {
		return nil, err
	}
	return parts, nil
}

func completePart(x *node) (CompletePart, error) {
	var p CompletePart
	var number string
	var sums [len(checksumNames)]string
	fields := append(make([]field, 0, 12), field{name: "PartNumber", leaf: &number}, field{name: "ETag", leaf: &p.ETag})
	for i, name := range checksumNames {
		fields = append(fields, field{name: "Checksum" + name, leaf: &sums[i]})
	}
	for _, name := range laterChecksums {
		fields = append(fields, field{name: "Checksum" + name, each: later})
	}
	if err := x.take(fields...); err != nil {
		return p, err
	}
	for i, name := range checksumNames {
		if sums[i] != "" {
			p.Checksums = append(p.Checksums, Checksum{name, strings.TrimSpace(sums[i])})
		}
	}
	p.ETag = strings.Trim(strings.TrimSpace(p.ETag), `"`)
	var err error
	if p.Number, err = strconv.Atoi(strings.TrimSpace(number)); err != nil || p.ETag == "" {
		return p, malformed("a Part needs PartNumber and ETag")
	}
	if p.Number < 1 || p.Number > MaxParts {
		return p, &Error{Code: codeInvalidArg, Message: "PartNumber must be >= 1 and <= 10000",
			Elements: [][2]string{{"ArgumentName", "partNumber"}, {"ArgumentValue", strconv.Itoa(p.Number)}}}
	}
	return p, nil
}

// DecodeVersioning reads the body of PutBucketVersioning, at most 64 KiB.
func DecodeVersioning(body io.Reader) (Versioning, error) {
	var v Versioning
	n, err := read(body, maxSmallBody, "VersioningConfiguration")
	if err != nil {
		return v, err
	}
	if err := n.take(field{name: "Status", leaf: &v.Status}, field{name: "MfaDelete", leaf: &v.MFADelete}); err != nil {
		return v, err
	}
	if s := v.Status; s != "" && s != "Enabled" && s != "Suspended" {
		return v, malformed("unknown Status " + s)
	}
	if s := v.MFADelete; s != "" && s != "Enabled" && s != "Disabled" {
		return v, malformed("unknown MfaDelete " + s)
	}
	return v, nil
}

// DecodeACL reads the body of PutBucketAcl or PutObjectAcl, at most 64 KiB.
func DecodeACL(body io.Reader) (AccessControlPolicy, error) {
	var p AccessControlPolicy
	n, err := read(body, maxSmallBody, "AccessControlPolicy")
	if err != nil {
		return p, err
	}
	found := false
	err = n.take(
		field{name: "Owner", each: func(x *node) error {
			return x.take(field{name: "ID", leaf: &p.Owner.ID}, field{name: "DisplayName", leaf: &p.Owner.DisplayName})
		}},
		field{name: "AccessControlList", each: func(x *node) error {
			found = true
			return x.take(field{name: "Grant", many: true, each: func(g *node) error {
				grant, err := decodeGrant(g)
				p.Grants = append(p.Grants, grant)
				if len(p.Grants) > MaxGrants {
					return malformed("more than 100 grants")
				}
				return err
			}})
		}})
	if err == nil && !found {
		err = malformed("no AccessControlList")
	}
	return p, err
}

func decodeGrant(x *node) (Grant, error) {
	var g Grant
	kind := ""
	err := x.take(field{name: "Permission", leaf: &g.Permission}, field{name: "Grantee", each: func(e *node) error {
		kind = e.kind
		return e.take(field{name: "ID", leaf: &g.Grantee.ID}, field{name: "DisplayName", leaf: &g.Grantee.DisplayName},
			field{name: "URI", leaf: &g.Grantee.URI}, field{name: "EmailAddress", leaf: &g.Grantee.EmailAddress},
			field{name: "Type", leaf: &kind})
	}})
	if err != nil {
		return g, err
	}
	switch g.Permission {
	case "FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP":
	default:
		return g, malformed("unknown Permission " + g.Permission)
	}
	t := g.Grantee
	ok := false
	switch kind {
	case "CanonicalUser":
		ok = t.ID != "" && t.URI == "" && t.EmailAddress == ""
	case "Group":
		ok = t.URI != "" && t.ID == "" && t.EmailAddress == ""
	case "AmazonCustomerByEmail":
		ok = t.EmailAddress != "" && t.ID == "" && t.URI == ""
	}
	if !ok {
		return g, malformed("Grantee must be of type CanonicalUser with ID, Group with URI or AmazonCustomerByEmail with EmailAddress")
	}
	return g, nil
}

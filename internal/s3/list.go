package s3

import (
	"encoding/base64"
	"net/http"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/xmlapi"
)

// listing is what the three listings of keys have in common.
type listing struct {
	prefix, delimiter, encoding string
	max                         int
}

func (g *Gateway) listingOf(r *request) (listing, error) {
	l := listing{prefix: r.query.get("prefix"), delimiter: r.query.get("delimiter")}
	var err error
	if l.encoding, err = encodingType(r.query); err != nil {
		return l, err
	}
	l.max, err = r.query.number("max-keys", g.opts.ListMax, 0, g.opts.ListMax, true)
	return l, err
}

func encodingType(q query) (string, error) {
	v := q.get("encoding-type")
	if v != "" && v != xmlapi.EncodingURL {
		return "", argument("encoding-type", v, "Invalid Encoding Method specified in Request")
	}
	return v, nil
}

// page asks the namespace for one page. max-keys of 0 still asks, so that who
// may not list is told so.
func (g *Gateway) page(r *request, l listing, startAfter, token string) (*o3v1.ListKeysResponse, error) {
	got, err := g.ns.ListKeys(r.ctx, &o3v1.ListKeysRequest{
		Volume: r.volume, Bucket: r.bucket, Prefix: l.prefix, Delimiter: l.delimiter,
		StartAfter: startAfter, Token: token, Limit: uint32(max(l.max, 1)),
	})
	if err != nil {
		return nil, err
	}
	if l.max == 0 {
		return &o3v1.ListKeysResponse{}, nil
	}
	return got, nil
}

// contents turns the keys of a page into documents.
func contents(keys []*o3v1.KeyInfo, owners bool) []xmlapi.Object {
	out := make([]xmlapi.Object, len(keys))
	for i, k := range keys {
		out[i] = xmlapi.Object{
			Key: k.Name, LastModified: modified(k), ETag: etagOf(k), Size: int64(k.Size),
			ChecksumAlgorithm: k.GetChecksum().GetAlgorithm(), ChecksumType: checksumType(k.Checksum),
		}
		if owners {
			o := owner(k.Owner)
			out[i].Owner = &o
		}
	}
	return out
}

// listObjects is ListObjects, version 1.
func (g *Gateway) listObjects(r *request) (reply, error) {
	if v, given := r.query.lookup("list-type"); given {
		return reply{}, argument("list-type", v, "Invalid List Type specified in Request")
	}
	l, err := g.listingOf(r)
	if err != nil {
		return reply{}, err
	}
	marker := r.query.get("marker")
	got, err := g.page(r, l, marker, "")
	if err != nil {
		return reply{}, err
	}
	out := &xmlapi.ListObjects{
		Name: r.bucket, Prefix: l.prefix, Marker: marker, MaxKeys: l.max, Delimiter: l.delimiter, EncodingType: l.encoding,
		IsTruncated: got.Truncated, Contents: contents(got.Keys, true), CommonPrefixes: got.CommonPrefixes,
	}
	if got.Truncated {
		out.NextMarker = got.NextMarker
	}
	return reply{status: http.StatusOK, document: out}, nil
}

// listObjectsV2 is ListObjectsV2.
func (g *Gateway) listObjectsV2(r *request) (reply, error) {
	l, err := g.listingOf(r)
	if err != nil {
		return reply{}, err
	}
	owners := false
	switch v := r.query.get("fetch-owner"); v {
	case "true":
		owners = true
	case "false", "":
	default:
		return reply{}, argument("fetch-owner", v, "fetch-owner must be true or false")
	}
	given, hasToken := r.query.lookup("continuation-token")
	token := ""
	if hasToken {
		if token, err = decodeToken(given); err != nil {
			return reply{}, err
		}
	}
	start := r.query.get("start-after")
	got, err := g.page(r, l, start, token)
	if err != nil {
		if hasToken && errs.KindOf(err) == errs.Invalid {
			err = badToken(given)
		}
		return reply{}, err
	}
	out := &xmlapi.ListObjectsV2{
		Name: r.bucket, Prefix: l.prefix, StartAfter: start, ContinuationToken: given,
		KeyCount: len(got.Keys) + len(got.CommonPrefixes), MaxKeys: l.max, Delimiter: l.delimiter, EncodingType: l.encoding,
		IsTruncated: got.Truncated, Contents: contents(got.Keys, owners), CommonPrefixes: got.CommonPrefixes,
	}
	if got.Truncated {
		out.NextContinuationToken = base64.RawURLEncoding.EncodeToString([]byte(got.NextToken))
	}
	return reply{status: http.StatusOK, document: out}, nil
}

// decodeToken returns the namespace's token; the outer encoding keeps it
// opaque and free of what URLs and XML cannot hold.
func decodeToken(given string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(given)
	if err != nil || len(raw) == 0 || strings.ToValidUTF8(string(raw), "") != string(raw) {
		return "", badToken(given)
	}
	return string(raw), nil
}

func badToken(given string) error {
	return argument("continuation-token", given, "The continuation token provided is incorrect")
}

// listObjectVersions is ListObjectVersions: every key has the version "null".
func (g *Gateway) listObjectVersions(r *request) (reply, error) {
	l, err := g.listingOf(r)
	if err != nil {
		return reply{}, err
	}
	marker, version := r.query.get("key-marker"), r.query.get("version-id-marker")
	if version != "" {
		if marker == "" {
			return reply{}, argument("version-id-marker", version, "A version-id marker cannot be specified without a key marker.")
		}
		if version != "null" {
			return reply{}, argument("version-id-marker", version, "Invalid version id specified")
		}
	}
	got, err := g.page(r, l, marker, "")
	if err != nil {
		return reply{}, err
	}
	out := &xmlapi.ListVersions{
		Name: r.bucket, Prefix: l.prefix, KeyMarker: marker, VersionIDMarker: version, MaxKeys: l.max,
		Delimiter: l.delimiter, EncodingType: l.encoding, IsTruncated: got.Truncated, CommonPrefixes: got.CommonPrefixes,
		Versions: make([]xmlapi.Version, 0, len(got.Keys)),
	}
	for _, o := range contents(got.Keys, true) {
		out.Versions = append(out.Versions, xmlapi.Version{Object: o, VersionID: "null", IsLatest: true})
	}
	if got.Truncated {
		out.NextKeyMarker, out.NextVersionIDMarker = got.NextMarker, "null"
	}
	return reply{status: http.StatusOK, document: out}, nil
}

package s3

import (
	"net/http"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/s3/xmlapi"
)

// attributes are what x-amz-object-attributes may ask for.
type attributes struct{ etag, checksum, parts, class, size bool }

func attributesOf(h http.Header) (a attributes, err error) {
	asked := list(h["X-Amz-Object-Attributes"])
	for name := range strings.SplitSeq(asked, ",") {
		switch strings.TrimSpace(name) {
		case "ETag":
			a.etag = true
		case "Checksum":
			a.checksum = true
		case "ObjectParts":
			a.parts = true
		case "StorageClass":
			a.class = true
		case "ObjectSize":
			a.size = true
		default:
			return a, argument("x-amz-object-attributes", asked, "Invalid attribute name specified.")
		}
	}
	return a, nil
}

// getObjectAttributes is GetObjectAttributes.
func (g *Gateway) getObjectAttributes(r *request) (reply, error) {
	h := r.Request.Header
	asked, err := attributesOf(h)
	if err != nil {
		return reply{}, err
	}
	max, err := headerNumber(h, "X-Amz-Max-Parts", listPage)
	if err != nil {
		return reply{}, err
	}
	marker, err := headerNumber(h, "X-Amz-Part-Number-Marker", 0)
	if err != nil {
		return reply{}, err
	}
	key, err := g.lookup(r, false)
	if err != nil {
		return reply{}, err
	}
	r.set("Last-Modified", modified(key).Format(http.TimeFormat))
	if r.query.has("versionId") {
		r.set("X-Amz-Version-Id", "null")
	}
	return reply{status: http.StatusOK, document: &attributesDocument{asked, key, min(max, listPage), marker}}, nil
}

func headerNumber(h http.Header, name string, def int) (int, error) {
	value, err := once(h, name)
	if value == "" || err != nil {
		return def, err
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, argument(strings.ToLower(name), value, "The value of "+strings.ToLower(name)+" must be a whole number.")
	}
	return int(n), nil
}

// attributesDocument is GetObjectAttributesResponse.
type attributesDocument struct {
	asked       attributes
	key         *o3v1.KeyInfo
	max, marker int
}

// AppendXML implements document.
func (d *attributesDocument) AppendXML(b []byte) []byte {
	b = append(b, xmlapi.Header+`<GetObjectAttributesResponse xmlns="`+xmlapi.Namespace+`">`...)
	if d.asked.etag {
		b = element(b, "ETag", etagOf(d.key))
	}
	if sum := checksums(d.key.Checksum); d.asked.checksum && sum != nil {
		b = append(b, "<Checksum>"...)
		b = element(b, "Checksum"+sum[0].Algorithm, sum[0].Value)
		b = element(b, "ChecksumType", d.key.Checksum.Type)
		b = append(b, "</Checksum>"...)
	}
	if d.asked.parts && len(d.key.PartSizes) > 0 {
		b = d.appendParts(b)
	}
	if d.asked.class {
		b = element(b, "StorageClass", "STANDARD")
	}
	if d.asked.size {
		b = element(b, "ObjectSize", strconv.FormatUint(d.key.Size, 10))
	}
	return append(b, "</GetObjectAttributesResponse>"...)
}

func (d *attributesDocument) appendParts(b []byte) []byte {
	sizes := d.key.PartSizes
	from := min(d.marker, len(sizes))
	to := min(from+d.max, len(sizes))
	b = append(b, "<ObjectParts>"...)
	b = element(b, "PartsCount", strconv.Itoa(len(sizes)))
	b = element(b, "PartNumberMarker", strconv.Itoa(d.marker))
	b = element(b, "NextPartNumberMarker", strconv.Itoa(to))
	b = element(b, "MaxParts", strconv.Itoa(d.max))
	b = element(b, "IsTruncated", strconv.FormatBool(to < len(sizes)))
	for i := from; i < to; i++ {
		b = append(b, "<Part>"...)
		b = element(b, "PartNumber", strconv.Itoa(i+1))
		b = element(b, "Size", strconv.FormatUint(sizes[i], 10))
		b = append(b, "</Part>"...)
	}
	return append(b, "</ObjectParts>"...)
}

func element(b []byte, name, value string) []byte {
	b = append(append(append(b, '<'), name...), '>')
	b = xmlapi.AppendEscaped(b, value)
	return append(append(append(b, "</"...), name...), '>')
}

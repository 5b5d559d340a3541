package s3

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/checksum"
	"o3/internal/s3/xmlapi"
)

// completeUpload is CompleteMultipartUpload. Sent again after it succeeded, it
// succeeds again, as long as the key is the one it made.
func (g *Gateway) completeUpload(r *request) (reply, error) {
	h := r.Request.Header
	cond, err := writeConditions(h)
	if err != nil {
		return reply{}, err
	}
	whole, err := wholeChecksum(h)
	if err != nil {
		return reply{}, err
	}
	b, err := g.plainBody(r)
	if err != nil {
		return reply{}, err
	}
	named, err := xmlapi.DecodeCompleteUpload(b)
	if err != nil {
		return reply{}, err
	}
	c := completion{g: g, r: r, named: named, whole: whole, req: &o3v1.CompleteUploadRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key, UploadId: r.query.get("uploadId"), If: cond,
		MinPartSize: uint64(g.opts.MinPartSize),
	}}
	if err := c.name(); err != nil {
		return reply{}, err
	}
	key, err := c.commit()
	if errs.KindOf(err) == errs.NoSuchUpload {
		if key, err = g.completedBefore(r, c.req.Etag, err); err != nil {
			return reply{}, uploadError(r, err)
		}
	}
	if err != nil {
		return reply{}, err
	}
	r.setExpiration(key)
	return reply{status: http.StatusOK, document: &xmlapi.CompletedUpload{
		Location: r.location(), Bucket: r.bucket, Key: r.key, ETag: etagOf(key),
		Checksums: checksums(key.Checksum), ChecksumType: checksumType(key.Checksum),
	}}, nil
}

// completedBefore returns the key that an upload made which is gone by now.
func (g *Gateway) completedBefore(r *request, etag string, gone error) (*o3v1.KeyInfo, error) {
	got, err := g.ns.GetKey(r.ctx, &o3v1.GetKeyRequest{Volume: r.volume, Bucket: r.bucket, Key: r.key})
	if err != nil || got.Key.Etag != etag {
		return nil, gone
	}
	return got.Key, nil
}

// wholeSum is the checksum that a client expects of a whole object.
type wholeSum struct {
	checksum.Digest
	parts int // of the form "value-parts", 0 without it
}

// wholeChecksum reads x-amz-checksum-* of CompleteMultipartUpload.
func wholeChecksum(h http.Header) (w wholeSum, err error) {
	for _, a := range checksum.Algorithms() {
		values, given := h[http.CanonicalHeaderKey(a.Header())]
		if !given {
			continue
		}
		if w.Algorithm != checksum.None || len(values) != 1 {
			return w, refusal("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		value, parts, composite := strings.Cut(values[0], "-")
		if composite {
			if w.parts, err = strconv.Atoi(parts); err != nil || w.parts < 1 {
				return w, refusal("InvalidRequest", "Value for "+a.Header()+" header is invalid.")
			}
		}
		if w.Digest, err = checksum.ParseDigest(a, value); err != nil {
			return w, err
		}
	}
	return w, nil
}

// completion turns the parts a client names into the command that makes the
// object.
type completion struct {
	g     *Gateway
	r     *request
	named []xmlapi.CompletePart
	whole wholeSum
	req   *o3v1.CompleteUploadRequest
}

// name puts the parts into the command and computes the ETag they give.
func (c *completion) name() error {
	sums := make([][16]byte, len(c.named))
	for i, p := range c.named {
		if i > 0 && p.Number <= c.named[i-1].Number {
			return errs.New(errs.InvalidPartOrder, c.r.key, "")
		}
		var ok bool
		if sums[i], ok = md5Of(p.ETag); !ok {
			return c.invalid(p)
		}
		c.req.Parts = append(c.req.Parts, &o3v1.CompletePart{Number: uint32(p.Number), Etag: strings.ToLower(p.ETag)})
	}
	c.req.Etag = checksum.MultipartETag(sums)
	return nil
}

func (c *completion) invalid(p xmlapi.CompletePart) error {
	return refusal("InvalidPart", codes["InvalidPart"].text).with("UploadId", c.req.UploadId).
		with("PartNumber", strconv.Itoa(p.Number)).with("ETag", p.ETag)
}

// commit checks the parts as they are stored, and sends the command.
func (c *completion) commit() (*o3v1.KeyInfo, error) {
	upload, parts, err := c.stored()
	if err != nil {
		return nil, err
	}
	if err := c.measure(parts); err != nil {
		return nil, err
	}
	if err := c.seal(upload, parts); err != nil {
		return nil, err
	}
	got, err := c.g.ns.CompleteUpload(c.r.ctx, c.req)
	if err != nil {
		return nil, err
	}
	return got.Key, nil
}

// stored returns the upload and its parts, in the order named.
func (c *completion) stored() (*o3v1.UploadInfo, []*o3v1.PartInfo, error) {
	out := make([]*o3v1.PartInfo, 0, len(c.named))
	after := uint32(0)
	for {
		got, err := c.g.ns.ListParts(c.r.ctx, &o3v1.ListPartsRequest{
			Volume: c.r.volume, Bucket: c.r.bucket, Key: c.r.key, UploadId: c.req.UploadId, NumberMarker: after, Limit: listPage,
		})
		if err != nil {
			return nil, nil, err
		}
		for _, p := range got.Parts {
			after = p.Number
			if at := len(out); at < len(c.named) && uint32(c.named[at].Number) == p.Number {
				out = append(out, p)
			} else if at < len(c.named) && uint32(c.named[at].Number) < p.Number {
				return nil, nil, c.invalid(c.named[at])
			}
		}
		if len(out) == len(c.named) {
			return got.Upload, out, nil
		}
		if !got.Truncated || len(got.Parts) == 0 {
			return nil, nil, c.invalid(c.named[len(out)])
		}
	}
}

// measure checks the ETag, checksum and size of each part, and the size of the
// whole.
func (c *completion) measure(parts []*o3v1.PartInfo) error {
	total := int64(0)
	for i, p := range parts {
		if p.Etag != c.req.Parts[i].Etag || !sameChecksums(c.named[i].Checksums, p.Checksum) {
			return c.invalid(c.named[i])
		}
		size := int64(p.Size)
		if i < len(parts)-1 && size < c.g.opts.MinPartSize {
			return refusal("EntityTooSmall", codes["EntityTooSmall"].text).
				with("ProposedSize", itoa(size)).with("MinSizeAllowed", itoa(c.g.opts.MinPartSize)).
				with("PartNumber", itoa(int64(p.Number))).with("ETag", p.Etag)
		}
		if total += size; total > maxObjectSize {
			return tooLarge(total, maxObjectSize)
		}
	}
	c.req.Size, c.req.SizeSet = uint64(total), true
	want, err := once(c.r.Request.Header, "X-Amz-Mp-Object-Size")
	if want == "" || err != nil {
		return err
	}
	if n, err := strconv.ParseInt(want, 10, 64); err != nil || n < 0 {
		return argument("x-amz-mp-object-size", want, "Value for x-amz-mp-object-size header is invalid.")
	} else if n != total {
		return refusal("InvalidRequest", "The provided 'x-amz-mp-object-size' header does not match what was computed.").
			with("ProvidedSize", want).with("ComputedSize", itoa(total))
	}
	return nil
}

// sameChecksums reports whether what a client says of a part is what is stored.
func sameChecksums(given []xmlapi.Checksum, stored *o3v1.Checksum) bool {
	for _, s := range given {
		if stored == nil || s.Algorithm != stored.Algorithm || s.Value != checksumText(stored) {
			return false
		}
	}
	return true
}

// seal computes the checksum of the whole object from those of its parts, and
// compares it with the one that the client expects.
func (c *completion) seal(upload *o3v1.UploadInfo, parts []*o3v1.PartInfo) error {
	algorithm, err := checksum.ParseAlgorithm(upload.ChecksumAlgorithm)
	if err != nil {
		return err
	}
	if asked := list(c.r.Request.Header["X-Amz-Checksum-Type"]); asked != "" && asked != upload.ChecksumType {
		return refusal("InvalidRequest", "The upload was created using the "+orNone(upload.ChecksumType)+" checksum mode. The complete request must use the same checksum mode.")
	}
	if c.whole.Algorithm != algorithm && c.whole.Algorithm != checksum.None {
		return refusal("InvalidRequest", "The upload was created using a "+orNone(upload.ChecksumAlgorithm)+" checksum. The complete request must use the same.")
	}
	if algorithm == checksum.None {
		return nil
	}
	sums := make([]checksum.Part, len(parts))
	for i, p := range parts {
		if p.GetChecksum().GetAlgorithm() != upload.ChecksumAlgorithm {
			return c.invalid(c.named[i])
		}
		sums[i] = checksum.Part{Sum: p.Checksum.Value, Size: int64(p.Size)}
	}
	var found checksum.Digest
	c.req.Checksum = &o3v1.Checksum{Algorithm: algorithm.String(), Type: upload.ChecksumType}
	if upload.ChecksumType == checksum.FullObject.String() {
		var ok bool
		if found, ok = checksum.FullObjectOf(algorithm, sums); !ok {
			return errs.New(errs.Corrupt, c.r.key, "the checksums of the parts do not combine")
		}
	} else {
		found = checksum.CompositeOf(algorithm, sums)
		c.req.Checksum.Parts = uint32(len(parts))
	}
	c.req.Checksum.Value = found.Sum
	if c.whole.Algorithm != checksum.None && (!bytes.Equal(c.whole.Sum, found.Sum) || c.whole.parts != 0 && c.whole.parts != len(parts)) {
		return refusal("BadDigest", "The "+algorithm.String()+" you specified did not match the calculated checksum.")
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "NONE"
	}
	return s
}

package s3

import (
	"encoding/hex"
	"net/http"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/checksum"
	"o3/internal/s3/xmlapi"
)

// createUpload is CreateMultipartUpload.
func (g *Gateway) createUpload(r *request) (reply, error) {
	h := r.Request.Header
	headers, err := contentHeaders(h)
	if err != nil {
		return reply{}, err
	}
	tags, err := tagsOf(h)
	if err != nil {
		return reply{}, err
	}
	algorithm, err := checksum.ParseAlgorithm(list(h["X-Amz-Checksum-Algorithm"]))
	if err != nil {
		return reply{}, err
	}
	kind, err := checksum.ParseType(algorithm, list(h["X-Amz-Checksum-Type"]))
	if err != nil {
		return reply{}, err
	}
	got, err := g.ns.CreateUpload(r.ctx, &o3v1.CreateUploadRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key, Headers: headers, Tags: tags,
		ChecksumAlgorithm: algorithm.String(), ChecksumType: kind.String(),
	})
	if err != nil {
		return reply{}, err
	}
	r.setIf("X-Amz-Checksum-Algorithm", algorithm.String())
	r.setIf("X-Amz-Checksum-Type", kind.String())
	r.setAbort(got.Upload)
	return reply{status: http.StatusOK, document: &xmlapi.InitiateMultipartUpload{
		Bucket: r.bucket, Key: r.key, UploadID: got.Upload.UploadId,
	}}, nil
}

// upload returns the upload that a request names.
func (g *Gateway) upload(r *request) (*o3v1.UploadInfo, error) {
	got, err := g.ns.GetUpload(r.ctx, &o3v1.GetUploadRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key, UploadId: r.query.get("uploadId"),
	})
	if err != nil {
		return nil, uploadError(r, err)
	}
	return got.Upload, nil
}

// uploadError names the upload that does not exist; an id that is no id does
// not exist either.
func uploadError(r *request, err error) error {
	if errs.KindOf(err) != errs.NoSuchUpload {
		return err
	}
	return &apiError{code: "NoSuchUpload", message: codes["NoSuchUpload"].text, cause: err,
		elements: [][2]string{{"UploadId", r.query.get("uploadId")}}}
}

// partNumber reads the number of a part.
func (g *Gateway) partNumber(r *request) (int, error) {
	n, err := r.query.number("partNumber", 0, 1, g.opts.MaxParts, false)
	if err != nil || n == 0 {
		return 0, argument("partNumber", r.query.get("partNumber"), "Part number must be an integer between 1 and "+itoa(int64(g.opts.MaxParts))+", inclusive")
	}
	return n, nil
}

// uploadPart is UploadPart.
func (g *Gateway) uploadPart(r *request) (reply, error) {
	number, err := g.partNumber(r)
	if err != nil {
		return reply{}, err
	}
	// The upload is looked up before the body is read: it may not exist, and
	// it says which checksum its parts have.
	upload, err := g.upload(r)
	if err != nil {
		return reply{}, err
	}
	algorithm, err := checksum.ParseAlgorithm(upload.ChecksumAlgorithm)
	if err != nil {
		return reply{}, err
	}
	if err := r.checkLength(); err != nil {
		return reply{}, err
	}
	b, err := g.openBody(r, maxPutSize, algorithm)
	if err != nil {
		return reply{}, err
	}
	if given, err := checksum.FromHeader(r.Request.Header, ""); err == nil && algorithm != checksum.None &&
		given.Checksum.Algorithm != checksum.None && given.Checksum.Algorithm != algorithm {
		return reply{}, refusal("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: "+
			strings.ToLower(algorithm.String())+", actual checksum Type: "+strings.ToLower(given.Checksum.Algorithm.String()))
	}
	s, err := g.receive(r, b, nil)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := r.committing()
	defer cancel()
	got, err := g.ns.CommitPart(ctx, &o3v1.CommitPartRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key, UploadId: upload.UploadId, Number: uint32(number),
		Size: uint64(s.result.Size), Etag: s.result.ETag(), Extents: s.extents, Data: s.data, Checksum: s.checksum(), DataMs: s.begun,
	})
	if err != nil {
		g.dropRefused(r, s, err)
		return reply{}, uploadError(r, err)
	}
	r.set("Etag", quoted(got.Part.Etag))
	if c := got.Part.Checksum; c != nil {
		r.set(http.CanonicalHeaderKey("x-amz-checksum-"+c.Algorithm), checksumText(c))
	}
	return reply{status: http.StatusOK}, nil
}

// abortUpload is AbortMultipartUpload.
func (g *Gateway) abortUpload(r *request) (reply, error) {
	_, err := g.ns.AbortUpload(r.ctx, &o3v1.AbortUploadRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key, UploadId: r.query.get("uploadId"),
	})
	if err != nil {
		return reply{}, uploadError(r, err)
	}
	return reply{status: http.StatusNoContent}, nil
}

// listParts is ListParts.
func (g *Gateway) listParts(r *request) (reply, error) {
	encoding, err := encodingType(r.query)
	if err != nil {
		return reply{}, err
	}
	limit, err := r.query.number("max-parts", listPage, 0, listPage, true)
	if err != nil {
		return reply{}, err
	}
	marker, err := r.query.number("part-number-marker", 0, 0, 1<<31-1, false)
	if err != nil {
		return reply{}, err
	}
	got, err := g.ns.ListParts(r.ctx, &o3v1.ListPartsRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key, UploadId: r.query.get("uploadId"),
		NumberMarker: uint32(marker), Limit: uint32(max(limit, 1)),
	})
	if err != nil {
		return reply{}, uploadError(r, err)
	}
	u := got.Upload
	r.setAbort(u)
	out := &xmlapi.ListParts{
		Bucket: r.bucket, Key: r.key, UploadID: u.UploadId, Initiator: owner(u.Owner), Owner: owner(u.Owner),
		PartNumberMarker: marker, MaxParts: limit, EncodingType: encoding,
		ChecksumAlgorithm: u.ChecksumAlgorithm, ChecksumType: u.ChecksumType,
	}
	if limit > 0 {
		out.IsTruncated = got.Truncated
		for _, p := range got.Parts {
			out.Parts = append(out.Parts, xmlapi.Part{
				Number: int(p.Number), LastModified: instant(p.ModifiedMs), ETag: p.Etag, Size: int64(p.Size), Checksums: checksums(p.Checksum),
			})
			out.NextMarker = int(p.Number)
		}
	}
	return reply{status: http.StatusOK, document: out}, nil
}

// listUploads is ListMultipartUploads.
func (g *Gateway) listUploads(r *request) (reply, error) {
	encoding, err := encodingType(r.query)
	if err != nil {
		return reply{}, err
	}
	limit, err := r.query.number("max-uploads", listPage, 0, listPage, true)
	if err != nil {
		return reply{}, err
	}
	out := &xmlapi.ListUploads{
		Bucket: r.bucket, KeyMarker: r.query.get("key-marker"), UploadIDMarker: r.query.get("upload-id-marker"),
		Prefix: r.query.get("prefix"), Delimiter: r.query.get("delimiter"), EncodingType: encoding, MaxUploads: limit,
	}
	req := &o3v1.ListUploadsRequest{
		Volume: r.volume, Bucket: r.bucket, Prefix: out.Prefix, Delimiter: out.Delimiter,
		KeyMarker: out.KeyMarker, Limit: uint32(max(limit, 1)),
	}
	if out.KeyMarker != "" { // without one S3 ignores the other marker
		req.UploadIdMarker = out.UploadIDMarker
	}
	got, err := g.ns.ListUploads(r.ctx, req)
	if err != nil {
		return reply{}, err
	}
	if limit > 0 {
		out.IsTruncated, out.CommonPrefixes = got.Truncated, got.CommonPrefixes
		out.NextKeyMarker, out.NextUploadIDMarker = got.NextKeyMarker, got.NextUploadIdMarker
		for _, u := range got.Uploads {
			out.Uploads = append(out.Uploads, xmlapi.Upload{
				Key: u.Name, UploadID: u.UploadId, Initiator: owner(u.Owner), Owner: owner(u.Owner), Initiated: instant(u.CreatedMs),
				ChecksumAlgorithm: u.ChecksumAlgorithm, ChecksumType: u.ChecksumType,
			})
		}
	}
	return reply{status: http.StatusOK, document: out}, nil
}

// md5Of reads the ETag of a part.
func md5Of(etag string) (sum [16]byte, ok bool) {
	if len(etag) != 32 {
		return sum, false
	}
	n, err := hex.Decode(sum[:], []byte(etag))
	return sum, err == nil && n == len(sum)
}

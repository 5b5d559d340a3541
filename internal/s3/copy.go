package s3

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/checksum"
	"o3/internal/s3/xmlapi"
)

// copyTries bounds how often a copy starts over because its source changed
// between the look at it and the commit.
const copyTries = 5

// sourceOf reads x-amz-copy-source: "bucket/key", URL-encoded, with or without
// a slash in front, perhaps with "?versionId=null".
func (g *Gateway) sourceOf(r *request) (address, error) {
	raw, err := once(r.Request.Header, "X-Amz-Copy-Source")
	if err != nil {
		return address{}, err
	}
	bad := argument("x-amz-copy-source", strings.ToValidUTF8(raw, "?"), "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	path, version, versioned := strings.Cut(raw, "?versionId=")
	path, err = url.PathUnescape(strings.TrimPrefix(path, "/"))
	if err != nil || !utf8.ValidString(path) {
		return address{}, bad
	}
	if strings.HasPrefix(path, "arn:") {
		return address{}, notImplemented("An access point as x-amz-copy-source")
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if bucket == "" || key == "" {
		return address{}, bad
	}
	if err := checkBucketName(bucket); err != nil {
		return address{}, err
	}
	if err := checkKey(key); err != nil {
		return address{}, err
	}
	if versioned {
		if err := checkVersionID(version); err != nil {
			return address{}, err
		}
	}
	source := address{r.volume, bucket, key}
	r.details = map[string]string{"source": "/" + source.volume + "/" + bucket + "/" + key}
	return source, g.checkOwner(r, "X-Amz-Source-Expected-Bucket-Owner", source.volume, source.bucket)
}

// sourceKey looks at the source of a copy and checks the conditions on it.
// withData is set where its bytes may have to be read.
func (g *Gateway) sourceKey(r *request, source address, withData bool) (*o3v1.KeyInfo, error) {
	got, err := g.ns.GetKey(r.ctx, &o3v1.GetKeyRequest{Volume: source.volume, Bucket: source.bucket, Key: source.key, WithData: withData})
	switch {
	case errs.KindOf(err) == errs.IsDirectory, err == nil && got.Key.Implicit, errs.KindOf(err) == errs.Invalid && belowSnapshots(source.key):
		return nil, sourceMissing(source)
	case err != nil:
		return nil, sourceError(err, source)
	}
	err = sourceConditions(r.Request.Header).check(etagOf(got.Key), modified(got.Key))
	if answerCode(err) == "NotModified" {
		err = failed("x-amz-copy-source-If-None-Match or x-amz-copy-source-If-Modified-Since")
	}
	return got.Key, err
}

// sourceError names the source where an error is about it, and not about what
// the request itself names.
func sourceError(err error, source address) error {
	switch errs.KindOf(err) {
	case errs.NoSuchKey:
		return sourceMissing(source)
	case errs.NoSuchBucket:
		return refusal("NoSuchBucket", codes["NoSuchBucket"].text).with("SourceBucket", source.bucket)
	}
	return err
}

func sourceMissing(source address) error {
	return refusal("NoSuchKey", codes["NoSuchKey"].text).with("SourceBucket", source.bucket).with("SourceKey", source.key)
}

// copyObject is CopyObject: the copy shares the source's blocks.
func (g *Gateway) copyObject(r *request) (reply, error) {
	source, err := g.sourceOf(r)
	if err != nil {
		return reply{}, err
	}
	req, wanted, err := g.copyRequest(r, source)
	if err != nil {
		return reply{}, err
	}
	defer g.opts.Reading()()
	for try := 1; ; try++ {
		key, err := g.sourceKey(r, source, wanted != checksum.None)
		if err != nil {
			return reply{}, err
		}
		req.FromIf = &o3v1.Preconditions{IfSince: key.Since}
		if err := g.copyChecksum(r, req, key, wanted); err != nil {
			return reply{}, err
		}
		got, err := g.ns.CopyKey(r.ctx, req)
		if kind := errs.KindOf(err); (kind == errs.PreconditionFailed || kind == errs.Conflict) && try < copyTries && g.sourceChanged(r, source, key) {
			continue
		}
		if err != nil {
			return reply{}, err
		}
		k := got.Key
		r.setExpiration(k)
		return reply{status: http.StatusOK, document: &xmlapi.Copied{
			LastModified: modified(k), ETag: etagOf(k), Checksums: checksums(k.Checksum), ChecksumType: checksumType(k.Checksum),
		}}, nil
	}
}

// copyRequest reads what a CopyObject asks for, beside its source. wanted is
// the checksum that the copy shall have.
func (g *Gateway) copyRequest(r *request, source address) (req *o3v1.CopyKeyRequest, wanted checksum.Algorithm, err error) {
	h := r.Request.Header
	req = &o3v1.CopyKeyRequest{
		FromVolume: source.volume, FromBucket: source.bucket, FromKey: source.key,
		Volume: r.volume, Bucket: r.bucket, Key: r.key,
		ReplaceHeaders: list(h["X-Amz-Metadata-Directive"]) == "REPLACE",
		ReplaceTags:    list(h["X-Amz-Tagging-Directive"]) == "REPLACE",
	}
	if r.ContentLength > 0 {
		return nil, 0, refusal("InvalidRequest", "A copy has no body.")
	}
	if req.If, err = writeConditions(h); err != nil {
		return nil, 0, err
	}
	if req.Headers, err = contentHeaders(h); err != nil {
		return nil, 0, err
	}
	if req.Tags, err = tagsOf(h); err != nil {
		return nil, 0, err
	}
	if !req.ReplaceHeaders {
		if len(req.Headers.User) > 0 {
			return nil, 0, refusal("InvalidRequest", "Metadata is given, but x-amz-metadata-directive is not REPLACE.")
		}
		req.Headers = nil
	}
	if !req.ReplaceTags && req.Tags != nil {
		return nil, 0, refusal("InvalidRequest", "Tags are given, but x-amz-tagging-directive is not REPLACE.")
	}
	algorithm, err := once(h, "X-Amz-Checksum-Algorithm")
	if err != nil {
		return nil, 0, err
	}
	if wanted, err = checksum.ParseAlgorithm(algorithm); err != nil {
		return nil, 0, err
	}
	if h["X-Amz-Checksum-Type"] != nil {
		return nil, 0, notImplemented("The header x-amz-checksum-type with CopyObject")
	}
	if source == r.address && !req.ReplaceHeaders && !req.ReplaceTags && wanted == checksum.None {
		return nil, 0, refusal("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	return req, wanted, nil
}

// sourceChanged reports whether the source is no longer the key it was.
func (g *Gateway) sourceChanged(r *request, source address, was *o3v1.KeyInfo) bool {
	got, err := g.ns.GetKey(r.ctx, &o3v1.GetKeyRequest{Volume: source.volume, Bucket: source.bucket, Key: source.key})
	return errs.KindOf(err) == errs.NoSuchKey || err == nil && got.Key.Since != was.Since
}

// copyChecksum sets the checksum of a copy, where the client wants another
// than the source has. Then the source's bytes are read.
func (g *Gateway) copyChecksum(r *request, req *o3v1.CopyKeyRequest, key *o3v1.KeyInfo, wanted checksum.Algorithm) error {
	if wanted == checksum.None || hasFull(key, wanted) {
		return nil
	}
	found, err := g.digest(r, key, span{0, int64(key.Size), false}, wanted)
	if err != nil {
		return err
	}
	s := stored{result: found}
	req.Checksum = s.checksum()
	return nil
}

// hasFull reports whether a key has a checksum of all its bytes.
func hasFull(key *o3v1.KeyInfo, a checksum.Algorithm) bool {
	c := key.Checksum
	return c != nil && c.Algorithm == a.String() && c.Type == checksum.FullObject.String() && len(c.Value) > 0
}

// digest reads a span of a key and computes its MD5 and a checksum.
func (g *Gateway) digest(r *request, key *o3v1.KeyInfo, s span, a checksum.Algorithm) (checksum.Result, error) {
	src, err := g.newReader(r.ctx, key, s)
	if err != nil {
		return checksum.Result{}, err
	}
	defer src.Close()
	sum := checksum.NewReader(src, checksum.Expected{Length: s.length, Checksum: checksum.Digest{Algorithm: a}}, nil)
	buf := g.buffers.Get().(*[bufferSize]byte)
	defer g.buffers.Put(buf)
	for {
		if _, err = sum.Read(buf[:]); err == io.EOF {
			return sum.Result(), nil
		} else if errs.KindOf(err) == errs.NoSuchKey {
			return checksum.Result{}, errs.Wrap(errs.Corrupt, key.Name, err)
		} else if err != nil {
			return checksum.Result{}, err
		}
	}
}

// copyPart is UploadPartCopy: the part shares the source's blocks. Its ETag is
// the MD5 of its bytes, which are read unless the source is of one part and
// copied whole.
func (g *Gateway) copyPart(r *request) (reply, error) {
	source, err := g.sourceOf(r)
	if err != nil {
		return reply{}, err
	}
	number, err := g.partNumber(r)
	if err != nil {
		return reply{}, err
	}
	rangeHeader, err := once(r.Request.Header, "X-Amz-Copy-Source-Range")
	if err != nil {
		return reply{}, err
	}
	upload, err := g.upload(r)
	if err != nil {
		return reply{}, err
	}
	algorithm, err := checksum.ParseAlgorithm(upload.ChecksumAlgorithm)
	if err != nil {
		return reply{}, err
	}
	req := &o3v1.CopyPartRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key, UploadId: upload.UploadId, Number: uint32(number),
		FromVolume: source.volume, FromBucket: source.bucket, FromKey: source.key, RangeSet: rangeHeader != "",
	}
	defer g.opts.Reading()()
	for try := 1; ; try++ {
		key, err := g.sourceKey(r, source, true)
		if err != nil {
			return reply{}, err
		}
		if err := g.describePart(r, req, key, rangeHeader, algorithm); err != nil {
			return reply{}, err
		}
		got, err := g.ns.CopyPart(r.ctx, req)
		if kind := errs.KindOf(err); (kind == errs.PreconditionFailed || kind == errs.Conflict) && try < copyTries && g.sourceChanged(r, source, key) {
			continue
		}
		if err != nil {
			return reply{}, err
		}
		p := got.Part
		return reply{status: http.StatusOK, document: &xmlapi.Copied{
			Part: true, LastModified: instant(p.ModifiedMs), ETag: p.Etag, Checksums: checksums(p.Checksum),
		}}, nil
	}
}

// describePart fills in the range, ETag and checksum of a part to be copied
// from key, and pins the key.
func (g *Gateway) describePart(r *request, req *o3v1.CopyPartRequest, key *o3v1.KeyInfo, rangeHeader string, a checksum.Algorithm) error {
	s := span{0, int64(key.Size), false}
	if rangeHeader != "" {
		var err error
		if s, err = parseCopyRange(rangeHeader, s.length); err != nil {
			return err
		}
	}
	if s.length > maxPutSize {
		return tooLarge(s.length, maxPutSize)
	}
	req.FromIf = &o3v1.Preconditions{IfSince: key.Since}
	req.Offset, req.Length = uint64(s.offset), uint64(s.length)
	whole := s.length == int64(key.Size)
	if whole && isMD5(etagOf(key)) && (a == checksum.None || hasFull(key, a)) {
		req.Etag, req.Checksum = etagOf(key), nil
		if a != checksum.None {
			req.Checksum = key.Checksum
		}
		return nil
	}
	found, err := g.digest(r, key, s, a)
	if err != nil {
		return err
	}
	part := stored{result: found}
	req.Etag, req.Checksum = found.ETag(), part.checksum()
	return nil
}

// isMD5 reports whether an ETag is that of an object of one part.
func isMD5(etag string) bool {
	sum, err := hex.DecodeString(etag)
	return err == nil && len(sum) == 16
}

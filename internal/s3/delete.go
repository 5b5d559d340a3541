package s3

import (
	"net/http"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/xmlapi"
)

// deleteObject is DeleteObject. An absent key is deleted already.
func (g *Gateway) deleteObject(r *request) (reply, error) {
	h := r.Request.Header
	size, err := once(h, "X-Amz-If-Match-Size")
	if err != nil {
		return reply{}, err
	}
	for _, name := range []string{"If-Match", "X-Amz-If-Match-Size"} {
		if values, given := h[name]; given && list(values) == "" {
			return reply{}, argument(strings.ToLower(name), "", "A condition must have a value.")
		}
	}
	cond, err := deleteConditions(list(h["If-Match"]), size)
	if err != nil {
		return reply{}, err
	}
	got, err := g.ns.DeleteKeys(r.ctx, &o3v1.DeleteKeysRequest{
		Volume: r.volume, Bucket: r.bucket, Keys: []*o3v1.DeleteKey{{Key: r.key, If: cond}},
	})
	if err != nil {
		return reply{}, err
	}
	if len(got.Results) != 1 {
		return reply{}, errs.New(errs.Internal, r.key, "one result expected")
	}
	if err := deleteError(r.key, got.Results[0]); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

// deleteConditions are those of DeleteObject and of an entry of DeleteObjects.
func deleteConditions(match, size string) (*o3v1.Preconditions, error) {
	if match == "" && size == "" {
		return nil, nil
	}
	cond := &o3v1.Preconditions{}
	var err error
	if match != "" {
		if cond.IfMatch, err = singleTag(match); err != nil {
			return nil, err
		}
	}
	if size != "" {
		if cond.IfSize, err = strconv.ParseUint(size, 10, 63); err != nil {
			return nil, argument("Size", size, "The expected size must be a number of bytes.")
		}
		cond.IfSizeSet = true
	}
	return cond, nil
}

// deleteError returns the error of one result, nil for a key that is gone.
func deleteError(key string, result *o3v1.DeleteKeyResult) error {
	kind := errs.Kind(result.Kind)
	switch kind {
	case errs.OK:
		return nil
	case errs.NotEmpty:
		return refusal("DirectoryNotEmpty", codes["DirectoryNotEmpty"].text)
	}
	return errs.New(kind, key, result.Detail)
}

// deleteObjects is DeleteObjects.
func (g *Gateway) deleteObjects(r *request) (reply, error) {
	h := r.Request.Header
	b, err := g.documentBody(r)
	if err != nil {
		return reply{}, err
	}
	if h["Content-Md5"] == nil && !hasChecksum(h) {
		return reply{}, refusal("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	in, err := xmlapi.DecodeDelete(b)
	if err != nil {
		return reply{}, err
	}
	out := &xmlapi.DeleteResult{}
	req := &o3v1.DeleteKeysRequest{Volume: r.volume, Bucket: r.bucket, Keys: make([]*o3v1.DeleteKey, 0, len(in.Objects))}
	asked := make([]xmlapi.DeleteKey, 0, len(in.Objects))
	for _, k := range in.Objects {
		r.keys = append(r.keys, k.Key)
	}
	for _, k := range in.Objects {
		cond, err := checkDelete(k)
		if err != nil {
			out.Errors = append(out.Errors, failedDelete(k, err))
			continue
		}
		req.Keys = append(req.Keys, &o3v1.DeleteKey{Key: k.Key, If: cond})
		asked = append(asked, k)
	}
	if len(req.Keys) > 0 {
		got, err := g.ns.DeleteKeys(r.ctx, req)
		if err != nil {
			return reply{}, err
		}
		if len(got.Results) != len(asked) {
			return reply{}, errs.New(errs.Internal, r.bucket, "a result for each key expected")
		}
		r.keys = r.keys[:0]
		for i, k := range asked {
			if err := deleteError(k.Key, got.Results[i]); err != nil {
				out.Errors = append(out.Errors, failedDelete(k, err))
				continue
			}
			r.keys = append(r.keys, k.Key)
			if !in.Quiet {
				out.Deleted = append(out.Deleted, xmlapi.Deleted{Key: k.Key, VersionID: k.VersionID})
			}
		}
	} else {
		r.keys = nil
	}
	for _, e := range out.Errors {
		r.refused = append(r.refused, e.Key+": "+e.Code)
	}
	return reply{status: http.StatusOK, document: out}, nil
}

// checkDelete checks one entry of DeleteObjects.
func checkDelete(k xmlapi.DeleteKey) (*o3v1.Preconditions, error) {
	if err := checkKey(k.Key); err != nil {
		return nil, err
	}
	if k.VersionID != "" {
		if err := checkVersionID(k.VersionID); err != nil {
			return nil, err
		}
	}
	if k.LastModifiedTime != "" {
		return nil, notImplemented("The element LastModifiedTime")
	}
	return deleteConditions(k.ETag, k.Size)
}

func failedDelete(k xmlapi.DeleteKey, err error) xmlapi.DeleteError {
	a := answerOf(err)
	return xmlapi.DeleteError{Key: k.Key, VersionID: k.VersionID, Code: a.code, Message: a.message}
}

// hasChecksum reports whether a body comes with a checksum, ahead or behind.
func hasChecksum(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "X-Amz-Checksum-") || name == "X-Amz-Trailer" {
			return true
		}
	}
	return false
}

package s3

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
	"o3/internal/s3/xmlapi"
)

// minimumSize is the size below which S3 moves no object to another class by
// default. There are no other classes here; clients send it and expect it back.
const minimumSize = "all_storage_classes_128K"

// getLifecycle is GetBucketLifecycleConfiguration.
func (g *Gateway) getLifecycle(r *request) (reply, error) {
	got, err := g.ns.GetLifecycle(r.ctx, &o3v1.GetLifecycleRequest{Volume: r.volume, Bucket: r.bucket})
	if errs.KindOf(err) == errs.NoSuchConfiguration {
		return reply{}, refusal("NoSuchLifecycleConfiguration", codes["NoSuchLifecycleConfiguration"].text).with("BucketName", r.bucket)
	}
	if err != nil {
		return reply{}, err
	}
	r.set("X-Amz-Transition-Default-Minimum-Object-Size", minimumSize)
	return reply{status: http.StatusOK, document: &xmlapi.Lifecycle{Rules: got.Configuration.GetRules()}}, nil
}

// putLifecycle is PutBucketLifecycleConfiguration.
func (g *Gateway) putLifecycle(r *request) (reply, error) {
	b, err := g.documentBody(r)
	if err != nil {
		return reply{}, err
	}
	if h := r.Request.Header; h["Content-Md5"] == nil && !hasChecksum(h) {
		return reply{}, refusal("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	c, err := xmlapi.DecodeLifecycle(b)
	if err != nil {
		return reply{}, err
	}
	r.details = map[string]string{"rules": rule.Summary(c.Rules)}
	if err := rule.Validate(c.Rules); err != nil {
		return reply{}, lifecycleError(err)
	}
	_, err = g.ns.SetLifecycle(r.ctx, &o3v1.SetLifecycleRequest{Volume: r.volume, Bucket: r.bucket, Configuration: c})
	if err != nil {
		return reply{}, lifecycleError(err)
	}
	r.set("X-Amz-Transition-Default-Minimum-Object-Size", minimumSize)
	return reply{status: http.StatusOK}, nil
}

// deleteLifecycle is DeleteBucketLifecycle.
func (g *Gateway) deleteLifecycle(r *request) (reply, error) {
	_, err := g.ns.DeleteLifecycle(r.ctx, &o3v1.DeleteLifecycleRequest{Volume: r.volume, Bucket: r.bucket})
	return reply{status: http.StatusNoContent}, err
}

// lifecycleCodes is S3's word for each problem of a configuration, with its text
// where it has one of its own; a test keeps it total.
var lifecycleCodes = map[rule.Problem]struct{ code, text string }{
	rule.NoRules:        {"MalformedXML", ""},
	rule.TooManyRules:   {"InvalidRequest", "The number of lifecycle rules must not exceed the allowed limit of 1000 rules"},
	rule.TooLong:        {"MaxMessageLengthExceeded", ""},
	rule.LongID:         {"InvalidArgument", "ID length should not exceed allowed limit of 255"},
	rule.NoID:           {"InvalidArgument", ""},
	rule.SameID:         {"InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule"},
	rule.NoTarget:       {"MalformedXML", ""},
	rule.TwoTargets:     {"MalformedXML", ""},
	rule.ManyConditions: {"MalformedXML", ""},
	rule.FewConditions:  {"MalformedXML", ""},
	rule.LongPrefix:     {"InvalidRequest", "The maximum size of a prefix is 1024."},
	rule.TrashPrefix:    {"InvalidArgument", "No lifecycle rule applies to " + rule.Trash},
	rule.BadTag:         {"InvalidTag", ""},
	rule.SameTag:        {"InvalidRequest", "Duplicate Tag Keys are not allowed."},
	rule.TooManyTags:    {"InvalidRequest", "A rule may name 50 tags at most"},
	rule.NoSizes:        {"InvalidRequest", "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'."},
	rule.NoAction:       {"InvalidRequest", "At least one action needs to be specified in a rule"},
	rule.DaysAndDate:    {"MalformedXML", ""},
	rule.BadDays:        {"InvalidArgument", "'Days' for Expiration action must be a positive integer"},
	rule.BadAbortDays:   {"InvalidArgument", "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer"},
	rule.BadDate:        {"InvalidArgument", "'Date' must be at midnight GMT"},
	rule.AbortWithTags:  {"InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Tags"},
	rule.AbortWithSizes: {"InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Object Size"},
}

// lifecycleError is a refused configuration in the terms of S3, which names the
// rule and what is wrong with it.
func lifecycleError(err error) error {
	e, ok := errors.AsType[*rule.Error](err)
	if !ok {
		return err
	}
	word := lifecycleCodes[e.Problem]
	if word.text == "" {
		word.text = codes[word.code].text
	}
	out := &apiError{code: word.code, message: word.text, cause: err}
	if e.Rule != "" {
		out = out.with("Rule", e.Rule)
	}
	return out.with("Detail", e.Detail)
}

// setExpiration says when a key will expire, and by which rule.
func (r *request) setExpiration(key *o3v1.KeyInfo) {
	if key == nil || key.ExpiresMs == nil {
		return
	}
	at := time.UnixMilli(*key.ExpiresMs).UTC().Format(http.TimeFormat)
	r.set("X-Amz-Expiration", `expiry-date="`+at+`", rule-id="`+url.PathEscape(key.ExpiresBy)+`"`)
}

// setAbort says when an upload will be aborted, and by which rule.
func (r *request) setAbort(u *o3v1.UploadInfo) {
	if u == nil || u.AbortsMs == nil {
		return
	}
	r.set("X-Amz-Abort-Date", time.UnixMilli(*u.AbortsMs).UTC().Format(http.TimeFormat))
	r.set("X-Amz-Abort-Rule-Id", url.PathEscape(u.AbortsBy))
}

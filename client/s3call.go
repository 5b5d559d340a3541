package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// s3Request is a request for object data.
type s3Request struct {
	name   string // for the listener
	method string
	path   string // escaped
	query  url.Values
	header http.Header
	body   []byte
}

// keyPath returns the escaped path of a key on the OM port.
func keyPath(volume, bucket, key string) string {
	var b strings.Builder
	b.WriteString("/s3/" + url.PathEscape(volume) + "/" + url.PathEscape(bucket) + "/")
	const hex = "0123456789ABCDEF"
	for i := range len(key) {
		c := key[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// subject names a key in errors.
func subject(volume, bucket, key string) string { return "/" + volume + "/" + bucket + "/" + key }

// s3 sends q, repeating it as calls are repeated, and returns an answer of
// status 2xx; its body is the caller's to close. unsure: see retry.
func (c *Client) s3(ctx context.Context, q s3Request, what string) (resp *http.Response, unsure bool, err error) {
	if err := checkHeader(q.header); err != nil {
		return nil, false, errs.Wrap(errs.Invalid, what, err)
	}
	unsure, err = c.retry(ctx, q.name, 0, func(ctx context.Context) error {
		r, err := c.s3Once(ctx, q, what)
		resp = r
		return err
	})
	return resp, unsure, err
}

// checkHeader refuses what HTTP cannot send, which otherwise would look like a
// server that cannot be reached.
func checkHeader(h http.Header) error {
	for name, values := range h {
		for i := range len(name) {
			if c := name[i]; c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
				return fmt.Errorf("the header name %q may not hold %q", name, c)
			}
		}
		for _, v := range values {
			for i := range len(v) {
				if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
					return fmt.Errorf("the value of header %s may not hold %q", name, c)
				}
			}
		}
	}
	return nil
}

func (c *Client) s3Once(ctx context.Context, q s3Request, what string) (*http.Response, error) {
	a := ctx.Value(attemptKey{}).(*attempt)
	decoded, err := url.PathUnescape(q.path)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, what, err)
	}
	r := (&http.Request{
		Method: q.method, Header: http.Header{}, Host: a.to.Host, ContentLength: int64(len(q.body)),
		URL: &url.URL{Scheme: a.to.Scheme, Host: a.to.Host, Path: decoded, RawPath: q.path, RawQuery: q.query.Encode()},
	}).WithContext(ctx)
	for k, v := range q.header {
		r.Header[k] = v
	}
	r.Header.Set("User-Agent", c.opts.UserAgent)
	sum := sigv4.EmptySHA256
	if len(q.body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(q.body))
		h := sha256.Sum256(q.body)
		sum = hex.EncodeToString(h[:])
	}
	if c.s3Sign != nil {
		c.s3Sign.Sign(r, sum, time.Now())
	}
	resp, err := c.send(c.s3HTTP, a, r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, s3Error(resp, what)
}

// s3Error reads the error of an answer.
func s3Error(resp *http.Response, what string) *errs.Error {
	var doc struct {
		Code    string
		Message string
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && len(raw) > 0 {
		err = xml.Unmarshal(raw, &doc)
	}
	kind, ok := kindOfCode(doc.Code)
	if !ok {
		kind = kindOfStatus(resp.StatusCode)
	}
	detail := doc.Message
	if detail == "" {
		detail = fmt.Sprintf("HTTP status %d", resp.StatusCode)
	}
	return &errs.Error{Kind: kind, Subject: what, Detail: detail, Err: err}
}

// kindOfCode returns the kind of an S3 error code.
func kindOfCode(code string) (errs.Kind, bool) {
	switch code {
	case "AccessDenied":
		return errs.Denied, true
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "InvalidToken":
		return errs.Unauthenticated, true
	case "NoSuchBucket":
		return errs.NoSuchBucket, true
	case "NoSuchKey":
		return errs.NoSuchKey, true
	case "NoSuchUpload":
		return errs.NoSuchUpload, true
	case "PreconditionFailed":
		return errs.PreconditionFailed, true
	case "ConditionalRequestConflict", "OperationAborted":
		return errs.Conflict, true
	case "InvalidRange":
		return errs.InvalidRange, true
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest":
		return errs.BadDigest, true
	case "EntityTooLarge", "KeyTooLongError", "MetadataTooLarge":
		return errs.TooLarge, true
	case "EntityTooSmall":
		return errs.TooSmall, true
	case "InvalidPart":
		return errs.InvalidPart, true
	case "InvalidPartOrder":
		return errs.InvalidPartOrder, true
	case "NotImplemented":
		return errs.NotImplemented, true
	case "BucketNotEmpty", "DirectoryNotEmpty":
		return errs.NotEmpty, true
	case "NoSuchVolume":
		return errs.NoSuchVolume, true
	case "NoSuchConfiguration", "NoSuchTagSet":
		return errs.NoSuchConfiguration, true
	case "ObjectIsDirectory":
		return errs.IsDirectory, true
	case "ParentIsObject":
		return errs.ParentIsKey, true
	case "StorageFull":
		return errs.ReadOnly, true
	case "SlowDown":
		return errs.SlowDown, true
	case "ServiceUnavailable", "RequestTimeout":
		return errs.Unavailable, true
	case "InvalidArgument", "InvalidRequest", "MalformedXML", "InvalidURI", "InvalidBucketName", "InvalidTag", "IncompleteBody":
		return errs.Invalid, true
	case "QuotaExceeded":
		return errs.QuotaExceeded, true
	}
	return errs.Internal, false
}

// kindOfStatus returns the kind of an answer that names no code.
func kindOfStatus(status int) errs.Kind {
	switch status {
	case http.StatusNotModified:
		return errs.NotModified
	case http.StatusUnauthorized:
		return errs.Unauthenticated
	case http.StatusForbidden:
		return errs.Denied
	case http.StatusNotFound:
		return errs.NoSuchKey
	case http.StatusConflict:
		return errs.Conflict
	case http.StatusPreconditionFailed:
		return errs.PreconditionFailed
	case http.StatusRequestEntityTooLarge:
		return errs.TooLarge
	case http.StatusRequestedRangeNotSatisfiable:
		return errs.InvalidRange
	case http.StatusNotImplemented:
		return errs.NotImplemented
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return errs.Unavailable
	case http.StatusInsufficientStorage:
		return errs.QuotaExceeded
	}
	if status/100 == 4 {
		return errs.Invalid
	}
	return errs.Internal
}

// readXML reads a small answer.
func readXML(resp *http.Response, into any) error {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return err
	}
	var failed struct {
		XMLName xml.Name
		Code    string
		Message string
	}
	if err := xml.Unmarshal(raw, &failed); err == nil && failed.XMLName.Local == "Error" { // 200 with an error inside, as S3 has it
		kind, _ := kindOfCode(failed.Code)
		return errs.New(kind, "", failed.Message)
	}
	return xml.Unmarshal(raw, into)
}

// drop ends an answer whose body nobody needs, so that the connection can be
// used again.
func drop(resp *http.Response) {
	_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = errors.Join(err, resp.Body.Close()) // the answer itself has arrived
}

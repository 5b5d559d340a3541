package s3target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"o3/internal/errs"
)

// damagedOnTheWay retries what the store received damaged, and answers that only
// say to try again.
var damagedOnTheWay = retry.RetryableErrorCode{Codes: map[string]struct{}{
	"BadDigest": {}, "XAmzContentSHA256Mismatch": {}, "XAmzContentChecksumMismatch": {}, "IncompleteBody": {}, "RequestTimeout": {}, "SlowDown": {},
}}

var _ retry.IsErrorRetryable = damagedOnTheWay

// verdict is what an answer of the store means, and what to do about it.
type verdict struct {
	kind   errs.Kind
	detail string
}

// The codes that stores answer with. Others go by the status.
var verdicts = map[string]verdict{
	"NoSuchBucket":                 {errs.NoSuchBucket, "there is no such bucket at the endpoint: create it, or correct the URL"},
	"AccessDenied":                 {errs.Denied, "the store denies it to these keys: they need to list, get, put and delete objects there"},
	"AllAccessDisabled":            {errs.Denied, "the store denies all access to it"},
	"AccountProblem":               {errs.Denied, "the store denies the account"},
	"InvalidAccessKeyId":           {errs.Unauthenticated, "the store does not know the access key: check the keys and the endpoint"},
	"SignatureDoesNotMatch":        {errs.Unauthenticated, "the secret key is not that of the access key"},
	"ExpiredToken":                 {errs.Unauthenticated, "the session token has expired"},
	"InvalidToken":                 {errs.Unauthenticated, "the session token is not valid"},
	"RequestTimeTooSkewed":         {errs.Unauthenticated, "the clocks of this machine and of the store are too far apart"},
	"AuthorizationHeaderMalformed": {errs.Invalid, "the store does not take the signature; most often the region is another one (?region=)"},
	"PermanentRedirect":            {errs.Invalid, "the bucket is in another region or at another endpoint (?region=, ?endpoint=)"},
	"QuotaExceeded":                {errs.ReadOnly, "the store has no room left for it"},
	"InsufficientStorage":          {errs.ReadOnly, "the store has no room left for it"},
	"XMinioStorageFull":            {errs.ReadOnly, "the store has no room left for it"},
	"EntityTooLarge":               {errs.TooLarge, "the store does not take objects of this size"},
	"NotImplemented":               {errs.NotImplemented, "the store cannot do this"},
	"SlowDown":                     {errs.SlowDown, "the store is overloaded; try again later"},
	"BadDigest":                    {errs.BadDigest, "the store received it damaged again and again"},
	"XAmzContentSHA256Mismatch":    {errs.BadDigest, "the store received it damaged again and again"},
	"XAmzContentChecksumMismatch":  {errs.BadDigest, "the store received it damaged again and again"},
	"NoSuchUpload":                 {errs.Conflict, "the store has dropped the upload; run it again"},
}

// fault gives an error of the store its kind. An object that is absent matches
// fs.ErrNotExist.
func (t *Target) fault(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	out := &errs.Error{Kind: errs.Unavailable, Op: "s3target." + op, Subject: t.subject(key), Err: err}
	if ctx.Err() != nil {
		if e, ok := errors.AsType[*errs.Error](context.Cause(ctx)); ok {
			return e
		}
		out.Kind = errs.Canceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			out.Kind = errs.DeadlineExceeded
		}
		return out
	}
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e
	}
	status := statusOf(err)
	v, known := verdicts[codeOf(err)]
	switch {
	case known:
		out.Kind, out.Detail = v.kind, v.detail
	case codeOf(err) == "NoSuchKey" || status == http.StatusNotFound && key != "":
		out.Kind, out.Err = errs.NoSuchKey, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		out.Kind, out.Detail = errs.Invalid, "what answers there is no S3 store, or has no such bucket: check ?endpoint="
	case status == http.StatusForbidden:
		out.Kind, out.Detail = errs.Denied, verdicts["AccessDenied"].detail
	case status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect:
		out.Kind, out.Detail = errs.Invalid, verdicts["PermanentRedirect"].detail
	case status == http.StatusPreconditionFailed || codeOf(err) == "ConditionalRequestConflict":
		out.Kind, out.Detail = errs.PreconditionFailed, "it was changed meanwhile"
	case status == http.StatusInsufficientStorage:
		out.Kind, out.Detail = errs.ReadOnly, verdicts["QuotaExceeded"].detail
	case status == http.StatusNotImplemented:
		out.Kind, out.Detail = errs.NotImplemented, verdicts["NotImplemented"].detail
	case status >= 500:
		out.Detail = fmt.Sprintf("the store failed %d times; try again later", t.o.Attempts)
	case status >= 400:
		out.Kind, out.Detail = errs.Invalid, "the store refuses it"
	case isNet(err):
		out.Detail = "the endpoint cannot be reached, or the connection broke too often: check ?endpoint= and the network"
	}
	return out
}

// subject names an object, "" meaning the place as a whole.
func (t *Target) subject(key string) string {
	if key == "" {
		return t.String()
	}
	return Scheme + t.o.Place.Bucket + "/" + key
}

func isNet(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, context.DeadlineExceeded)
}

// codeOf is the code of an answer that was an error.
func codeOf(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return ""
}

// statusOf is the status of the answer, 0 when there was none.
func statusOf(err error) int {
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok && e.Response != nil && e.Response.Response != nil {
		return e.HTTPStatusCode()
	}
	return 0
}

// isFailed says that a condition of a write was not met.
func isFailed(err error) bool {
	return statusOf(err) == http.StatusPreconditionFailed || codeOf(err) == "PreconditionFailed" || codeOf(err) == "ConditionalRequestConflict"
}

// etag is the tag of an object; nil when a store gives none.
func etag(s *string) *string {
	if aws.ToString(s) == "" {
		return nil
	}
	return s
}

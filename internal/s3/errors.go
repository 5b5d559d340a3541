package s3

import (
	"errors"

	"o3/internal/errs"
)

// apiError is a refusal in the terms of S3: a code of the table below, a text
// for the client, and further elements of the XML document.
type apiError struct {
	code     string
	message  string
	elements [][2]string
	cause    error // for operators
}

// coded is an error that names its own S3 code: ours, and those of packages
// sigv4, chunked, checksum and xmlapi.
type coded interface {
	error
	AWSCode() string
	AWSMessage() string
	AWSElements() [][2]string
}

func refusal(code, message string) *apiError { return &apiError{code: code, message: message} }

func (e *apiError) with(name, value string) *apiError {
	e.elements = append(e.elements, [2]string{name, value})
	return e
}

// Error implements error.
func (e *apiError) Error() string {
	if e.cause != nil {
		return e.code + ": " + e.message + ": " + e.cause.Error()
	}
	return e.code + ": " + e.message
}

// Unwrap returns the cause.
func (e *apiError) Unwrap() error { return e.cause }

// AWSCode returns the S3 error code.
func (e *apiError) AWSCode() string { return e.code }

// AWSMessage returns the text for the client.
func (e *apiError) AWSMessage() string { return e.message }

// AWSElements returns the further elements of the XML error.
func (e *apiError) AWSElements() [][2]string { return e.elements }

// argument refuses a header, a query parameter or an element by its value.
func argument(name, value, message string) *apiError {
	return refusal("InvalidArgument", message).with("ArgumentName", name).with("ArgumentValue", value)
}

// notImplemented refuses what S3 has and this store has not.
func notImplemented(what string) *apiError {
	return refusal("NotImplemented", what+" is not implemented.")
}

// answer is an error as it is sent.
type answer struct {
	status   int
	code     string
	message  string
	elements [][2]string
}

// answerOf translates any error. An error that names its own code wins over
// the kinds, and the outermost of either decides.
func answerOf(err error) answer {
	if e, ok := errors.AsType[coded](err); ok {
		c, known := codes[e.AWSCode()]
		if !known {
			c = codes["InvalidRequest"]
		}
		return answer{c.status, e.AWSCode(), e.AWSMessage(), e.AWSElements()}
	}
	kind := errs.KindOf(err)
	code := kindCodes[kind]
	c, known := codes[code]
	if !known {
		code = "InternalError"
		c = codes[code]
	}
	return answer{c.status, code, messageOf(c.text, kind, err), nil}
}

// messageOf returns the standard text of a code, with the detail that the
// error has for users.
func messageOf(text string, kind errs.Kind, err error) string {
	switch kind {
	case errs.Internal, errs.FormatTooNew, errs.FormatUnknown, errs.Canceled:
		return text
	case errs.Corrupt:
		return "The stored bytes of this object fail their checksum; they are not served."
	}
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Detail == "" {
		return text
	}
	return text + " (" + e.Detail + ")"
}

// kindCodes is S3's word for each kind; a test keeps it total.
var kindCodes = map[errs.Kind]string{
	errs.Internal:            "InternalError",
	errs.Invalid:             "InvalidArgument",
	errs.NoSuchVolume:        "NoSuchVolume",
	errs.NoSuchBucket:        "NoSuchBucket",
	errs.NoSuchKey:           "NoSuchKey",
	errs.NoSuchUpload:        "NoSuchUpload",
	errs.NoSuchPrincipal:     "InvalidAccessKeyId",
	errs.VolumeExists:        "OperationAborted",
	errs.BucketExists:        "BucketAlreadyExists",
	errs.BucketOwnedByYou:    "BucketAlreadyOwnedByYou",
	errs.KeyExists:           "PreconditionFailed",
	errs.PrincipalExists:     "OperationAborted",
	errs.NotEmpty:            "BucketNotEmpty",
	errs.ParentIsKey:         "ParentIsObject",
	errs.IsDirectory:         "ObjectIsDirectory",
	errs.InvalidRename:       "InvalidRequest",
	errs.Unauthenticated:     "AccessDenied",
	errs.Denied:              "AccessDenied",
	errs.PreconditionFailed:  "PreconditionFailed",
	errs.NotModified:         "NotModified",
	errs.Conflict:            "OperationAborted",
	errs.QuotaExceeded:       "QuotaExceeded",
	errs.NotLeader:           "ServiceUnavailable",
	errs.Unavailable:         "ServiceUnavailable",
	errs.ReadOnly:            "StorageFull",
	errs.Corrupt:             "InternalError",
	errs.NotImplemented:      "NotImplemented",
	errs.TooLarge:            "EntityTooLarge",
	errs.TooSmall:            "EntityTooSmall",
	errs.InvalidPart:         "InvalidPart",
	errs.InvalidPartOrder:    "InvalidPartOrder",
	errs.BadDigest:           "BadDigest",
	errs.InvalidRange:        "InvalidRange",
	errs.SlowDown:            "SlowDown",
	errs.Canceled:            "RequestCanceled",
	errs.DeadlineExceeded:    "ServiceUnavailable",
	errs.FormatTooNew:        "InternalError",
	errs.FormatUnknown:       "InternalError",
	errs.NoSuchSnapshot:      "NoSuchSnapshot",
	errs.SnapshotExists:      "OperationAborted",
	errs.NoSuchJob:           "NoSuchJob",
	errs.NoSuchConfiguration: "NoSuchConfiguration",
	errs.TooMany:             "TooManyBuckets",
}

// outcomeKnown reports whether an error of the namespace says that the change
// was refused. After any other error it may yet be applied, and what it names
// must stay.
func outcomeKnown(kind errs.Kind) bool {
	switch kind {
	case errs.OK, errs.Internal, errs.NotLeader, errs.Unavailable, errs.Corrupt,
		errs.Canceled, errs.DeadlineExceeded, errs.FormatTooNew, errs.FormatUnknown:
		return false
	}
	return true
}

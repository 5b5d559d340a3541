package sigv4

import (
	"errors"

	"o3/internal/errs"
)

// The AWS error codes of this package.
const (
	codeAccessDenied        = "AccessDenied"
	codeInvalidAccessKeyID  = "InvalidAccessKeyId"
	codeSignatureMismatch   = "SignatureDoesNotMatch"
	codeTimeTooSkewed       = "RequestTimeTooSkewed"
	codeHeaderMalformed     = "AuthorizationHeaderMalformed"
	codeQueryParameters     = "AuthorizationQueryParametersError"
	codeMissingHeader       = "MissingSecurityHeader"
	codeInvalidRequest      = "InvalidRequest"
	codeInvalidArgument     = "InvalidArgument"
	codeInvalidToken        = "InvalidToken"
	codeInvalidURI          = "InvalidURI"
	codeNotImplemented      = "NotImplemented"
	messageSignatureDiffers = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)

// Codes returns every AWS error code that an Error of this package may carry,
// for tables that must be total.
func Codes() []string {
	return []string{
		codeAccessDenied, codeInvalidAccessKeyID, codeSignatureMismatch, codeTimeTooSkewed,
		codeHeaderMalformed, codeQueryParameters, codeMissingHeader, codeInvalidRequest,
		codeInvalidArgument, codeInvalidToken, codeInvalidURI, codeNotImplemented,
	}
}

// Error is a refusal in the terms of S3. It is immutable once returned.
//
// AWSCode, AWSMessage and AWSElements are the methods by which the S3 front
// recognises an error that names its own code; packages chunked, checksum and
// xmlapi have the same.
type Error struct {
	Code     string
	Message  string
	Elements [][2]string // further elements of the XML error, in order

	anonymous bool
}

// ErrAnonymous is matched, by errors.Is, by the AccessDenied that Verify
// returns for a request without any credentials: the caller may then serve it
// as anonymous where a bucket is public.
var ErrAnonymous = errors.New("sigv4: the request carries no credentials")

func newError(code, message string) *Error { return &Error{Code: code, Message: message} }

func (e *Error) with(name, value string) *Error {
	e.Elements = append(e.Elements, [2]string{name, value})
	return e
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// AWSCode returns the AWS error code.
func (e *Error) AWSCode() string { return e.Code }

// AWSMessage returns the text for the client.
func (e *Error) AWSMessage() string { return e.Message }

// AWSElements returns the further elements of the XML error.
func (e *Error) AWSElements() [][2]string { return e.Elements }

// Is matches ErrAnonymous.
func (e *Error) Is(target error) bool { return e.anonymous && target == ErrAnonymous }

// Unwrap returns the error as an errs.Error, for edges other than S3: Invalid
// where the request is malformed, NotImplemented, or Unauthenticated.
func (e *Error) Unwrap() error {
	return errs.New(e.kind(), "", e.Message)
}

func (e *Error) kind() errs.Kind {
	switch e.Code {
	case codeNotImplemented:
		return errs.NotImplemented
	case codeInvalidRequest, codeInvalidArgument, codeInvalidURI, codeMissingHeader:
		return errs.Invalid
	default:
		return errs.Unauthenticated
	}
}

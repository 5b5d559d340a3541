package checksum

import "o3/internal/errs"

// The AWS error codes of this package.
const (
	codeBadDigest      = "BadDigest"
	codeInvalidDigest  = "InvalidDigest"
	codeInvalidRequest = "InvalidRequest"
	codeSHA256Mismatch = "XAmzContentSHA256Mismatch"
	codeIncompleteBody = "IncompleteBody"
	codeNotImplemented = "NotImplemented"
)

// Codes returns every AWS error code that an Error of this package may carry.
func Codes() []string {
	return []string{codeBadDigest, codeInvalidDigest, codeInvalidRequest, codeSHA256Mismatch, codeIncompleteBody, codeNotImplemented}
}

// Error is a refusal in the terms of S3. AWSCode, AWSMessage and AWSElements are
// the methods by which the S3 front recognises an error that names its own
// code.
type Error struct {
	Code     string
	Message  string
	Elements [][2]string // further elements of the XML error, in order
}

func invalidRequest(message string) *Error { return &Error{Code: codeInvalidRequest, Message: message} }

func notImplemented(what string) *Error {
	return &Error{Code: codeNotImplemented, Message: what + " is not implemented."}
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// AWSCode returns the AWS error code.
func (e *Error) AWSCode() string { return e.Code }

// AWSMessage returns the text for the client.
func (e *Error) AWSMessage() string { return e.Message }

// AWSElements returns the further elements of the XML error.
func (e *Error) AWSElements() [][2]string { return e.Elements }

// Unwrap returns the error as an errs.Error, for edges other than S3.
func (e *Error) Unwrap() error {
	kind := errs.Invalid
	switch e.Code {
	case codeBadDigest, codeSHA256Mismatch:
		kind = errs.BadDigest
	case codeNotImplemented:
		kind = errs.NotImplemented
	}
	return errs.New(kind, "", e.Message)
}

// Package errs defines the errors that cross package borders: each carries a
// Kind, and each edge (S3, RPC, admin JSON, CLI) translates kinds once, by a
// table of its own. Errors are immutable values, safe for concurrent use.
package errs

import (
	"errors"
	"strings"
)

// Error is an error with a kind. Op says which operation failed, Subject which
// thing, Detail what was wrong and what is allowed; Err is the cause, if any.
// Kind, Subject and Detail are shown to users; Op and Err to operators.
type Error struct {
	Kind    Kind
	Op      string
	Subject string
	Detail  string
	Err     error
}

// New returns an error of kind k about subject. detail says what was wrong.
func New(k Kind, subject, detail string) *Error {
	return &Error{Kind: k, Subject: subject, Detail: detail}
}

// Wrap returns an error of kind k about subject, caused by err.
func Wrap(k Kind, subject string, err error) *Error {
	return &Error{Kind: k, Subject: subject, Err: err}
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	part := func(s string) {
		if s == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(s)
	}
	part(e.Op)
	part(e.Kind.String())
	part(e.Subject)
	part(e.Detail)
	if e.Err != nil {
		part(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is an *Error of the same kind without a subject,
// so errors.Is(err, &Error{Kind: k}) asks for a kind anywhere in the chain.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Subject == "" && t.Op == ""
}

// KindOf returns the kind of the outermost *Error in err: OK for nil,
// Internal for an error that carries none.
func KindOf(err error) Kind {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Message returns what a user may see of err: kind, subject and detail, never
// the operator's causes.
func Message(err error) string {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return Internal.String()
	}
	return (&Error{Kind: e.Kind, Subject: e.Subject, Detail: e.Detail}).Error()
}

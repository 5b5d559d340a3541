package freon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"o3/internal/errs"
)

// answer is an error that a server gave.
type answer struct {
	status int
	code   string // of S3, or of the status
	text   string
}

// Error implements error.
func (a *answer) Error() string {
	if a.text == "" {
		return fmt.Sprintf("%s (status %d)", a.code, a.status)
	}
	return fmt.Sprintf("%s (status %d): %s", a.code, a.status, a.text)
}

// kind is the nearest kind of the errors of O3.
func (a *answer) kind() errs.Kind {
	switch a.status {
	case 401, 403:
		return errs.Denied
	case 404:
		return errs.NoSuchKey
	case 409, 412:
		return errs.PreconditionFailed
	case 501:
		return errs.NotImplemented
	case 503, 502, 504:
		return errs.Unavailable
	case 507:
		return errs.QuotaExceeded
	}
	if a.status/100 == 4 {
		return errs.Invalid
	}
	return errs.Internal
}

// errWrong is content that is not what was put.
type errWrong struct{ what string }

func (e *errWrong) Error() string { return e.what }

// classify names the kind of an operation's error in a few words, and gives
// the kind that decides about the exit code.
func classify(err error) (string, errs.Kind) {
	if a, ok := errors.AsType[*answer](err); ok {
		return a.code, a.kind()
	}
	if _, ok := errors.AsType[*errWrong](err); ok {
		return "wrong content", errs.Corrupt
	}
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Kind.String(), e.Kind
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout", errs.DeadlineExceeded
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", errs.Unavailable
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection lost", errs.Unavailable
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return "network", errs.Unavailable
	}
	return "other", errs.Internal
}

// failures are errors by operation and kind.
type failures map[failureID]*failure

type failureID struct {
	op   int
	kind string
}

type failure struct {
	count   int64
	exit    errs.Kind
	example string // the first one
}

func (f failures) add(op int, err error) {
	kind, exit := classify(err)
	id := failureID{op, kind}
	if f[id] == nil {
		f[id] = &failure{exit: exit, example: err.Error()}
	}
	f[id].count++
}

func (f failures) merge(o failures) {
	for id, more := range o {
		if f[id] == nil {
			f[id] = &failure{exit: more.exit, example: more.example}
		}
		f[id].count += more.count
	}
}

// of returns how many operations of a kind failed.
func (f failures) of(op int) (n int64) {
	for id, one := range f {
		if id.op == op {
			n += one.count
		}
	}
	return n
}

// ordered returns the failures, most frequent first.
func (f failures) ordered() []failureID {
	ids := make([]failureID, 0, len(f))
	for id := range f {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b failureID) int {
		return cmp.Or(cmp.Compare(f[b].count, f[a].count), cmp.Compare(a.kind, b.kind), cmp.Compare(a.op, b.op))
	})
	return ids
}

// err returns an error for all failures: damage before anything else, then
// what was most frequent.
func (f failures) err(what string) error {
	var worst *failure
	for _, id := range f.ordered() {
		if one := f[id]; worst == nil || one.exit == errs.Corrupt && worst.exit != errs.Corrupt {
			worst = one
		}
	}
	if worst == nil {
		return nil
	}
	var n int64
	for _, one := range f {
		n += one.count
	}
	return errs.New(worst.exit, what, fmt.Sprintf("%d operations failed, such as: %s", n, worst.example))
}

// Package rpcerr carries errs.Error over RPC and back: one table says which
// RPC code stands for which kind, and a google.rpc.ErrorInfo detail holds the
// exact kind, subject and detail, so that a Go client gets the same error
// again and a client in another language can read it. It is pure.
package rpcerr

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"o3/internal/errs"
)

// Domain is the ErrorInfo domain of our errors.
const Domain = "o3"

// Metadata keys of the ErrorInfo.
const (
	metaKind    = "kind"    // the number of the errs.Kind
	metaSubject = "subject" // the thing the error is about
	metaDetail  = "detail"  // what was wrong and what is allowed
)

// codeOf returns the code of a kind, and whether the table has it.
func codeOf(k errs.Kind) (connect.Code, bool) {
	switch k {
	case errs.Internal:
		return connect.CodeInternal, true
	case errs.Invalid, errs.TooLarge, errs.TooSmall, errs.InvalidPart, errs.InvalidPartOrder, errs.BadDigest:
		return connect.CodeInvalidArgument, true
	case errs.NoSuchVolume, errs.NoSuchBucket, errs.NoSuchKey, errs.NoSuchUpload, errs.NoSuchPrincipal,
		errs.NoSuchSnapshot, errs.NoSuchJob, errs.NoSuchConfiguration:
		return connect.CodeNotFound, true
	case errs.VolumeExists, errs.BucketExists, errs.BucketOwnedByYou, errs.KeyExists, errs.PrincipalExists, errs.SnapshotExists:
		return connect.CodeAlreadyExists, true
	case errs.NotEmpty, errs.ParentIsKey, errs.IsDirectory, errs.InvalidRename, errs.PreconditionFailed,
		errs.NotModified, errs.FormatTooNew:
		return connect.CodeFailedPrecondition, true
	case errs.Unauthenticated:
		return connect.CodeUnauthenticated, true
	case errs.Denied:
		return connect.CodePermissionDenied, true
	case errs.Conflict:
		return connect.CodeAborted, true
	case errs.QuotaExceeded, errs.ReadOnly, errs.SlowDown, errs.TooMany:
		return connect.CodeResourceExhausted, true
	case errs.NotLeader, errs.Unavailable:
		return connect.CodeUnavailable, true
	case errs.Corrupt, errs.FormatUnknown:
		return connect.CodeDataLoss, true
	case errs.NotImplemented:
		return connect.CodeUnimplemented, true
	case errs.InvalidRange:
		return connect.CodeOutOfRange, true
	case errs.Canceled:
		return connect.CodeCanceled, true
	case errs.DeadlineExceeded:
		return connect.CodeDeadlineExceeded, true
	}
	return connect.CodeInternal, false
}

// kindOf returns the kind of an error that carries only a code: what the RPC
// library or a proxy between us made.
func kindOf(c connect.Code) errs.Kind {
	switch c {
	case connect.CodeCanceled:
		return errs.Canceled
	case connect.CodeInvalidArgument:
		return errs.Invalid
	case connect.CodeDeadlineExceeded:
		return errs.DeadlineExceeded
	case connect.CodePermissionDenied:
		return errs.Denied
	case connect.CodeResourceExhausted:
		return errs.TooLarge // the library's word for a message above the bound
	case connect.CodeFailedPrecondition:
		return errs.PreconditionFailed
	case connect.CodeAborted:
		return errs.Conflict
	case connect.CodeOutOfRange:
		return errs.InvalidRange
	case connect.CodeUnimplemented:
		return errs.NotImplemented
	case connect.CodeUnavailable:
		return errs.Unavailable
	case connect.CodeDataLoss:
		return errs.Corrupt
	case connect.CodeUnauthenticated:
		return errs.Unauthenticated
	}
	return errs.Internal
}

// Of returns err as an *errs.Error: its own, or one of the kind that its code
// or context error stands for, or Internal with err as the cause.
func Of(err error) *errs.Error {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return errs.New(kindOf(e.Code()), "", e.Message())
	}
	switch {
	case errors.Is(err, context.Canceled):
		return errs.Wrap(errs.Canceled, "", err)
	case errors.Is(err, context.DeadlineExceeded):
		return errs.Wrap(errs.DeadlineExceeded, "", err)
	}
	return errs.Wrap(errs.Internal, "", err)
}

// Encode returns what the wire carries of err: code, message, and the detail.
// Op and cause stay here.
func Encode(err error) *connect.Error {
	e := Of(err)
	code, _ := codeOf(e.Kind)
	subject, detail := clean(e.Subject), clean(e.Detail)
	out := connect.NewError(code, errors.New(errs.Message(errs.New(e.Kind, subject, detail))))
	info := &errdetails.ErrorInfo{
		Reason: reason(e.Kind), Domain: Domain,
		Metadata: map[string]string{metaKind: strconv.Itoa(int(e.Kind)), metaSubject: subject, metaDetail: detail},
	}
	if d, err := connect.NewErrorDetail(info); err == nil {
		out.AddDetail(d)
	}
	return out
}

// Decode returns the error that Encode was given, and true; or, where err
// carries no detail of ours, what can be said of it and false.
func Decode(err error) (*errs.Error, bool) {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return Of(err), false
	}
	for _, d := range ce.Details() {
		v, err := d.Value()
		if err != nil {
			continue
		}
		info, ok := v.(*errdetails.ErrorInfo)
		if !ok || info.Domain != Domain {
			continue
		}
		n, err := strconv.ParseUint(info.Metadata[metaKind], 10, 8)
		if err != nil || n == 0 {
			continue
		}
		return errs.New(errs.Kind(n), info.Metadata[metaSubject], info.Metadata[metaDetail]), true
	}
	return errs.New(kindOf(ce.Code()), "", ce.Message()), false
}

// reason spells a kind as ErrorInfo wants it: NO_SUCH_KEY.
func reason(k errs.Kind) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - ('a' - 'A')
		case r == ' ' || r == '-':
			return '_'
		}
		return r
	}, k.String())
}

// clean makes s fit a protobuf string: names may hold any bytes.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

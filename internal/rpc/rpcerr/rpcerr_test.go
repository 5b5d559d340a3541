package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect"

	"o3/internal/errs"
)

// TestTableIsTotal: every kind has a code, comes back exactly, and reads well.
func TestTableIsTotal(t *testing.T) {
	for _, k := range errs.Kinds() {
		if _, ok := codeOf(k); !ok {
			t.Errorf("no code for kind %v", k)
		}
		in := &errs.Error{Kind: k, Op: "secret op", Subject: "/v/b/k", Detail: "what is allowed", Err: errors.New("secret cause")}
		wire := Encode(fmt.Errorf("outer: %w", in))
		out, exact := Decode(wire)
		if !exact || out.Kind != k || out.Subject != in.Subject || out.Detail != in.Detail {
			t.Errorf("%v came back as %+v, exact %v", k, out, exact)
		}
		if out.Op != "" || out.Err != nil {
			t.Errorf("%v: op or cause crossed the wire: %+v", k, out)
		}
		if want := errs.Message(in); wire.Message() != want {
			t.Errorf("%v: message %q, want %q", k, wire.Message(), want)
		}
	}
}

func TestForeignErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want errs.Kind
	}{
		{context.Canceled, errs.Canceled},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), errs.DeadlineExceeded},
		{errors.New("secret"), errs.Internal},
		{connect.NewError(connect.CodeUnimplemented, errors.New("no")), errs.NotImplemented},
		{connect.NewError(connect.CodeResourceExhausted, errors.New("message is larger")), errs.TooLarge},
		{connect.NewError(connect.CodeUnknown, errors.New("proxy")), errs.Internal},
	} {
		wire := Encode(c.err)
		if got, _ := Decode(wire); got.Kind != c.want {
			t.Errorf("%v: kind %v, want %v", c.err, got.Kind, c.want)
		}
	}
	if m := Encode(errors.New("secret")).Message(); m != "internal error" {
		t.Errorf("an unclassified error shows %q", m)
	}
	e, exact := Decode(connect.NewError(connect.CodeUnauthenticated, errors.New("proxy says no")))
	if exact || e.Kind != errs.Unauthenticated || e.Detail != "proxy says no" {
		t.Errorf("code without detail: %+v %v", e, exact)
	}
}

func TestInvalidUTF8(t *testing.T) {
	got, exact := Decode(Encode(errs.New(errs.NoSuchKey, "a\xffb", "")))
	if !exact || got.Kind != errs.NoSuchKey || got.Subject != "a\uFFFDb" {
		t.Errorf("%+v %v", got, exact)
	}
}

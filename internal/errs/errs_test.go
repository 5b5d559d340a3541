package errs

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// TestKindsAreTotal: every kind has words of its own, and the numbers, which
// are stored and cross the wire, are those of the first release.
func TestKindsAreTotal(t *testing.T) {
	seen := map[string]Kind{}
	kinds := Kinds()
	if len(kinds) != int(numKinds)-1 || kinds[0] != Internal {
		t.Fatalf("%d kinds", len(kinds))
	}
	for _, k := range kinds {
		name := k.String()
		if other, ok := seen[name]; ok || name == "" || name == "unknown kind" {
			t.Errorf("kind %d is called %q, like %d", k, name, other)
		}
		seen[name] = k
	}
	if numKinds.String() != "unknown kind" || OK.String() != "ok" {
		t.Error(numKinds, OK)
	}
	for k, n := range map[Kind]int{
		OK: 0, Internal: 1, Invalid: 2, NoSuchKey: 5, KeyExists: 11, NotEmpty: 13, Denied: 18, PreconditionFailed: 19,
		Conflict: 21, QuotaExceeded: 22, NotLeader: 23, Corrupt: 26, TooLarge: 28, BadDigest: 32, SlowDown: 34,
		FormatTooNew: 37, FormatUnknown: 38, NoSuchSnapshot: 39, TooMany: 43,
	} {
		if int(k) != n {
			t.Errorf("%v has number %d, was %d: stored answers would be read wrongly", k, k, n)
		}
	}
}

func TestKindOf(t *testing.T) {
	inner := New(NoSuchKey, "k", "")
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{nil, OK},
		{io.EOF, Internal},
		{inner, NoSuchKey},
		{fmt.Errorf("reading: %w", inner), NoSuchKey},
		{Wrap(Corrupt, "row", inner), Corrupt},
		{errors.Join(io.EOF, inner), NoSuchKey},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

func TestTexts(t *testing.T) {
	err := &Error{Kind: Corrupt, Op: "kv.Get", Subject: "row 1", Detail: "short", Err: io.ErrUnexpectedEOF}
	if want := "kv.Get: corrupt: row 1: short: unexpected EOF"; err.Error() != want {
		t.Errorf("%q", err)
	}
	if want := "corrupt: row 1: short"; Message(fmt.Errorf("outer: %w", err)) != want {
		t.Errorf("users see %q", Message(err))
	}
	if Message(io.EOF) != "internal error" {
		t.Errorf("users see %q", Message(io.EOF))
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(fmt.Errorf("x: %w", err), &Error{Kind: Corrupt}) {
		t.Error("the cause or the kind is not found")
	}
	if errors.Is(err, &Error{Kind: NoSuchKey}) || errors.Is(err, &Error{Kind: Corrupt, Subject: "row 2"}) {
		t.Error("something else is found")
	}
	if got := New(Invalid, "", "").Error(); got != "invalid" {
		t.Errorf("%q", got)
	}
}

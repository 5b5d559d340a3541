package keys

import (
	"bytes"
	"cmp"
	"strings"
	"testing"
)

func FuzzOrder(f *testing.F) {
	f.Add("a", "b", uint64(1), uint64(2))
	f.Add("a\x00", "a", uint64(0), uint64(0))
	f.Add("a\x00\xff", "a\x00\x01", uint64(1<<63), uint64(0))
	f.Fuzz(func(t *testing.T, a, b string, m, n uint64) {
		ka, kb := Uint64(String(nil, a), m), Uint64(String(nil, b), n)
		want := strings.Compare(a, b)
		if want == 0 {
			want = cmp.Compare(m, n)
		}
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("order of (%q,%d) and (%q,%d) is %d, want %d", a, m, b, n, got, want)
		}
		s, rest, err := TakeString(ka)
		if err != nil || s != a {
			t.Fatalf("TakeString(%q) = %q, %v", ka, s, err)
		}
		v, rest, err := TakeUint64(rest)
		if err != nil || v != m || len(rest) != 0 {
			t.Fatalf("TakeUint64 = %d, %v, rest %q", v, err, rest)
		}
	})
}

func FuzzTake(f *testing.F) {
	f.Add([]byte("a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, rest, err := TakeString(b)
		if err != nil {
			return
		}
		if again := append(String(nil, s), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%q decodes to %q but encodes to %q", b, s, again)
		}
	})
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a", "b"}, {"a\xff", "b"}, {"\xff", ""}, {"", ""}, {"a\x00", "a\x01"},
	} {
		if got := PrefixEnd([]byte(c.in)); string(got) != c.want {
			t.Errorf("PrefixEnd(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

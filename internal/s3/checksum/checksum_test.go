package checksum

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"o3/internal/errs"
)

// TestCheckValues compares the algorithms with the published check values, the
// digests of "123456789".
func TestCheckValues(t *testing.T) {
	for a, want := range map[Algorithm]string{
		CRC32: "cbf43926", CRC32C: "e3069283", CRC64NVME: "ae8b14860a799888",
		SHA1:   "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		SHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		h := a.New()
		io.WriteString(h, "123456789")
		d := Digest{a, h.Sum(nil)}
		if hex.EncodeToString(d.Sum) != want || len(d.Sum) != a.Size() {
			t.Errorf("%v: %x, want %s", a, d.Sum, want)
		}
		back, err := ParseDigest(a, d.String())
		if err != nil || !bytes.Equal(back.Sum, d.Sum) {
			t.Errorf("%v: %q read back as %v, %v", a, d, back, err)
		}
		if named, err := ParseAlgorithm(strings.ToLower(a.String())); err != nil || named != a {
			t.Errorf("%v: %v, %v", a, named, err)
		}
		if a.Header() != "x-amz-checksum-"+strings.ToLower(a.String()) {
			t.Error(a.Header())
		}
	}
}

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// TestParts cuts random bodies into random parts: the combined checksums are
// those of the definition.
func TestParts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		body := randomBytes(rnd, rnd.IntN(5000))
		for _, a := range Algorithms() {
			var parts []Part
			var sums []byte
			for rest := body; ; {
				part := rest[:rnd.IntN(len(rest)+1)]
				if rnd.IntN(4) == 0 {
					part = rest
				}
				h := a.New()
				h.Write(part)
				parts = append(parts, Part{h.Sum(nil), int64(len(part))})
				sums = h.Sum(sums)
				if rest = rest[len(part):]; len(rest) == 0 {
					break
				}
			}
			h := a.New()
			h.Write(sums)
			if got := CompositeOf(a, parts); !bytes.Equal(got.Sum, h.Sum(nil)) || got.Algorithm != a {
				t.Fatalf("%v: composite %v", a, got)
			}
			h.Reset()
			h.Write(body)
			got, ok := FullObjectOf(a, parts)
			if ok != (a != SHA1 && a != SHA256) {
				t.Fatalf("%v can be combined: %v", a, ok)
			}
			if ok && !bytes.Equal(got.Sum, h.Sum(nil)) {
				t.Fatalf("%v of %d bytes in %d parts: %x, want %x", a, len(body), len(parts), got.Sum, h.Sum(nil))
			}
		}
	}
	if _, ok := FullObjectOf(CRC32, []Part{{Sum: make([]byte, 8)}}); ok {
		t.Fatal("a sum of the wrong length is combined")
	}
}

// TestLargeParts combines parts too large to hash in a test: a part of n zero
// bytes twice is a part of 2n.
func TestLargeParts(t *testing.T) {
	for _, a := range []Algorithm{CRC32, CRC32C, CRC64NVME} {
		h := a.New()
		h.Write(make([]byte, 1<<20))
		sum, size := h.Sum(nil), int64(1<<20)
		for size < 5<<40 {
			two, _ := FullObjectOf(a, []Part{{sum, size}, {sum, size}})
			four, _ := FullObjectOf(a, []Part{{two.Sum, 2 * size}, {two.Sum, 2 * size}})
			three, _ := FullObjectOf(a, []Part{{sum, size}, {two.Sum, 2 * size}})
			other, _ := FullObjectOf(a, []Part{{three.Sum, 3 * size}, {sum, size}})
			if !bytes.Equal(four.Sum, other.Sum) {
				t.Fatalf("%v: size %d", a, size)
			}
			sum, size = two.Sum, 2*size
		}
	}
}

func TestMultipartStrings(t *testing.T) {
	// Known from a real upload: the ETag of two empty parts.
	empty := md5.Sum(nil)
	sum := md5.Sum(append(empty[:], empty[:]...))
	if got := MultipartETag([][16]byte{empty, empty}); got != hex.EncodeToString(sum[:])+"-2" {
		t.Error(got)
	}
	if got := CompositeString(Digest{CRC32, []byte{1, 2, 3, 4}}, 10000); got != "AQIDBA==-10000" {
		t.Error(got)
	}
}

// expect returns what a client promises about body when it promises all it can.
func expect(body []byte, a Algorithm) Expected {
	e := Expected{Length: int64(len(body))}
	m, s := md5.Sum(body), sha256.Sum256(body)
	e.MD5, e.SHA256 = m[:], s[:]
	if a != None {
		h := a.New()
		h.Write(body)
		e.Checksum = Digest{a, h.Sum(nil)}
	}
	return e
}

func TestReader(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{0, 1, 100, 4096, 100_000} {
		body := randomBytes(rnd, n)
		for _, a := range append(Algorithms(), None) {
			for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.HalfReader, iotest.DataErrReader, iotest.OneByteReader} {
				if n > 4096 {
					wrap = iotest.DataErrReader
				}
				e := expect(body, a)
				want := e.Checksum
				trailer := func() http.Header { t.Fatal("the trailer is asked for"); return nil }
				if n%2 == 0 && a != None {
					e.Checksum.Sum, e.InTrailer = nil, true
					trailer = func() http.Header { h := http.Header{}; h.Set(a.Header(), want.String()); return h }
				}
				r := NewReader(wrap(bytes.NewReader(body)), e, trailer)
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, body) || !r.Done() {
					t.Fatalf("%d bytes, %v: %v", n, a, err)
				}
				res := r.Result()
				if res.Size != int64(n) || res.MD5 != md5.Sum(body) || res.ETag() != hex.EncodeToString(e.MD5) || !bytes.Equal(res.Checksum.Sum, want.Sum) || res.Checksum.Algorithm != a {
					t.Fatalf("%+v", res)
				}
				if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Fatalf("after the end: %d, %v", n, err)
				}
			}
		}
	}
}

// TestReaderRefuses flips one bit of each promise.
func TestReaderRefuses(t *testing.T) {
	body := []byte("the body")
	flip := func(b []byte) []byte { c := slices.Clone(b); c[len(c)-1] ^= 1; return c }
	trailer := func(name, value string) func() http.Header {
		return func() http.Header { return http.Header{http.CanonicalHeaderKey(name): {value}} }
	}
	for name, c := range map[string]struct {
		change  func(*Expected)
		src     io.Reader
		trailer func() http.Header
		code    string
	}{
		"md5":             {change: func(e *Expected) { e.MD5 = flip(e.MD5) }, code: "BadDigest"},
		"sha256":          {change: func(e *Expected) { e.SHA256 = flip(e.SHA256) }, code: "XAmzContentSHA256Mismatch"},
		"checksum":        {change: func(e *Expected) { e.Checksum.Sum = flip(e.Checksum.Sum) }, code: "BadDigest"},
		"short":           {change: func(e *Expected) { e.Length++ }, code: "IncompleteBody"},
		"long":            {change: func(e *Expected) { e.Length-- }, code: "IncompleteBody"},
		"cut by http":     {change: func(e *Expected) {}, src: io.MultiReader(strings.NewReader("the"), iotest.ErrReader(io.ErrUnexpectedEOF)), code: "IncompleteBody"},
		"no trailer":      {change: func(e *Expected) { e.InTrailer = true }, code: "InvalidRequest"},
		"trailer's name":  {change: func(e *Expected) { e.InTrailer = true }, trailer: trailer("x-amz-checksum-crc32", "AAAAAA=="), code: "InvalidRequest"},
		"trailer's form":  {change: func(e *Expected) { e.InTrailer = true }, trailer: trailer("x-amz-checksum-crc32c", "AAAA"), code: "InvalidRequest"},
		"trailer's value": {change: func(e *Expected) { e.InTrailer = true }, trailer: trailer("x-amz-checksum-crc32c", "AAAAAA=="), code: "BadDigest"},
	} {
		e := expect(body, CRC32C)
		c.change(&e)
		if c.src == nil {
			c.src = bytes.NewReader(body)
		}
		r := NewReader(c.src, e, c.trailer)
		_, err := io.ReadAll(r)
		got, ok := errors.AsType[*Error](err)
		if !ok || got.Code != c.code || r.Done() || !slices.Contains(Codes(), got.Code) {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := r.Read(make([]byte, 1)); again != err {
			t.Errorf("%s: then %v", name, again)
		}
	}
	broken := errors.New("the disk")
	if _, err := io.ReadAll(NewReader(iotest.ErrReader(broken), Expected{Length: NoLength}, nil)); err != broken {
		t.Error(err)
	}
	if k := errs.KindOf(&Error{Code: codeBadDigest}); k != errs.BadDigest {
		t.Error(k)
	}
}

func TestFromHeader(t *testing.T) {
	md := base64.StdEncoding.EncodeToString(make([]byte, 16))
	const crc, crc64 = "AAAAAA==", "AAAAAAAAAAA="
	for _, c := range []struct {
		head string // name=value, separated by spaces
		want string
	}{
		{"", "algorithm , trailer false"},
		{"content-md5=" + md, "md5 algorithm , trailer false"},
		{"content-md5=", "InvalidDigest"},
		{"content-md5=AAAA", "InvalidDigest"},
		{"content-md5=!!!", "InvalidDigest"},
		{"content-md5=" + strings.TrimRight(md, "="), "InvalidDigest"},
		{"content-md5=" + md + " content-md5=" + md, "InvalidDigest"},
		{"x-amz-checksum-crc32=" + crc, "algorithm CRC32 AAAAAA==, trailer false"},
		{"x-amz-checksum-crc64nvme=" + crc64, "algorithm CRC64NVME AAAAAAAAAAA=, trailer false"},
		{"x-amz-checksum-crc64nvme=" + crc, "InvalidRequest"},
		{"x-amz-checksum-crc32=AAAA", "InvalidRequest"},
		{"x-amz-checksum-crc32=" + crc + " x-amz-checksum-crc32c=" + crc, "InvalidRequest"},
		{"x-amz-checksum-crc32=" + crc + " x-amz-checksum-crc32=" + crc, "InvalidRequest"},
		{"x-amz-checksum-sha512=AAAA", "NotImplemented"},
		{"x-amz-checksum-xxhash3=AAAA", "NotImplemented"},
		{"x-amz-checksum-adler=AAAA", "InvalidRequest"},
		{"x-amz-checksum-mode=ENABLED x-amz-checksum-type=COMPOSITE x-amz-checksum-algorithm=CRC32", "algorithm , trailer false"},
		{"x-amz-trailer=x-amz-checksum-crc32", "algorithm CRC32, trailer true"},
		{"x-amz-trailer=X-Amz-Checksum-SHA256", "algorithm SHA256, trailer true"},
		{"x-amz-trailer=x-amz-checksum-crc32,x-amz-checksum-sha1", "InvalidRequest"},
		{"x-amz-trailer=x-amz-checksum-md5", "NotImplemented"},
		{"x-amz-trailer=x-amz-meta-a", "InvalidRequest"},
		{"x-amz-trailer=x-amz-checksum-", "InvalidRequest"},
		{"x-amz-trailer=x-amz-checksum-crc32 x-amz-checksum-crc32=" + crc, "InvalidRequest"},
		{"x-amz-sdk-checksum-algorithm=CRC32 x-amz-trailer=x-amz-checksum-crc32", "algorithm CRC32, trailer true"},
		{"x-amz-sdk-checksum-algorithm=crc32 x-amz-checksum-crc32=" + crc, "algorithm CRC32 AAAAAA==, trailer false"},
		{"x-amz-sdk-checksum-algorithm=CRC32 x-amz-checksum-crc32c=" + crc, "InvalidRequest"},
		{"x-amz-sdk-checksum-algorithm=CRC32", "InvalidRequest"},
		{"x-amz-sdk-checksum-algorithm=CRC32 content-md5=" + md, "md5 algorithm , trailer false"},
		{"x-amz-sdk-checksum-algorithm=", "InvalidRequest"},
		{"x-amz-sdk-checksum-algorithm=ROT13", "InvalidRequest"},
		{"x-amz-sdk-checksum-algorithm=SHA512", "NotImplemented"},
	} {
		h := http.Header{}
		for pair := range strings.FieldsSeq(c.head) {
			name, value, _ := strings.Cut(pair, "=")
			h.Add(name, value)
		}
		e, err := FromHeader(h, "")
		got := fmt.Sprintf("algorithm %v, trailer %v", strings.TrimSuffix(e.Checksum.Algorithm.String()+" "+e.Checksum.String(), " "), e.InTrailer)
		if e.Checksum.Algorithm == None {
			got = fmt.Sprintf("algorithm , trailer %v", e.InTrailer)
		}
		if e.MD5 != nil {
			got = "md5 " + got
		}
		if f, ok := errors.AsType[*Error](err); ok {
			got = f.Code
		}
		if got != c.want || e.Length != NoLength {
			t.Errorf("%s: %s, want %s (%v)", c.head, got, c.want, err)
		}
	}
	e, err := FromHeader(nil, strings.Repeat("Ab", 32))
	if err != nil || len(e.SHA256) != 32 || e.SHA256[0] != 0xab {
		t.Error(e, err)
	}
	for _, bad := range []string{"UNSIGNED-PAYLOAD", "ab"} {
		if _, err := FromHeader(nil, bad); err == nil {
			t.Errorf("payload %q is accepted", bad)
		}
	}
}

func TestParseType(t *testing.T) {
	for _, c := range []struct {
		a    Algorithm
		in   string
		want string
	}{
		{CRC32, "", "COMPOSITE"}, {CRC32, "FULL_OBJECT", "FULL_OBJECT"}, {CRC32, "composite", "COMPOSITE"},
		{CRC32C, "FULL_OBJECT", "FULL_OBJECT"}, {CRC64NVME, "", "FULL_OBJECT"}, {CRC64NVME, "COMPOSITE", "InvalidRequest"},
		{SHA1, "FULL_OBJECT", "InvalidRequest"}, {SHA256, "", "COMPOSITE"}, {SHA256, "FULL_OBJECT", "InvalidRequest"},
		{None, "", ""}, {None, "COMPOSITE", "InvalidRequest"}, {CRC32, "SOME", "InvalidRequest"},
	} {
		got, err := ParseType(c.a, c.in)
		text := got.String()
		if e, ok := errors.AsType[*Error](err); ok {
			text = e.Code
		}
		if text != c.want {
			t.Errorf("%v %q: %s, want %s", c.a, c.in, text, c.want)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		body := make([]byte, size)
		all := expect(body, None)
		for _, c := range []struct {
			name string
			e    Expected
		}{
			{"md5", Expected{Length: NoLength}},
			{"md5+crc64nvme", Expected{Length: NoLength, Checksum: Digest{Algorithm: CRC64NVME}}},
			{"md5+crc32", Expected{Length: NoLength, Checksum: Digest{Algorithm: CRC32}}},
			{"md5+sha256", Expected{Length: NoLength, SHA256: all.SHA256}},
			{"md5+sha256+crc64nvme", Expected{Length: NoLength, SHA256: all.SHA256, Checksum: Digest{Algorithm: CRC64NVME}}},
			{"md5+sha256-both", Expected{Length: NoLength, SHA256: all.SHA256, Checksum: Digest{Algorithm: SHA256}}},
		} {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, c.name), func(b *testing.B) {
				buf := make([]byte, 64<<10)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					r := NewReader(bytes.NewReader(body), c.e, nil)
					for {
						if _, err := r.Read(buf); err == io.EOF {
							break
						} else if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

func BenchmarkFullObjectOf10000Parts(b *testing.B) {
	parts := make([]Part, 10000)
	for i := range parts {
		parts[i] = Part{make([]byte, 8), 8 << 20}
	}
	for b.Loop() {
		FullObjectOf(CRC64NVME, parts)
	}
}

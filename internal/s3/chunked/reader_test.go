package chunked

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

var signedAt = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

// chain returns a new chain of signatures, always the same one.
func chain() *sigv4.Stream {
	r, err := http.NewRequest("PUT", "http://h/bucket/key", nil)
	if err != nil {
		panic(err)
	}
	s := sigv4.Signer{AccessKeyID: "id", Secret: "secret", Region: "r"}
	return s.Sign(r, sigv4.PayloadStream.String(), signedAt)
}

var modes = []sigv4.Payload{sigv4.PayloadStream, sigv4.PayloadStreamTrailer, sigv4.PayloadStreamUnsignedTrailer}

const trailerName, trailerValue = "x-amz-checksum-crc32c", "sOO8/Q=="

// encode returns body as our client sends it.
func encode(t testing.TB, body []byte, mode sigv4.Payload, chunkSize int) []byte {
	t.Helper()
	o := EncoderOptions{Length: int64(len(body)), ChunkSize: chunkSize}
	if mode.Trailer() {
		o.Trailer = func() [][2]string { return [][2]string{{trailerName, trailerValue}} }
		o.TrailerLength, o.TrailerCount = len(trailerName+trailerValue), 1
	}
	e := NewEncoder(bytes.NewReader(body), mode, chain(), o)
	out, err := io.ReadAll(e)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(out)) != e.EncodedLength() {
		t.Fatalf("%v: %d bytes, EncodedLength %d", mode, len(out), e.EncodedLength())
	}
	return out
}

func options(mode sigv4.Payload, length int) Options {
	o := Options{DecodedLength: int64(length)}
	if mode.Trailer() {
		o.Trailers = []string{trailerName}
	}
	return o
}

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, mode := range modes {
		for _, n := range []int{0, 1, 4096, 8192, 8193, 65536, 65537, 200_000, rnd.IntN(300_000)} {
			body := randomBytes(rnd, n)
			wire := encode(t, body, mode, 8192+rnd.IntN(100_000))
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"plain": func(r io.Reader) io.Reader { return r }, "half": iotest.HalfReader, "data and error": iotest.DataErrReader, "one byte": iotest.OneByteReader,
			} {
				r := NewReader(wrap(bytes.NewReader(wire)), mode, chain(), options(mode, n))
				if r.Trailer() != nil {
					t.Fatal("a trailer before the end")
				}
				if err := iotest.TestReader(struct{ io.Reader }{r}, body); err != nil {
					t.Fatalf("%v, %d bytes, %s: %v", mode, n, name, err)
				}
				if got := r.Trailer().Get(trailerName); mode.Trailer() != (got == trailerValue) {
					t.Fatalf("%v: trailer %q", mode, got)
				}
			}
		}
	}
}

// TestDocumentedStream decodes the bodies of the S3 documentation.
func TestDocumentedStream(t *testing.T) {
	const id, secret = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	a := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct{ payload, list, seed, extra, body string }{
		{
			"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
			"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
			"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", "Content-Length: 66824",
			"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + a(65536) + "\r\n" +
				"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + a(1024) + "\r\n" +
				"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
		},
		{
			"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
			"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e", "X-Amz-Trailer: x-amz-checksum-crc32c",
			"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + a(65536) + "\r\n" +
				"400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + a(1024) + "\r\n" +
				"0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
				"x-amz-checksum-crc32c:sOO8/Q==\n\r\n" + // as the documentation shows it
				"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n",
		},
	} {
		h := http.Header{
			"Content-Encoding": {"aws-chunked"}, "X-Amz-Decoded-Content-Length": {"66560"}, "X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"},
			"X-Amz-Date": {"20130524T000000Z"}, "X-Amz-Content-Sha256": {c.payload},
			"Authorization": {"AWS4-HMAC-SHA256 Credential=" + id + "/20130524/us-east-1/s3/aws4_request,SignedHeaders=" + c.list + ",Signature=" + c.seed},
		}
		name, value, _ := strings.Cut(c.extra, ": ")
		h.Set(name, value)
		who, err := sigv4.NewVerifier(sigv4.Options{}).Verify(sigv4.Request{Method: "PUT", Host: "s3.amazonaws.com", Path: "/examplebucket/chunkObject.txt", Header: h},
			signedAt, func(string) (string, error) { return secret, nil })
		if err != nil {
			t.Fatal(err)
		}
		opts, err := OptionsFromHeader(h, who.Payload)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(NewReader(strings.NewReader(c.body), who.Payload, who.Stream(), opts))
		if err != nil || string(got) != a(66560) {
			t.Fatalf("%s: %d bytes, %v", c.payload, len(got), err)
		}
	}
}

// read decodes wire and returns what came out and the code of the refusal.
func read(t testing.TB, wire []byte, mode sigv4.Payload, o Options) ([]byte, string) {
	t.Helper()
	got, err := io.ReadAll(NewReader(bytes.NewReader(wire), mode, chain(), o))
	if err == nil {
		return got, ""
	}
	e, ok := errors.AsType[*Error](err)
	if !ok || !slices.Contains(Codes(), e.Code) {
		t.Fatalf("an error without a code: %v", err)
	}
	return got, e.Code
}

// TestCut cuts a body at every byte. Nothing is accepted but a body that lacks
// only line ends, and no byte that was not sent comes out.
func TestCut(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 600)
	for _, mode := range modes {
		wire := encode(t, body, mode, 8192)
		lastLine := len(bytes.TrimRight(wire, "\r\n")) + len("\r\n")
		for n := range len(wire) {
			if n > 200 && n < 8000 && n%50 != 0 {
				continue // in the midst of data
			}
			got, code := read(t, wire[:n], mode, options(mode, len(body)))
			whole := n >= lastLine && !(mode.Trailer() && n == len(wire)-1) // a lone \r is no line
			if whole != (code == "") {
				t.Fatalf("%v: %d of %d bytes: %q", mode, n, len(wire), code)
			}
			if code != "" && code != "IncompleteBody" && code != "MalformedTrailerError" && code != "SignatureDoesNotMatch" {
				t.Fatalf("%v: %d of %d bytes: %s", mode, n, len(wire), code)
			}
			if !bytes.HasPrefix(body, got) || mode.Signed() && len(got) != 0 && len(got) != 8192 && len(got) != len(body) {
				t.Fatalf("%v: %d bytes cut at %d come out", mode, len(got), n)
			}
		}
		// net/http reports a body shorter than its Content-Length so.
		cutShort := io.MultiReader(bytes.NewReader(wire[:len(wire)/2]), iotest.ErrReader(io.ErrUnexpectedEOF))
		_, err := io.ReadAll(NewReader(cutShort, mode, chain(), options(mode, len(body))))
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != "IncompleteBody" {
			t.Fatalf("%v: %v", mode, err)
		}
		broken := errors.New("the network")
		if _, err := io.ReadAll(NewReader(iotest.ErrReader(broken), mode, chain(), options(mode, 1))); err != broken {
			t.Fatal(err)
		}
	}
}

// TestFlip changes every byte of a signed body, one at a time: it is refused,
// and what came out before is the true body's.
func TestFlip(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 600)
	for _, mode := range []sigv4.Payload{sigv4.PayloadStream, sigv4.PayloadStreamTrailer} {
		wire := encode(t, body, mode, 8192)
		for i := range wire {
			if i > 200 && i < 8000 && i%50 != 0 {
				continue // in the midst of data
			}
			bad := slices.Clone(wire)
			bad[i] ^= 0x10
			got, code := read(t, bad, mode, options(mode, len(body)))
			if code == "" {
				t.Fatalf("%v: byte %d (%q) is changed and accepted", mode, i, wire[max(0, i-5):i+1])
			}
			if !bytes.HasPrefix(body, got) {
				t.Fatalf("%v: byte %d: unverified bytes come out", mode, i)
			}
		}
	}
}

// refusal is a body that was changed, or is read with other options, and the
// error it gets.
type refusal struct {
	name   string
	mode   sigv4.Payload
	change func([]byte) []byte
	opts   func(*Options)
	code   string
}

// replace replaces the first from by to, which must be there.
func replace(from, to string) func([]byte) []byte {
	return func(b []byte) []byte {
		out := bytes.Replace(b, []byte(from), []byte(to), 1)
		if bytes.Equal(out, b) {
			panic("nothing replaced: " + from)
		}
		return out
	}
}

// refusedBody is 20000 bytes, and twoChunks its encoding in two chunks.
var refusedBody = strings.Repeat("x", 20000)

func twoChunks(t testing.TB, mode sigv4.Payload) []byte {
	return encode(t, []byte(refusedBody), mode, 10000)
}

func refusals(t testing.TB) []refusal {
	const stream, trailer, unsigned = sigv4.PayloadStream, sigv4.PayloadStreamTrailer, sigv4.PayloadStreamUnsignedTrailer
	two := func(mode sigv4.Payload) []byte { return twoChunks(t, mode) }
	chunkLength := len("2710;chunk-signature=") + 64 + 2 + 10000 + 2
	return []refusal{
		{"empty", stream, func([]byte) []byte { return nil }, nil, "IncompleteBody"},
		{"longer than announced", stream, nil, func(o *Options) { o.DecodedLength-- }, "IncompleteBody"},
		{"shorter than announced", stream, nil, func(o *Options) { o.DecodedLength++ }, "IncompleteBody"},
		{"unsigned, longer", unsigned, nil, func(o *Options) { o.DecodedLength-- }, "IncompleteBody"},
		{"unsigned, shorter", unsigned, nil, func(o *Options) { o.DecodedLength++ }, "IncompleteBody"},
		{"chunk above the bound", stream, nil, func(o *Options) { o.MaxChunk = 9999 }, "InvalidChunkSizeError"},
		{"small chunk before the last", stream, nil, func(o *Options) { o.MinChunk = 10001 }, "InvalidChunkSizeError"},
		{"unsigned, small chunk", unsigned, nil, func(o *Options) { o.MinChunk = 10001 }, "InvalidChunkSizeError"},
		{"a claim of all memory", stream, replace("2710;", "7fffffffffffffff;"), nil, "InvalidChunkSizeError"},
		{"a claim beyond numbers", stream, replace("2710;", "ffffffffffffffff;"), nil, "InvalidChunkSizeError"},
		{"size of 17 digits", stream, replace("2710;", "00000000000002710;"), nil, "InvalidRequest"},
		{"no size", stream, replace("2710;", ";"), nil, "InvalidRequest"},
		{"negative size", stream, replace("2710;", "-1;"), nil, "InvalidRequest"},
		{"size in words", stream, replace("2710;", "0x2710;"), nil, "InvalidRequest"},
		{"no signature", stream, replace(";chunk-signature=", ";x="), nil, "SignatureDoesNotMatch"},
		{"unsigned chunks where signed ones are due", stream, func([]byte) []byte { return two(unsigned) }, nil, "SignatureDoesNotMatch"},
		{"signed chunks where unsigned ones are due", unsigned, func([]byte) []byte { return two(trailer) }, nil, "InvalidRequest"},
		{"chunks swapped", stream, func(b []byte) []byte {
			return slices.Concat(b[chunkLength:2*chunkLength], b[:chunkLength], b[2*chunkLength:])
		}, nil, "SignatureDoesNotMatch"},
		{"chunk repeated", stream, func(b []byte) []byte { return slices.Concat(b[:chunkLength], b[:chunkLength], b[2*chunkLength:]) }, nil, "SignatureDoesNotMatch"},
		{"chunk dropped", stream, func(b []byte) []byte { return b[chunkLength:] }, nil, "SignatureDoesNotMatch"},
		{"last chunk missing", stream, func(b []byte) []byte { return b[:2*chunkLength] }, nil, "IncompleteBody"},
		{"bytes after the end", stream, func(b []byte) []byte { return append(b, 'x') }, nil, "InvalidRequest"},
		{"line ends without end", stream, func(b []byte) []byte { return append(b, bytes.Repeat([]byte("\r\n"), 20)...) }, nil, "InvalidRequest"},
		{"long line", stream, func([]byte) []byte { return bytes.Repeat([]byte("0"), 100_000) }, nil, "InvalidRequest"},
		{"data longer than its header says", unsigned, replace("xx\r\n", "xxx\r\n"), nil, "InvalidRequest"},
		{"trailer not announced", unsigned, nil, func(o *Options) { o.Trailers = nil }, "MalformedTrailerError"},
		{"trailer announced, not sent", unsigned, nil, func(o *Options) { o.Trailers = append(o.Trailers, "x-amz-checksum-sha1") }, "MalformedTrailerError"},
		{"trailer of another name", unsigned, replace("crc32c:", "crc32:"), nil, "MalformedTrailerError"},
		{"trailer twice", unsigned, replace(trailerName, trailerName+":AAAA\r\n"+trailerName), nil, "MalformedTrailerError"},
		{"trailer without a value", unsigned, replace(":"+trailerValue, ":"), nil, "MalformedTrailerError"},
		{"trailer without a colon", unsigned, replace("crc32c:", "crc32c "), nil, "MalformedTrailerError"},
		{"trailer signature on an unsigned body", unsigned, replace(trailerValue, trailerValue+"\r\nx-amz-trailer-signature:00"), nil, "MalformedTrailerError"},
		{"trailer changed", trailer, replace(trailerValue, "AAAAAA=="), nil, "SignatureDoesNotMatch"},
		{"trailer signature missing", trailer, func(b []byte) []byte { return b[:bytes.Index(b, []byte("x-amz-trailer-signature"))] }, nil, "SignatureDoesNotMatch"},
		{"trailer after its signature", trailer, replace("x-amz-trailer-signature:", "x-amz-trailer-signature:0\r\nx-amz-trailer-signature:"), nil, "MalformedTrailerError"},
		{"only empty lines", trailer, func(b []byte) []byte {
			return append(b[:bytes.Index(b, []byte(trailerName))], bytes.Repeat([]byte("\r\n"), 100)...)
		}, nil, "MalformedTrailerError"},
		{"a trailer of many lines", unsigned, replace(trailerName, strings.Repeat("a:b\r\n", 1000)+trailerName), nil, "MalformedTrailerError"},
	}
}

func TestRefusals(t *testing.T) {
	body := []byte(refusedBody)
	for _, c := range refusals(t) {
		wire, o := twoChunks(t, c.mode), options(c.mode, len(body))
		if c.change != nil {
			wire = c.change(wire)
		}
		if c.opts != nil {
			c.opts(&o)
		}
		got, code := read(t, wire, c.mode, o)
		if code != c.code {
			t.Errorf("%s: %q, want %s", c.name, code, c.code)
		}
		if c.mode.Signed() && !bytes.HasPrefix(body, got) {
			t.Errorf("%s: unverified bytes come out", c.name)
		}
	}
	if k := errs.KindOf(mismatch("chunk")); k != errs.Unauthenticated {
		t.Error(k)
	}
}

// TestClaimCostsNothing offers a huge chunk and sends little of it.
func TestClaimCostsNothing(t *testing.T) {
	wire := []byte(fmt.Sprintf("%x;chunk-signature=%s\r\n", DefaultMaxChunk, strings.Repeat("0", 64)))
	r := NewReader(bytes.NewReader(append(wire, "abc"...)), sigv4.PayloadStream, chain(), Options{DecodedLength: 1 << 40})
	if _, err := io.ReadAll(r); err == nil {
		t.Fatal("accepted")
	}
	if cap(r.buf) > 256<<10 {
		t.Fatalf("%d bytes are held for a chunk of 3", cap(r.buf))
	}
}

// TestNeverUnsigned checks that a signed mode without a chain is not read.
func TestNeverUnsigned(t *testing.T) {
	for _, mode := range []sigv4.Payload{sigv4.PayloadHash, sigv4.PayloadUnsigned, sigv4.PayloadStream, sigv4.PayloadStreamTrailer} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v is read without a chain", mode)
				}
			}()
			NewReader(strings.NewReader(""), mode, nil, Options{})
		}()
	}
}

func TestOptionsFromHeader(t *testing.T) {
	for _, c := range []struct {
		length, trailer []string
		mode            sigv4.Payload
		want            string
	}{
		{[]string{"0"}, nil, sigv4.PayloadStream, "0 []"},
		{[]string{"66560"}, []string{"X-Amz-Checksum-Crc32 , x-b", "x-c"}, sigv4.PayloadStreamTrailer, "66560 [x-amz-checksum-crc32 x-b x-c]"},
		{nil, nil, sigv4.PayloadStream, "MissingContentLength"},
		{[]string{"-1"}, nil, sigv4.PayloadStream, "InvalidArgument"},
		{[]string{"1", "1"}, nil, sigv4.PayloadStream, "InvalidArgument"},
		{[]string{"9223372036854775808"}, nil, sigv4.PayloadStream, "InvalidArgument"},
		{[]string{"0x1"}, nil, sigv4.PayloadStream, "InvalidArgument"},
		{[]string{"1"}, []string{"x-amz-checksum-crc32"}, sigv4.PayloadStream, "InvalidRequest"},
		{[]string{"1"}, []string{strings.Repeat("a,", 17)}, sigv4.PayloadStreamTrailer, "InvalidRequest"},
	} {
		h := http.Header{}
		if c.length != nil {
			h["X-Amz-Decoded-Content-Length"] = c.length
		}
		if c.trailer != nil {
			h["X-Amz-Trailer"] = c.trailer
		}
		o, err := OptionsFromHeader(h, c.mode)
		got := fmt.Sprint(o.DecodedLength, o.Trailers)
		if e, ok := errors.AsType[*Error](err); ok {
			got = e.Code
		}
		if got != c.want {
			t.Errorf("%q %q: %s, want %s", c.length, c.trailer, got, c.want)
		}
	}
	for in, want := range map[string]string{"aws-chunked": "", "aws-chunked,gzip": "gzip", " gzip , AWS-Chunked": "gzip", "": "", "gzip,br": "gzip,br"} {
		if got := ContentEncoding(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestEncoderSource refuses a source of another length than announced.
func TestEncoderSource(t *testing.T) {
	broken := errors.New("the disk")
	for name, c := range map[string]struct {
		src  io.Reader
		want error
	}{
		"short": {strings.NewReader("abc"), io.ErrUnexpectedEOF}, "long": {strings.NewReader("abcde"), io.ErrUnexpectedEOF},
		"broken": {iotest.ErrReader(broken), broken}, "broken at the end": {io.MultiReader(strings.NewReader("abcd"), iotest.ErrReader(broken)), broken},
	} {
		if _, err := io.ReadAll(NewEncoder(c.src, sigv4.PayloadStream, chain(), EncoderOptions{Length: 4})); err != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReader decodes anything, and bodies with anything put into them: nothing
// may panic, and no byte may come out of a signed body that is not the true
// body's.
func FuzzReader(f *testing.F) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	var wires [][]byte
	for _, mode := range modes {
		wires = append(wires, encode(f, body, mode, 8192))
	}
	f.Add(uint8(0), uint16(0), uint16(10), []byte("2000"), int64(len(body)))
	f.Add(uint8(1), uint16(16600), uint16(3), []byte("\r\n"), int64(len(body)))
	f.Add(uint8(2), uint16(0), uint16(65535), []byte("5\r\nhello\r\n0\r\n"+trailerName+":"+trailerValue+"\r\n\r\n"), int64(5))
	f.Fuzz(func(t *testing.T, which uint8, at, drop uint16, put []byte, length int64) {
		mode := modes[int(which)%len(modes)]
		wire := wires[int(which)%len(modes)]
		from := min(int(at), len(wire))
		to := min(from+int(drop), len(wire))
		bad := slices.Concat(wire[:from], put, wire[to:])
		got, code := read(t, bad, mode, Options{DecodedLength: length, Trailers: []string{trailerName}, MaxChunk: 1 << 20})
		if mode == sigv4.PayloadStream && code == "" && len(got) != len(body) {
			t.Fatal("another body is accepted")
		}
		if mode.Signed() && !bytes.HasPrefix(body, got) {
			t.Fatal("unverified bytes come out")
		}
		if code == "" && int64(len(got)) != length {
			t.Fatalf("%d bytes where %d were announced", len(got), length)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	body := make([]byte, 1<<20)
	for _, mode := range modes {
		wire := encode(b, body, mode, 64<<10)
		b.Run(mode.String(), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			buf := make([]byte, 64<<10)
			for b.Loop() {
				r := NewReader(bytes.NewReader(wire), mode, chain(), options(mode, len(body)))
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

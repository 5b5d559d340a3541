package sigv4

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The examples of the S3 documentation.
const (
	exampleID     = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleHost   = "examplebucket.s3.amazonaws.com"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func exampleSecrets(id string) (string, error) {
	if id != exampleID {
		return "", fmt.Errorf("unexpected key %q", id)
	}
	return exampleSecret, nil
}

// request builds a Request from the lines of an HTTP head.
func request(t testing.TB, head string) Request {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(head), "\n")
	first := strings.Fields(lines[0])
	r := Request{Method: first[0], Header: http.Header{}}
	r.Path, r.RawQuery, _ = strings.Cut(first[1], "?")
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("no header line: %q", line)
		}
		if strings.EqualFold(name, "host") {
			r.Host = strings.TrimSpace(value)
			continue
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r
}

func exampleAuth(signed, signature string) string {
	return "Authorization: AWS4-HMAC-SHA256 Credential=" + exampleID + "/20130524/us-east-1/s3/aws4_request,SignedHeaders=" + signed + ",Signature=" + signature
}

func TestDocumentedExamples(t *testing.T) {
	empty := "x-amz-content-sha256: " + EmptySHA256 + "\nx-amz-date: 20130524T000000Z\nHost: " + exampleHost + "\n"
	const lastYear = "host;x-amz-content-sha256;x-amz-date"
	for name, head := range map[string]string{
		"get object": "GET /test.txt HTTP/1.1\nRange: bytes=0-9\n" + empty +
			exampleAuth("host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
		"put object": "PUT /test$file.text HTTP/1.1\nHost: " + exampleHost + "\nDate: Fri, 24 May 2013 00:00:00 GMT\nx-amz-date: 20130524T000000Z\n" +
			"x-amz-storage-class: REDUCED_REDUNDANCY\nx-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n" +
			exampleAuth("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
		"get lifecycle": "GET /?lifecycle HTTP/1.1\n" + empty + exampleAuth(lastYear, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
		"list objects":  "GET /?max-keys=2&prefix=J HTTP/1.1\n" + empty + exampleAuth(lastYear, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
		"presigned": "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
			"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1\nHost: " + exampleHost,
	} {
		t.Run(name, func(t *testing.T) {
			id, err := NewVerifier(Options{Region: "us-east-1"}).Verify(request(t, head), exampleTime.Add(time.Minute), exampleSecrets)
			if err != nil {
				t.Fatal(err)
			}
			if id.AccessKeyID != exampleID || id.Scope.String() != "20130524/us-east-1/s3/aws4_request" || !id.SignedAt.Equal(exampleTime) {
				t.Fatalf("%+v", id)
			}
			if id.Presigned != (name == "presigned") || id.Presigned && !id.Expires.Equal(exampleTime.Add(24*time.Hour)) {
				t.Fatalf("presigned %v, expires %v", id.Presigned, id.Expires)
			}
		})
	}
}

// TestDocumentedStream checks the chunk signatures of the documentation.
func TestDocumentedStream(t *testing.T) {
	head := "PUT /examplebucket/chunkObject.txt HTTP/1.1\nHost: s3.amazonaws.com\nx-amz-date: 20130524T000000Z\nx-amz-storage-class: REDUCED_REDUNDANCY\n" +
		"Content-Encoding: aws-chunked\nx-amz-decoded-content-length: 66560\n"
	first, second := bytes.Repeat([]byte("a"), 65536), bytes.Repeat([]byte("a"), 1024)
	check := func(got [64]byte, want string) {
		t.Helper()
		if string(got[:]) != want {
			t.Fatalf("signature %s, want %s", got[:], want)
		}
	}
	id, err := NewVerifier(Options{}).Verify(request(t, head+"Content-Length: 66824\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\n"+
		exampleAuth("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
			"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")), exampleTime, exampleSecrets)
	if err != nil {
		t.Fatal(err)
	}
	if id.Payload != PayloadStream || !id.Payload.Streaming() || !id.Payload.Signed() || id.Payload.Trailer() {
		t.Fatal(id.Payload)
	}
	s := id.Stream()
	check(s.Chunk(sha256.Sum256(first)), "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")
	check(s.Chunk(sha256.Sum256(second)), "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
	check(s.Chunk(sha256.Sum256(nil)), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")

	id, err = NewVerifier(Options{}).Verify(request(t, head+"x-amz-trailer: x-amz-checksum-crc32c\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER\n"+
		exampleAuth("content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")), exampleTime, exampleSecrets)
	if err != nil {
		t.Fatal(err)
	}
	s = id.Stream()
	check(s.Chunk(sha256.Sum256(first)), "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2")
	check(s.Chunk(sha256.Sum256(second)), "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7")
	check(s.Chunk(sha256.Sum256(nil)), "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992")
	check(s.Trailer(sha256.Sum256([]byte("x-amz-checksum-crc32c:sOO8/Q==\n"))), "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435")
}

// TestMAC compares our HMAC with the standard one over all key and message
// lengths around the block size.
func TestMAC(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	text := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	for n := range 140 {
		key, msg := text(n), text(rnd.IntN(700))
		std := hmac.New(sha256.New, key)
		std.Write(msg)
		k := newKey(key)
		if got := k.mac(msg); !bytes.Equal(got[:], std.Sum(nil)) {
			t.Fatalf("key of %d bytes, message of %d: %x", n, len(msg), got)
		}
		want := hex.EncodeToString(std.Sum(nil))
		if got := k.Sign(msg); string(got[:]) != want {
			t.Fatalf("%s, want %s", got[:], want)
		}
	}
}

func TestKeyCache(t *testing.T) {
	var c KeyCache
	scope := Scope{"20130524", "us-east-1", "s3"}
	for range 2 {
		if *c.Key("one", scope).pads != *DeriveKey("one", scope).pads {
			t.Fatal("a cached key differs")
		}
	}
	if *c.Key("two", scope).pads == *c.Key("one", scope).pads {
		t.Fatal("two secrets share a key")
	}
	for i := range 3 * keyCacheSize {
		c.Key(fmt.Sprint(i), scope)
		if len(c.keys) > keyCacheSize {
			t.Fatalf("%d keys are held", len(c.keys))
		}
	}
}

// TestSecretsStayOut prints what holds a key or a secret.
func TestSecretsStayOut(t *testing.T) {
	key := DeriveKey(exampleSecret, Scope{"20130524", "us-east-1", "s3"})
	id := &Identity{key: key}
	s := Signer{AccessKeyID: exampleID, Secret: exampleSecret}
	bytes := fmt.Sprint(key.pads.inner[:4])
	hexes := fmt.Sprintf("%#v", key.pads.inner[:4])
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{key, id, *id, s, &s, id.Stream(), struct{ K *Key }{key}} {
			got := fmt.Sprintf(format, v)
			for _, secret := range []string{exampleSecret, hex.EncodeToString([]byte(exampleSecret)), strings.Trim(bytes, "[]"), strings.Trim(hexes, "[]byte{}"), hex.EncodeToString(key.pads.inner[:4])} {
				if strings.Contains(got, secret) {
					t.Errorf("%s of %T shows %q", format, v, secret)
				}
			}
		}
	}
}

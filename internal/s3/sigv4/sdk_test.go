package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/net/http/httpguts"
)

var sdkCredentials = aws.Credentials{AccessKeyID: exampleID, SecretAccessKey: exampleSecret}

// twoKeys knows the example's key and another one.
func twoKeys(id string) (string, error) {
	if id == "OTHER" {
		return "another secret", nil
	}
	return exampleSecrets(id)
}

// overTheWire returns r as a server sees it.
func overTheWire(r *http.Request) (Request, error) {
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		return Request{}, err
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		return Request{}, err
	}
	return FromHTTP(got), nil
}

// generator makes random requests.
type generator struct{ *rand.Rand }

func (g generator) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g generator) text(n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(g.pick("a", "Z", "0", "-", "_", ".", "~", "/", " ", "+", "%", "&", "=", "?", "#", "*", "(", ")", "'", "!", "$", ",", ":", ";", "@", "//", "../", "ü", "日", "🙂", "\x01", "%2F"))
	}
	return b.String()
}

func (g generator) request(t *testing.T) *http.Request {
	t.Helper()
	u := &url.URL{Scheme: "http", Host: g.pick("s3.example.com", "bucket.s3.example.com:9878", "127.0.0.1:9878", "[::1]:9000", "localhost:80")}
	key := g.text(g.IntN(12))
	u.Path = "/bucket/" + key
	if g.IntN(2) == 0 { // as the SDK's clients spell it
		u.RawPath = string(appendPath(nil, "/bucket/"+strings.ReplaceAll(key, "%", "%25")))
	}
	q := url.Values{}
	for range g.IntN(4) {
		q.Add(g.pick("prefix", "list-type", "uploads", "marker", "Über", "a b", g.text(3)+"x"), g.pick("", "2", g.text(5)))
	}
	u.RawQuery = q.Encode()
	var body io.Reader
	if n := g.IntN(40); n > 20 {
		body = strings.NewReader(strings.Repeat("x", n))
	}
	r, err := http.NewRequest(g.pick("GET", "PUT", "POST", "DELETE", "HEAD"), u.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	for range g.IntN(6) {
		value := g.pick("plain", "  two   spaces  ", "ümlaut", "a, b", "\"q  q\"", "", "tab\tinside", "=?UTF-8?B?w7w=?=")
		r.Header.Add(g.pick("Content-Type", "X-Amz-Meta-A", "x-amz-meta-b", "X-Amz-Tagging", "Cache-Control", "If-Match", "User-Agent", "Amz-Sdk-Request"), value)
	}
	return r
}

func (g generator) payload() string {
	return g.pick(EmptySHA256, PayloadUnsigned.String(), PayloadStream.String(), PayloadStreamTrailer.String(), PayloadStreamUnsignedTrailer.String())
}

func forS3(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }

// sdkSign signs r by the official SDK, in the header or in the query.
func sdkSign(r *http.Request, payload string, presign bool, at time.Time) (*http.Request, error) {
	signer := v4.NewSigner(forS3)
	if !presign {
		r.Header.Set("X-Amz-Content-Sha256", payload)
		return r, signer.SignHTTP(context.Background(), sdkCredentials, r, payload, "s3", "us-east-1", at)
	}
	q := r.URL.Query()
	q.Set("X-Amz-Expires", "600")
	r.URL.RawQuery = q.Encode()
	signed, headers, err := signer.PresignHTTP(context.Background(), sdkCredentials, r, PayloadUnsigned.String(), "s3", "us-east-1", at)
	if err != nil {
		return nil, err
	}
	out, err := http.NewRequest(r.Method, signed, r.Body)
	if err != nil {
		return nil, err
	}
	out.ContentLength = r.ContentLength
	out.Host = headers.Get("Host")
	for name, values := range headers {
		if name != "Host" && name != "Content-Length" {
			out.Header[name] = values
		}
	}
	return out, nil
}

// TestSDK signs random requests with the official SDK: each is accepted, and
// so is each spelling of it that means the same; whatever else is changed is
// refused.
func TestSDK(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	verifier := NewVerifier(Options{Region: "us-east-1", Keys: new(KeyCache)})
	rounds := 500
	if os.Getenv("O3_NIGHTLY") != "" {
		rounds = 20_000
	}
	for i := range rounds {
		presign := i%3 == 0
		payload := g.payload()
		signed, err := sdkSign(g.request(t), payload, presign, exampleTime)
		if err != nil {
			t.Fatal(err)
		}
		wire, err := overTheWire(signed)
		if err != nil {
			t.Fatal(err)
		}
		id, err := verifier.Verify(wire, exampleTime, twoKeys)
		if err != nil {
			t.Fatalf("round %d: %s\n%+v\n%+v", i, err, wire, err)
		}
		if !presign && id.Payload.String() != payload && id.PayloadSHA256 != payload {
			t.Fatalf("payload %q is %v %q", payload, id.Payload, id.PayloadSHA256)
		}
		for name, change := range sameMeaning {
			r := clone(wire)
			change(&r)
			if _, err := verifier.Verify(r, exampleTime, twoKeys); err != nil {
				t.Fatalf("round %d: %s: %v\n%+v", i, name, err, r)
			}
		}
		for name, change := range changes {
			r := clone(wire)
			if !change(g, &r, presign) {
				continue
			}
			id, err := verifier.Verify(r, exampleTime, twoKeys)
			if _, ok := errors.AsType[*Error](err); !ok || id != nil {
				t.Fatalf("round %d: %s is accepted: %v\nbefore %+v\nafter  %+v", i, name, err, wire, r)
			}
		}
	}
}

func clone(r Request) Request {
	r.Header = r.Header.Clone()
	return r
}

// sameMeaning are changes that leave the canonical request as it is.
var sameMeaning = map[string]func(*Request){
	"header spaces": func(r *Request) {
		for name, v := range r.Header {
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				v[0] = " " + strings.ReplaceAll(v[0], " ", "   ") + " "
			}
		}
	},
	"query order": func(r *Request) {
		parts := strings.Split(r.RawQuery, "&")
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
		r.RawQuery = strings.Join(parts, "&&")
	},
	"query escapes": func(r *Request) {
		r.RawQuery = strings.ReplaceAll(strings.ReplaceAll(r.RawQuery, "%20", "+"), "%2F", "%2f")
		r.RawQuery = strings.ReplaceAll(r.RawQuery, "-", "%2D")
	},
	"path escapes": func(r *Request) {
		if pathIsCanonical(r.Path) { // else it was signed as sent
			r.Path = strings.NewReplacer("%2F", "%2f", "~", "%7e", ".", "%2E", "%24", "$", "%40", "@").Replace(r.Path)
		}
	},
	"unsigned header": func(r *Request) { r.Header.Set("User-Agent", "other"); r.Header.Set("X-Forwarded-For", "1.2.3.4") },
}

// changes alter what is signed. Each reports whether it applied.
var changes = map[string]func(g generator, r *Request, presign bool) bool{
	"method": func(g generator, r *Request, _ bool) bool { r.Method += "X"; return true },
	"path byte": func(g generator, r *Request, _ bool) bool {
		at := 1 + g.IntN(len("bucket"))
		r.Path = r.Path[:at] + "Q" + r.Path[at+1:]
		return true
	},
	"path longer":     func(g generator, r *Request, _ bool) bool { r.Path += g.pick("/", "x", "%20", "%00"); return true },
	"path shorter":    func(g generator, r *Request, _ bool) bool { r.Path = r.Path[:7]; return true },
	"path normalised": func(g generator, r *Request, _ bool) bool { r.Path = "/." + r.Path; return true },
	"query more":      func(g generator, r *Request, _ bool) bool { r.RawQuery += "&acl"; return true },
	"query less": func(g generator, r *Request, presign bool) bool {
		if r.RawQuery == "" {
			return false
		}
		_, r.RawQuery, _ = strings.Cut(r.RawQuery, "&")
		return !presign || !strings.HasPrefix(r.RawQuery, "X-Amz-Signature")
	},
	"query value": func(g generator, r *Request, _ bool) bool {
		if !strings.Contains(r.RawQuery, "=") {
			return false
		}
		r.RawQuery = strings.Replace(r.RawQuery, "=", "=1", 1)
		return true
	},
	"host": func(g generator, r *Request, _ bool) bool { r.Host = "x" + r.Host; return true },
	"signed header": func(g generator, r *Request, presign bool) bool {
		for _, name := range []string{"X-Amz-Meta-A", "X-Amz-Meta-B", "Content-Type", "X-Amz-Tagging"} {
			if v := r.Header[name]; len(v) > 0 && (!presign || strings.Contains(strings.ToLower(r.RawQuery), strings.ToLower(name))) {
				v[0] += g.pick("x", ",", " x")
				return true
			}
		}
		return false
	},
	"header twice": func(g generator, r *Request, presign bool) bool {
		v := r.Header["X-Amz-Meta-A"]
		if len(v) == 0 {
			return false
		}
		r.Header.Add("X-Amz-Meta-A", v[0])
		return true
	},
	"header removed": func(g generator, r *Request, _ bool) bool {
		had := r.Header.Get("X-Amz-Meta-A") != ""
		r.Header.Del("X-Amz-Meta-A")
		return had
	},
	"amz header added": func(g generator, r *Request, _ bool) bool { r.Header.Set("X-Amz-Acl", "public-read"); return true },
	"payload": func(g generator, r *Request, presign bool) bool {
		if presign {
			r.Header.Set("X-Amz-Content-Sha256", EmptySHA256)
			return true
		}
		before := r.Header.Get("X-Amz-Content-Sha256")
		r.Header.Set("X-Amz-Content-Sha256", g.payload())
		return r.Header.Get("X-Amz-Content-Sha256") != before
	},
	"time": func(g generator, r *Request, presign bool) bool {
		return replace(r, presign, "20130524T000000Z", "20130524T000001Z")
	},
	"scope date": func(g generator, r *Request, presign bool) bool {
		return replace(r, presign, "/20130524/", "/20130525/")
	},
	"scope region": func(g generator, r *Request, presign bool) bool {
		return replace(r, presign, "/us-east-1/", "/us-east-2/")
	},
	"access key": func(g generator, r *Request, presign bool) bool { return replace(r, presign, exampleID, "OTHER") },
	"expires": func(g generator, r *Request, presign bool) bool {
		return presign && replace(r, presign, "X-Amz-Expires=600", "X-Amz-Expires=601")
	},
	"signature": func(g generator, r *Request, presign bool) bool {
		if presign {
			flip := r.RawQuery[:len(r.RawQuery)-1] + string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", r.RawQuery[len(r.RawQuery)-1])+1)%16])
			r.RawQuery = flip
			return true
		}
		auth := r.Header.Get("Authorization")
		r.Header.Set("Authorization", auth[:len(auth)-1]+string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", auth[len(auth)-1])+1)%16]))
		return true
	},
	"no signature": func(g generator, r *Request, presign bool) bool {
		if presign {
			r.RawQuery = ""
		}
		r.Header.Del("Authorization")
		return true
	},
}

// replace replaces what the credentials hold, wherever they are.
func replace(r *Request, presign bool, from, to string) bool {
	if presign {
		r.RawQuery = strings.Replace(r.RawQuery, url.QueryEscape(from), url.QueryEscape(to), 1)
		if strings.Contains(from, "=") {
			r.RawQuery = strings.Replace(r.RawQuery, from, to, 1)
		}
		return true
	}
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
	if r.Header.Get("X-Amz-Date") == from {
		r.Header.Set("X-Amz-Date", to)
	}
	return true
}

// FuzzSDK asks the same of requests that a fuzzer makes.
func FuzzSDK(f *testing.F) {
	f.Add("/bucket/a key", "prefix=a&x", "value  two", false)
	f.Add("/b/%2F+%7e", "a=%zz&b;c=d&=&&+=%2b", "\tx", true)
	f.Fuzz(func(t *testing.T, path, query, value string, presign bool) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") || !httpguts.ValidHeaderFieldValue(value) {
			t.Skip()
		}
		u.Scheme, u.Host, u.RawQuery = "http", "s3.example.com", query
		if strings.Contains(strings.ToLower(query), "amz") || strings.Contains(query, "Signature") || strings.Contains(query, "AWSAccess") || strings.Contains(query, "%") && strings.Contains(decodeQuery(encodeQuery(query)), "mz-") {
			t.Skip()
		}
		r := &http.Request{Method: "PUT", URL: u, Header: http.Header{"X-Amz-Meta-V": {value}}}
		signed, err := sdkSign(r, EmptySHA256, presign, exampleTime)
		if err != nil {
			t.Skip()
		}
		wire, err := overTheWire(signed)
		if err != nil {
			t.Skip() // net/http does not send it
		}
		v := NewVerifier(Options{})
		if _, err := v.Verify(wire, exampleTime, twoKeys); err != nil {
			t.Fatalf("%v\n%+v", err, wire)
		}
		wire.Path += "x"
		if _, err := v.Verify(wire, exampleTime, twoKeys); err == nil {
			t.Fatalf("another path is accepted: %+v", wire)
		}
	})
}

// FuzzVerify feeds anything at all: nothing may panic, and nothing may be
// accepted, since the fuzzer does not know the secret.
func FuzzVerify(f *testing.F) {
	f.Add("GET", "/b/k", "a=b", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00", "20130524T000000Z", EmptySHA256)
	f.Add("GET", "/", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=ae", "", "", "")
	f.Fuzz(func(t *testing.T, method, path, query, auth, date, payload string) {
		r := Request{Method: method, Path: path, RawQuery: query, Host: "h", Header: http.Header{}}
		for name, v := range map[string]string{"Authorization": auth, "X-Amz-Date": date, "X-Amz-Content-Sha256": payload} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		id, err := NewVerifier(Options{}).Verify(r, exampleTime, func(string) (string, error) { return "a secret", nil })
		if err == nil {
			t.Fatalf("accepted as %+v", id)
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Fatal(err)
		}
	})
}

// TestSigner checks that what we sign is what the SDK signs, and is accepted.
func TestSigner(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	s := Signer{AccessKeyID: exampleID, Secret: exampleSecret, Region: "eu-west-3", Keys: new(KeyCache)}
	v := NewVerifier(Options{Region: "eu-west-3"})
	for i := range 300 {
		r := g.request(t)
		if i%2 == 0 {
			s.Sign(r, g.payload(), exampleTime)
		} else {
			signed, err := s.Presign(r, time.Duration(1+g.IntN(604800))*time.Second, exampleTime)
			if err != nil {
				t.Fatal(err)
			}
			if r.URL, err = url.Parse(signed); err != nil {
				t.Fatal(err)
			}
		}
		wire, err := overTheWire(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(wire, exampleTime, exampleSecrets); err != nil {
			t.Fatalf("round %d: %v\n%+v", i, err, wire)
		}
	}
	r, _ := http.NewRequest("GET", "http://h/b/k", nil)
	for _, life := range []time.Duration{0, -time.Second, time.Second / 2, MaxExpires + 1} {
		if _, err := s.Presign(r, life, exampleTime); err == nil {
			t.Fatalf("life %v is accepted", life)
		}
	}
}

// TestSignerStream checks that the client's chain is the server's.
func TestSignerStream(t *testing.T) {
	s := Signer{AccessKeyID: exampleID, Secret: exampleSecret, Region: "r"}
	r, _ := http.NewRequest("PUT", "http://h/b/k", nil)
	client := s.Sign(r, PayloadStreamTrailer.String(), exampleTime)
	id, err := NewVerifier(Options{}).Verify(FromHTTP(r), exampleTime, exampleSecrets)
	if err != nil {
		t.Fatal(err)
	}
	server := id.Stream()
	for i := range 5 {
		var sum [32]byte
		copy(sum[:], fmt.Sprint(i))
		want := server.Chunk(sum)
		if got := client.Chunk(sum); !Equal(want, got[:]) {
			t.Fatal("the chains differ")
		}
	}
}

package sigv4

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"o3/internal/errs"
)

// signedRequest returns a request that is accepted at exampleTime.
func signedRequest(t testing.TB) Request {
	t.Helper()
	r, err := http.NewRequest("GET", "http://h:9878/bucket/key?prefix=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Meta-A", "1")
	(&Signer{AccessKeyID: exampleID, Secret: exampleSecret, Region: "us-east-1"}).Sign(r, EmptySHA256, exampleTime)
	return FromHTTP(r)
}

// presignedRequest returns one whose query is signed, good for ten minutes.
func presignedRequest(t testing.TB) Request {
	t.Helper()
	r, err := http.NewRequest("GET", "http://h:9878/bucket/key?prefix=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := (&Signer{AccessKeyID: exampleID, Secret: exampleSecret, Region: "us-east-1"}).Presign(r, 10*time.Minute, exampleTime)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = http.NewRequest("GET", u, nil); err != nil {
		t.Fatal(err)
	}
	return FromHTTP(r)
}

// refusal is a bad request and the error it gets.
type refusal struct {
	name    string
	change  func(r *Request)
	at      time.Duration // after exampleTime
	code    string
	message string // a part of it
}

func header(name, value string) func(*Request) {
	return func(r *Request) { r.Header.Set(name, value) }
}

func auth(from, to string) func(*Request) {
	return func(r *Request) {
		old := r.Header.Get("Authorization")
		r.Header.Set("Authorization", strings.Replace(old, from, to, 1))
		if r.Header.Get("Authorization") == old {
			panic("nothing replaced: " + from)
		}
	}
}

func query(from, to string) func(*Request) {
	return func(r *Request) {
		old := r.RawQuery
		if r.RawQuery = strings.Replace(old, from, to, 1); r.RawQuery == old {
			panic("nothing replaced: " + from + " in " + old)
		}
	}
}

var headerRefusals = []refusal{
	{"no credentials", func(r *Request) { r.Header.Del("Authorization") }, 0, "AccessDenied", "Access Denied"},
	{"version 2", header("Authorization", "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg="), 0, "InvalidRequest", "Please use AWS4-HMAC-SHA256"},
	{"version 2 in the query", func(r *Request) { r.Header.Del("Authorization"); r.RawQuery = "AWSAccessKeyId=A&Signature=b&Expires=1" }, 0, "InvalidRequest", "Please use AWS4-HMAC-SHA256"},
	{"basic", header("Authorization", "Basic dXNlcjpwYXNz"), 0, "InvalidRequest", "Please use AWS4-HMAC-SHA256"},
	{"bearer", header("Authorization", "Bearer x"), 0, "InvalidRequest", "Please use AWS4-HMAC-SHA256"},
	{"ecdsa", auth("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), 0, "NotImplemented", "ECDSA"},
	{"empty authorization", header("Authorization", ""), 0, "InvalidArgument", "Authorization header is invalid"},
	{"two authorizations", func(r *Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, 0, "InvalidArgument", "Only one auth mechanism"},
	{"header and query", func(r *Request) { r.RawQuery += "&X-Amz-Algorithm=AWS4-HMAC-SHA256" }, 0, "InvalidArgument", "Only one auth mechanism"},
	{"header and query signature", func(r *Request) { r.RawQuery += "&X-Amz-Signature=00" }, 0, "InvalidArgument", "Only one auth mechanism"},
	{"algorithm only", header("Authorization", "AWS4-HMAC-SHA256"), 0, "AuthorizationHeaderMalformed", "missing Credential"},
	{"no signature", func(r *Request) {
		auth, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature")
		r.Header.Set("Authorization", auth)
	}, 0, "AuthorizationHeaderMalformed", "missing Signature"},
	{"no signed headers", auth("SignedHeaders=", "SignedHeaders=,X="), 0, "AuthorizationHeaderMalformed", "three components"},
	{"unknown component", auth("Signature=", "Extra=1, Signature="), 0, "AuthorizationHeaderMalformed", "three components"},
	{"component twice", auth("Signature=", "Credential=x, Signature="), 0, "AuthorizationHeaderMalformed", "three components"},
	{"credential too short", auth("/us-east-1/s3", ""), 0, "AuthorizationHeaderMalformed", "the Credential is mal-formed"},
	{"no access key id", auth(exampleID, ""), 0, "AuthorizationHeaderMalformed", "the Credential is mal-formed"},
	{"date in the scope", auth("/20130524/", "/2013-5-24/"), 0, "AuthorizationHeaderMalformed", "the Credential is mal-formed"},
	{"terminal", auth("aws4_request", "aws5_request"), 0, "AuthorizationHeaderMalformed", `incorrect terminal "aws5_request"`},
	{"service", auth("/s3/", "/ec2/"), 0, "AuthorizationHeaderMalformed", `incorrect service "ec2". This endpoint belongs to "s3"`},
	{"region", auth("/us-east-1/", "/eu-west-1/"), 0, "AuthorizationHeaderMalformed", "the region 'eu-west-1' is wrong; expecting 'us-east-1'"},
	{"scope of another day", auth("/20130524/", "/20130523/"), 0, "AuthorizationHeaderMalformed", "Invalid credential date"},
	{"headers in capitals", auth("=host", "=Host"), 0, "AuthorizationHeaderMalformed", "lower case, sorted"},
	{"headers unsorted", auth("=host;", "=x;host;"), 0, "AuthorizationHeaderMalformed", "lower case, sorted"},
	{"header listed twice", auth("=host;", "=host;host;"), 0, "AuthorizationHeaderMalformed", "lower case, sorted"},
	{"empty header name", auth("=host;", "=;host;"), 0, "AuthorizationHeaderMalformed", "lower case, sorted"},
	{"too many headers", auth("=host;", "=host"+strings.Repeat(";host", 300)+";"), 0, "AuthorizationHeaderMalformed", "too many"},
	{"host not signed", auth("=host;", "="), 0, "AccessDenied", "headers present in the request which were not signed"},
	{"amz header not signed", header("X-Amz-Acl", "private"), 0, "AccessDenied", "headers present in the request which were not signed"},
	{"no host", func(r *Request) { r.Host = "" }, 0, "MissingSecurityHeader", "host"},
	{"session token", header("X-Amz-Security-Token", "t"), 0, "InvalidToken", "session"},
	{"no date", func(r *Request) { r.Header.Del("X-Amz-Date") }, 0, "AccessDenied", "valid Date or x-amz-date"},
	{"bad date", header("X-Amz-Date", "2013-05-24T00:00:00Z"), 0, "AccessDenied", "valid Date or x-amz-date"},
	{"date with a fraction", header("X-Amz-Date", "20130524T000000.5Z"), 0, "AccessDenied", "valid Date or x-amz-date"},
	{"two dates", func(r *Request) { r.Header.Add("X-Amz-Date", r.Header.Get("X-Amz-Date")) }, 0, "AccessDenied", "valid Date or x-amz-date"},
	{"clock behind", nil, 15*time.Minute + time.Second, "RequestTimeTooSkewed", "too large"},
	{"clock ahead", nil, -15*time.Minute - time.Second, "RequestTimeTooSkewed", "too large"},
	{"no payload hash", func(r *Request) { r.Header.Del("X-Amz-Content-Sha256") }, 0, "InvalidRequest", "x-amz-content-sha256"},
	{"bad payload hash", header("X-Amz-Content-Sha256", "abc"), 0, "InvalidArgument", "must be UNSIGNED-PAYLOAD"},
	{"two payload hashes", func(r *Request) { r.Header.Add("X-Amz-Content-Sha256", EmptySHA256) }, 0, "InvalidArgument", "once"},
	{"ecdsa stream", header("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"), 0, "NotImplemented", "ECDSA"},
	{"event stream", header("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-EVENTS"), 0, "InvalidArgument", "must be UNSIGNED-PAYLOAD"},
	{"unknown key", auth(exampleID, "NOBODY"), 0, "InvalidAccessKeyId", "does not exist"},
	{"another key", auth(exampleID, "OTHER"), 0, "SignatureDoesNotMatch", "does not match"},
	{"signature in capitals", func(r *Request) {
		head, sig, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		r.Header.Set("Authorization", head+"Signature="+strings.ToUpper(sig))
	}, 0, "SignatureDoesNotMatch", "does not match"},
	{"short signature", auth("Signature=", "Signature=0"), 0, "SignatureDoesNotMatch", "does not match"},
	{"changed header", header("X-Amz-Meta-A", "2"), 0, "SignatureDoesNotMatch", "does not match"},
	{"bad path escape", func(r *Request) { r.Path = "/bucket/%zz" }, 0, "InvalidURI", "parse"},
	{"cut path escape", func(r *Request) { r.Path = "/bucket/%2" }, 0, "InvalidURI", "parse"},
	{"bad query escape", func(r *Request) { r.RawQuery = "prefix=%" }, 0, "InvalidURI", "parse"},
}

var queryRefusals = []refusal{
	{"expired", nil, 10 * time.Minute, "AccessDenied", "Request has expired"},
	{"not valid yet", nil, -16 * time.Minute, "AccessDenied", "not valid yet"},
	{"no algorithm", query("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""), 0, "AuthorizationQueryParametersError", "requires the X-Amz-Algorithm"},
	{"algorithm", query("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), 0, "AuthorizationQueryParametersError", "only supports"},
	{"ecdsa", query("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), 0, "NotImplemented", "ECDSA"},
	{"no expires", query("X-Amz-Expires=600", "x=1"), 0, "AuthorizationQueryParametersError", "requires the X-Amz-Algorithm"},
	{"expires twice", query("X-Amz-Expires=600", "X-Amz-Expires=600&X-Amz-Expires=601"), 0, "AuthorizationQueryParametersError", "X-Amz-Expires is repeated"},
	{"expires is a word", query("X-Amz-Expires=600", "X-Amz-Expires=soon"), 0, "AuthorizationQueryParametersError", "should be a number"},
	{"expires at once", query("X-Amz-Expires=600", "X-Amz-Expires=0"), 0, "AuthorizationQueryParametersError", "at least one second"},
	{"expires in the past", query("X-Amz-Expires=600", "X-Amz-Expires=-1"), 0, "AuthorizationQueryParametersError", "at least one second"},
	{"expires too late", query("X-Amz-Expires=600", "X-Amz-Expires=604801"), 0, "AuthorizationQueryParametersError", "less than a week"},
	{"expires beyond numbers", query("X-Amz-Expires=600", "X-Amz-Expires=99999999999999999999"), 0, "AuthorizationQueryParametersError", "should be a number"},
	{"longer life", query("X-Amz-Expires=600", "X-Amz-Expires=700"), 0, "SignatureDoesNotMatch", "does not match"},
	{"date", query("X-Amz-Date=20130524T000000Z", "X-Amz-Date=Fri"), 0, "AuthorizationQueryParametersError", "ISO8601"},
	{"scope of another day", query("%2F20130524%2F", "%2F20130523%2F"), 0, "AuthorizationQueryParametersError", "Invalid credential date"},
	{"region", query("%2Fus-east-1%2F", "%2Fmars%2F"), 0, "AuthorizationQueryParametersError", "expecting 'us-east-1'"},
	{"service", query("%2Fs3%2F", "%2Fiam%2F"), 0, "AuthorizationQueryParametersError", "incorrect service"},
	{"credential", query("%2Faws4_request", ""), 0, "AuthorizationQueryParametersError", "mal-formed"},
	{"host not signed", query("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=x"), 0, "AccessDenied", "not signed"},
	{"amz header not signed", header("X-Amz-Acl", "public-read"), 0, "AccessDenied", "not signed"},
	{"token", func(r *Request) { r.RawQuery += "&X-Amz-Security-Token=t" }, 0, "InvalidToken", "session"},
	{"more query", func(r *Request) { r.RawQuery += "&acl" }, 0, "SignatureDoesNotMatch", "does not match"},
	{"unknown key", query(exampleID, "NOBODY"), 0, "InvalidAccessKeyId", "does not exist"},
}

func TestRefusals(t *testing.T) {
	secrets := func(id string) (string, error) {
		if id == "NOBODY" {
			return "", errs.New(errs.NoSuchPrincipal, id, "")
		}
		return twoKeys(id)
	}
	v := NewVerifier(Options{Region: "us-east-1"})
	used := make(map[string]bool)
	for kind, table := range map[string][]refusal{"header": headerRefusals, "query": queryRefusals} {
		good := map[string]func(testing.TB) Request{"header": signedRequest, "query": presignedRequest}[kind]
		if _, err := v.Verify(good(t), exampleTime, secrets); err != nil {
			t.Fatalf("%s: the unchanged request: %v", kind, err)
		}
		for _, c := range table {
			r := clone(good(t))
			if c.change != nil {
				c.change(&r)
			}
			id, err := v.Verify(r, exampleTime.Add(c.at), secrets)
			e, ok := errors.AsType[*Error](err)
			if !ok || id != nil || e.Code != c.code || !strings.Contains(e.Message, c.message) {
				t.Errorf("%s, %s: %v", kind, c.name, err)
				continue
			}
			used[e.Code] = true
			if !slices.Contains(Codes(), e.Code) {
				t.Errorf("%s is not in Codes", e.Code)
			}
			if errors.Is(err, ErrAnonymous) != (c.name == "no credentials") {
				t.Errorf("%s, %s: ErrAnonymous", kind, c.name)
			}
		}
	}
	for _, code := range Codes() {
		if !used[code] {
			t.Errorf("no case for %s", code)
		}
	}
}

// TestSkewIsInclusive accepts requests at both ends of what is allowed.
func TestSkewIsInclusive(t *testing.T) {
	v := NewVerifier(Options{MaxSkew: time.Minute})
	for at, ok := range map[time.Duration]bool{time.Minute: true, -time.Minute: true, time.Minute + 1: false, -time.Minute - 1: false} {
		if _, err := v.Verify(signedRequest(t), exampleTime.Add(at), exampleSecrets); (err == nil) != ok {
			t.Errorf("%v: %v", at, err)
		}
	}
	for at, ok := range map[time.Duration]bool{10*time.Minute - 1: true, 10 * time.Minute: false, -time.Minute: true} {
		if _, err := v.Verify(presignedRequest(t), exampleTime.Add(at), exampleSecrets); (err == nil) != ok {
			t.Errorf("presigned, %v: %v", at, err)
		}
	}
}

// TestDateHeader accepts a Date header where x-amz-date is absent.
func TestDateHeader(t *testing.T) {
	r, _ := http.NewRequest("GET", "http://h/b", nil)
	r.Header.Set("X-Amz-Content-Sha256", EmptySHA256)
	r.Header.Set("Date", exampleTime.Format(http.TimeFormat))
	s := Signer{AccessKeyID: exampleID, Secret: exampleSecret, Region: "r"}
	c := s.canonical(r, EmptySHA256)
	scope := s.scope(exampleTime)
	_, signature := s.sign(c, scope, exampleTime)
	r.Header.Set("Authorization", Algorithm+" Credential="+exampleID+"/"+scope.String()+",SignedHeaders="+c.signedList+",Signature="+string(signature[:]))
	if _, err := NewVerifier(Options{}).Verify(FromHTTP(r), exampleTime, exampleSecrets); err != nil {
		t.Fatal(err)
	}
}

// TestMismatchShowsWork checks that a mismatch carries what S3 shows.
func TestMismatchShowsWork(t *testing.T) {
	r := signedRequest(t)
	r.Method = "PUT"
	_, err := NewVerifier(Options{}).Verify(r, exampleTime, exampleSecrets)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, x := range e.AWSElements() {
		got[x[0]] = x[1]
	}
	creq := "PUT\n/bucket/key\nprefix=a\nhost:h:9878\nx-amz-content-sha256:" + EmptySHA256 +
		"\nx-amz-date:20130524T000000Z\nx-amz-meta-a:1\n\nhost;x-amz-content-sha256;x-amz-date;x-amz-meta-a\n" + EmptySHA256
	if got["CanonicalRequest"] != creq || got["CanonicalRequestBytes"] != fmt.Sprintf("% x", creq) {
		t.Errorf("canonical request %q", got["CanonicalRequest"])
	}
	if !strings.HasPrefix(got["StringToSign"], "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n") ||
		got["StringToSignBytes"] != fmt.Sprintf("% x", got["StringToSign"]) {
		t.Errorf("string to sign %q", got["StringToSign"])
	}
	if got["AWSAccessKeyId"] != exampleID || len(got["SignatureProvided"]) != 64 {
		t.Error(got)
	}
	if errs.KindOf(err) != errs.Unauthenticated {
		t.Error(errs.KindOf(err))
	}
}

// TestSecretsFailure passes an outage through, so that nobody takes it for a
// wrong key.
func TestSecretsFailure(t *testing.T) {
	down := errs.New(errs.Unavailable, "", "no leader")
	_, err := NewVerifier(Options{}).Verify(signedRequest(t), exampleTime, func(string) (string, error) { return "", down })
	if err != down {
		t.Fatal(err)
	}
}

func BenchmarkVerify(b *testing.B) {
	for name, r := range map[string]Request{"header": signedRequest(b), "presigned": presignedRequest(b)} {
		for cached, keys := range map[string]*KeyCache{"derived": nil, "cached": new(KeyCache)} {
			b.Run(name+"/"+cached, func(b *testing.B) {
				v := NewVerifier(Options{Region: "us-east-1", Keys: keys})
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(r, exampleTime, exampleSecrets); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s := Signer{AccessKeyID: exampleID, Secret: exampleSecret, Region: "us-east-1", Keys: new(KeyCache)}
	r, _ := http.NewRequest("GET", "http://h:9878/bucket/key?prefix=a", nil)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(r, EmptySHA256, exampleTime)
	}
}

func BenchmarkChunkSignature(b *testing.B) {
	id, err := NewVerifier(Options{}).Verify(signedRequest(b), exampleTime, exampleSecrets)
	if err != nil {
		b.Fatal(err)
	}
	s := id.Stream()
	var sum [32]byte
	b.ReportAllocs()
	for b.Loop() {
		s.Chunk(sum)
	}
}

package s3_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block/memblock"
	"o3/internal/s3"
	"o3/internal/s3/s3test"
)

func TestAccess(t *testing.T) {
	s := s3test.New(t, smallParts, s3test.Deps{})
	alice, bob := sdk(s, s3test.Alice, styles[0]), sdk(s, s3test.Bob, styles[0])
	_, err := alice.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("photos")})
	check(t, err)
	put(t, alice, "photos", "a", []byte("mine"))
	_, err = bob.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: aws.String("photos"), Key: aws.String("a")})
	wantCode(t, err, "AccessDenied")
	_, err = bob.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String("photos"), Key: aws.String("a"), Body: strings.NewReader("x")})
	wantCode(t, err, "AccessDenied")
	_, err = bob.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: aws.String("photos")})
	wantCode(t, err, "AccessDenied")
	_, err = sdk(s, s3test.Key{ID: "NOBODY", Secret: "x"}, styles[0]).ListBuckets(t.Context(), nil)
	wantCode(t, err, "InvalidAccessKeyId")
	_, err = sdk(s, s3test.Key{ID: s3test.Bob.ID, Secret: "wrong"}, styles[0]).ListBuckets(t.Context(), nil)
	wantCode(t, err, "SignatureDoesNotMatch")
	root := sdk(s, s3test.Root, styles[0])
	got, _ := get(t, root, &awss3.GetObjectInput{Bucket: aws.String("photos"), Key: aws.String("a")})
	equal(t, "root reads", string(got), "mine")
}

// TestAnonymous: the namespace decides what a request without a signature may.
func TestAnonymous(t *testing.T) {
	s := s3test.New(t, smallParts, s3test.Deps{})
	alice := sdk(s, s3test.Alice, styles[0])
	_, err := alice.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("public")})
	check(t, err)
	put(t, alice, "public", "a", []byte("for all"))
	do := func(method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, s.Server.URL+path, strings.NewReader(body))
		check(t, err)
		resp, err := s.Client().Do(r)
		check(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		check(t, err)
		return resp.StatusCode, string(text)
	}
	status, _ := do("GET", "/public/a", "")
	equal(t, "before the grant", status, 403)
	ctx := access.NewContext(t.Context(), access.Principal{User: "alice"})
	_, err = s.Namespace.UpdateBucket(ctx, &o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "public", SetGrants: true,
		Grants: []*o3v1.Grant{{Grantee: access.Anyone, Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ}}}})
	check(t, err)
	status, text := do("GET", "/public/a", "")
	equal(t, "after it", status, 200)
	equal(t, "bytes", text, "for all")
	status, _ = do("PUT", "/public/b", "x")
	equal(t, "a write", status, 403)
	status, _ = do("GET", "/public", "")
	equal(t, "a listing", status, 403)
}

// TestVolumes serves another volume below VolumePrefix.
func TestVolumes(t *testing.T) {
	s := s3test.New(t, smallParts, s3test.Deps{})
	c := sdk(s, s3test.Root, styles[0])
	at := awss3.New(c.Options(), func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://" + s3test.Host + "/s3/vol1") })
	_, err := at.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("logs")})
	check(t, err)
	body := randomBytes(70 << 10)
	put(t, at, "logs", "a/b c", body)
	got, _ := get(t, at, &awss3.GetObjectInput{Bucket: aws.String("logs"), Key: aws.String("a/b c")})
	if !bytes.Equal(got, body) {
		t.Fatal("other bytes")
	}
	_, err = c.HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: aws.String("logs")})
	wantCode(t, err, "NotFound")
	_, err = at.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: aws.String("logs"), Key: aws.String("c"), CopySource: aws.String("logs/a/b%20c")})
	check(t, err)
	gone := awss3.New(c.Options(), func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://" + s3test.Host + "/s3/vol9") })
	_, err = gone.ListObjects(t.Context(), &awss3.ListObjectsInput{Bucket: aws.String("logs")})
	wantCode(t, err, "NoSuchVolume")
}

// FuzzRequest: whatever is sent without a signature is answered, in S3's terms,
// and changes nothing.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/photos/a?versionId=null", "Range", "bytes=0-1", "")
	f.Add("PUT", "/photos/a%2Fb?partNumber=1&uploadId=x", "X-Amz-Copy-Source", "photos/%zz", "x")
	f.Add("POST", "/photos?delete", "Content-MD5", "AAAA", "<Delete>")
	f.Add("PUT", "//x?acl", "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "0\r\n")
	namespace := s3test.Namespace(f)
	g, err := s3.New(namespace, memblock.New(), namespace, s3.Options{Domains: []string{s3test.Host}})
	check(f, err)
	f.Fuzz(func(t *testing.T, method, target, name, value, body string) {
		r, err := http.NewRequest(method, "http://127.0.0.1/", strings.NewReader(body))
		if err != nil {
			t.Skip("no method of HTTP")
		}
		if u, err := r.URL.Parse(target); err != nil || !strings.HasPrefix(target, "/") || u.Host != "127.0.0.1" {
			t.Skip("no request of HTTP")
		} else {
			r.URL, r.RequestURI = u, target
		}
		r.Header[http.CanonicalHeaderKey(name)] = []string{value}
		if name == "" {
			r.Header = http.Header{}
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code < 400 || w.Code > 501 || w.Header().Get("X-Amz-Request-Id") == "" {
			t.Fatalf("%s %s: status %d", method, target, w.Code)
		}
		var e struct{ Code string }
		if method != http.MethodHead && (xml.Unmarshal(w.Body.Bytes(), &e) != nil || e.Code == "" || e.Code == "InternalError") {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
	})
}

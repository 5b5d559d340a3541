package s3_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"o3/internal/s3"
	"o3/internal/s3/s3test"
)

// style is a way to address buckets; every test of the SDK runs in each.
type style struct {
	name string
	path bool
}

var styles = []style{{"path", true}, {"virtual-host", false}}

// sdk returns an official client that signs with key.
func sdk(s *s3test.Service, key s3test.Key, st style) *awss3.Client {
	return awss3.New(awss3.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://" + s3test.Host),
		UsePathStyle: st.path,
		HTTPClient:   s.Client(),
		Credentials:  credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""),
		Retryer:      aws.NopRetryer{},

		// What the SDK's configuration loader sets: checksums wherever they can be.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
}

// eachStyle runs f with a client of alice and a bucket of hers.
func eachStyle(t *testing.T, opts s3.Options, f func(t *testing.T, c *awss3.Client, bucket string)) {
	for _, st := range styles {
		t.Run(st.name, func(t *testing.T) {
			c := sdk(s3test.New(t, opts, s3test.Deps{}), s3test.Alice, st)
			_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("photos")})
			check(t, err)
			f(t, c, "photos")
		})
	}
}

func check(tb testing.TB, err error) {
	if err != nil {
		tb.Helper()
		tb.Fatal(err)
	}
}

// code returns the S3 error code of err, "" for nil.
func code(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return err.Error()
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Fatalf("got %q (%v), want code %q", got, err, want)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func etag(b []byte) string {
	sum := md5.Sum(b)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func get(t *testing.T, c *awss3.Client, in *awss3.GetObjectInput) ([]byte, *awss3.GetObjectOutput) {
	t.Helper()
	out, err := c.GetObject(t.Context(), in)
	check(t, err)
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	check(t, err)
	return b, out
}

func put(t *testing.T, c *awss3.Client, bucket, key string, body []byte) *awss3.PutObjectOutput {
	t.Helper()
	out, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	check(t, err)
	return out
}

func TestBuckets(t *testing.T) {
	for _, st := range styles {
		t.Run(st.name, func(t *testing.T) {
			s := s3test.New(t, s3.Options{Region: "eu-west-1"}, s3test.Deps{})
			at := func(o *awss3.Options) { o.Region = "eu-west-1" }
			ctx := t.Context()
			c := sdk(s, s3test.Alice, st)
			for _, name := range []string{"alpha", "beta", "gamma.dots"} {
				out, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{
					Bucket:                    aws.String(name),
					CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"},
				}, at)
				check(t, err)
				equal(t, "location", aws.ToString(out.Location), "/"+name)
			}
			_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("alpha")}, at)
			wantCode(t, err, "BucketAlreadyOwnedByYou")
			_, err = sdk(s, s3test.Bob, st).CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("alpha")}, at)
			wantCode(t, err, "BucketAlreadyExists")

			list, err := c.ListBuckets(ctx, &awss3.ListBucketsInput{MaxBuckets: aws.Int32(2)}, at)
			check(t, err)
			equal(t, "first page", len(list.Buckets), 2)
			equal(t, "owner", aws.ToString(list.Owner.ID), "alice")
			list, err = c.ListBuckets(ctx, &awss3.ListBucketsInput{ContinuationToken: list.ContinuationToken}, at)
			check(t, err)
			equal(t, "second page", len(list.Buckets), 1)
			equal(t, "its bucket", aws.ToString(list.Buckets[0].Name), "gamma.dots")
			list, err = c.ListBuckets(ctx, &awss3.ListBucketsInput{Prefix: aws.String("be")}, at)
			check(t, err)
			equal(t, "with prefix", len(list.Buckets), 1)
			list, err = sdk(s, s3test.Bob, st).ListBuckets(ctx, &awss3.ListBucketsInput{}, at)
			check(t, err)
			equal(t, "bob's", len(list.Buckets), 0)

			head, err := c.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("alpha")}, at)
			check(t, err)
			equal(t, "region", aws.ToString(head.BucketRegion), "eu-west-1")
			_, err = c.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("nowhere")}, at)
			wantCode(t, err, "NotFound")
			_, err = c.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("alpha"), ExpectedBucketOwner: aws.String("bob")}, at)
			wantCode(t, err, "Forbidden")

			location, err := c.GetBucketLocation(ctx, &awss3.GetBucketLocationInput{Bucket: aws.String("alpha")}, at)
			check(t, err)
			equal(t, "location", location.LocationConstraint, "eu-west-1")
			versioning, err := c.GetBucketVersioning(ctx, &awss3.GetBucketVersioningInput{Bucket: aws.String("alpha")}, at)
			check(t, err)
			equal(t, "versioning", versioning.Status, "")
			acl, err := c.GetBucketAcl(ctx, &awss3.GetBucketAclInput{Bucket: aws.String("alpha")}, at)
			check(t, err)
			equal(t, "grants", fmt.Sprint(aws.ToString(acl.Owner.ID), len(acl.Grants), acl.Grants[0].Permission), "alice1FULL_CONTROL")
			_, err = c.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: aws.String("alpha"), ACL: "private"}, at)
			check(t, err)
			_, err = c.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: aws.String("alpha"), AccessControlPolicy: &types.AccessControlPolicy{Owner: acl.Owner, Grants: acl.Grants}}, at)
			check(t, err)
			_, err = c.PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: aws.String("alpha"), ACL: "public-read"}, at)
			wantCode(t, err, "NotImplemented")
			_, err = sdk(s, s3test.Bob, st).PutBucketAcl(ctx, &awss3.PutBucketAclInput{Bucket: aws.String("alpha"), ACL: "private"}, at)
			wantCode(t, err, "AccessDenied")

			put(t, sdkAt(c, at), "alpha", "k", nil)
			_, err = c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("alpha")}, at)
			wantCode(t, err, "BucketNotEmpty")
			_, err = c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("beta")}, at)
			check(t, err)
			_, err = c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("beta")}, at)
			wantCode(t, err, "NoSuchBucket")
		})
	}
}

func sdkAt(c *awss3.Client, at func(*awss3.Options)) *awss3.Client { return awss3.New(c.Options(), at) }

func TestObject(t *testing.T) {
	// Sizes around every threshold: inline, the buffer, the block.
	opts := s3.Options{InlineMax: 4 << 10, BlockSize: 512 << 10, OpenAbove: 600 << 10}
	eachStyle(t, opts, func(t *testing.T, c *awss3.Client, bucket string) {
		for _, size := range []int{0, 1, 4 << 10, 4<<10 + 1, 256 << 10, 512 << 10, 512<<10 + 1, 1 << 20, 1<<20 + 7} {
			key := fmt.Sprintf("dir with space/ключ+%%2F?&#/%d", size)
			body := randomBytes(size)
			out := put(t, c, bucket, key, body)
			equal(t, "put etag", aws.ToString(out.ETag), etag(body))
			if aws.ToString(out.ChecksumCRC32) == "" {
				t.Fatal("no checksum in the answer")
			}
			got, info := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
			if !bytes.Equal(got, body) {
				t.Fatalf("%d bytes came back as other %d", len(body), len(got))
			}
			equal(t, "etag", aws.ToString(info.ETag), etag(body))
			equal(t, "length", aws.ToInt64(info.ContentLength), int64(size))
			equal(t, "type", aws.ToString(info.ContentType), "application/octet-stream")
			head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: "ENABLED"})
			check(t, err)
			equal(t, "head length", aws.ToInt64(head.ContentLength), int64(size))
			equal(t, "checksum", aws.ToString(head.ChecksumCRC32), aws.ToString(out.ChecksumCRC32))
			if size > 2 {
				got, _ = get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, Range: aws.String("bytes=1-")})
				if !bytes.Equal(got, body[1:]) {
					t.Fatal("range from 1 differs")
				}
				mid := fmt.Sprintf("bytes=%d-%d", size/2-1, size/2)
				got, info = get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, Range: &mid})
				if !bytes.Equal(got, body[size/2-1:size/2+1]) {
					t.Fatal("middle range differs")
				}
				equal(t, "content range", aws.ToString(info.ContentRange), fmt.Sprintf("bytes %d-%d/%d", size/2-1, size/2, size))
			}
			_, err = c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key})
			check(t, err)
			_, err = c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
			wantCode(t, err, "NoSuchKey")
		}
	})
}

func TestChecksums(t *testing.T) {
	eachStyle(t, s3.Options{InlineMax: 100}, func(t *testing.T, c *awss3.Client, bucket string) {
		body := randomBytes(70 << 10)
		for _, a := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
			key := "sum-" + string(a)
			_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: a})
			check(t, err)
			got, out := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: "ENABLED"})
			if !bytes.Equal(got, body) {
				t.Fatal("other bytes")
			}
			equal(t, "type", out.ChecksumType, types.ChecksumTypeFullObject)
			attr, err := c.GetObjectAttributes(t.Context(), &awss3.GetObjectAttributesInput{Bucket: &bucket, Key: &key,
				ObjectAttributes: []types.ObjectAttributes{"ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"}})
			check(t, err)
			equal(t, "attributes", fmt.Sprintf("%q %d %s %v", aws.ToString(attr.ETag), aws.ToInt64(attr.ObjectSize), attr.StorageClass, attr.ObjectParts),
				fmt.Sprintf("%s %d STANDARD <nil>", etag(body), len(body)))
		}
		list, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket})
		check(t, err)
		equal(t, "listed algorithm", list.Contents[0].ChecksumAlgorithm[0], types.ChecksumAlgorithmCrc32)

		wrong := "AAAAAA=="
		_, err = c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: aws.String("bad"), Body: bytes.NewReader(body), ChecksumCRC32: &wrong})
		wantCode(t, err, "BadDigest")
		_, err = c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: aws.String("bad")})
		wantCode(t, err, "NotFound")
	})
}

func TestAttributes(t *testing.T) {
	eachStyle(t, s3.Options{InlineMax: 100}, func(t *testing.T, c *awss3.Client, bucket string) {
		ctx, key := t.Context(), "a"
		expires := time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)
		_, err := c.PutObject(ctx, &awss3.PutObjectInput{
			Bucket: &bucket, Key: &key, Body: strings.NewReader("hello"), ContentType: aws.String("text/x-a"),
			CacheControl: aws.String("max-age=1"), ContentDisposition: aws.String("attachment"), ContentEncoding: aws.String("gzip"),
			ContentLanguage: aws.String("de"), Expires: &expires, Metadata: map[string]string{"one": "1", "Two": "zwei"},
			Tagging: aws.String("k=v&l=w%20w"), StorageClass: "STANDARD",
		})
		check(t, err)
		head, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &bucket, Key: &key})
		check(t, err)
		equal(t, "attributes", fmt.Sprintf("%s|%s|%s|%s|%s|%s|%v|%d", *head.ContentType, *head.CacheControl, *head.ContentDisposition, *head.ContentEncoding,
			*head.ContentLanguage, *head.ExpiresString, head.Metadata, *head.TagCount),
			"text/x-a|max-age=1|attachment|gzip|de|Thu, 02 Jan 2031 03:04:05 GMT|map[one:1 two:zwei]|2")
		_, out := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, ResponseContentType: aws.String("image/png"),
			ResponseCacheControl: aws.String("no-store"), ResponseContentDisposition: aws.String("inline"), VersionId: aws.String("null")})
		equal(t, "overridden", *out.ContentType+*out.CacheControl+*out.ContentDisposition+*out.VersionId, "image/pngno-storeinlinenull")

		tags, err := c.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
		check(t, err)
		equal(t, "tags", len(tags.TagSet), 2)
		_, err = c.PutObjectTagging(ctx, &awss3.PutObjectTaggingInput{Bucket: &bucket, Key: &key,
			Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("x"), Value: aws.String("y")}}}})
		check(t, err)
		tags, err = c.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
		check(t, err)
		equal(t, "tag", *tags.TagSet[0].Key+*tags.TagSet[0].Value, "xy")
		_, err = c.DeleteObjectTagging(ctx, &awss3.DeleteObjectTaggingInput{Bucket: &bucket, Key: &key})
		check(t, err)
		tags, err = c.GetObjectTagging(ctx, &awss3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
		check(t, err)
		equal(t, "tags", len(tags.TagSet), 0)
		got, _ := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
		equal(t, "bytes after tagging", string(got), "hello")

		_, err = c.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: &bucket})
		wantCode(t, err, "NoSuchTagSet")
		_, err = c.PutBucketTagging(ctx, &awss3.PutBucketTaggingInput{Bucket: &bucket,
			Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("team"), Value: aws.String("")}}}})
		check(t, err)
		bt, err := c.GetBucketTagging(ctx, &awss3.GetBucketTaggingInput{Bucket: &bucket})
		check(t, err)
		equal(t, "bucket tag", *bt.TagSet[0].Key, "team")
		_, err = c.DeleteBucketTagging(ctx, &awss3.DeleteBucketTaggingInput{Bucket: &bucket})
		check(t, err)

		acl, err := c.GetObjectAcl(ctx, &awss3.GetObjectAclInput{Bucket: &bucket, Key: &key})
		check(t, err)
		equal(t, "acl", *acl.Grants[0].Grantee.ID, "alice")
		_, err = c.PutObjectAcl(ctx, &awss3.PutObjectAclInput{Bucket: &bucket, Key: &key, ACL: "private"})
		check(t, err)
	})
}

func TestConditions(t *testing.T) {
	eachStyle(t, s3.Options{InlineMax: 100}, func(t *testing.T, c *awss3.Client, bucket string) {
		ctx, key := t.Context(), "a"
		tag := put(t, c, bucket, key, []byte("one")).ETag
		other := aws.String(`"00000000000000000000000000000000"`)
		past, future := aws.Time(time.Now().Add(-time.Hour)), aws.Time(time.Now().Add(time.Hour))
		type in = awss3.GetObjectInput
		for _, x := range []struct {
			name string
			in   in
			code string
		}{
			{"match", in{IfMatch: tag}, ""},
			{"match other", in{IfMatch: other}, "PreconditionFailed"},
			{"match wins over unmodified", in{IfMatch: tag, IfUnmodifiedSince: past}, ""},
			{"unmodified", in{IfUnmodifiedSince: future}, ""},
			{"modified meanwhile", in{IfUnmodifiedSince: past}, "PreconditionFailed"},
			{"none match", in{IfNoneMatch: tag}, "NotModified"},
			{"none match other", in{IfNoneMatch: other}, ""},
			{"none match other wins over modified", in{IfNoneMatch: other, IfModifiedSince: future}, ""},
			{"modified since", in{IfModifiedSince: past}, ""},
			{"not modified since", in{IfModifiedSince: future}, "NotModified"},
		} {
			x.in.Bucket, x.in.Key = &bucket, &key
			out, err := c.GetObject(ctx, &x.in)
			if err == nil {
				out.Body.Close()
			}
			if got := code(err); got != x.code {
				t.Errorf("%s: got %q, want %q", x.name, got, x.code)
			}
		}
		again := func(set func(*awss3.PutObjectInput)) error {
			p := &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("two")}
			set(p)
			_, err := c.PutObject(ctx, p)
			return err
		}
		wantCode(t, again(func(p *awss3.PutObjectInput) { p.IfNoneMatch = aws.String("*") }), "PreconditionFailed")
		wantCode(t, again(func(p *awss3.PutObjectInput) { p.IfMatch = other }), "PreconditionFailed")
		wantCode(t, again(func(p *awss3.PutObjectInput) { p.IfMatch, p.Key = tag, aws.String("absent") }), "NoSuchKey")
		wantCode(t, again(func(p *awss3.PutObjectInput) { p.IfMatch = tag }), "")
		wantCode(t, again(func(p *awss3.PutObjectInput) { p.IfNoneMatch, p.Key = aws.String("*"), aws.String("new") }), "")
		_, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key, IfMatch: other})
		wantCode(t, err, "PreconditionFailed")
		_, err = c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: &key, IfMatch: aws.String(etag([]byte("two")))})
		check(t, err)
	})
}

func TestDeleteObjects(t *testing.T) {
	eachStyle(t, s3.Options{InlineMax: 100}, func(t *testing.T, c *awss3.Client, bucket string) {
		put(t, c, bucket, "a", []byte("1"))
		put(t, c, bucket, "b<&>", []byte("2"))
		put(t, c, bucket, "c", []byte("3"))
		out, err := c.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
			{Key: aws.String("a")}, {Key: aws.String("b<&>"), VersionId: aws.String("null")}, {Key: aws.String("absent")},
			{Key: aws.String("c"), VersionId: aws.String("3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrH")},
			{Key: aws.String("c"), ETag: aws.String("0123")}, {Key: aws.String(strings.Repeat("x", 1025))},
		}}})
		check(t, err)
		equal(t, "deleted", len(out.Deleted), 3)
		var errs []string
		for _, e := range out.Errors {
			errs = append(errs, *e.Code)
		}
		equal(t, "errors", fmt.Sprint(errs), "[NoSuchVersion KeyTooLongError PreconditionFailed]")
		out, err = c.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Quiet: aws.Bool(true), Objects: []types.ObjectIdentifier{{Key: aws.String("c")}}}})
		check(t, err)
		equal(t, "quiet", len(out.Deleted)+len(out.Errors), 0)
		list, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket})
		check(t, err)
		equal(t, "left", len(list.Contents), 0)
	})
}

func TestPresigned(t *testing.T) {
	for _, st := range styles {
		t.Run(st.name, func(t *testing.T) {
			s := s3test.New(t, s3.Options{}, s3test.Deps{})
			c := sdk(s, s3test.Alice, st)
			_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("photos")})
			check(t, err)
			p := awss3.NewPresignClient(c)
			do := func(method, url string, h http.Header, body string) (int, string) {
				req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
				check(t, err)
				for k, v := range h {
					req.Header[k] = v
				}
				resp, err := s.Client().Do(req)
				check(t, err)
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				check(t, err)
				return resp.StatusCode, string(b)
			}
			in := &awss3.PutObjectInput{Bucket: aws.String("photos"), Key: aws.String("a b/c"), Metadata: map[string]string{"m": "1"}}
			put, err := p.PresignPutObject(t.Context(), in)
			check(t, err)
			status, text := do("PUT", put.URL, put.SignedHeader, "presigned bytes")
			equal(t, "put: "+text, status, 200)
			got, err := p.PresignGetObject(t.Context(), &awss3.GetObjectInput{Bucket: in.Bucket, Key: in.Key, ResponseContentType: aws.String("text/css")})
			check(t, err)
			status, text = do("GET", got.URL, got.SignedHeader, "")
			equal(t, "get", fmt.Sprint(status, text), "200presigned bytes")
			status, _ = do("GET", got.URL+"x", nil, "")
			equal(t, "tampered", status, 403)
			head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: in.Bucket, Key: in.Key})
			check(t, err)
			equal(t, "metadata", head.Metadata["m"], "1")
		})
	}
}

func TestManager(t *testing.T) {
	opts := s3.Options{InlineMax: 4 << 10, BlockSize: 2 << 20}
	eachStyle(t, opts, func(t *testing.T, c *awss3.Client, bucket string) {
		body := randomBytes(10<<20 + 3)
		up := manager.NewUploader(c, func(u *manager.Uploader) { u.PartSize = 5 << 20 })
		out, err := up.Upload(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: aws.String("big"), Body: bytes.NewReader(body)})
		check(t, err)
		if !strings.HasSuffix(aws.ToString(out.ETag), `-3"`) {
			t.Fatalf("etag %s", aws.ToString(out.ETag))
		}
		to := manager.NewWriteAtBuffer(nil)
		_, err = manager.NewDownloader(c).Download(t.Context(), to, &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("big")})
		check(t, err)
		if !bytes.Equal(to.Bytes(), body) {
			t.Fatal("other bytes came back")
		}
	})
}

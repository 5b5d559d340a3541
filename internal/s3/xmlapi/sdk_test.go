package xmlapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// exchange is a transport that keeps the body of a request and answers with a
// document.
type exchange struct {
	sent   []byte
	status int
	answer []byte
}

func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	x.sent = nil
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		x.sent = b
	}
	return &http.Response{StatusCode: x.status, Request: r, Header: http.Header{"Content-Type": {ContentType}},
		Body: io.NopCloser(bytes.NewReader(x.answer)), ContentLength: int64(len(x.answer))}, nil
}

func (x *exchange) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://s3.example.com"), Region: "us-east-1", UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""), HTTPClient: &http.Client{Transport: x},
	})
}

var bucket, key = aws.String("bucket"), aws.String("key")

// equal compares values that pointers may lead to.
func equal(t *testing.T, got, want any) {
	t.Helper()
	if v := reflect.ValueOf(got); v.Kind() == reflect.Pointer {
		if v.IsNil() {
			t.Fatalf("nothing, want %v", want)
		}
		got = v.Elem().Interface()
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// answer returns a client of a server that always answers with a document.
func answer(name string) *s3.Client {
	x := &exchange{status: http.StatusOK, answer: bytes.ReplaceAll(documents()[name].AppendXML(nil), []byte("&#x1;"), nil)}
	return x.client()
}

// nasty is the first key of the listings of documents.
const nasty = `a<b>&"c"'d'.txt`

// TestSDKReadsLists has the official client read our listings.
func TestSDKReadsLists(t *testing.T) {
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	buckets, err := answer("ListBuckets").ListBuckets(ctx, nil)
	must(err)
	equal(t, len(buckets.Buckets), 2)
	equal(t, buckets.Buckets[0].Name, "b1")
	equal(t, buckets.ContinuationToken, "t=")

	v1, err := answer("ListObjects").ListObjects(ctx, &s3.ListObjectsInput{Bucket: bucket})
	must(err)
	equal(t, v1.Contents[0].Key, nasty)
	equal(t, v1.NextMarker, "n")

	v2, err := answer("ListObjectsV2").ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	must(err)
	equal(t, v2.Contents[0].Key, nasty)
	equal(t, v2.Contents[1].Key, "line\nbreak\ttab\u007f ü 日+%")
	equal(t, v2.Contents[0].Size, int64(5<<40))
	equal(t, v2.Contents[0].ETag, `"d41d8cd98f00b204e9800998ecf8427e"`)
	equal(t, v2.Contents[0].LastModified.UnixMilli(), stamp.UnixMilli())
	equal(t, v2.Contents[0].Owner.DisplayName, "A & B")
	equal(t, v2.CommonPrefixes[1].Prefix, "r/")
	equal(t, v2.NextContinuationToken, "t2")
	equal(t, v2.KeyCount, int32(4))

	versions, err := answer("ListVersions").ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bucket})
	must(err)
	equal(t, versions.Versions[0].Key, nasty)
	equal(t, versions.Versions[0].IsLatest, true)
	equal(t, versions.DeleteMarkers[0].VersionId, "7")

}

// TestSDKReads has the official client read our other documents.
func TestSDKReads(t *testing.T) {
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	created, err := answer("InitiateMultipartUpload").CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	must(err)
	equal(t, created.UploadId, "u")

	completed, err := answer("CompletedUpload").CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: aws.String("u")})
	must(err)
	equal(t, completed.ETag, `"e-2"`)
	equal(t, completed.ChecksumCRC64NVME, "AAAAAAAAAAA=")
	equal(t, completed.Location, "http://h/b/k?a&b")

	uploads, err := answer("ListUploads").ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket})
	must(err)
	equal(t, uploads.Uploads[0].Key, "k&")
	equal(t, uploads.Uploads[0].Initiator.ID, "id<1>")
	equal(t, uploads.NextUploadIdMarker, "u")

	parts, err := answer("ListParts").ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: aws.String("u")})
	must(err)
	equal(t, parts.Parts[0].ChecksumCRC64NVME, "AAAAAAAAAAA=")
	equal(t, parts.Parts[1].PartNumber, int32(3))
	equal(t, parts.NextPartNumberMarker, "3")

	copied, err := answer("CopyObject").CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: key, CopySource: aws.String("b/k")})
	must(err)
	equal(t, copied.CopyObjectResult.ETag, `"e"`)

	part, err := answer("CopyPart").UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: bucket, Key: key, CopySource: aws.String("b/k"), PartNumber: aws.Int32(1), UploadId: aws.String("u")})
	must(err)
	equal(t, part.CopyPartResult.LastModified.UnixMilli(), stamp.UnixMilli())

	deleted, err := answer("DeleteResult").DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: key}}}})
	must(err)
	equal(t, deleted.Deleted[1].DeleteMarkerVersionId, "2")
	equal(t, deleted.Errors[0].Code, "AccessDenied")

	tags, err := answer("Tagging").GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: bucket, Key: key})
	must(err)
	equal(t, tags.TagSet[0].Value, "b c")

	acl, err := answer("ACL").GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: bucket})
	must(err)
	equal(t, acl.Grants[0].Grantee.ID, "id<1>")
	equal(t, acl.Grants[0].Grantee.Type, types.TypeCanonicalUser)
	equal(t, acl.Grants[0].Permission, types.PermissionFullControl)

	versioning, err := answer("Versioning").GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: bucket})
	must(err)
	equal(t, versioning.Status, types.BucketVersioningStatusEnabled)

	location, err := answer("Location").GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: bucket})
	must(err)
	equal(t, location.LocationConstraint, types.BucketLocationConstraintEuWest1)

	refused := &exchange{status: http.StatusNotFound, answer: bytes.ReplaceAll(documents()["Error"].AppendXML(nil), []byte("&#x2;"), nil)}
	_, err = refused.client().GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "NoSuchKey" || e.ErrorMessage() != "The <key>" {
		t.Fatal(err)
	}
}

// TestSDKWrites decodes the bodies that the official client sends.
func TestSDKWrites(t *testing.T) {
	ctx := context.Background()
	x := &exchange{status: http.StatusOK, answer: (&DeleteResult{}).AppendXML(nil)}
	client := x.client()
	sent := func(err error) io.Reader {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return bytes.NewReader(x.sent)
	}
	const odd = "a<b>&\"c\"'d' \tü 日"

	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: "eu-west-1"}})
	created, err := DecodeCreateBucket(sent(err))
	if err != nil || created.LocationConstraint != "eu-west-1" {
		t.Errorf("%+v, %v: %s", created, err, x.sent)
	}
	_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket})
	if created, err = DecodeCreateBucket(sent(err)); err != nil || created != (CreateBucket{}) {
		t.Errorf("%+v, %v: %s", created, err, x.sent)
	}

	_, err = client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Quiet: aws.Bool(true),
		Objects: []types.ObjectIdentifier{{Key: aws.String(odd), VersionId: aws.String("null")}, {Key: key}}}})
	deleted, err := DecodeDelete(sent(err))
	if err != nil || !reflect.DeepEqual(deleted, Delete{true, []DeleteKey{{Key: odd, VersionID: "null"}, {Key: "key"}}}) {
		t.Errorf("%+v, %v: %s", deleted, err, x.sent)
	}

	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: key, MultipartUpload: &types.CompletedMultipartUpload{
		Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: aws.String(`"e1"`), ChecksumCRC32C: aws.String("sOO8/Q==")}, {PartNumber: aws.Int32(10000), ETag: aws.String("e2")}}}})
	parts, err := DecodeCompleteUpload(sent(err))
	if err != nil || !reflect.DeepEqual(parts, []CompletePart{{1, "e1", []Checksum{{"CRC32C", "sOO8/Q=="}}}, {10000, "e2", nil}}) {
		t.Errorf("%+v, %v: %s", parts, err, x.sent)
	}

	_, err = client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: bucket, Key: key, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a:b"), Value: aws.String("ü ")}}}})
	tags, err := DecodeTagging(sent(err), MaxObjectTags)
	if err != nil || !reflect.DeepEqual(tags.Tags, []Tag{{"a:b", "ü "}}) {
		t.Errorf("%+v, %v: %s", tags, err, x.sent)
	}

	_, err = client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended}})
	versioning, err := DecodeVersioning(sent(err))
	if err != nil || versioning.Status != "Suspended" {
		t.Errorf("%+v, %v: %s", versioning, err, x.sent)
	}

	_, err = client.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: bucket, AccessControlPolicy: &types.AccessControlPolicy{Owner: &types.Owner{ID: key},
		Grants: []types.Grant{{Grantee: &types.Grantee{Type: types.TypeCanonicalUser, ID: key}, Permission: types.PermissionRead}}}})
	acl, err := DecodeACL(sent(err))
	if err != nil || !reflect.DeepEqual(acl, AccessControlPolicy{Owner{ID: "key"}, []Grant{{Grantee{ID: "key"}, "READ"}}}) {
		t.Errorf("%+v, %v: %s", acl, err, x.sent)
	}
}

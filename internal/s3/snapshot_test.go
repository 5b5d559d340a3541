package s3_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/s3"
	"o3/internal/s3/s3test"
)

// frozen is a bucket of alice's with a snapshot "s1" and what it had then.
type frozen struct {
	*awss3.Client
	t       *testing.T
	service *s3test.Service
	bucket  string
	then    map[string][]byte
}

// eachLayout runs f with a frozen bucket of each layout. Since its snapshot
// everything in it was overwritten, deleted or moved.
func eachLayout(t *testing.T, f func(*testing.T, *frozen)) {
	for _, layout := range []string{"OBJECT_STORE", "FILE_SYSTEM_OPTIMIZED"} {
		t.Run(layout, func(t *testing.T) {
			s := s3test.New(t, s3.Options{InlineMax: 16, MinPartSize: 1}, s3test.Deps{})
			z := &frozen{Client: sdk(s, s3test.Alice, styles[0]), t: t, service: s, bucket: "photos", then: map[string][]byte{
				"a": []byte("small"), "d/big": randomBytes(100 << 10), "d/e/f": []byte("deep"), "d/gone": randomBytes(1000), "z": {},
			}}
			_, err := z.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &z.bucket}, withHeader("x-o3-layout", layout))
			check(t, err)
			for key, body := range z.then {
				put(t, z.Client, z.bucket, key, body)
			}
			z.snapshot("s1")
			for key := range z.then {
				put(t, z.Client, z.bucket, key, []byte("overwritten"))
			}
			z.snapshot("s1-later")
			for _, key := range []string{"d/gone", "d/e/f"} {
				_, err := z.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &z.bucket, Key: &key})
				check(t, err)
			}
			z.snapshot("s10")
			f(t, z)
		})
	}
}

func (z *frozen) as(user string) context.Context {
	return access.NewContext(z.t.Context(), access.Principal{User: user})
}

func (z *frozen) snapshot(name string) {
	z.t.Helper()
	_, err := z.service.Namespace.CreateSnapshot(z.as("alice"), &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: z.bucket, Name: name})
	check(z.t, err)
}

func in(snapshot, key string) *string { return aws.String(".snapshot/" + snapshot + "/" + key) }

// TestReadSnapshot: every way to read gives what the bucket had.
func TestReadSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, z *frozen) {
		for key, want := range z.then {
			got, out := get(t, z.Client, &awss3.GetObjectInput{Bucket: &z.bucket, Key: in("s1", key)})
			if !bytes.Equal(got, want) || aws.ToString(out.ETag) != etag(want) {
				t.Errorf("%s: %d bytes, ETag %s", key, len(got), *out.ETag)
			}
			head, err := z.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &z.bucket, Key: in("s1", key)})
			check(t, err)
			if *head.ContentLength != int64(len(want)) || *head.ETag != etag(want) {
				t.Errorf("HEAD %s: %d bytes, ETag %s", key, *head.ContentLength, *head.ETag)
			}
		}
		big := z.then["d/big"]
		for _, x := range []struct{ header, want string }{
			{"bytes=0-9", string(big[:10])}, {"bytes=70000-", string(big[70000:])}, {"bytes=-5", string(big[len(big)-5:])},
		} {
			got, out := get(t, z.Client, &awss3.GetObjectInput{Bucket: &z.bucket, Key: in("s1", "d/big"), Range: &x.header})
			if string(got) != x.want || out.ContentRange == nil {
				t.Errorf("%s: %d bytes, %v", x.header, len(got), out.ContentRange)
			}
		}
		attributes, err := z.GetObjectAttributes(t.Context(), &awss3.GetObjectAttributesInput{
			Bucket: &z.bucket, Key: in("s1", "d/gone"), ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesObjectSize},
		})
		check(t, err)
		equal(t, "size", *attributes.ObjectSize, 1000)
		z.conditions()
		z.presigned()
	})
}

func (z *frozen) conditions() {
	tag := etag(z.then["d/gone"])
	for _, x := range []struct {
		name string
		in   awss3.GetObjectInput
		want string
	}{
		{"If-Match", awss3.GetObjectInput{IfMatch: &tag}, ""},
		{"If-Match of now", awss3.GetObjectInput{IfMatch: aws.String(etag([]byte("overwritten")))}, "PreconditionFailed"},
		{"If-None-Match", awss3.GetObjectInput{IfNoneMatch: &tag}, "NotModified"},
		{"If-Unmodified-Since", awss3.GetObjectInput{IfUnmodifiedSince: aws.Time(time.Now().Add(-time.Hour))}, "PreconditionFailed"},
		{"If-Modified-Since", awss3.GetObjectInput{IfModifiedSince: aws.Time(time.Now().Add(-time.Hour))}, ""},
	} {
		x.in.Bucket, x.in.Key = &z.bucket, in("s1", "d/gone")
		out, err := z.GetObject(z.t.Context(), &x.in)
		if err == nil {
			_ = out.Body.Close()
		}
		if got := code(err); got != x.want {
			z.t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

func (z *frozen) presigned() {
	z.t.Helper()
	signed, err := awss3.NewPresignClient(z.Client).PresignGetObject(z.t.Context(), &awss3.GetObjectInput{Bucket: &z.bucket, Key: in("s1", "d/big")})
	check(z.t, err)
	resp, err := z.service.Client().Get(signed.URL)
	check(z.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(z.t, err)
	if resp.StatusCode != http.StatusOK || !bytes.Equal(body, z.then["d/big"]) {
		z.t.Errorf("presigned: %s, %d bytes", resp.Status, len(body))
	}
}

// TestListSnapshot: listings below .snapshot/ are those of the bucket then, in
// both versions, with every delimiter and page size; elsewhere it does not show.
func TestListSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, z *frozen) {
		s1 := "a d/big d/e/f d/gone z"
		for _, x := range []struct{ prefix, delimiter, want string }{
			{"", "", "a d/big z"}, {"", "/", "a z d/"}, {".snap", "", ""}, {".snapshot", "/", ""},
			{".snapshot/", "/", ".snapshot/s1-later/ .snapshot/s1/ .snapshot/s10/"},
			{".snapshot/s1", "/", ".snapshot/s1-later/ .snapshot/s1/ .snapshot/s10/"},
			{".snapshot/s10", "/", ".snapshot/s10/"},
			{".snapshot/none/", "", ""}, {".snapshot/none/", "/", ""},
			{".snapshot/s1/", "", below("s1", s1)},
			{".snapshot/s1/", "/", below("s1", "a z d/")},
			{".snapshot/s1/d/", "/", below("s1", "d/big d/gone d/e/")},
			{".snapshot/s1/d/g", "", below("s1", "d/gone")},
			{".snapshot/s10/", "", below("s10", "a d/big z")},
			{".snapshot/s1/", "e", below("s1", "a d/big z d/e d/gone")},
			{".snapshot/", "", strings.Join([]string{below("s1-later", s1), below("s1", s1), below("s10", "a d/big z")}, " ")},
		} {
			for _, max := range []int32{1, 2, 1000} {
				for version, list := range map[string]func(prefix, delimiter string, max int32) []string{"v1": z.list1, "v2": z.list2} {
					want := strings.Fields(x.want)
					if got := list(x.prefix, x.delimiter, max); !slices.Equal(got, want) {
						t.Errorf("%s of %q by %q, %d a page: got %v, want %v", version, x.prefix, x.delimiter, max, got, want)
					}
				}
			}
		}
	})
}

// below puts the path of a snapshot before names.
func below(snapshot, names string) string {
	out := strings.Fields(names)
	for i, n := range out {
		out[i] = *in(snapshot, n)
	}
	return strings.Join(out, " ")
}

// list1 returns the keys, then the common prefixes, of a whole listing.
func (z *frozen) list1(prefix, delimiter string, max int32) []string {
	var found, prefixes []string
	in := &awss3.ListObjectsInput{Bucket: &z.bucket, Prefix: &prefix, MaxKeys: &max}
	if delimiter != "" {
		in.Delimiter = &delimiter
	}
	for range 100 {
		out, err := z.ListObjects(z.t.Context(), in)
		check(z.t, err)
		found, prefixes = append(found, keysOf(out.Contents)...), append(prefixes, commons(out.CommonPrefixes)...)
		if !aws.ToBool(out.IsTruncated) {
			return append(found, prefixes...)
		}
		in.Marker = out.NextMarker
	}
	z.t.Errorf("a listing of %q by %q, %d a page, does not end", prefix, delimiter, max)
	return nil
}

func (z *frozen) list2(prefix, delimiter string, max int32) []string {
	var found, prefixes []string
	in := &awss3.ListObjectsV2Input{Bucket: &z.bucket, Prefix: &prefix, MaxKeys: &max}
	if delimiter != "" {
		in.Delimiter = &delimiter
	}
	for pages := awss3.NewListObjectsV2Paginator(z.Client, in); pages.HasMorePages(); {
		out, err := pages.NextPage(z.t.Context())
		check(z.t, err)
		found, prefixes = append(found, keysOf(out.Contents)...), append(prefixes, commons(out.CommonPrefixes)...)
	}
	return append(found, prefixes...)
}

func keysOf(list []types.Object) (out []string) {
	for _, o := range list {
		out = append(out, *o.Key)
	}
	return out
}

// TestCopyFromSnapshot: objects and parts are copied out of a snapshot, with
// their conditions.
func TestCopyFromSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, z *frozen) {
		source := aws.String(z.bucket + "/.snapshot/s1/d/big")
		big := z.then["d/big"]
		for _, to := range []string{"back", "d/big"} {
			_, err := z.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &z.bucket, Key: &to, CopySource: source, CopySourceIfMatch: aws.String(etag(big))})
			check(t, err)
			if got, out := get(t, z.Client, &awss3.GetObjectInput{Bucket: &z.bucket, Key: &to}); !bytes.Equal(got, big) || *out.ETag != etag(big) {
				t.Errorf("%s: %d bytes", to, len(got))
			}
		}
		_, err := z.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &z.bucket, Key: aws.String("no"), CopySource: source, CopySourceIfNoneMatch: aws.String(etag(big))})
		wantCode(t, err, "PreconditionFailed")
		for missing, want := range map[string]string{".snapshot/s1/none": "NoSuchKey", ".snapshot/none/a": "NoSuchSnapshot", ".snapshot/s1": "NoSuchKey", ".snapshot/s10/d/gone": "NoSuchKey"} {
			_, err := z.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &z.bucket, Key: aws.String("no"), CopySource: aws.String(z.bucket + "/" + missing)})
			if code(err) != want {
				t.Errorf("copy of %s: %v, want %s", missing, err, want)
			}
		}

		id := upload(t, z.Client, z.bucket, "parts", nil)
		var parts []types.CompletedPart
		for i, from := range []string{"", "bytes=10-99"} {
			in := &awss3.UploadPartCopyInput{Bucket: &z.bucket, Key: aws.String("parts"), UploadId: id, PartNumber: aws.Int32(int32(i + 1)), CopySource: source}
			if from != "" {
				in.CopySourceRange = &from
			}
			out, err := z.UploadPartCopy(t.Context(), in)
			check(t, err)
			parts = append(parts, types.CompletedPart{ETag: out.CopyPartResult.ETag, PartNumber: in.PartNumber})
		}
		_, err = complete(t, z.Client, z.bucket, "parts", id, parts...)
		check(t, err)
		got, _ := get(t, z.Client, &awss3.GetObjectInput{Bucket: &z.bucket, Key: aws.String("parts")})
		if want := slices.Concat(big, big[10:100]); !bytes.Equal(got, want) {
			t.Errorf("parts: %d bytes, want %d", len(got), len(want))
		}
	})
}

// TestSnapshotIsReadOnly: nothing below .snapshot/ is written by any way there
// is to write; the refusal is InvalidArgument, and says why.
func TestSnapshotIsReadOnly(t *testing.T) {
	eachLayout(t, func(t *testing.T, z *frozen) {
		before := z.list2(".snapshot/", "", 1000)
		for _, name := range []string{".snapshot", ".snapshot/", ".snapshot/s1", ".snapshot/s1/", ".snapshot/s1/a", ".snapshot/s1/new", ".snapshot/none/a"} {
			key := &name
			_, err := z.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &z.bucket, Key: key, Body: strings.NewReader("x")})
			z.refused("PutObject", name, err)
			_, err = z.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &z.bucket, Key: key, Body: bytes.NewReader(randomBytes(100 << 10))})
			z.refused("PutObject, large", name, err)
			_, err = z.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &z.bucket, Key: key})
			z.refused("DeleteObject", name, err)
			_, err = z.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: &z.bucket, Key: key, CopySource: aws.String(z.bucket + "/a")})
			z.refused("CopyObject", name, err)
			_, err = z.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &z.bucket, Key: key})
			z.refused("CreateMultipartUpload", name, err)
			_, err = z.PutObjectTagging(t.Context(), &awss3.PutObjectTaggingInput{
				Bucket: &z.bucket, Key: key, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}},
			})
			z.refused("PutObjectTagging", name, err)
			_, err = z.DeleteObjectTagging(t.Context(), &awss3.DeleteObjectTaggingInput{Bucket: &z.bucket, Key: key})
			z.refused("DeleteObjectTagging", name, err)
		}
		out, err := z.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: &z.bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
			{Key: in("s1", "a")}, {Key: aws.String("z")},
		}}})
		check(t, err)
		if len(out.Errors) != 1 || *out.Errors[0].Key != *in("s1", "a") || *out.Errors[0].Code != "InvalidArgument" || len(out.Deleted) != 1 {
			t.Errorf("DeleteObjects: %+v, %d deleted", out.Errors, len(out.Deleted))
		}
		if got := z.list2(".snapshot/", "", 1000); !slices.Equal(got, before) {
			t.Errorf("the snapshots changed: %v, before %v", got, before)
		}
	})
}

func (z *frozen) refused(what, key string, err error) {
	z.t.Helper()
	if code(err) != "InvalidArgument" || !strings.Contains(err.Error(), "reserved for snapshots") {
		z.t.Errorf("%s of %q: %v", what, key, err)
	}
}

// TestSnapshotAbsence: what is not there is told as such, and the names on the
// way to a snapshot are no keys.
func TestSnapshotAbsence(t *testing.T) {
	eachLayout(t, func(t *testing.T, z *frozen) {
		for key, want := range map[string]string{
			".snapshot": "NoSuchKey", ".snapshot/": "NoSuchKey", ".snapshot/s1": "NoSuchKey", ".snapshot/s1/": "NoSuchKey",
			".snapshot/s1/d": "NoSuchKey", ".snapshot/s1/none": "NoSuchKey", ".snapshot/s10/d/gone": "NoSuchKey",
			".snapshot/none/a": "NoSuchSnapshot", ".snapshot/s1/.snapshot/s1/a": "NoSuchKey", ".snapshotted": "NoSuchKey",
		} {
			_, err := z.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &z.bucket, Key: &key})
			if code(err) != want {
				t.Errorf("GET %s: %v, want %s", key, err, want)
			}
			_, err = z.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &z.bucket, Key: &key})
			if code(err) != "NotFound" {
				t.Errorf("HEAD %s: %v", key, err)
			}
		}
		_, err := z.DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: &z.bucket})
		wantCode(t, err, "BucketNotEmpty")
	})
}

// TestSnapshotAccess: who may read the bucket may read its snapshots, and
// nobody else.
func TestSnapshotAccess(t *testing.T) {
	eachLayout(t, func(t *testing.T, z *frozen) {
		bob := sdk(z.service, s3test.Bob, styles[0])
		read := func() string {
			out, err := bob.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &z.bucket, Key: in("s1", "a")})
			if err == nil {
				_ = out.Body.Close()
			}
			return code(err)
		}
		list := func() string {
			_, err := bob.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &z.bucket, Prefix: aws.String(".snapshot/")})
			return code(err)
		}
		equal(t, "a stranger's read", read(), "AccessDenied")
		equal(t, "a stranger's listing", list(), "AccessDenied")
		_, err := z.service.Namespace.UpdateBucket(z.as("alice"), &o3v1.UpdateBucketRequest{
			Volume: "s3v", Bucket: z.bucket, SetGrants: true,
			Grants: []*o3v1.Grant{{Grantee: "bob", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ, o3v1.Permission_PERMISSION_LIST}}},
		})
		check(t, err)
		equal(t, "a reader's read", read(), "")
		equal(t, "a reader's listing", list(), "")
	})
}

package s3_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"o3/internal/s3"
	"o3/internal/s3/s3test"
)

var listed = []string{"a.txt", "b/1", "b/2", "b/c/3", "b/c/4", "b0", "d&<e>.txt", "é/ü", "z"}

// TestListings pages through every listing in every size of page, in both
// layouts, and compares with what a model of S3 answers.
func TestListings(t *testing.T) {
	for _, layout := range []string{"OBJECT_STORE", "FILE_SYSTEM_OPTIMIZED"} {
		t.Run(layout, func(t *testing.T) {
			s := s3test.New(t, s3.Options{InlineMax: 1 << 10}, s3test.Deps{})
			c := sdk(s, s3test.Alice, styles[0])
			bucket := "photos"
			_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}, awss3.WithAPIOptions(
				smithyhttp.SetHeaderValue("x-o3-layout", layout)))
			check(t, err)
			for _, k := range listed {
				put(t, c, bucket, k, []byte(k))
			}
			for _, prefix := range []string{"", "b", "b/", "b/c", "é", "nothing"} {
				for _, delimiter := range []string{"", "/", "."} {
					for page := int32(1); page <= 4; page++ {
						keys, prefixes := model(prefix, delimiter)
						want := fmt.Sprint(keys, prefixes)
						in := query{c, bucket, prefix, delimiter, page}
						for name, got := range map[string]string{"v1": in.v1(t), "v2": in.v2(t), "versions": in.versions(t)} {
							if got != want {
								t.Errorf("%s of %q by %q, %d a page:\n got %s\nwant %s", name, prefix, delimiter, page, got, want)
							}
						}
					}
				}
			}
		})
	}
}

// model lists as S3 defines it.
func model(prefix, delimiter string) (keys, prefixes []string) {
	for _, k := range slices.Sorted(slices.Values(listed)) {
		rest, ok := strings.CutPrefix(k, prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, delimiter); delimiter != "" && i >= 0 {
			if p := prefix + rest[:i+len(delimiter)]; !slices.Contains(prefixes, p) {
				prefixes = append(prefixes, p)
			}
			continue
		}
		keys = append(keys, k)
	}
	return keys, prefixes
}

type query struct {
	c                         *awss3.Client
	bucket, prefix, delimiter string
	page                      int32
}

func (q query) v1(t *testing.T) string {
	var keys, prefixes []string
	in := &awss3.ListObjectsInput{Bucket: &q.bucket, Prefix: &q.prefix, Delimiter: &q.delimiter, MaxKeys: &q.page, EncodingType: "url"}
	for {
		out, err := q.c.ListObjects(t.Context(), in)
		check(t, err)
		keys, prefixes = append(keys, names(t, out.Contents)...), append(prefixes, commons(out.CommonPrefixes)...)
		if n := len(out.Contents) + len(out.CommonPrefixes); n > int(q.page) {
			t.Fatalf("%d entries in a page of %d", n, q.page)
		}
		if !*out.IsTruncated {
			return fmt.Sprint(keys, prefixes)
		}
		in.Marker = aws.String(decoded(*out.NextMarker))
	}
}

func (q query) v2(t *testing.T) string {
	var keys, prefixes []string
	in := &awss3.ListObjectsV2Input{Bucket: &q.bucket, Prefix: &q.prefix, Delimiter: &q.delimiter, MaxKeys: &q.page, EncodingType: "url", FetchOwner: aws.Bool(true)}
	for {
		out, err := q.c.ListObjectsV2(t.Context(), in)
		check(t, err)
		keys, prefixes = append(keys, names(t, out.Contents)...), append(prefixes, commons(out.CommonPrefixes)...)
		equal(t, "KeyCount", int(*out.KeyCount), len(out.Contents)+len(out.CommonPrefixes))
		if !*out.IsTruncated {
			return fmt.Sprint(keys, prefixes)
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

func (q query) versions(t *testing.T) string {
	var keys, prefixes []string
	in := &awss3.ListObjectVersionsInput{Bucket: &q.bucket, Prefix: &q.prefix, Delimiter: &q.delimiter, MaxKeys: &q.page, EncodingType: "url"}
	for {
		out, err := q.c.ListObjectVersions(t.Context(), in)
		check(t, err)
		for _, v := range out.Versions {
			if *v.VersionId != "null" || !*v.IsLatest || len(out.DeleteMarkers) > 0 {
				t.Fatalf("version %s of %s", *v.VersionId, *v.Key)
			}
			keys = append(keys, decoded(*v.Key))
		}
		prefixes = append(prefixes, commons(out.CommonPrefixes)...)
		if !*out.IsTruncated {
			return fmt.Sprint(keys, prefixes)
		}
		in.KeyMarker, in.VersionIdMarker = aws.String(decoded(*out.NextKeyMarker)), out.NextVersionIdMarker
	}
}

func names(t *testing.T, objects []types.Object) (out []string) {
	for _, o := range objects {
		k := decoded(*o.Key)
		if *o.ETag != etag([]byte(k)) || *o.Size != int64(len(k)) || *o.Owner.ID != "alice" || o.StorageClass != "STANDARD" {
			t.Fatalf("entry %s: %s, %d bytes, of %s", k, *o.ETag, *o.Size, *o.Owner.ID)
		}
		out = append(out, k)
	}
	return out
}

func commons(prefixes []types.CommonPrefix) (out []string) {
	for _, p := range prefixes {
		out = append(out, decoded(*p.Prefix))
	}
	return out
}

// TestStartAfter: start-after of version 2, and the token's priority over it.
func TestStartAfter(t *testing.T) {
	eachStyle(t, s3.Options{InlineMax: 1 << 10, ListMax: 3}, func(t *testing.T, c *awss3.Client, bucket string) {
		for _, k := range listed {
			put(t, c, bucket, k, nil)
		}
		out, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, StartAfter: aws.String("b/2"), MaxKeys: aws.Int32(2)})
		check(t, err)
		equal(t, "first", *out.Contents[0].Key, "b/c/3")
		out, err = c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, StartAfter: aws.String("zzz"), ContinuationToken: out.NextContinuationToken})
		check(t, err)
		equal(t, "token goes first", *out.Contents[0].Key, "b0")
		equal(t, "max-keys is clipped", int(*out.MaxKeys), 3)
		out, err = c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, MaxKeys: aws.Int32(0)})
		check(t, err)
		equal(t, "none asked", fmt.Sprint(len(out.Contents), *out.IsTruncated), "0 false")
		_, err = c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket, ContinuationToken: aws.String("bm9uc2Vuc2U")})
		wantCode(t, err, "InvalidArgument")
	})
}

// TestDirectories: what a file-system bucket shows S3.
func TestDirectories(t *testing.T) {
	s := s3test.New(t, s3.Options{InlineMax: 1 << 10, Layout: "FSO"}, s3test.Deps{})
	c := sdk(s, s3test.Alice, styles[0])
	bucket := "tree"
	_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket})
	check(t, err)
	put(t, c, bucket, "a/b/c", []byte("x"))
	put(t, c, bucket, "made/", nil)
	for key, want := range map[string]string{"a/b/c": "", "a/": "NotFound", "a": "NotFound", "made/": "", "made": "NotFound"} {
		_, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: &key})
		if got := code(err); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	got, out := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: aws.String("made/")})
	equal(t, "a directory is empty", *out.ETag+string(got), etag(nil))
	_, err = c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: aws.String("a/b/c/d"), Body: strings.NewReader("x")})
	wantCode(t, err, "ParentIsObject")
	_, err = c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: aws.String("a/b"), Body: strings.NewReader("x")})
	wantCode(t, err, "ObjectIsDirectory")
	list, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &bucket})
	check(t, err)
	equal(t, "listed", fmt.Sprint(len(list.Contents), *list.Contents[1].Key), "2made/")
	_, err = c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("made/")})
	check(t, err)
}

// decoded undoes encoding-type=url.
func decoded(s string) string {
	out, err := url.QueryUnescape(s)
	if err != nil {
		panic(err)
	}
	return out
}

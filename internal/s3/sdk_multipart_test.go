package s3_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"o3/internal/s3"
	"o3/internal/s3/checksum"
)

// smallParts lets tests use parts of a few KiB; the sizes still cross the
// thresholds of inline data and blocks.
var smallParts = s3.Options{InlineMax: 4 << 10, BlockSize: 24 << 10, MinPartSize: 8 << 10}

// upload begins an upload and returns its id.
func upload(t *testing.T, c *awss3.Client, bucket, key string, set func(*awss3.CreateMultipartUploadInput)) *string {
	t.Helper()
	in := &awss3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key}
	if set != nil {
		set(in)
	}
	out, err := c.CreateMultipartUpload(t.Context(), in)
	check(t, err)
	return out.UploadId
}

func part(t *testing.T, c *awss3.Client, bucket, key string, id *string, n int32, body []byte, a types.ChecksumAlgorithm) types.CompletedPart {
	t.Helper()
	out, err := c.UploadPart(t.Context(), &awss3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: id, PartNumber: &n, Body: bytes.NewReader(body), ChecksumAlgorithm: a})
	check(t, err)
	return types.CompletedPart{PartNumber: &n, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C,
		ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256}
}

func complete(t *testing.T, c *awss3.Client, bucket, key string, id *string, parts ...types.CompletedPart) (*awss3.CompleteMultipartUploadOutput, error) {
	t.Helper()
	return c.CompleteMultipartUpload(t.Context(), &awss3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
}

func TestMultipart(t *testing.T) {
	eachStyle(t, smallParts, func(t *testing.T, c *awss3.Client, bucket string) {
		ctx, key := t.Context(), "dir/big file"
		bodies := [][]byte{randomBytes(30 << 10), randomBytes(8 << 10)[:8<<10], []byte("tail in the row")}
		id := upload(t, c, bucket, key, func(in *awss3.CreateMultipartUploadInput) {
			in.ContentType, in.Metadata, in.Tagging = aws.String("video/x"), map[string]string{"m": "1"}, aws.String("a=b")
		})
		var parts []types.CompletedPart
		for i, n := range []int32{2, 5, 10000} {
			parts = append(parts, part(t, c, bucket, key, id, n, bodies[i], ""))
		}
		part(t, c, bucket, key, id, 7, []byte("not named, dropped"), "")
		parts[1] = part(t, c, bucket, key, id, 5, bodies[1], "") // sent again

		list, err := c.ListParts(ctx, &awss3.ListPartsInput{Bucket: &bucket, Key: &key, UploadId: id, MaxParts: aws.Int32(2)})
		check(t, err)
		equal(t, "page", fmt.Sprintf("%d %s %v", len(list.Parts), *list.NextPartNumberMarker, *list.IsTruncated), "2 5 true")
		list, err = c.ListParts(ctx, &awss3.ListPartsInput{Bucket: &bucket, Key: &key, UploadId: id, PartNumberMarker: list.NextPartNumberMarker})
		check(t, err)
		equal(t, "rest", fmt.Sprintf("%d %d %d", len(list.Parts), *list.Parts[0].PartNumber, *list.Parts[1].Size), fmt.Sprintf("2 7 %d", len(bodies[2])))
		uploads, err := c.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &bucket, Delimiter: aws.String("/")})
		check(t, err)
		equal(t, "by delimiter", fmt.Sprintf("%d %s", len(uploads.Uploads), *uploads.CommonPrefixes[0].Prefix), "0 dir/")
		uploads, err = c.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: aws.String("dir/")})
		check(t, err)
		equal(t, "upload", *uploads.Uploads[0].UploadId+*uploads.Uploads[0].Key, *id+key)

		_, err = c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &bucket, Key: &key})
		wantCode(t, err, "NotFound")
		out, err := complete(t, c, bucket, key, id, parts...)
		check(t, err)
		if !strings.HasSuffix(*out.ETag, `-3"`) || !strings.HasSuffix(*out.Location, "/dir/big%20file") {
			t.Fatalf("etag %s at %s", *out.ETag, *out.Location)
		}
		again, err := complete(t, c, bucket, key, id, parts...)
		check(t, err)
		equal(t, "repeated", *again.ETag, *out.ETag)

		whole := bytes.Join(bodies, nil)
		got, info := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
		if !bytes.Equal(got, whole) {
			t.Fatal("other bytes")
		}
		equal(t, "attributes", fmt.Sprint(*info.ContentType, info.Metadata, *info.TagCount), "video/xmap[m:1] 1")
		for i, body := range bodies {
			got, info := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, PartNumber: aws.Int32(int32(i + 1))})
			if !bytes.Equal(got, body) || *info.PartsCount != 3 {
				t.Fatalf("part %d differs", i+1)
			}
		}
		_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, PartNumber: aws.Int32(4)})
		wantCode(t, err, "InvalidPartNumber")
		r := fmt.Sprintf("bytes=%d-%d", 30<<10-1, 38<<10+1) // over all three
		got, _ = get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, Range: &r})
		if !bytes.Equal(got, whole[30<<10-1:38<<10+2]) {
			t.Fatal("range over parts differs")
		}
		attr, err := c.GetObjectAttributes(ctx, &awss3.GetObjectAttributesInput{Bucket: &bucket, Key: &key, MaxParts: aws.Int32(2), ObjectAttributes: []types.ObjectAttributes{"ObjectParts"}})
		check(t, err)
		p := attr.ObjectParts
		equal(t, "parts", fmt.Sprintf("%d %d %v %s", *p.TotalPartsCount, len(p.Parts), *p.IsTruncated, *p.NextPartNumberMarker), "3 2 true 2")
	})
}

func TestMultipartRefusals(t *testing.T) {
	eachStyle(t, smallParts, func(t *testing.T, c *awss3.Client, bucket string) {
		ctx, key := t.Context(), "k"
		id := upload(t, c, bucket, key, nil)
		one := part(t, c, bucket, key, id, 1, []byte("too small for a first part"), "")
		two := part(t, c, bucket, key, id, 2, []byte("last"), "")
		bad := func(p types.CompletedPart, etag string) types.CompletedPart { p.ETag = &etag; return p }
		for _, x := range []struct {
			name  string
			code  string
			parts []types.CompletedPart
		}{
			{"small first part", "EntityTooSmall", []types.CompletedPart{one, two}},
			{"order", "InvalidPartOrder", []types.CompletedPart{two, one}},
			{"twice", "InvalidPartOrder", []types.CompletedPart{one, one}},
			{"other etag", "InvalidPart", []types.CompletedPart{bad(one, etag([]byte("x")))}},
			{"no etag", "InvalidPart", []types.CompletedPart{bad(one, "x")}},
			{"absent", "InvalidPart", []types.CompletedPart{two, {PartNumber: aws.Int32(3), ETag: two.ETag}}},
			{"no parts", "MalformedXML", nil},
		} {
			_, err := complete(t, c, bucket, key, id, x.parts...)
			if got := code(err); got != x.code {
				t.Errorf("%s: got %q, want %q", x.name, got, x.code)
			}
		}
		_, err := c.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: id, MpuObjectSize: aws.Int64(5),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{two}}})
		wantCode(t, err, "InvalidRequest")
		_, err = c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: aws.String("nope"), PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
		wantCode(t, err, "NoSuchUpload")
		_, err = c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: id, PartNumber: aws.Int32(10001), Body: strings.NewReader("x")})
		wantCode(t, err, "InvalidArgument")
		_, err = c.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: id})
		check(t, err)
		_, err = c.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &bucket, Key: &key, UploadId: id})
		wantCode(t, err, "NoSuchUpload")
		_, err = complete(t, c, bucket, key, id, two)
		wantCode(t, err, "NoSuchUpload")
	})
}

func TestMultipartChecksums(t *testing.T) {
	eachStyle(t, smallParts, func(t *testing.T, c *awss3.Client, bucket string) {
		first, second := randomBytes(10<<10), []byte("the second")
		for _, x := range []struct {
			algorithm types.ChecksumAlgorithm
			kind      types.ChecksumType
		}{
			{"CRC32", "COMPOSITE"}, {"CRC32", "FULL_OBJECT"}, {"CRC32C", "COMPOSITE"}, {"CRC32C", "FULL_OBJECT"},
			{"CRC64NVME", "FULL_OBJECT"}, {"SHA1", "COMPOSITE"}, {"SHA256", "COMPOSITE"},
		} {
			key := fmt.Sprintf("%s-%s", x.algorithm, x.kind)
			id := upload(t, c, bucket, key, func(in *awss3.CreateMultipartUploadInput) {
				in.ChecksumAlgorithm, in.ChecksumType = x.algorithm, x.kind
			})
			parts := []types.CompletedPart{
				part(t, c, bucket, key, id, 1, first, x.algorithm), part(t, c, bucket, key, id, 2, second, x.algorithm),
			}
			_, err := complete(t, c, bucket, key, id, parts...)
			check(t, err)
			_, out := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key, ChecksumMode: "ENABLED"}) // the SDK verifies full ones
			equal(t, key, out.ChecksumType, x.kind)
			a, err := checksum.ParseAlgorithm(string(x.algorithm))
			check(t, err)
			sum := a.New()
			if x.kind == "FULL_OBJECT" {
				sum.Write(append(append([]byte{}, first...), second...))
			} else {
				for _, b := range [][]byte{first, second} {
					h := a.New()
					h.Write(b)
					sum.Write(h.Sum(nil))
				}
			}
			want := base64.StdEncoding.EncodeToString(sum.Sum(nil))
			if x.kind == "COMPOSITE" {
				want += "-2"
			}
			for _, have := range []*string{out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME, out.ChecksumSHA1, out.ChecksumSHA256} {
				if have != nil {
					equal(t, key, *have, want)
				}
			}
		}
		key := "mixed"
		id := upload(t, c, bucket, key, func(in *awss3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = "SHA256" })
		_, err := c.UploadPart(t.Context(), &awss3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: id, PartNumber: aws.Int32(1), Body: strings.NewReader("x"), ChecksumAlgorithm: "CRC32"})
		wantCode(t, err, "InvalidRequest")
	})
}

func TestCopy(t *testing.T) {
	eachStyle(t, smallParts, func(t *testing.T, c *awss3.Client, bucket string) {
		ctx, source := t.Context(), "a dir/sourçe+?#"
		body := randomBytes(50 << 10)
		_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &source, Body: bytes.NewReader(body),
			ContentType: aws.String("text/a"), Metadata: map[string]string{"m": "1"}, Tagging: aws.String("t=1")})
		check(t, err)
		from := aws.String(bucket + "/a%20dir/sour%C3%A7e%2B%3F%23")
		type in = awss3.CopyObjectInput
		past, future := aws.String(etag([]byte("no"))), aws.String(etag(body))
		for _, x := range []struct {
			name, key, code string
			in              in
			sees            string // type, metadata, tags of the copy
		}{
			{"plain", "copy", "", in{}, "text/a map[m:1] 1"},
			{"version null", "copy2", "", in{CopySource: aws.String(*from + "?versionId=null")}, "text/a map[m:1] 1"},
			{"replace", "copy3", "", in{MetadataDirective: "REPLACE", ContentType: aws.String("text/b"), Metadata: map[string]string{"n": "2"}}, "text/b map[n:2] 1"},
			{"tags", "copy4", "", in{TaggingDirective: "REPLACE", Tagging: aws.String("x=1&y=2")}, "text/a map[m:1] 2"},
			{"checksum", "copy5", "", in{ChecksumAlgorithm: "SHA256"}, "text/a map[m:1] 1"},
			{"to itself", source, "InvalidRequest", in{}, ""},
			{"to itself, changed", source, "", in{MetadataDirective: "REPLACE", ContentType: aws.String("text/c")}, "text/c map[] 1"},
			{"metadata without directive", "x", "InvalidRequest", in{Metadata: map[string]string{"n": "2"}}, ""},
			{"other version", "x", "NoSuchVersion", in{CopySource: aws.String(*from + "?versionId=3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrH")}, ""},
			{"no source key", "x", "InvalidArgument", in{CopySource: &bucket}, ""},
			{"absent source", "x", "NoSuchKey", in{CopySource: aws.String(bucket + "/absent")}, ""},
			{"absent source bucket", "x", "NoSuchBucket", in{CopySource: aws.String("nowhere/absent")}, ""},
			{"if match", "x", "", in{CopySourceIfMatch: future}, "text/c map[] 1"},
			{"if match other", "x", "PreconditionFailed", in{CopySourceIfMatch: past}, ""},
			{"if none match", "x", "PreconditionFailed", in{CopySourceIfNoneMatch: future}, ""},
			{"target exists", "copy", "PreconditionFailed", in{IfNoneMatch: aws.String("*")}, ""},
		} {
			x.in.Bucket, x.in.Key = &bucket, &x.key
			if x.in.CopySource == nil {
				x.in.CopySource = from
			}
			out, err := c.CopyObject(ctx, &x.in)
			if got := code(err); got != x.code {
				t.Errorf("%s: got %q, want %q", x.name, got, x.code)
			}
			if err != nil {
				continue
			}
			equal(t, x.name, *out.CopyObjectResult.ETag, etag(body))
			got, info := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &x.key})
			if !bytes.Equal(got, body) {
				t.Fatalf("%s: other bytes", x.name)
			}
			equal(t, x.name, fmt.Sprintf("%s %v %d", *info.ContentType, info.Metadata, aws.ToInt32(info.TagCount)), x.sees)
		}
		head, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: &bucket, Key: aws.String("copy5"), ChecksumMode: "ENABLED"})
		check(t, err)
		if head.ChecksumSHA256 == nil {
			t.Fatal("the copy has no SHA256")
		}
	})
}

func TestCopyPart(t *testing.T) {
	eachStyle(t, smallParts, func(t *testing.T, c *awss3.Client, bucket string) {
		ctx, key := t.Context(), "k"
		body, small := randomBytes(60<<10), []byte("in the row")
		put(t, c, bucket, "source", body)
		put(t, c, bucket, "small", small)
		id := upload(t, c, bucket, key, nil)
		copyPart := func(n int32, source, r string) (types.CompletedPart, error) {
			in := &awss3.UploadPartCopyInput{Bucket: &bucket, Key: &key, UploadId: id, PartNumber: &n, CopySource: aws.String(bucket + "/" + source)}
			if r != "" {
				in.CopySourceRange = &r
			}
			out, err := c.UploadPartCopy(ctx, in)
			if err != nil {
				return types.CompletedPart{}, err
			}
			return types.CompletedPart{PartNumber: &n, ETag: out.CopyPartResult.ETag}, nil
		}
		var parts []types.CompletedPart
		for i, x := range []struct {
			source, r string
			want      []byte
		}{
			{"source", "", body}, {"source", "bytes=1000-30000", body[1000:30001]}, {"small", "bytes=3-5", small[3:6]},
		} {
			p, err := copyPart(int32(i+1), x.source, x.r)
			check(t, err)
			equal(t, "etag is the MD5", *p.ETag, etag(x.want))
			parts = append(parts, p)
		}
		_, err := copyPart(9, "source", "bytes=0-99999999")
		wantCode(t, err, "InvalidArgument")
		_, err = copyPart(9, "source", "0-5")
		wantCode(t, err, "InvalidArgument")
		_, err = copyPart(9, "absent", "")
		wantCode(t, err, "NoSuchKey")
		_, err = complete(t, c, bucket, key, id, parts...)
		check(t, err)
		got, _ := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
		if want := append(append(append([]byte{}, body...), body[1000:30001]...), small[3:6]...); !bytes.Equal(got, want) {
			t.Fatal("other bytes")
		}
		// The blocks are shared: the copies outlive their sources.
		for _, k := range []string{"source", "small"} {
			_, err = c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &bucket, Key: &k})
			check(t, err)
		}
		again, _ := get(t, c, &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
		if !bytes.Equal(again, got) {
			t.Fatal("the copy changed with its source")
		}

		// A multipart source has no MD5 of its own, and the upload wants SHA256.
		key2 := "k2"
		id = upload(t, c, bucket, key2, func(in *awss3.CreateMultipartUploadInput) { in.ChecksumAlgorithm = "SHA256" })
		out, err := c.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{Bucket: &bucket, Key: &key2, UploadId: id, PartNumber: aws.Int32(1), CopySource: aws.String(bucket + "/k")})
		check(t, err)
		equal(t, "etag", *out.CopyPartResult.ETag, etag(got))
		if out.CopyPartResult.ChecksumSHA256 == nil {
			t.Fatal("the part has no SHA256")
		}
		_, err = complete(t, c, bucket, key2, id, types.CompletedPart{PartNumber: aws.Int32(1), ETag: out.CopyPartResult.ETag, ChecksumSHA256: out.CopyPartResult.ChecksumSHA256})
		check(t, err)
	})
}

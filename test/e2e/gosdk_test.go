//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// TestGoSDK runs every core operation with the official SDK as it comes, in
// both ways of addressing a bucket and with both layouts.
func TestGoSDK(t *testing.T) {
	s := startServer(t, "ozone.s3g.domain.name=s3.local", "ozone.s3g.multipart.min.part.size=5MB")
	for _, style := range []struct {
		name string
		path bool
	}{{"path", true}, {"host", false}} {
		for _, layout := range []string{"OBJECT_STORE", fso} {
			t.Run(style.name+"/"+layout, func(t *testing.T) {
				c := s.sdk(func(o *s3.Options) { o.UsePathStyle = style.path })
				bucket := "sdk-" + style.name + "-" + strings.ToLower(layout[:4])
				makeBucket(t, c, bucket, layout)
				b := &sdkBucket{T: t, c: c, name: &bucket}
				b.objects()
				b.conditions()
				b.copies()
				b.lists()
				b.multipart()
				b.tags()
				b.presigned()
				b.clear()
				_, err := c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: &bucket})
				ok(t, err)
				_, err = c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &bucket})
				wantCode(t, err, "NotFound")
			})
		}
	}
}

type sdkBucket struct {
	*testing.T
	c    *s3.Client
	name *string
}

func (b *sdkBucket) put(key string, body []byte) *s3.PutObjectOutput {
	b.Helper()
	out, err := b.c.PutObject(b.Context(), &s3.PutObjectInput{Bucket: b.name, Key: &key, Body: bytes.NewReader(body)})
	ok(b, err)
	return out
}

func (b *sdkBucket) get(key string) []byte {
	b.Helper()
	out, err := b.c.GetObject(b.Context(), &s3.GetObjectInput{Bucket: b.name, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	ok(b, err)
	body, err := io.ReadAll(out.Body)
	ok(b, errors.Join(err, out.Body.Close()))
	return body
}

// objects: sizes around every limit, odd names, and every checksum algorithm.
func (b *sdkBucket) objects() {
	for i, size := range []int64{0, 1, 4095, 4096, 4097, 64<<10 - 1, 64 << 10, 1<<20 + 1, 6 << 20} {
		want := content{uint64(i), size}.bytes()
		b.put("size", want)
		if !bytes.Equal(b.get("size"), want) {
			b.Fatalf("%d bytes came back different", size)
		}
	}
	for _, key := range []string{"a b", "ü/é", "plus+and%20percent", "q?x=1&y=2#z", "tilde~(paren)'quote'", "a/b/c/d/e", "日本語", "line\nbreak", `back\slash`, "end "} {
		b.put(key, []byte(key))
		if got := string(b.get(key)); got != key {
			b.Fatalf("key %q holds %q", key, got)
		}
	}
	for _, a := range types.ChecksumAlgorithmCrc32.Values() {
		switch a {
		case types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme:
		default:
			continue // newer than the core of S3
		}
		want := content{9, 100_000}.bytes()
		_, err := b.c.PutObject(b.Context(), &s3.PutObjectInput{Bucket: b.name, Key: aws.String("sum"), Body: bytes.NewReader(want), ChecksumAlgorithm: a})
		ok(b, err)
		if !bytes.Equal(b.get("sum"), want) { // the SDK checks the sum, too
			b.Fatalf("%s: came back different", a)
		}
	}
	_, err := b.c.PutObject(b.Context(), &s3.PutObjectInput{Bucket: b.name, Key: aws.String("wrong"), Body: strings.NewReader("x"), ChecksumCRC32: aws.String("AAAAAA==")})
	wantCode(b, err, "BadDigest")
	_, err = b.c.HeadObject(b.Context(), &s3.HeadObjectInput{Bucket: b.name, Key: aws.String("wrong")})
	wantCode(b, err, "NotFound")
	out, err := b.c.GetObject(b.Context(), &s3.GetObjectInput{Bucket: b.name, Key: aws.String("size"), Range: aws.String("bytes=5000000-5000009")})
	ok(b, err)
	part, err := io.ReadAll(out.Body)
	ok(b, errors.Join(err, out.Body.Close()))
	if want := (content{8, 6 << 20}).bytes()[5000000:5000010]; !bytes.Equal(part, want) {
		b.Fatalf("a range is %x, want %x", part, want)
	}
	_, err = b.c.GetObject(b.Context(), &s3.GetObjectInput{Bucket: b.name, Key: aws.String("nothing")})
	wantCode(b, err, "NoSuchKey")
	_, err = b.c.GetObject(b.Context(), &s3.GetObjectInput{Bucket: aws.String("no-such-bucket"), Key: aws.String("nothing")})
	wantCode(b, err, "NoSuchBucket")
}

// conditions on writes and reads.
func (b *sdkBucket) conditions() {
	key := aws.String("condition")
	put := func(edit func(*s3.PutObjectInput)) error {
		in := &s3.PutObjectInput{Bucket: b.name, Key: key, Body: strings.NewReader("x")}
		edit(in)
		_, err := b.c.PutObject(b.Context(), in)
		return err
	}
	absent := func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }
	ok(b, put(absent))
	wantCode(b, put(absent), "PreconditionFailed")
	wantCode(b, put(func(in *s3.PutObjectInput) { in.IfMatch = aws.String(`"00000000000000000000000000000000"`) }), "PreconditionFailed")
	head, err := b.c.HeadObject(b.Context(), &s3.HeadObjectInput{Bucket: b.name, Key: key})
	ok(b, err)
	ok(b, put(func(in *s3.PutObjectInput) { in.IfMatch = head.ETag }))
	_, err = b.c.GetObject(b.Context(), &s3.GetObjectInput{Bucket: b.name, Key: key, IfNoneMatch: head.ETag})
	if !strings.Contains(fmt.Sprint(err), "304") {
		b.Fatalf("If-None-Match: %v", err)
	}
	_, err = b.c.HeadObject(b.Context(), &s3.HeadObjectInput{Bucket: b.name, Key: key, IfModifiedSince: aws.Time(time.Now().Add(-time.Hour))})
	ok(b, err)
}

func (b *sdkBucket) copies() {
	want := content{3, 300_000}.bytes()
	b.put("dir/source é", want)
	copySource := aws.String(*b.name + "/dir/source%20%C3%A9")
	_, err := b.c.CopyObject(b.Context(), &s3.CopyObjectInput{Bucket: b.name, Key: aws.String("copy"), CopySource: copySource})
	ok(b, err)
	_, err = b.c.DeleteObject(b.Context(), &s3.DeleteObjectInput{Bucket: b.name, Key: aws.String("dir/source é")})
	ok(b, err)
	if !bytes.Equal(b.get("copy"), want) {
		b.Fatal("a copy differs after its source was deleted")
	}
	_, err = b.c.CopyObject(b.Context(), &s3.CopyObjectInput{Bucket: b.name, Key: aws.String("copy2"), CopySource: copySource})
	wantCode(b, err, "NoSuchKey")
}

// lists: pages of every kind hold each name once, in byte order.
func (b *sdkBucket) lists() {
	b.clear()
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("l/%02d", i), fmt.Sprintf("l/sub%d/x", i%3))
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, k := range want {
		b.put(k, []byte(k))
	}
	var got []string
	v2 := s3.NewListObjectsV2Paginator(b.c, &s3.ListObjectsV2Input{Bucket: b.name, MaxKeys: aws.Int32(4)})
	for v2.HasMorePages() {
		page, err := v2.NextPage(b.Context())
		ok(b, err)
		for _, o := range page.Contents {
			got = append(got, *o.Key)
		}
	}
	if !slices.Equal(got, want) {
		b.Fatalf("listed %q\nwant %q", got, want)
	}
	got = nil
	for marker := aws.String(""); ; {
		page, err := b.c.ListObjects(b.Context(), &s3.ListObjectsInput{Bucket: b.name, MaxKeys: aws.Int32(3), Marker: marker, EncodingType: types.EncodingTypeUrl})
		ok(b, err)
		for _, o := range page.Contents {
			got = append(got, strings.ReplaceAll(*o.Key, "%2F", "/"))
		}
		if !*page.IsTruncated {
			break
		}
		marker = &got[len(got)-1]
	}
	if !slices.Equal(got, want) {
		b.Fatalf("version 1 listed %q\nwant %q", got, want)
	}
	page, err := b.c.ListObjectsV2(b.Context(), &s3.ListObjectsV2Input{Bucket: b.name, Prefix: aws.String("l/"), Delimiter: aws.String("/"), StartAfter: aws.String("l/20")})
	ok(b, err)
	if len(page.Contents) != 4 || len(page.CommonPrefixes) != 3 || *page.KeyCount != 7 {
		b.Fatalf("with a delimiter: %d keys, %d prefixes, count %d", len(page.Contents), len(page.CommonPrefixes), *page.KeyCount)
	}
	versions, err := b.c.ListObjectVersions(b.Context(), &s3.ListObjectVersionsInput{Bucket: b.name, Prefix: aws.String("l/0")})
	ok(b, err)
	if len(versions.Versions) != 10 || *versions.Versions[0].VersionId != "null" {
		b.Fatalf("versions: %v", versions.Versions)
	}
}

// multipart: by the SDK's uploader from a stream, and by hand.
func (b *sdkBucket) multipart() {
	want := content{4, 17<<20 + 5}
	up := manager.NewUploader(b.c, func(u *manager.Uploader) { u.PartSize = 5 << 20 })
	_, err := up.Upload(b.Context(), &s3.PutObjectInput{Bucket: b.name, Key: aws.String("m/stream"), Body: want.reader()})
	ok(b, err)
	buf := manager.NewWriteAtBuffer(nil)
	_, err = manager.NewDownloader(b.c, func(d *manager.Downloader) { d.PartSize = 3 << 20 }).Download(b.Context(), buf, &s3.GetObjectInput{Bucket: b.name, Key: aws.String("m/stream")})
	ok(b, err)
	if !bytes.Equal(buf.Bytes(), want.bytes()) {
		b.Fatal("the multipart object came back different")
	}
	key := aws.String("m/hand")
	made, err := b.c.CreateMultipartUpload(b.Context(), &s3.CreateMultipartUploadInput{Bucket: b.name, Key: key})
	ok(b, err)
	part, err := b.c.UploadPart(b.Context(), &s3.UploadPartInput{Bucket: b.name, Key: key, UploadId: made.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(want.bytes()[:5<<20])})
	ok(b, err)
	copied, err := b.c.UploadPartCopy(b.Context(), &s3.UploadPartCopyInput{Bucket: b.name, Key: key, UploadId: made.UploadId, PartNumber: aws.Int32(10000),
		CopySource: aws.String(*b.name + "/m/stream"), CopySourceRange: aws.String("bytes=7-106")})
	ok(b, err)
	listed, err := b.c.ListParts(b.Context(), &s3.ListPartsInput{Bucket: b.name, Key: key, UploadId: made.UploadId})
	ok(b, err)
	if len(listed.Parts) != 2 || *listed.Parts[1].Size != 100 {
		b.Fatalf("parts: %v", listed.Parts)
	}
	done := &s3.CompleteMultipartUploadInput{Bucket: b.name, Key: key, UploadId: made.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{
		{PartNumber: aws.Int32(1), ETag: part.ETag}, {PartNumber: aws.Int32(10000), ETag: copied.CopyPartResult.ETag},
	}}}
	_, err = b.c.CompleteMultipartUpload(b.Context(), done)
	ok(b, err)
	_, err = b.c.CompleteMultipartUpload(b.Context(), done) // a retry whose first answer was lost
	ok(b, err)
	if got := b.get("m/hand"); !bytes.Equal(got, append(want.bytes()[:5<<20], want.bytes()[7:107]...)) {
		b.Fatal("the object of parts is wrong")
	}
	gone, err := b.c.CreateMultipartUpload(b.Context(), &s3.CreateMultipartUploadInput{Bucket: b.name, Key: key})
	ok(b, err)
	uploads, err := b.c.ListMultipartUploads(b.Context(), &s3.ListMultipartUploadsInput{Bucket: b.name})
	ok(b, err)
	if len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *gone.UploadId {
		b.Fatalf("uploads: %v", uploads.Uploads)
	}
	_, err = b.c.AbortMultipartUpload(b.Context(), &s3.AbortMultipartUploadInput{Bucket: b.name, Key: key, UploadId: gone.UploadId})
	ok(b, err)
	_, err = b.c.ListParts(b.Context(), &s3.ListPartsInput{Bucket: b.name, Key: key, UploadId: gone.UploadId})
	wantCode(b, err, "NoSuchUpload")
}

func (b *sdkBucket) tags() {
	b.put("tagged", []byte("x"))
	set := []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}, {Key: aws.String("ü"), Value: aws.String("x y")}}
	_, err := b.c.PutObjectTagging(b.Context(), &s3.PutObjectTaggingInput{Bucket: b.name, Key: aws.String("tagged"), Tagging: &types.Tagging{TagSet: set}})
	ok(b, err)
	got, err := b.c.GetObjectTagging(b.Context(), &s3.GetObjectTaggingInput{Bucket: b.name, Key: aws.String("tagged")})
	ok(b, err)
	if len(got.TagSet) != 2 || *got.TagSet[1].Value != "x y" {
		b.Fatalf("tags: %v", got.TagSet)
	}
}

// presigned URLs, used by a client that knows nothing of S3.
func (b *sdkBucket) presigned() {
	p := s3.NewPresignClient(b.c)
	key := aws.String("pre signed/ü")
	put, err := p.PresignPutObject(b.Context(), &s3.PutObjectInput{Bucket: b.name, Key: key}, s3.WithPresignExpires(time.Minute))
	ok(b, err)
	get, err := p.PresignGetObject(b.Context(), &s3.GetObjectInput{Bucket: b.name, Key: key, ResponseContentType: aws.String("text/x-over")}, s3.WithPresignExpires(time.Minute))
	ok(b, err)
	plain := b.c.Options().HTTPClient
	do := func(method, url, body string, want int) *http.Response {
		b.Helper()
		req, err := http.NewRequestWithContext(b.Context(), method, url, strings.NewReader(body))
		ok(b, err)
		resp, err := plain.Do(req)
		ok(b, err)
		text, err := io.ReadAll(resp.Body)
		ok(b, errors.Join(err, resp.Body.Close()))
		if resp.StatusCode != want {
			b.Fatalf("%s %s: %s\n%s", method, url, resp.Status, text)
		}
		if method == "GET" && want == 200 && string(text) != "presigned" {
			b.Fatalf("presigned GET: %q", text)
		}
		return resp
	}
	do("PUT", put.URL, "presigned", 200)
	if ct := do("GET", get.URL, "", 200).Header.Get("Content-Type"); ct != "text/x-over" {
		b.Fatalf("response-content-type: %q", ct)
	}
	do("PUT", get.URL, "x", 403)
	do("GET", strings.Replace(get.URL, "X-Amz-Expires=60", "X-Amz-Expires=61", 1), "", 403)
}

// clear deletes everything with DeleteObjects.
func (b *sdkBucket) clear() {
	for {
		page, err := b.c.ListObjectsV2(b.Context(), &s3.ListObjectsV2Input{Bucket: b.name})
		ok(b, err)
		if len(page.Contents) == 0 {
			return
		}
		var ids []types.ObjectIdentifier
		for _, o := range page.Contents {
			ids = append(ids, types.ObjectIdentifier{Key: o.Key})
		}
		out, err := b.c.DeleteObjects(b.Context(), &s3.DeleteObjectsInput{Bucket: b.name, Delete: &types.Delete{Objects: ids}})
		ok(b, err)
		if len(out.Errors) != 0 || len(out.Deleted) != len(ids) {
			b.Fatalf("DeleteObjects of %d: %d deleted, errors %v", len(ids), len(out.Deleted), out.Errors)
		}
	}
}

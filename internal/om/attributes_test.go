package om_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/om"
)

// TestAttributes: what a row carries beside names and bytes is small and can be
// shown, whether the gateway sends it or a caller of the API.
func TestAttributes(t *testing.T) {
	pairs := func(n int) (out []*o3v1.Pair) {
		for i := range n {
			out = append(out, &o3v1.Pair{Name: fmt.Sprintf("n%d", i), Value: "v"})
		}
		return out
	}
	key := func(change func(*o3v1.CommitKeyRequest)) proto.Message {
		r := &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "x", Etag: "e"}
		change(r)
		return r
	}
	long := strings.Repeat("é", 257)
	var grants []*o3v1.Grant
	for i := range 1001 {
		grants = append(grants, &o3v1.Grant{Grantee: fmt.Sprintf("u%d", i), Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ}})
	}
	for _, c := range []struct {
		req  proto.Message
		want string // a part of the error; "": none
	}{
		{key(func(r *o3v1.CommitKeyRequest) { r.Tags = pairs(50) }), ""},
		{key(func(r *o3v1.CommitKeyRequest) { r.Tags = pairs(51) }), "51 tags, at most 50"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Tags = append(pairs(2), pairs(1)...) }), "tag n0: is given twice"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Tags = []*o3v1.Pair{{Value: "v"}} }), "a name has 0 characters"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Tags = []*o3v1.Pair{{Name: long[:2*129]}} }), "a name has 129 characters"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Tags = []*o3v1.Pair{{Name: long[:2*128], Value: long[:2*256]}} }), ""},
		{key(func(r *o3v1.CommitKeyRequest) { r.Tags = []*o3v1.Pair{{Name: "n", Value: long}} }), "more than 256 characters"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Etag = "a\r\nb" }), "etag"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Etag = `"quoted"` }), "etag"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Etag = strings.Repeat("e", 129) }), "etag"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Checksum = &o3v1.Checksum{Value: make([]byte, 65)} }), "checksum"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Headers = &o3v1.Headers{ContentType: "text/plain; x=\té"} }), ""},
		{key(func(r *o3v1.CommitKeyRequest) { r.Headers = &o3v1.Headers{Expires: "a\nb"} }), "header expires: may not hold control"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Headers = &o3v1.Headers{CacheControl: strings.Repeat("x", 8<<10+1)} }), "8193 bytes"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Headers = &o3v1.Headers{User: []*o3v1.Pair{{Name: "a:b"}}} }), "user metadata"},
		{key(func(r *o3v1.CommitKeyRequest) { r.Headers = &o3v1.Headers{User: []*o3v1.Pair{{Name: ""}}} }), "user metadata"},
		{key(func(r *o3v1.CommitKeyRequest) {
			r.Headers = &o3v1.Headers{User: []*o3v1.Pair{{Name: "n", Value: "\x7f"}}}
		}), "user metadata n"},
		{&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k", SetTags: true, Tags: pairs(51)}, "51 tags"},
		{&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k", Owner: proto.String("")}, "user name"},
		{&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "flat", Key: "u", Tags: pairs(51)}, "51 tags"},
		{&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "flat", Key: "u", ChecksumType: strings.Repeat("c", 65)}, "checksum"},
		{&o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "tree", Path: "d", Headers: &o3v1.Headers{ContentType: "\x00"}}, "content_type"},
		{&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "new", Tags: pairs(51)}, "51 tags"},
		{&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "new", Owner: "no body"}, `user name "no body"`},
		{&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k", SetGrants: true, Grants: grants}, "1001 grants"},
		{&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "flat", Key: "k", SetGrants: true, Grants: grants[1:]}, ""},
		{&o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "flat", SetGrants: true, Grants: grants}, ""},
		{&o3v1.CreateVolumeRequest{Volume: "new", Owner: "@users"}, "user name"},
		{&o3v1.UpdateVolumeRequest{Volume: "s3v", Owner: proto.String("")}, "user name"},
		{&o3v1.CreateAccessKeyRequest{User: "owner", Description: strings.Repeat("d", 1025)}, "1025 bytes"},
	} {
		n := newNode(t, om.Options{})
		before := n.log.applied
		err := n.call(as("root"), proto.Clone(c.req))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%T: %v", c.req, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || errs.KindOf(err) != errs.Invalid && errs.KindOf(err) != errs.TooLarge):
			t.Errorf("%T: %v, want %q", c.req, err, c.want)
		case c.want != "" && n.log.applied != before:
			t.Errorf("%T was proposed, then refused", c.req)
		}
	}
}

package app

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/audit"
	"o3/internal/errs"
)

// TestAuditDetails: the lines of changes say what was touched beside the
// resource, and never a secret.
func TestAuditDetails(t *testing.T) {
	t.Parallel()
	s := start(t, settings{})
	ctx := t.Context()
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.bucket("photos", "FILE_SYSTEM_OPTIMIZED")
	for _, key := range []string{"a", "b", "c", "full/x", "old"} {
		s.must("PUT", "/photos/"+key, []byte("1"))
	}
	s.multiDelete("a", "b&amp;", "full/x if 0123")
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("many/%04d", i))
	}
	s.multiDelete(many...)
	s.must("PUT", "/photos/copy", nil, header("X-Amz-Copy-Source", "/photos/c"))
	s.must("PUT", "/photos?tagging=", []byte("<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>"))
	s.putRules("photos", `<Rule><ID>old</ID><Prefix>tmp/</Prefix><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule>`)

	_, err := s.om.DeleteKeys(ctx, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "photos", MustExist: true, Keys: []*o3v1.DeleteKey{{Key: "b"}, {Key: "nope"}}})
	done(err)
	_, err = s.om.RenameKey(ctx, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "photos", From: "old", To: "new", Overwrite: true})
	done(err)
	_, err = s.om.RenameKey(ctx, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "photos", From: "gone", To: "new"})
	kind(t, err, errs.NoSuchKey)
	_, err = s.om.CopyKey(ctx, &o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "photos", FromKey: "c", Volume: "s3v", Bucket: "photos", Key: "d"})
	done(err)
	quota := uint64(1 << 30)
	_, err = s.om.UpdateBucket(ctx, &o3v1.UpdateBucketRequest{
		Volume: "s3v", Bucket: "photos", QuotaBytes: &quota, SetTags: true, SetGrants: true,
		Grants: []*o3v1.Grant{{Grantee: "*", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ, o3v1.Permission_PERMISSION_LIST}}},
	})
	done(err)
	done(s.abortUploads("photos"))
	_, err = s.om.CreateUser(ctx, &o3v1.CreateUserRequest{User: "ann", Role: "user"})
	done(err)
	made, err := s.om.CreateAccessKey(ctx, &o3v1.CreateAccessKeyRequest{User: "ann", Description: "laptop"})
	done(err)
	const secret = "a-secret-of-enough-letters"
	_, err = s.om.CreateAccessKey(ctx, &o3v1.CreateAccessKeyRequest{User: "ann", Id: "ANNSKEY", Secret: secret})
	done(err)
	s.shut()

	got := s.auditParams(secret, made.Key.Secret)
	want := []string{
		`s3:DeleteObjects /s3v/photos keys="a" "b&" refused="full/x: PreconditionFailed"`,
		`s3:DeleteObjects /s3v/photos keys="many/0000" `,
		`s3:CopyObject /s3v/photos/copy source=/s3v/photos/c`,
		`s3:PutBucketTagging /s3v/photos tags=team=blue`,
		`s3:PutBucketLifecycleConfiguration /s3v/photos rules=old: prefix="tmp/" expire after 3d`,
		`om:DeleteKeys /s3v/photos/b and 1 more keys="b" refused="nope: no such key"`,
		`om:RenameKey /s3v/photos/old overwrite=true to=/s3v/photos/new`,
		`om:RenameKey /s3v/photos/gone to=/s3v/photos/new`,
		`om:CopyKey /s3v/photos/d source=/s3v/photos/c`,
		`om:UpdateBucket /s3v/photos grants=*:LIST,READ quotaBytes=1073741824 tags=none`,
		`om:SetLifecycle /s3v/photos rules=gone: abort uploads after 7d`,
		`om:CreateUser ann role=user`,
		`om:CreateAccessKey ann accessKey=` + made.Key.Id + ` description=laptop`,
		`om:CreateAccessKey ann accessKey=ANNSKEY`,
	}
	if len(got) != len(want) {
		t.Fatalf("have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, line := range got {
		if i == 1 { // too many to show
			var last, rest int
			tail := line[strings.LastIndex(line, `"many/`):]
			if n, err := fmt.Sscanf(tail, `"many/%d" and %d more`, &last, &rest); n != 2 || err != nil || last+1+rest != 1000 || last < 50 || !strings.HasPrefix(line, want[i]) {
				t.Errorf("%.60s… %s", line, tail)
			}
		} else if line != want[i] {
			t.Errorf("have %s\nwant %s", line, want[i])
		}
	}
}

// putRules gives a bucket a lifecycle configuration, as an S3 client does.
func (s *server) putRules(bucket, rules string) {
	s.t.Helper()
	body := []byte("<LifecycleConfiguration>" + rules + "</LifecycleConfiguration>")
	sum := md5.Sum(body)
	s.must("PUT", "/"+bucket+"?lifecycle=", body, header("Content-MD5", base64.StdEncoding.EncodeToString(sum[:])))
}

// abortUploads gives a bucket a rule through the API of the OM.
func (s *server) abortUploads(bucket string) error {
	rules := &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{{Id: "gone", Enabled: true, Filter: &o3v1.LifecycleFilter{}, AbortDays: proto.Int32(7)}}}
	_, err := s.om.SetLifecycle(s.t.Context(), &o3v1.SetLifecycleRequest{Volume: "s3v", Bucket: bucket, Configuration: rules})
	return err
}

// auditParams returns action, resource and parameters of each line that has
// parameters. None may hold a secret.
func (s *server) auditParams(secrets ...string) (out []string) {
	for _, r := range s.records(filepath.Join(s.Data, "audit", "audit.log"), audit.Query{}) {
		for _, secret := range secrets {
			for name, v := range r.Params {
				if strings.Contains(v, secret) {
					s.t.Errorf("%s: a secret is in %s", r.Action, name)
				}
			}
		}
		if len(r.Params) == 0 || r.Action == "om:CreateBucket" {
			continue
		}
		line := r.Action + " " + r.Resource
		for _, name := range slices.Sorted(maps.Keys(r.Params)) {
			line += fmt.Sprintf(" %s=%s", name, r.Params[name])
		}
		out = append(out, line)
	}
	return out
}

// multiDelete deletes keys of photos, "key if etag" on a condition.
func (s *server) multiDelete(keys ...string) {
	var b strings.Builder
	for _, k := range keys {
		k, tag, _ := strings.Cut(k, " if ")
		fmt.Fprintf(&b, "<Object><Key>%s</Key><ETag>%s</ETag></Object>", k, tag)
	}
	body := []byte("<Delete>" + b.String() + "</Delete>")
	sum := md5.Sum(body)
	s.must("POST", "/photos?delete=", body, header("Content-MD5", base64.StdEncoding.EncodeToString(sum[:])))
}

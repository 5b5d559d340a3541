package s3_test

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/s3"
	"o3/internal/s3/s3test"
)

func putRules(t *testing.T, c *awss3.Client, bucket string, rules ...types.LifecycleRule) {
	t.Helper()
	_, err := c.PutBucketLifecycleConfiguration(t.Context(), &awss3.PutBucketLifecycleConfigurationInput{
		Bucket: &bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: rules},
	})
	check(t, err)
}

func expireRule(id string, days int32, f *types.LifecycleRuleFilter) types.LifecycleRule {
	return types.LifecycleRule{ID: &id, Status: types.ExpirationStatusEnabled, Filter: f, Expiration: &types.LifecycleExpiration{Days: &days}}
}

// TestLifecycle: what the SDK puts it gets back, equal in shape and content.
func TestLifecycle(t *testing.T) {
	eachStyle(t, s3.Options{}, func(t *testing.T, c *awss3.Client, bucket string) {
		_, err := c.GetBucketLifecycleConfiguration(t.Context(), &awss3.GetBucketLifecycleConfigurationInput{Bucket: &bucket})
		wantCode(t, err, "NoSuchLifecycleConfiguration")
		old := expireRule("old shape", 1, nil)
		old.Prefix = aws.String("logs/")
		date := expireRule("date", 0, &types.LifecycleRuleFilter{Tag: &types.Tag{Key: aws.String("k"), Value: aws.String("")}})
		date.Status = types.ExpirationStatusDisabled
		date.Expiration = &types.LifecycleExpiration{Date: aws.Time(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))}
		and := expireRule("and", 365, &types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{
			Prefix: aws.String("a&b/"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}, {Key: aws.String("l"), Value: aws.String("w")}},
			ObjectSizeGreaterThan: aws.Int64(0), ObjectSizeLessThan: aws.Int64(math.MaxInt64),
		}})
		size := expireRule("size", 7, &types.LifecycleRuleFilter{ObjectSizeGreaterThan: aws.Int64(5 << 30)})
		abort := types.LifecycleRule{ID: aws.String("abort"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
			AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(3)}}
		want := []types.LifecycleRule{old, date, and, size, abort}
		putRules(t, c, bucket, want...)
		got, err := c.GetBucketLifecycleConfiguration(t.Context(), &awss3.GetBucketLifecycleConfigurationInput{Bucket: &bucket})
		check(t, err)
		if !reflect.DeepEqual(got.Rules, want) {
			t.Errorf("got  %+v\nwant %+v", got.Rules, want)
		}
		equal(t, "minimum size", got.TransitionDefaultMinimumObjectSize, types.TransitionDefaultMinimumObjectSizeAllStorageClasses128k)
		_, err = c.DeleteBucketLifecycle(t.Context(), &awss3.DeleteBucketLifecycleInput{Bucket: &bucket})
		check(t, err)
		_, err = c.GetBucketLifecycleConfiguration(t.Context(), &awss3.GetBucketLifecycleConfigurationInput{Bucket: &bucket})
		wantCode(t, err, "NoSuchLifecycleConfiguration")
	})
}

var expiration = regexp.MustCompile(`^expiry-date="([^"]+)", rule-id="([^"]+)"$`)

// wantExpiration compares x-amz-expiration with a number of days from a
// modification on; 0 days: it must not be there.
func wantExpiration(t *testing.T, what string, got *string, modified time.Time, days int, id string) {
	t.Helper()
	if days == 0 {
		if got != nil {
			t.Errorf("%s: %s", what, *got)
		}
		return
	}
	m := expiration.FindStringSubmatch(aws.ToString(got))
	if m == nil {
		t.Errorf("%s: %q", what, aws.ToString(got))
		return
	}
	at, err := http.ParseTime(m[1])
	check(t, err)
	ruleID, err := url.PathUnescape(m[2])
	check(t, err)
	if want := midnightAfter(modified, days); !at.Equal(want) || ruleID != id {
		t.Errorf("%s: expires %v by %q, want %v by %q", what, at, ruleID, want, id)
	}
}

// midnightAfter counts days on a calendar and goes on to the next midnight UTC.
func midnightAfter(from time.Time, days int) time.Time {
	t := from.UTC().AddDate(0, 0, days)
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	if midnight.Before(t) {
		midnight = midnight.AddDate(0, 0, 1)
	}
	return midnight
}

// changed returns when a key was changed last, to the millisecond.
func changed(t *testing.T, s *s3test.Service, bucket, key string) time.Time {
	t.Helper()
	ctx := access.NewContext(context.Background(), access.System)
	got, err := s.Namespace.GetKey(ctx, &o3v1.GetKeyRequest{Volume: ns.S3Volume, Bucket: bucket, Key: key})
	check(t, err)
	return time.UnixMilli(got.Key.ModifiedMs)
}

// TestExpiration: every answer about a key says when it expires and by which
// rule, in both layouts, and none says so where no rule matches.
func TestExpiration(t *testing.T) {
	for _, layout := range []ns.Layout{ns.ObjectStore, ns.FileSystem} {
		t.Run(layout.String(), func(t *testing.T) {
			s := s3test.New(t, s3.Options{InlineMax: 1 << 10, MinPartSize: 1, Layout: layout.String()}, s3test.Deps{})
			c := sdk(s, s3test.Alice, styles[0])
			bucket := aws.String("photos")
			_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: bucket})
			check(t, err)
			putRules(t, c, *bucket,
				expireRule("logs & more", 30, &types.LifecycleRuleFilter{Prefix: aws.String("logs/")}),
				expireRule("tagged", 3, &types.LifecycleRuleFilter{And: &types.LifecycleRuleAndOperator{
					Prefix: aws.String("logs/"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}}),
				expireRule("large", 5, &types.LifecycleRuleFilter{ObjectSizeGreaterThan: aws.Int64(10)}))
			for _, k := range []struct {
				key, tags string
				size      int
				days      int
				id        string
			}{
				{"logs/a", "", 5, 30, "logs & more"},
				{"logs/b", "k=v", 5, 3, "tagged"},
				{"logs/c", "k=w", 11, 5, "large"},
				{"logs/d", "", 2000, 5, "large"},
				{"other", "k=v", 10, 0, ""},
			} {
				key := &k.key
				put, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(randomBytes(k.size)), Tagging: aws.String(k.tags)})
				check(t, err)
				at := changed(t, s, *bucket, *key)
				wantExpiration(t, "put "+*key, put.Expiration, at, k.days, k.id)
				head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: bucket, Key: key})
				check(t, err)
				wantExpiration(t, "head "+*key, head.Expiration, at, k.days, k.id)
				_, got := get(t, c, &awss3.GetObjectInput{Bucket: bucket, Key: key})
				wantExpiration(t, "get "+*key, got.Expiration, at, k.days, k.id)
			}
			copied, err := c.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: bucket, Key: aws.String("logs/copy"), CopySource: aws.String("photos/other")})
			check(t, err)
			wantExpiration(t, "copy", copied.Expiration, changed(t, s, *bucket, "logs/copy"), 3, "tagged")
			id := upload(t, c, *bucket, "multi", nil)
			p := part(t, c, *bucket, "multi", id, 1, randomBytes(11), "")
			done, err := complete(t, c, *bucket, "multi", id, p)
			check(t, err)
			wantExpiration(t, "complete", done.Expiration, changed(t, s, *bucket, "multi"), 5, "large")

			// Without the configuration there is no word of it, and under a new one
			// the new word.
			_, err = c.DeleteBucketLifecycle(t.Context(), &awss3.DeleteBucketLifecycleInput{Bucket: bucket})
			check(t, err)
			head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: bucket, Key: aws.String("logs/a")})
			check(t, err)
			wantExpiration(t, "no rules", head.Expiration, time.Time{}, 0, "")
			putRules(t, c, *bucket, expireRule("new", 1, &types.LifecycleRuleFilter{}))
			head, err = c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: bucket, Key: aws.String("logs/a")})
			check(t, err)
			wantExpiration(t, "new rules", head.Expiration, changed(t, s, *bucket, "logs/a"), 1, "new")
		})
	}
}

// TestExpirationOfDirectories: a directory expires by a rule with a prefix that
// is not its own path, and by none with a size.
func TestExpirationOfDirectories(t *testing.T) {
	s := s3test.New(t, s3.Options{Layout: ns.FileSystem.String()}, s3test.Deps{})
	c := sdk(s, s3test.Alice, styles[0])
	bucket := aws.String("tree")
	_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: bucket})
	check(t, err)
	putRules(t, c, *bucket, expireRule("logs", 30, &types.LifecycleRuleFilter{Prefix: aws.String("logs/")}),
		expireRule("small", 1, &types.LifecycleRuleFilter{ObjectSizeLessThan: aws.Int64(1)}))
	for key, days := range map[string]int{"logs/": 0, "logs/2026/": 30, "other/": 0} {
		put := put(t, c, *bucket, key, nil)
		at := changed(t, s, *bucket, key)
		wantExpiration(t, "put "+key, put.Expiration, at, days, "logs")
		head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: bucket, Key: &key})
		check(t, err)
		wantExpiration(t, "head "+key, head.Expiration, at, days, "logs")
	}
}

// TestExpirationInSnapshots: what a snapshot holds does not expire.
func TestExpirationInSnapshots(t *testing.T) {
	s := s3test.New(t, s3.Options{}, s3test.Deps{})
	c := sdk(s, s3test.Alice, styles[0])
	bucket := aws.String("photos")
	_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: bucket})
	check(t, err)
	putRules(t, c, *bucket, expireRule("all", 30, &types.LifecycleRuleFilter{}))
	put(t, c, *bucket, "a", nil)
	ctx := access.NewContext(context.Background(), access.System)
	_, err = s.Namespace.CreateSnapshot(ctx, &o3v1.CreateSnapshotRequest{Volume: ns.S3Volume, Bucket: *bucket, Name: "s1"})
	check(t, err)
	head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: bucket, Key: aws.String(".snapshot/s1/a")})
	check(t, err)
	wantExpiration(t, "in the snapshot", head.Expiration, time.Time{}, 0, "")
}

// TestAbortDate: the answers about an upload say when it is aborted.
func TestAbortDate(t *testing.T) {
	s := s3test.New(t, s3.Options{}, s3test.Deps{})
	c := sdk(s, s3test.Alice, styles[0])
	bucket := aws.String("photos")
	_, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: bucket})
	check(t, err)
	putRules(t, c, *bucket, types.LifecycleRule{ID: aws.String("tidy"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("a/")},
		AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(7)}})
	ctx := access.NewContext(context.Background(), access.System)
	for key, aborted := range map[string]bool{"a/x": true, "b/x": false} {
		created, err := c.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
		check(t, err)
		row, err := s.Namespace.GetUpload(ctx, &o3v1.GetUploadRequest{Volume: ns.S3Volume, Bucket: *bucket, Key: key, UploadId: *created.UploadId})
		check(t, err)
		parts, err := c.ListParts(t.Context(), &awss3.ListPartsInput{Bucket: bucket, Key: &key, UploadId: created.UploadId})
		check(t, err)
		if !aborted {
			if created.AbortDate != nil || created.AbortRuleId != nil || parts.AbortDate != nil || parts.AbortRuleId != nil {
				t.Errorf("%s: %v, %v", key, created.AbortDate, parts.AbortDate)
			}
			continue
		}
		want := midnightAfter(time.UnixMilli(row.Upload.CreatedMs), 7)
		equal(t, "create", *created.AbortDate, want)
		equal(t, "create", *created.AbortRuleId, "tidy")
		equal(t, "list", *parts.AbortDate, want)
		equal(t, "list", *parts.AbortRuleId, "tidy")
	}
}

// TestRulesAreCheckedByTheNamespace too, for callers other than S3, which also
// gives ids to rules.
func TestRulesAreCheckedByTheNamespace(t *testing.T) {
	s := s3test.New(t, s3.Options{}, s3test.Deps{})
	ctx := access.NewContext(context.Background(), access.System)
	_, err := s.Namespace.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: ns.S3Volume, Bucket: "photos", Owner: "alice"})
	check(t, err)
	set := func(days int32) (*o3v1.SetLifecycleResponse, error) {
		return s.Namespace.SetLifecycle(ctx, &o3v1.SetLifecycleRequest{Volume: ns.S3Volume, Bucket: "photos",
			Configuration: &o3v1.LifecycleConfiguration{Rules: []*o3v1.LifecycleRule{{Enabled: true, Prefix: aws.String(""), ExpireDays: &days}}}})
	}
	if _, err := set(0); errs.KindOf(err) != errs.Invalid {
		t.Error(err)
	}
	got, err := set(1)
	check(t, err)
	if got.UpdateId == 0 || len(got.Configuration.Rules) != 1 || got.Configuration.Rules[0].Id == "" {
		t.Errorf("%+v", got)
	}
	read, err := s.Namespace.GetLifecycle(ctx, &o3v1.GetLifecycleRequest{Volume: ns.S3Volume, Bucket: "photos"})
	check(t, err)
	if read.UpdateId != got.UpdateId || read.UpdatedMs == 0 || read.Configuration.Rules[0].Id != got.Configuration.Rules[0].Id {
		t.Errorf("%+v", read)
	}
}

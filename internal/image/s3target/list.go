package s3target

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"o3/internal/errs"
)

// List implements image.Target, a page at a time.
func (t *Target) List(ctx context.Context, prefix string, each func(name string, size int64) error) error {
	in := &s3.ListObjectsV2Input{Bucket: &t.o.Place.Bucket, Prefix: aws.String(t.key(prefix))}
	for {
		rctx, cancel := t.bounded(ctx, 0)
		page, err := t.client.ListObjectsV2(rctx, in)
		cancel()
		if err != nil {
			return t.fault(ctx, "List", "", err)
		}
		for _, o := range page.Contents {
			name, ok := strings.CutPrefix(aws.ToString(o.Key), t.o.Place.Prefix)
			if !ok || !strings.HasPrefix(name, prefix) || name == lockName {
				continue
			}
			if err := each(name, aws.ToInt64(o.Size)); err != nil {
				return err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if next := aws.ToString(page.NextContinuationToken); next == "" || next == aws.ToString(in.ContinuationToken) {
			return errs.New(errs.Internal, t.String(), "the store's listing does not get ahead")
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

// Remove implements image.Target.
func (t *Target) Remove(ctx context.Context, name string) error {
	ctx, done, err := t.locked(ctx)
	if err != nil {
		return err
	}
	defer done()
	rctx, cancel := t.bounded(ctx, 0)
	defer cancel()
	_, err = t.client.DeleteObject(rctx, &s3.DeleteObjectInput{Bucket: &t.o.Place.Bucket, Key: aws.String(t.key(name))})
	if codeOf(err) == "NoSuchKey" {
		return nil
	}
	return t.fault(ctx, "Remove", t.key(name), err)
}

// Check tells whether the place can be listed: that the endpoint answers, the
// bucket is there and the keys are good.
func (t *Target) Check(ctx context.Context) error {
	_, err := t.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &t.o.Place.Bucket, Prefix: aws.String(t.key("images/")), MaxKeys: aws.Int32(1)})
	return t.fault(ctx, "Check", "", err)
}

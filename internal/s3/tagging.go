package s3

import (
	"io"
	"net/http"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/xmlapi"
)

// getBucketTagging is GetBucketTagging.
func (g *Gateway) getBucketTagging(r *request) (reply, error) {
	b, err := g.bucketInfo(r)
	if err != nil {
		return reply{}, err
	}
	if len(b.Tags) == 0 {
		return reply{}, refusal("NoSuchTagSet", codes["NoSuchTagSet"].text).with("BucketName", r.bucket)
	}
	return reply{status: http.StatusOK, document: &xmlapi.Tagging{Tags: tagsFrom(b.Tags)}}, nil
}

// putBucketTagging is PutBucketTagging.
func (g *Gateway) putBucketTagging(r *request) (reply, error) {
	tags, err := g.taggingBody(r, maxBucketTags)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, g.tagBucket(r, tags)
}

// deleteBucketTagging is DeleteBucketTagging.
func (g *Gateway) deleteBucketTagging(r *request) (reply, error) {
	return reply{status: http.StatusNoContent}, g.tagBucket(r, nil)
}

func (g *Gateway) tagBucket(r *request, tags []*o3v1.Pair) error {
	r.noteTags(tags)
	_, err := g.ns.UpdateBucket(r.ctx, &o3v1.UpdateBucketRequest{Volume: r.volume, Bucket: r.bucket, SetTags: true, Tags: tags})
	return err
}

// getObjectTagging is GetObjectTagging.
func (g *Gateway) getObjectTagging(r *request) (reply, error) {
	key, err := g.lookup(r, false)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, document: &xmlapi.Tagging{Tags: tagsFrom(key.Tags)}}, nil
}

// putObjectTagging is PutObjectTagging.
func (g *Gateway) putObjectTagging(r *request) (reply, error) {
	tags, err := g.taggingBody(r, maxObjectTags)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK}, g.tagKey(r, tags)
}

// deleteObjectTagging is DeleteObjectTagging.
func (g *Gateway) deleteObjectTagging(r *request) (reply, error) {
	return reply{status: http.StatusNoContent}, g.tagKey(r, nil)
}

func (g *Gateway) tagKey(r *request, tags []*o3v1.Pair) error {
	r.noteTags(tags)
	_, err := g.ns.UpdateKey(r.ctx, &o3v1.UpdateKeyRequest{Volume: r.volume, Bucket: r.bucket, Key: r.key, SetTags: true, Tags: tags})
	if errs.KindOf(err) == errs.IsDirectory {
		err = errs.Wrap(errs.NoSuchKey, r.key, err)
	}
	return err
}

// noteTags puts the new tags into the report of the request.
func (r *request) noteTags(tags []*o3v1.Pair) {
	text := "none"
	for i, tag := range tags {
		if i == 0 {
			text = ""
		} else {
			text += " "
		}
		text += tag.Name + "=" + tag.Value
	}
	r.details = map[string]string{"tags": text}
}

func (g *Gateway) taggingBody(r *request, max int) ([]*o3v1.Pair, error) {
	b, err := g.documentBody(r)
	if err != nil {
		return nil, err
	}
	in, err := xmlapi.DecodeTagging(b, max)
	if err != nil {
		return nil, err
	}
	return pairs(in.Tags), nil
}

// ended turns the end of a body into success.
func ended(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

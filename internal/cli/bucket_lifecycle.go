package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/xmlapi"
)

// bucketLifecycle is about the lifecycle rules of a bucket.
type bucketLifecycle struct {
	Set    bucketLifecycleSet    `cmd:"" help:"Give a bucket lifecycle rules, in the place of any it has."`
	Get    bucketLifecycleGet    `cmd:"" help:"Print the lifecycle rules of a bucket, as JSON that set takes."`
	Delete bucketLifecycleDelete `cmd:"" help:"Take the lifecycle rules of a bucket away."`
}

type bucketLifecycleSet struct {
	Path string `arg:"" help:"/volume/bucket"`
	File string `arg:"" help:"The rules, as the JSON that the AWS command line takes or as S3's XML; - is standard input."`
}

// Run sets the rules.
func (c *bucketLifecycleSet) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	rules, err := s.lifecycleRules(c.File)
	if err != nil {
		return err
	}
	r, err := o3.SetLifecycle(ctx, &o3v1.SetLifecycleRequest{Volume: p.volume, Bucket: p.bucket, Configuration: rules})
	if err != nil {
		return err
	}
	return s.done(r, "Lifecycle rules of bucket /%s/%s: %d.", p.volume, p.bucket, len(r.Configuration.GetRules()))
}

// lifecycleRules reads rules from a file.
func (s *Session) lifecycleRules(name string) (*o3v1.LifecycleConfiguration, error) {
	f, _, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := xmlapi.DecodeLifecycleText(f)
	if err == nil {
		return c, nil
	}
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return nil, errs.New(errs.Invalid, "file "+name, plain(err))
	}
	detail := e.Detail
	if e.Subject != "" {
		detail = e.Subject + ": " + detail
	}
	return nil, errs.New(e.Kind, "rules in "+name, detail)
}

type bucketLifecycleGet struct {
	Path string `arg:"" help:"/volume/bucket"`
}

// Run prints the rules.
func (c *bucketLifecycleGet) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.GetLifecycle(ctx, &o3v1.GetLifecycleRequest{Volume: p.volume, Bucket: p.bucket})
	if err != nil {
		return err
	}
	text, err := (&xmlapi.Lifecycle{Rules: r.Configuration.GetRules()}).AppendJSON(nil)
	if err != nil {
		return errs.Wrap(errs.Internal, "JSON", err)
	}
	if s.JSON {
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return errs.Wrap(errs.Internal, "JSON", err)
		}
		text = append(line.Bytes(), '\n')
	}
	_, err = s.Stdout.Write(text)
	return written(err)
}

type bucketLifecycleDelete struct {
	Path string `arg:"" help:"/volume/bucket"`
}

// Run takes the rules away.
func (c *bucketLifecycleDelete) Run(ctx context.Context, s *Session) error {
	p, o3, err := s.bucket(c.Path)
	if err != nil {
		return err
	}
	r, err := o3.DeleteLifecycle(ctx, &o3v1.DeleteLifecycleRequest{Volume: p.volume, Bucket: p.bucket})
	if err != nil {
		return err
	}
	return s.done(r, "Bucket /%s/%s has no lifecycle rules.", p.volume, p.bucket)
}

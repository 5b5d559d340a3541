package s3target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"o3/internal/errs"
)

// Open implements image.Target. A body that breaks off, or stands still, is gone
// on with where it was, as long as the object is the same.
func (t *Target) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	b := &body{ctx: ctx, t: t, key: t.key(name)}
	if err := b.connect(); err != nil {
		return nil, err
	}
	return b, nil
}

// ahead is how many bytes must come for the count of attempts to begin anew.
const ahead = 64 << 10

// body is an object that is being read.
type body struct {
	ctx  context.Context
	t    *Target
	key  string
	etag *string
	size int64
	off  int64

	conn    io.ReadCloser // nil: broken
	stop    context.CancelFunc
	failed  int   // attempts since
	at      int64 // offset of the last failure that counted from 0
	lastErr error
}

// connect asks for the rest of the object.
func (b *body) connect() error {
	in := &s3.GetObjectInput{Bucket: &b.t.o.Place.Bucket, Key: &b.key}
	if b.off > 0 {
		in.Range, in.IfMatch = aws.String(fmt.Sprintf("bytes=%d-", b.off)), b.etag
	}
	ctx, stop := context.WithCancel(b.ctx)
	wait := time.AfterFunc(time.Duration(b.t.o.Attempts)*b.t.o.Patience, stop)
	out, err := b.t.client.GetObject(ctx, in)
	wait.Stop()
	if err != nil {
		stop()
		return b.t.fault(b.ctx, "Open", b.key, err)
	}
	size := b.off + aws.ToInt64(out.ContentLength)
	if out.ContentLength == nil {
		size = -1
	}
	switch {
	case b.off == 0:
		b.size, b.etag = size, etag(out.ETag)
	case !strings.HasPrefix(aws.ToString(out.ContentRange), fmt.Sprintf("bytes %d-", b.off)) || size != b.size:
		stop()
		return errors.Join(errs.New(errs.Conflict, b.t.subject(b.key), "the store does not go on where the connection broke, or it was changed meanwhile"), out.Body.Close())
	}
	b.conn, b.stop = out.Body, stop
	return nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for {
		if b.conn == nil {
			if err := b.again(); err != nil {
				return 0, err
			}
		}
		still := time.AfterFunc(b.t.o.Patience, b.stop)
		n, err := b.conn.Read(p)
		still.Stop()
		b.off += int64(n)
		if err == io.EOF && (b.size < 0 || b.off == b.size) {
			return n, io.EOF
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			b.broke(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (b *body) broke(err error) {
	b.lastErr = err
	b.stop()
	_ = b.conn.Close() // it is broken
	b.conn = nil
	if b.off-b.at >= ahead || b.failed == 0 {
		b.failed, b.at = 0, b.off
	}
	b.failed++
}

// again connects anew, unless that was tried too often.
func (b *body) again() error {
	if b.failed >= b.t.o.Attempts || b.size < 0 {
		return b.t.fault(b.ctx, "read", b.key, &errs.Error{Kind: errs.Unavailable, Op: "s3target.read", Subject: b.t.subject(b.key),
			Detail: fmt.Sprintf("the connection broke %d times at byte %d of %d; run it again when the line is better", b.failed, b.off, b.size), Err: b.lastErr})
	}
	delay, _ := backoff{b.t.o.Pause}.BackoffDelay(b.failed-1, nil)
	wait := time.NewTimer(delay)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-b.ctx.Done():
		return b.t.fault(b.ctx, "read", b.key, b.ctx.Err())
	}
	return b.connect()
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.conn == nil {
		return nil
	}
	b.stop()
	_ = b.conn.Close() // nothing was written
	b.conn = nil
	b.failed = b.t.o.Attempts
	return nil
}

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"o3/internal/errs"
)

// maxResumes bounds how often in a row a read is taken up again without having
// moved.
const maxResumes = 5

// GetOptions says what of a key to read.
type GetOptions struct {
	Offset  int64  // first byte
	Length  int64  // bytes; 0: to the end
	IfMatch string // the ETag that the key must have
}

// Object is a key being read. Close it. It belongs to one goroutine.
type Object struct {
	Size        int64 // of the whole key, in bytes
	Length      int64 // that Read will give
	ETag        string
	ContentType string
	Modified    time.Time
	User        map[string]string // x-amz-meta-*, lower-case names

	c       *Client
	ctx     context.Context // of Get: reading goes on under it
	path    string
	what    string
	offset  int64 // of the next byte
	left    int64
	resumes int
	body    io.ReadCloser
}

// Get opens a key, or a range of it, for reading. Bytes are verified by the
// server as it reads them. If the connection is lost, Read goes on where it
// was, and only if the key is still the same (kind PreconditionFailed
// otherwise). ctx governs the reading too.
func (c *Client) Get(ctx context.Context, volume, bucket, key string, opts GetOptions) (*Object, error) {
	o := &Object{c: c, ctx: ctx, path: keyPath(volume, bucket, key), what: subject(volume, bucket, key), offset: opts.Offset}
	switch {
	case volume == "" || bucket == "" || key == "":
		return nil, errs.New(errs.Invalid, o.what, "volume, bucket and key must not be empty")
	case opts.Offset < 0 || opts.Length < 0:
		return nil, errs.New(errs.InvalidRange, o.what, fmt.Sprintf("offset %d and length %d must not be negative", opts.Offset, opts.Length))
	}
	resp, err := o.open(opts.Length, opts.IfMatch)
	if err != nil {
		return nil, err
	}
	o.body, o.Length, o.left = resp.Body, resp.ContentLength, resp.ContentLength
	o.Size, err = wholeSize(resp)
	if err != nil {
		_ = resp.Body.Close() // nothing was read of it
		return nil, errs.Wrap(errs.Internal, o.what, err)
	}
	o.ETag = strings.Trim(resp.Header.Get("Etag"), `"`)
	o.ContentType = resp.Header.Get("Content-Type")
	o.Modified, _ = http.ParseTime(resp.Header.Get("Last-Modified")) // zero where absent
	for name, v := range resp.Header {
		if rest, ok := strings.CutPrefix(name, "X-Amz-Meta-"); ok {
			if o.User == nil {
				o.User = map[string]string{}
			}
			o.User[strings.ToLower(rest)] = strings.Join(v, ",")
		}
	}
	return o, nil
}

// open asks for the bytes from o.offset on; length 0 means to the end.
func (o *Object) open(length int64, etag string) (*http.Response, error) {
	h := http.Header{}
	switch {
	case length > 0:
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", o.offset, o.offset+length-1))
	case o.offset > 0:
		h.Set("Range", fmt.Sprintf("bytes=%d-", o.offset))
	}
	if etag != "" {
		h.Set("If-Match", `"`+strings.Trim(etag, `"`)+`"`)
	}
	resp, _, err := o.c.s3(o.ctx, s3Request{name: "GetObject", method: http.MethodGet, path: o.path, header: h}, o.what)
	if err != nil {
		return nil, err
	}
	if h.Get("Range") != "" && resp.StatusCode != http.StatusPartialContent {
		_ = resp.Body.Close() // not what was asked for
		return nil, errs.New(errs.Internal, o.what, "the server ignored the range")
	}
	if resp.ContentLength < 0 {
		_ = resp.Body.Close() // not what was asked for
		return nil, errs.New(errs.Internal, o.what, "the server did not say how long the answer is")
	}
	return resp, nil
}

// wholeSize returns the size of the key that resp is (a range of).
func wholeSize(resp *http.Response) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		return resp.ContentLength, nil
	}
	_, size, ok := strings.Cut(resp.Header.Get("Content-Range"), "/")
	n, err := strconv.ParseInt(size, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("bad Content-Range %q", resp.Header.Get("Content-Range"))
	}
	return n, nil
}

// Read implements io.Reader.
func (o *Object) Read(p []byte) (int, error) {
	for {
		if o.left == 0 {
			return 0, io.EOF
		}
		n, err := o.body.Read(p)
		o.offset += int64(n)
		o.left -= int64(n)
		if n > 0 {
			o.resumes = 0
			return n, nil // an error comes again, if it matters
		}
		if err == nil {
			continue
		}
		if err := o.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume opens the rest after cause cut the connection.
func (o *Object) resume(cause error) error {
	_ = o.body.Close() // broken already
	o.body = http.NoBody
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	if err := o.ctx.Err(); err != nil {
		kind := errs.Canceled
		if errors.Is(err, context.DeadlineExceeded) {
			kind = errs.DeadlineExceeded
		}
		return errs.Wrap(kind, o.what, err)
	}
	if o.resumes++; o.resumes > maxResumes || o.c.opts.RetryFor < 0 {
		return &errs.Error{Kind: errs.Unavailable, Subject: o.what, Detail: fmt.Sprintf("the connection broke at byte %d: %v", o.offset, cause), Err: cause}
	}
	if l := o.c.opts.Listener.Retry; l != nil {
		l("GetObject", o.c.Address(), cause)
	}
	resp, err := o.open(o.left, o.ETag)
	if err != nil {
		return err
	}
	if resp.ContentLength != o.left {
		_ = resp.Body.Close() // not what was asked for
		return errs.New(errs.PreconditionFailed, o.what, "the key changed while it was read")
	}
	o.body = resp.Body
	return nil
}

// Close ends the reading.
func (o *Object) Close() error { return o.body.Close() }

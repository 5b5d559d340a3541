package client

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
)

// Limits of multipart uploads.
const (
	minPart   = 5 << 20
	maxPart   = 5 << 30
	maxParts  = 10000
	maxObject = 5 << 40
	// A body of unknown length doubles its part size every growEvery parts, up
	// to growMost: about 900 GiB with the default part size.
	growEvery = 2000
	growMost  = 256 << 20
)

// PutOptions are what a key gets besides its bytes.
type PutOptions struct {
	ContentType        string
	ContentEncoding    string
	ContentDisposition string
	CacheControl       string
	User               map[string]string // x-amz-meta-*
	Tags               map[string]string

	IfMatch  string // the ETag that the present key must have
	IfAbsent bool   // there must be no such key

	Sent func(n int64) // called when n more bytes are stored; concurrently
}

// Put writes size bytes of r as a key; with size -1, all there are. More than
// Options.PartSize is sent as a multipart upload of Options.Parallel parts at
// a time, which is aborted if Put fails. A part is held in memory until it is
// stored, so it can be sent again. Bodies that are shorter or longer than size
// are refused as Invalid, and nothing is written.
func (c *Client) Put(ctx context.Context, volume, bucket, key string, r io.Reader, size int64, opts PutOptions) (etag string, err error) {
	p := &put{c: c, opts: opts, r: r, size: size, what: subject(volume, bucket, key), path: keyPath(volume, bucket, key)}
	switch {
	case volume == "" || bucket == "" || key == "":
		return "", errs.New(errs.Invalid, p.what, "volume, bucket and key must not be empty")
	case size > maxObject:
		return "", errs.New(errs.TooLarge, p.what, fmt.Sprintf("%d bytes; a key has at most 5 TiB", size))
	}
	first, last, err := p.next(p.partSize(1))
	if err != nil {
		return "", err
	}
	if last {
		return p.whole(ctx, first)
	}
	return p.parts(ctx, first)
}

// put is one Put under way.
type put struct {
	c    *Client
	opts PutOptions
	r    io.Reader
	size int64 // -1: unknown
	read int64
	what string
	path string
	// a byte read ahead, to know whether a part is the last
	ahead    [1]byte
	hasAhead bool
}

// partSize returns the bytes of part n.
func (p *put) partSize(n int) int64 {
	size := p.c.opts.PartSize
	if p.size >= 0 {
		return max(size, (p.size+maxParts-1)/maxParts)
	}
	for range (n - 1) / growEvery {
		size = max(size, min(2*size, growMost))
	}
	return size
}

// next reads a part of up to n bytes; last says that nothing follows.
func (p *put) next(n int64) (part []byte, last bool, err error) {
	if p.size >= 0 {
		n = min(n, p.size-p.read)
	}
	if p.size >= 0 {
		part = make([]byte, 0, n)
	}
	lr := &io.LimitedReader{R: p.r, N: n}
	if p.hasAhead {
		part = append(part, p.ahead[0])
		lr.N--
	}
	part, err = appendAll(part, lr)
	if err != nil {
		return nil, false, errs.Wrap(errs.Invalid, p.what+": reading the bytes to put", err)
	}
	p.read += int64(len(part))
	more, err := io.ReadFull(p.r, p.ahead[:])
	p.hasAhead = more == 1
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, errs.Wrap(errs.Invalid, p.what+": reading the bytes to put", err)
	}
	switch {
	case p.size >= 0 && !p.hasAhead && p.read < p.size:
		return nil, false, errs.New(errs.Invalid, p.what, fmt.Sprintf("the body ended after %d bytes; %d were announced", p.read, p.size))
	case p.size >= 0 && p.hasAhead && p.read == p.size:
		return nil, false, errs.New(errs.Invalid, p.what, fmt.Sprintf("the body is longer than the %d bytes announced", p.size))
	}
	return part, !p.hasAhead, nil
}

// appendAll reads r to its end behind b.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			var one [1]byte
			n, err := r.Read(one[:]) // at the end of a full buffer, do not grow it
			b = append(b, one[:n]...)
			if errors.Is(err, io.EOF) {
				return b, nil
			}
			if err != nil {
				return b, err
			}
			continue
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// header returns the headers that describe the key.
func (p *put) header() http.Header {
	h := http.Header{}
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	set("Content-Type", p.opts.ContentType)
	set("Content-Encoding", p.opts.ContentEncoding)
	set("Content-Disposition", p.opts.ContentDisposition)
	set("Cache-Control", p.opts.CacheControl)
	for name, value := range p.opts.User {
		h.Set("X-Amz-Meta-"+name, value)
	}
	if len(p.opts.Tags) > 0 {
		tags := url.Values{}
		for name, value := range p.opts.Tags {
			tags.Set(name, value)
		}
		h.Set("X-Amz-Tagging", tags.Encode())
	}
	return h
}

// condition adds the preconditions to h.
func (p *put) condition(h http.Header) http.Header {
	if p.opts.IfAbsent {
		h.Set("If-None-Match", "*")
	}
	if p.opts.IfMatch != "" {
		h.Set("If-Match", `"`+strings.Trim(p.opts.IfMatch, `"`)+`"`)
	}
	return h
}

func (p *put) sent(n int) {
	if p.opts.Sent != nil {
		p.opts.Sent(int64(n))
	}
}

// whole stores the body in one request.
func (p *put) whole(ctx context.Context, body []byte) (string, error) {
	sum := md5.Sum(body)
	resp, unsure, err := p.c.s3(ctx, s3Request{name: "PutObject", method: http.MethodPut, path: p.path, header: p.condition(p.header()), body: body}, p.what)
	if err != nil {
		if etag := hex.EncodeToString(sum[:]); unsure && p.landed(ctx, err, etag) {
			p.sent(len(body))
			return etag, nil
		}
		return "", err
	}
	defer drop(resp)
	p.sent(len(body))
	return strings.Trim(resp.Header.Get("Etag"), `"`), nil
}

// landed reports whether an earlier attempt, whose answer was lost, is why a
// later one was refused: the key is there with our bytes.
func (p *put) landed(ctx context.Context, err error, etag string) bool {
	switch errs.KindOf(err) {
	case errs.PreconditionFailed, errs.Conflict, errs.NoSuchUpload, errs.KeyExists:
	default:
		return false
	}
	resp, _, err := p.c.s3(ctx, s3Request{name: "HeadObject", method: http.MethodHead, path: p.path}, p.what)
	if err != nil {
		return false
	}
	defer drop(resp)
	return strings.Trim(resp.Header.Get("Etag"), `"`) == etag
}

type donePart struct {
	PartNumber int
	ETag       string
	sum        [md5.Size]byte
}

// parts stores the body as a multipart upload.
func (p *put) parts(ctx context.Context, first []byte) (string, error) {
	resp, _, err := p.c.s3(ctx, s3Request{name: "CreateMultipartUpload", method: http.MethodPost, path: p.path, query: url.Values{"uploads": {""}}, header: p.header()}, p.what)
	if err != nil {
		return "", err
	}
	var created struct{ UploadId string }
	if err := readXML(resp, &created); err != nil || created.UploadId == "" {
		return "", errs.Wrap(errs.Internal, p.what+": no upload id in the answer", err)
	}
	etag, err := p.upload(ctx, created.UploadId, first)
	if err != nil {
		p.abort(ctx, created.UploadId)
		return "", err
	}
	return etag, nil
}

// abort drops the upload, even when ctx has ended; what it leaves behind the
// server expires.
func (p *put) abort(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	resp, _, err := p.c.s3(ctx, s3Request{name: "AbortMultipartUpload", method: http.MethodDelete, path: p.path, query: url.Values{"uploadId": {id}}}, p.what)
	if err == nil {
		drop(resp)
	}
}

func (p *put) upload(ctx context.Context, id string, part []byte) (string, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.c.opts.Parallel)
	var mu sync.Mutex
	var done []donePart
	last := false
	for n := 1; ; n++ {
		if n > maxParts {
			_ = g.Wait() // the reason is known
			return "", errs.New(errs.TooLarge, p.what, "the body has more bytes than 10,000 parts hold; give its size")
		}
		mu.Lock()
		done = append(done, donePart{PartNumber: n})
		mu.Unlock()
		body := part
		g.Go(func() error { // waits while Options.Parallel parts are in flight
			d, err := p.part(gctx, id, n, body)
			mu.Lock()
			defer mu.Unlock()
			done[n-1] = d
			return err
		})
		if last || gctx.Err() != nil {
			break
		}
		var err error
		if part, last, err = p.next(p.partSize(n + 1)); err != nil {
			_ = g.Wait() // the reason is known
			return "", err
		}
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	return p.complete(ctx, id, done)
}

func (p *put) part(ctx context.Context, id string, n int, body []byte) (donePart, error) {
	resp, _, err := p.c.s3(ctx, s3Request{
		name: "UploadPart", method: http.MethodPut, path: p.path, body: body,
		query: url.Values{"uploadId": {id}, "partNumber": {strconv.Itoa(n)}},
	}, p.what)
	if err != nil {
		return donePart{}, err
	}
	defer drop(resp)
	p.sent(len(body))
	return donePart{n, resp.Header.Get("Etag"), md5.Sum(body)}, nil
}

func (p *put) complete(ctx context.Context, id string, parts []donePart) (string, error) {
	all := md5.New()
	for _, d := range parts {
		all.Write(d.sum[:])
	}
	want := fmt.Sprintf("%s-%d", hex.EncodeToString(all.Sum(nil)), len(parts))
	doc, err := xml.Marshal(struct {
		XMLName xml.Name   `xml:"CompleteMultipartUpload"`
		Part    []donePart `xml:"Part"`
	}{Part: parts})
	if err != nil {
		return "", errs.Wrap(errs.Internal, p.what, err)
	}
	resp, unsure, err := p.c.s3(ctx, s3Request{
		name: "CompleteMultipartUpload", method: http.MethodPost, path: p.path, body: doc,
		query: url.Values{"uploadId": {id}}, header: p.condition(http.Header{"Content-Type": {"application/xml"}}),
	}, p.what)
	var answer struct{ ETag string }
	if err == nil {
		if err = readXML(resp, &answer); err == nil {
			return strings.Trim(answer.ETag, `"`), nil
		}
		unsure = true
	}
	if unsure && p.landed(ctx, err, want) {
		return want, nil
	}
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return "", &errs.Error{Kind: e.Kind, Subject: p.what, Detail: e.Detail, Err: e.Err}
	}
	return "", errs.Wrap(errs.Unavailable, p.what, err)
}

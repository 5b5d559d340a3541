package s3

import (
	"net/http"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/s3/checksum"
)

// putObject is PutObject.
func (g *Gateway) putObject(r *request) (reply, error) {
	h := r.Request.Header
	headers, err := contentHeaders(h)
	if err != nil {
		return reply{}, err
	}
	tags, err := tagsOf(h)
	if err != nil {
		return reply{}, err
	}
	cond, err := writeConditions(h)
	if err != nil {
		return reply{}, err
	}
	if err := r.checkLength(); err != nil {
		return reply{}, err
	}
	b, err := g.openBody(r, maxPutSize, checksum.None)
	if err != nil {
		return reply{}, err
	}
	if err := g.beforeBody(r, b.size, cond); err != nil {
		return reply{}, err
	}
	var session uint64
	s, err := g.receive(r, b, func() error {
		got, err := g.ns.OpenKey(r.ctx, &o3v1.OpenKeyRequest{
			Volume: r.volume, Bucket: r.bucket, Key: r.key, ExpectedSize: uint64(max(b.size, 0)),
		})
		session = got.GetSession()
		return err
	})
	if err != nil {
		g.abandon(r, session)
		return reply{}, err
	}
	ctx, cancel := r.committing()
	defer cancel()
	got, err := g.ns.CommitKey(ctx, &o3v1.CommitKeyRequest{
		Volume: r.volume, Bucket: r.bucket, Key: r.key,
		Size: uint64(s.result.Size), Etag: s.result.ETag(), Extents: s.extents, Data: s.data,
		Headers: headers, Tags: tags, Checksum: s.checksum(), If: cond, Session: session, DataMs: s.begun,
	})
	if err != nil {
		g.dropRefused(r, s, err)
		if outcomeKnown(errs.KindOf(err)) {
			g.abandon(r, session)
		}
		return reply{}, err
	}
	r.set("Etag", quoted(etagOf(got.Key)))
	r.setChecksum(got.Key.Checksum)
	r.setExpiration(got.Key)
	return reply{status: http.StatusOK}, nil
}

// beforeBody finds out early what would refuse a write, where a body may be
// large or the client waits to be told to send it.
func (g *Gateway) beforeBody(r *request, size int64, cond *o3v1.Preconditions) error {
	waits := strings.EqualFold(r.Request.Header.Get("Expect"), "100-continue")
	if !waits && size >= 0 && size <= g.opts.InlineMax {
		return nil
	}
	if cond != nil {
		return g.foreseen(r, cond)
	}
	if !waits || size > g.opts.OpenAbove {
		return nil // OpenKey tells, or it is small
	}
	_, err := g.ns.GetBucket(r.ctx, &o3v1.GetBucketRequest{Volume: r.volume, Bucket: r.bucket})
	if errs.KindOf(err) == errs.Denied {
		return nil // who may write need not be allowed to read
	}
	return err
}

// abandon closes the session of a write that failed. What it cannot close
// expires.
func (g *Gateway) abandon(r *request, session uint64) {
	if session == 0 {
		return
	}
	ctx, cancel := r.afterwards()
	defer cancel()
	_, _ = g.ns.AbandonKey(ctx, &o3v1.AbandonKeyRequest{Volume: r.volume, Bucket: r.bucket, Key: r.key, Session: session})
}

// lookup returns a key as S3 sees it: a directory is there when it was made,
// not because something is below it, and its name ends in "/". What cannot be a
// name below .snapshot/ is not there, so that clients may ask what is.
func (g *Gateway) lookup(r *request, withData bool) (*o3v1.KeyInfo, error) {
	got, err := g.ns.GetKey(r.ctx, &o3v1.GetKeyRequest{Volume: r.volume, Bucket: r.bucket, Key: r.key, WithData: withData})
	switch {
	case errs.KindOf(err) == errs.IsDirectory:
		return nil, errs.Wrap(errs.NoSuchKey, r.key, err)
	case errs.KindOf(err) == errs.Invalid && belowSnapshots(r.key):
		return nil, errs.Wrap(errs.NoSuchKey, r.key, err)
	case err != nil:
		return nil, err
	}
	directory := got.Key.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY
	if got.Key.Implicit || directory && !strings.HasSuffix(r.key, "/") {
		return nil, errs.New(errs.NoSuchKey, r.key, "")
	}
	return got.Key, nil
}

// getObject is GetObject.
func (g *Gateway) getObject(r *request) (reply, error) {
	end := g.opts.Reading()
	rep, err := g.openObject(r)
	if err != nil || rep.close == nil {
		end()
		return rep, err
	}
	free := rep.close
	rep.close = func() {
		free()
		end()
	}
	return rep, nil
}

func (g *Gateway) openObject(r *request) (reply, error) {
	rep, err := g.readObject(r, true)
	if !r.described || errs.KindOf(err) != errs.NoSuchKey {
		return rep, err
	}
	// A block vanished between the lookup and the read: the key was replaced
	// or deleted, or its bytes are lost. A second look tells.
	r.clear(0)
	r.described = false
	rep, err = g.readObject(r, true)
	if r.described && errs.KindOf(err) == errs.NoSuchKey {
		err = errs.Wrap(errs.Corrupt, r.key, err)
	}
	return rep, err
}

// headObject is HeadObject.
func (g *Gateway) headObject(r *request) (reply, error) { return g.readObject(r, false) }

// readObject answers GET and HEAD. What fails once the key is described is the
// block store's.
func (g *Gateway) readObject(r *request, withData bool) (reply, error) {
	key, err := g.lookup(r, withData)
	if err != nil {
		return reply{}, err
	}
	r.describe(key)
	h := r.Request.Header
	if err := readConditions(h).check(etagOf(key), modified(key)); err != nil {
		return reply{}, err
	}
	r.override()
	s, err := r.spanOf(key)
	if err != nil {
		return reply{}, err
	}
	status := http.StatusOK
	if s.partial {
		status = http.StatusPartialContent
		r.set("Content-Range", s.contentRange(int64(key.Size)))
	} else if h["X-Amz-Checksum-Mode"] != nil {
		r.setChecksum(key.Checksum)
	}
	if !withData {
		r.set("Content-Length", strconv.FormatInt(s.length, 10))
		return reply{status: status}, nil
	}
	return g.send(r, key, s, status)
}

// spanOf returns what part of a key a read asks for.
func (r *request) spanOf(key *o3v1.KeyInfo) (span, error) {
	size := int64(key.Size)
	rangeHeader, err := once(r.Request.Header, "Range")
	if err != nil {
		return span{}, err
	}
	if number, given := r.query.lookup("partNumber"); given {
		n, err := r.query.number("partNumber", 0, 1, maxPartNumber, false)
		if err != nil || number == "" {
			return span{}, argument("partNumber", number, "Part number must be an integer between 1 and 10000, inclusive")
		}
		if rangeHeader != "" {
			return span{}, refusal("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
		}
		s, parts, err := partSpan(key, n)
		if parts > 0 {
			r.set("X-Amz-Mp-Parts-Count", strconv.Itoa(parts))
		}
		return s, err
	}
	if rangeHeader == "" || !rangeHolds(list(r.Request.Header["If-Range"]), key) {
		return span{0, size, false}, nil
	}
	s, err := parseRange(rangeHeader, size)
	if answerCode(err) == "InvalidRange" {
		r.set("Content-Range", "bytes */"+itoa(size))
	}
	return s, err
}

func answerCode(err error) string {
	if e, ok := err.(coded); ok {
		return e.AWSCode()
	}
	return ""
}

// rangeHolds evaluates If-Range: the range is honoured only if the key is the
// one the client has the rest of.
func rangeHolds(value string, key *o3v1.KeyInfo) bool {
	if value == "" {
		return true
	}
	if at, err := http.ParseTime(value); err == nil {
		return modified(key).Truncate(1e9).Equal(at)
	}
	return value != "*" && etagIn(value, etagOf(key), false)
}

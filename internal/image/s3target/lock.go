package s3target

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"o3/internal/errs"
)

// lockName is the object that whoever changes the place holds. It is made only
// where there is none (If-None-Match: *) and replaced only as it was seen
// (If-Match); its age is told by the clock of the store alone.
const lockName = "LOCK"

// The holder renews the lock each Renew. After lostAfter of them without success
// it does no more there, and cuts off what it does; after freeAfter of them by the
// store's clock anybody may take the lock; before that who is Alone under the
// holder's name.
const (
	lostAfter = 3
	freeAfter = 6
)

// holder is what the object says.
type holder struct {
	Format int    `json:"format"`
	Owner  string `json:"owner"`
	Nonce  string `json:"nonce"`
	Renew  int    `json:"renewal"`
}

// lock is the lock while it is held.
type lock struct {
	t     *Target
	ctx   context.Context // ends when the lock is lost
	lose  context.CancelCauseFunc
	ended chan struct{}
	stop  context.CancelFunc // of renewing

	me   holder  // of renew only, once it runs
	etag *string // likewise
	once sync.Once
	err  error
}

// errUnconditional tells that a store cannot do a lock.
func (t *Target) errUnconditional(err error) error {
	return &errs.Error{Kind: errs.NotImplemented, Op: "s3target.Lock", Subject: t.String(), Err: err,
		Detail: "the store does not do writes with conditions (If-None-Match, If-Match), by which exports keep apart; where nobody else exports or prunes, say so with lock=off in the URL"}
}

// Lock keeps others from exporting to the place, or pruning it, until it is
// closed. Uploads that an export left which was cut off are dropped. Kinds:
// Conflict (another holds it), NotImplemented (the store cannot).
func (t *Target) Lock(ctx context.Context) (io.Closer, error) {
	if t.o.Place.Unlocked {
		return io.NopCloser(nil), nil
	}
	l := &lock{t: t, ended: make(chan struct{}), me: holder{Format: 1, Owner: t.o.Owner, Nonce: rand.Text()}}
	began := time.Now()
	if err := l.take(ctx); err != nil {
		return nil, err
	}
	if err := l.probe(ctx); err != nil {
		return nil, err
	}
	l.ctx, l.lose = context.WithCancelCause(context.Background())
	var rctx context.Context
	rctx, l.stop = context.WithCancel(context.Background())
	t.mu.Lock()
	t.held = l
	t.mu.Unlock()
	go l.renew(rctx, began)
	t.sweep(ctx)
	return l, nil
}

// put writes the object under a condition.
func (l *lock) put(ctx context.Context, match *string) (err error) {
	l.me.Renew++
	raw, err := json.Marshal(l.me)
	if err != nil {
		return err
	}
	in := &s3.PutObjectInput{Bucket: &l.t.o.Place.Bucket, Key: aws.String(l.t.key(lockName)), Body: bytes.NewReader(raw), IfMatch: match}
	if match == nil {
		in.IfNoneMatch = aws.String("*")
	}
	rctx, cancel := l.t.bounded(ctx, 0)
	defer cancel()
	out, err := l.t.client.PutObject(rctx, in)
	if err == nil {
		l.etag = etag(out.ETag)
	}
	return err
}

// look reads the object; age is by the store's clock.
func (l *lock) look(ctx context.Context) (h holder, tag *string, age time.Duration, err error) {
	rctx, cancel := l.t.bounded(ctx, 0)
	defer cancel()
	out, err := l.t.client.GetObject(rctx, &s3.GetObjectInput{Bucket: &l.t.o.Place.Bucket, Key: aws.String(l.t.key(lockName))})
	if err != nil {
		return h, nil, 0, err
	}
	raw, err := io.ReadAll(io.LimitReader(out.Body, 1<<16))
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return h, nil, 0, err
	}
	if json.Unmarshal(raw, &h) != nil || h.Nonce == "" {
		return h, nil, 0, errs.New(errs.FormatUnknown, l.t.subject(l.t.key(lockName)), "it is not a lock of exports; the prefix is for images only")
	}
	if now, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok && out.LastModified != nil {
		age = now.Sub(*out.LastModified)
	}
	return h, etag(out.ETag), age, nil
}

// take makes the object, or takes over one that nobody renews.
func (l *lock) take(ctx context.Context) error {
	key := l.t.key(lockName)
	for range 4 { // others come and go
		err := l.put(ctx, nil)
		if err == nil {
			return nil
		}
		if !isFailed(err) {
			if statusOf(err) == http.StatusNotImplemented {
				return l.t.errUnconditional(err)
			}
			return l.t.fault(ctx, "Lock", key, err)
		}
		h, tag, age, err := l.look(ctx)
		if codeOf(err) == "NoSuchKey" || statusOf(err) == http.StatusNotFound {
			continue
		}
		if err != nil {
			return l.t.fault(ctx, "Lock", key, err)
		}
		if h.Nonce == l.me.Nonce { // it was made; the answer was lost
			l.etag = tag
			return nil
		}
		if free := freeAfter * l.t.o.Renew; age <= free && !(l.t.o.Alone && h.Owner == l.me.Owner) {
			return &errs.Error{Kind: errs.Conflict, Op: "s3target.Lock", Subject: l.t.String(), Detail: fmt.Sprintf(
				"another export or prune works there (%s); if that was killed, it is free again in %s", h.Owner, (free - age + time.Second).Round(time.Second))}
		}
		if err = l.put(ctx, tag); err == nil {
			return nil
		}
		if !isFailed(err) {
			return l.t.fault(ctx, "Lock", key, err)
		}
	}
	return &errs.Error{Kind: errs.Conflict, Op: "s3target.Lock", Subject: l.t.String(), Detail: "others take the lock again and again; try again later"}
}

// probe shows that the store means what it says: it must refuse to make the
// object again, and to replace it as something it is not.
func (l *lock) probe(ctx context.Context) error {
	was := l.etag
	if was == nil {
		return l.t.errUnconditional(errors.New("no entity tag in the answer"))
	}
	for _, match := range []*string{nil, aws.String(`"00000000000000000000000000000000"`)} {
		err := l.put(ctx, match)
		if isFailed(err) {
			continue
		}
		if err == nil || statusOf(err) == http.StatusNotImplemented {
			err = l.t.errUnconditional(err)
		}
		rctx, cancel := l.t.bounded(context.WithoutCancel(ctx), 0)
		defer cancel()
		_, derr := l.t.client.DeleteObject(rctx, &s3.DeleteObjectInput{Bucket: &l.t.o.Place.Bucket, Key: aws.String(l.t.key(lockName))})
		return errors.Join(l.t.fault(ctx, "Lock", l.t.key(lockName), err), l.t.fault(rctx, "Lock", l.t.key(lockName), derr))
	}
	return nil
}

// renew renews the lock until ctx ends or it is lost.
func (l *lock) renew(ctx context.Context, good time.Time) {
	defer close(l.ended)
	every := l.t.o.Renew
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.AfterFunc(time.Until(good.Add(lostAfter*every)), func() { l.lost(errors.New("it could not be renewed in time")) })
	defer last.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-l.ctx.Done():
			return
		}
		began := time.Now()
		rctx, cancel := context.WithTimeout(l.ctx, every) // not cut off by closing: who knows what became of it
		err := l.put(rctx, l.etag)
		if isFailed(err) {
			var h holder
			var tag *string
			h, tag, _, err = l.look(rctx)
			switch {
			case err == nil && h.Nonce == l.me.Nonce:
				l.etag = tag // the answer was lost
			case err == nil, codeOf(err) == "NoSuchKey":
				l.lost(errors.New("somebody else took it"))
			}
		}
		cancel()
		if err == nil && last.Stop() {
			last.Reset(time.Until(began.Add(lostAfter * every)))
		}
	}
}

func (l *lock) lost(why error) {
	l.lose(&errs.Error{Kind: errs.Conflict, Op: "s3target.Lock", Subject: l.t.String(), Detail: "the lock was lost, so nothing more is changed there; run it again", Err: why})
}

// Close gives the lock back. It may be called twice.
func (l *lock) Close() error {
	l.once.Do(func() {
		l.stop()
		<-l.ended
		l.t.mu.Lock()
		l.t.held = nil
		l.t.mu.Unlock()
		defer l.lose(nil)
		if l.ctx.Err() != nil {
			l.err = context.Cause(l.ctx)
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, lostAfter*l.t.o.Renew)
		defer cancel()
		err := l.remove(ctx)
		if isFailed(err) { // by another, or by a renewal whose answer was lost
			if h, tag, _, lerr := l.look(ctx); lerr == nil && h.Nonce == l.me.Nonce {
				l.etag = tag
				err = l.remove(ctx)
			}
		}
		if err != nil && !isFailed(err) && codeOf(err) != "NoSuchKey" {
			l.err = l.t.fault(ctx, "Lock", l.t.key(lockName), err)
		}
	})
	return l.err
}

// remove removes the object as it was last written.
func (l *lock) remove(ctx context.Context) error {
	in := &s3.DeleteObjectInput{Bucket: &l.t.o.Place.Bucket, Key: aws.String(l.t.key(lockName)), IfMatch: l.etag}
	_, err := l.t.client.DeleteObject(ctx, in)
	if statusOf(err) == http.StatusNotImplemented { // nobody else may have it yet
		in.IfMatch = nil
		_, err = l.t.client.DeleteObject(ctx, in)
	}
	return err
}

// locked returns a context that ends with the lock, if there is one.
func (t *Target) locked(ctx context.Context) (context.Context, func(), error) {
	t.mu.Lock()
	l := t.held
	t.mu.Unlock()
	if l == nil {
		return ctx, func() {}, nil
	}
	if l.ctx.Err() != nil {
		return nil, nil, context.Cause(l.ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	return ctx, func() { unhook(); cancel(nil) }, nil
}

// sweep drops uploads of files that exports left which were cut off. That a
// store does not let it is no harm: they cost room there, nothing else.
func (t *Target) sweep(ctx context.Context) {
	ctx, cancel := t.bounded(ctx, 0)
	defer cancel()
	for _, of := range []string{"files/", "images/"} {
		out, err := t.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &t.o.Place.Bucket, Prefix: aws.String(t.key(of))})
		if err != nil {
			return
		}
		for _, u := range out.Uploads {
			if !strings.HasPrefix(aws.ToString(u.Key), t.key(of)) {
				continue
			}
			_, err := t.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &t.o.Place.Bucket, Key: u.Key, UploadId: u.UploadId})
			if err != nil && codeOf(err) != "NoSuchUpload" {
				return
			}
		}
	}
}

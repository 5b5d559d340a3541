package freon

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/cli"
	"o3/internal/errs"
	"o3/internal/s3/sigv4"
)

// s3Flags say where the objects are.
type s3Flags struct {
	Bucket string `short:"b" default:"freon" help:"The bucket; it is made if it is absent."`
	Region string `default:"us-east-1" help:"In signatures."`
}

// s3Load is what the clients of an S3 load share. It is immutable.
type s3Load struct {
	load     *loadFlags
	target   *target
	contents *content
	unsigned bool
	verify   bool
	page     int
	keys     int64
}

// newS3Load finds the endpoint and makes the bucket.
func newS3Load(ctx context.Context, s *cli.Session, load *loadFlags, where s3Flags) (*s3Load, error) {
	id, secret, err := s.Credentials()
	if err != nil {
		return nil, err
	}
	secure, err := s.TLS()
	if err != nil {
		return nil, err
	}
	endpoint := s.Endpoint
	if endpoint == "" {
		if endpoint, err = askEndpoint(ctx, s); err != nil {
			return nil, err
		}
	}
	t, err := newTarget(endpoint, where.Bucket, id, secret, where.Region, secure)
	if err != nil {
		return nil, err
	}
	t.lives = load.RequestTimeout
	l := &s3Load{load: load, target: t}
	return l, l.makeBucket(ctx)
}

// askEndpoint asks the O3 server where its S3 API listens.
func askEndpoint(ctx context.Context, s *cli.Session) (string, error) {
	o3, err := s.Client()
	if err != nil {
		return "", err
	}
	r, err := o3.Status(ctx, &o3v1.StatusRequest{})
	if err != nil {
		return "", err
	}
	if len(r.Endpoints) == 0 {
		return "", errs.New(errs.Invalid, "--endpoint", "the O3 server names no S3 endpoint; give one")
	}
	return r.Endpoints[0], nil
}

func (l *s3Load) makeBucket(ctx context.Context) error {
	w := newWire(l.target)
	defer w.close()
	err := w.do(ctx, call{method: http.MethodHead}, drain)
	if a, ok := err.(*answer); ok && a.status == http.StatusNotFound {
		err = w.do(ctx, call{method: http.MethodPut}, drain)
	}
	return l.failed("bucket "+l.target.bucket, err)
}

// failed gives an error outside the measurement its kind.
func (l *s3Load) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	_, kind := classify(err)
	return errs.New(kind, what+" at "+l.target.base.String(), err.Error())
}

// drain takes the body of an answer and keeps nothing.
func drain(r *http.Response) error {
	_, err := io.Copy(io.Discard, r.Body)
	return err
}

// s3Client is one client of an S3 load.
type s3Client struct {
	*s3Load
	wire    *wire
	buffer  []byte
	rng     *rand.Rand
	discard func(*http.Response) error
}

const bufferSize = 64 << 10

func (l *s3Load) client(number int) *s3Client {
	c := &s3Client{
		s3Load: l, wire: newWire(l.target), buffer: make([]byte, bufferSize),
		rng: rand.New(rand.NewPCG(l.load.Seed, uint64(number))),
	}
	c.discard = func(r *http.Response) error {
		_, err := c.read(r, nil)
		return err
	}
	return c
}

func (c *s3Client) close() { c.wire.close() }

// random returns the number of a key that is there.
func (c *s3Client) random() uint64 { return c.rng.Uint64N(uint64(c.keys)) }

// read takes the body of an answer. each, if not nil, gets the bytes.
func (c *s3Client) read(r *http.Response, each func(at int64, p []byte) error) (int64, error) {
	var at int64
	for {
		n, err := r.Body.Read(c.buffer)
		if n > 0 && each != nil {
			if err := each(at, c.buffer[:n]); err != nil {
				return at, err
			}
		}
		at += int64(n)
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
}

func (c *s3Client) put(ctx context.Context, n uint64) outcome {
	b := c.contents.of(n)
	q := call{method: http.MethodPut, key: c.load.name(n), body: b, sum: sigv4.PayloadUnsigned.String()}
	if !c.unsigned {
		q.sum = c.contents.sum(b)
	}
	return outcome{bytes: b.size, err: c.wire.do(ctx, q, c.discard)}
}

func (c *s3Client) get(ctx context.Context, n uint64) outcome {
	var want body
	var each func(int64, []byte) error
	if c.verify {
		want = c.contents.of(n)
		each = func(at int64, p []byte) error {
			if from := want.differs(at, p); from >= 0 {
				return &errWrong{fmt.Sprintf("key %s has other bytes than were put, from byte %d on", c.load.name(n), from)}
			}
			return nil
		}
	}
	var got int64
	err := c.wire.do(ctx, call{method: http.MethodGet, key: c.load.name(n)}, func(r *http.Response) (err error) {
		got, err = c.read(r, each)
		if err == nil && c.verify && got != want.size {
			err = &errWrong{fmt.Sprintf("key %s has %d bytes, and %d were put", c.load.name(n), got, want.size)}
		}
		return err
	})
	return outcome{bytes: got, err: err}
}

func (c *s3Client) head(ctx context.Context, n uint64) outcome {
	return outcome{err: c.wire.do(ctx, call{method: http.MethodHead, key: c.load.name(n)}, c.discard)}
}

func (c *s3Client) delete(ctx context.Context, n uint64) outcome {
	return outcome{err: c.wire.do(ctx, call{method: http.MethodDelete, key: c.load.name(n)}, c.discard)}
}

// list asks for the page that begins after key n.
func (c *s3Client) list(ctx context.Context, n uint64) outcome {
	q := "list-type=2&max-keys=" + strconv.Itoa(c.page) + "&prefix=" + inQuery(c.load.Prefix) + "&start-after=" + inQuery(c.load.name(n))
	o := outcome{}
	var tail []byte
	o.err = c.wire.do(ctx, call{method: http.MethodGet, query: q}, func(r *http.Response) error {
		_, err := c.read(r, func(_ int64, p []byte) error {
			o.items += keyCount(&tail, p)
			return nil
		})
		return err
	})
	return o
}

// inQuery escapes a value of a query as signatures want it.
func inQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

var keyTag = []byte("<Key>")

// keyCount counts the keys in the next piece of a listing. tail holds the end
// of the piece before, in which a tag may have begun.
func keyCount(tail *[]byte, p []byte) int64 {
	edge := append(slices.Clone(*tail), p[:min(len(p), len(keyTag)-1)]...)
	*tail = append(*tail, p[max(0, len(p)-len(keyTag)+1):]...)
	*tail = append((*tail)[:0], (*tail)[max(0, len(*tail)-len(keyTag)+1):]...)
	return int64(bytes.Count(p, keyTag) + bytes.Count(edge, keyTag))
}

// prepare puts the keys that are to be read.
func (l *s3Load) prepare(ctx context.Context, s *cli.Session, r readFlags) error {
	if !r.Prepare {
		return l.present(ctx)
	}
	return prepare(ctx, s, l.load.Threads, r.Keys, job{
		ops:  []string{"put"},
		open: func(_ context.Context, i int) (stepper, error) { return steps(l.client(i), (*s3Client).put), nil },
	})
}

// present finds out whether the keys are there: the first and the last.
func (l *s3Load) present(ctx context.Context) error {
	c := l.client(0)
	defer c.close()
	for _, n := range []uint64{0, uint64(l.keys) - 1} {
		err := c.head(ctx, n).err
		if a, ok := err.(*answer); ok && a.status == http.StatusNotFound {
			return errs.New(errs.NoSuchKey, l.load.name(n), "the keys that are to be read are not there: add --prepare")
		}
		if err != nil {
			return l.failed(l.load.name(n), err)
		}
	}
	return nil
}

// steps makes a stepper of a client that has one kind of operation.
func steps[C interface{ close() }](c C, step func(C, context.Context, uint64) outcome) stepper {
	return &simple[C]{c, step}
}

type simple[C interface{ close() }] struct {
	client C
	do     func(C, context.Context, uint64) outcome
}

func (s *simple[C]) step(ctx context.Context, n uint64) outcome { return s.do(s.client, ctx, n) }
func (s *simple[C]) close()                                     { s.client.close() }

package freon

import (
	"context"
	"math/rand/v2"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/cli"
	"o3/internal/errs"
)

// omFlags say where the keys are.
type omFlags struct {
	Volume string `default:"s3v" help:"The volume; it must be there."`
	Bucket string `short:"b" default:"freon" help:"The bucket; it is made if it is absent."`
	Inline Sizes  `default:"0" help:"Bytes that travel with each key into the store, such as 100 or 0-4KB."`
}

// omLoad is what the clients of a namespace load share. It is immutable.
type omLoad struct {
	load     *loadFlags
	where    omFlags
	o3       *client.Client
	contents *content
	page     int
	keys     int64
}

// newOMLoad connects and makes the bucket.
func newOMLoad(ctx context.Context, s *cli.Session, load *loadFlags, where omFlags) (*omLoad, error) {
	if where.Inline.Max > 1<<20 {
		return nil, errs.New(errs.Invalid, "--inline "+where.Inline.String(), "it must be at most 1MB")
	}
	o3, err := s.Client()
	if err != nil {
		return nil, err
	}
	l := &omLoad{load: load, where: where, o3: o3, contents: newContent(load.Seed, where.Inline, false)}
	_, err = o3.GetBucket(ctx, &o3v1.GetBucketRequest{Volume: where.Volume, Bucket: where.Bucket})
	if errs.KindOf(err) == errs.NoSuchBucket {
		_, err = o3.CreateBucket(ctx, &o3v1.CreateBucketRequest{Volume: where.Volume, Bucket: where.Bucket})
	}
	return l, err
}

// omClient is one client of a namespace load.
type omClient struct {
	*omLoad
	rng *rand.Rand
}

func (l *omLoad) client(number int) *omClient {
	return &omClient{l, rand.New(rand.NewPCG(l.load.Seed, uint64(number)))}
}

func (c *omClient) close() {} // the connection is the session's

func (c *omClient) random() uint64 { return c.rng.Uint64N(uint64(c.keys)) }

// limited bounds the time of an operation.
func (c *omClient) limited(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.load.RequestTimeout)
	defer cancel()
	return do(ctx)
}

func (c *omClient) create(ctx context.Context, n uint64) outcome {
	b := c.contents.of(n)
	req := &o3v1.CommitKeyRequest{Volume: c.where.Volume, Bucket: c.where.Bucket, Key: c.load.name(n), Size: uint64(b.size), Etag: etag(b)}
	if b.size > 0 {
		req.Data = b.bytes()
	}
	return outcome{bytes: b.size, err: c.limited(ctx, func(ctx context.Context) error {
		_, err := c.o3.CommitKey(ctx, req)
		return err
	})}
}

// etag is a name for the content of a body: it need not be a checksum.
func etag(b body) string {
	const hex = "0123456789abcdef"
	var out [32]byte
	h := scramble(uint64(b.from)<<33 ^ uint64(b.size))
	for i := range out {
		out[i] = hex[h>>(4*(i%16))&15]
	}
	return string(out[:])
}

func (c *omClient) lookup(ctx context.Context, n uint64) outcome {
	return outcome{err: c.limited(ctx, func(ctx context.Context) error {
		_, err := c.o3.GetKey(ctx, &o3v1.GetKeyRequest{Volume: c.where.Volume, Bucket: c.where.Bucket, Key: c.load.name(n)})
		return err
	})}
}

func (c *omClient) list(ctx context.Context, n uint64) (o outcome) {
	o.err = c.limited(ctx, func(ctx context.Context) error {
		r, err := c.o3.ListKeys(ctx, &o3v1.ListKeysRequest{
			Volume: c.where.Volume, Bucket: c.where.Bucket, Prefix: c.load.Prefix, StartAfter: c.load.name(n), Limit: uint32(c.page),
		})
		o.items = int64(len(r.GetKeys()))
		return err
	})
	return o
}

func (c *omClient) delete(ctx context.Context, n uint64) outcome {
	return outcome{err: c.limited(ctx, func(ctx context.Context) error {
		r, err := c.o3.DeleteKeys(ctx, &o3v1.DeleteKeysRequest{
			Volume: c.where.Volume, Bucket: c.where.Bucket, Keys: []*o3v1.DeleteKey{{Key: c.load.name(n)}},
		})
		if err == nil && len(r.Results) == 1 && r.Results[0].Kind != 0 {
			err = errs.New(errs.Kind(r.Results[0].Kind), c.load.name(n), r.Results[0].Detail)
		}
		return err
	})}
}

// prepare creates the keys that are to be read.
func (l *omLoad) prepare(ctx context.Context, s *cli.Session, r readFlags) error {
	if !r.Prepare {
		return l.present(ctx)
	}
	return prepare(ctx, s, max(l.load.Threads, 64), r.Keys, job{ // many at a time share one log entry
		ops:  []string{"create"},
		open: func(_ context.Context, i int) (stepper, error) { return steps(l.client(i), (*omClient).create), nil },
	})
}

// present finds out whether the keys are there: the first and the last.
func (l *omLoad) present(ctx context.Context) error {
	c := l.client(0)
	for _, n := range []uint64{0, uint64(l.keys) - 1} {
		err := c.lookup(ctx, n).err
		if errs.KindOf(err) == errs.NoSuchKey {
			return errs.New(errs.NoSuchKey, l.load.name(n), "the keys that are to be read are not there: add --prepare")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

package freon

import (
	"context"

	"o3/internal/cli"
)

type s3PutCmd struct {
	loadFlags
	s3Flags
	putFlags
	Keys int64 `short:"k" help:"Begin again at the first key after so many, which are then overwritten (0: every key is new)."`
}

// Run runs the load.
func (c *s3PutCmd) Run(ctx context.Context, s *cli.Session) error {
	if err := checks(&c.loadFlags, optionalKeys(c.Keys)); err != nil {
		return err
	}
	l, err := newS3Load(ctx, s, &c.loadFlags, c.s3Flags)
	if err != nil {
		return err
	}
	l.write(c.putFlags, c.Seed)
	number := c.numbers(c.Keys)
	return c.measure(ctx, s, l.about("s3put", c.Size), job{ops: []string{"put"}, open: func(_ context.Context, i int) (stepper, error) {
		return steps(l.client(i), func(c *s3Client, ctx context.Context, n uint64) outcome { return c.put(ctx, number(n)) }), nil
	}})
}

// write says how contents are put.
func (l *s3Load) write(f putFlags, seed uint64) {
	l.contents, l.unsigned = newContent(seed, f.Size, f.Data == "zero"), f.Unsigned
}

// about describes the run for its report.
func (l *s3Load) about(command string, size Sizes) about {
	return about{Command: command, Endpoint: l.target.base.String(), Bucket: l.target.bucket, Size: size.String(), Keys: l.keys}
}

// reading is a command that reads keys which are there.
type reading struct {
	loadFlags
	s3Flags
	readFlags
	putFlags
}

// run prepares the keys and runs one kind of operation on them.
func (c *reading) run(ctx context.Context, s *cli.Session, command, op string, adjust func(*s3Load), do func(*s3Client, context.Context, uint64) outcome) error {
	if err := checks(&c.loadFlags, &c.readFlags); err != nil {
		return err
	}
	l, err := newS3Load(ctx, s, &c.loadFlags, c.s3Flags)
	if err != nil {
		return err
	}
	l.write(c.putFlags, c.Seed)
	l.keys = c.Keys
	adjust(l)
	if err := l.prepare(ctx, s, c.readFlags); err != nil {
		return err
	}
	return c.measure(ctx, s, l.about(command, c.Size), job{ops: []string{op}, open: func(_ context.Context, i int) (stepper, error) {
		return steps(l.client(i), do), nil
	}})
}

type s3GetCmd struct {
	reading
	Verify bool `help:"Check every byte against what the seed says was put; --seed, --size, --data and --prefix must be those of the put."`
}

// Run runs the load.
func (c *s3GetCmd) Run(ctx context.Context, s *cli.Session) error {
	return c.run(ctx, s, "s3get", "get", func(l *s3Load) { l.verify = c.Verify },
		func(c *s3Client, ctx context.Context, _ uint64) outcome { return c.get(ctx, c.random()) })
}

type s3HeadCmd struct{ reading }

// Run runs the load.
func (c *s3HeadCmd) Run(ctx context.Context, s *cli.Session) error {
	return c.run(ctx, s, "s3head", "head", func(*s3Load) {},
		func(c *s3Client, ctx context.Context, _ uint64) outcome { return c.head(ctx, c.random()) })
}

type s3ListCmd struct {
	reading
	listFlags
}

// Run runs the load.
func (c *s3ListCmd) Run(ctx context.Context, s *cli.Session) error {
	if err := c.listFlags.check(); err != nil {
		return err
	}
	return c.run(ctx, s, "s3list", "list", func(l *s3Load) { l.page = c.Page },
		func(c *s3Client, ctx context.Context, _ uint64) outcome { return c.list(ctx, c.random()) })
}

type s3DeleteCmd struct{ reading }

// Run runs the load.
func (c *s3DeleteCmd) Run(ctx context.Context, s *cli.Session) error {
	return c.run(ctx, s, "s3delete", "delete", func(*s3Load) {}, func(c *s3Client, ctx context.Context, n uint64) outcome {
		if n >= uint64(c.keys) {
			return outcome{err: errDone}
		}
		return c.delete(ctx, n)
	})
}

type s3MixedCmd struct {
	reading
	listFlags
	Mix    Mix  `default:"put=20,get=60,head=10,list=5,delete=5" help:"Weight of each operation. Puts are of new keys, which deletes take away; the others are of the keys that were there."`
	Verify bool `help:"Check what is got against what the seed says."`
}

// The operations of mixed loads; the numbers are the order of the report.
const (
	opPut = iota
	opGet
	opHead
	opList
	opDelete
)

// Run runs the load.
func (c *s3MixedCmd) Run(ctx context.Context, s *cli.Session) error {
	ops := []string{"put", "get", "head", "list", "delete"}
	if err := checks(&c.loadFlags, &c.readFlags, &c.listFlags); err != nil {
		return err
	}
	upTo, err := c.Mix.schedule(ops)
	if err != nil {
		return err
	}
	l, err := newS3Load(ctx, s, &c.loadFlags, c.s3Flags)
	if err != nil {
		return err
	}
	l.write(c.putFlags, c.Seed)
	l.keys, l.page, l.verify = c.Keys, c.Page, c.Verify
	if err := l.prepare(ctx, s, c.readFlags); err != nil {
		return err
	}
	more := &extras{next: max(c.Start, uint64(c.Keys))}
	about := l.about("s3mixed", c.Size)
	about.Mix = c.Mix.text
	return c.measure(ctx, s, about, job{ops: ops, open: func(_ context.Context, i int) (stepper, error) {
		return steps(l.client(i), func(c *s3Client, ctx context.Context, _ uint64) outcome { return c.mixed(ctx, upTo, more) }), nil
	}})
}

// mixed does one of the operations, chosen at random. A delete that finds
// nothing to delete becomes a put.
func (c *s3Client) mixed(ctx context.Context, upTo []int, more *extras) (o outcome) {
	op := choose(upTo, c.rng.Uint64())
	victim := uint64(0)
	if op == opDelete {
		var ok bool
		if victim, ok = more.take(); !ok {
			op = opPut
		}
	}
	switch op {
	case opPut:
		n := more.add()
		if o = c.put(ctx, n); o.err == nil {
			more.put(n)
		}
	case opGet:
		o = c.get(ctx, c.random())
	case opHead:
		o = c.head(ctx, c.random())
	case opList:
		o = c.list(ctx, c.random())
	case opDelete:
		o = c.delete(ctx, victim)
	}
	o.op = op
	return o
}

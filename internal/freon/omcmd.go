package freon

import (
	"context"

	"o3/internal/cli"
)

type omCreateCmd struct {
	loadFlags
	omFlags
	Keys int64 `short:"k" help:"Begin again at the first key after so many, which are then overwritten (0: every key is new)."`
}

// Run runs the load.
func (c *omCreateCmd) Run(ctx context.Context, s *cli.Session) error {
	if err := checks(&c.loadFlags, optionalKeys(c.Keys)); err != nil {
		return err
	}
	l, err := newOMLoad(ctx, s, &c.loadFlags, c.omFlags)
	if err != nil {
		return err
	}
	number := c.numbers(c.Keys)
	return c.measure(ctx, s, l.about("omkg"), job{ops: []string{"create"}, open: func(_ context.Context, i int) (stepper, error) {
		return steps(l.client(i), func(c *omClient, ctx context.Context, n uint64) outcome { return c.create(ctx, number(n)) }), nil
	}})
}

// about describes the run for its report.
func (l *omLoad) about(command string) about {
	return about{Command: command, Endpoint: l.o3.Address(), Bucket: l.where.Volume + "/" + l.where.Bucket, Size: l.where.Inline.String(), Keys: l.keys}
}

// looking is a command that reads keys which are there.
type looking struct {
	loadFlags
	omFlags
	readFlags
}

// run prepares the keys and runs one kind of operation on them.
func (c *looking) run(ctx context.Context, s *cli.Session, command, op string, page int, do func(*omClient, context.Context, uint64) outcome) error {
	if err := checks(&c.loadFlags, &c.readFlags); err != nil {
		return err
	}
	l, err := newOMLoad(ctx, s, &c.loadFlags, c.omFlags)
	if err != nil {
		return err
	}
	l.keys, l.page = c.Keys, page
	if err := l.prepare(ctx, s, c.readFlags); err != nil {
		return err
	}
	return c.measure(ctx, s, l.about(command), job{ops: []string{op}, open: func(_ context.Context, i int) (stepper, error) {
		return steps(l.client(i), do), nil
	}})
}

type omGetCmd struct{ looking }

// Run runs the load.
func (c *omGetCmd) Run(ctx context.Context, s *cli.Session) error {
	return c.run(ctx, s, "ommg", "lookup", 0,
		func(c *omClient, ctx context.Context, _ uint64) outcome { return c.lookup(ctx, c.random()) })
}

type omListCmd struct {
	looking
	listFlags
}

// Run runs the load.
func (c *omListCmd) Run(ctx context.Context, s *cli.Session) error {
	if err := c.listFlags.check(); err != nil {
		return err
	}
	return c.run(ctx, s, "omlist", "list", c.Page,
		func(c *omClient, ctx context.Context, _ uint64) outcome { return c.list(ctx, c.random()) })
}

type omDeleteCmd struct{ looking }

// Run runs the load.
func (c *omDeleteCmd) Run(ctx context.Context, s *cli.Session) error {
	return c.run(ctx, s, "omdelete", "delete", 0, func(c *omClient, ctx context.Context, n uint64) outcome {
		if n >= uint64(c.keys) {
			return outcome{err: errDone}
		}
		return c.delete(ctx, n)
	})
}

type omMixedCmd struct {
	looking
	listFlags
	Mix Mix `default:"create=20,lookup=70,list=5,delete=5" help:"Weight of each operation. Creates are of new keys, which deletes take away; the others are of the keys that were there."`
}

// Run runs the load.
func (c *omMixedCmd) Run(ctx context.Context, s *cli.Session) error {
	ops := []string{"create", "lookup", "list", "delete"}
	if err := checks(&c.loadFlags, &c.readFlags, &c.listFlags); err != nil {
		return err
	}
	upTo, err := c.Mix.schedule(ops)
	if err != nil {
		return err
	}
	l, err := newOMLoad(ctx, s, &c.loadFlags, c.omFlags)
	if err != nil {
		return err
	}
	l.keys, l.page = c.Keys, c.Page
	if err := l.prepare(ctx, s, c.readFlags); err != nil {
		return err
	}
	more := &extras{next: max(c.Start, uint64(c.Keys))}
	about := l.about("ommixed")
	about.Mix = c.Mix.text
	return c.measure(ctx, s, about, job{ops: ops, open: func(_ context.Context, i int) (stepper, error) {
		return steps(l.client(i), func(c *omClient, ctx context.Context, _ uint64) outcome { return c.mixed(ctx, upTo, more) }), nil
	}})
}

// mixed does one of the operations, chosen at random. A delete that finds
// nothing to delete becomes a create.
func (c *omClient) mixed(ctx context.Context, upTo []int, more *extras) (o outcome) {
	op := choose(upTo, c.rng.Uint64())
	victim := uint64(0)
	if op == 3 {
		var ok bool
		if victim, ok = more.take(); !ok {
			op = 0
		}
	}
	switch op {
	case 0:
		n := more.add()
		if o = c.create(ctx, n); o.err == nil {
			more.put(n)
		}
	case 1:
		o = c.lookup(ctx, c.random())
	case 2:
		o = c.list(ctx, c.random())
	case 3:
		o = c.delete(ctx, victim)
	}
	o.op = op
	return o
}

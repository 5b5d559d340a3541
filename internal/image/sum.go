package image

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
	"golang.org/x/time/rate"

	"o3/internal/errs"
)

// window is how much of a file is in memory at once.
const window = 256 << 10

// throttle bounds reading. nil means no bound.
type throttle struct{ l *rate.Limiter }

// newThrottle allows perSecond bytes: 0 means def, less than 0 no bound.
func newThrottle(perSecond, def int64) throttle {
	if perSecond == 0 {
		perSecond = def
	}
	if perSecond < 0 {
		return throttle{}
	}
	return throttle{rate.NewLimiter(rate.Limit(perSecond), int(max(window, perSecond/10)))}
}

func (t throttle) wait(ctx context.Context, n int) error {
	if t.l == nil || n == 0 {
		return canceled(ctx)
	}
	if err := t.l.WaitN(ctx, n); err != nil {
		if cerr := canceled(ctx); cerr != nil {
			return cerr
		}
		return errs.Wrap(errs.DeadlineExceeded, "", err) // it would end after the deadline
	}
	return nil
}

// canceled is the error of work whose context has ended, nil while it has not.
func canceled(ctx context.Context) error {
	err := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return errs.Wrap(errs.DeadlineExceeded, "", err)
	default:
		return errs.Wrap(errs.Canceled, "", err)
	}
}

// reader reads with the throttle, counts, and hashes what went by.
type reader struct {
	ctx  context.Context
	from io.Reader
	t    throttle
	tell func(n int64)
	hash *xxh3.Hasher128
	n    int64
}

func newReader(ctx context.Context, from io.Reader, t throttle, tell func(int64)) *reader {
	return &reader{ctx: ctx, from: from, t: t, tell: tell, hash: xxh3.New128()}
}

func (r *reader) Read(p []byte) (int, error) {
	p = p[:min(len(p), window)]
	n, err := r.from.Read(p)
	if err := r.t.wait(r.ctx, n); err != nil {
		return 0, err
	}
	r.hash.Write(p[:n])
	r.n += int64(n)
	if r.tell != nil {
		r.tell(int64(n))
	}
	return n, err
}

// sum returns the checksum of what was read.
func (r *reader) sum() string {
	h := r.hash.Sum128().Bytes()
	return fmt.Sprintf("%x", h)
}

// checked is a reader that must give exactly one file: what differs is an error
// in place of the end, so that whoever stores the bytes does not finish.
type checked struct {
	*reader
	want    File
	subject string
}

func (c checked) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	switch {
	case c.n > c.want.Size:
		return n, fault(errs.Corrupt, "read", c.subject, "it has more than %d bytes", c.want.Size)
	case err != io.EOF:
		return n, err
	case c.n != c.want.Size:
		return n, fault(errs.Corrupt, "read", c.subject, "it has %d bytes, expected %d", c.n, c.want.Size)
	case c.sum() != c.want.XXH3:
		return n, fault(errs.Corrupt, "read", c.subject, "its checksum is %s, expected %s", c.sum(), c.want.XXH3)
	}
	return n, io.EOF
}

// ended checks that the file was read to its end: a target that stopped before
// has stored less.
func (c checked) ended() error {
	if c.n != c.want.Size || c.sum() != c.want.XXH3 {
		return fault(errs.Internal, "read", c.subject, "%d of %d bytes were stored", c.n, c.want.Size)
	}
	return nil
}

// sumFile reads a file and returns its size and checksum.
func sumFile(ctx context.Context, fs vfs.FS, path string, t throttle, tell func(int64)) (size int64, sum string, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	r := newReader(ctx, f, t, tell)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, window)); err != nil {
		return 0, "", err
	}
	return r.n, r.sum(), nil
}

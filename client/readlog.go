package client

import (
	"context"
	"iter"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
)

// ReadLog yields what the node sends of its log (api/o3/v1/log.proto). Entries
// come in order and without a gap, each once: a stream that is cut, or brings
// nothing for Options.CallTimeout, is begun anew after the last entry that was
// yielded, for as long as Options.RetryFor allows without an answer. An error is
// yielded last: of kind Conflict when the log does not reach back,
// PreconditionFailed when it is of another history.
func (c *Client) ReadLog(ctx context.Context, req *o3v1.ReadLogRequest) iter.Seq2[*o3v1.ReadLogResponse, error] {
	return func(yield func(*o3v1.ReadLogResponse, error) bool) {
		q := proto.CloneOf(req)
		for {
			s := logStream{c: c, q: q}
			err := s.open(ctx)
			began := err == nil
			if began {
				err = s.read(ctx, yield)
			}
			s.close()
			switch {
			case s.enough || err == nil:
				return
			case !began || !retryable(err) || ctx.Err() != nil || c.opts.RetryFor < 0:
				yield(nil, err)
				return
			}
			if c.opts.Listener.Retry != nil {
				c.opts.Listener.Retry("ReadLog", s.a.to.String(), err)
			}
			if !pauseFor(ctx, firstPause) {
				yield(nil, c.explain(ctx, s.a, ctx.Err()))
				return
			}
		}
	}
}

// logStream is one stream of a ReadLog.
type logStream struct {
	c      *Client
	q      *o3v1.ReadLogRequest // goes on behind what was yielded
	a      *attempt
	in     *connect.ServerStreamForClient[o3v1.ReadLogResponse]
	idle   *time.Timer
	cancel context.CancelFunc
	enough bool // who takes it wants no more
}

// open opens the stream and receives its first message.
func (s *logStream) open(ctx context.Context) *errs.Error {
	_, err := s.c.retry(ctx, "ReadLog", 0, func(ctx context.Context) error {
		s.close()
		s.a, _ = ctx.Value(attemptKey{}).(*attempt)
		ctx, s.cancel = context.WithCancel(ctx)
		s.idle = time.AfterFunc(s.c.opts.CallTimeout, s.cancel)
		in, err := s.c.log.ReadLog(ctx, s.q)
		if err != nil {
			return err
		}
		s.in = in
		if !in.Receive() && in.Err() == nil {
			return errs.New(errs.Unavailable, s.a.to.String(), "the log's stream ended before it began")
		}
		return in.Err()
	})
	if err == nil {
		return nil
	}
	return err.(*errs.Error)
}

// read yields what comes. The node ends the stream of one who follows only when
// it stops.
func (s *logStream) read(ctx context.Context, yield func(*o3v1.ReadLogResponse, error) bool) *errs.Error {
	for more := true; more; more = s.in.Receive() {
		s.idle.Stop()
		r := s.in.Msg()
		if n := len(r.Entries); n > 0 {
			s.q.AfterIndex, s.q.AfterTerm = r.Entries[n-1].Index, r.Entries[n-1].Term
		}
		if !yield(proto.CloneOf(r), nil) {
			s.enough = true
			return nil
		}
		s.idle.Reset(s.c.opts.CallTimeout)
	}
	switch err := s.in.Err(); {
	case err != nil && s.a.err == nil && ctx.Err() == nil && connect.CodeOf(err) == connect.CodeCanceled:
		return &errs.Error{Kind: errs.Unavailable, Subject: s.a.to.String(), Detail: "nothing came for " + s.c.opts.CallTimeout.String(), Err: err}
	case err != nil:
		return s.c.explain(ctx, s.a, err)
	case s.q.Follow:
		return errs.New(errs.Unavailable, s.a.to.String(), "the node ended the log's stream")
	}
	return nil
}

func (s *logStream) close() {
	if s.cancel == nil {
		return
	}
	s.idle.Stop()
	s.cancel()
	if s.in != nil {
		_ = s.in.Close() // nothing is kept of it
	}
	s.in, s.cancel = nil, nil
}

// pauseFor waits; false when ctx ended meanwhile.
func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

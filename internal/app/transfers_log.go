package app

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/fsm"
)

// The bounds of reading the log.
const (
	logReaders  = 64                    // at once
	logBytes    = 1 << 20               // of entries in a message, when the reader does not say
	maxLogBytes = 16 << 20              //
	logBeat     = time.Second           // between messages to one who follows, at most
	logGather   = 25 * time.Millisecond // between messages of new entries to one who follows, at least
)

// ReadLog implements o3v1connect.OMLogHandler.
func (t *transfers) ReadLog(ctx context.Context, q *o3v1.ReadLogRequest, out *connect.ServerStream[o3v1.ReadLogResponse]) error {
	line, err := t.n.images.act(ctx, "ReadLog", "", map[string]string{
		"after": decimal(q.AfterIndex), "follow": fmt.Sprint(q.Follow),
	})
	if err != nil {
		return err
	}
	r := logReader{t: t, q: q, after: q.AfterIndex, term: q.AfterTerm, out: out}
	if err = t.enabled(); err == nil {
		err = t.secure(ctx)
	}
	if err == nil {
		err = r.begin()
	}
	t.n.images.note(ctx, line, err)
	if err != nil {
		t.n.obs.LogRefused(err)
		return err
	}
	defer t.readers.Add(-1)
	defer t.n.obs.LogReader()()
	return r.run(ctx)
}

// logOut takes messages of the log.
type logOut interface {
	Send(*o3v1.ReadLogResponse) error
}

// logReader sends the log to one reader.
type logReader struct {
	t     *transfers
	q     *o3v1.ReadLogRequest
	out   logOut
	after uint64       // the last entry that was sent
	term  uint64       // of it; 0: not known
	state fsm.Position // of this node, when it was looked at
	told  uint64       // the index of the last state that was sent
	sent  time.Time    // when a message was
}

// begin refuses what cannot be read at all, before anything is sent.
func (r *logReader) begin() error {
	if r.q.MaxBytes > maxLogBytes {
		return errs.New(errs.Invalid, "ReadLog", fmt.Sprintf("messages of %d bytes, at most %d are allowed", r.q.MaxBytes, maxLogBytes))
	}
	if r.q.MaxBytes == 0 {
		r.q.MaxBytes = logBytes
	}
	if r.t.stopping() {
		return errs.New(errs.Unavailable, "this node", "it is stopping")
	}
	r.state = r.t.n.replica.Position()
	if _, err := r.t.n.log.ReadLog(r.after, r.term, 1); err != nil {
		return err
	}
	if r.t.readers.Add(1) > logReaders {
		r.t.readers.Add(-1)
		return errs.New(errs.SlowDown, "the log", fmt.Sprintf("%d others read it", logReaders))
	}
	return nil
}

// run sends what there is, and with follow what comes.
func (r *logReader) run(ctx context.Context) error {
	for {
		more, err := r.send()
		if err != nil || !more && !r.q.Follow {
			return err
		}
		if more {
			if err := r.over(ctx); err != nil {
				return err
			}
			continue
		}
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
}

// send sends one message, and reports whether there is more to send.
func (r *logReader) send() (more bool, err error) {
	n := r.t.n
	if r.state.Index <= r.told { // that one was sent: look anew
		r.state = n.replica.Position()
	}
	part, err := n.log.ReadLog(r.after, r.term, int(r.q.MaxBytes))
	if err != nil {
		return false, err
	}
	st := n.log.Status()
	m := &o3v1.ReadLogResponse{CommitIndex: part.Commit, FirstIndex: part.First, Term: st.Term, Leader: st.Leader, TimeMs: time.Now().UnixMilli()}
	bytes := 0
	for _, e := range part.Entries {
		if !r.q.Follow && e.GetIndex() > r.state.Index {
			break // the state that is told of is that after the last entry
		}
		m.Entries = append(m.Entries, &o3v1.LogEntry{Index: e.GetIndex(), Term: e.GetTerm(), Type: o3v1.LogEntry_Type(e.GetType()), Data: e.GetData()})
		r.after, r.term = e.GetIndex(), e.GetTerm()
		bytes += len(e.GetData())
	}
	if p := r.state; p.Index > r.told && p.Index <= r.after {
		r.told = p.Index
		m.State = &o3v1.LogState{Index: p.Index, Term: p.Term, Op: uint64(p.Op), Digest: p.Digest.String(), NodeId: n.id.ID}
	}
	if err := r.out.Send(m); err != nil {
		return false, err
	}
	r.sent = time.Now()
	if _, own := r.out.(logSink); !own {
		n.obs.LogSent(len(m.Entries), bytes)
	}
	if r.q.Follow {
		return r.after < part.Commit, nil
	}
	return r.after < r.state.Index, nil
}

// over reports that the stream is to end.
func (r *logReader) over(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return errs.Wrap(errs.Canceled, "the log", ctx.Err())
	case r.t.stopping():
		return errs.New(errs.Unavailable, "this node", "it is stopping")
	}
	return nil
}

// wait waits for the next entry, or until the reader must hear of this node. While
// entries come without a pause it has them come together: a message costs a reader
// as much as dozens of entries do.
func (r *logReader) wait(ctx context.Context) error {
	next, forget := r.t.n.log.Waiting(r.after + 1)
	defer forget()
	if err := r.pause(ctx, next, logBeat); err != nil {
		return err
	}
	return r.pause(ctx, nil, logGather-time.Since(r.sent))
}

// pause waits for next, for d at most.
func (r *logReader) pause(ctx context.Context, next <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return r.over(ctx)
	}
	end := time.NewTimer(d)
	defer end.Stop()
	select {
	case <-next:
	case <-end.C:
	case <-r.t.stopped:
	case <-r.t.n.log.Stopped():
		return errs.New(errs.Unavailable, "this node", "its log has stopped")
	case <-ctx.Done():
	}
	return r.over(ctx)
}

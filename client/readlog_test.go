package client_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/errs"
	"o3/internal/rpc"
	"o3/internal/rpc/rpctest"
)

// logOf is a node with a log of n entries, all of term 3.
type logOf struct {
	n     uint64
	asked atomic.Int64
	last  atomic.Pointer[o3v1.ReadLogRequest]
	cut   map[uint64]error // what the stream ends with instead of an entry, once
}

func (l *logOf) ReadLog(ctx context.Context, q *o3v1.ReadLogRequest, out *connect.ServerStream[o3v1.ReadLogResponse]) error {
	l.asked.Add(1)
	l.last.Store(q)
	if q.AfterIndex > l.n {
		return errs.New(errs.PreconditionFailed, "the log", "ahead")
	}
	for i := q.AfterIndex + 1; i <= l.n; i++ {
		if err, ok := l.cut[i]; ok {
			delete(l.cut, i)
			if err == nil {
				panic("on purpose")
			}
			return err
		}
		if err := out.Send(&o3v1.ReadLogResponse{CommitIndex: l.n, Entries: []*o3v1.LogEntry{{Index: i, Term: 3}}}); err != nil {
			return err
		}
	}
	for q.Follow {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		if err := out.Send(&o3v1.ReadLogResponse{CommitIndex: l.n}); err != nil {
			return err
		}
	}
	return out.Send(&o3v1.ReadLogResponse{CommitIndex: l.n})
}

// read returns the entries that come, as many as most, and the error at the end.
func read(ctx context.Context, c *client.Client, q *o3v1.ReadLogRequest, most int) (got []uint64, beats int, last error) {
	for msg, err := range c.ReadLog(ctx, q) {
		if err != nil {
			return got, beats, err
		}
		for _, e := range msg.Entries {
			got = append(got, e.Index)
		}
		if len(msg.Entries) == 0 {
			beats++
		}
		if len(got) >= most && beats > 1 {
			break
		}
	}
	return got, beats, nil
}

// TestReadLog: entries come once and without a gap, whatever is cut on the way.
func TestReadLog(t *testing.T) {
	l := &logOf{n: 9, cut: map[uint64]error{4: errs.New(errs.Unavailable, "node", "it is stopping"), 7: errs.New(errs.SlowDown, "node", "")}}
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{Log: l})
	retries := 0
	c := dial(t, client.Options{RetryFor: 2 * time.Minute, Listener: client.Listener{Retry: func(string, string, error) { retries++ }}}, s)
	q := &o3v1.ReadLogRequest{AfterIndex: 1, AfterTerm: 3}
	s.Inject(rpctest.CutBefore)
	got, _, err := read(t.Context(), c, q, 100)
	if err != nil || !slices.Equal(got, []uint64{2, 3, 4, 5, 6, 7, 8, 9}) || l.asked.Load() != 3 || retries != 3 || q.AfterIndex != 1 {
		t.Errorf("%v, %v: asked %d times, %d retries; the request is %v", got, err, l.asked.Load(), retries, q)
	}
	if last := l.last.Load(); last.AfterIndex != 6 || last.AfterTerm != 3 {
		t.Errorf("the last stream began with %v", last)
	}
	got, beats, err := read(t.Context(), c, &o3v1.ReadLogRequest{Follow: true}, 9)
	if err != nil || len(got) != 9 || beats != 2 {
		t.Errorf("%v, %d, %v", got, beats, err)
	}
	if _, _, err := read(t.Context(), c, &o3v1.ReadLogRequest{AfterIndex: 10}, 1); client.Kind(err) != errs.PreconditionFailed || !strings.Contains(err.Error(), "ahead") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range c.ReadLog(ctx, &o3v1.ReadLogRequest{Follow: true}) {
		cancel()
		if err != nil && client.Kind(err) != errs.Canceled {
			t.Errorf("%v", err)
		}
	}
}

// TestReadLogFails: without retries the first cut is told; a panic is an internal
// error; a node that sends nothing is given up.
func TestReadLogFails(t *testing.T) {
	l := &logOf{n: 5, cut: map[uint64]error{2: nil, 4: errs.New(errs.Unavailable, "node", "")}}
	panics := make(chan any, 1)
	s := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{Log: l, Listener: rpc.Listener{Panic: func(_ rpc.Call, v any, _ []byte) { panics <- v }}})
	c := dial(t, client.Options{RetryFor: -1}, s)
	if got, _, err := read(t.Context(), c, &o3v1.ReadLogRequest{}, 9); client.Kind(err) != errs.Internal || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if v := <-panics; v != "on purpose" {
		t.Error(v)
	}
	if got, _, err := read(t.Context(), c, &o3v1.ReadLogRequest{}, 9); client.Kind(err) != errs.Unavailable || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	leave := make(chan struct{})
	s.Inject(func(http.ResponseWriter, *http.Request, http.Handler) bool { <-leave; return true })
	c = dial(t, client.Options{RetryFor: -1, CallTimeout: 50 * time.Millisecond}, s)
	_, _, err := read(t.Context(), c, &o3v1.ReadLogRequest{}, 9)
	close(leave)
	if err == nil {
		t.Error("a node that does not answer is waited for")
	}
	none := rpctest.Start(t, rpctest.NewMemory(), rpc.Options{})
	c = dial(t, client.Options{RetryFor: -1}, none)
	if _, _, err := read(t.Context(), c, &o3v1.ReadLogRequest{}, 9); err == nil {
		t.Error("a node without the service")
	}
}

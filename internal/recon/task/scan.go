package task

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"o3/internal/kv"
)

// piece is a range of a table's keys that one worker reads.
type piece struct {
	space        byte
	lower, upper []byte
	order, width uint64 // pieces of later keys have higher orders; parts of this one have those up to order+width
}

// pieces is what is still to be read, and who waits for it. A worker that has
// nothing to do takes a part of what another reads.
type pieces struct {
	workers int
	hungry  atomic.Int32 // workers that wait

	mu    sync.Mutex
	more  sync.Cond // a piece came, or none will come
	list  []piece
	ended bool
}

func newPieces(workers int, list []piece) *pieces {
	q := &pieces{workers: workers, list: list}
	q.more.L = &q.mu
	return q
}

// next waits for a piece; ok is false when all are read, or end was called.
func (q *pieces) next() (p piece, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiting := q.hungry.Add(1); int(waiting) == q.workers && len(q.list) == 0 {
		q.ended = true // nobody reads, so nobody will give a part
		q.more.Broadcast()
	}
	for len(q.list) == 0 && !q.ended {
		q.more.Wait()
	}
	if q.ended {
		return piece{}, false
	}
	q.hungry.Add(-1)
	p = q.list[0]
	q.list = q.list[1:]
	return p, true
}

// give adds a piece.
func (q *pieces) give(p piece) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, p)
	q.more.Signal()
}

// end has next report that there is nothing.
func (q *pieces) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.more.Broadcast()
}

const (
	batchRows = 256  // that are decoded before the tasks are given them
	splitRows = 4096 // that are read of a piece before a part of it is given away
)

// read calls f with each row of p, and flush after some and at the end, and gives
// parts of p to those who wait; what it goes on with, begin is told. f is given
// no value where the table needs none. A batch has so many rows as batch says when
// it begins.
func (q *pieces) read(ctx context.Context, rows kv.Reader, p piece, batch *int, begin func(p piece), f func(key, value []byte) error, flush func(p piece, n int) error) error {
	for {
		begin(p)
		rest, err := q.readPart(ctx, rows, p, batch, f, flush)
		if err != nil || rest == nil {
			return err
		}
		p = *rest
	}
}

// readPart is read until a part of p was given away; then it returns what is left.
func (q *pieces) readPart(ctx context.Context, rows kv.Reader, p piece, batch *int, f func(key, value []byte) error, flush func(p piece, n int) error) (rest *piece, err error) {
	it, err := rows.Iter(p.lower, p.upper)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	n, since := 0, 0
	for ok := it.First(); ok; ok = it.Next() {
		var value []byte
		if valued[p.space] {
			if value, err = it.Value(); err != nil {
				return nil, err
			}
		}
		if err := f(it.Key(), value); err != nil {
			return nil, err
		}
		if n++; n < *batch {
			continue
		}
		if err := errors.Join(flush(p, n), ctx.Err()); err != nil {
			return nil, err
		}
		since, n = since+n, 0
		if since < splitRows || q.hungry.Load() == 0 {
			continue
		}
		since = 0
		left, given, ok, err := split(rows, p, it.Key())
		if err != nil {
			return nil, err
		}
		if ok {
			q.give(given)
			return &left, nil
		}
	}
	if err := it.Err(); err != nil {
		return nil, err
	}
	return nil, flush(p, n)
}

// split cuts what p has after a key in two, if there is enough of it.
func split(rows kv.Reader, p piece, at []byte) (left, given piece, ok bool, err error) {
	if p.width < 2 {
		return p, p, false, nil
	}
	left = p
	left.lower = append(bytes.Clone(at), 0)
	it, err := rows.Iter(left.lower, p.upper)
	if err != nil {
		return p, p, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return p, p, false, it.Err()
	}
	mid, ok := between(left.lower, it.Key())
	if !ok {
		return p, p, false, nil
	}
	given = left
	left.upper, given.lower = mid, mid
	left.width = p.width / 2
	given.order, given.width = p.order+left.width, p.width-left.width
	return left, given, true, nil
}

// between returns a key that is greater than a and at most b, about in the middle
// of what differs; ok is false when there is none.
func between(a, b []byte) (mid []byte, ok bool) {
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	x, y := word(a[same:]), word(b[same:])
	if x >= y {
		return nil, false
	}
	if y-x == 1 {
		return bytes.Clone(b[:min(same+8, len(b))]), true
	}
	return binary.BigEndian.AppendUint64(bytes.Clone(b[:same]), x+(y-x)/2), true
}

// word returns the first eight bytes of b, as if zeros followed it.
func word(b []byte) uint64 {
	var w [8]byte
	copy(w[:], b)
	return binary.BigEndian.Uint64(w[:])
}

package raftlog

import (
	"context"

	"o3/internal/errs"
)

// Verified is what Verify read: the entries [First, Last].
type Verified struct {
	First, Last uint64
	Bytes       int64
}

// verifyStep bounds the bytes of entries read at once.
const verifyStep = 4 << 20

// Verify reads every entry of the log in o.Dir, whose node must be stopped, and
// checks them, the small rows and the tail guard, which says nothing when it is
// absent: a power cut may take it. It changes nothing. Damage is an errs.Corrupt
// that names what is hit; NodeID does not matter.
func Verify(ctx context.Context, o Options) (Verified, error) {
	o.readOnly = true
	var out Verified
	l, err := Open(o)
	if err != nil {
		return out, err
	}
	defer l.Close()
	out.First, _ = l.FirstIndex()
	out.Last, _ = l.LastIndex()
	for at := out.First; at <= out.Last; {
		if err := ctx.Err(); err != nil {
			return out, errs.Wrap(errs.Canceled, "raft log "+o.Dir, err)
		}
		es, err := l.scan(at, out.Last+1, verifyStep)
		if err != nil {
			return out, err
		}
		for _, e := range es {
			out.Bytes += int64(weight(e))
		}
		at += uint64(len(es))
	}
	return out, nil
}

// End returns index and term of the last entry of the log in o.Dir, whose node
// must be stopped. It changes nothing; NodeID does not matter.
func End(o Options) (index, term uint64, err error) {
	o.readOnly = true
	l, err := Open(o)
	if err != nil {
		return 0, 0, err
	}
	if index, err = l.LastIndex(); err == nil {
		term, err = l.Term(index)
	}
	return index, term, first(err, l.Close())
}

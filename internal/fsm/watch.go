package fsm

import "o3/internal/kv"

// Run is the net change of the rows by the entries After+1 to Index, in the
// order of the keys. The row of the position is not among them.
type Run struct {
	After, Index uint64
	Changes      []Change
}

// Change is the net change of a row. Nil means that there was, or is, no row.
type Change struct{ Key, Old, New []byte }

// Watch has f told of each run before it is committed, with a reader of the rows
// as they will be. What f is given is valid during the call. Its error is one of
// Apply, and nothing is committed. Watch is called before the first Apply.
func (m *Machine) Watch(f func(Run, kv.Reader) error) { m.watch = f }

func (r *Run) add(key, old []byte, oldOK bool, value []byte, ok bool) {
	c := Change{Key: key}
	if oldOK {
		c.Old = present(old)
	}
	if ok {
		c.New = present(value)
	}
	r.Changes = append(r.Changes, c)
}

// present returns b, which is not nil even when it is empty.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

package task

import (
	"o3/internal/fsm"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
)

// before reads rows that a run has dropped or replaced as they were before it,
// and all others as rows has them.
type before struct {
	kv.Reader
	old map[string][]byte
}

// Get implements kv.Reader.
func (b before) Get(key []byte) ([]byte, bool, error) {
	if value, ok := b.old[string(key)]; ok {
		return value, true, nil
	}
	return b.Reader.Get(key)
}

// past returns what old versions of rows refer to. Lists of extents are never
// changed, so only those that went are needed.
func past(r fsm.Run, rows kv.Reader) before {
	b := before{rows, map[string][]byte{}}
	for _, c := range r.Changes {
		if c.Old != nil && c.Key[0] == spaceSmalls {
			b.old[string(c.Key)] = c.Old
		}
	}
	return b
}

// learn adds the buckets that a run made or dropped: rows of one that is gone
// may be among its changes.
func (l Layouts) learn(run fsm.Run) error {
	for _, c := range run.Changes {
		if c.Key[0] != spaceBuckets {
			continue
		}
		for _, value := range [][]byte{c.Old, c.New} {
			if value == nil {
				continue
			}
			b, err := schema.Buckets.Decode(c.Key, value)
			if err != nil {
				return err
			}
			l[ns.ObjectID(b.ObjectId)] = ns.Layout(b.Layout)
		}
	}
	return nil
}

// contributions returns what a run adds to the derived tables, totals of
// subtrees excepted, and how it changed the places of directories.
func (p *plan) contributions(r fsm.Run, layouts Layouts, rows kv.Reader, w works) (*Sums, []moved, error) {
	if err := layouts.learn(r); err != nil {
		return nil, nil, err
	}
	sums, moves := newSums(), []moved(nil)
	old := batch{layouts: layouts, reader: past(r, rows)}
	now := batch{layouts: layouts, reader: rows}
	for _, c := range r.Changes {
		if !p.any[c.Key[0]] {
			continue
		}
		var m moved
		for _, side := range []struct {
			d     *batch
			value []byte
			at    *place
		}{{&old, c.Old, &m.from}, {&now, c.New, &m.to}} {
			if side.value == nil {
				continue
			}
			row, err := side.d.add(c.Key, side.value)
			if err != nil {
				return nil, nil, err
			}
			if row.Table == spaceDirs {
				m.bucket, m.dir = row.Bucket, row.Dir
				*side.at = place{row.Parent, true}
			}
		}
		if m.from != m.to {
			moves = append(moves, m)
		}
	}
	p.contribute(old.rows, -1, sums, w)
	p.contribute(now.rows, 1, sums, w)
	return sums, moves, nil
}

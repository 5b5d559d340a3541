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
	small := schema.Smalls.Prefix()[0]
	for _, c := range r.Changes {
		if c.Old != nil && c.Key[0] == small {
			b.old[string(c.Key)] = c.Old
		}
	}
	return b
}

// learn adds the buckets that a run made or dropped: rows of one that is gone
// may be among its changes.
func (l Layouts) learn(run fsm.Run) error {
	space := schema.Buckets.Prefix()[0]
	for _, c := range run.Changes {
		if c.Key[0] != space {
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
func contributions(r fsm.Run, tasks []Task, layouts Layouts, rows kv.Reader) (*Sums, []moved, error) {
	if err := layouts.learn(r); err != nil {
		return nil, nil, err
	}
	sums, moves := newSums(), []moved(nil)
	by := byTable(tasks)
	old := decoder{around: surroundings{layouts, past(r, rows)}}
	now := decoder{around: surroundings{layouts, rows}}
	for _, c := range r.Changes {
		var m moved
		for _, side := range []struct {
			d     *decoder
			value []byte
			sign  int64
			at    *place
		}{{&old, c.Old, -1, &m.from}, {&now, c.New, 1, &m.to}} {
			interested := by[tableOf[c.Key[0]]]
			if side.value == nil || len(interested) == 0 {
				continue
			}
			row, err := side.d.decode(c.Key, side.value)
			if err != nil {
				return nil, nil, err
			}
			for _, t := range interested {
				t.contribute(row, side.sign, sums)
			}
			if row.Dir != nil {
				m.bucket, m.dir = row.DirKey.Bucket, row.DirKey.Dir
				*side.at = place{ns.ObjectID(row.Dir.ParentId), true}
			}
		}
		if m.from != m.to {
			moves = append(moves, m)
		}
	}
	return sums, moves, nil
}

// byTable groups tasks by the tables they read.
func byTable(tasks []Task) map[string][]Task {
	m := map[string][]Task{}
	for _, t := range tasks {
		for _, name := range t.Reads {
			m[name] = append(m[name], t)
		}
	}
	return m
}

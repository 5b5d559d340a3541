package task

import (
	"bytes"
	"slices"

	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
)

// place is where a directory hangs.
type place struct {
	parent ns.ObjectID
	there  bool
}

// moved is a directory that a run made, dropped, or hung elsewhere.
type moved struct {
	bucket, dir ns.ObjectID
	from, to    place
}

// tree keeps the totals of subtrees. What is in a directory counts in it and in
// every directory above it, as the table dirs has them: the chain ends at the
// bucket, or at a directory that was deleted and is being purged, whose total
// shows what is left of it.
type tree struct {
	rows   kv.Reader // the namespace, after the run
	totals func(key []byte) (Counts, error)
	moves  map[string]place // where the run's directories hang now
	deltas *Sums            // of totals
}

// applyTree adds to sums what a run changes in the totals of subtrees: first
// each directory that moved takes its total away from above its old place, then
// what changed in directories themselves counts upwards, then each takes its
// total to above its new place. In between what moved hangs nowhere, so that at
// no time a directory is below itself.
func applyTree(sums *Sums, moves []moved, rows kv.Reader, totals func([]byte) (Counts, error)) error {
	t := &tree{rows: rows, totals: totals, moves: map[string]place{}, deltas: newSums()}
	for _, m := range moves {
		t.moves[string(dirKey(tableTotal, m.bucket, m.dir))] = m.from
	}
	for _, m := range moves {
		if err := t.detach(m); err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(directs(sums), bytes.Compare) {
		bucket, dir, err := parseDir(k)
		if err != nil {
			return err
		}
		if err := t.up(bucket, dir, slices.Clone(sums.of(k)), 1); err != nil {
			return err
		}
	}
	for _, m := range moves {
		if err := t.attach(m); err != nil {
			return err
		}
	}
	return t.deltas.drain(func(k []byte, c Counts) error {
		sums.AddAll(k, c, 1)
		return nil
	})
}

// directs yields the directories in which something changed.
func directs(sums *Sums) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for k := range sums.all {
			if k[0] == tableDirect && !yield([]byte(k)) {
				return
			}
		}
	}
}

func (t *tree) detach(m moved) error {
	k := dirKey(tableTotal, m.bucket, m.dir)
	if m.from.there {
		total, err := t.total(k)
		if err != nil {
			return err
		}
		if err := t.up(m.bucket, m.from.parent, total, -1); err != nil {
			return err
		}
	}
	t.moves[string(k)] = place{}
	return nil
}

func (t *tree) attach(m moved) error {
	k := dirKey(tableTotal, m.bucket, m.dir)
	if m.to.there {
		total, err := t.total(k)
		if err != nil {
			return err
		}
		if err := t.up(m.bucket, m.to.parent, total, 1); err != nil {
			return err
		}
	}
	t.moves[string(k)] = m.to
	return nil
}

// total returns the total of a directory as it is by now.
func (t *tree) total(k []byte) (Counts, error) {
	stored, err := t.totals(k)
	if err != nil {
		return nil, err
	}
	total := slices.Clone(stored)
	total.add(t.deltas.of(k), 1)
	return total, nil
}

// maxDepth is more than a tree may be deep: a path has at most so many parts.
const maxDepth = 1 << 16

// up adds c, times sign, to a directory and all above it.
func (t *tree) up(bucket, dir ns.ObjectID, c Counts, sign int64) error {
	if c.zero() {
		return nil
	}
	for range maxDepth {
		k := dirKey(tableTotal, bucket, dir)
		t.deltas.AddAll(k, c, sign)
		at, err := t.above(bucket, dir, k)
		if err != nil || !at.there {
			return err
		}
		dir = at.parent
	}
	return errs.New(errs.Corrupt, "directories", "one is below itself")
}

// above returns where a directory hangs at this point of the run.
func (t *tree) above(bucket, dir ns.ObjectID, k []byte) (place, error) {
	if dir == bucket {
		return place{}, nil
	}
	if at, ok := t.moves[string(k)]; ok {
		return at, nil
	}
	row, ok, err := schema.Dirs.Get(t.rows, schema.DirKey{Bucket: bucket, Dir: dir})
	if err != nil || !ok {
		return place{}, err
	}
	return place{ns.ObjectID(row.ParentId), true}, nil
}

package fsm_test

import (
	"maps"
	"slices"

	"o3/internal/ns"
)

// msnap is a live snapshot: the bucket as it was, a copy that never changes.
type msnap struct {
	name string
	op   ns.Op
	then *mbucket
}

// mreclaim is a deleted snapshot whose rows are not all dropped yet.
type mreclaim struct {
	bucket *mbucket
	id     ns.ObjectID // of the bucket
	snap   *msnap
}

// snapshot copies the bucket as it is now.
func (b *mbucket) snapshot(name string, op ns.Op) {
	then := newBucket(b.tree)
	for path, k := range b.keys {
		c := *k
		then.keys[path] = &c
	}
	then.marks, then.dirIDs = maps.Clone(b.marks), maps.Clone(b.dirIDs)
	b.snaps = append(b.snaps, &msnap{name, op, then})
}

// snap returns the live snapshot of that name, nil for none.
func (b *mbucket) snap(name string) *msnap {
	for _, s := range b.snaps {
		if s.name == name {
			return s
		}
	}
	return nil
}

func (b *mbucket) snapNames() (out []string) {
	for _, s := range b.snaps {
		out = append(out, s.name)
	}
	slices.Sort(out)
	return out
}

// costOf returns what putting a key of size bytes at path adds to what the
// quotas count: the key and the directories it makes; the key that was there
// goes, unless a snapshot goes on to hold it.
func (b *mbucket) costOf(path string, size int64) cost {
	c := cost{b.newDirs(path) + 1, size}
	k := b.keys[path]
	if n := len(b.snaps); k != nil && (n == 0 || b.snaps[n-1].op < k.born) {
		c.names, c.bytes = c.names-1, c.bytes-k.data.size()
	}
	return c
}

// lineages tells how long each data write lived: a key from its write, through
// renames and changes of attributes, to its overwrite or deletion; a directory
// from when it appeared until it was deleted.
type lineages struct {
	keys  map[*mkey]bool
	dirs  map[string]ns.Op // when each came to be
	ended []lineage        // those that a live snapshot holds
}

type lineage struct {
	born, end ns.Op
	size      uint64
}

func newLineages() *lineages { return &lineages{keys: map[*mkey]bool{}, dirs: map[string]ns.Op{}} }

// holds reports whether a snapshot was made while the lineage lived.
func (l lineage) holds(s *msnap) bool { return l.born <= s.op && s.op < l.end }

// settle notes which lineages the latest op began and ended.
func (b *mbucket) settle(op ns.Op) {
	l := b.lines
	present := map[*mkey]bool{}
	for _, k := range b.keys {
		present[k] = true
		if !l.keys[k] {
			l.keys[k], k.born = true, op
		}
	}
	for k := range l.keys {
		if !present[k] {
			delete(l.keys, k)
			l.ended = append(l.ended, lineage{k.born, op, uint64(k.data.size())})
		}
	}
	dirs := b.dirs()
	for d := range dirs {
		if _, ok := l.dirs[d]; !ok {
			l.dirs[d] = op
		}
	}
	for d, born := range l.dirs {
		if !dirs[d] {
			delete(l.dirs, d)
			delete(b.dirIDs, d)
			l.ended = append(l.ended, lineage{born, op, 0})
		}
	}
	l.ended = slices.DeleteFunc(l.ended, func(e lineage) bool { return !slices.ContainsFunc(b.snaps, e.holds) })
}

// held returns what only snapshots hold, and what only s among them does.
func (b *mbucket) held(s *msnap) (all, alone [2]uint64) {
	for _, e := range b.lines.ended {
		all[0], all[1] = all[0]+e.size, all[1]+1
		others := slices.ContainsFunc(b.snaps, func(o *msnap) bool { return o != s && e.holds(o) })
		if s != nil && e.holds(s) && !others {
			alone[0], alone[1] = alone[0]+e.size, alone[1]+1
		}
	}
	return all, alone
}

// usage returns the bytes, keys and directories of the bucket.
func (b *mbucket) usage() (u [3]uint64) {
	for _, k := range b.keys {
		u[0] += uint64(k.data.size())
	}
	u[1], u[2] = uint64(len(b.keys)), uint64(len(b.dirs()))
	return u
}

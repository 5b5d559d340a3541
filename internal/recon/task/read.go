package task

import (
	"errors"

	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
)

// Summary is what is in a directory, or in a whole subtree.
type Summary struct {
	Files, Directories, Bytes int64
	Bins                      [SizeBins]int64 // files by size; see SizeBin
}

func summary(c Counts) (s Summary) {
	s.Files, s.Directories, s.Bytes = c.At(slotFiles), c.At(slotDirectories), c.At(slotBytes)
	for i := range s.Bins {
		s.Bins[i] = c.At(slotBins + i)
	}
	return s
}

// Direct returns what is in a directory itself. That of a bucket's root has the
// bucket's id.
func Direct(r kv.Reader, bucket, dir ns.ObjectID) (Summary, error) {
	c, err := ReadCounts(r, dirKey(tableDirect, bucket, dir))
	return summary(c), err
}

// Total returns what is in a directory and all below it.
func Total(r kv.Reader, bucket, dir ns.ObjectID) (Summary, error) {
	c, err := ReadCounts(r, dirKey(tableTotal, bucket, dir))
	return summary(c), err
}

// scan calls f with each row whose key begins with prefix and comes after the key
// after, until f returns false.
func scan(r kv.Reader, prefix, after []byte, f func(key []byte, c Counts) (bool, error)) (err error) {
	lower := prefix
	if after != nil {
		lower = append(append([]byte(nil), after...), 0)
	}
	it, err := r.Iter(lower, keys.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var c Counts
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		if c, err = parseCounts(c[:0], value); err != nil {
			return err
		}
		if more, err := f(it.Key(), c); err != nil || !more {
			return err
		}
	}
	return it.Err()
}

// ids reads n ids from a derived key; rest is what follows them.
func ids(k []byte, n int) (out []uint64, rest []byte, err error) {
	rest = k[1:]
	for range n {
		var v uint64
		if v, rest, err = keys.TakeUint64(rest); err != nil {
			return nil, nil, errs.New(errs.Corrupt, "derived table", "a key is malformed")
		}
		out = append(out, v)
	}
	return out, rest, nil
}

// Children calls f with the directories in a directory, by their ids, which come
// after the one given, until f returns false.
func Children(r kv.Reader, bucket, dir, after ns.ObjectID, f func(child ns.ObjectID) (bool, error)) error {
	prefix := dirKey(tableChildren, bucket, dir)
	var from []byte
	if after != 0 {
		from = keys.Uint64(dirKey(tableChildren, bucket, dir), uint64(after))
	}
	return scan(r, prefix, from, func(k []byte, _ Counts) (bool, error) {
		id, _, err := ids(k, 3)
		if err != nil {
			return false, err
		}
		return f(ns.ObjectID(id[2]))
	})
}

// Container is how many keys have blocks in a container.
type Container struct {
	ID   uint64
	Keys int64
}

// Containers calls f with the containers after one, by their ids, until f returns
// false.
func Containers(r kv.Reader, after uint64, f func(Container) (bool, error)) error {
	var from []byte
	if after != 0 {
		from = key(tableContainers, after)
	}
	return scan(r, []byte{tableContainers}, from, func(k []byte, c Counts) (bool, error) {
		id, _, err := ids(k, 1)
		if err != nil {
			return false, err
		}
		return f(Container{id[0], c.At(0)})
	})
}

// ContainerKeys returns how many keys have blocks in a container.
func ContainerKeys(r kv.Reader, container uint64) (int64, error) {
	c, err := ReadCounts(r, key(tableContainers, container))
	return c.At(0), err
}

// KeysOf calls f with the keys that have blocks in a container, and how many, in
// the order of bucket, parent and name, after the one given, nil for none, until
// f returns false.
func KeysOf(r kv.Reader, container uint64, after *schema.EntryKey, f func(k schema.EntryKey, blocks int64) (bool, error)) error {
	prefix := key(tableContainerKeys, container)
	var from []byte
	if after != nil {
		from = append(key(tableContainerKeys, container, uint64(after.Bucket), uint64(after.Parent)), after.Name...)
	}
	return scan(r, prefix, from, func(k []byte, c Counts) (bool, error) {
		id, name, err := ids(k, 3)
		if err != nil {
			return false, err
		}
		return f(schema.EntryKey{Bucket: ns.ObjectID(id[1]), Parent: ns.ObjectID(id[2]), Name: string(name)}, c.At(0))
	})
}

// Aged is what was last changed in a month.
type Aged struct {
	Months       int // since January 1970
	Files, Bytes int64
}

// Ages calls f with each month in which a file of the bucket was last changed.
func Ages(r kv.Reader, bucket ns.ObjectID, f func(Aged) (bool, error)) error {
	return scan(r, key(tableAge, uint64(bucket)), nil, func(k []byte, c Counts) (bool, error) {
		id, _, err := ids(k, 2)
		if err != nil {
			return false, err
		}
		return f(Aged{int(id[1]), c.At(0), c.At(1)})
	})
}

// Large is a file of at least LargeFile bytes.
type Large struct {
	Bytes uint64
	Key   schema.EntryKey
}

// Held is what the snapshots of a bucket alone hold.
type Held struct {
	Bytes, Names, Snapshots, Deleted int64
}

// SnapshotSpace returns what the snapshots of a bucket hold.
func SnapshotSpace(r kv.Reader, bucket ns.ObjectID) (Held, error) {
	c, err := ReadCounts(r, key(tableSnapshotSpace, uint64(bucket)))
	return Held{c.At(0), c.At(1), c.At(2), c.At(3)}, err
}

// SnapshotSpaces calls f with what the snapshots of each bucket that has any
// hold, by the buckets' ids, which come after the one given, until f returns
// false.
func SnapshotSpaces(r kv.Reader, after ns.ObjectID, f func(bucket ns.ObjectID, h Held) (bool, error)) error {
	var from []byte
	if after != 0 {
		from = key(tableSnapshotSpace, uint64(after))
	}
	return scan(r, []byte{tableSnapshotSpace}, from, func(k []byte, c Counts) (bool, error) {
		id, _, err := ids(k, 1)
		if err != nil {
			return false, err
		}
		return f(ns.ObjectID(id[0]), Held{c.At(0), c.At(1), c.At(2), c.At(3)})
	})
}

// Largest calls f with the largest files, the largest first, that come after one,
// nil for none, until f returns false.
func Largest(r kv.Reader, after *Large, f func(Large) (bool, error)) error {
	var from []byte
	if after != nil {
		from = append(key(tableLargest, ^after.Bytes, uint64(after.Key.Bucket), uint64(after.Key.Parent)), after.Key.Name...)
	}
	return scan(r, []byte{tableLargest}, from, func(k []byte, _ Counts) (bool, error) {
		id, name, err := ids(k, 3)
		if err != nil {
			return false, err
		}
		return f(Large{^id[0], schema.EntryKey{Bucket: ns.ObjectID(id[1]), Parent: ns.ObjectID(id[2]), Name: string(name)}})
	})
}

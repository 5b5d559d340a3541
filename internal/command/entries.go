package command

import (
	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// place is where a path leads: the slot of its entry, the directories above it
// and, in a file-system bucket, those that are missing.
type place struct {
	path      string
	key       schema.EntryKey
	entry     *schemapb.Entry // nil: nothing there
	ancestors []dirEntry      // existing ones, from the root down
	missing   []string        // names of directories to make, without slashes
	parentKey bool            // a component of the path is a key
}

// dirEntry is a directory's row and its place.
type dirEntry struct {
	key   schema.EntryKey
	entry *schemapb.Entry
}

func isDir(e *schemapb.Entry) bool {
	return e != nil && e.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY
}

// find walks path from the bucket's root, so that what it finds is reachable.
// In a file-system bucket a path that ends in a slash leads to the slot of a
// directory, any other to that of a key.
func (t *Tx) find(b *bucketState, path string) (place, error) {
	p := place{path: path}
	if !b.fso() {
		p.key = schema.EntryKey{Bucket: b.id(), Parent: b.id(), Name: path}
		return p, t.load(&p)
	}
	parents, name, dir := ns.SplitPath(path)
	parent := b.id()
	for i, component := range parents {
		key := schema.EntryKey{Bucket: b.id(), Parent: parent, Name: component + "/"}
		entry, ok, err := schema.Entries.Get(t.w, key)
		if err != nil {
			return p, err
		}
		if !ok {
			p.missing = parents[i:]
			key.Name = component
			_, p.parentKey, err = schema.Entries.Get(t.w, key)
			return p, err
		}
		p.ancestors = append(p.ancestors, dirEntry{key, entry})
		parent = ns.ObjectID(entry.ObjectId)
	}
	if dir {
		name += "/"
	}
	p.key = schema.EntryKey{Bucket: b.id(), Parent: parent, Name: name}
	return p, t.load(&p)
}

func (t *Tx) load(p *place) error {
	entry, ok, err := schema.Entries.Get(t.w, p.key)
	if ok {
		p.entry = entry
	}
	return err
}

// twin returns the other row of p's slot: a name with and without a slash are
// one slot of a file-system bucket. It is nil in other buckets, and while
// directories above are missing.
func (t *Tx) twin(b *bucketState, p place) (*schemapb.Entry, error) {
	if !b.fso() || len(p.missing) > 0 {
		return nil, nil
	}
	key := p.key
	if n := len(key.Name) - 1; key.Name[n] == '/' {
		key.Name = key.Name[:n]
	} else {
		key.Name += "/"
	}
	entry, ok, err := schema.Entries.Get(t.w, key)
	if !ok {
		return nil, err
	}
	return entry, nil
}

// writable refuses a place where no key can be put.
func (t *Tx) writable(b *bucketState, p place) error {
	if p.parentKey {
		return errs.New(errs.ParentIsKey, p.path, "a component of the path is a key, not a directory")
	}
	twin, err := t.twin(b, p)
	if err != nil {
		return err
	}
	if twin != nil {
		if isDir(twin) {
			return errs.New(errs.IsDirectory, p.path, "a directory has this name")
		}
		return errs.New(errs.ParentIsKey, p.path, "a key has this name")
	}
	return nil
}

// makeParents makes the missing directories above p, which then has a slot.
func (t *Tx) makeParents(b *bucketState, p *place, owner string) error {
	if len(p.missing) == 0 {
		return nil
	}
	parent := b.id()
	if n := len(p.ancestors); n > 0 {
		parent = ns.ObjectID(p.ancestors[n-1].entry.ObjectId)
	}
	for _, name := range p.missing {
		key := schema.EntryKey{Bucket: b.id(), Parent: parent, Name: name + "/"}
		entry := &schemapb.Entry{Owner: owner, Implicit: true}
		if err := t.makeDir(b, key, entry); err != nil {
			return err
		}
		p.ancestors = append(p.ancestors, dirEntry{key, entry})
		parent = ns.ObjectID(entry.ObjectId)
	}
	p.missing = nil
	_, name, dir := ns.SplitPath(p.path)
	if dir {
		name += "/"
	}
	p.key = schema.EntryKey{Bucket: b.id(), Parent: parent, Name: name}
	return nil
}

// makeDir makes the directory entry in an empty slot.
func (t *Tx) makeDir(b *bucketState, key schema.EntryKey, entry *schemapb.Entry) error {
	id, err := t.newID()
	if err != nil {
		return err
	}
	entry.Kind, entry.ObjectId, entry.Born = o3v1.EntryKind_ENTRY_KIND_DIRECTORY, uint64(id), uint64(t.op)
	entry.CreatedMs, entry.ModifiedMs = t.now, t.now
	if err := t.replace(b, key, nil, entry); err != nil {
		return err
	}
	return t.hang(key, id)
}

// hang notes where a directory hangs, for walks upwards.
func (t *Tx) hang(key schema.EntryKey, id ns.ObjectID) error {
	return schema.Dirs.Put(t.w, schema.DirKey{Bucket: key.Bucket, Dir: id}, &schemapb.Dir{
		Since: uint64(t.op), ParentId: uint64(key.Parent), Name: key.Name,
	})
}

// replace is how a live row of entries changes: old, the row under key (nil:
// none), leaves, and entry (nil: none) takes its place. It keeps the usage
// exact, and what snapshots see of old. The blocks of entry must be new or
// shared already.
func (t *Tx) replace(b *bucketState, key schema.EntryKey, old, entry *schemapb.Entry) error {
	if old != nil && !continues(old, entry) {
		if err := t.bury(b, old, t.op); err != nil {
			return err
		}
	}
	return t.put(b, key, old, entry)
}

// sizeOf returns what a row counts for.
func sizeOf(e *schemapb.Entry) usage {
	switch {
	case e == nil:
		return usage{}
	case isDir(e):
		return usage{dirs: 1}
	}
	return usage{bytes: int64(e.Size), keys: 1}
}

func minus(a, b usage) usage {
	return usage{bytes: a.bytes - b.bytes, keys: a.keys - b.keys, dirs: a.dirs - b.dirs}
}

// empty reports whether a directory has no children.
func (t *Tx) empty(bucket, dir ns.ObjectID) (bool, error) {
	it, err := t.w.Iter(schema.Children(bucket, dir, ""))
	if err != nil {
		return false, err
	}
	defer it.Close()
	return !it.First(), it.Err()
}

// prune removes implicit directories that have become empty, upwards.
func (t *Tx) prune(b *bucketState, ancestors []dirEntry) error {
	for i := len(ancestors) - 1; i >= 0; i-- {
		d := ancestors[i]
		if !d.entry.Implicit {
			return nil
		}
		id := ns.ObjectID(d.entry.ObjectId)
		empty, err := t.empty(b.id(), id)
		if err != nil || !empty {
			return err
		}
		if err := t.removeDir(b, d.key, d.entry); err != nil {
			return err
		}
	}
	return nil
}

// removeDir removes a directory's own rows, whatever is below it.
func (t *Tx) removeDir(b *bucketState, key schema.EntryKey, entry *schemapb.Entry) error {
	if err := t.replace(b, key, entry, nil); err != nil {
		return err
	}
	_, err := t.unhang(b, ns.ObjectID(entry.ObjectId), t.op)
	return err
}

// check refuses a write whose preconditions the present row does not meet.
func check(pre *o3v1.Preconditions, path string, e *schemapb.Entry) error {
	if pre == nil {
		return nil
	}
	failed := func(what string) error { return errs.New(errs.PreconditionFailed, path, what) }
	if pre.IfAbsent && e != nil {
		return failed("If-None-Match: the key exists")
	}
	if pre.IfMatch != "" || pre.IfSince != 0 || pre.IfSizeSet {
		if e == nil {
			return errs.New(errs.NoSuchKey, path, "If-Match: there is no such key")
		}
	}
	if e == nil {
		return nil
	}
	switch {
	case pre.IfMatch != "" && pre.IfMatch != "*" && pre.IfMatch != e.Etag:
		return failed("If-Match: the key has another ETag")
	case pre.IfSince != 0 && pre.IfSince != e.Since:
		return failed("the key was written meanwhile")
	case pre.IfSizeSet && pre.IfSize != e.Size:
		return failed("the key has another size")
	case pre.IfNoneMatch != "" && pre.IfNoneMatch == e.Etag:
		return failed("If-None-Match: the key has this ETag")
	case pre.IfUnmodifiedSinceMs != 0 && e.ModifiedMs/1000 > pre.IfUnmodifiedSinceMs/1000:
		return failed("If-Unmodified-Since: the key is newer")
	}
	return nil
}

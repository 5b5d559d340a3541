package command

import (
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// renameKey moves one row, whatever is under it. A path to a directory may end
// in a slash or not.
func renameKey(t *Tx, c *o3v1.RenameKeyRequest) (*o3v1.RenameKeyResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{c.From, c.To} {
		if err := ns.CheckKeyName(ns.Layout(b.row.Layout), name); err != nil {
			return nil, err
		}
	}
	from, err := t.source(b, c.From)
	if err != nil {
		return nil, err
	}
	toPath := c.To
	if b.fso() {
		if toPath, err = matchSlash(from, c.To); err != nil {
			return nil, err
		}
	}
	to, err := t.find(b, toPath)
	if err != nil {
		return nil, err
	}
	if to.key == from.key && len(to.missing) == 0 {
		return &o3v1.RenameKeyResponse{Key: KeyInfo(from.path, from.key.Parent, from.entry)}, nil
	}
	if err := t.mayMove(b, from, to, c.Overwrite); err != nil {
		return nil, err
	}
	moved, err := t.move(b, from, &to)
	if err != nil {
		return nil, err
	}
	return &o3v1.RenameKeyResponse{Key: KeyInfo(to.path, to.key.Parent, moved)}, nil
}

// source finds the key or directory at path, with or without its slash.
func (t *Tx) source(b *bucketState, path string) (place, error) {
	p, err := t.find(b, path)
	if err != nil {
		return p, err
	}
	if p.entry == nil && b.fso() && path[len(path)-1] != '/' {
		if p, err = t.find(b, path+"/"); err != nil {
			return p, err
		}
	}
	if p.entry == nil {
		return p, errs.New(errs.NoSuchKey, path, "")
	}
	return p, nil
}

// matchSlash returns the target path in the form of its source's kind.
func matchSlash(from place, to string) (string, error) {
	slash := to[len(to)-1] == '/'
	switch {
	case isDir(from.entry) && !slash:
		return to + "/", nil
	case !isDir(from.entry) && slash:
		return "", errs.New(errs.InvalidRename, to, "the source is a key; the target may not end in '/'")
	}
	return to, nil
}

func (t *Tx) mayMove(b *bucketState, from, to place, overwrite bool) error {
	for _, d := range to.ancestors {
		if d.entry.ObjectId == from.entry.ObjectId {
			return errs.New(errs.InvalidRename, to.path, "a directory cannot be moved below itself")
		}
	}
	if to.entry != nil && (!overwrite || isDir(to.entry)) {
		return errs.New(errs.KeyExists, to.path, "the target of the rename exists")
	}
	if err := t.writable(b, to); err != nil {
		return err
	}
	u, err := t.gain(b, to.entry, nil)
	if err != nil {
		return err
	}
	u.dirs += int64(len(to.missing))
	return t.room(b, u)
}

// move puts from's row at to and nothing in its place. The target's row, if
// any, goes, and so do the directories that this leaves empty.
func (t *Tx) move(b *bucketState, from place, to *place) (*schemapb.Entry, error) {
	moved, err := t.relocate(b, from, to)
	if err != nil {
		return nil, err
	}
	return moved, t.prune(b, t.still(from.ancestors, to.ancestors))
}

// relocate is move without a look at the directories above the source.
func (t *Tx) relocate(b *bucketState, from place, to *place) (*schemapb.Entry, error) {
	if to.entry != nil {
		if err := t.replace(b, to.key, to.entry, nil); err != nil {
			return nil, err
		}
	}
	if err := t.makeParents(b, to, t.principal); err != nil {
		return nil, err
	}
	moved := clone(from.entry)
	if err := t.share(moved.Extents); err != nil {
		return nil, err
	}
	if err := t.put(b, from.key, from.entry, nil); err != nil { // not replace: its lineage lives on
		return nil, err
	}
	if err := t.put(b, to.key, nil, moved); err != nil {
		return nil, err
	}
	if isDir(moved) {
		if _, err := t.unhang(b, ns.ObjectID(moved.ObjectId), t.op); err != nil {
			return nil, err
		}
		if err := t.hang(to.key, ns.ObjectID(moved.ObjectId)); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// still returns the ancestors of a source that a rename left: those that are
// not above the target too, which is not empty.
func (t *Tx) still(from, to []dirEntry) []dirEntry {
	n := 0
	for n < len(from) && n < len(to) && from[n].key == to[n].key {
		n++
	}
	return from[n:]
}

func clone(e *schemapb.Entry) *schemapb.Entry { return proto.Clone(e).(*schemapb.Entry) }

package command

import (
	"fmt"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// maxTrashKeys bounds the keys that one command moves or deletes.
const maxTrashKeys = 1000

// trashState is the trash that a command is about.
type trashState struct {
	b                   *bucketState
	current, checkpoint string // prefixes, with their slashes
	limit               int
}

func (t *Tx) trashOf(volume, bucket string, id uint64, owner, checkpoint string, limit uint32) (s trashState, err error) {
	if s.b, err = t.bucket(volume, bucket); err != nil {
		return s, err
	}
	subject := "trash of " + s.b.path()
	switch {
	case s.b.row.ObjectId != id:
		return s, errs.New(errs.Conflict, subject, "the bucket was made anew meanwhile")
	case s.b.row.LifecycleUpdateId == 0:
		return s, errs.New(errs.NoSuchConfiguration, subject, "the bucket has no lifecycle rules")
	}
	if _, ok := ParseTrashCheckpoint(checkpoint); !ok {
		return s, errs.New(errs.Invalid, subject, "a checkpoint is named yyMMddHHmmss, not "+checkpoint)
	}
	root := TrashOf(owner)
	if root != TrashPrefix+owner+"/" {
		return s, errs.New(errs.Invalid, subject, "there is no trash of "+owner)
	}
	s.current, s.checkpoint = root+TrashCurrent+"/", root+checkpoint+"/"
	s.limit = int(min(max(limit, 1), maxTrashKeys))
	return s, t.mayScan(s.b)
}

// checkpointTrash sets aside what is in a trash. In a file-system bucket it is
// the rename of a directory; in others its keys move, as many as the limit says.
func checkpointTrash(t *Tx, c *commandpb.CheckpointTrash) (*commandpb.CheckpointTrashReply, error) {
	s, err := t.trashOf(c.Volume, c.Bucket, c.BucketId, c.Owner, c.Checkpoint, c.Limit)
	if err != nil {
		return nil, err
	}
	reply := &commandpb.CheckpointTrashReply{}
	if !s.b.fso() {
		reply.Keys, reply.Bytes, reply.More, err = s.each(t, s.current, func(i int, key schema.EntryKey, row *schemapb.Entry) error {
			return s.setAside(t, i, key, row)
		})
		return reply, err
	}
	from, err := t.find(s.b, s.current)
	if err != nil || from.entry == nil {
		return reply, err
	}
	to, err := t.find(s.b, s.checkpoint)
	if err != nil {
		return nil, err
	}
	if to.entry != nil {
		return nil, errs.New(errs.KeyExists, s.checkpoint, "there is a checkpoint of this time already")
	}
	if err := t.writable(s.b, to); err != nil {
		return nil, err
	}
	_, err = t.move(s.b, from, &to)
	return reply, err
}

// setAside moves one key of an object-store bucket, the i-th of the command, to
// the checkpoint. Where one of its name lies there already, moved by a command
// before or put there by hand, it gets another.
func (s trashState) setAside(t *Tx, i int, key schema.EntryKey, row *schemapb.Entry) error {
	from := place{path: key.Name, key: key, entry: row}
	name := key.Name[len(s.current):]
	to, err := t.find(s.b, s.checkpoint+name)
	if err == nil && to.entry != nil {
		suffix := fmt.Sprintf(".%s-%d", TrashCheckpoint(t.now), t.op)
		to, err = t.find(s.b, trashPath(ns.MaxKeyName, s.checkpoint, suffixLast(name, suffix), fmt.Sprintf("%s-%d", suffix, i)))
	}
	if err == nil && to.entry != nil {
		err = errs.New(errs.KeyExists, to.path, "no name is free for "+key.Name)
	}
	if err != nil {
		return err
	}
	_, err = t.relocate(s.b, from, &to)
	return err
}

// emptyTrash deletes what was set aside. In a file-system bucket the directory
// goes at once, and is purged later; in others its keys go, as many as the limit
// says.
func emptyTrash(t *Tx, c *commandpb.EmptyTrash) (*commandpb.EmptyTrashReply, error) {
	s, err := t.trashOf(c.Volume, c.Bucket, c.BucketId, c.Owner, c.Checkpoint, c.Limit)
	if err != nil {
		return nil, err
	}
	reply := &commandpb.EmptyTrashReply{}
	if !s.b.fso() {
		reply.Keys, reply.Bytes, reply.More, err = s.each(t, s.checkpoint, func(_ int, key schema.EntryKey, row *schemapb.Entry) error {
			return t.replace(s.b, key, row, nil)
		})
		return reply, err
	}
	p, err := t.find(s.b, s.checkpoint)
	if err != nil || p.entry == nil {
		return reply, err
	}
	_, err = t.deleteDir(s.b, p, true, false)
	return reply, err
}

// each calls f with keys of an object-store bucket that start with prefix, as many
// as the limit says.
func (s trashState) each(t *Tx, prefix string, f func(int, schema.EntryKey, *schemapb.Entry) error) (keys, bytes uint64, more bool, err error) {
	type found struct {
		key schema.EntryKey
		row *schemapb.Entry
	}
	var list []found
	lower, upper := schema.Children(s.b.id(), s.b.id(), prefix)
	err = schema.Entries.Scan(t.w, lower, upper, func(k schema.EntryKey, e *schemapb.Entry) (bool, error) {
		if more = len(list) == s.limit; more {
			return false, nil
		}
		list = append(list, found{k, e})
		return true, nil
	})
	for i, k := range list {
		if err == nil {
			err = f(i, k.key, k.row)
		}
		bytes += k.row.Size
	}
	return uint64(len(list)), bytes, more, err
}

package command

import (
	"errors"
	"fmt"
	"strings"

	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// MaxRestores is the most paths one RestoreKeys takes.
const MaxRestores = 1000

// restoreKeys puts keys and explicit directories back as a snapshot has them;
// their blocks are shared. Each path has its own answer.
func restoreKeys(t *Tx, c *commandpb.RestoreKeys) (*commandpb.RestoreKeysReply, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if len(c.Paths) > MaxRestores {
		return nil, errs.New(errs.Invalid, "paths", fmt.Sprintf("%d paths, at most %d are allowed", len(c.Paths), MaxRestores))
	}
	at := ns.Op(c.SnapshotOp)
	if err := t.mustLive(b, fmt.Sprintf("(op %d)", at), at); err != nil {
		return nil, err
	}
	reply := &commandpb.RestoreKeysReply{}
	for _, path := range c.Paths {
		if t.ids+1+uint64(strings.Count(path, "/")) > 1<<idBits {
			break // no ids are left for the directories it may need
		}
		result, err := t.restore(b, path, at)
		if err != nil {
			refusal, ok := errors.AsType[*errs.Error](err)
			if !ok || IsFault(err) {
				return nil, err
			}
			result = &commandpb.RestoredKey{Kind: uint32(refusal.Kind), Detail: refusal.Detail}
		}
		reply.Results = append(reply.Results, result)
	}
	return reply, nil
}

func (t *Tx) restore(b *bucketState, path string, at ns.Op) (*commandpb.RestoredKey, error) {
	if err := ns.CheckKeyName(ns.Layout(b.row.Layout), path); err != nil {
		return nil, err
	}
	_, then, err := Find(t.w, b.id(), ns.Layout(b.row.Layout), path, at)
	if err != nil {
		return nil, err
	}
	if then == nil {
		return nil, errs.New(errs.NoSuchKey, path, "the snapshot does not have it")
	}
	p, err := t.find(b, path)
	if err != nil {
		return nil, err
	}
	if p.entry != nil && ContentTag(p.entry) == ContentTag(then) || isDir(then) && then.Implicit {
		return &commandpb.RestoredKey{}, nil // a directory that only holds others comes with them
	}
	entry := clone(then)
	switch {
	case isDir(entry) && p.entry != nil:
		err = t.remarkDir(b, p, entry)
	case isDir(entry):
		if err = t.admit(b, p, entry); err == nil {
			err = t.restoreDir(b, &p, entry)
		}
	default:
		if err = t.admit(b, p, entry); err == nil {
			err = t.restoreKey(b, &p, entry)
		}
	}
	return &commandpb.RestoredKey{Restored: true, Bytes: entry.Size}, err
}

// restoreKey puts a key at p: over the row there, whose id it takes, or with a
// fresh one. Its lineage is new.
func (t *Tx) restoreKey(b *bucketState, p *place, entry *schemapb.Entry) error {
	if err := t.share(entry.Extents); err != nil {
		return err
	}
	entry.Born, entry.ModifiedMs = uint64(t.op), t.now
	if old := p.entry; old != nil {
		entry.ObjectId, entry.CreatedMs = old.ObjectId, old.CreatedMs
		return t.replace(b, p.key, old, entry)
	}
	if err := t.makeParents(b, p, entry.Owner); err != nil {
		return err
	}
	id, err := t.newID()
	if err != nil {
		return err
	}
	entry.ObjectId, entry.CreatedMs = uint64(id), t.now
	return t.replace(b, p.key, nil, entry)
}

// remarkDir gives the directory at p the attributes of entry.
func (t *Tx) remarkDir(b *bucketState, p place, entry *schemapb.Entry) error {
	old := p.entry
	entry.ObjectId, entry.Born, entry.CreatedMs, entry.ModifiedMs = old.ObjectId, old.Born, old.CreatedMs, t.now
	return t.replace(b, p.key, old, entry)
}

// restoreDir makes the directory at p.
func (t *Tx) restoreDir(b *bucketState, p *place, entry *schemapb.Entry) error {
	if err := t.makeParents(b, p, entry.Owner); err != nil {
		return err
	}
	return t.makeDir(b, p.key, entry)
}

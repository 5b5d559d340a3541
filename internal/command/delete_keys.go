package command

import (
	"errors"
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// MaxDeletes is the most keys one DeleteKeys takes.
const MaxDeletes = 1000

// deleteKeys deletes keys and directories, each with its own answer.
func deleteKeys(t *Tx, c *o3v1.DeleteKeysRequest) (*o3v1.DeleteKeysResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if len(c.Keys) > MaxDeletes {
		return nil, errs.New(errs.Invalid, "keys", fmt.Sprintf("%d keys, at most %d are allowed", len(c.Keys), MaxDeletes))
	}
	resp := &o3v1.DeleteKeysResponse{}
	for _, k := range c.Keys {
		existed, err := t.deleteKey(b, k, c.Recursive, c.MustExist)
		result := &o3v1.DeleteKeyResult{Existed: existed}
		if err != nil {
			refusal, ok := errors.AsType[*errs.Error](err)
			if !ok || IsFault(err) {
				return nil, err
			}
			result.Kind, result.Detail = uint32(refusal.Kind), refusal.Detail
		}
		resp.Results = append(resp.Results, result)
	}
	return resp, nil
}

func (t *Tx) deleteKey(b *bucketState, k *o3v1.DeleteKey, recursive, mustExist bool) (existed bool, err error) {
	if err := ns.CheckKeyName(ns.Layout(b.row.Layout), k.Key); err != nil {
		return false, err
	}
	p, err := t.find(b, k.Key)
	if err != nil {
		return false, err
	}
	if err := check(k.If, k.Key, p.entry); err != nil {
		return false, err
	}
	if p.entry == nil {
		if mustExist {
			return false, errs.New(errs.NoSuchKey, k.Key, "")
		}
		return false, nil
	}
	if !isDir(p.entry) {
		if err := t.replace(b, p.key, p.entry, nil); err != nil {
			return false, err
		}
		return true, t.prune(b, p.ancestors)
	}
	return t.deleteDir(b, p, recursive, mustExist)
}

// deleteDir deletes a directory. With recursive everything below goes too: the
// directory's rows go now, in constant time, the subtree is purged later as of
// this op. Without, a directory that is not empty is refused where mustExist
// asks for file-system manners; for S3 only the marker goes: the directory
// becomes implicit.
func (t *Tx) deleteDir(b *bucketState, p place, recursive, mustExist bool) (bool, error) {
	id := ns.ObjectID(p.entry.ObjectId)
	empty, err := t.empty(b.id(), id)
	if err != nil {
		return false, err
	}
	switch {
	case empty:
	case recursive:
		if err := t.queuePurge(b, id, t.op, p.path); err != nil {
			return false, err
		}
	case mustExist:
		return false, errs.New(errs.NotEmpty, p.path, "the directory has entries; delete it recursively or empty it first")
	case p.entry.Implicit:
		return false, nil
	default:
		marked := clone(p.entry)
		marked.Implicit = true
		return true, t.replace(b, p.key, p.entry, marked)
	}
	if err := t.removeDir(b, p.key, p.entry); err != nil {
		return false, err
	}
	return true, t.prune(b, p.ancestors)
}

// queuePurge notes that what is below dir was deleted as of op at.
func (t *Tx) queuePurge(b *bucketState, dir ns.ObjectID, at ns.Op, path string) error {
	t.charge(b, usage{pendingDirs: 1})
	key := schema.OpKey{Op: t.op, N: t.queued}
	t.queued++
	return schema.DeletedDirs.Put(t.w, key, &schemapb.DeletedDir{
		Volume: b.volume.name, Bucket: b.key.Name, BucketId: b.row.ObjectId, DirId: uint64(dir),
		DeletedOp: uint64(at), DeletedMs: t.now, Path: path,
	})
}

// IsFault reports whether err means that this replica must stop, rather than
// that a request is refused.
func IsFault(err error) bool {
	switch errs.KindOf(err) {
	case errs.Internal, errs.Corrupt, errs.FormatTooNew, errs.FormatUnknown:
		return true
	}
	return false
}

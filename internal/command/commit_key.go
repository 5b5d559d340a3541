package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// commitKey publishes a key whose bytes are durable. A key that is there keeps
// its object id.
func commitKey(t *Tx, c *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if err := checkNewKey(b, c.Key); err != nil {
		return nil, err
	}
	if err := t.checkData(c.Key, c.Extents, c.Data, c.Size, c.DeadlineMs); err != nil {
		return nil, err
	}
	p, err := t.find(b, c.Key)
	if err != nil {
		return nil, err
	}
	same, err := t.named(p.entry.GetExtents(), c.Extents)
	if err != nil {
		return nil, err
	}
	if same { // the same request once more: its blocks are named already
		return &o3v1.CommitKeyResponse{Key: KeyInfo(c.Key, p.key.Parent, p.entry)}, nil
	}
	if err := check(c.If, c.Key, p.entry); err != nil {
		return nil, err
	}
	entry := &schemapb.Entry{
		Kind: o3v1.EntryKind_ENTRY_KIND_KEY, Size: c.Size, Etag: c.Etag,
		Headers: c.Headers, Tags: c.Tags, Checksum: c.Checksum,
	}
	if err := t.admit(b, p, entry); err != nil {
		return nil, err
	}
	if entry.Extents, err = t.store(c.Extents, c.Data); err != nil {
		return nil, err
	}
	if err := t.publish(b, &p, entry); err != nil {
		return nil, err
	}
	if c.Session != 0 {
		if err := t.closeKey(b, c.Key, c.Session); err != nil {
			return nil, err
		}
	}
	return &o3v1.CommitKeyResponse{Key: KeyInfo(c.Key, p.key.Parent, entry)}, nil
}

// checkNewKey refuses a name that no key of the bucket can have.
func checkNewKey(b *bucketState, name string) error {
	if err := ns.CheckKeyName(ns.Layout(b.row.Layout), name); err != nil {
		return err
	}
	if b.fso() && name[len(name)-1] == '/' {
		return errs.New(errs.Invalid, fmt.Sprintf("key name %q", name),
			"in a file-system bucket a name that ends in '/' is a directory, which holds no bytes")
	}
	return nil
}

// checkData refuses extents and data that do not make up size bytes, or that
// the sweep may have freed since: after the deadline that the leader set.
func (t *Tx) checkData(subject string, extents []*o3v1.Extent, data []byte, size uint64, deadlineMs int64) error {
	if err := checkExtents(subject, extents, data, size); err != nil {
		return err
	}
	if len(extents) > 0 && t.now > deadlineMs {
		return errs.New(errs.Conflict, subject, "its bytes were written too long ago; write them again")
	}
	return nil
}

// named reports whether a row that holds the extents have names the blocks that
// a request brings: then it is what an earlier copy of that request made.
func (t *Tx) named(have, bring []*o3v1.Extent) (bool, error) {
	if len(have) == 0 || len(bring) == 0 {
		return false, nil
	}
	direct, err := DirectExtents(t.w, have[:1])
	if err != nil || len(direct) == 0 {
		return false, err
	}
	return blockOf(direct[0]) == blockOf(bring[0]), nil
}

// admit refuses a new row for p, with which a lineage begins, that has no place
// or no room.
func (t *Tx) admit(b *bucketState, p place, entry *schemapb.Entry) error {
	entry.Born = uint64(t.op)
	if err := t.writable(b, p); err != nil {
		return err
	}
	u, err := t.gain(b, p.entry, entry)
	if err != nil {
		return err
	}
	u.dirs += int64(len(p.missing))
	return t.room(b, u)
}

// store makes extents of what a request brought: blocks, or bytes that go into
// the store.
func (t *Tx) store(extents []*o3v1.Extent, data []byte) ([]*o3v1.Extent, error) {
	if len(data) == 0 {
		return t.pack(extents)
	}
	e, err := t.keep(data)
	return []*o3v1.Extent{e}, err
}

// publish puts a key with new data at p: over the row there, whose id, owner
// and grants it keeps, or with an id of its own.
func (t *Tx) publish(b *bucketState, p *place, entry *schemapb.Entry) error {
	entry.Born, entry.ModifiedMs = uint64(t.op), t.now
	if old := p.entry; old != nil {
		entry.ObjectId, entry.CreatedMs, entry.Owner, entry.Grants = old.ObjectId, old.CreatedMs, old.Owner, old.Grants
		return t.replace(b, p.key, old, entry)
	}
	if err := t.makeParents(b, p, t.principal); err != nil {
		return err
	}
	id, err := t.newID()
	if err != nil {
		return err
	}
	entry.ObjectId, entry.CreatedMs, entry.Owner = uint64(id), t.now, t.principal
	return t.replace(b, p.key, nil, entry)
}

// openKey notes that a key is being written.
func openKey(t *Tx, c *o3v1.OpenKeyRequest) (*o3v1.OpenKeyResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if err := checkNewKey(b, c.Key); err != nil {
		return nil, err
	}
	if c.ExpectedSize > MaxObject {
		return nil, errs.New(errs.TooLarge, c.Key, fmt.Sprintf("%d bytes, at most %d are allowed", c.ExpectedSize, int64(MaxObject)))
	}
	if err := t.room(b, usage{bytes: int64(c.ExpectedSize)}); err != nil {
		return nil, err
	}
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	t.charge(b, usage{openKeys: 1})
	key := schema.OpenKeyKey{Bucket: b.id(), Name: c.Key, Session: uint64(id)}
	return &o3v1.OpenKeyResponse{Session: uint64(id)}, schema.OpenKeys.Put(t.w, key, &schemapb.OpenKey{
		Since: uint64(t.op), CreatedMs: t.now, Owner: t.principal, ExpectedSize: c.ExpectedSize,
		Volume: c.Volume, Bucket: c.Bucket,
	})
}

// abandonKey forgets a key that was being written.
func abandonKey(t *Tx, c *o3v1.AbandonKeyRequest) (*o3v1.AbandonKeyResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	return &o3v1.AbandonKeyResponse{}, t.closeKey(b, c.Key, c.Session)
}

// closeKey drops the row of an open key; one that is gone is closed already.
func (t *Tx) closeKey(b *bucketState, name string, session uint64) error {
	key := schema.OpenKeyKey{Bucket: b.id(), Name: name, Session: session}
	_, ok, err := schema.OpenKeys.Get(t.w, key)
	if err != nil || !ok {
		return err
	}
	t.charge(b, usage{openKeys: -1})
	return schema.OpenKeys.Delete(t.w, key)
}

// dropOpenKeys drops all open keys of a bucket that is going away. Their
// writers' commits will find no bucket.
func (t *Tx) dropOpenKeys(b *bucketState) error {
	var found []schema.OpenKeyKey
	lower, upper := schema.OpenKeysOf(b.id())
	err := schema.OpenKeys.Scan(t.w, lower, upper, func(k schema.OpenKeyKey, _ *schemapb.OpenKey) (bool, error) {
		found = append(found, k)
		return true, nil
	})
	for _, k := range found {
		if err == nil {
			err = schema.OpenKeys.Delete(t.w, k)
		}
	}
	return err
}

package command

import (
	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// copyKey makes a key of another key's bytes: the blocks are shared. A copy of
// a key onto itself changes what the request replaces.
func copyKey(t *Tx, c *o3v1.CopyKeyRequest) (*o3v1.CopyKeyResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if err := checkNewKey(b, c.Key); err != nil {
		return nil, err
	}
	from, err := t.sourceKey(c.FromVolume, c.FromBucket, c.FromKey, c.FromIf)
	if err != nil {
		return nil, err
	}
	p, err := t.find(b, c.Key)
	if err != nil {
		return nil, err
	}
	if err := check(c.If, c.Key, p.entry); err != nil {
		return nil, err
	}
	entry := clone(from)
	entry.Grants, entry.Implicit = nil, false
	if c.ReplaceHeaders {
		entry.Headers = c.Headers
	}
	if c.ReplaceTags {
		entry.Tags = c.Tags
	}
	entry.Etag = orElse(c.Etag, entry.Etag)
	if c.Checksum != nil {
		entry.Checksum = c.Checksum
	}
	if err := t.admit(b, p, entry); err != nil {
		return nil, err
	}
	if err := t.share(entry.Extents); err != nil {
		return nil, err
	}
	if err := t.publish(b, &p, entry); err != nil {
		return nil, err
	}
	return &o3v1.CopyKeyResponse{Key: KeyInfo(c.Key, p.key.Parent, entry)}, nil
}

// sourceKey finds the key that a copy reads.
func (t *Tx) sourceKey(volume, bucket, key string, pre *o3v1.Preconditions) (*schemapb.Entry, error) {
	b, err := t.anyBucket(volume, bucket)
	if err != nil {
		return nil, err
	}
	path, at := key, schema.Live
	if name, rest, ok := ns.CutSnapshot(key); ok {
		if at, _, err = t.snapshotNamed(b, name); err != nil {
			return nil, err
		}
		path = rest
	}
	if err := ns.CheckKeyName(ns.Layout(b.row.Layout), path); err != nil {
		return nil, err
	}
	_, entry, err := Find(t.w, b.id(), ns.Layout(b.row.Layout), path, at)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, errs.New(errs.NoSuchKey, key, "the source of the copy does not exist")
	}
	if isDir(entry) {
		return nil, errs.New(errs.IsDirectory, key, "a directory cannot be copied")
	}
	return entry, check(pre, key, entry)
}

// updateKey changes what is about a key, not its bytes.
func updateKey(t *Tx, c *o3v1.UpdateKeyRequest) (*o3v1.UpdateKeyResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if err := ns.CheckKeyName(ns.Layout(b.row.Layout), c.Key); err != nil {
		return nil, err
	}
	p, err := t.find(b, c.Key)
	if err != nil {
		return nil, err
	}
	if p.entry == nil {
		return nil, errs.New(errs.NoSuchKey, c.Key, "")
	}
	if err := check(c.If, c.Key, p.entry); err != nil {
		return nil, err
	}
	entry := clone(p.entry)
	if c.SetTags {
		entry.Tags = c.Tags
	}
	if c.SetGrants {
		entry.Grants = c.Grants
	}
	if c.SetHeaders {
		entry.Headers = c.Headers
	}
	if c.Owner != nil {
		entry.Owner = *c.Owner
	}
	if err := t.share(entry.Extents); err != nil {
		return nil, err
	}
	if err := t.replace(b, p.key, p.entry, entry); err != nil {
		return nil, err
	}
	return &o3v1.UpdateKeyResponse{Key: KeyInfo(c.Key, p.key.Parent, entry)}, nil
}

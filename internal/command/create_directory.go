package command

import (
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// createDirectory makes an explicit directory, and those above it.
func createDirectory(t *Tx, c *o3v1.CreateDirectoryRequest) (*o3v1.CreateDirectoryResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if !b.fso() {
		return nil, errs.New(errs.Invalid, b.path(), "only a file-system bucket has directories")
	}
	path := c.Path
	if path != "" && path[len(path)-1] != '/' {
		path += "/"
	}
	if err := ns.CheckKeyName(ns.FileSystem, path); err != nil {
		return nil, err
	}
	p, err := t.find(b, path)
	if err != nil {
		return nil, err
	}
	if p.entry != nil {
		return t.markDir(b, p, c)
	}
	if err := t.writable(b, p); err != nil {
		return nil, err
	}
	if err := t.room(b, usage{dirs: int64(len(p.missing)) + 1}); err != nil {
		return nil, err
	}
	if err := t.makeParents(b, &p, t.principal); err != nil {
		return nil, err
	}
	entry := &schemapb.Entry{Owner: t.principal, Headers: c.Headers, Tags: c.Tags}
	if err := t.makeDir(b, p.key, entry); err != nil {
		return nil, err
	}
	return &o3v1.CreateDirectoryResponse{Key: KeyInfo(path, p.key.Parent, entry)}, nil
}

// markDir makes the directory that is there explicit, with the attributes asked for.
func (t *Tx) markDir(b *bucketState, p place, c *o3v1.CreateDirectoryRequest) (*o3v1.CreateDirectoryResponse, error) {
	if !p.entry.Implicit && !c.MayExist {
		return nil, errs.New(errs.KeyExists, p.path, "the directory exists")
	}
	entry := clone(p.entry)
	entry.Implicit = false
	if c.Headers != nil || len(c.Tags) > 0 {
		entry.Headers, entry.Tags, entry.ModifiedMs = c.Headers, c.Tags, t.now
	}
	if !proto.Equal(entry, p.entry) {
		if err := t.replace(b, p.key, p.entry, entry); err != nil {
			return nil, err
		}
	}
	return &o3v1.CreateDirectoryResponse{Key: KeyInfo(p.path, p.key.Parent, entry)}, nil
}

package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// completeUpload makes a key of the parts that the request lists.
func completeUpload(t *Tx, c *o3v1.CompleteUploadRequest) (*o3v1.CompleteUploadResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	u, err := t.upload(b, c.Key, c.UploadId)
	if err != nil {
		return nil, err
	}
	a, err := t.assemble(b, u, c)
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
	entry := a.entry
	if err := t.writable(b, p); err != nil {
		return nil, err
	}
	room, err := t.gain(b, p.entry, entry)
	if err != nil {
		return nil, err
	}
	room.dirs += int64(len(p.missing))
	room.uploadBytes = -int64(u.row.Bytes)
	if err := t.room(b, room); err != nil {
		return nil, err
	}
	if entry.Extents, err = t.pack(a.extents); err != nil {
		return nil, err
	}
	for _, list := range a.lists { // the lists have become part of the whole's
		if err := schema.Smalls.Delete(t.w, list); err != nil {
			return nil, err
		}
	}
	if err := t.endUpload(b, u, a.kept); err != nil {
		return nil, err
	}
	if err := t.publish(b, &p, entry); err != nil {
		return nil, err
	}
	return &o3v1.CompleteUploadResponse{Key: KeyInfo(c.Key, p.key.Parent, entry)}, nil
}

// assembly is what the parts of an upload make together.
type assembly struct {
	entry   *schemapb.Entry
	extents []*o3v1.Extent
	kept    map[uint32]bool
	lists   []uint64 // indirect blocks of parts
}

func (t *Tx) assemble(b *bucketState, u uploadState, c *o3v1.CompleteUploadRequest) (*assembly, error) {
	if len(c.Parts) == 0 {
		return nil, errs.New(errs.InvalidPart, c.Key, "the request lists no parts")
	}
	a := &assembly{kept: map[uint32]bool{}, entry: &schemapb.Entry{
		Kind: o3v1.EntryKind_ENTRY_KIND_KEY, Etag: c.Etag, Headers: u.row.Headers, Tags: u.row.Tags, Checksum: c.Checksum,
	}}
	last := uint32(0)
	for i, want := range c.Parts {
		if want.Number <= last {
			return nil, errs.New(errs.InvalidPartOrder, c.Key, fmt.Sprintf("part %d follows part %d", want.Number, last))
		}
		last = want.Number
		part, ok, err := schema.Parts.Get(t.w, schema.PartKey{Bucket: b.id(), Upload: u.key.Upload, Number: want.Number})
		if err != nil {
			return nil, err
		}
		if !ok || part.Etag != want.Etag {
			return nil, errs.New(errs.InvalidPart, c.Key,
				fmt.Sprintf("part %d was not uploaded, or its ETag is not %q", want.Number, want.Etag))
		}
		if i < len(c.Parts)-1 && part.Size < c.MinPartSize {
			return nil, errs.New(errs.TooSmall, c.Key,
				fmt.Sprintf("part %d has %d bytes, all but the last need %d", want.Number, part.Size, c.MinPartSize))
		}
		if err := t.addPart(a, want.Number, part); err != nil {
			return nil, err
		}
	}
	if a.entry.Size > MaxObject {
		return nil, errs.New(errs.TooLarge, c.Key, fmt.Sprintf("%d bytes, at most %d are allowed", a.entry.Size, int64(MaxObject)))
	}
	if c.SizeSet && c.Size != a.entry.Size {
		return nil, errs.New(errs.Invalid, c.Key, fmt.Sprintf("the parts have %d bytes, not %d", a.entry.Size, c.Size))
	}
	return a, nil
}

func (t *Tx) addPart(a *assembly, number uint32, part *schemapb.Part) error {
	a.kept[number] = true
	a.entry.Size += part.Size
	a.entry.PartSizes = append(a.entry.PartSizes, part.Size)
	for _, e := range part.Extents {
		if e.Indirect {
			a.lists = append(a.lists, e.Local)
		}
	}
	direct, err := DirectExtents(t.w, part.Extents)
	a.extents = append(a.extents, direct...)
	return err
}

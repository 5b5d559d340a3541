package command

import (
	"fmt"
	"strconv"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// MaxParts is the highest part number.
const MaxParts = 10000

// MaxObject is the largest object, in bytes (5 TiB).
const MaxObject = 5 << 40

// UploadID returns the upload id that clients see.
func UploadID(id ns.ObjectID) string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseUploadID returns the id behind an upload id.
func ParseUploadID(s string) (ns.ObjectID, error) {
	id, err := strconv.ParseUint(s, 16, 64)
	if err != nil || UploadID(ns.ObjectID(id)) != s {
		return 0, errs.New(errs.NoSuchUpload, s, "no upload has this id")
	}
	return ns.ObjectID(id), nil
}

// uploadState is an upload's row and its place.
type uploadState struct {
	key schema.UploadKey
	row *schemapb.Upload
}

func (t *Tx) upload(b *bucketState, key, uploadID string) (uploadState, error) {
	id, err := ParseUploadID(uploadID)
	if err != nil {
		return uploadState{}, err
	}
	u := uploadState{key: schema.UploadKey{Bucket: b.id(), Name: key, Upload: id}}
	row, ok, err := schema.Uploads.Get(t.w, u.key)
	if err != nil {
		return u, err
	}
	if !ok {
		return u, errs.New(errs.NoSuchUpload, uploadID, "it was never begun for this key, or is completed or aborted")
	}
	u.row = row
	return u, nil
}

func createUpload(t *Tx, c *o3v1.CreateUploadRequest) (*o3v1.CreateUploadResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	if err := checkNewKey(b, c.Key); err != nil {
		return nil, err
	}
	id, err := t.newID()
	if err != nil {
		return nil, err
	}
	row := &schemapb.Upload{
		ObjectId: uint64(id), Since: uint64(t.op), CreatedMs: t.now, Owner: t.principal, Headers: c.Headers,
		Tags: c.Tags, ChecksumAlgorithm: c.ChecksumAlgorithm, ChecksumType: c.ChecksumType,
	}
	t.charge(b, usage{uploads: 1})
	key := schema.UploadKey{Bucket: b.id(), Name: c.Key, Upload: id}
	return &o3v1.CreateUploadResponse{Upload: UploadInfo(c.Key, id, row)}, schema.Uploads.Put(t.w, key, row)
}

func commitPart(t *Tx, c *o3v1.CommitPartRequest) (*o3v1.CommitPartResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	u, err := t.upload(b, c.Key, c.UploadId)
	if err != nil {
		return nil, err
	}
	subject := fmt.Sprintf("part %d of %s", c.Number, c.Key)
	if err := t.checkData(subject, c.Extents, c.Data, c.Size, c.DeadlineMs); err != nil {
		return nil, err
	}
	part := &schemapb.Part{Size: c.Size, Etag: c.Etag, Checksum: c.Checksum}
	old, err := t.admitPart(b, u, c.Number, part)
	if err != nil {
		return nil, err
	}
	same, err := t.named(old.GetExtents(), c.Extents)
	if err != nil {
		return nil, err
	}
	if same { // the same request once more
		return &o3v1.CommitPartResponse{Part: PartInfo(c.Number, old)}, nil
	}
	if part.Extents, err = t.store(c.Extents, c.Data); err != nil {
		return nil, err
	}
	if err := t.putPart(b, u, c.Number, old, part); err != nil {
		return nil, err
	}
	return &o3v1.CommitPartResponse{Part: PartInfo(c.Number, part)}, nil
}

// copyPart makes a part of a range of another key's bytes: the blocks are shared.
func copyPart(t *Tx, c *o3v1.CopyPartRequest) (*o3v1.CopyPartResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	u, err := t.upload(b, c.Key, c.UploadId)
	if err != nil {
		return nil, err
	}
	from, err := t.sourceKey(c.FromVolume, c.FromBucket, c.FromKey, c.FromIf)
	if err != nil {
		return nil, err
	}
	if !c.RangeSet {
		c.Offset, c.Length = 0, from.Size
	}
	if c.Offset+c.Length > from.Size || c.Offset+c.Length < c.Offset {
		return nil, errs.New(errs.InvalidRange, c.FromKey,
			fmt.Sprintf("the range [%d, +%d) leaves the source of %d bytes", c.Offset, c.Length, from.Size))
	}
	direct, err := DirectExtents(t.w, from.Extents)
	if err != nil {
		return nil, err
	}
	part := &schemapb.Part{Size: c.Length, Etag: c.Etag, Checksum: c.Checksum}
	extents := Slice(direct, int64(c.Offset), int64(c.Length))
	old, err := t.admitPart(b, u, c.Number, part)
	if err != nil {
		return nil, err
	}
	if err := t.share(extents); err != nil {
		return nil, err
	}
	if part.Extents, err = t.pack(extents); err != nil {
		return nil, err
	}
	if err := t.putPart(b, u, c.Number, old, part); err != nil {
		return nil, err
	}
	return &o3v1.CopyPartResponse{Part: PartInfo(c.Number, part)}, nil
}

// admitPart returns the row that part would replace, and refuses a part that
// has no number or no room.
func (t *Tx) admitPart(b *bucketState, u uploadState, number uint32, part *schemapb.Part) (*schemapb.Part, error) {
	if number < 1 || number > MaxParts {
		return nil, errs.New(errs.Invalid, fmt.Sprintf("part number %d", number), fmt.Sprintf("must be 1 to %d", MaxParts))
	}
	old, _, err := schema.Parts.Get(t.w, schema.PartKey{Bucket: b.id(), Upload: u.key.Upload, Number: number})
	if err != nil {
		return nil, err
	}
	return old, t.room(b, usage{uploadBytes: int64(part.Size) - int64(old.GetSize())})
}

func (t *Tx) putPart(b *bucketState, u uploadState, number uint32, old, part *schemapb.Part) error {
	delta := int64(part.Size) - int64(old.GetSize())
	add(&u.row.Bytes, delta)
	if old == nil {
		u.row.Parts++
	} else if err := t.drop(b.id(), old.Extents); err != nil {
		return err
	}
	t.charge(b, usage{uploadBytes: delta})
	if err := schema.Uploads.Put(t.w, u.key, u.row); err != nil {
		return err
	}
	part.Since, part.ModifiedMs = uint64(t.op), t.now
	return schema.Parts.Put(t.w, schema.PartKey{Bucket: b.id(), Upload: u.key.Upload, Number: number}, part)
}

func abortUpload(t *Tx, c *o3v1.AbortUploadRequest) (*o3v1.AbortUploadResponse, error) {
	b, err := t.bucket(c.Volume, c.Bucket)
	if err != nil {
		return nil, err
	}
	u, err := t.upload(b, c.Key, c.UploadId)
	if err != nil {
		return nil, err
	}
	return &o3v1.AbortUploadResponse{}, t.endUpload(b, u, nil)
}

// endUpload drops the rows of an upload. Parts in kept live on in a key; the
// blocks of the others lose a name.
func (t *Tx) endUpload(b *bucketState, u uploadState, kept map[uint32]bool) error {
	type found struct {
		key schema.PartKey
		row *schemapb.Part
	}
	var parts []found
	lower, upper := schema.PartsOf(b.id(), u.key.Upload)
	err := schema.Parts.Scan(t.w, lower, upper, func(k schema.PartKey, p *schemapb.Part) (bool, error) {
		parts = append(parts, found{k, p})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, p := range parts {
		if !kept[p.key.Number] {
			if err := t.drop(b.id(), p.row.Extents); err != nil {
				return err
			}
		}
		if err := schema.Parts.Delete(t.w, p.key); err != nil {
			return err
		}
	}
	t.charge(b, usage{uploads: -1, uploadBytes: -int64(u.row.Bytes)})
	return schema.Uploads.Delete(t.w, u.key)
}

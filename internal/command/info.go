package command

import (
	o3v1 "o3/api/o3/v1"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// emptyETag is the ETag of no bytes, which every directory has.
const emptyETag = "d41d8cd98f00b204e9800998ecf8427e"

// KeyInfo describes the entry at path, without extents.
func KeyInfo(path string, parent ns.ObjectID, e *schemapb.Entry) *o3v1.KeyInfo {
	info := &o3v1.KeyInfo{}
	SetKeyInfo(info, path, parent, e)
	return info
}

// SetKeyInfo makes info, which is empty, describe a row.
func SetKeyInfo(info *o3v1.KeyInfo, path string, parent ns.ObjectID, e *schemapb.Entry) {
	info.Name, info.Kind, info.ObjectId, info.ParentId, info.Since = path, e.Kind, e.ObjectId, uint64(parent), e.Since
	info.Size, info.Etag, info.CreatedMs, info.ModifiedMs, info.Owner = e.Size, e.Etag, e.CreatedMs, e.ModifiedMs, e.Owner
	info.Headers, info.Tags, info.Grants, info.Checksum = e.Headers, e.Tags, e.Grants, e.Checksum
	info.PartSizes, info.Implicit = e.PartSizes, e.Implicit
	if isDir(e) {
		info.Etag = emptyETag
	}
}

// VolumeInfo describes a volume.
func VolumeInfo(name string, v *schemapb.Volume) *o3v1.VolumeInfo {
	return &o3v1.VolumeInfo{
		Name: name, ObjectId: v.ObjectId, Owner: v.Owner, CreatedMs: v.CreatedMs, ModifiedMs: v.ModifiedMs,
		QuotaBytes: v.QuotaBytes, QuotaNames: v.QuotaNames, UsedBytes: v.UsedBytes, UsedNames: v.UsedNames,
		Buckets: v.Buckets, Grants: v.Grants,
	}
}

// BucketInfo describes a bucket.
func BucketInfo(volume, name string, b *schemapb.Bucket) *o3v1.BucketInfo {
	return &o3v1.BucketInfo{
		Volume: volume, Name: name, ObjectId: b.ObjectId, Layout: ns.Layout(b.Layout).String(), Owner: b.Owner,
		CreatedMs: b.CreatedMs, ModifiedMs: b.ModifiedMs, QuotaBytes: b.QuotaBytes, QuotaNames: b.QuotaNames,
		UsedBytes: b.UsedBytes, UsedKeys: b.UsedKeys, UsedDirectories: b.UsedDirectories,
		UploadBytes: b.UploadBytes, PendingDirectories: b.PendingDirectories, Grants: b.Grants, Tags: b.Tags,
		Snapshots: b.LiveSnapshots, SnapshotBytes: b.SnapshotBytes, SnapshotNames: b.SnapshotNames, Reclaims: b.Reclaims,
	}
}

// UploadInfo describes a multipart upload.
func UploadInfo(name string, id ns.ObjectID, u *schemapb.Upload) *o3v1.UploadInfo {
	return &o3v1.UploadInfo{
		Name: name, UploadId: UploadID(id), CreatedMs: u.CreatedMs, Owner: u.Owner, Headers: u.Headers,
		Tags: u.Tags, ChecksumAlgorithm: u.ChecksumAlgorithm, ChecksumType: u.ChecksumType,
	}
}

// PartInfo describes a part, without extents.
func PartInfo(number uint32, p *schemapb.Part) *o3v1.PartInfo {
	return &o3v1.PartInfo{Number: number, Size: p.Size, Etag: p.Etag, ModifiedMs: p.ModifiedMs, Checksum: p.Checksum}
}

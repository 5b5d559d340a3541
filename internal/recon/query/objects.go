package query

import (
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// ACL is a grant, as Ozone writes it.
type ACL struct {
	Type    string   `json:"type" doc:"USER; GROUP for all users; WORLD for everybody"`
	Name    string   `json:"name"`
	Scope   string   `json:"scope"`
	ACLList []string `json:"aclList"`
}

func acls(grants []*o3v1.Grant) []ACL {
	out := []ACL{}
	for _, g := range grants {
		a := ACL{Type: "USER", Name: g.Grantee, Scope: "ACCESS", ACLList: []string{}}
		switch g.Grantee {
		case access.Anyone:
			a.Type, a.Name = "WORLD", ""
		case access.SignedIn:
			a.Type = "GROUP"
		}
		for _, p := range g.Permissions {
			a.ACLList = append(a.ACLList, strings.TrimPrefix(p.String(), "PERMISSION_"))
		}
		out = append(out, a)
	}
	return out
}

// Object is what volumes, buckets, directories and keys have in common.
type Object struct {
	Metadata         map[string]string `json:"metadata"`
	Name             string            `json:"name"`
	QuotaInBytes     int64             `json:"quotaInBytes" doc:"-1: none"`
	QuotaInNamespace int64             `json:"quotaInNamespace" doc:"keys and directories; -1: none"`
	UsedNamespace    int64             `json:"usedNamespace"`
	CreationTime     int64             `json:"creationTime" doc:"milliseconds since 1970, as all times that are numbers"`
	ModificationTime int64             `json:"modificationTime"`
	ACLs             []ACL             `json:"acls"`
}

// ObjectInfo is an Object, Volume, Bucket or Key.
type ObjectInfo interface{ objectInfo() }

func (Object) objectInfo() {}

// Volume describes a volume.
type Volume struct {
	Object
	Volume string `json:"volume"`
	Owner  string `json:"owner"`
	Admin  string `json:"admin" doc:"as owner: volumes have no other"`
}

// Bucket describes a bucket.
type Bucket struct {
	Object
	VolumeName            string      `json:"volumeName"`
	StorageType           string      `json:"storageType"`
	Versioning            bool        `json:"versioning"`
	UsedBytes             int64       `json:"usedBytes" doc:"what counts in the quota: keys, parts of uploads, what snapshots alone hold"`
	SnapshotUsedBytes     int64       `json:"snapshotUsedBytes" doc:"of usedBytes: held by snapshots alone"`
	SnapshotUsedNamespace int64       `json:"snapshotUsedNamespace"`
	EncryptionInfo        *string     `json:"encryptionInfo" doc:"always null: O3 has no encryption of buckets"`
	ReplicationConfigInfo Replication `json:"replicationConfigInfo"`
	SourceVolume          *string     `json:"sourceVolume" doc:"always null: O3 has no links"`
	SourceBucket          *string     `json:"sourceBucket" doc:"likewise"`
	BucketLayout          string      `json:"bucketLayout" enum:"OBJECT_STORE,FILE_SYSTEM_OPTIMIZED"`
	Owner                 string      `json:"owner"`
}

// Key describes a key.
type Key struct {
	Object
	VolumeName        string      `json:"volumeName"`
	BucketName        string      `json:"bucketName"`
	KeyName           string      `json:"keyName"`
	FileName          string      `json:"fileName"`
	DataSize          int64       `json:"dataSize"`
	ReplicationConfig Replication `json:"replicationConfig"`
	File              bool        `json:"file"`
}

// quota shows one; Ozone's word for none is -1.
func quota(n uint64) int64 {
	if n == 0 {
		return -1
	}
	return int64(n)
}

func volumeOf(name string, row *schemapb.Volume) Volume {
	return Volume{
		Object: Object{
			Metadata: map[string]string{}, Name: name, QuotaInBytes: quota(row.QuotaBytes), QuotaInNamespace: quota(row.QuotaNames),
			UsedNamespace: int64(row.UsedNames), CreationTime: row.CreatedMs, ModificationTime: row.ModifiedMs, ACLs: acls(row.Grants),
		},
		Volume: name, Owner: row.Owner, Admin: row.Owner,
	}
}

// usedBytes is what of a bucket counts in its quota.
func usedBytes(row *schemapb.Bucket) int64 {
	return int64(row.UsedBytes + row.UploadBytes + row.SnapshotBytes)
}

func bucketOf(b view.Bucket) Bucket {
	row := b.Row
	return Bucket{
		Object: Object{
			Metadata: pairs(row.Tags), Name: b.Name, QuotaInBytes: quota(row.QuotaBytes), QuotaInNamespace: quota(row.QuotaNames),
			UsedNamespace: int64(row.UsedKeys + row.UsedDirectories + row.SnapshotNames),
			CreationTime:  row.CreatedMs, ModificationTime: row.ModifiedMs, ACLs: acls(row.Grants),
		},
		VolumeName: b.VolumeName, StorageType: "DISK", Versioning: row.Versioning != 0, UsedBytes: usedBytes(row),
		SnapshotUsedBytes: int64(row.SnapshotBytes), SnapshotUsedNamespace: int64(row.SnapshotNames), ReplicationConfigInfo: once(),
		BucketLayout: b.Layout().String(), Owner: row.Owner,
	}
}

func entryOf(b view.Bucket, e view.Entry) ObjectInfo {
	row := e.Row
	path := strings.TrimSuffix(e.Path, "/")
	file := path[strings.LastIndexByte(path, '/')+1:]
	o := Object{
		Metadata: pairs(row.Headers.GetUser()), Name: file, QuotaInBytes: -1, QuotaInNamespace: -1,
		CreationTime: row.CreatedMs, ModificationTime: row.ModifiedMs, ACLs: acls(row.Grants),
	}
	if row.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
		return o
	}
	o.Name = e.Path
	return Key{o, b.VolumeName, b.Name, e.Path, file, int64(row.Size), once(), true}
}

func pairs(list []*o3v1.Pair) map[string]string {
	m := map[string]string{}
	for _, p := range list {
		m[p.Name] = p.Value
	}
	return m
}

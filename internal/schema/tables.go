package schema

import (
	"o3/internal/block"
	"o3/internal/keys"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// The table bytes. They are never reused. Those without a table yet are kept
// for the parts that follow; bytes from NodeLocal on are not replicated and lie
// outside the state digest.
const (
	spaceMeta        = 0x01
	spaceVolumes     = 0x10
	spaceBuckets     = 0x11
	spaceUsers       = 0x12
	spaceAccessKeys  = 0x13
	spaceEntries     = 0x20
	spaceDirs        = 0x21
	spaceSmalls      = 0x22
	spaceRefs        = 0x23
	spaceUploads     = 0x28
	spaceParts       = 0x29
	spaceOpenKeys    = 0x2a
	spaceDeleted     = 0x30
	spaceDeletedDirs = 0x31
	spaceReclaims    = 0x32
	spaceHistory     = 0x38
	spaceJournal     = 0x39
	spaceSnapNames   = 0x3a
	spaceSnapshots   = 0x3b
	spaceCells       = 0x3c
	spaceCellEnds    = 0x3d
	spaceDirHistory  = 0x3e
	spaceDiffJobs    = 0x48
	spaceLifecycle   = 0x50
	spaceScans       = 0x51
	spaceSuspensions = 0x52
	// 0x24 versions.
	spaceClients  = 0x60
	spaceCounters = 0x61
	spaceLogHolds = 0x62

	// NodeLocal is the first table byte of rows that belong to one node.
	NodeLocal = 0xe0
)

// FirstReplicated is the first key that the state digest covers: everything
// between the meta table and NodeLocal.
func FirstReplicated() []byte { return []byte{spaceMeta + 1} }

// BucketKey names a bucket.
type BucketKey struct {
	Volume ns.ObjectID
	Name   string
}

// EntryKey names a key or a directory by its parent. A directory's name ends
// in a slash.
type EntryKey struct {
	Bucket, Parent ns.ObjectID
	Name           string
}

// DirKey names a directory by its id.
type DirKey struct{ Bucket, Dir ns.ObjectID }

// UploadKey names a multipart upload.
type UploadKey struct {
	Bucket ns.ObjectID
	Name   string
	Upload ns.ObjectID
}

// PartKey names a part of a multipart upload.
type PartKey struct {
	Bucket, Upload ns.ObjectID
	Number         uint32
}

// OpenKeyKey names a key being written.
type OpenKeyKey struct {
	Bucket  ns.ObjectID
	Name    string
	Session uint64
}

// OpKey names the n-th row that op made in a queue.
type OpKey struct {
	Op ns.Op
	N  uint32
}

// The tables.
var (
	Volumes = &Table[string, schemapb.Volume, *schemapb.Volume]{
		space: spaceVolumes, name: "volumes", tuple: "name", since: 1,
		append: raw, parse: parseRaw,
	}
	Buckets = &Table[BucketKey, schemapb.Bucket, *schemapb.Bucket]{
		space: spaceBuckets, name: "buckets", tuple: "volume id, name", since: 1,
		append: func(b []byte, k BucketKey) []byte {
			return append(keys.Uint64(b, uint64(k.Volume)), k.Name...)
		},
		parse: func(b []byte) (k BucketKey, err error) {
			k.Volume, b, err = takeID(b)
			k.Name = string(b)
			return k, err
		},
	}
	Users = &Table[string, schemapb.User, *schemapb.User]{
		space: spaceUsers, name: "users", tuple: "name", since: 1,
		append: raw, parse: parseRaw,
	}
	AccessKeys = &Table[string, schemapb.AccessKey, *schemapb.AccessKey]{
		space: spaceAccessKeys, name: "accessKeys", tuple: "access key id", since: 1,
		append: raw, parse: parseRaw,
	}
	Entries = &Table[EntryKey, schemapb.Entry, *schemapb.Entry]{
		space: spaceEntries, name: "entries", tuple: "bucket id, parent id, name", since: 1,
		append: func(b []byte, k EntryKey) []byte {
			return append(ids(b, k.Bucket, k.Parent), k.Name...)
		},
		parse: func(b []byte) (k EntryKey, err error) {
			b, err = takeIDs(b, &k.Bucket, &k.Parent)
			k.Name = string(b)
			return k, err
		},
	}
	Dirs = &Table[DirKey, schemapb.Dir, *schemapb.Dir]{
		space: spaceDirs, name: "dirs", tuple: "bucket id, directory id", since: 1,
		append: func(b []byte, k DirKey) []byte { return ids(b, k.Bucket, k.Dir) },
		parse: func(b []byte) (k DirKey, err error) {
			b, err = takeIDs(b, &k.Bucket, &k.Dir)
			return k, end(b, err)
		},
	}
	// Smalls holds the bytes of blocks in container 0: small objects, and the
	// extent lists of objects of many parts.
	Smalls = &Table[uint64, schemapb.Small, *schemapb.Small]{
		space: spaceSmalls, name: "smalls", tuple: "block number", since: 1,
		append: keys.Uint64, parse: func(b []byte) (uint64, error) {
			v, rest, err := keys.TakeUint64(b)
			return v, end(rest, err)
		},
	}
	// Refs counts the rows that name a block; a block without a row here is
	// named once.
	Refs = &Table[block.ID, schemapb.Refs, *schemapb.Refs]{
		space: spaceRefs, name: "refs", tuple: "container, block number", since: 1,
		append: func(b []byte, k block.ID) []byte { return keys.Uint64(keys.Uint64(b, k.Container), k.Local) },
		parse: func(b []byte) (k block.ID, err error) {
			if k.Container, b, err = keys.TakeUint64(b); err != nil {
				return k, err
			}
			k.Local, b, err = keys.TakeUint64(b)
			return k, end(b, err)
		},
	}
	Uploads = &Table[UploadKey, schemapb.Upload, *schemapb.Upload]{
		space: spaceUploads, name: "uploads", tuple: "bucket id, name, upload id", since: 1,
		append: func(b []byte, k UploadKey) []byte {
			return keys.Uint64(keys.String(ids(b, k.Bucket), k.Name), uint64(k.Upload))
		},
		parse: func(b []byte) (k UploadKey, err error) {
			k.Bucket, k.Name, k.Upload, err = takeNamed(b)
			return k, err
		},
	}
	Parts = &Table[PartKey, schemapb.Part, *schemapb.Part]{
		space: spaceParts, name: "parts", tuple: "bucket id, upload id, part number", since: 1,
		append: func(b []byte, k PartKey) []byte { return keys.Uint32(ids(b, k.Bucket, k.Upload), k.Number) },
		parse: func(b []byte) (k PartKey, err error) {
			if b, err = takeIDs(b, &k.Bucket, &k.Upload); err != nil {
				return k, err
			}
			k.Number, b, err = keys.TakeUint32(b)
			return k, end(b, err)
		},
	}
	OpenKeys = &Table[OpenKeyKey, schemapb.OpenKey, *schemapb.OpenKey]{
		space: spaceOpenKeys, name: "openKeys", tuple: "bucket id, name, session", since: 1,
		append: func(b []byte, k OpenKeyKey) []byte {
			return keys.Uint64(keys.String(ids(b, k.Bucket), k.Name), k.Session)
		},
		parse: func(b []byte) (k OpenKeyKey, err error) {
			var session ns.ObjectID
			k.Bucket, k.Name, session, err = takeNamed(b)
			k.Session = uint64(session)
			return k, err
		},
	}
	Deleted = &Table[OpKey, schemapb.DeletedBlocks, *schemapb.DeletedBlocks]{
		space: spaceDeleted, name: "deleted", tuple: "op, n", since: 1,
		append: appendOp, parse: parseOp,
	}
	DeletedDirs = &Table[OpKey, schemapb.DeletedDir, *schemapb.DeletedDir]{
		space: spaceDeletedDirs, name: "deletedDirs", tuple: "op, n", since: 1,
		append: appendOp, parse: parseOp,
	}
	Clients = &Table[uint64, schemapb.Client, *schemapb.Client]{
		space: spaceClients, name: "clients", tuple: "client id", since: 1,
		append: keys.Uint64, parse: func(b []byte) (uint64, error) {
			v, rest, err := keys.TakeUint64(b)
			return v, end(rest, err)
		},
	}
	// LogHolds are the leases on the Raft log, by the name of who has one.
	LogHolds = &Table[string, schemapb.LogHold, *schemapb.LogHold]{
		space: spaceLogHolds, name: "logHolds", tuple: "name", since: 3,
		append: raw, parse: parseRaw,
	}
	// Meta holds the position ("position") and the store's format ("format").
	Meta = &Table[string, schemapb.Position, *schemapb.Position]{
		space: spaceMeta, name: "meta", tuple: "name", since: 1,
		append: raw, parse: parseRaw,
	}
)

// PositionKey is the row of Meta that every apply rewrites.
const PositionKey = "position"

// FormatKey is the row of Meta whose index field is the store's format.
const FormatKey = "format"

func raw(b []byte, name string) []byte  { return append(b, name...) }
func parseRaw(b []byte) (string, error) { return string(b), nil }
func appendOp(b []byte, k OpKey) []byte { return keys.Uint32(keys.Uint64(b, uint64(k.Op)), k.N) }
func ids(b []byte, list ...ns.ObjectID) []byte {
	for _, id := range list {
		b = keys.Uint64(b, uint64(id))
	}
	return b
}

func parseOp(b []byte) (k OpKey, err error) {
	op, b, err := keys.TakeUint64(b)
	if err != nil {
		return k, err
	}
	k.Op = ns.Op(op)
	k.N, b, err = keys.TakeUint32(b)
	return k, end(b, err)
}

func takeID(b []byte) (ns.ObjectID, []byte, error) {
	v, rest, err := keys.TakeUint64(b)
	return ns.ObjectID(v), rest, err
}

func takeIDs(b []byte, into ...*ns.ObjectID) (rest []byte, err error) {
	for _, id := range into {
		if *id, b, err = takeID(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func takeNamed(b []byte) (bucket ns.ObjectID, name string, id ns.ObjectID, err error) {
	if bucket, b, err = takeID(b); err != nil {
		return
	}
	if name, b, err = keys.TakeString(b); err != nil {
		return
	}
	id, b, err = takeID(b)
	return bucket, name, id, end(b, err)
}

// end refuses bytes left over after a whole tuple.
func end(rest []byte, err error) error {
	if err == nil && len(rest) > 0 {
		return keys.ErrMalformed
	}
	return err
}

package command_test

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
)

// verbs are the commands of a script: each makes the body of a request.
var verbs = map[string]func(*script, *words) proto.Message{
	"create-volume": func(_ *script, w *words) proto.Message {
		return &o3v1.CreateVolumeRequest{
			Volume: w.arg(0), Owner: w.str("owner"), QuotaBytes: w.num("bytes"), QuotaNames: w.num("names"), Grants: w.grants(),
		}
	},
	"update-volume": func(_ *script, w *words) proto.Message {
		return &o3v1.UpdateVolumeRequest{
			Volume: w.arg(0), Owner: w.optStr("owner"), QuotaBytes: w.optNum("bytes"), QuotaNames: w.optNum("names"),
			SetGrants: w.has("grants"), Grants: w.grants(),
		}
	},
	"delete-volume": func(_ *script, w *words) proto.Message { return &o3v1.DeleteVolumeRequest{Volume: w.arg(0)} },
	"create-bucket": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		layout := w.str("layout")
		if !w.has("layout") {
			layout = "OBS"
		}
		return &o3v1.CreateBucketRequest{
			Volume: v, Bucket: b, Layout: layout, Owner: w.str("owner"),
			QuotaBytes: w.num("bytes"), QuotaNames: w.num("names"), Grants: w.grants(), Tags: w.pairs("tags"),
		}
	},
	"update-bucket": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.UpdateBucketRequest{
			Volume: v, Bucket: b, Owner: w.optStr("owner"), QuotaBytes: w.optNum("bytes"), QuotaNames: w.optNum("names"),
			SetGrants: w.has("grants"), Grants: w.grants(), SetTags: w.has("tags"), Tags: w.pairs("tags"),
		}
	},
	"delete-bucket": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.DeleteBucketRequest{Volume: v, Bucket: b}
	},
	"open": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.OpenKeyRequest{Volume: v, Bucket: b, Key: w.arg(1), ExpectedSize: w.num("size")}
	},
	"put": put,
	"abandon": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.AbandonKeyRequest{Volume: v, Bucket: b, Key: w.arg(1), Session: w.id("session")}
	},
	"rm":     remove,
	"mv":     move,
	"cp":     copyKey,
	"update": update,
	"mkdir": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.CreateDirectoryRequest{
			Volume: v, Bucket: b, Path: w.arg(1), MayExist: w.has("may-exist"), Headers: w.headers(), Tags: w.pairs("tags"),
		}
	},
	"create-upload": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.CreateUploadRequest{
			Volume: v, Bucket: b, Key: w.arg(1), Headers: w.headers(), Tags: w.pairs("tags"),
			ChecksumAlgorithm: w.str("algorithm"), ChecksumType: w.str("checksum-type"),
		}
	},
	"part":      part,
	"copy-part": copyPart,
	"complete":  complete,
	"abort": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.AbortUploadRequest{Volume: v, Bucket: b, Key: w.arg(1), UploadId: w.upload(2)}
	},
	"create-user": func(_ *script, w *words) proto.Message {
		return &o3v1.CreateUserRequest{User: w.arg(0), Role: w.str("role")}
	},
	"update-user": func(_ *script, w *words) proto.Message {
		r := &o3v1.UpdateUserRequest{User: w.arg(0), Role: w.optStr("role")}
		if w.has("disabled") {
			r.Disabled = proto.Bool(w.str("disabled") == "yes")
		}
		return r
	},
	"delete-user": func(_ *script, w *words) proto.Message { return &o3v1.DeleteUserRequest{User: w.arg(0)} },
	"create-key": func(_ *script, w *words) proto.Message {
		return &o3v1.CreateAccessKeyRequest{
			User: w.arg(0), Id: w.arg(1), Secret: w.str("secret"), Replace: w.has("replace"), Description: w.str("description"),
		}
	},
	"revoke-key": func(_ *script, w *words) proto.Message { return &o3v1.RevokeAccessKeyRequest{Id: w.arg(0)} },
	"purge": func(_ *script, w *words) proto.Message {
		return &commandpb.PurgeDirectories{Limit: uint32(w.num("limit"))}
	},
	"freed": func(_ *script, w *words) proto.Message {
		r := &commandpb.FreedBlocks{}
		for i := range w.args {
			op, n, _ := strings.Cut(w.arg(i), "/")
			r.Rows = append(r.Rows, &commandpb.DeletedKey{Op: w.parse(op), N: uint32(w.parse(n))})
		}
		return r
	},
	"create-snapshot": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.CreateSnapshotRequest{Volume: v, Bucket: b, Name: w.arg(1), MaxTotal: w.num("limit")}
	},
	"rename-snapshot": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.RenameSnapshotRequest{Volume: v, Bucket: b, From: w.arg(1), To: w.arg(2)}
	},
	"delete-snapshot": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		return &o3v1.DeleteSnapshotRequest{Volume: v, Bucket: b, Name: w.arg(1)}
	},
	// restore bucket snapshot-op path…
	"restore": func(_ *script, w *words) proto.Message {
		v, b := spot(w.arg(0))
		r := &commandpb.RestoreKeys{Volume: v, Bucket: b, SnapshotOp: w.parse(w.arg(1))}
		for i := 2; i < len(w.args); i++ {
			r.Paths = append(r.Paths, w.arg(i))
		}
		if n := w.num("times"); n > 0 {
			for uint64(len(r.Paths)) < n {
				r.Paths = append(r.Paths, r.Paths[0])
			}
		}
		return r
	},
	// reclaim bucket-id snapshot-op
	"reclaim": func(_ *script, w *words) proto.Message {
		return &commandpb.ReclaimSnapshot{BucketId: w.parseID(w.arg(0)), SnapshotOp: w.parse(w.arg(1)), Limit: uint32(w.num("limit"))}
	},
	"diff-job":        diffJob,
	"update-diff-job": updateDiffJob,
	"forget-diff-job": func(_ *script, w *words) proto.Message {
		return &commandpb.ForgetDiffJob{Key: w.diffKey(), JobId: w.parseID(w.arg(3))}
	},
	// hold-log name index until: until is in milliseconds from the start.
	"hold-log": func(_ *script, w *words) proto.Message {
		until, err := strconv.ParseInt(w.arg(2), 10, 64)
		if err != nil {
			w.t.Fatalf("%s: %v", w.line, err)
		}
		return &commandpb.HoldLog{Name: strings.Repeat(w.arg(0), max(1, int(w.num("times")))), Index: w.parse(w.arg(1)), UntilMs: fsmtest.Start + until}
	},
	// release-log [expired] name…
	"release-log": func(_ *script, w *words) proto.Message {
		r := &commandpb.ReleaseLog{Names: w.list("names"), Expired: w.has("expired")}
		for n := w.num("times"); uint64(len(r.Names)) < n; {
			r.Names = append(r.Names, "x")
		}
		return r
	},
	"expire-clients": func(_ *script, w *words) proto.Message {
		return &commandpb.ExpireClients{BeforeMs: fsmtest.Start + int64(w.num("before")), Limit: uint32(w.num("limit"))}
	},
	"expire-open": func(_ *script, w *words) proto.Message {
		return &commandpb.ExpireOpenKeys{BeforeMs: fsmtest.Start + int64(w.num("before")), Limit: uint32(w.num("limit"))}
	},
}

func (w *words) parse(s string) uint64 {
	if id, ok := w.ids[s]; ok {
		return id
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		w.t.Fatalf("%s: %v", w.line, err)
	}
	return n
}

// upload returns operand i, an upload id written as op.n or as it stands.
func (w *words) upload(i int) string {
	if id, ok := w.ids[w.arg(i)]; ok {
		return command.UploadID(ns.ObjectID(id))
	}
	if id, err := fsmtest.ParseID(w.arg(i)); err == nil {
		return command.UploadID(ns.ObjectID(id))
	}
	return w.arg(i)
}

// deadline returns until when the blocks of a request may be named: just now,
// unless the line says otherwise.
func (s *script) deadline(w *words) int64 {
	if !w.has("deadline") {
		return s.d.Now
	}
	ms, err := strconv.ParseInt(w.str("deadline"), 10, 64)
	if err != nil {
		w.t.Fatalf("%s: %v", w.line, err)
	}
	return fsmtest.Start + ms
}

func put(s *script, w *words) proto.Message {
	v, b := spot(w.arg(0))
	extents, size := w.extents()
	data := []byte(w.str("data"))
	if w.has("size") {
		size = w.num("size")
	} else {
		size += uint64(len(data))
	}
	return &o3v1.CommitKeyRequest{
		Volume: v, Bucket: b, Key: w.arg(1), Size: size, Etag: w.str("etag"), Extents: extents, Data: data,
		Headers: w.headers(), Tags: w.pairs("tags"), If: w.pre("if-"), Session: w.id("session"),
		DeadlineMs: s.deadline(w),
	}
}

func remove(_ *script, w *words) proto.Message {
	v, b := spot(w.arg(0))
	r := &o3v1.DeleteKeysRequest{Volume: v, Bucket: b, Recursive: w.has("recursive"), MustExist: w.has("must-exist")}
	pre := w.pre("if-")
	for i := 1; i < len(w.args); i++ {
		r.Keys = append(r.Keys, &o3v1.DeleteKey{Key: w.arg(i), If: pre})
	}
	if n := w.num("times"); n > 0 {
		for uint64(len(r.Keys)) < n {
			r.Keys = append(r.Keys, r.Keys[0])
		}
	}
	return r
}

func move(_ *script, w *words) proto.Message {
	v, b := spot(w.arg(0))
	return &o3v1.RenameKeyRequest{Volume: v, Bucket: b, From: w.arg(1), To: w.arg(2), Overwrite: w.has("overwrite")}
}

// copyKey: cp from-bucket from-key to-bucket to-key.
func copyKey(_ *script, w *words) proto.Message {
	fv, fb := spot(w.arg(0))
	v, b := spot(w.arg(2))
	r := &o3v1.CopyKeyRequest{
		FromVolume: fv, FromBucket: fb, FromKey: w.arg(1), FromIf: w.pre("from-"), Volume: v, Bucket: b, Key: w.arg(3),
		If: w.pre("if-"), ReplaceHeaders: w.has("type"), Headers: w.headers(),
		ReplaceTags: w.has("tags"), Tags: w.pairs("tags"), Etag: w.str("etag"),
	}
	if w.has("checksum") {
		r.Checksum = &o3v1.Checksum{Algorithm: "CRC32", Value: []byte(w.str("checksum"))}
	}
	return r
}

func update(_ *script, w *words) proto.Message {
	v, b := spot(w.arg(0))
	return &o3v1.UpdateKeyRequest{
		Volume: v, Bucket: b, Key: w.arg(1), If: w.pre("if-"), SetTags: w.has("tags"), Tags: w.pairs("tags"),
		SetGrants: w.has("grants"), Grants: w.grants(), Owner: w.optStr("owner"),
		SetHeaders: w.has("type"), Headers: w.headers(),
	}
}

// part: part bucket key upload number.
func part(s *script, w *words) proto.Message {
	v, b := spot(w.arg(0))
	extents, size := w.extents()
	data := []byte(w.str("data"))
	return &o3v1.CommitPartRequest{
		Volume: v, Bucket: b, Key: w.arg(1), UploadId: w.upload(2), Number: uint32(w.parse(w.arg(3))),
		Size: size + uint64(len(data)) + w.num("more"), Etag: w.str("etag"), Extents: extents, Data: data,
		DeadlineMs: s.deadline(w),
	}
}

// copyPart: copy-part from-bucket from-key bucket key upload number.
func copyPart(_ *script, w *words) proto.Message {
	fv, fb := spot(w.arg(0))
	v, b := spot(w.arg(2))
	r := &o3v1.CopyPartRequest{
		FromVolume: fv, FromBucket: fb, FromKey: w.arg(1), FromIf: w.pre("from-"), Volume: v, Bucket: b, Key: w.arg(3),
		UploadId: w.upload(4), Number: uint32(w.parse(w.arg(5))), Etag: w.str("etag"),
	}
	if from, n, ok := strings.Cut(w.str("range"), "+"); ok {
		r.RangeSet, r.Offset, r.Length = true, w.parse(from), w.parse(n)
	}
	return r
}

// complete: complete bucket key upload parts=1:etag,2:etag.
func complete(_ *script, w *words) proto.Message {
	v, b := spot(w.arg(0))
	r := &o3v1.CompleteUploadRequest{
		Volume: v, Bucket: b, Key: w.arg(1), UploadId: w.upload(2), If: w.pre("if-"), Etag: w.str("etag"),
		MinPartSize: w.num("min"), Size: w.num("size"), SizeSet: w.has("size"),
	}
	for _, p := range w.pairs("parts") {
		r.Parts = append(r.Parts, &o3v1.CompletePart{Number: uint32(w.parse(p.Name)), Etag: p.Value})
	}
	return r
}

// diffJob: diff-job bucket from to, where a snapshot is named as the op that
// made it is; ” is the live bucket.
func diffJob(_ *script, w *words) proto.Message {
	v, b := spot(w.arg(0))
	return &commandpb.CreateDiffJob{
		Volume: v, Bucket: b, From: w.arg(1), FromOp: w.op(1), To: w.arg(2), ToOp: w.op(2), Options: w.num("options"),
		Full: w.has("full"), Ordered: w.has("ordered"), Prefix: w.str("prefix"), Types: w.list("types"),
	}
}

// updateDiffJob: update-diff-job bucket-id from to job expected=A,B state=C.
func updateDiffJob(_ *script, w *words) proto.Message {
	r := &commandpb.UpdateDiffJob{
		Key: w.diffKey(), JobId: w.parseID(w.arg(3)), State: diffState(w, w.str("state")),
		Reason: w.str("reason"), Entries: w.num("entries"), PinnedOp: w.num("pinned"),
	}
	for _, s := range w.list("expected") {
		r.Expected = append(r.Expected, diffState(w, s))
	}
	return r
}

func (w *words) diffKey() *commandpb.DiffJobKey {
	return &commandpb.DiffJobKey{BucketId: w.parseID(w.arg(0)), FromOp: w.op(1), ToOp: w.op(2), Options: w.num("options")}
}

// op returns operand i, an op; ” is none.
func (w *words) op(i int) uint64 {
	if w.arg(i) == "" {
		return 0
	}
	return w.parse(w.arg(i))
}

func diffState(w *words, s string) o3v1.DiffState {
	v, ok := o3v1.DiffState_value["DIFF_STATE_"+s]
	if !ok {
		w.t.Fatalf("%s: no state %q", w.line, s)
	}
	return o3v1.DiffState(v)
}

package delta_test

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command/commandpb"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

type schemapbEntry = schemapb.Entry

// do runs a line of a script. It returns the kind of the answer.
func (r *rig) do(line string) errs.Kind {
	words := strings.Fields(line)
	arg := func(i int) string {
		if i >= len(words) {
			return ""
		}
		s, err := strconv.Unquote(`"` + words[i] + `"`) // \x20 is a space
		if err != nil {
			r.t.Fatalf("%s: %v", line, err)
		}
		return s
	}
	send := func(m proto.Message) fsmtest.Answer {
		r.d.Now++
		return r.d.Do(r.t, m)
	}
	v, b := ns.S3Volume, r.bucket
	switch words[0] {
	case "snapshot":
		r.snapshot(arg(1))
		return errs.OK
	case "delete-snapshot":
		delete(r.ops, arg(1))
		return send(&o3v1.DeleteSnapshotRequest{Volume: v, Bucket: b, Name: arg(1)}).Kind
	case "bucket":
		r.use(arg(1), arg(2))
		return errs.OK
	case "put":
		content := arg(2)
		return send(&o3v1.CommitKeyRequest{
			Volume: v, Bucket: b, Key: arg(1), Size: uint64(len(content)), Etag: content, Data: []byte(content),
		}).Kind
	case "rm", "rmdir":
		a := send(&o3v1.DeleteKeysRequest{
			Volume: v, Bucket: b, Keys: []*o3v1.DeleteKey{{Key: arg(1)}}, Recursive: words[0] == "rmdir", MustExist: true,
		})
		if a.Kind != errs.OK {
			return a.Kind
		}
		return errs.Kind(a.Body.(*o3v1.DeleteKeysResponse).Results[0].Kind)
	case "mv":
		return send(&o3v1.RenameKeyRequest{Volume: v, Bucket: b, From: arg(1), To: arg(2), Overwrite: arg(3) == "over"}).Kind
	case "cp":
		return send(&o3v1.CopyKeyRequest{FromVolume: v, FromBucket: b, FromKey: arg(1), Volume: v, Bucket: b, Key: arg(2)}).Kind
	case "mkdir":
		return send(&o3v1.CreateDirectoryRequest{Volume: v, Bucket: b, Path: arg(1), MayExist: true}).Kind
	case "upload", "complete", "restore", "purge", "reclaim":
		return r.more(words[0], arg, send)
	}
	return r.update(line, words[0], arg, send)
}

// update changes what is not data.
func (r *rig) update(line, verb string, arg func(int) string, send func(proto.Message) fsmtest.Answer) errs.Kind {
	v, b := ns.S3Volume, r.bucket
	switch verb {
	case "tag":
		return send(&o3v1.UpdateKeyRequest{
			Volume: v, Bucket: b, Key: arg(1), SetTags: true, Tags: []*o3v1.Pair{{Name: "tag", Value: arg(2)}},
		}).Kind
	case "untag":
		return send(&o3v1.UpdateKeyRequest{Volume: v, Bucket: b, Key: arg(1), SetTags: true}).Kind
	case "grant":
		return send(&o3v1.UpdateKeyRequest{Volume: v, Bucket: b, Key: arg(1), SetGrants: true, Grants: []*o3v1.Grant{
			{Grantee: arg(2), Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ}},
		}}).Kind
	case "chown":
		return send(&o3v1.UpdateKeyRequest{Volume: v, Bucket: b, Key: arg(1), Owner: proto.String(arg(2))}).Kind
	case "type":
		return send(&o3v1.UpdateKeyRequest{
			Volume: v, Bucket: b, Key: arg(1), SetHeaders: true, Headers: &o3v1.Headers{ContentType: arg(2)},
		}).Kind
	}
	r.t.Fatalf("%s: unknown verb", line)
	return errs.OK
}

// more runs the verbs of several steps.
func (r *rig) more(verb string, arg func(int) string, send func(proto.Message) fsmtest.Answer) errs.Kind {
	v, b := ns.S3Volume, r.bucket
	switch verb {
	case "upload":
		a := send(&o3v1.CreateUploadRequest{Volume: v, Bucket: b, Key: arg(1)})
		if a.Kind == errs.OK {
			r.uploads[arg(1)] = a.Body.(*o3v1.CreateUploadResponse).Upload.UploadId
			a = send(&o3v1.CommitPartRequest{
				Volume: v, Bucket: b, Key: arg(1), UploadId: r.uploads[arg(1)], Number: 1, Size: 3, Etag: "e", Data: []byte("abc"),
			})
		}
		return a.Kind
	case "complete":
		return send(&o3v1.CompleteUploadRequest{
			Volume: v, Bucket: b, Key: arg(1), UploadId: r.uploads[arg(1)], Etag: "e-1", Parts: []*o3v1.CompletePart{{Number: 1, Etag: "e"}},
		}).Kind
	case "restore":
		return send(&commandpb.RestoreKeys{Volume: v, Bucket: b, SnapshotOp: uint64(r.ops[arg(1)]), Paths: []string{arg(2)}}).Kind
	case "purge":
		return send(&commandpb.PurgeDirectories{Limit: limit(arg(1))}).Kind
	}
	return r.reclaim(send, limit(arg(1)))
}

func limit(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 1000
	}
	return uint32(n)
}

// must runs lines that may not be refused.
func (r *rig) must(format string, args ...any) {
	r.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if k := r.do(line); k != errs.OK {
			r.t.Fatalf("%s: %v", line, k)
		}
	}
}

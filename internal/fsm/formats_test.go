package fsm_test

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/command/commandpb"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/ns"
	"o3/internal/schema"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// TestFormats: a log and a store of every format ever released are opened by
// this program. The fixtures never change; see docs/formats/README.md.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		writeFormat(t, filepath.Join(formatsDir, *makeFormat))
	}
	dirs, err := os.ReadDir(formatsDir)
	if err != nil || len(dirs) != schema.Format {
		t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), schema.Format, err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			dir := filepath.Join(formatsDir, d.Name())
			var format int
			if _, err := fmt.Sscanf(d.Name(), "v%d", &format); err != nil {
				t.Fatal(err)
			}
			log, store := readLog(t, filepath.Join(dir, "log.txt")), readStore(t, filepath.Join(dir, "store.txt"))
			t.Run("OpenStore", func(t *testing.T) { testOpenStore(t, readStore(t, filepath.Join(dir, "store.txt")), format) })
			t.Run("ReplayLog", func(t *testing.T) { testReplayLog(t, log, store, format) })
			t.Run("Complete", func(t *testing.T) { testComplete(t, log, store, format) })
		})
	}
}

// testOpenStore opens the image, checks it and goes on from it. One of an older
// format is raised to the newest, which changes no other row.
func testOpenStore(t *testing.T, store *memkv.Store, format int) {
	if _, err := fsmtest.Check(store); err != nil {
		t.Error(err)
	}
	if got := formatOf(t, store); got != format {
		t.Fatalf("the image says format %d", got)
	}
	before := dump(t, store, schema.FirstReplicated())
	for range 2 { // the second time nothing is to do
		if fsmtest.New(t, store).Machine.Position().Index == 0 {
			t.Fatal("the position is lost")
		}
		if got := formatOf(t, store); got != schema.Format {
			t.Errorf("opened, the store has format %d", got)
		}
		if dump(t, store, schema.FirstReplicated()) != before {
			t.Error("opening the store changed its rows")
		}
	}
	d := fsmtest.New(t, store)
	d.Must(t, &o3v1.CreateVolumeRequest{Volume: "another"})
	d.Must(t, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "later"})
	d.Must(t, &o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "flat", FromKey: ".snapshot/later/dir/key", Volume: "s3v", Bucket: "flat", Key: "later"})
	if _, err := fsmtest.Check(store); err != nil {
		t.Error(err)
	}
}

func formatOf(t *testing.T, r kv.Reader) int {
	t.Helper()
	row, ok, err := schema.Meta.Get(r, schema.FormatKey)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return int(row.Index)
}

// testReplayLog applies the log; the bytes must be those of the image, so that a
// change of a record, key or rule is seen. Of an older format only the rows of
// the node's own may differ: replicas whose programs are of different versions
// agree while nobody uses what is new.
func testReplayLog(t *testing.T, log []fsm.Entry, want *memkv.Store, format int) {
	got := new(memkv.Store)
	m, err := fsm.Open(got, fsm.Position{Index: 5, Term: 1, Conf: []byte("conf")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(log); err != nil {
		t.Fatal(err)
	}
	var from []byte
	if format < schema.Format {
		from = schema.FirstReplicated()
		p, _, err := fsm.ReadPosition(want)
		if err != nil || p.Digest != m.Position().Digest {
			t.Errorf("the digest is %v, was %v, %v", m.Position().Digest, p.Digest, err)
		}
	}
	a, b := strings.Split(dump(t, want, from), "\n"), strings.Split(dump(t, got, from), "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			t.Fatalf("the log makes another store than in format %d, from row %d on: stores of released versions would be "+
				"read wrongly.\nUndo the change, or make a new format (docs/formats/README.md).\ngot  %.300s\nwant %.300s",
				format, i, strings.Join(b[min(i, len(b)):], " "), strings.Join(a[min(i, len(a)):], " "))
		}
	}
}

// testComplete: the fixtures hold every table of their format; the newest, every
// command.
func testComplete(t *testing.T, log []fsm.Entry, store *memkv.Store, format int) {
	text := dump(t, store, nil)
	for _, table := range schema.Tables() {
		if table.Since <= format && !strings.Contains("\n"+text, fmt.Sprintf("\n%02x", table.Space)) {
			t.Errorf("no row of table %s", table.Name)
		}
	}
	if format < schema.Format {
		return
	}
	seen := map[command.Kind]bool{}
	for _, e := range log {
		for _, raw := range e.Requests {
			var r commandpb.Request
			if err := proto.Unmarshal(raw, &r); err != nil {
				t.Fatal(err)
			}
			seen[command.Kind(r.Kind)] = true
		}
	}
	for k := command.Kind(1); k < 256; k++ {
		if !strings.HasPrefix(k.String(), "command ") && !seen[k] {
			t.Errorf("no request of %v", k)
		}
	}
}

// dump prints every row from a key on as hexadecimal key and value.
func dump(t *testing.T, r kv.Reader, from []byte) string {
	t.Helper()
	it, err := r.Iter(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var b strings.Builder
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x %x\n", it.Key(), v)
	}
	return b.String()
}

// lines returns the lines of a fixture without comments.
func lines(t *testing.T, path string) (out []string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readStore(t *testing.T, path string) *memkv.Store {
	t.Helper()
	s := new(memkv.Store)
	b := s.NewBatch()
	defer b.Close()
	for _, line := range lines(t, path) {
		k, v, _ := strings.Cut(line, " ")
		if err := b.Set(unhex(t, k), unhex(t, v)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	return s
}

// readLog reads entries: "entry INDEX TERM", then a request on each line.
func readLog(t *testing.T, path string) (out []fsm.Entry) {
	t.Helper()
	for _, line := range lines(t, path) {
		if strings.HasPrefix(line, "entry ") {
			var e fsm.Entry
			if _, err := fmt.Sscanf(line, "entry %d %d", &e.Index, &e.Term); err != nil {
				t.Fatal(err)
			}
			out = append(out, e)
			continue
		}
		last := &out[len(out)-1]
		last.Requests = append(last.Requests, unhex(t, line))
	}
	return out
}

// writeFormat writes the fixtures of the newest format into a new directory.
func writeFormat(t *testing.T, dir string) {
	t.Helper()
	var log strings.Builder
	s := new(memkv.Store)
	m, err := fsm.Open(s, fsm.Position{Index: 5, Term: 1, Conf: []byte("conf")})
	if err != nil {
		t.Fatal(err)
	}
	for i, list := range formatScript() {
		e := fsm.Entry{Index: uint64(6 + i), Term: 2}
		fmt.Fprintf(&log, "entry %d %d\n", e.Index, e.Term)
		for _, r := range list {
			e.Requests = append(e.Requests, r.Encode())
			fmt.Fprintf(&log, "# %v\n%x\n", fsmtest.KindOf(r.Body), r.Encode())
		}
		answers, err := m.Apply([]fsm.Entry{e})
		if err != nil {
			t.Fatal(err)
		}
		for j, raw := range answers[0] {
			if a, err := fsmtest.Decode(list[j].Body, raw); err != nil || a.Kind != 0 {
				t.Fatalf("%v: %v, %v", list[j].Body, a, err)
			}
		}
	}
	err = errors.Join(os.Mkdir(dir, 0o755), // fails when it is there
		os.WriteFile(filepath.Join(dir, "log.txt"), []byte(log.String()), 0o444),
		os.WriteFile(filepath.Join(dir, "store.txt"), []byte(dump(t, s, nil)), 0o444))
	if err != nil {
		t.Fatal(err)
	}
}

// formatScript makes rows in every table, by every command, with every field
// that a command can fill.
func formatScript() [][]fsmtest.Request {
	at := int64(fsmtest.Start)
	seq := uint64(0)
	one := func(body proto.Message) []fsmtest.Request {
		at += 1000
		return []fsmtest.Request{{Body: body, TimeMs: at, Principal: "root"}}
	}
	stamped := func(body proto.Message) []fsmtest.Request {
		seq++
		r := one(body)
		r[0].Stamp = &o3v1.Stamp{ClientId: 77, Sequence: seq, Acked: 1}
		return r
	}
	grants := []*o3v1.Grant{{Grantee: "bob", Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_READ, o3v1.Permission_PERMISSION_LIST}}, {Grantee: "*", Permissions: []o3v1.Permission{1}}}
	tags := []*o3v1.Pair{{Name: "colour", Value: "blue"}, {Name: "é", Value: ""}}
	headers := &o3v1.Headers{
		ContentType: "text/plain", CacheControl: "no-cache", ContentDisposition: "inline", ContentEncoding: "gzip",
		ContentLanguage: "de", Expires: "never", User: tags, StorageClass: "STANDARD", WebsiteRedirect: "/x",
	}
	sum := &o3v1.Checksum{Algorithm: "CRC32C", Value: []byte{1, 2, 3, 4}, Type: "FULL_OBJECT"}
	blocks := func(container uint64, n int, length int64) (out []*o3v1.Extent) {
		for i := range n {
			out = append(out, &o3v1.Extent{Container: container, Local: uint64(i + 1), Length: length})
		}
		return out
	}
	const far = 1 << 60
	upload := func(op uint64) string { return command.UploadID(ns.ObjectID(op << 10)) }
	return append([][]fsmtest.Request{
		one(&o3v1.CreateUserRequest{User: "root", Role: "admin"}),                                                 // op 1
		one(&o3v1.CreateUserRequest{User: "bob", Role: "user"}),                                                   // 2
		one(&o3v1.UpdateUserRequest{User: "bob", Disabled: proto.Bool(true)}),                                     // 3
		one(&o3v1.CreateUserRequest{User: "gone", Role: "user"}),                                                  // 4
		one(&o3v1.DeleteUserRequest{User: "gone"}),                                                                // 5
		one(&o3v1.CreateAccessKeyRequest{User: "root", Id: "AKROOT", Secret: "not-a-secret", Description: "key"}), // 6
		one(&o3v1.CreateAccessKeyRequest{User: "bob", Id: "AKBOB", Secret: "not-a-secret"}),                       // 7
		one(&o3v1.RevokeAccessKeyRequest{Id: "AKBOB"}),                                                            // 8
		one(&o3v1.CreateVolumeRequest{Volume: "s3v", Owner: "root", QuotaBytes: 1 << 40, QuotaNames: 1 << 20, Grants: grants}),
		one(&o3v1.UpdateVolumeRequest{Volume: "s3v", Owner: proto.String("root")}),                                                                      // 10
		one(&o3v1.CreateVolumeRequest{Volume: "gone"}),                                                                                                  // 11
		one(&o3v1.DeleteVolumeRequest{Volume: "gone"}),                                                                                                  // 12
		one(&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Layout: "OBS", QuotaBytes: 1 << 30, QuotaNames: 1000, Grants: grants, Tags: tags}), // 13
		one(&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "tree", Layout: "FSO"}),                                                                    // 14
		one(&o3v1.UpdateBucketRequest{Volume: "s3v", Bucket: "tree", Owner: proto.String("bob")}),                                                       // 15
		one(&o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "gone", Layout: "FSO"}),                                                                    // 16
		one(&o3v1.DeleteBucketRequest{Volume: "s3v", Bucket: "gone"}),                                                                                   // 17
		append(stamped(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "dir/key", Size: 20, Etag: "e1", Extents: blocks(1, 2, 10), Headers: headers, Tags: tags, Checksum: sum, DeadlineMs: far}), // 18
			stamped(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: "a/b/small", Size: 5, Etag: "e2", Data: []byte("hello")})...), // 19
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: "a/b/long", Size: 40, Etag: "e3", Extents: blocks(2, 40, 1), DeadlineMs: far}),                  // 20
		one(&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "flat", Key: "dir/key", SetGrants: true, Grants: grants}),                                                    // 21
		one(&o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "flat", FromKey: "dir/key", Volume: "s3v", Bucket: "tree", Key: "a/copy"}),                             // 22
		one(&o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: "a/b", To: "c/d"}),                                                                             // 23
		one(&o3v1.CreateDirectoryRequest{Volume: "s3v", Bucket: "tree", Path: "explicit", Headers: headers, Tags: tags}),                                               // 24
		one(&o3v1.OpenKeyRequest{Volume: "s3v", Bucket: "flat", Key: "open\x00key", ExpectedSize: 7}),                                                                  // 25
		one(&o3v1.OpenKeyRequest{Volume: "s3v", Bucket: "flat", Key: "left"}),                                                                                          // 26
		one(&o3v1.AbandonKeyRequest{Volume: "s3v", Bucket: "flat", Key: "left", Session: 26 << 10}),                                                                    // 27
		one(&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "flat", Key: "up", Headers: headers, Tags: tags, ChecksumAlgorithm: "SHA256", ChecksumType: "COMPOSITE"}), // 28
		one(&o3v1.CommitPartRequest{Volume: "s3v", Bucket: "flat", Key: "up", UploadId: upload(28), Number: 3, Size: 8, Etag: "p3", Extents: blocks(3, 1, 8), Checksum: sum, DeadlineMs: far}),
		one(&o3v1.CopyPartRequest{Volume: "s3v", Bucket: "flat", Key: "up", UploadId: upload(28), Number: 4, FromVolume: "s3v", FromBucket: "flat", FromKey: "dir/key", Offset: 5, Length: 10, RangeSet: true, Etag: "p4"}),
		one(&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "tree", Key: "m/done"}), // 31
		one(&o3v1.CommitPartRequest{Volume: "s3v", Bucket: "tree", Key: "m/done", UploadId: upload(31), Number: 1, Size: 4, Etag: "p", Data: []byte("part")}),
		one(&o3v1.CompleteUploadRequest{Volume: "s3v", Bucket: "tree", Key: "m/done", UploadId: upload(31), Parts: []*o3v1.CompletePart{{Number: 1, Etag: "p"}}, Etag: "p-1", Checksum: sum}),
		one(&o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "tree", Key: "m/aborted"}),                                              // 34
		one(&o3v1.AbortUploadRequest{Volume: "s3v", Bucket: "tree", Key: "m/aborted", UploadId: upload(34)}),                         // 35
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: "x/y/k", Size: 3, Extents: blocks(4, 1, 3), DeadlineMs: far}), // 36
		one(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Keys: []*o3v1.DeleteKey{{Key: "x/"}}, Recursive: true}),           // 37
		one(&commandpb.PurgeDirectories{Limit: 1}), // 38
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "old", Size: 6, Extents: blocks(5, 2, 3), DeadlineMs: far}), // 39
		one(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "old"}}}),                         // 40
		one(&commandpb.FreedBlocks{Rows: []*commandpb.DeletedKey{{Op: 1, N: 0}}}),                                                  // 41
		one(&commandpb.ExpireClients{BeforeMs: 1, Limit: 1}),
		one(&commandpb.ExpireOpenKeys{BeforeMs: 1, Limit: 1}), // 43, the last of format 1
	}, slices.Concat(snapshotScript(one, blocks, tags), holdScript(one, at), lifecycleScript(one, blocks, tags))...)
}

// holdScript goes on with what format 3 added.
func holdScript(one func(proto.Message) []fsmtest.Request, at int64) [][]fsmtest.Request {
	return [][]fsmtest.Request{
		one(&commandpb.HoldLog{Name: "root \"a\" 7-2-00000000", Index: 7, UntilMs: at + 60_000}), // 76
		one(&commandpb.HoldLog{Name: "gone", Index: 9, UntilMs: at + 60_000}),                    // 77
		one(&commandpb.HoldLog{Name: "root \"a\" 7-2-00000000", Index: 8, UntilMs: at + 90_000}), // 78
		one(&commandpb.ReleaseLog{Names: []string{"gone"}, Expired: true}),                       // 79
	}
}

// snapshotScript goes on with what format 2 added.
func snapshotScript(one func(proto.Message) []fsmtest.Request, blocks func(container uint64, n int, length int64) []*o3v1.Extent, tags []*o3v1.Pair) [][]fsmtest.Request {
	const far = 1 << 60
	const queued, running = o3v1.DiffState_DIFF_STATE_QUEUED, o3v1.DiffState_DIFF_STATE_IN_PROGRESS
	job := func(from, to, options, op uint64, was o3v1.DiffState, r *commandpb.UpdateDiffJob) *commandpb.UpdateDiffJob {
		r.Key = &commandpb.DiffJobKey{BucketId: 13 << 10, FromOp: from, ToOp: to, Options: options}
		r.JobId, r.Expected = op<<10, []o3v1.DiffState{was}
		return r
	}
	return [][]fsmtest.Request{
		one(&o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "one", MaxTotal: 10}),                                                                                                    // 44
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "flat", Key: "dir/key", Size: 7, Extents: blocks(6, 1, 7), DeadlineMs: far}),                                                                // 45
		one(&o3v1.UpdateKeyRequest{Volume: "s3v", Bucket: "flat", Key: "dir/key", SetTags: true, Tags: tags}),                                                                                         // 46
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: "c/f/k", Size: 4, Data: []byte("data")}),                                                                                       // 47
		one(&o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "tree", Name: "one"}),                                                                                                                  // 48
		one(&o3v1.RenameKeyRequest{Volume: "s3v", Bucket: "tree", From: "c/f", To: "c/g"}),                                                                                                            // 49
		one(&o3v1.CommitKeyRequest{Volume: "s3v", Bucket: "tree", Key: "c/g/k", Size: 4, Extents: blocks(7, 2, 2), DeadlineMs: far}),                                                                  // 50
		one(&o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "tree", Name: "two"}),                                                                                                                  // 51
		one(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Keys: []*o3v1.DeleteKey{{Key: "c/"}}, Recursive: true}),                                                                            // 52
		one(&o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "tree"}),                                                                                                                               // 53
		one(&commandpb.PurgeDirectories{Limit: 7}),                                                                                                                                                    // 54: x/ of op 37, then a part of c/
		one(&o3v1.RenameSnapshotRequest{Volume: "s3v", Bucket: "tree", From: "one", To: "first"}),                                                                                                     // 55
		one(&commandpb.RestoreKeys{Volume: "s3v", Bucket: "tree", SnapshotOp: 48, Paths: []string{"c/f/k", "a/copy", "nothere"}}),                                                                     // 56
		one(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Keys: []*o3v1.DeleteKey{{Key: "explicit/"}}}),                                                                                      // 57
		one(&commandpb.RestoreKeys{Volume: "s3v", Bucket: "tree", SnapshotOp: 51, Paths: []string{"explicit/"}}),                                                                                      // 58
		one(&o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "tree", Name: "two"}),                                                                                                                  // 59
		one(&commandpb.ReclaimSnapshot{BucketId: 14 << 10, SnapshotOp: 51, Limit: 2}),                                                                                                                 // 60
		one(&o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "flat", FromKey: ".snapshot/one/dir/key", Volume: "s3v", Bucket: "flat", Key: "then"}),                                                // 61
		one(&o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "gone"}),                                                                                                                 // 62
		one(&o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "then"}}}),                                                                                           // 63
		one(&o3v1.DeleteSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "gone"}),                                                                                                                 // 64
		one(&commandpb.ReclaimSnapshot{BucketId: 13 << 10, SnapshotOp: 62, Limit: 100}),                                                                                                               // 65
		one(&o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: "flat", Name: "later-one"}),                                                                                                            // 66
		one(&commandpb.CreateDiffJob{Volume: "s3v", Bucket: "flat", From: "one", FromOp: 44, To: "later-one", ToOp: 66, Full: true, Ordered: true, Prefix: "dir/", Types: []string{"M"}, Options: 9}), // 67
		one(&commandpb.CreateDiffJob{Volume: "s3v", Bucket: "flat", From: "one", FromOp: 44}),                                                                                                         // 68
		one(job(44, 66, 9, 67, queued, &commandpb.UpdateDiffJob{State: running})),
		one(job(44, 66, 9, 67, running, &commandpb.UpdateDiffJob{State: o3v1.DiffState_DIFF_STATE_DONE, Entries: 3})),                                // 70
		one(job(44, 0, 0, 68, queued, &commandpb.UpdateDiffJob{State: running, PinnedOp: 68})),                                                       // 71
		one(job(44, 0, 0, 68, running, &commandpb.UpdateDiffJob{State: o3v1.DiffState_DIFF_STATE_FAILED, Reason: "the disk is full", PinnedOp: 68})), // 72
		one(&commandpb.CreateDiffJob{Volume: "s3v", Bucket: "flat", From: "later-one", FromOp: 66, To: "one", ToOp: 44}),                             // 73
		one(job(66, 44, 0, 73, queued, &commandpb.UpdateDiffJob{State: o3v1.DiffState_DIFF_STATE_CANCELLED})),                                        // 74
		one(&commandpb.ForgetDiffJob{Key: &commandpb.DiffJobKey{BucketId: 13 << 10, FromOp: 66, ToOp: 44}, JobId: 73 << 10}),                         // 75
	}
}

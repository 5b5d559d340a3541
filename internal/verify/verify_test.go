package verify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/block/memblock"
	"o3/internal/errs"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/verify"
)

// world is a store with a bit of everything, and its blocks.
type world struct {
	*fsmtest.Driver
	t      *testing.T
	blocks *memblock.Store
}

// newWorld makes: a key of small bytes, one of a block, one of many blocks and
// a copy of it; directories, one of them deleted; an upload, an open key, and
// blocks that wait to be freed; a bucket with snapshots.
func newWorld(t *testing.T) *world {
	w := &world{fsmtest.New(t, new(memkv.Store)), t, memblock.New()}
	w.Must(t, &o3v1.CreateUserRequest{User: "root", Role: "admin"})
	w.Must(t, &o3v1.CreateVolumeRequest{Volume: "s3v"})
	w.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "flat", Layout: "OBJECT_STORE"})
	w.Must(t, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "tree", Layout: "FILE_SYSTEM_OPTIMIZED"})
	w.commit("flat", "small", 0)
	w.commit("flat", "block", 1)
	w.commit("flat", "long", 40)
	w.Must(t, &o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "flat", FromKey: "long", Volume: "s3v", Bucket: "flat", Key: "copy"})
	w.Must(t, &o3v1.CopyKeyRequest{FromVolume: "s3v", FromBucket: "flat", FromKey: "block", Volume: "s3v", Bucket: "tree", Key: "copies/block"})
	w.commit("tree", "a/b/key", 1)
	w.commit("tree", "gone/with/key", 1)
	w.Must(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "tree", Recursive: true, Keys: []*o3v1.DeleteKey{{Key: "gone/"}}})
	w.commit("flat", "deleted", 2)
	w.Must(t, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: "flat", Keys: []*o3v1.DeleteKey{{Key: "deleted"}}})
	w.Must(t, &o3v1.OpenKeyRequest{Volume: "s3v", Bucket: "flat", Key: "open"})
	up := w.Must(t, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: "flat", Key: "parts"}).Body.(*o3v1.CreateUploadResponse).Upload.UploadId
	for n := range uint32(2) {
		e, size := w.extents(35)
		w.Must(t, &o3v1.CommitPartRequest{
			Volume: "s3v", Bucket: "flat", Key: "parts", UploadId: up, Number: n + 1, Extents: e, Size: size, DeadlineMs: 1 << 60,
		})
	}
	w.addPast()
	return w
}

// extents stores n blocks.
func (w *world) extents(n int) (out []*o3v1.Extent, size uint64) {
	for i := range n {
		info, err := w.blocks.Put(w.t.Context(), bytes.NewReader(make([]byte, 10+i)), -1)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, &o3v1.Extent{Container: info.ID.Container, Local: info.ID.Local, Length: info.Length})
		size += uint64(info.Length)
	}
	return out, size
}

// lose drops the first block of extents from the block store.
func (w *world) lose(extents []*o3v1.Extent) error {
	return w.blocks.Delete(context.Background(), []block.ID{{Container: extents[0].Container, Local: extents[0].Local}})
}

func (w *world) commit(bucket, key string, blocks int) { w.commitIn("s3v", bucket, key, blocks) }

func (w *world) commitIn(volume, bucket, key string, blocks int) {
	r := &o3v1.CommitKeyRequest{Volume: volume, Bucket: bucket, Key: key, DeadlineMs: 1 << 60}
	if r.Extents, r.Size = w.extents(blocks); blocks == 0 {
		r.Data, r.Size = []byte("small bytes"), 11
	}
	w.Must(w.t, r)
}

// check returns what Store finds, "check subject" each, sorted.
func (w *world) check() (out []string, report verify.Report) {
	w.t.Helper()
	report, err := verify.Store(w.t.Context(), w.Store, verify.Options{Blocks: w.blocks, Problem: func(p verify.Problem) {
		out = append(out, p.Check+" "+p.Subject)
		if p.Detail == "" {
			w.t.Errorf("%v says nothing", p)
		}
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	if report.Problems != uint64(len(out)) {
		w.t.Errorf("%d problems counted, %d told", report.Problems, len(out))
	}
	slices.Sort(out)
	return out, report
}

func TestHealthy(t *testing.T) {
	w := newWorld(t)
	if _, err := fsmtest.Check(w.Store); err != nil {
		t.Fatalf("the world itself is not right: %v", err)
	}
	problems, report := w.check()
	if len(problems) > 0 {
		t.Errorf("%q", problems)
	}
	if report.Position.Op != w.Machine.Position().Op {
		t.Errorf("position %+v", report.Position)
	}
	for _, table := range []string{"meta", "volumes", "buckets", "users", "entries", "dirs", "smalls", "refs", "uploads", "parts", "openKeys", "deleted", "deletedDirs",
		"snapshots", "snapshotNames", "reclaims", "history", "dirHistory", "journal", "cells", "cellEnds", "snapDiffJobTable", "counters"} {
		if report.Rows[table] == 0 {
			t.Errorf("no row of %s was seen: %v", table, report.Rows)
		}
	}
	if report.Blocks < 100 {
		t.Errorf("%d blocks", report.Blocks)
	}
}

// change rewrites the first row of a table that pick accepts.
func change[K, R any, P schema.Message[R]](t *schema.Table[K, R, P], pick func(K, P) bool, f func(kv.Batch, K, P) error) func(*world) {
	return func(w *world) {
		w.t.Helper()
		b := w.Store.NewBatch()
		defer b.Close()
		done := errors.New("done")
		err := fsmtest.Scan(w.Store, t, func(k K, row P) error {
			if !pick(k, row) {
				return nil
			}
			if err := f(b, k, row); err != nil {
				return err
			}
			return done
		})
		if !errors.Is(err, done) {
			w.t.Fatalf("%s: nothing was changed: %v", t.Name(), err)
		}
		if err := b.Commit(false); err != nil {
			w.t.Fatal(err)
		}
	}
}

// write makes a table's Put and Delete of a batch, which has no reads.
type write struct {
	kv.Reader
	kv.Batch
}

func put[K, R any, P schema.Message[R]](t *schema.Table[K, R, P], edit func(P)) func(kv.Batch, K, P) error {
	return func(b kv.Batch, k K, row P) error {
		edit(row)
		return t.Put(write{Batch: b}, k, row)
	}
}

func remove[K, R any, P schema.Message[R]](t *schema.Table[K, R, P]) func(kv.Batch, K, P) error {
	return func(b kv.Batch, k K, _ P) error { return t.Delete(write{Batch: b}, k) }
}

func any1[K, P any](K, P) bool { return true }

func named(name string) func(schema.EntryKey, *schemapb.Entry) bool {
	return func(k schema.EntryKey, _ *schemapb.Entry) bool { return k.Name == name }
}

func flat(k schema.BucketKey, _ *schemapb.Bucket) bool { return k.Name == "flat" }

type damage struct {
	name   string
	plant  func(*world)
	expect []string
}

// damages are mistakes in a store, and what Store must tell of each beside the
// digest: an element stands for every problem that begins with it.
var damages = []damage{
	{"an attribute changes", change(schema.Entries, named("small"), put(schema.Entries, func(e *schemapb.Entry) { e.Etag = "x" })), nil},
	{"a key's size changes", change(schema.Entries, named("small"), put(schema.Entries, func(e *schemapb.Entry) { e.Size++ })),
		[]string{"row s3v/flat: small", "usage s3v/flat", "usage volume s3v"}},
	{"a bucket's bytes", change(schema.Buckets, flat, put(schema.Buckets, func(b *schemapb.Bucket) { b.UsedBytes++ })), []string{"usage s3v/flat"}},
	{"a bucket's keys", change(schema.Buckets, flat, put(schema.Buckets, func(b *schemapb.Bucket) { b.UsedKeys-- })), []string{"usage s3v/flat"}},
	{"a bucket's directories", change(schema.Buckets, flat, put(schema.Buckets, func(b *schemapb.Bucket) { b.UsedDirectories++ })), []string{"usage s3v/flat"}},
	{"a bucket's uploads", change(schema.Buckets, flat, put(schema.Buckets, func(b *schemapb.Bucket) { b.Uploads++ })), []string{"usage s3v/flat"}},
	{"a bucket's upload bytes", change(schema.Buckets, flat, put(schema.Buckets, func(b *schemapb.Bucket) { b.UploadBytes++ })), []string{"usage s3v/flat"}},
	{"a bucket's open keys", change(schema.Buckets, flat, put(schema.Buckets, func(b *schemapb.Bucket) { b.OpenKeys = 0 })), []string{"usage s3v/flat"}},
	{"a bucket's pending directories", change(schema.Buckets, flat, put(schema.Buckets, func(b *schemapb.Bucket) { b.PendingDirectories++ })), []string{"usage s3v/flat"}},
	{"a volume's bytes", change(schema.Volumes, any1, put(schema.Volumes, func(v *schemapb.Volume) { v.UsedBytes++ })), []string{"usage volume s3v"}},
	{"a volume's names", change(schema.Volumes, any1, put(schema.Volumes, func(v *schemapb.Volume) { v.UsedNames++ })), []string{"usage volume s3v"}},
	{"a volume's buckets", change(schema.Volumes, any1, put(schema.Volumes, func(v *schemapb.Volume) { v.Buckets++ })), []string{"usage volume s3v"}},
	{"an upload's parts", change(schema.Uploads, any1, put(schema.Uploads, func(u *schemapb.Upload) { u.Parts++ })), []string{"usage upload of parts"}},
	{"a row of dirs is missing", change(schema.Dirs, func(_ schema.DirKey, d *schemapb.Dir) bool { return d.Name == "b/" }, remove(schema.Dirs)),
		[]string{"tree s3v/tree: b/", "tree s3v/tree: key"}},
	{"a directory hangs elsewhere", change(schema.Dirs, func(_ schema.DirKey, d *schemapb.Dir) bool { return d.Name == "b/" }, put(schema.Dirs, func(d *schemapb.Dir) { d.Name = "c/" })),
		[]string{"tree directory ", "tree s3v/tree: b/"}},
	{"a directory's entry is missing", change(schema.Entries, named("b/"), remove(schema.Entries)),
		[]string{"tree directory ", "usage s3v/tree", "usage volume s3v"}},
	{"the record of a deleted directory is missing", change(schema.DeletedDirs, any1, remove(schema.DeletedDirs)),
		[]string{"tree s3v/tree: with/", "usage s3v/tree"}},
	{"a volume is missing", change(schema.Volumes, any1, remove(schema.Volumes)), []string{"tree bucket flat", "tree bucket tree"}},
	{"a bucket is missing", change(schema.Buckets, func(k schema.BucketKey, _ *schemapb.Bucket) bool { return k.Name == "tree" }, remove(schema.Buckets)),
		[]string{"tree deletedDirs gone/", "tree entry ", "usage volume s3v"}},
	{"an upload is missing", change(schema.Uploads, any1, remove(schema.Uploads)),
		[]string{"tree part 1", "tree part 2", "usage s3v/flat", "usage volume s3v"}},
	{"a count of references is wrong", change(schema.Refs, any1, put(schema.Refs, func(r *schemapb.Refs) { r.Count++ })), []string{"refs block "}},
	{"a count of references is missing", change(schema.Refs, func(k block.ID, _ *schemapb.Refs) bool { return k.Container != 0 }, remove(schema.Refs)), []string{"refs block "}},
	{"the count of a shared list is missing", change(schema.Refs, func(k block.ID, _ *schemapb.Refs) bool { return k.Container == 0 }, remove(schema.Refs)), []string{"refs block 0/"}},
	{"a block that is named once has a count", change(schema.Entries, named("block"), func(b kv.Batch, _ schema.EntryKey, e *schemapb.Entry) error {
		return schema.Refs.Put(write{Batch: b}, block.ID{Container: 1 << 40, Local: 1}, &schemapb.Refs{Count: 2})
	}), []string{"refs block "}},
	{"small bytes are missing", change(schema.Smalls, any1, remove(schema.Smalls)), []string{"blocks block 0/"}},
	{"small bytes that no row names", change(schema.Smalls, any1, func(b kv.Batch, _ uint64, s *schemapb.Small) error {
		return schema.Smalls.Put(write{Batch: b}, 1<<50, s)
	}), []string{"refs block 0/1125899906842624"}},
	{"a list of extents is garbage", change(schema.Smalls, func(_ uint64, s *schemapb.Small) bool { return len(s.Data) > 100 }, put(schema.Smalls, func(s *schemapb.Small) { s.Data = []byte{0xff} })),
		[]string{"row block 0/"}},
	{"a named block is to be freed", change(schema.Entries, named("block"), func(b kv.Batch, _ schema.EntryKey, e *schemapb.Entry) error {
		return schema.Deleted.Put(write{Batch: b}, schema.OpKey{Op: 1, N: 7}, &schemapb.DeletedBlocks{Extents: e.Extents})
	}), []string{"refs block "}},
	{"a block is lost", func(w *world) {
		change(schema.Entries, named("key"), func(_ kv.Batch, _ schema.EntryKey, e *schemapb.Entry) error {
			return w.lose(e.Extents)
		})(w)
	}, []string{"blocks block "}},
	{"a row does not decode", change(schema.Entries, named("small"), func(b kv.Batch, k schema.EntryKey, _ *schemapb.Entry) error {
		return b.Set(schema.Entries.Key(k), []byte{1, 0xff})
	}), []string{"row entries/"}},
	{"a row is of a later version", change(schema.Entries, named("small"), func(b kv.Batch, k schema.EntryKey, _ *schemapb.Entry) error {
		return b.Set(schema.Entries.Key(k), []byte{99})
	}), []string{"row entries/"}},
	{"a row of no table", change(schema.Volumes, any1, func(b kv.Batch, _ string, _ *schemapb.Volume) error {
		return b.Set([]byte{0x7f, 1}, []byte{1})
	}), []string{"row 7f01"}},
}

func TestDamage(t *testing.T) {
	for _, d := range append(damages, pastDamages...) {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			w := newWorld(t)
			d.plant(w)
			got, _ := w.check()
			inRows := !strings.HasSuffix(d.name, " is lost") || !strings.HasPrefix(d.name, "a block")
			if slices.Contains(got, "digest store") != inRows {
				t.Errorf("the digest was reported: %v", !inRows)
			}
			got = slices.DeleteFunc(got, func(p string) bool { return p == "digest store" })
			for _, want := range d.expect {
				if !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, want) }) {
					t.Errorf("%q was not reported: %q", want, got)
				}
			}
			for _, p := range got {
				if !slices.ContainsFunc(d.expect, func(want string) bool { return strings.HasPrefix(p, want) }) {
					t.Errorf("%q was reported", p)
				}
			}
		})
	}
}

func TestEmptyStore(t *testing.T) {
	problems := 0
	_, err := verify.Store(t.Context(), new(memkv.Store), verify.Options{Problem: func(verify.Problem) { problems++ }})
	if err != nil || problems == 0 {
		t.Errorf("an empty store has %d problems, %v", problems, err)
	}
}

func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := verify.Store(ctx, w.Store, verify.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestNewerFormat(t *testing.T) {
	w := newWorld(t)
	b := w.Store.NewBatch()
	defer b.Close()
	err := schema.Meta.Put(write{Batch: b}, schema.FormatKey, &schemapb.Position{Index: schema.Format + 1})
	if err == nil {
		err = b.Commit(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Store(t.Context(), w.Store, verify.Options{})
	if errs.KindOf(err) != errs.FormatTooNew || !strings.Contains(err.Error(), fmt.Sprint(schema.Format+1)) {
		t.Errorf("%v", err)
	}
}

package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block"
	"o3/internal/block/container"
	"o3/internal/consensus"
	"o3/internal/fsm"
	"o3/internal/leaktest"
	"o3/internal/om"
	"o3/internal/pebblekv"
	"o3/internal/replica"
	"o3/internal/schema"
	"o3/internal/verify"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// rig is a node without its listeners, in a data directory as of a real one.
type rig struct {
	t       testing.TB
	fs      vfs.FS
	dir     string
	store   *pebblekv.Store
	replica *replica.Replica
	blocks  *container.Store
	log     *consensus.Node
	om      *om.Service
	cancel  context.CancelFunc
	done    chan error
}

var admin = access.NewContext(context.Background(), access.Principal{User: "root", Role: access.RoleAdmin})

var om1 = Node{ID: "om1", Number: 1, Store: "STORE1"}

// start starts a node on dir, whatever is there; it stops with the test.
func start(t testing.TB, fs vfs.FS, dir string) *rig {
	t.Helper()
	r := &rig{t: t, fs: fs, dir: dir, done: make(chan error, 1)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(makeDir(fs, dir))
	var err error
	r.store, err = pebblekv.Open(pebblekv.Options{
		Dir: fs.PathJoin(dir, "om", "store"), FS: fs, Name: "om", Version: schema.Format, DisableWAL: true,
		MemTableBytes: 256 << 10, CacheBytes: 1 << 20, DiskSlowAfter: -1,
	})
	must(err)
	r.replica, err = replica.Open(r.store)
	must(err)
	r.blocks, err = container.Open(container.Options{
		FS: fs, Dir: fs.PathJoin(dir, "blocks"), Node: 1, ContainerSize: 1 << 20, SmallSize: 64 << 10, Reserve: -1, ReclaimRate: -1, ScrubRate: -1,
	})
	must(err)
	r.log, err = consensus.Open(consensus.Options{
		ID: 1, Machine: r.replica, FS: fs, Dir: fs.PathJoin(dir, "om", "raft"), Bootstrap: []uint64{1},
		TickInterval: 5 * time.Millisecond, LogMemTableBytes: 256 << 10,
	})
	must(err)
	r.om = om.New(om.Options{Store: r.store, Log: r.log})
	var run context.Context
	run, r.cancel = context.WithCancel(context.Background())
	go func() { r.done <- r.log.Run(run) }()
	t.Cleanup(r.stop)
	for {
		role, changed := r.log.Role()
		if role.Leader == 1 {
			break
		}
		<-changed
	}
	must(r.om.Ready(admin))
	return r
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := errors.Join(<-r.done, r.replica.Flush(), r.log.Close(), r.blocks.Close(), r.store.Close()); err != nil && !errors.Is(err, context.Canceled) {
		r.t.Error(err)
	}
}

// openRaw opens a store whose node is stopped.
func openRaw(t testing.TB, fs vfs.FS, dir string) *pebblekv.Store {
	t.Helper()
	s, err := pebblekv.Open(pebblekv.Options{FS: fs, Dir: dir, Name: "om", Version: schema.Format, DisableWAL: true, DiskSlowAfter: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// setMembers makes the members of a stopped node's group.
func setMembers(t testing.TB, fs vfs.FS, dir string, ids ...uint64) {
	t.Helper()
	s := openRaw(t, fs, dir)
	row, _, err := schema.Meta.Get(s, schema.PositionKey)
	if err == nil {
		row.Conf, err = proto.Marshal(&pb.ConfState{Voters: ids})
	}
	var value []byte
	if err == nil {
		value, err = schema.Meta.Encode(row)
	}
	b := s.NewBatch()
	defer b.Close()
	if err := errors.Join(err, b.Set(schema.Meta.Key(schema.PositionKey), value), b.Commit(false), s.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// keeper opens the keeper of the node's images.
func (r *rig) keeper(o Options) *Keeper {
	r.t.Helper()
	o.FS, o.Dir, o.Store, o.Node, o.Rate, o.Reserve = r.fs, r.fs.PathJoin(r.dir, "om", "images"), r.store, om1, -1, -1
	k, err := Open(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

func (r *rig) create(k *Keeper) *Image {
	r.t.Helper()
	img, err := k.Create(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(img.Close)
	return img
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// content is n bytes that only this seed has.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	rng.Read(b)
	return b
}

func (r *rig) write(data []byte) (out []*o3v1.Extent) {
	r.t.Helper()
	for len(data) > 0 {
		part := data[:min(len(data), 100_000)]
		data = data[len(part):]
		info, err := r.blocks.Put(admin, bytes.NewReader(part), int64(len(part)))
		r.check(err)
		out = append(out, &o3v1.Extent{Container: info.ID.Container, Local: info.ID.Local, Length: info.Length})
	}
	return out
}

// put stores a key: few bytes in its row, others in blocks.
func (r *rig) put(bucket, key string, data []byte) {
	r.t.Helper()
	req := &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: key, Size: uint64(len(data)), Etag: fmt.Sprint(len(data))}
	if len(data) < 1000 {
		req.Data = data
	} else {
		req.Extents, req.DataMs = r.write(data), time.Now().UnixMilli()
	}
	_, err := r.om.CommitKey(admin, req)
	r.check(err)
}

func (r *rig) get(bucket, key string) []byte {
	r.t.Helper()
	resp, err := r.om.GetKey(admin, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: bucket, Key: key, WithData: true})
	if err != nil {
		r.t.Fatalf("%s/%s: %v", bucket, key, err)
	}
	return append(resp.Key.Data, r.read(resp.Key.Extents)...)
}

func (r *rig) read(extents []*o3v1.Extent) (data []byte) {
	r.t.Helper()
	for _, e := range extents {
		if e.Container == 0 {
			data = append(data, e.Data...)
			continue
		}
		b, err := r.blocks.Get(admin, block.Ref{ID: block.ID{Container: e.Container, Local: e.Local}, Offset: e.Offset, Length: e.Length})
		r.check(err)
		part, err := io.ReadAll(b)
		r.check(errors.Join(err, b.Close()))
		data = append(data, part...)
	}
	return data
}

// fill makes a little of everything: both layouts, keys in rows and in blocks,
// overwritten, deleted and renamed ones, snapshots between, uploads begun, in
// parts and complete. It is done again with another round.
func (r *rig) fill(round int) {
	r.t.Helper()
	if round == 0 {
		_, err := r.om.CreateVolume(admin, &o3v1.CreateVolumeRequest{Volume: "s3v"})
		r.check(err)
	}
	for i, b := range []string{"flat", "tree"} {
		if round == 0 {
			_, err := r.om.CreateBucket(admin, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: b, Layout: []string{"OBJECT_STORE", "FILE_SYSTEM_OPTIMIZED"}[i]})
			r.check(err)
		}
		seed := uint64(1000*round + 100*i)
		for n, size := range []int{0, 10, 900, 5_000, 70_000, 250_000} {
			r.put(b, fmt.Sprintf("a/d%d/k%d", n%2, n), content(seed+uint64(n), size))
		}
		_, err := r.om.CreateSnapshot(admin, &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: b, Name: fmt.Sprintf("s%d", round)})
		r.check(err)
		r.put(b, "a/d0/k0", content(seed+50, 3_000))
		_, err = r.om.DeleteKeys(admin, &o3v1.DeleteKeysRequest{Volume: "s3v", Bucket: b, Keys: []*o3v1.DeleteKey{{Key: "a/d1/k1"}}})
		r.check(err)
		_, err = r.om.RenameKey(admin, &o3v1.RenameKeyRequest{Volume: "s3v", Bucket: b, From: "a/d1/k3", To: fmt.Sprintf("a/moved%d", round)})
		r.check(err)
		up, err := r.om.CreateUpload(admin, &o3v1.CreateUploadRequest{Volume: "s3v", Bucket: b, Key: "a/upload"})
		r.check(err)
		_, err = r.om.CommitPart(admin, &o3v1.CommitPartRequest{
			Volume: "s3v", Bucket: b, Key: "a/upload", UploadId: up.Upload.UploadId, Number: 1, Size: 6_000, Etag: "p",
			Extents: r.write(content(seed+60, 6_000)), DataMs: time.Now().UnixMilli(),
		})
		r.check(err)
	}
}

// picture is everything that a user could see, in text.
func (r *rig) picture() string {
	r.t.Helper()
	var out strings.Builder
	list := func(b, prefix string) {
		resp, err := r.om.ListKeys(admin, &o3v1.ListKeysRequest{Volume: "s3v", Bucket: b, Prefix: prefix})
		r.check(err)
		for _, key := range resp.Keys {
			fmt.Fprintf(&out, "%s %s %d %d", b, key.Name, key.ObjectId, key.ModifiedMs)
			if !strings.HasSuffix(key.Name, "/") {
				fmt.Fprintf(&out, " %x", sha256.Sum256(r.get(b, key.Name)))
			}
			out.WriteByte('\n')
		}
	}
	for _, b := range []string{"flat", "tree"} {
		list(b, "")
		snaps, err := r.om.ListSnapshots(admin, &o3v1.ListSnapshotsRequest{Volume: "s3v", Bucket: b})
		r.check(err)
		for _, s := range snaps.Snapshots {
			list(b, ".snapshot/"+s.Name+"/")
		}
		ups, err := r.om.ListUploads(admin, &o3v1.ListUploadsRequest{Volume: "s3v", Bucket: b})
		r.check(err)
		for _, u := range ups.Uploads {
			parts, err := r.om.ListParts(admin, &o3v1.ListPartsRequest{Volume: "s3v", Bucket: b, Key: u.Name, UploadId: u.UploadId, Full: true})
			r.check(err)
			for _, p := range parts.Parts {
				fmt.Fprintf(&out, "%s upload %s %s part %d %x\n", b, u.Name, u.UploadId, p.Number, sha256.Sum256(r.read(p.Extents)))
			}
		}
	}
	return out.String()
}

// sound runs every check there is on the node's state.
func (r *rig) sound() {
	r.t.Helper()
	snap := r.store.Snapshot()
	defer snap.Close()
	_, err := verify.Store(admin, snap, verify.Options{Blocks: r.blocks, Problem: func(p verify.Problem) {
		r.t.Errorf("%s: %s: %s", p.Check, p.Subject, p.Detail)
	}})
	r.check(err)
	digest, err := fsm.Scan(snap)
	r.check(err)
	if pos := r.replica.Position(); pos.Digest != digest {
		r.t.Errorf("the digest is %s, the rows have %s", pos.Digest, digest)
	}
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

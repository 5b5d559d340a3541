package imagetest

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"o3/internal/block/container"
	"o3/internal/consensus"
	"o3/internal/errs"
	"o3/internal/image"
	"o3/internal/pebblekv"
	"o3/internal/replica"
	"o3/internal/schema"
)

// Node is a node whose images can be exported: a namespace without a key, and a
// block store with a block of 300 KiB.
type Node struct {
	FS     vfs.FS
	Blocks string // directory of the block store
	Keeper *image.Keeper
}

// NewNode makes a node in memory. It ends with the test.
func NewNode(t testing.TB) *Node {
	t.Helper()
	n := &Node{FS: vfs.NewMem(), Blocks: "/node/blocks"}
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := pebblekv.Open(pebblekv.Options{FS: n.FS, Dir: "/node/om/store", Name: "om", Version: schema.Format, DisableWAL: true})
	fatal(err)
	state, err := replica.Open(store)
	fatal(err)
	conf, err := proto.Marshal(&pb.ConfState{Voters: []uint64{1}})
	fatal(err)
	_, err = state.Apply([]consensus.Entry{{Index: 1, Term: 1, Conf: conf}})
	fatal(err)
	n.Keeper, err = image.Open(image.Options{FS: n.FS, Dir: "/node/om/images", Store: store, Node: image.Node{ID: "om1", Number: 1, Store: "S1"}, Rate: -1, Reserve: -1})
	fatal(err)
	n.AddBlock(t, 300<<10)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// AddBlock stores a block of n bytes in the block store.
func (n *Node) AddBlock(t testing.TB, size int) {
	t.Helper()
	blocks, err := container.Open(container.Options{FS: n.FS, Dir: n.Blocks, Node: 1, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = blocks.Put(t.Context(), bytes.NewReader(Content(uint64(size), size)), int64(size))
	if err = errors.Join(err, blocks.Close()); err != nil {
		t.Fatal(err)
	}
}

// Export exports an image of the node with its blocks.
func (n *Node) Export(t testing.TB, to image.Target, o image.ExportOptions) (image.Exported, error) {
	t.Helper()
	img, err := n.Keeper.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	o.Blocks = n.Blocks
	return image.Export(t.Context(), img, to, o)
}

// export: an image goes there and comes back, a second one brings what is new
// only, and pruning leaves the newest whole.
func export(t *testing.T, p *place) {
	n, at := NewNode(t), p.open()
	first, err := n.Export(t, at, image.ExportOptions{})
	if err != nil || first.Written != first.Bytes {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := n.Export(t, at, image.ExportOptions{})
	if err != nil || again.Written != 0 {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	for _, mode := range []image.Mode{image.Normal, image.Strict} {
		if _, err := image.VerifyTarget(t.Context(), at, first.Manifest.ID, "/scratch", image.VerifyOptions{FS: n.FS, Mode: mode}); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
	got, err := image.Import(t.Context(), at, first.Manifest.ID, image.ImportOptions{FS: n.FS, DataDir: "/new", Reserve: -1})
	if err != nil || got.Fetched != first.Bytes {
		t.Errorf("%+v, %v", got, err)
	}
	if list, err := image.List(t.Context(), at, nil); err != nil || len(list) != 1 || list[0].ID != first.Manifest.ID {
		t.Errorf("%v, %v", list, err)
	}
	if err := at.Put(t.Context(), "files/store/garbage@00-1", 1, bytes.NewReader([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if out, err := image.Prune(t.Context(), at, 1); err != nil || out.Files != 1 || len(out.Images) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := image.VerifyTarget(t.Context(), at, first.Manifest.ID, "", image.VerifyOptions{FS: n.FS}); err != nil {
		t.Error(err)
	}
	if _, err := image.ReadManifest(t.Context(), at, "9-9-00000000"); errs.KindOf(err) != errs.NoSuchSnapshot || errors.Is(err, fs.ErrPermission) {
		t.Errorf("an image that is absent: %v", err)
	}
}

// Package crash cuts the power of a whole node: log, store and containers on
// one file system that forgets what was not synced.
package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/block"
	"o3/internal/block/container"
	"o3/internal/consensus"
	"o3/internal/om"
	"o3/internal/pebblekv"
	"o3/internal/reclaim"
	"o3/internal/replica"
	"o3/internal/verify"
)

// rig is a node without its listeners.
type rig struct {
	fs      *vfs.MemFS
	store   *pebblekv.Store
	replica *replica.Replica
	blocks  *container.Store
	log     *consensus.Node
	om      *om.Service
	reclaim *reclaim.Service
	cancel  context.CancelFunc
	done    chan error
	closers []func() error
}

var ctx = access.NewContext(context.Background(), access.Principal{User: "root", Role: access.RoleAdmin})

// start starts a node on fs, whatever is there. lie names a part ("raft",
// "store", "blocks") whose disk only says that it syncs.
func start(fs *vfs.MemFS, lie string) (r *rig, err error) {
	r = &rig{fs: fs, done: make(chan error, 1)}
	disk := func(part string) vfs.FS {
		if part == lie {
			return lying{fs}
		}
		return fs
	}
	if err := makeDir(fs); err != nil {
		return nil, err
	}
	r.store, err = pebblekv.Open(pebblekv.Options{Dir: "node/store", FS: disk("store"), DisableWAL: true, MemTableBytes: 256 << 10, DiskSlowAfter: -1})
	if err != nil {
		return nil, err
	}
	r.closers = append(r.closers, r.store.Close)
	if r.replica, err = replica.Open(r.store); err != nil {
		return r, err
	}
	r.blocks, err = container.Open(container.Options{
		FS: disk("blocks"), Dir: "node/blocks", Node: 1, ContainerSize: 1 << 20, SmallSize: 64 << 10, Reserve: -1,
		ReclaimRate: -1, ScrubRate: -1,
	})
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, r.blocks.Close)
	r.log, err = consensus.Open(consensus.Options{
		ID: 1, Machine: r.replica, FS: disk("raft"), Dir: "node/raft", Bootstrap: []uint64{1}, TickInterval: 10 * time.Millisecond,
		RetainEntries: 1, TruncateStep: 8, LogMemTableBytes: 256 << 10,
	})
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, r.log.Close)
	r.om = om.New(om.Options{Store: r.store, Log: r.log})
	r.reclaim = reclaim.New(reclaim.Options{
		Store: r.store, Namespace: r.om, Blocks: r.blocks, FreeGrace: -1, PurgeBatch: 3, FreeBatch: 5, ReclaimBatch: 7,
		Leads: func() bool { return true },
	})
	var run context.Context
	run, r.cancel = context.WithCancel(context.Background())
	go func() { r.done <- r.log.Run(run) }()
	for {
		role, changed := r.log.Role()
		if role.Leader == 1 {
			break
		}
		<-changed
	}
	return r, r.om.Ready(ctx)
}

// makeDir makes the node's directory, durably.
func makeDir(fs *vfs.MemFS) error {
	if err := fs.MkdirAll("node", 0o755); err != nil {
		return err
	}
	root, err := fs.OpenDir("/")
	if err != nil {
		return err
	}
	return errors.Join(root.Sync(), root.Close())
}

// lying is a file system that does not sync what it says it does.
type lying struct{ vfs.FS }

type lyingFile struct{ vfs.File }

func (lyingFile) Sync() error                { return nil }
func (lyingFile) SyncData() error            { return nil }
func (lyingFile) SyncTo(int64) (bool, error) { return true, nil }
func wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return lyingFile{f}, nil
}

func (l lying) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return wrap(l.FS.Create(name, c))
}

func (l lying) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return wrap(l.FS.ReuseForWrite(old, name, c))
}

func (l lying) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return wrap(l.FS.OpenReadWrite(name, c, o...))
}

// stop ends the node without a last flush.
func (r *rig) stop() {
	if r.cancel != nil {
		r.cancel()
		<-r.done
	}
	for i := len(r.closers) - 1; i >= 0; i-- {
		_ = r.closers[i]() // its disk is gone
	}
}

// put stores data as a key: small bytes in the store, others in blocks.
func (r *rig) put(bucket, key string, data []byte) error {
	req := &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: bucket, Key: key, Size: uint64(len(data)), Etag: fmt.Sprint(len(data))}
	if len(data) < 1000 {
		req.Data = data
	} else {
		extents, err := r.write(data)
		if err != nil {
			return err
		}
		req.Extents, req.DataMs = extents, time.Now().UnixMilli()
	}
	_, err := r.om.CommitKey(ctx, req)
	return err
}

func (r *rig) write(data []byte) (out []*o3v1.Extent, err error) {
	for len(data) > 0 {
		part := data[:min(len(data), 100_000)]
		data = data[len(part):]
		info, err := r.blocks.Put(ctx, bytes.NewReader(part), int64(len(part)))
		if err != nil {
			return nil, err
		}
		out = append(out, &o3v1.Extent{Container: info.ID.Container, Local: info.ID.Local, Length: info.Length})
	}
	return out, nil
}

// get returns the bytes of a key.
func (r *rig) get(bucket, key string) ([]byte, error) {
	resp, err := r.om.GetKey(ctx, &o3v1.GetKeyRequest{Volume: "s3v", Bucket: bucket, Key: key, WithData: true})
	if err != nil {
		return nil, err
	}
	data := resp.Key.Data
	for _, e := range resp.Key.Extents {
		if e.Container == 0 {
			data = append(data, e.Data...)
			continue
		}
		b, err := r.blocks.Get(ctx, block.Ref{ID: block.ID{Container: e.Container, Local: e.Local}, Offset: e.Offset, Length: e.Length})
		if err != nil {
			return nil, err
		}
		part, err := io.ReadAll(b)
		b.Close()
		if err != nil {
			return nil, err
		}
		data = append(data, part...)
	}
	return data, nil
}

// sweep frees what a power cut left between bytes and row, while nobody
// writes: then every block that is stored is named, or waits to be freed.
func (r *rig) sweep() error {
	all := reclaim.New(reclaim.Options{
		Store: r.store, Namespace: r.om, Blocks: r.blocks, SweepGrace: time.Nanosecond, Leads: func() bool { return true },
	})
	if _, err := all.Sweep(ctx); err != nil {
		return err
	}
	left, err := all.Sweep(ctx)
	if err == nil && left.Freed > 0 {
		err = fmt.Errorf("a sweep left %d blocks that no row names", left.Freed)
	}
	return err
}

// check runs every check there is on the node's state.
func (r *rig) check() error {
	snap := r.store.Snapshot()
	defer snap.Close()
	var problems []string
	_, err := verify.Store(ctx, snap, verify.Options{Blocks: r.blocks, Problem: func(p verify.Problem) {
		problems = append(problems, fmt.Sprintf("%s: %s: %s", p.Check, p.Subject, p.Detail))
	}})
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d problems, the first: %s", len(problems), problems[0])
	}
	return nil
}

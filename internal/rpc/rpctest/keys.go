package rpctest

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
)

// put makes a key; directories above it appear in file-system buckets.
func (m *Memory) put(ctx context.Context, b *bucket, name string, data []byte, etag string, h *o3v1.Headers, tags []*o3v1.Pair) (*o3v1.KeyInfo, error) {
	layout, _ := ns.ParseLayout(b.info.Layout)
	if err := ns.CheckKeyName(layout, name); err != nil {
		return nil, err
	}
	if layout == ns.FileSystem {
		m.mkdirs(ctx, b, name)
	}
	kind := o3v1.EntryKind_ENTRY_KIND_KEY
	if layout == ns.FileSystem && strings.HasSuffix(name, "/") {
		kind = o3v1.EntryKind_ENTRY_KIND_DIRECTORY
	}
	if etag == "" {
		sum := md5.Sum(data)
		etag = hex.EncodeToString(sum[:])
	}
	id, created := m.next(), now()
	if old := b.keys[name]; old != nil {
		id, created = old.info.ObjectId, old.info.CreatedMs
	}
	o := &object{data: data, info: &o3v1.KeyInfo{
		Name: name, Kind: kind, ObjectId: id, Since: m.op, Size: uint64(len(data)), Etag: etag,
		CreatedMs: created, ModifiedMs: now(), Owner: access.FromContext(ctx).User, Headers: h, Tags: tags,
	}}
	b.keys[name] = o
	return o.info, nil
}

func (m *Memory) mkdirs(ctx context.Context, b *bucket, name string) {
	for i, c := range strings.TrimSuffix(name, "/") {
		if dir := name[:i+1]; c == '/' && b.keys[dir] == nil {
			b.keys[dir] = &object{info: &o3v1.KeyInfo{
				Name: dir, Kind: o3v1.EntryKind_ENTRY_KIND_DIRECTORY, ObjectId: m.next(), Since: m.op, CreatedMs: now(),
				ModifiedMs: now(), Owner: access.FromContext(ctx).User, Implicit: true,
			}}
		}
	}
}

// find returns the key, or the directory of that name.
func (b *bucket) find(name string) (*object, error) {
	for _, n := range []string{name, name + "/"} {
		if o := b.keys[n]; o != nil {
			return o, nil
		}
	}
	return nil, errs.New(errs.NoSuchKey, name, "")
}

// CommitKey implements o3v1connect.OMHandler.
func (m *Memory) CommitKey(ctx context.Context, q *o3v1.CommitKeyRequest) (*o3v1.CommitKeyResponse, error) {
	return write(ctx, m, "CommitKey", q.Stamp, false, func() (*o3v1.CommitKeyResponse, error) {
		b, err := m.bucket(q.Volume, q.Bucket)
		if err != nil {
			return nil, err
		}
		info, err := m.put(ctx, b, q.Key, q.Data, q.Etag, q.Headers, q.Tags)
		return &o3v1.CommitKeyResponse{Key: info}, err
	})
}

// GetKey implements o3v1connect.OMHandler.
func (m *Memory) GetKey(_ context.Context, q *o3v1.GetKeyRequest) (*o3v1.GetKeyResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.bucket(q.Volume, q.Bucket)
	if err != nil {
		return nil, err
	}
	o := b.keys[q.Key]
	if o == nil {
		return nil, errs.New(errs.NoSuchKey, q.Key, "")
	}
	return &o3v1.GetKeyResponse{Key: proto.CloneOf(o.info), Index: m.op}, nil
}

// ListKeys implements o3v1connect.OMHandler.
func (m *Memory) ListKeys(_ context.Context, q *o3v1.ListKeysRequest) (*o3v1.ListKeysResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.bucket(q.Volume, q.Bucket)
	if err != nil {
		return nil, err
	}
	limit := int(q.Limit)
	if limit == 0 {
		limit = 1000
	}
	r := &o3v1.ListKeysResponse{Index: m.op}
	names, _ := page(b.keys, q.Prefix, max(q.StartAfter, q.Token), ^uint32(0))
	for _, name := range names {
		o := b.keys[name]
		common := ""
		if i := strings.Index(name[len(q.Prefix):], q.Delimiter); q.Delimiter != "" && i >= 0 {
			common = name[:len(q.Prefix)+i+len(q.Delimiter)]
		}
		n := len(r.CommonPrefixes)
		switch {
		case common != "" && (n > 0 && r.CommonPrefixes[n-1] == common || strings.HasPrefix(max(q.StartAfter, q.Token), common)):
			r.NextToken = name
			continue
		case common == "" && o.info.Implicit && !q.Directories:
			continue
		}
		if len(r.Keys)+n == limit {
			r.Truncated = true
			return r, nil
		}
		r.NextToken = name
		if common != "" {
			r.CommonPrefixes = append(r.CommonPrefixes, common)
			continue
		}
		r.Keys = append(r.Keys, proto.CloneOf(o.info))
	}
	r.NextToken = ""
	return r, nil
}

// DeleteKeys implements o3v1connect.OMHandler.
func (m *Memory) DeleteKeys(ctx context.Context, q *o3v1.DeleteKeysRequest) (*o3v1.DeleteKeysResponse, error) {
	return write(ctx, m, "DeleteKeys", q.Stamp, false, func() (*o3v1.DeleteKeysResponse, error) {
		b, err := m.bucket(q.Volume, q.Bucket)
		if err != nil {
			return nil, err
		}
		r := new(o3v1.DeleteKeysResponse)
		for _, d := range q.Keys {
			r.Results = append(r.Results, b.remove(d.Key, q.Recursive, q.MustExist))
		}
		return r, nil
	})
}

func (b *bucket) remove(name string, recursive, mustExist bool) *o3v1.DeleteKeyResult {
	o := b.keys[name]
	if o == nil {
		if mustExist {
			return &o3v1.DeleteKeyResult{Kind: uint32(errs.NoSuchKey)}
		}
		return &o3v1.DeleteKeyResult{}
	}
	if o.info.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
		below, _ := page(b.keys, o.info.Name, o.info.Name, ^uint32(0))
		if len(below) > 0 && !recursive {
			return &o3v1.DeleteKeyResult{Kind: uint32(errs.NotEmpty), Detail: "the directory has entries; delete it recursively or empty it first"}
		}
		for _, n := range below {
			delete(b.keys, n)
		}
	}
	delete(b.keys, o.info.Name)
	return &o3v1.DeleteKeyResult{Existed: true}
}

// RenameKey implements o3v1connect.OMHandler.
func (m *Memory) RenameKey(ctx context.Context, q *o3v1.RenameKeyRequest) (*o3v1.RenameKeyResponse, error) {
	return write(ctx, m, "RenameKey", q.Stamp, false, func() (*o3v1.RenameKeyResponse, error) {
		b, err := m.bucket(q.Volume, q.Bucket)
		if err != nil {
			return nil, err
		}
		o, err := b.find(q.From)
		if err != nil {
			return nil, err
		}
		to := q.To
		if strings.HasSuffix(o.info.Name, "/") && !strings.HasSuffix(to, "/") {
			to += "/"
		}
		if b.keys[to] != nil && !q.Overwrite {
			return nil, errs.New(errs.KeyExists, to, "the target of the rename exists")
		}
		if from := o.info.Name; strings.HasSuffix(from, "/") {
			if strings.HasPrefix(to, from) {
				return nil, errs.New(errs.InvalidRename, to, "a directory cannot be moved below itself")
			}
			below, _ := page(b.keys, from, from, ^uint32(0))
			for _, n := range below {
				b.move(n, to+strings.TrimPrefix(n, from))
			}
		}
		b.move(o.info.Name, to)
		m.next()
		return &o3v1.RenameKeyResponse{Key: o.info}, nil
	})
}

func (b *bucket) move(from, to string) {
	o := b.keys[from]
	delete(b.keys, from)
	o.info.Name = to
	b.keys[to] = o
}

// CopyKey implements o3v1connect.OMHandler.
func (m *Memory) CopyKey(ctx context.Context, q *o3v1.CopyKeyRequest) (*o3v1.CopyKeyResponse, error) {
	return write(ctx, m, "CopyKey", q.Stamp, false, func() (*o3v1.CopyKeyResponse, error) {
		from, err := m.bucket(q.FromVolume, q.FromBucket)
		if err != nil {
			return nil, err
		}
		b, err := m.bucket(q.Volume, q.Bucket)
		if err != nil {
			return nil, err
		}
		o, err := from.find(q.FromKey)
		if err != nil {
			return nil, err
		}
		if o.info.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
			return nil, errs.New(errs.IsDirectory, q.FromKey, "")
		}
		if q.If.GetIfAbsent() && b.keys[q.Key] != nil {
			return nil, errs.New(errs.PreconditionFailed, q.Key, "the key exists")
		}
		info, err := m.put(ctx, b, q.Key, o.data, o.info.Etag, o.info.Headers, o.info.Tags)
		return &o3v1.CopyKeyResponse{Key: info}, err
	})
}

// CreateDirectory implements o3v1connect.OMHandler.
func (m *Memory) CreateDirectory(ctx context.Context, q *o3v1.CreateDirectoryRequest) (*o3v1.CreateDirectoryResponse, error) {
	return write(ctx, m, "CreateDirectory", q.Stamp, false, func() (*o3v1.CreateDirectoryResponse, error) {
		b, err := m.bucket(q.Volume, q.Bucket)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(q.Path, "/") + "/"
		if o := b.keys[name]; o != nil {
			if q.MayExist {
				return &o3v1.CreateDirectoryResponse{Key: o.info}, nil
			}
			return nil, errs.New(errs.KeyExists, name, "the directory exists")
		}
		info, err := m.put(ctx, b, name, nil, "", nil, nil)
		return &o3v1.CreateDirectoryResponse{Key: info}, err
	})
}

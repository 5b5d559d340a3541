// Package rpctest gives tests of the RPC edge, the client and the command line
// a namespace in memory behind a real server on 127.0.0.1: maps under one
// mutex, answers remembered by stamp, object data through /s3/, and faults on
// demand. It keeps the rules a client can see (kinds of errors, order and
// pages of listings, one answer per stamp); it has no quotas, no multipart
// uploads over RPC and no access checks but admin or not.
//
// A Memory is safe for concurrent use and starts no goroutine; a Server ends
// its own with the test.
package rpctest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/api/o3/v1/o3v1connect"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
)

// The root access key of a Memory.
const (
	RootKey    = "O3ROOTEXAMPLE"
	RootSecret = "a-root-secret-for-tests-only"
)

// Memory is a namespace in memory.
type Memory struct {
	o3v1connect.UnimplementedOMHandler

	mu      sync.Mutex
	op      uint64
	volumes map[string]*o3v1.VolumeInfo
	buckets map[string]*bucket // by "volume/name"
	users   map[string]*o3v1.UserInfo
	keys    map[string]*o3v1.AccessKeyInfo
	answers map[[2]uint64]answer
	acked   map[uint64]uint64 // by client
	writes  map[string]int    // how often each write was really done
	uploads map[string]*upload
	status  *o3v1.StatusResponse
}

type answer struct {
	resp proto.Message
	err  error
}

type bucket struct {
	info *o3v1.BucketInfo
	keys map[string]*object
}

type object struct {
	info *o3v1.KeyInfo
	data []byte
}

// NewMemory returns a namespace with the volume s3v and the user root, an
// admin with the access key RootKey.
func NewMemory() *Memory {
	m := &Memory{
		volumes: map[string]*o3v1.VolumeInfo{}, buckets: map[string]*bucket{}, users: map[string]*o3v1.UserInfo{},
		keys: map[string]*o3v1.AccessKeyInfo{}, answers: map[[2]uint64]answer{}, acked: map[uint64]uint64{},
		writes: map[string]int{}, uploads: map[string]*upload{},
		status: &o3v1.StatusResponse{
			Version: "test", NodeId: "om1", Role: "leader", Leader: 1, Term: 1, Format: 1, StartedMs: now(),
			DiskFreeBytes: 80 << 30, DiskTotalBytes: 100 << 30,
			Blocks: &o3v1.BlockStatusResponse{Engine: "memory", Containers: 1, Blocks: 3, LiveBytes: 300},
		},
	}
	m.users["root"] = &o3v1.UserInfo{Name: "root", Role: string(access.RoleAdmin), CreatedMs: now()}
	m.keys[RootKey] = &o3v1.AccessKeyInfo{Id: RootKey, User: "root", Secret: RootSecret, CreatedMs: now(), Description: "root"}
	m.volumes[ns.S3Volume] = &o3v1.VolumeInfo{Name: ns.S3Volume, ObjectId: m.next(), Owner: "root", CreatedMs: now(), ModifiedMs: now()}
	return m
}

func now() int64 { return time.Now().UnixMilli() }

func (m *Memory) next() uint64 { m.op++; return m.op }

// SetStatus lets a test change what Status answers.
func (m *Memory) SetStatus(change func(*o3v1.StatusResponse)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m.status)
}

// Writes returns how often the named write was done, answers from memory not
// counted.
func (m *Memory) Writes(method string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes[method]
}

// Acked returns below which sequence the answers to a client are forgotten,
// of the only client there is; 0 before its first write.
func (m *Memory) Acked() (acked uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.acked {
		acked = v
	}
	return acked
}

// Secret implements rpc.Principals.
func (m *Memory) Secret(_ context.Context, id string) (string, access.Principal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.keys[id]
	if k == nil || k.Revoked || m.users[k.User] == nil || m.users[k.User].Disabled {
		return "", access.Principal{}, errs.New(errs.NoSuchPrincipal, "access key "+id, "")
	}
	return k.Secret, access.Principal{User: k.User, AccessKey: id, Role: access.Role(m.users[k.User].Role)}, nil
}

// User implements rpc.Principals.
func (m *Memory) User(_ context.Context, name string) (access.Principal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.users[name]
	if u == nil || u.Disabled {
		return access.Principal{}, errs.New(errs.NoSuchPrincipal, "user "+name, "")
	}
	return access.Principal{User: name, Role: access.Role(u.Role)}, nil
}

// write does f once per stamp, under the lock, for admins where asked.
func write[R proto.Message](ctx context.Context, m *Memory, name string, stamp *o3v1.Stamp, admin bool, f func() (R, error)) (R, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var none R
	if admin && !access.FromContext(ctx).Admin() {
		return none, errs.New(errs.Denied, name, "an admin act")
	}
	at := [2]uint64{stamp.GetClientId(), stamp.GetSequence()}
	if stamp != nil {
		if a, ok := m.answers[at]; ok {
			return a.resp.(R), a.err
		}
		if stamp.Sequence < m.acked[stamp.ClientId] {
			return none, errs.New(errs.Conflict, name, "the answer is forgotten")
		}
		m.acked[stamp.ClientId] = max(m.acked[stamp.ClientId], stamp.Acked)
		maps.DeleteFunc(m.answers, func(k [2]uint64, _ answer) bool { return k[0] == stamp.ClientId && k[1] < stamp.Acked })
	}
	m.writes[name]++
	resp, err := f()
	if err != nil {
		resp = none
	} else {
		resp = proto.CloneOf(resp)
	}
	if stamp != nil {
		m.answers[at] = answer{resp, err}
	}
	return resp, err
}

// page returns the sorted names after start with the prefix, at most limit.
func page[V any](all map[string]V, prefix, start string, limit uint32) (names []string, truncated bool) {
	if limit == 0 {
		limit = 1000
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(name, prefix) || name <= start && start != "" {
			continue
		}
		if len(names) == int(limit) {
			return names, true
		}
		names = append(names, name)
	}
	return names, false
}

func (m *Memory) volume(name string) (*o3v1.VolumeInfo, error) {
	v := m.volumes[name]
	if v == nil {
		return nil, errs.New(errs.NoSuchVolume, name, "")
	}
	v.Buckets, v.UsedBytes, v.UsedNames = 0, 0, 0
	for at, b := range m.buckets {
		if strings.HasPrefix(at, name+"/") {
			b.count()
			v.Buckets++
			v.UsedBytes += b.info.UsedBytes
			v.UsedNames += b.info.UsedKeys + b.info.UsedDirectories
		}
	}
	return v, nil
}

func (m *Memory) bucket(volume, name string) (*bucket, error) {
	if _, err := m.volume(volume); err != nil {
		return nil, err
	}
	b := m.buckets[volume+"/"+name]
	if b == nil {
		return nil, errs.New(errs.NoSuchBucket, fmt.Sprintf("%s/%s", volume, name), "")
	}
	b.count()
	return b, nil
}

func (b *bucket) count() {
	b.info.UsedBytes, b.info.UsedKeys, b.info.UsedDirectories = 0, 0, 0
	for _, o := range b.keys {
		if o.info.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
			b.info.UsedDirectories++
			continue
		}
		b.info.UsedKeys++
		b.info.UsedBytes += o.info.Size
	}
}

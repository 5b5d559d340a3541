package rpctest

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
)

// CreateUser implements o3v1connect.OMHandler.
func (m *Memory) CreateUser(ctx context.Context, q *o3v1.CreateUserRequest) (*o3v1.CreateUserResponse, error) {
	return write(ctx, m, "CreateUser", q.Stamp, true, func() (*o3v1.CreateUserResponse, error) {
		if m.users[q.User] != nil {
			return nil, errs.New(errs.PrincipalExists, "user "+q.User, "")
		}
		m.users[q.User] = &o3v1.UserInfo{Name: q.User, Role: q.Role, CreatedMs: now()}
		return &o3v1.CreateUserResponse{User: m.users[q.User]}, nil
	})
}

// ListUsers implements o3v1connect.OMHandler.
func (m *Memory) ListUsers(_ context.Context, q *o3v1.ListUsersRequest) (*o3v1.ListUsersResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := new(o3v1.ListUsersResponse)
	names, more := page(m.users, "", q.StartAfter, q.Limit)
	for _, name := range names {
		r.Users = append(r.Users, proto.CloneOf(m.users[name]))
	}
	r.Truncated = more
	return r, nil
}

// UpdateUser implements o3v1connect.OMHandler.
func (m *Memory) UpdateUser(ctx context.Context, q *o3v1.UpdateUserRequest) (*o3v1.UpdateUserResponse, error) {
	return write(ctx, m, "UpdateUser", q.Stamp, true, func() (*o3v1.UpdateUserResponse, error) {
		u := m.users[q.User]
		if u == nil {
			return nil, errs.New(errs.NoSuchPrincipal, "user "+q.User, "")
		}
		if q.Role != nil {
			u.Role = *q.Role
		}
		if q.Disabled != nil {
			u.Disabled = *q.Disabled
		}
		return &o3v1.UpdateUserResponse{User: u}, nil
	})
}

// DeleteUser implements o3v1connect.OMHandler.
func (m *Memory) DeleteUser(ctx context.Context, q *o3v1.DeleteUserRequest) (*o3v1.DeleteUserResponse, error) {
	return write(ctx, m, "DeleteUser", q.Stamp, true, func() (*o3v1.DeleteUserResponse, error) {
		if m.users[q.User] == nil {
			return nil, errs.New(errs.NoSuchPrincipal, "user "+q.User, "")
		}
		delete(m.users, q.User)
		return &o3v1.DeleteUserResponse{}, nil
	})
}

// CreateAccessKey implements o3v1connect.OMHandler.
func (m *Memory) CreateAccessKey(ctx context.Context, q *o3v1.CreateAccessKeyRequest) (*o3v1.CreateAccessKeyResponse, error) {
	return write(ctx, m, "CreateAccessKey", q.Stamp, true, func() (*o3v1.CreateAccessKeyResponse, error) {
		if m.users[q.User] == nil {
			return nil, errs.New(errs.NoSuchPrincipal, "user "+q.User, "")
		}
		n := m.next()
		k := &o3v1.AccessKeyInfo{Id: q.Id, User: q.User, Secret: q.Secret, CreatedMs: now(), Description: q.Description}
		if k.Id == "" {
			k.Id = fmt.Sprintf("O3KEY%015d", n)
		}
		if k.Secret == "" {
			k.Secret = fmt.Sprintf("secret-number-%026d", n)
		}
		if old := m.keys[k.Id]; old != nil && (!q.Replace || old.User != q.User) {
			return nil, errs.New(errs.PrincipalExists, "access key "+k.Id, "")
		}
		m.keys[k.Id] = k
		return &o3v1.CreateAccessKeyResponse{Key: k}, nil
	})
}

// ListAccessKeys implements o3v1connect.OMHandler.
func (m *Memory) ListAccessKeys(_ context.Context, q *o3v1.ListAccessKeysRequest) (*o3v1.ListAccessKeysResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mine := map[string]*o3v1.AccessKeyInfo{}
	for id, k := range m.keys {
		if q.User == "" || k.User == q.User {
			mine[id] = k
		}
	}
	r := new(o3v1.ListAccessKeysResponse)
	ids, more := page(mine, "", q.StartAfter, q.Limit)
	for _, id := range ids {
		k := proto.CloneOf(mine[id])
		k.Secret = ""
		r.Keys = append(r.Keys, k)
	}
	r.Truncated = more
	return r, nil
}

// RevokeAccessKey implements o3v1connect.OMHandler.
func (m *Memory) RevokeAccessKey(ctx context.Context, q *o3v1.RevokeAccessKeyRequest) (*o3v1.RevokeAccessKeyResponse, error) {
	return write(ctx, m, "RevokeAccessKey", q.Stamp, true, func() (*o3v1.RevokeAccessKeyResponse, error) {
		k := m.keys[q.Id]
		if k == nil {
			return nil, errs.New(errs.NoSuchPrincipal, "access key "+q.Id, "")
		}
		k.Revoked, k.Secret = true, ""
		return &o3v1.RevokeAccessKeyResponse{}, nil
	})
}

// Status implements o3v1connect.OMHandler.
func (m *Memory) Status(ctx context.Context, _ *o3v1.StatusRequest) (*o3v1.StatusResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := proto.CloneOf(m.status)
	r.NowMs, r.Op, r.AppliedIndex, r.CommitIndex = now(), m.op, m.op, m.op
	r.Volumes, r.Buckets = uint64(len(m.volumes)), uint64(len(m.buckets))
	for _, b := range m.buckets {
		b.count()
		r.Keys += b.info.UsedKeys
		r.Directories += b.info.UsedDirectories
		r.Bytes += b.info.UsedBytes
	}
	return r, nil
}

// BlockStatus implements o3v1connect.OMHandler.
func (m *Memory) BlockStatus(ctx context.Context, _ *o3v1.BlockStatusRequest) (*o3v1.BlockStatusResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return proto.CloneOf(m.status.Blocks), nil
}

// StartScrub implements o3v1connect.OMHandler: a scrub that is over at once.
func (m *Memory) StartScrub(ctx context.Context, _ *o3v1.StartScrubRequest) (*o3v1.StartScrubResponse, error) {
	if !access.FromContext(ctx).Admin() {
		return nil, errs.New(errs.Denied, "StartScrub", "an admin act")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes["StartScrub"]++
	b := m.status.Blocks
	b.ScrubStartedMs, b.ScrubFinishedMs, b.ScrubBlocks, b.ScrubBytes = now(), now()+1, b.Blocks, b.LiveBytes
	return &o3v1.StartScrubResponse{}, nil
}

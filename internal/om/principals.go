package om

import (
	"context"
	"crypto/rand"
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/view"
)

// CreateUser adds a user. Admins only, as all acts on users.
func (s *Service) CreateUser(ctx context.Context, r *o3v1.CreateUserRequest) (*o3v1.CreateUserResponse, error) {
	if err := requireAdmin(ctx, "create user "+r.User); err != nil {
		return nil, err
	}
	if r.Role == "" {
		r.Role = string(access.RoleUser)
	}
	return propose[o3v1.CreateUserResponse](ctx, s, request{kind: command.CreateUser, body: r, stamp: r.Stamp})
}

// ListUsers lists the users.
func (s *Service) ListUsers(ctx context.Context, r *o3v1.ListUsersRequest) (*o3v1.ListUsersResponse, error) {
	if err := requireAdmin(ctx, "list users"); err != nil {
		return nil, err
	}
	resp := &o3v1.ListUsersResponse{}
	return resp, s.read(ctx, func(v view.View) (err error) {
		resp.Users, resp.Truncated, err = v.Users(r.StartAfter, limit(r.Limit, 10_000))
		return err
	})
}

// UpdateUser changes a user's role or disables them.
func (s *Service) UpdateUser(ctx context.Context, r *o3v1.UpdateUserRequest) (*o3v1.UpdateUserResponse, error) {
	if err := requireAdmin(ctx, "update user "+r.User); err != nil {
		return nil, err
	}
	return propose[o3v1.UpdateUserResponse](ctx, s, request{kind: command.UpdateUser, body: r, stamp: r.Stamp})
}

// DeleteUser removes a user and their access keys.
func (s *Service) DeleteUser(ctx context.Context, r *o3v1.DeleteUserRequest) (*o3v1.DeleteUserResponse, error) {
	if err := requireAdmin(ctx, "delete user "+r.User); err != nil {
		return nil, err
	}
	return propose[o3v1.DeleteUserResponse](ctx, s, request{kind: command.DeleteUser, body: r, stamp: r.Stamp})
}

// CreateAccessKey makes an access key for a user: an admin for anybody, a user
// for themselves. The secret is in this answer and in no other.
func (s *Service) CreateAccessKey(ctx context.Context, r *o3v1.CreateAccessKeyRequest) (*o3v1.CreateAccessKeyResponse, error) {
	p := access.FromContext(ctx)
	if !p.Admin() && (p.Anonymous() || r.User != p.User || r.Id != "" || r.Secret != "") {
		return nil, denied(p, "create access key for user "+r.User, "needs the role admin")
	}
	if err := complete(r); err != nil {
		return nil, err
	}
	resp, err := propose[o3v1.CreateAccessKeyResponse](ctx, s, request{kind: command.CreateAccessKey, body: r, stamp: r.Stamp})
	if err != nil {
		return nil, err
	}
	resp.Key.Secret = r.Secret
	return resp, nil
}

// complete makes the id and secret that a request does not bring.
func complete(r *o3v1.CreateAccessKeyRequest) error {
	if r.Id == "" {
		r.Id = NewAccessKeyID()
	} else if len(r.Id) < 3 || len(r.Id) > 128 {
		return errs.New(errs.Invalid, fmt.Sprintf("access key id %q", r.Id), "must have 3 to 128 characters")
	}
	for i := range len(r.Id) {
		c := r.Id[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return errs.New(errs.Invalid, fmt.Sprintf("access key id %q", r.Id), "may hold only letters, digits and -_.")
		}
	}
	if r.Secret == "" {
		r.Secret = NewSecret()
	} else if len(r.Secret) < 8 || len(r.Secret) > 256 {
		return errs.New(errs.Invalid, "secret key", "must have 8 to 256 characters")
	}
	return nil
}

// NewAccessKeyID returns a random access key id.
func NewAccessKeyID() string { return "O3" + rand.Text()[:18] }

// NewSecret returns a random secret of 200 bits, of letters and digits: one that
// begins with a dash would be taken for a flag where it is pasted.
func NewSecret() string { return rand.Text() + rand.Text()[:14] }

// ListAccessKeys lists access keys, without secrets: an admin all, a user their own.
func (s *Service) ListAccessKeys(ctx context.Context, r *o3v1.ListAccessKeysRequest) (*o3v1.ListAccessKeysResponse, error) {
	p := access.FromContext(ctx)
	if !p.Admin() && (p.Anonymous() || r.User != p.User) {
		return nil, denied(p, "list access keys of other users", "needs the role admin")
	}
	resp := &o3v1.ListAccessKeysResponse{}
	return resp, s.read(ctx, func(v view.View) (err error) {
		resp.Keys, resp.Truncated, err = v.AccessKeys(r.User, r.StartAfter, limit(r.Limit, 10_000))
		return err
	})
}

// RevokeAccessKey makes an access key worthless: an admin any, a user their own.
func (s *Service) RevokeAccessKey(ctx context.Context, r *o3v1.RevokeAccessKeyRequest) (*o3v1.RevokeAccessKeyResponse, error) {
	p := access.FromContext(ctx)
	if !p.Admin() {
		_, owner, err := s.Secret(ctx, r.Id)
		if err != nil || p.Anonymous() || owner.User != p.User {
			return nil, denied(p, "revoke access key "+r.Id, "needs the role admin")
		}
	}
	return propose[o3v1.RevokeAccessKeyResponse](ctx, s, request{kind: command.RevokeAccessKey, body: r, stamp: r.Stamp})
}

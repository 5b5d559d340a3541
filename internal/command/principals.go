package command

import (
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

func checkRole(role string) error {
	switch access.Role(role) {
	case access.RoleAdmin, access.RoleUser:
		return nil
	}
	return errs.New(errs.Invalid, fmt.Sprintf("role %q", role), "must be admin or user")
}

func (t *Tx) user(name string) (*schemapb.User, error) {
	row, ok, err := schema.Users.Get(t.w, name)
	if err == nil && !ok {
		err = errs.New(errs.NoSuchPrincipal, "user "+name, "")
	}
	return row, err
}

func userInfo(name string, u *schemapb.User) *o3v1.UserInfo {
	return &o3v1.UserInfo{Name: name, Role: u.Role, CreatedMs: u.CreatedMs, Disabled: u.Disabled}
}

// AccessKeyInfo describes an access key, without its secret.
func AccessKeyInfo(id string, k *schemapb.AccessKey) *o3v1.AccessKeyInfo {
	return &o3v1.AccessKeyInfo{Id: id, User: k.User, CreatedMs: k.CreatedMs, Revoked: k.Revoked, Description: k.Description}
}

func createUser(t *Tx, c *o3v1.CreateUserRequest) (*o3v1.CreateUserResponse, error) {
	if err := ns.CheckUserName(c.User); err != nil {
		return nil, err
	}
	if err := checkRole(c.Role); err != nil {
		return nil, err
	}
	if _, err := t.user(c.User); err == nil {
		return nil, errs.New(errs.PrincipalExists, "user "+c.User, "")
	} else if errs.KindOf(err) != errs.NoSuchPrincipal {
		return nil, err
	}
	row := &schemapb.User{Role: c.Role, Since: uint64(t.op), CreatedMs: t.now}
	t.wrote()
	return &o3v1.CreateUserResponse{User: userInfo(c.User, row)}, schema.Users.Put(t.w, c.User, row)
}

func updateUser(t *Tx, c *o3v1.UpdateUserRequest) (*o3v1.UpdateUserResponse, error) {
	row, err := t.user(c.User)
	if err != nil {
		return nil, err
	}
	if c.Role != nil {
		if err := checkRole(*c.Role); err != nil {
			return nil, err
		}
		row.Role = *c.Role
	}
	if c.Disabled != nil {
		row.Disabled = *c.Disabled
	}
	if err := t.keepAnAdmin(c.User, row); err != nil {
		return nil, err
	}
	row.Since = uint64(t.op)
	t.wrote()
	return &o3v1.UpdateUserResponse{User: userInfo(c.User, row)}, schema.Users.Put(t.w, c.User, row)
}

// deleteUser removes a user and their access keys. One who owns a volume or
// bucket is refused: whoever gets the name next would own it.
func deleteUser(t *Tx, c *o3v1.DeleteUserRequest) (*o3v1.DeleteUserResponse, error) {
	if _, err := t.user(c.User); err != nil {
		return nil, err
	}
	if err := t.keepAnAdmin(c.User, nil); err != nil {
		return nil, err
	}
	if err := t.ownsNothing(c.User); err != nil {
		return nil, err
	}
	var ids []string
	lower, upper := schema.AccessKeys.All()
	err := schema.AccessKeys.Scan(t.w, lower, upper, func(id string, k *schemapb.AccessKey) (bool, error) {
		if k.User == c.User {
			ids = append(ids, id)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := schema.AccessKeys.Delete(t.w, id); err != nil {
			return nil, err
		}
	}
	t.wrote()
	return &o3v1.DeleteUserResponse{}, schema.Users.Delete(t.w, c.User)
}

// ownsNothing refuses a user who owns a volume or a bucket.
func (t *Tx) ownsNothing(user string) error {
	if err := t.Flush(); err != nil { // the scans must see what the batch changed
		return err
	}
	var owned string
	lower, upper := schema.Volumes.All()
	err := schema.Volumes.Scan(t.w, lower, upper, func(name string, v *schemapb.Volume) (bool, error) {
		if v.Owner == user {
			owned = "volume " + name
		}
		return owned == "", nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Buckets.All()
	err = schema.Buckets.Scan(t.w, lower, upper, func(k schema.BucketKey, b *schemapb.Bucket) (bool, error) {
		if owned == "" && b.Owner == user {
			owned = "bucket " + k.Name
		}
		return owned == "", nil
	})
	if err == nil && owned != "" {
		err = errs.New(errs.NotEmpty, "user "+user, "owns "+owned+"; give it another owner first")
	}
	return err
}

// keepAnAdmin refuses a change after which no enabled admin would be left.
func (t *Tx) keepAnAdmin(name string, after *schemapb.User) error {
	if isAdmin(after) {
		return nil
	}
	others := false
	lower, upper := schema.Users.All()
	err := schema.Users.Scan(t.w, lower, upper, func(n string, u *schemapb.User) (bool, error) {
		others = others || n != name && isAdmin(u)
		return !others, nil
	})
	if err == nil && !others {
		err = errs.New(errs.Denied, "user "+name, "is the last enabled admin")
	}
	return err
}

func isAdmin(u *schemapb.User) bool {
	return u != nil && !u.Disabled && access.Role(u.Role) == access.RoleAdmin
}

// createAccessKey adds a key whose id and secret the leader chose, or gives an
// existing one a new secret.
func createAccessKey(t *Tx, c *o3v1.CreateAccessKeyRequest) (*o3v1.CreateAccessKeyResponse, error) {
	if c.Id == "" || c.Secret == "" {
		return nil, errs.New(errs.Invalid, "access key", "id and secret may not be empty")
	}
	if _, err := t.user(c.User); err != nil {
		return nil, err
	}
	old, ok, err := schema.AccessKeys.Get(t.w, c.Id)
	if err != nil {
		return nil, err
	}
	if ok && (!c.Replace || old.User != c.User) {
		return nil, errs.New(errs.PrincipalExists, "access key "+c.Id, "")
	}
	row := &schemapb.AccessKey{
		User: c.User, Secret: c.Secret, Since: uint64(t.op), CreatedMs: t.now, Description: c.Description,
	}
	t.wrote()
	return &o3v1.CreateAccessKeyResponse{Key: AccessKeyInfo(c.Id, row)}, schema.AccessKeys.Put(t.w, c.Id, row)
}

// revokeAccessKey makes a key worthless, until an admin gives it a new secret;
// its row stays, so that logs can be read.
func revokeAccessKey(t *Tx, c *o3v1.RevokeAccessKeyRequest) (*o3v1.RevokeAccessKeyResponse, error) {
	row, ok, err := schema.AccessKeys.Get(t.w, c.Id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errs.New(errs.NoSuchPrincipal, "access key "+c.Id, "")
	}
	row.Revoked, row.Secret, row.Since = true, "", uint64(t.op)
	t.wrote()
	return &o3v1.RevokeAccessKeyResponse{}, schema.AccessKeys.Put(t.w, c.Id, row)
}

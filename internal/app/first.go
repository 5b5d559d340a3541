package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	o3v1 "o3/api/o3/v1"
	"o3/client"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/om"
)

// rootUser is the admin that every store begins with.
const rootUser = "root"

// firstStart waits until the node leads, and makes what an empty store lacks:
// the root user with an access key, and the volume of S3. Each step is left out
// when it was done before, so an interrupted first start is completed by the next.
func (n *node) firstStart(ctx context.Context, out io.Writer) error {
	if err := n.awaitLeader(ctx); err != nil {
		return err
	}
	ctx = access.NewContext(ctx, access.System)
	if err := n.root(ctx, out); err != nil {
		return err
	}
	_, err := n.om.GetVolume(ctx, &o3v1.GetVolumeRequest{Volume: ns.S3Volume})
	if errs.KindOf(err) == errs.NoSuchVolume {
		_, err = n.om.CreateVolume(ctx, &o3v1.CreateVolumeRequest{
			Volume: ns.S3Volume, Owner: rootUser,
			Grants: []*o3v1.Grant{{Grantee: access.SignedIn, Permissions: []o3v1.Permission{o3v1.Permission_PERMISSION_CREATE}}},
		})
	}
	if err != nil {
		return err
	}
	if err := n.begun(); err != nil {
		return err
	}
	return n.serves()
}

// root sees to it that there is a root user with an access key. Once there are
// other users, an admin may have deleted or disabled root for good: only a
// configured key brings a deleted one back, and a disabled one stays disabled.
func (n *node) root(ctx context.Context, out io.Writer) error {
	users, err := n.om.ListUsers(ctx, &o3v1.ListUsersRequest{})
	if err != nil {
		return err
	}
	if _, err = n.om.User(ctx, rootUser); errs.KindOf(err) == errs.NoSuchPrincipal {
		if len(users.Users) > 0 && n.cfg.Node.RootAccessKey == "" {
			return nil
		}
		_, err = n.om.CreateUser(ctx, &o3v1.CreateUserRequest{User: rootUser, Role: string(access.RoleAdmin)})
		if errs.KindOf(err) == errs.PrincipalExists {
			n.obs.Log.Warn("the user root is disabled: its access key is not set")
			return nil
		}
	}
	if err != nil {
		return err
	}
	return n.rootKey(ctx, out)
}

func (n *node) awaitLeader(ctx context.Context) error {
	for {
		role, changed := n.log.Role()
		if role.Leader == n.log.ID() {
			return n.om.Ready(ctx)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rootKey sees to it that root has an access key: the one configured, else the
// one in the credentials file, else a new one, which is printed once.
func (n *node) rootKey(ctx context.Context, out io.Writer) error {
	path := n.dir(client.CredentialsFile)
	want := client.Credentials{AccessKey: n.cfg.Node.RootAccessKey, SecretKey: string(n.cfg.Node.RootSecretKey)}
	stored, err := client.ReadCredentials(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known := err == nil
	fresh := false
	if want.AccessKey == "" {
		if known {
			want = stored
		} else if has, err := n.rootHasKey(ctx); err != nil || has {
			return err // the file was taken away on purpose: the key still works
		} else {
			want = client.Credentials{AccessKey: om.NewAccessKeyID(), SecretKey: om.NewSecret()}
			fresh = true
		}
	}
	if !known || stored.AccessKey != want.AccessKey || stored.SecretKey != want.SecretKey {
		if err := client.WriteCredentials(path, want); err != nil { // before the key works: it is never lost
			return err
		}
	}
	if err := n.applyRootKey(ctx, want, n.cfg.Node.RootAccessKey != ""); err != nil {
		return err
	}
	if fresh {
		fmt.Fprintf(out, "root access key, shown once and kept in %s\n  access key  %s\n  secret key  %s\n",
			path, want.AccessKey, want.SecretKey)
	}
	return nil
}

// applyRootKey makes the key root's. One that was revoked stays so, unless it
// is configured.
func (n *node) applyRootKey(ctx context.Context, want client.Credentials, configured bool) error {
	secret, p, err := n.om.Secret(ctx, want.AccessKey)
	if err == nil && secret == want.SecretKey && p.User == rootUser {
		return nil
	}
	if err != nil && errs.KindOf(err) != errs.NoSuchPrincipal {
		return err
	}
	if !configured {
		if has, err := n.rootHasKey(ctx); err != nil || has {
			return err // the file is of an earlier key
		}
	}
	_, err = n.om.CreateAccessKey(ctx, &o3v1.CreateAccessKeyRequest{
		User: rootUser, Id: want.AccessKey, Secret: want.SecretKey, Replace: true, Description: "root",
	})
	return err
}

func (n *node) rootHasKey(ctx context.Context) (bool, error) {
	resp, err := n.om.ListAccessKeys(ctx, &o3v1.ListAccessKeysRequest{User: rootUser})
	if err != nil {
		return false, err
	}
	return len(resp.Keys) > 0, nil
}

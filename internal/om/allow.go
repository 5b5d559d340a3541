package om

import (
	"context"
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

const (
	read    = o3v1.Permission_PERMISSION_READ
	write   = o3v1.Permission_PERMISSION_WRITE
	list    = o3v1.Permission_PERMISSION_LIST
	create  = o3v1.Permission_PERMISSION_CREATE
	remove  = o3v1.Permission_PERMISSION_DELETE
	control = o3v1.Permission_PERMISSION_ALL
)

// requireAdmin refuses anybody but an admin.
func requireAdmin(ctx context.Context, act string) error {
	if p := access.FromContext(ctx); !p.Admin() {
		return denied(p, act, "needs the role admin")
	}
	return nil
}

func denied(p access.Principal, act, why string) error {
	who := "anonymous"
	if !p.Anonymous() {
		who = "user " + p.User
	}
	return errs.New(errs.Denied, act, who+": "+why)
}

func ofVolume(v *schemapb.Volume) access.Resource {
	return access.Resource{Owner: v.Owner, Grants: v.Grants}
}

func ofBucket(b view.Bucket) access.Resource {
	return access.Resource{Owner: b.Row.Owner, Grants: b.Row.Grants}
}

// bucket returns a bucket and its volume for checks; their usage may be old. It
// reads the store and not a view, which may be older than the present settings.
func (s *Service) bucket(volume, name string) (view.Bucket, error) {
	return s.buckets.get(s.o.Settings, volume+"/"+name, func() (b view.Bucket, err error) {
		err = s.peek(func(v view.View) error {
			b, err = v.Bucket(volume, name)
			return err
		})
		return b, err
	})
}

// bucketFor returns the bucket if the caller has the permission on it.
func (s *Service) bucketFor(ctx context.Context, volume, name string, need o3v1.Permission) (view.Bucket, error) {
	b, err := s.bucket(volume, name)
	if err != nil {
		return b, err
	}
	p := access.FromContext(ctx)
	if !access.Allowed(p, need, ofVolume(b.Volume), ofBucket(b)) {
		return b, denied(p, "bucket "+volume+"/"+name, "lacks "+permissionName(need))
	}
	return b, nil
}

func permissionName(p o3v1.Permission) string { return p.String()[len("PERMISSION_"):] }

// noBucket is an id that no bucket has: apply refuses a request with it, unless
// it remembers the request's answer.
const noBucket = ^ns.ObjectID(0)

// mayWrite checks that the caller has the permission on the bucket, and returns
// the bucket's id for apply to compare. A stamped request that was answered
// before passes, so that it gets its answer again and not what it caused.
func (s *Service) mayWrite(ctx context.Context, stamp *o3v1.Stamp, volume, bucket string, need o3v1.Permission) (id ns.ObjectID, layout ns.Layout, err error) {
	err = s.peek(func(v view.View) error {
		b, err := s.bucketFor(ctx, volume, bucket, need)
		if err == nil {
			id, layout = b.ID(), b.Layout()
		} else if known, kerr := v.Answered(stamp); kerr == nil && known {
			id, err = noBucket, nil
		}
		return err
	})
	return id, layout, err
}

// mayRead checks that the caller may read a key: by the bucket, or by grants of
// the key's own. Who may not even list learns nothing about absent keys.
func (s *Service) mayRead(ctx context.Context, v view.View, volume, bucket, key string) (view.Bucket, view.Entry, error) {
	b, err := s.bucket(volume, bucket)
	if err != nil {
		return b, view.Entry{}, err
	}
	p := access.FromContext(ctx)
	allowed := func(need o3v1.Permission, more ...access.Resource) bool {
		return access.Allowed(p, need, append([]access.Resource{ofVolume(b.Volume), ofBucket(b)}, more...)...)
	}
	path := key
	if name, rest, ok := ns.CutSnapshot(key); ok {
		if !allowed(read) && !allowed(list) {
			return b, view.Entry{}, denied(p, fmt.Sprintf("key %s", key), "lacks READ")
		}
		at, err := v.Snapshot(b, name)
		if err != nil {
			return b, view.Entry{}, err
		}
		v, path = v.At(at.Op), rest
	}
	if err := ns.CheckKeyName(b.Layout(), path); err != nil {
		return b, view.Entry{}, err
	}
	e, err := v.Key(b, path)
	e.Path = key
	if isKind(err, errs.NoSuchKey) {
		err = errs.New(errs.NoSuchKey, key, "")
	}
	if isKind(err, errs.NoSuchKey) && !allowed(read) && !allowed(list) {
		return b, e, denied(p, fmt.Sprintf("key %s", key), "lacks READ")
	}
	if err != nil {
		return b, e, err
	}
	if !allowed(read, access.Resource{Owner: e.Row.Owner, Grants: e.Row.Grants}) {
		return b, e, denied(p, fmt.Sprintf("key %s", key), "lacks READ")
	}
	return b, e, nil
}

// checkGrants refuses grants that name nobody or nothing.
func checkGrants(grants []*o3v1.Grant) error {
	for _, g := range grants {
		if g.Grantee != access.Anyone && g.Grantee != access.SignedIn {
			if err := ns.CheckUserName(g.Grantee); err != nil {
				return err
			}
		}
		if len(g.Permissions) == 0 {
			return errs.New(errs.Invalid, "grant to "+g.Grantee, "names no permission")
		}
		for _, p := range g.Permissions {
			if _, ok := o3v1.Permission_name[int32(p)]; !ok || p == 0 {
				return errs.New(errs.Invalid, "grant to "+g.Grantee, fmt.Sprintf("permission %d does not exist", p))
			}
		}
	}
	return nil
}

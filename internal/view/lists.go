package view

import (
	o3v1 "o3/api/o3/v1"
	"o3/internal/access"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/keys"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Volumes returns up to limit volumes, in order, whose names start with prefix
// and follow after, and that keep accepts.
func (v View) Volumes(prefix, after string, limit int, keep func(*schemapb.Volume) bool) (out []*o3v1.VolumeInfo, more bool, err error) {
	lower := schema.Volumes.Key(max(prefix, after))
	upper := keys.PrefixEnd(schema.Volumes.Key(prefix))
	err = schema.Volumes.Scan(v.r, lower, upper, func(name string, row *schemapb.Volume) (bool, error) {
		if name == after && after != "" || !keep(row) {
			return true, nil
		}
		if more = len(out) == limit; more {
			return false, nil
		}
		out = append(out, command.VolumeInfo(name, row))
		return true, nil
	})
	return out, more, err
}

// Buckets returns up to limit buckets of a volume, like Volumes.
func (v View) Buckets(volume, prefix, after string, limit int, keep func(*schemapb.Bucket) bool) (out []*o3v1.BucketInfo, more bool, err error) {
	vol, err := v.Volume(volume)
	if err != nil {
		return nil, false, err
	}
	id := ns.ObjectID(vol.ObjectId)
	lower, _ := schema.BucketsOf(id, max(prefix, after))
	_, upper := schema.BucketsOf(id, prefix)
	err = schema.Buckets.Scan(v.r, lower, upper, func(k schema.BucketKey, row *schemapb.Bucket) (bool, error) {
		if k.Name == after && after != "" || !keep(row) {
			return true, nil
		}
		if more = len(out) == limit; more {
			return false, nil
		}
		out = append(out, command.BucketInfo(volume, k.Name, row))
		return true, nil
	})
	return out, more, err
}

// Upload returns a multipart upload.
func (v View) Upload(b Bucket, key, uploadID string) (*o3v1.UploadInfo, ns.ObjectID, error) {
	id, err := command.ParseUploadID(uploadID)
	if err != nil {
		return nil, 0, err
	}
	row, ok, err := schema.Uploads.Get(v.r, schema.UploadKey{Bucket: b.ID(), Name: key, Upload: id})
	if err != nil {
		return nil, 0, err
	}
	if !ok {
		return nil, 0, errs.New(errs.NoSuchUpload, uploadID, "it was never begun for this key, or is completed or aborted")
	}
	return command.UploadInfo(key, id, row), id, nil
}

// Parts returns up to limit parts of an upload, in order, from the one after
// the given number on.
func (v View) Parts(b Bucket, upload ns.ObjectID, after uint32, limit int, full bool) (out []*o3v1.PartInfo, more bool, err error) {
	_, upper := schema.PartsOf(b.ID(), upload)
	lower := schema.Parts.Key(schema.PartKey{Bucket: b.ID(), Upload: upload, Number: after + 1})
	err = schema.Parts.Scan(v.r, lower, upper, func(k schema.PartKey, row *schemapb.Part) (bool, error) {
		if more = len(out) == limit; more {
			return false, nil
		}
		info := command.PartInfo(k.Number, row)
		if full {
			var err error
			if info.Extents, err = command.DirectExtents(v.r, row.Extents); err != nil {
				return false, err
			}
		}
		out = append(out, info)
		return true, nil
	})
	return out, more, err
}

// Credential returns what a signature needs: the secret of an access key and
// whom it stands for. Kind NoSuchPrincipal: there is no such key, or it or its
// user is revoked or disabled.
func (v View) Credential(id string) (secret string, p access.Principal, err error) {
	none := errs.New(errs.NoSuchPrincipal, "access key "+id, "")
	key, ok, err := schema.AccessKeys.Get(v.r, id)
	if err != nil {
		return "", p, err
	}
	if !ok || key.Revoked {
		return "", p, none
	}
	if p, err = v.Principal(key.User); err != nil {
		if errs.KindOf(err) == errs.NoSuchPrincipal {
			err = none
		}
		return "", p, err
	}
	p.AccessKey = id
	return key.Secret, p, nil
}

// Principal returns the principal of a user. Kind NoSuchPrincipal: there is no
// such user, or they are disabled.
func (v View) Principal(name string) (access.Principal, error) {
	user, ok, err := schema.Users.Get(v.r, name)
	if err == nil && (!ok || user.Disabled) {
		err = errs.New(errs.NoSuchPrincipal, "user "+name, "")
	}
	if err != nil {
		return access.Principal{}, err
	}
	return access.Principal{User: name, Role: access.Role(user.Role)}, nil
}

// Users returns up to limit users, in order, that follow after.
func (v View) Users(after string, limit int) (out []*o3v1.UserInfo, more bool, err error) {
	_, upper := schema.Users.All()
	err = schema.Users.Scan(v.r, schema.Users.Key(after), upper, func(name string, u *schemapb.User) (bool, error) {
		if name == after && after != "" {
			return true, nil
		}
		if more = len(out) == limit; more {
			return false, nil
		}
		out = append(out, &o3v1.UserInfo{Name: name, Role: u.Role, CreatedMs: u.CreatedMs, Disabled: u.Disabled})
		return true, nil
	})
	return out, more, err
}

// AccessKeys returns up to limit access keys, without secrets, that follow
// after; of one user when user is set.
func (v View) AccessKeys(user, after string, limit int) (out []*o3v1.AccessKeyInfo, more bool, err error) {
	_, upper := schema.AccessKeys.All()
	err = schema.AccessKeys.Scan(v.r, schema.AccessKeys.Key(after), upper, func(id string, k *schemapb.AccessKey) (bool, error) {
		if id == after && after != "" || user != "" && k.User != user {
			return true, nil
		}
		if more = len(out) == limit; more {
			return false, nil
		}
		out = append(out, command.AccessKeyInfo(id, k))
		return true, nil
	})
	return out, more, err
}

// Answered reports whether a stamped request got an answer that is remembered.
func (v View) Answered(stamp *o3v1.Stamp) (bool, error) {
	if stamp.GetClientId() == 0 {
		return false, nil
	}
	row, ok, err := schema.Clients.Get(v.r, stamp.ClientId)
	if err != nil || !ok {
		return false, err
	}
	for _, a := range row.Answers {
		if a.Sequence == stamp.Sequence {
			return true, nil
		}
	}
	return false, nil
}

package view

import (
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Lifecycle returns the lifecycle configuration of a bucket; ok is false when it
// has none. Bucket.Row.LifecycleUpdateId tells that already.
func (v View) Lifecycle(bucket ns.ObjectID) (row *schemapb.LifecycleConfiguration, ok bool, err error) {
	return schema.Lifecycles.Get(v.r, bucket)
}

// Lifecycles calls f with the lifecycle configuration of every bucket whose id is
// above after, in the order of ids, until f returns false.
func (v View) Lifecycles(after ns.ObjectID, f func(ns.ObjectID, *schemapb.LifecycleConfiguration) (bool, error)) error {
	_, upper := schema.Lifecycles.All()
	return schema.Lifecycles.Scan(v.r, schema.Lifecycles.Key(after+1), upper, f)
}

// LifecycleScan returns where the lifecycle scan of a bucket stands; ok is false
// when it was never scanned under a configuration.
func (v View) LifecycleScan(bucket ns.ObjectID) (row *schemapb.LifecycleScanState, ok bool, err error) {
	return schema.LifecycleScans.Get(v.r, bucket)
}

// LifecycleSuspension returns why the lifecycle scans of a bucket, or of
// schema.EveryBucket, are suspended; ok is false when they are not. Those of a
// bucket are also suspended when those of every bucket are.
func (v View) LifecycleSuspension(bucket ns.ObjectID) (row *schemapb.LifecycleSuspension, ok bool, err error) {
	return schema.LifecycleSuspensions.Get(v.r, bucket)
}

// LifecycleSuspensions calls f with every suspension, that of all buckets first,
// until f returns false.
func (v View) LifecycleSuspensions(f func(ns.ObjectID, *schemapb.LifecycleSuspension) (bool, error)) error {
	lower, upper := schema.LifecycleSuspensions.All()
	return schema.LifecycleSuspensions.Scan(v.r, lower, upper, f)
}

// UploadRow is an unfinished multipart upload.
type UploadRow struct {
	Key schema.UploadKey
	Row *schemapb.Upload
}

// Position returns what a lifecycle scan notes when it has covered the upload.
func (u UploadRow) Position() string { return command.UploadPosition(u.Key.Name, u.Key.Upload) }

// UploadsFrom calls f with every unfinished multipart upload of b in the order of
// their keys' names and then of age, until f returns false: those after a
// Position ("" for none) whose keys' names are at least name.
func (v View) UploadsFrom(b Bucket, after, name string, f func(UploadRow) (bool, error)) error {
	lower, upper := schema.UploadsOf(b.ID())
	if after != "" {
		key, err := command.ParseUploadPosition(b.ID(), after)
		if err != nil {
			return err
		}
		key.Upload++
		lower = schema.Uploads.Key(key)
	}
	if from := uploadsFrom(b, name); name != "" && string(from) > string(lower) {
		lower = from
	}
	return schema.Uploads.Scan(v.r, lower, upper, func(k schema.UploadKey, row *schemapb.Upload) (bool, error) {
		return f(UploadRow{k, row})
	})
}

// TrashDir is what was deleted by one owner of a bucket: .Trash/OWNER/NAME/.
type TrashDir struct {
	Owner string
	Name  string // command.TrashCurrent, or that of a checkpoint
}

// TrashDirs returns up to limit of what lies in the trash of b, in order, after
// the one named (the zero value: from the first).
func (v View) TrashDirs(b Bucket, after TrashDir, limit int) (out []TrashDir, more bool, err error) {
	if limit < 1 {
		return nil, false, errs.New(errs.Invalid, "trash", "the limit must be at least 1")
	}
	owners := ListOptions{Prefix: command.TrashPrefix, Delimiter: "/", Limit: limit}
	if after.Owner != "" {
		owners.Token = encodeToken(command.TrashPrefix + after.Owner + "/")
	}
	for {
		page, err := v.List(b, owners)
		if err != nil {
			return nil, false, err
		}
		for _, owner := range page.Prefixes {
			dirs := ListOptions{Prefix: owner, Delimiter: "/", Limit: limit - len(out) + 1}
			name := owner[len(command.TrashPrefix) : len(owner)-1]
			if name == after.Owner && after.Name != "" {
				dirs.StartAfter = owner + after.Name + "/"
			}
			below, err := v.List(b, dirs)
			if err != nil {
				return nil, false, err
			}
			for _, dir := range below.Prefixes {
				if len(out) == limit {
					return out, true, nil
				}
				out = append(out, TrashDir{name, dir[len(owner) : len(dir)-1]})
			}
			if below.Truncated {
				return out, true, nil
			}
		}
		if !page.Truncated {
			return out, false, nil
		}
		owners.Token = page.NextToken
	}
}

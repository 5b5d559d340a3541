package app

import (
	"context"
	"fmt"

	o3v1 "o3/api/o3/v1"
	"o3/internal/block"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// keysShown bounds the names that are told of one block.
const keysShown = 10

// nameKeys adds to each missing block the names it is known by: those of keys,
// of keys that only snapshots still have, and of the uploads whose parts it is
// of. It costs a pass over the rows.
func (n *stoppedNode) nameKeys(ctx context.Context, lost map[block.ID]*finding) error {
	buckets, err := n.bucketPaths()
	if err != nil {
		return err
	}
	v := view.New(n.store)
	named := func(extents []*o3v1.Extent, name func() (string, error)) error {
		direct, err := v.Extents(&schemapb.Entry{Extents: extents})
		if errs.KindOf(err) == errs.Corrupt { // its list is what is missing
			direct = extents
		} else if err != nil {
			return err
		}
		for _, list := range [][]*o3v1.Extent{extents, direct} {
			for _, e := range list {
				f := lost[block.ID{Container: e.Container, Local: e.Local}]
				if f == nil || len(f.Keys) == keysShown {
					continue
				}
				text, err := name()
				if err != nil {
					return err
				}
				if k := len(f.Keys); k == 0 || f.Keys[k-1] != text { // a key names a block several times
					f.Keys = append(f.Keys, text)
				}
			}
		}
		return ctx.Err()
	}
	path := func(k schema.EntryKey) (string, error) {
		dir, err := v.Path(k.Bucket, k.Parent)
		if errs.KindOf(err) == errs.NoSuchKey { // below a directory that was deleted
			dir, err = fmt.Sprintf("(deleted directory %d)/", k.Parent), nil
		}
		return buckets[k.Bucket] + dir + k.Name, err
	}
	lower, upper := schema.Entries.All()
	err = schema.Entries.Scan(n.store, lower, upper, func(k schema.EntryKey, e *schemapb.Entry) (bool, error) {
		return true, named(e.Extents, func() (string, error) { return path(k) })
	})
	if err != nil {
		return err
	}
	lower, upper = schema.History.All()
	err = schema.History.Scan(n.store, lower, upper, func(k schema.HistoryKey, e *schemapb.Entry) (bool, error) {
		return true, named(e.Extents, func() (string, error) {
			now, err := path(k.EntryKey)
			return now + " of a snapshot", err
		})
	})
	if err != nil {
		return err
	}
	uploads := map[ns.ObjectID]string{}
	lower, upper = schema.Uploads.All()
	err = schema.Uploads.Scan(n.store, lower, upper, func(k schema.UploadKey, _ *schemapb.Upload) (bool, error) {
		uploads[k.Upload] = buckets[k.Bucket] + k.Name
		return true, nil
	})
	if err != nil {
		return err
	}
	lower, upper = schema.Parts.All()
	return schema.Parts.Scan(n.store, lower, upper, func(k schema.PartKey, part *schemapb.Part) (bool, error) {
		return true, named(part.Extents, func() (string, error) {
			return fmt.Sprintf("part %d of the upload of %s", k.Number, uploads[k.Upload]), nil
		})
	})
}

// bucketPaths returns the path of each bucket, with its slashes.
func (n *stoppedNode) bucketPaths() (map[ns.ObjectID]string, error) {
	volumes, buckets := map[ns.ObjectID]string{}, map[ns.ObjectID]string{}
	lower, upper := schema.Volumes.All()
	err := schema.Volumes.Scan(n.store, lower, upper, func(name string, row *schemapb.Volume) (bool, error) {
		volumes[ns.ObjectID(row.ObjectId)] = name
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	lower, upper = schema.Buckets.All()
	return buckets, schema.Buckets.Scan(n.store, lower, upper, func(k schema.BucketKey, row *schemapb.Bucket) (bool, error) {
		buckets[ns.ObjectID(row.ObjectId)] = "/" + volumes[k.Volume] + "/" + k.Name + "/"
		return true, nil
	})
}

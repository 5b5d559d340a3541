package command

import (
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Find walks path from a bucket's root as it was at a point in time, so that
// what it finds was reachable then; the entry is nil when there was none. In a
// file-system bucket a path that ends in a slash means a directory.
func Find(r kv.Reader, bucket ns.ObjectID, layout ns.Layout, path string, at ns.Op) (schema.EntryKey, *schemapb.Entry, error) {
	key := schema.EntryKey{Bucket: bucket, Parent: bucket, Name: path}
	if layout == ns.FileSystem {
		parents, name, dir := ns.SplitPath(path)
		for _, component := range parents {
			key.Name = component + "/"
			row, ok, err := schema.EntryAt(r, key, at)
			if err != nil || !ok {
				return key, nil, err
			}
			key.Parent = ns.ObjectID(row.ObjectId)
		}
		if key.Name = name; dir {
			key.Name += "/"
		}
	}
	row, ok, err := schema.EntryAt(r, key, at)
	if !ok {
		return key, nil, err
	}
	return key, row, nil
}

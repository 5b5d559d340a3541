package query

import (
	"fmt"
	"strings"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/schema"
	"o3/internal/view"
)

// names finds what buckets are called by their ids, and directories' paths, for
// one call.
type names struct {
	v       *generation.View
	buckets map[ns.ObjectID]sqltables.BucketName // no name: it is gone
	dirs    map[schema.DirKey]where
}

// where is where a directory is.
type where struct {
	path    string // in the bucket, with the trailing slash
	deleted bool   // it, or one above it, is deleted: path is what is known
}

func newNames(v *generation.View) *names {
	return &names{v: v, buckets: map[ns.ObjectID]sqltables.BucketName{}, dirs: map[schema.DirKey]where{}}
}

// title returns what a bucket and its volume are called; nothing when it is gone.
func (n *names) title(id ns.ObjectID) (volume, bucket string, err error) {
	b, ok := n.buckets[id]
	if !ok {
		if b, _, err = n.v.SQL.Bucket(id); err != nil {
			return "", "", err
		}
		n.buckets[id] = b
	}
	return b.Volume, b.Bucket, nil
}

// deepest is more than a directory may be deep: a path has at most so many parts.
const deepest = ns.MaxKeyName

// dir returns where a directory is. The root of a bucket has the bucket's id.
func (n *names) dir(bucket, dir ns.ObjectID) (where, error) {
	var below []schema.DirKey // those whose places are not known yet, the lowest first
	var parts []string
	at, w := dir, where{}
	for at != bucket {
		key := schema.DirKey{Bucket: bucket, Dir: at}
		known, ok := n.dirs[key]
		if ok {
			w = known
			break
		}
		row, ok, err := schema.Dirs.Get(n.v.Rows, key)
		if err != nil {
			return w, err
		}
		if !ok {
			w.deleted = true
			n.dirs[key] = w
			break
		}
		if len(below) == deepest {
			return w, errs.New(errs.Corrupt, "directories", "one is below itself")
		}
		below, parts, at = append(below, key), append(parts, row.Name), ns.ObjectID(row.ParentId)
	}
	for i := len(below) - 1; i >= 0; i-- {
		w.path += parts[i]
		n.dirs[below[i]] = w
	}
	return w, nil
}

// path returns the whole path of an entry, and whether it is in a directory that
// is deleted but not purged yet.
func (n *names) path(k schema.EntryKey) (path string, deleted bool, err error) {
	volume, bucket, err := n.title(k.Bucket)
	if err != nil {
		return "", false, err
	}
	w, err := n.dir(k.Bucket, k.Parent)
	if w.deleted || volume == "" {
		return "…/" + w.path + k.Name, true, err
	}
	return join(volume, bucket, w.path+k.Name), false, err
}

// join writes a path as Ozone's Recon does.
func join(volume, bucket, path string) string {
	return strings.TrimSuffix("/"+volume+"/"+bucket+"/"+path, "/")
}

// prefixed is a parameter startPrefix: a bucket, and how names in it begin.
type prefixed struct {
	bucket view.Bucket
	prefix string
}

// parsePrefix reads one. There must be a volume and a bucket.
func parsePrefix(v *generation.View, s string) (prefixed, error) {
	volume, rest, _ := strings.Cut(strings.TrimPrefix(s, "/"), "/")
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !strings.HasPrefix(s, "/") || volume == "" || bucket == "" {
		return prefixed{}, errs.New(errs.Invalid, fmt.Sprintf("startPrefix %q", s), "it must begin with /volume/bucket")
	}
	b, err := v.Bucket(volume, bucket)
	return prefixed{b, prefix}, err
}

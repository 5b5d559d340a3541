package query

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// names finds buckets by their ids and directories' paths, for one call.
type names struct {
	v       *generation.View
	buckets map[ns.ObjectID]view.Bucket
	dirs    map[schema.DirKey]where
}

// where is where a directory is.
type where struct {
	path    string // in the bucket, with the trailing slash
	deleted bool   // it, or one above it, is deleted: path is what is known
}

func newNames(v *generation.View) *names { return &names{v: v, dirs: map[schema.DirKey]where{}} }

// bucket returns a bucket by its id; ok is false when it is gone.
func (n *names) bucket(id ns.ObjectID) (b view.Bucket, ok bool, err error) {
	if n.buckets == nil {
		n.buckets = map[ns.ObjectID]view.Bucket{}
		err := eachBucket(n.v, "", func(b view.Bucket) error { n.buckets[b.ID()] = b; return nil })
		if err != nil {
			return b, false, err
		}
	}
	b, ok = n.buckets[id]
	return b, ok, nil
}

// title returns /volume/bucket.
func (n *names) title(id ns.ObjectID) (volume, bucket string, err error) {
	b, ok, err := n.bucket(id)
	if err == nil && !ok {
		return "", "", nil
	}
	return b.VolumeName, b.Name, err
}

// sorted returns the buckets of a volume, or all of them, in the order of ids.
func (n *names) sorted(volume string) ([]view.Bucket, error) {
	if _, _, err := n.bucket(0); err != nil {
		return nil, err
	}
	var all []view.Bucket
	for _, b := range n.buckets {
		if volume == "" || b.VolumeName == volume {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b view.Bucket) int { return cmp.Compare(a.ID(), b.ID()) })
	return all, nil
}

// deepest is more than a directory may be deep: a path has at most so many parts.
const deepest = ns.MaxKeyName

// dir returns where a directory is. The root of a bucket has the bucket's id.
func (n *names) dir(bucket, dir ns.ObjectID) (where, error) {
	if dir == bucket {
		return where{}, nil
	}
	key := schema.DirKey{Bucket: bucket, Dir: dir}
	if w, ok := n.dirs[key]; ok {
		return w, nil
	}
	w := where{}
	at := dir
	for range deepest {
		if at == bucket {
			n.dirs[key] = w
			return w, nil
		}
		row, ok, err := schema.Dirs.Get(n.v.Rows, schema.DirKey{Bucket: bucket, Dir: at})
		if err != nil {
			return w, err
		}
		if !ok {
			w.deleted = true
			n.dirs[key] = w
			return w, nil
		}
		w.path, at = row.Name+w.path, ns.ObjectID(row.ParentId)
	}
	return w, errs.New(errs.Corrupt, "directories", "one is below itself")
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

// eachBucket calls f with the buckets of a volume, or of all, in the order of
// their names. Kind TooMany beyond MaxBuckets, volumes included.
func eachBucket(v *generation.View, volume string, f func(view.Bucket) error) error {
	seen := 0
	full := func() error {
		if seen++; seen > MaxBuckets {
			return tooManyBuckets()
		}
		return nil
	}
	buckets := func(name string, vol *schemapb.Volume) error {
		lower, upper := schema.BucketsOf(ns.ObjectID(vol.ObjectId), "")
		return schema.Buckets.Scan(v.Rows, lower, upper, func(k schema.BucketKey, row *schemapb.Bucket) (bool, error) {
			if err := full(); err != nil {
				return false, err
			}
			return true, f(view.Bucket{VolumeName: name, Name: k.Name, Volume: vol, Row: row})
		})
	}
	if volume != "" {
		vol, err := v.Volume(volume)
		if err != nil {
			return err
		}
		return buckets(volume, vol)
	}
	lower, upper := schema.Volumes.All()
	return schema.Volumes.Scan(v.Rows, lower, upper, func(name string, vol *schemapb.Volume) (bool, error) {
		if err := full(); err != nil {
			return false, err
		}
		return true, buckets(name, vol)
	})
}

func tooManyBuckets() error {
	return errs.New(errs.TooMany, "buckets", fmt.Sprintf("there are more than the %d that one answer may sum up", MaxBuckets))
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

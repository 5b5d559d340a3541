package query

import (
	"fmt"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// Type is what a path leads to.
type Type string

// The types.
const (
	TypeRoot      Type = "ROOT"
	TypeVolume    Type = "VOLUME"
	TypeBucket    Type = "BUCKET"
	TypeDirectory Type = "DIRECTORY"
	TypeKey       Type = "KEY"
	TypeUnknown   Type = "UNKNOWN"
)

// place is what is at a path.
type place struct {
	kind   Type
	path   string // as answers show it
	volume string
	vol    *schemapb.Volume
	bucket view.Bucket
	entry  view.Entry
}

// locate finds what is at a path: /volume/bucket/key. Nothing there is a place of
// TypeUnknown.
func locate(v *generation.View, path string) (place, error) {
	p, err := find(v, path)
	switch errs.KindOf(err) {
	case errs.NoSuchVolume, errs.NoSuchBucket, errs.NoSuchKey:
		return place{kind: TypeUnknown, path: path}, nil
	}
	return p, err
}

func find(v *generation.View, path string) (p place, err error) {
	if !strings.HasPrefix(path, "/") {
		return p, errs.New(errs.Invalid, fmt.Sprintf("path %q", path), "it must begin with /")
	}
	if p = (place{kind: TypeRoot, path: "/"}); path == "/" {
		return p, nil
	}
	volume, rest, _ := strings.Cut(path[1:], "/")
	if p.vol, err = v.Volume(volume); err != nil {
		return p, err
	}
	p.kind, p.volume, p.path = TypeVolume, volume, "/"+volume
	if rest == "" {
		return p, nil
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if p.bucket, err = v.Bucket(volume, bucket); err != nil {
		return p, err
	}
	p.kind, p.path = TypeBucket, join(volume, bucket, "")
	if key == "" {
		return p, nil
	}
	err = errs.New(errs.NoSuchKey, key, "")
	if p.bucket.Layout() == ns.FileSystem {
		key = strings.TrimSuffix(key, "/")
		p.entry, err = v.Key(p.bucket, key+"/")
	}
	if errs.KindOf(err) == errs.NoSuchKey {
		p.entry, err = v.Key(p.bucket, key)
	}
	if err != nil {
		return p, err
	}
	p.kind, p.path = TypeKey, "/"+volume+"/"+bucket+"/"+key
	if p.entry.Row.Kind == o3v1.EntryKind_ENTRY_KIND_DIRECTORY {
		p.kind = TypeDirectory
	}
	return p, nil
}

// dir returns the bucket and the directory of a bucket or directory.
func (p place) dir() (bucket, dir ns.ObjectID) {
	if p.kind == TypeDirectory {
		return p.bucket.ID(), ns.ObjectID(p.entry.Row.ObjectId)
	}
	return p.bucket.ID(), p.bucket.ID()
}

// counted is a total, and over how many volumes and buckets.
type counted struct {
	task.Summary
	volumes, buckets int64
}

func (c *counted) add(s task.Summary) {
	c.Files += s.Files
	c.Directories += s.Directories
	c.Bytes += s.Bytes
	for i, n := range s.Bins {
		c.Bins[i] += n
	}
}

// total returns the total of all below a place, of a key itself.
func (p place) total(v *generation.View) (c counted, err error) {
	switch p.kind {
	case TypeKey:
		size := p.entry.Row.Size
		c.Files, c.Bytes = 1, int64(size)
		c.Bins[task.SizeBin(size)] = 1
	case TypeBucket, TypeDirectory:
		bucket, dir := p.dir()
		c.Summary, err = task.Total(v.Derived, bucket, dir)
	case TypeRoot, TypeVolume:
		if c.volumes, err = countVolumes(v, p); err != nil {
			return c, err
		}
		err = eachBucket(v, p.volume, func(b view.Bucket) error {
			s, err := task.Total(v.Derived, b.ID(), b.ID())
			c.add(s)
			c.buckets++
			return err
		})
	}
	return c, err
}

func countVolumes(v *generation.View, p place) (int64, error) {
	if p.kind == TypeVolume {
		return 1, nil
	}
	stats, err := v.SQL.Stats()
	return stats["volumeTableCount"], err
}

package query

import (
	"cmp"
	"slices"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// SubPath is a volume, bucket, directory or key in a path.
type SubPath struct {
	Path            string `json:"path"`
	Size            int64  `json:"size"`
	SizeWithReplica int64  `json:"sizeWithReplica" doc:"-1 unless asked for"`
	IsKey           bool   `json:"isKey"`
}

// UsageResponse answers /namespace/usage.
type UsageResponse struct {
	Status          Status    `json:"status" enum:"OK,PATH_NOT_FOUND"`
	Path            string    `json:"path"`
	Size            int64     `json:"size" doc:"bytes of all keys below the path"`
	SizeWithReplica int64     `json:"sizeWithReplica" doc:"-1 unless asked for"`
	SubPathCount    int64     `json:"subPathCount" doc:"all of them, also those that are not shown; keys count if they were asked for"`
	SubPaths        []SubPath `json:"subPaths"`
	SizeDirectKey   int64     `json:"sizeDirectKey" doc:"bytes of the keys directly in it; -1 where there can be none"`

	LastKey string `json:"lastKey,omitempty" doc:"of our own: there are sub-paths that were not looked at; prevKey of the next page"`
}

// UsageOptions says what of a path's usage is asked for.
type UsageOptions struct {
	Files   bool // keys too
	Replica bool // sizes with replicas
	Sort    bool // the Top largest of what was looked at, the largest first; else in order
	Page
}

// Top is how many sub-paths are shown when they are sorted by size.
const Top = 30

// Usage says how large what is directly in a path is.
func Usage(v *generation.View, path string, o UsageOptions) (UsageResponse, error) {
	r := UsageResponse{Status: StatusNotFound, Path: path, SizeWithReplica: -1, SubPaths: []SubPath{}, SizeDirectKey: -1}
	p, err := locate(v, path)
	if err != nil || p.kind == TypeUnknown {
		return r, err
	}
	c, err := p.total(v)
	if err != nil {
		return r, err
	}
	r.Status, r.Path, r.Size = StatusOK, p.path, c.Bytes
	if o.Replica {
		r.SizeWithReplica = r.Size
	}
	u := usage{v: v, o: o, r: &r, at: strings.TrimSuffix(p.path, "/") + "/"}
	if !o.Sort {
		u.most = o.limit()
	}
	u.left = o.rows()
	switch p.kind {
	case TypeRoot:
		r.SubPathCount = c.volumes
		err = u.volumes()
	case TypeVolume:
		r.SubPathCount = c.buckets
		err = u.buckets(p)
	case TypeBucket, TypeDirectory:
		err = u.directory(p)
	}
	u.sort()
	return r, err
}

// usage is a call of Usage.
type usage struct {
	v    *generation.View
	o    UsageOptions
	r    *UsageResponse
	at   string // what sub-paths begin with
	most int    // sub-paths shown; 0: no bound, they are sorted later
	left int    // rows that may still be looked at
}

// full reports whether the page ends before the next sub-path.
func (u *usage) full() bool { return u.left <= 0 || u.most > 0 && len(u.r.SubPaths) >= u.most }

func (u *usage) add(name string, size int64, isKey bool) {
	s := SubPath{u.at + name, size, -1, isKey}
	if u.o.Replica {
		s.SizeWithReplica = size
	}
	u.r.SubPaths = append(u.r.SubPaths, s)
	u.left--
	if !u.o.Sort {
		return
	}
	if len(u.r.SubPaths) >= 64*Top {
		u.sort()
	}
}

// sort keeps the largest, if they are to be sorted.
func (u *usage) sort() {
	if !u.o.Sort {
		return
	}
	slices.SortFunc(u.r.SubPaths, func(a, b SubPath) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), strings.Compare(a.Path, b.Path))
	})
	u.r.SubPaths = u.r.SubPaths[:min(len(u.r.SubPaths), Top)]
}

func (u *usage) volumes() error {
	_, upper := schema.Volumes.All()
	last := u.o.After
	return schema.Volumes.Scan(u.v.Rows, schema.Volumes.Key(last), upper, func(name string, _ *schemapb.Volume) (bool, error) {
		if name == u.o.After {
			return true, nil
		}
		if u.full() {
			u.r.LastKey = last
			return false, nil
		}
		size := int64(0)
		err := eachBucket(u.v, name, func(b view.Bucket) error {
			s, err := task.Total(u.v.Derived, b.ID(), b.ID())
			size += s.Bytes
			u.left--
			return err
		})
		u.add(name, size, false)
		last = name
		return true, err
	})
}

func (u *usage) buckets(p place) error {
	volume, last := ns.ObjectID(p.vol.ObjectId), u.o.After
	lower, _ := schema.BucketsOf(volume, last)
	_, upper := schema.BucketsOf(volume, "")
	return schema.Buckets.Scan(u.v.Rows, lower, upper, func(k schema.BucketKey, row *schemapb.Bucket) (bool, error) {
		if k.Name == u.o.After {
			return true, nil
		}
		if u.full() {
			u.r.LastKey = last
			return false, nil
		}
		s, err := task.Total(u.v.Derived, ns.ObjectID(row.ObjectId), ns.ObjectID(row.ObjectId))
		u.add(k.Name, s.Bytes, false)
		last = k.Name
		return true, err
	})
}

// directory adds what is in a bucket or directory. Without files only rows of
// directories are read.
func (u *usage) directory(p place) error {
	bucket, dir := p.dir()
	direct, err := task.Direct(u.v.Derived, bucket, dir)
	if err != nil {
		return err
	}
	u.r.SizeDirectKey, u.r.SubPathCount = direct.Bytes, direct.Directories
	if !u.o.Files {
		return u.directories(bucket, dir)
	}
	u.r.SubPathCount += direct.Files
	lower, upper := schema.Children(bucket, dir, "")
	if u.o.After != "" {
		lower = append(schema.Entries.Key(schema.EntryKey{Bucket: bucket, Parent: dir, Name: u.o.After}), 0)
	}
	last := u.o.After
	return scanListed(u.v.Rows, lower, upper, func(k schema.EntryKey, e *schemapb.Entry) (bool, error) {
		if u.full() {
			u.r.LastKey = last
			return false, nil
		}
		last = k.Name
		if e.Kind == o3v1.EntryKind_ENTRY_KIND_KEY {
			u.add(k.Name, int64(e.Size), true)
			return true, nil
		}
		s, err := task.Total(u.v.Derived, bucket, ns.ObjectID(e.ObjectId))
		u.add(strings.TrimSuffix(k.Name, "/"), s.Bytes, false)
		return true, err
	})
}

// directories adds the directories in one, by their ids.
func (u *usage) directories(bucket, dir ns.ObjectID) error {
	var after ns.ObjectID
	if u.o.After != "" {
		x, rest, ok := takeNumber(u.o.After)
		if !ok || rest != "" {
			return badCursor("prevKey", u.o.After, "/id")
		}
		after = ns.ObjectID(x)
	}
	return task.Children(u.v.Derived, bucket, dir, after, func(child ns.ObjectID) (bool, error) {
		if u.full() {
			u.r.LastKey = "/" + id(after)
			return false, nil
		}
		row, ok, err := schema.Dirs.Get(u.v.Rows, schema.DirKey{Bucket: bucket, Dir: child})
		if err != nil || !ok {
			return err == nil, err
		}
		s, err := task.Total(u.v.Derived, bucket, child)
		u.add(strings.TrimSuffix(row.Name, "/"), s.Bytes, false)
		after = child
		return true, err
	})
}

// scanListed scans entries, decoding what listings show.
func scanListed(r kv.Reader, lower, upper []byte, f func(schema.EntryKey, *schemapb.Entry) (bool, error)) error {
	it, err := r.Iter(lower, upper)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		k, err := schema.Entries.ParseKey(it.Key())
		if err != nil {
			return err
		}
		value, err := it.Value()
		if err != nil {
			return err
		}
		row := new(schemapb.Entry)
		if err := schema.DecodeListed(it.Key(), value, row, "", nil); err != nil {
			return err
		}
		if more, err := f(k, row); err != nil || !more {
			return err
		}
	}
	return it.Err()
}

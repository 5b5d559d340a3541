package query

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"strings"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/view"
)

// LargestFile is one of the largest.
type LargestFile struct {
	Path         string `json:"path"`
	Size         int64  `json:"size"`
	ModifiedTime int64  `json:"modificationTime"`
	Owner        string `json:"owner"`
}

// LargestFilesResponse answers /insights/largest/files.
type LargestFilesResponse struct {
	Fresh
	MinSize int64         `json:"minSize" doc:"smaller files are not kept account of"`
	Files   []LargestFile `json:"files" doc:"the largest first; without those in deleted directories"`
	Cursor  string        `json:"cursor" doc:"of the next page; empty: there is none"`
}

// InBucket limits an insight to a volume, or to a bucket of it.
type InBucket struct{ Volume, Bucket string }

// Sizes limits an insight to what has Min to Max bytes.
type Sizes struct{ Min, Max int64 }

// check refuses a range without a size.
func (s Sizes) check() error {
	if s.Min > s.Max {
		return errs.New(errs.Invalid, fmt.Sprintf("minSize %d", s.Min), fmt.Sprintf("must be at most maxSize, which is %d", s.Max))
	}
	return nil
}

// LargestFiles lists the largest files of some sizes, of a volume or bucket or of
// all.
func LargestFiles(v *generation.View, in InBucket, sizes Sizes, p Page) (LargestFilesResponse, error) {
	r := LargestFilesResponse{MinSize: task.LargeFile, Files: []LargestFile{}}
	if err := sizes.check(); err != nil {
		return r, err
	}
	b, one, err := oneBucket(v, in.Volume, in.Bucket)
	if err != nil {
		return r, err
	}
	var after *task.Large
	if sizes.Max < math.MaxInt64 { // the last that a larger file could have
		after = &task.Large{Bytes: uint64(sizes.Max) + 1, Key: schema.EntryKey{Bucket: math.MaxUint64, Parent: math.MaxUint64}}
	}
	if p.After != "" {
		ids, name, ok := parseRowKey(p.After, 3)
		if !ok {
			return r, badCursor("cursor", p.After, "/size/bucket id/parent id/name")
		}
		if after == nil || ids[0] < after.Bytes {
			after = &task.Large{Bytes: ids[0], Key: schema.EntryKey{Bucket: ns.ObjectID(ids[1]), Parent: ns.ObjectID(ids[2]), Name: name}}
		}
	}
	n := newNames(v)
	left := p.rows()
	var last task.Large
	err = task.Largest(v.Derived, after, func(l task.Large) (bool, error) {
		if l.Bytes < uint64(sizes.Min) {
			return false, nil
		}
		if len(r.Files) >= p.limit() || left <= 0 {
			r.Cursor = rowKey(last.Key.Name, last.Bytes, uint64(last.Key.Bucket), uint64(last.Key.Parent))
			return false, nil
		}
		left--
		last = l
		if one && l.Key.Bucket != b.ID() {
			return true, nil
		}
		if volume, _, err := n.title(l.Key.Bucket); err != nil || in.Volume != "" && volume != in.Volume {
			return err == nil, err
		}
		path, deleted, err := n.path(l.Key)
		if err != nil || deleted {
			return err == nil, err
		}
		row, ok, err := schema.Entries.Get(v.Rows, l.Key)
		if err == nil && !ok {
			err = errs.New(errs.Corrupt, "largestTable", fmt.Sprintf("it has the key %s, which is not there", entryKey(l.Key)))
		}
		if err == nil {
			r.Files = append(r.Files, LargestFile{path, int64(l.Bytes), row.ModifiedMs, row.Owner})
		}
		return true, err
	})
	return r, err
}

// LargestDirectory is one of the largest.
type LargestDirectory struct {
	Path        string `json:"path"`
	Type        Type   `json:"type" enum:"BUCKET,DIRECTORY"`
	Size        int64  `json:"size" doc:"bytes of all keys below it"`
	Files       int64  `json:"files"`
	Directories int64  `json:"directories"`
}

// LargestDirectoriesResponse answers /insights/largest/directories.
type LargestDirectoriesResponse struct {
	Fresh
	Directories []LargestDirectory `json:"directories" doc:"the largest first; one in another comes after it"`
	Complete    bool               `json:"complete" doc:"false: there was too much to look at; what is here is right, but there are more"`
}

// LargestDirectories lists the buckets and directories that hold most, or most of
// those of some sizes, in a bucket, a volume or all. Since none holds more than the
// one it is in, they are found from the top down, and only what is in those found
// or too large is looked at.
func LargestDirectories(v *generation.View, in InBucket, sizes Sizes, p Page) (LargestDirectoriesResponse, error) {
	r := LargestDirectoriesResponse{Directories: []LargestDirectory{}, Complete: true}
	if err := sizes.check(); err != nil {
		return r, err
	}
	b, one, err := oneBucket(v, in.Volume, in.Bucket)
	if err != nil {
		return r, err
	}
	var h sized
	add := func(bucket, dir ns.ObjectID, kind Type, path string) error {
		s, err := task.Total(v.Derived, bucket, dir)
		if err == nil && s.Bytes >= sizes.Min {
			heap.Push(&h, node{bucket, dir, LargestDirectory{path, kind, s.Bytes, s.Files, s.Directories}})
		}
		return err
	}
	root := func(b view.Bucket) error { return add(b.ID(), b.ID(), TypeBucket, join(b.VolumeName, b.Name, "")) }
	if one {
		err = root(b)
	} else {
		err = eachBucket(v, in.Volume, root)
	}
	for left := p.rows(); err == nil && len(h) > 0 && len(r.Directories) < p.limit(); {
		n := heap.Pop(&h).(node)
		if n.Size <= sizes.Max {
			r.Directories = append(r.Directories, n.LargestDirectory)
		}
		err = task.Children(v.Derived, n.bucket, n.dir, 0, func(child ns.ObjectID) (bool, error) {
			if left--; left < 0 {
				return false, nil
			}
			row, ok, err := schema.Dirs.Get(v.Rows, schema.DirKey{Bucket: n.bucket, Dir: child})
			if err != nil || !ok {
				return err == nil, err
			}
			return true, add(n.bucket, child, TypeDirectory, n.Path+"/"+strings.TrimSuffix(row.Name, "/"))
		})
		if left < 0 { // what follows may be larger than what is known
			r.Complete = false
			break
		}
	}
	return r, err
}

// node is a bucket or directory that may be among the largest.
type node struct {
	bucket, dir ns.ObjectID
	LargestDirectory
}

// sized is a heap with the largest on top; of the same size the first path.
type sized []node

func (h sized) Len() int { return len(h) }
func (h sized) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[j].Size, h[i].Size), strings.Compare(h[i].Path, h[j].Path)) < 0
}
func (h sized) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *sized) Push(x any)   { *h = append(*h, x.(node)) }
func (h *sized) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// Package view answers questions about the namespace.
//
// A View reads one kv.Reader, so every answer is consistent with every other
// as long as the reader is a snapshot. It is pure, holds nothing of its own and
// is as safe for concurrent use as its reader. Errors are of package errs.
package view

import (
	o3v1 "o3/api/o3/v1"
	"o3/internal/command"
	"o3/internal/errs"
	"o3/internal/kv"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// View is a consistent read of the namespace: of what is live, or, where the
// keys and directories of a bucket are concerned, of a snapshot.
type View struct {
	r  kv.Reader
	at ns.Op
}

// New returns a live view of what r holds.
func New(r kv.Reader) View { return View{r, schema.Live} }

// At returns the view of a bucket's keys and directories at a live snapshot's
// op. It holds nothing for another bucket, and for an op that is not a live
// snapshot's what it shows is undefined.
func (v View) At(op ns.Op) View { return View{v.r, op} }

// Bucket is a bucket and its volume.
type Bucket struct {
	VolumeName, Name string
	Volume           *schemapb.Volume
	Row              *schemapb.Bucket
}

// ID returns the bucket's id.
func (b Bucket) ID() ns.ObjectID { return ns.ObjectID(b.Row.ObjectId) }

// Layout returns the bucket's layout.
func (b Bucket) Layout() ns.Layout { return ns.Layout(b.Row.Layout) }

// Info describes the bucket.
func (b Bucket) Info() *o3v1.BucketInfo { return command.BucketInfo(b.VolumeName, b.Name, b.Row) }

// Entry is a key or directory and where it is.
type Entry struct {
	Path   string
	Parent ns.ObjectID
	Row    *schemapb.Entry
}

// Info describes the entry, without extents.
func (e Entry) Info() *o3v1.KeyInfo { return command.KeyInfo(e.Path, e.Parent, e.Row) }

// Volume returns a volume's row.
func (v View) Volume(name string) (*schemapb.Volume, error) {
	row, ok, err := schema.Volumes.Get(v.r, name)
	if err == nil && !ok {
		err = errs.New(errs.NoSuchVolume, name, "")
	}
	return row, err
}

// Bucket returns a bucket and its volume.
func (v View) Bucket(volume, name string) (Bucket, error) {
	vol, err := v.Volume(volume)
	if err != nil {
		return Bucket{}, err
	}
	row, ok, err := schema.Buckets.Get(v.r, schema.BucketKey{Volume: ns.ObjectID(vol.ObjectId), Name: name})
	if err == nil && !ok {
		err = errs.New(errs.NoSuchBucket, volume+"/"+name, "")
	}
	return Bucket{VolumeName: volume, Name: name, Volume: vol, Row: row}, err
}

// Key returns the key or directory at path; in a file-system bucket a
// directory's path ends in a slash. Kind NoSuchKey: there is none.
func (v View) Key(b Bucket, path string) (Entry, error) {
	key, row, err := command.Find(v.r, b.ID(), b.Layout(), path, v.at)
	if err == nil && row == nil {
		err = errs.New(errs.NoSuchKey, path, "")
	}
	return Entry{Path: path, Parent: key.Parent, Row: row}, err
}

// Path returns the path of a directory, with its trailing slash, by walking
// upwards; the root's is empty. Kind NoSuchKey: the directory, or one above it,
// is gone.
func (v View) Path(bucket, dir ns.ObjectID) (string, error) {
	path := ""
	for dir != bucket {
		row, ok, err := schema.DirAt(v.r, schema.DirKey{Bucket: bucket, Dir: dir}, v.at)
		if err != nil {
			return "", err
		}
		if !ok {
			return "", errs.New(errs.NoSuchKey, path, "a directory above it is gone")
		}
		path = row.Name + path
		dir = ns.ObjectID(row.ParentId)
	}
	return path, nil
}

// Extents returns where the bytes of an entry are: direct extents only.
func (v View) Extents(e *schemapb.Entry) ([]*o3v1.Extent, error) {
	return command.DirectExtents(v.r, e.Extents)
}

// Data returns the bytes of extents that lie in the store itself; ok is false
// when any of them lies in a container.
func (v View) Data(extents []*o3v1.Extent) (data []byte, ok bool, err error) {
	for _, e := range extents {
		if e.Container != 0 {
			return nil, false, nil
		}
	}
	for _, e := range extents {
		part, err := v.Small(e)
		if err != nil {
			return nil, false, err
		}
		data = append(data, part...)
	}
	return data, true, nil
}

// Small returns the bytes of an extent that lies in the store itself.
func (v View) Small(e *o3v1.Extent) ([]byte, error) {
	row, ok, err := schema.Smalls.Get(v.r, e.Local)
	if err != nil {
		return nil, err
	}
	if n := int64(len(row.GetData())); !ok || e.Offset < 0 || e.Length < 0 || e.Offset > n || e.Length > n-e.Offset {
		return nil, errs.New(errs.Corrupt, "block 0/"+command.UploadID(ns.ObjectID(e.Local)), "its bytes are missing from the store")
	}
	return row.Data[e.Offset : e.Offset+e.Length], nil
}

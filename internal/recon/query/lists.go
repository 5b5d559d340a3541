package query

import (
	"fmt"
	"strings"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
	"o3/internal/view"
)

// VolumesResponse answers /volumes.
type VolumesResponse struct {
	TotalCount int64    `json:"totalCount" doc:"of all there are"`
	Volumes    []Volume `json:"volumes"`
	LastKey    string   `json:"lastKey,omitempty" doc:"of our own: there are more; prevKey of the next page"`
}

// Volumes lists volumes by their names.
func Volumes(v *generation.View, p Page) (VolumesResponse, error) {
	r := VolumesResponse{Volumes: []Volume{}}
	stats, err := v.SQL.Stats()
	if err != nil {
		return r, err
	}
	r.TotalCount = stats["volumeTableCount"]
	_, upper := schema.Volumes.All()
	err = schema.Volumes.Scan(v.Rows, schema.Volumes.Key(p.After), upper, func(name string, row *schemapb.Volume) (bool, error) {
		switch {
		case name == p.After:
		case len(r.Volumes) >= p.limit():
			r.LastKey = r.Volumes[len(r.Volumes)-1].Volume
			return false, nil
		default:
			r.Volumes = append(r.Volumes, volumeOf(name, row))
		}
		return true, nil
	})
	return r, err
}

// BucketsResponse answers /buckets.
type BucketsResponse struct {
	TotalCount int64    `json:"totalCount" doc:"of all there are, in the volume if one is named"`
	Buckets    []Bucket `json:"buckets"`
	LastKey    string   `json:"lastKey,omitempty" doc:"of our own: there are more; prevKey of the next page"`
}

// Buckets lists the buckets of a volume by their names, or of all volumes, the
// cursor then being /volume/bucket. Kind NoSuchVolume.
func Buckets(v *generation.View, volume string, p Page) (BucketsResponse, error) {
	r := BucketsResponse{Buckets: []Bucket{}}
	first, after := volume, p.After
	if volume == "" {
		stats, err := v.SQL.Stats()
		if err != nil {
			return r, err
		}
		r.TotalCount = stats["bucketTableCount"]
		if p.After != "" {
			var ok bool
			if first, after, ok = cutBucket(p.After); !ok {
				return r, badCursor("prevKey", p.After, "/volume/bucket")
			}
		}
	}
	last, volumes := [2]string{first, after}, 0
	one := func(name string, vol *schemapb.Volume) (more bool, err error) {
		from := ""
		if name == first {
			from = after
		}
		lower, _ := schema.BucketsOf(ns.ObjectID(vol.ObjectId), from)
		_, upper := schema.BucketsOf(ns.ObjectID(vol.ObjectId), "")
		more = true
		err = schema.Buckets.Scan(v.Rows, lower, upper, func(k schema.BucketKey, row *schemapb.Bucket) (bool, error) {
			if from != "" && k.Name == from {
				return true, nil
			}
			if more = len(r.Buckets) < p.limit(); !more {
				return false, nil
			}
			last = [2]string{name, k.Name}
			r.Buckets = append(r.Buckets, bucketOf(view.Bucket{VolumeName: name, Name: k.Name, Volume: vol, Row: row}))
			return true, nil
		})
		return more, err
	}
	more := false
	if volume != "" {
		vol, err := v.Volume(volume)
		if err != nil {
			return r, err
		}
		r.TotalCount = int64(vol.Buckets)
		if more, err = one(volume, vol); err == nil && !more {
			r.LastKey = last[1]
		}
		return r, err
	}
	_, upper := schema.Volumes.All()
	err := schema.Volumes.Scan(v.Rows, schema.Volumes.Key(first), upper, func(name string, vol *schemapb.Volume) (bool, error) {
		if volumes++; volumes > MaxBuckets {
			return false, tooManyBuckets()
		}
		var err error
		if more, err = one(name, vol); err == nil && !more {
			r.LastKey = "/" + last[0] + "/" + last[1]
		}
		return more, err
	})
	return r, err
}

// cutBucket reads /volume/bucket; the bucket may be empty.
func cutBucket(s string) (volume, bucket string, ok bool) {
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return "", "", false
	}
	volume, bucket, ok = strings.Cut(rest, "/")
	return volume, bucket, ok && volume != "" && !strings.Contains(bucket, "/")
}

// oneBucket returns the bucket that both name, none for none. Kind Invalid for a
// bucket without its volume.
func oneBucket(v *generation.View, volume, bucket string) (b view.Bucket, named bool, err error) {
	switch {
	case bucket == "" && volume == "":
		return b, false, nil
	case bucket == "":
		_, err = v.Volume(volume)
		return b, false, err
	case volume == "":
		return b, false, errs.New(errs.Invalid, fmt.Sprintf("bucket %q", bucket), "its volume must be named too")
	}
	b, err = v.Bucket(volume, bucket)
	return b, true, err
}

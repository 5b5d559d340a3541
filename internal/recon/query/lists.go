package query

import (
	"fmt"

	"o3/internal/errs"
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
	w := walk{v: v, volume: volume, left: p.rows()}
	if volume == "" {
		stats, err := v.SQL.Stats()
		if err != nil {
			return r, err
		}
		r.TotalCount = stats["bucketTableCount"]
		if p.After != "" {
			if w.after, err = parseSpot("prevKey", p.After); err != nil {
				return r, err
			}
		}
	} else {
		vol, err := v.Volume(volume)
		if err != nil {
			return r, err
		}
		r.TotalCount = int64(vol.Buckets)
		w.after.bucket = p.After
	}
	ended, err := w.run(func(b view.Bucket) (bool, error) {
		if len(r.Buckets) >= p.limit() {
			return false, nil
		}
		r.Buckets = append(r.Buckets, bucketOf(b))
		return true, nil
	})
	switch {
	case ended || err != nil:
	case volume == "":
		r.LastKey = w.last.String()
	default:
		r.LastKey = w.last.bucket
	}
	return r, err
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

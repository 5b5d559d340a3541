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

// spot is a bucket by name, or, without one, the beginning of a volume.
type spot struct{ volume, bucket string }

// String writes it as cursors have it.
func (s spot) String() string { return "/" + s.volume + "/" + s.bucket }

// parseSpot reads what String wrote.
func parseSpot(param, s string) (spot, error) {
	rest, ok := strings.CutPrefix(s, "/")
	volume, bucket, more := strings.Cut(rest, "/")
	if !ok || !more || volume == "" || strings.Contains(bucket, "/") {
		return spot{}, badCursor(param, s, "/volume/bucket")
	}
	return spot{volume, bucket}, nil
}

// walk goes over buckets in the order of their names.
type walk struct {
	v      *generation.View
	volume string // only of this one; "": of all
	bucket string // only those of this name; "": all
	after  spot   // the walk begins after it
	left   int    // volumes and buckets that may be looked at

	last spot // where it has come to
}

// run calls f with each bucket until f returns false: that one then counts as not
// seen. ended is false when there may be more after last. Kind NoSuchVolume.
func (w *walk) run(f func(view.Bucket) (bool, error)) (ended bool, err error) {
	w.last = w.after
	if w.volume != "" {
		vol, err := w.v.Volume(w.volume)
		if err != nil {
			return false, err
		}
		w.after.volume = w.volume
		return w.in(w.volume, vol, f)
	}
	ended = true
	_, upper := schema.Volumes.All()
	err = schema.Volumes.Scan(w.v.Rows, schema.Volumes.Key(w.after.volume), upper, func(name string, vol *schemapb.Volume) (bool, error) {
		if name != w.after.volume { // else the page before paid for it
			if ended = w.look(); !ended {
				return false, nil
			}
		}
		var err error
		ended, err = w.in(name, vol, f)
		return ended, err
	})
	return ended, err
}

// look reports whether one more may be looked at.
func (w *walk) look() bool {
	w.left--
	return w.left >= 0
}

// in goes over the buckets of a volume.
func (w *walk) in(name string, vol *schemapb.Volume, f func(view.Bucket) (bool, error)) (ended bool, err error) {
	from := ""
	if name == w.after.volume {
		from = w.after.bucket
	}
	visit := func(k schema.BucketKey, row *schemapb.Bucket) (bool, error) {
		if from != "" && k.Name <= from {
			return true, nil
		}
		if ended = w.look(); !ended {
			w.begun(name)
			return false, nil
		}
		var err error
		if ended, err = f(view.Bucket{VolumeName: name, Name: k.Name, Volume: vol, Row: row}); ended && err == nil {
			w.last = spot{name, k.Name}
		}
		return ended, err
	}
	ended = true
	if w.bucket != "" {
		k := schema.BucketKey{Volume: ns.ObjectID(vol.ObjectId), Name: w.bucket}
		row, ok, err := schema.Buckets.Get(w.v.Rows, k)
		if err == nil && ok {
			_, err = visit(k, row)
		} else {
			w.begun(name)
		}
		return ended, err
	}
	lower, _ := schema.BucketsOf(ns.ObjectID(vol.ObjectId), from)
	_, upper := schema.BucketsOf(ns.ObjectID(vol.ObjectId), "")
	err = schema.Buckets.Scan(w.v.Rows, lower, upper, visit)
	if ended {
		w.begun(name)
	}
	return ended, err
}

// begun notes that a volume was looked at, also if no bucket of it was.
func (w *walk) begun(volume string) {
	if w.last.volume != volume {
		w.last = spot{volume: volume}
	}
}

// eachBucket calls f with the buckets of a volume, or of all, in the order of
// their names. Kind TooMany beyond MaxBuckets, volumes included.
func eachBucket(v *generation.View, volume string, f func(view.Bucket) error) error {
	w := walk{v: v, volume: volume, left: MaxBuckets}
	ended, err := w.run(func(b view.Bucket) (bool, error) { return true, f(b) })
	if err == nil && !ended {
		err = tooManyBuckets()
	}
	return err
}

func tooManyBuckets() error {
	return errs.New(errs.TooMany, "buckets", fmt.Sprintf("there are more than the %d that one answer may sum up", MaxBuckets))
}

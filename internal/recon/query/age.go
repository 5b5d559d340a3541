package query

import (
	"cmp"
	"fmt"
	"strings"

	"o3/internal/recon/generation"
	"o3/internal/recon/task"
	"o3/internal/view"
)

// Age is what of a bucket was last changed in a month.
type Age struct {
	Volume string `json:"volume"`
	Bucket string `json:"bucket"`
	Month  string `json:"month" doc:"year-month, in UTC"`
	Files  int64  `json:"files"`
	Bytes  int64  `json:"bytes"`
}

// AgeResponse answers /insights/age.
type AgeResponse struct {
	Fresh
	Ages   []Age  `json:"ages" doc:"by bucket and month; files in deleted directories count until they are purged"`
	Cursor string `json:"cursor" doc:"of the next page; empty: there is none"`
}

// Ages says how much was last changed in which month, by volume, bucket and month.
// A page ends with a bucket, and may have a few more rows than its limit.
func Ages(v *generation.View, in InBucket, p Page) (AgeResponse, error) {
	r := AgeResponse{Ages: []Age{}}
	b, one, err := oneBucket(v, in.Volume, in.Bucket)
	if err != nil {
		return r, err
	}
	of := func(b view.Bucket) error {
		return task.Ages(v.Derived, b.ID(), func(a task.Aged) (bool, error) {
			r.Ages = append(r.Ages, Age{b.VolumeName, b.Name, fmt.Sprintf("%04d-%02d", 1970+a.Months/12, 1+a.Months%12), a.Files, a.Bytes})
			return true, nil
		})
	}
	if one {
		return r, of(b)
	}
	if p.After != "" {
		if _, _, ok := cutBucket(p.After); !ok {
			return r, badCursor("cursor", p.After, "/volume/bucket")
		}
	}
	last := ""
	err = eachBucket(v, in.Volume, func(b view.Bucket) error {
		title := join(b.VolumeName, b.Name, "")
		if p.After != "" && !bucketAfter(b, p.After) {
			return nil
		}
		if len(r.Ages) >= p.limit() {
			r.Cursor = last
			return errEnough
		}
		last = title
		return of(b)
	})
	if err == errEnough {
		err = nil
	}
	return r, err
}

// bucketAfter reports whether a bucket comes after the one at a path.
func bucketAfter(b view.Bucket, path string) bool {
	volume, bucket, _ := cutBucket(path)
	return cmp.Or(strings.Compare(b.VolumeName, volume), strings.Compare(b.Name, bucket)) > 0
}

package query

import (
	"fmt"

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
	w := walk{v: v, volume: in.Volume, left: p.rows()}
	if p.After != "" {
		if w.after, err = parseSpot("cursor", p.After); err != nil {
			return r, err
		}
		if in.Volume != "" && w.after.volume != in.Volume {
			return r, badCursor("cursor", p.After, "/"+in.Volume+"/bucket")
		}
	}
	ended, err := w.run(func(b view.Bucket) (bool, error) {
		if len(r.Ages) >= p.limit() {
			return false, nil
		}
		return true, of(b)
	})
	if !ended && err == nil {
		r.Cursor = w.last.String()
	}
	return r, err
}

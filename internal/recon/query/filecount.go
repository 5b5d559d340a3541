package query

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"o3/internal/errs"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
)

// FileCount is how many files of a bucket are of a size.
type FileCount struct {
	Volume   string `json:"volume"`
	Bucket   string `json:"bucket"`
	FileSize int64  `json:"fileSize" doc:"the largest size of the bin in bytes; the bin begins after the bin before; 9223372036854775807: from 1 PiB on"`
	Count    int64  `json:"count"`
}

// FileSizes returns the values that a fileSize may have: the largest sizes of the
// bins.
func FileSizes() []int64 {
	var all []int64
	for bin := range task.SizeBins {
		all = append(all, 1024<<bin)
	}
	return append(all, math.MaxInt64)
}

// FileCountOptions says which counts are asked for; zero fields mean all.
type FileCountOptions struct {
	Volume, Bucket string
	FileSize       int64 // one of FileSizes
	Page
}

var errEnough = errors.New("enough")

// FileCounts counts files by bucket and size, by volume, bucket and size, and
// returns the cursor of the next page, "" for none. Kind Invalid for a size that
// is none of FileSizes.
func FileCounts(v *generation.View, o FileCountOptions) (out []FileCount, next string, err error) {
	if o.FileSize != 0 && !slices.Contains(FileSizes(), o.FileSize) {
		return nil, "", errs.New(errs.Invalid, fmt.Sprintf("fileSize %d", o.FileSize), "must be the largest size of a bin: "+sizes())
	}
	after := FileCount{}
	if o.After != "" {
		if after, err = fileCountCursor(o.After); err != nil {
			return nil, "", err
		}
	}
	out = []FileCount{}
	err = v.SQL.FileCounts(func(c sqltables.FileCount) error {
		f := FileCount{c.Volume, c.Bucket, c.Limit, c.Count}
		if o.Volume != "" && f.Volume != o.Volume || o.Bucket != "" && f.Bucket != o.Bucket || o.FileSize != 0 && f.FileSize != o.FileSize ||
			o.After != "" && f.compare(after) <= 0 {
			return nil
		}
		if len(out) >= o.limit() {
			last := out[len(out)-1]
			next = fmt.Sprintf("/%s/%s/%d", last.Volume, last.Bucket, last.FileSize)
			return errEnough
		}
		out = append(out, f)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, next, err
}

func (f FileCount) compare(g FileCount) int {
	if c := strings.Compare(f.Volume, g.Volume); c != 0 {
		return c
	}
	if c := strings.Compare(f.Bucket, g.Bucket); c != 0 {
		return c
	}
	return int(min(max(f.FileSize-g.FileSize, -1), 1))
}

func fileCountCursor(s string) (f FileCount, err error) {
	parts := strings.Split(s, "/")
	if len(parts) == 4 && parts[0] == "" {
		if f.FileSize, err = strconv.ParseInt(parts[3], 10, 64); err == nil {
			f.Volume, f.Bucket = parts[1], parts[2]
			return f, nil
		}
	}
	return f, badCursor("prevKey", s, "/volume/bucket/fileSize")
}

func sizes() string {
	var all []string
	for _, n := range FileSizes() {
		all = append(all, strconv.FormatInt(n, 10))
	}
	return strings.Join(all, ", ")
}

package query

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/view"
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

// FileCounts counts files by bucket and size, by volume, bucket and size, and
// returns the cursor of the next page, "" for none. Kind Invalid for a size that
// is none of FileSizes, NoSuchVolume, NoSuchBucket of a volume that is named.
func FileCounts(v *generation.View, o FileCountOptions) (out []FileCount, next string, err error) {
	if o.FileSize != 0 && !slices.Contains(FileSizes(), o.FileSize) {
		return nil, "", errs.New(errs.Invalid, fmt.Sprintf("fileSize %d", o.FileSize), "must be the largest size of a bin: "+sizes())
	}
	if o.Volume != "" {
		if _, _, err := oneBucket(v, o.Volume, o.Bucket); err != nil {
			return nil, "", err
		}
	}
	c := fileCounts{v: v, o: o, out: []FileCount{}}
	w := walk{v: v, volume: o.Volume, bucket: o.Bucket, left: o.rows()}
	if o.After != "" {
		after, err := fileCountCursor(o.After)
		if err != nil {
			return nil, "", err
		}
		w.after = spot{after.Volume, after.Bucket}
		if o.Volume != "" && o.Volume != after.Volume || o.Bucket != "" && after.Bucket != "" && o.Bucket != after.Bucket {
			return nil, "", badCursor("prevKey", o.After, "/volume/bucket/fileSize, with the volume and bucket that are asked for")
		}
		if err := c.rest(after); err != nil {
			return nil, "", err
		}
	}
	ended, err := w.run(func(b view.Bucket) (bool, error) {
		if len(c.waiting) == manyBuckets {
			if err := c.read(); err != nil {
				return false, err
			}
		}
		if c.next != "" {
			return false, nil
		}
		c.waiting = append(c.waiting, b)
		return true, nil
	})
	if err == nil {
		err = c.read()
	}
	if c.next == "" && !ended {
		c.next = w.last.String() + "/" + strconv.FormatInt(math.MaxInt64, 10)
	}
	return c.out, c.next, err
}

// manyBuckets is of how many buckets counts are read at once.
const manyBuckets = 256

// fileCounts is a call of FileCounts.
type fileCounts struct {
	v       *generation.View
	o       FileCountOptions
	out     []FileCount
	next    string
	waiting []view.Bucket // whose counts are to be read
}

var errEnough = errors.New("enough")

// read reads the counts of the buckets that wait.
func (c *fileCounts) read() error {
	if len(c.waiting) == 0 || c.next != "" {
		return nil
	}
	of := sqltables.Counts{Limit: c.o.FileSize}
	titles := map[ns.ObjectID]spot{}
	for _, b := range c.waiting {
		of.Buckets = append(of.Buckets, b.ID())
		titles[b.ID()] = spot{b.VolumeName, b.Name}
	}
	c.waiting = c.waiting[:0]
	err := c.v.SQL.FileCounts(of, func(n sqltables.FileCount) error {
		t := titles[n.Bucket]
		return c.add(FileCount{t.volume, t.bucket, n.Limit, n.Count})
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// rest reads what the page before left of a bucket. One that is gone is passed
// over.
func (c *fileCounts) rest(after FileCount) error {
	if after.Bucket == "" {
		return nil
	}
	b, err := c.v.Bucket(after.Volume, after.Bucket)
	switch errs.KindOf(err) {
	case errs.NoSuchVolume, errs.NoSuchBucket:
		return nil
	case errs.OK:
	default:
		return err
	}
	err = c.v.SQL.FileCounts(sqltables.Counts{Buckets: []ns.ObjectID{b.ID()}, Limit: c.o.FileSize}, func(n sqltables.FileCount) error {
		if n.Limit <= after.FileSize {
			return nil
		}
		return c.add(FileCount{after.Volume, after.Bucket, n.Limit, n.Count})
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// add adds a row, or ends the page before it.
func (c *fileCounts) add(f FileCount) error {
	if len(c.out) >= c.o.limit() {
		last := c.out[len(c.out)-1]
		c.next = fmt.Sprintf("/%s/%s/%d", last.Volume, last.Bucket, last.FileSize)
		return errEnough
	}
	c.out = append(c.out, f)
	return nil
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

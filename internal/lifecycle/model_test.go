package lifecycle_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// What follows says once more, in the plainest words, when something expires.

const modelDay = time.Hour

// due returns when rule makes what was modified then expire, rounded up to a day.
func dueOf(modified int64, days int32) int64 {
	d := modelDay.Milliseconds()
	return (modified + int64(days)*d + d - 1) / d * d
}

// expires returns the rule that makes something expire by the cutoff: the one
// whose time is the earliest, of those the first.
func expires(rules []*o3v1.LifecycleRule, path string, e entry, cutoff int64) (rule uint32, ok bool) {
	if strings.HasPrefix(path, ".Trash/") || e.implicit {
		return 0, false
	}
	best := int64(0)
	for i, r := range rules {
		f := r.Filter
		prefix := f.GetPrefix()
		if !r.Enabled || !strings.HasPrefix(path, prefix) {
			continue
		}
		picky := len(f.GetTags()) > 0 || f != nil && (f.SizeGreaterThan != nil || f.SizeLessThan != nil)
		if e.dir && (picky || path == prefix) {
			continue
		}
		if f != nil && (f.SizeGreaterThan != nil && e.size <= *f.SizeGreaterThan || f.SizeLessThan != nil && e.size >= *f.SizeLessThan) {
			continue
		}
		tagged := true
		for _, want := range f.GetTags() {
			found := false
			for _, have := range e.tags {
				found = found || have.Name == want.Name && have.Value == want.Value
			}
			tagged = tagged && found
		}
		if !tagged {
			continue
		}
		var at int64
		switch {
		case r.ExpireDays != nil:
			at = dueOf(e.modified, *r.ExpireDays)
		case r.ExpireDateMs != nil:
			at = *r.ExpireDateMs
		default:
			continue
		}
		if at <= cutoff && (!ok || at < best) {
			rule, best, ok = uint32(i), at, true
		}
	}
	return rule, ok
}

// aborts is expires for multipart uploads.
func aborts(rules []*o3v1.LifecycleRule, u uploaded, cutoff int64) (rule uint32, ok bool) {
	best := int64(0)
	for i, r := range rules {
		if !r.Enabled || r.AbortDays == nil || !strings.HasPrefix(u.name, r.Filter.GetPrefix()) || strings.HasPrefix(u.name, ".Trash/") {
			continue
		}
		if at := dueOf(u.begun, *r.AbortDays); at <= cutoff && (!ok || at < best) {
			rule, best, ok = uint32(i), at, true
		}
	}
	return rule, ok
}

// uploaded is a multipart upload as it is stored.
type uploaded struct {
	name  string
	begun int64
	bytes uint64
}

func (r *rig) uploads(bucket string) map[uint64]uploaded {
	r.t.Helper()
	b, out := r.row(bucket).ID(), map[uint64]uploaded{}
	r.ok(fsmtest.Scan(r.store, schema.Uploads, func(k schema.UploadKey, u *schemapb.Upload) error {
		if k.Bucket == b {
			out[uint64(k.Upload)] = uploaded{k.Name, u.CreatedMs, u.Bytes}
		}
		return nil
	}))
	return out
}

// remaining returns what a scan without disturbance leaves of a bucket: what is not
// due, and the directories that hold something of that.
func remaining(rules []*o3v1.LifecycleRule, all map[string]entry, cutoff int64) map[string]bool {
	out := map[string]bool{}
	for path, e := range all {
		if _, due := expires(rules, path, e, cutoff); !due && !e.implicit {
			out[path] = true
		}
	}
	for path, e := range all { // explicit directories that are due hold on to what stays
		if !e.dir || e.implicit || out[path] {
			continue
		}
		for other := range all {
			if other != path && strings.HasPrefix(other, path) {
				if _, due := expires(rules, other, all[other], cutoff); !due && !all[other].implicit {
					out[path] = true
				}
			}
		}
	}
	return out
}

var (
	names = []string{
		"a", "b", "data/1", "data/2", "data/x/3", "log/1", "log/2", "log/d/1", "log/d/2", "log/d/e/3", "log/d/e/f/4", "log/z", "logs", "loga/1",
		"m/n/o/p/q", "m/n/r", "z/1", "é/ü", "~", "data0", "log-1", "t/1", "t/2", "t/u/3",
	}
	dirs     = []string{"log/", "log/d/", "log/d/e/", "data/", "m/n/", "empty/", "empty/er/", "log/empty/", "t/u/"}
	prefixes = []string{"", "", "log/", "log", "log/d/", "data/", "m/", "a", "t/u", "nothing/", "log/d/e"}
)

// anyRules returns random rules that are valid.
func anyRules(rng *rand.Rand) (out []*o3v1.LifecycleRule) {
	for i := range 1 + rng.IntN(4) {
		r := &o3v1.LifecycleRule{Id: fmt.Sprintf("r%d", i), Enabled: rng.IntN(6) > 0, Filter: &o3v1.LifecycleFilter{}}
		conditions := 0
		if p := prefixes[rng.IntN(len(prefixes))]; p != "" || rng.IntN(2) == 0 {
			r.Filter.Prefix = &p
			conditions++
		}
		switch rng.IntN(6) {
		case 0:
			r.Filter.Tags = []*o3v1.Pair{{Name: "k", Value: "v"}}
			conditions++
		case 1:
			r.Filter.SizeGreaterThan = proto.Uint64(12)
			conditions++
		case 2:
			r.Filter.SizeLessThan = proto.Uint64(12)
			conditions++
		}
		picky := len(r.Filter.Tags) > 0 || r.Filter.SizeGreaterThan != nil || r.Filter.SizeLessThan != nil
		r.Filter.And = conditions > 1
		switch {
		case rng.IntN(5) == 0:
			day := time.Date(2000, 1, 1+rng.IntN(2), 0, 0, 0, 0, time.UTC).UnixMilli()
			r.ExpireDateMs = &day
		default:
			r.ExpireDays = proto.Int32(1 + rng.Int32N(6))
		}
		if !picky && rng.IntN(2) == 0 {
			r.AbortDays = proto.Int32(1 + rng.Int32N(6))
		}
		out = append(out, r)
	}
	return out
}

// fill gives a bucket keys, directories and uploads over ten days.
func (r *rig) fill(rng *rand.Rand, bucket string) {
	r.t.Helper()
	tree := r.row(bucket).Layout() == ns.FileSystem
	for range 10 {
		for range rng.IntN(6) {
			r.change(rng, bucket, names[rng.IntN(len(names))])
		}
		if tree && rng.IntN(2) == 0 {
			r.put(bucket, dirs[rng.IntN(len(dirs))]+"/")
		}
		if rng.IntN(3) == 0 {
			r.upload(bucket, names[rng.IntN(len(names))], rng.IntN(4))
		}
		time.Sleep(modelDay - time.Minute + time.Duration(rng.Int64N(int64(2*time.Minute))))
	}
}

// change writes a key, of either of two sizes, with or without the tag.
func (r *rig) change(rng *rand.Rand, bucket, name string) {
	var tags []*o3v1.Pair
	if rng.IntN(2) == 0 {
		tags = []*o3v1.Pair{{Name: "k", Value: "v"}}
	}
	_ = r.write(bucket, name, 8+8*rng.IntN(2), tags...) // a file where a directory is, is refused
}

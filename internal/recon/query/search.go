package query

import (
	"bytes"
	"math"
	"strings"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/generation"
	"o3/internal/recon/sqltables"
	"o3/internal/recon/task"
	"o3/internal/schema"
	"o3/internal/schema/schemapb"
)

// Found is a key or directory whose name was searched for.
type Found struct {
	Path         string `json:"path"`
	IsKey        bool   `json:"isKey"`
	Size         int64  `json:"size" doc:"of a directory: of all keys below it"`
	ModifiedTime int64  `json:"modificationTime"`
	Owner        string `json:"owner"`
}

// SearchResponse answers /search.
type SearchResponse struct {
	Fresh
	Entries []Found `json:"entries" doc:"by bucket, directory and name"`
	Looked  int64   `json:"looked" doc:"rows looked at for this page"`
	Cursor  string  `json:"cursor" doc:"of the next page; empty: there is none. A page may be empty and yet have one"`
}

// SearchOptions says what is searched for.
type SearchOptions struct {
	Name       string // in the last component of the path
	IgnoreCase bool
	InBucket
	Page
}

// Search lists keys and directories whose names, the last component of their
// paths, have a text in them.
func Search(v *generation.View, o SearchOptions) (SearchResponse, error) {
	r := SearchResponse{Entries: []Found{}}
	if o.Name == "" {
		return r, errs.New(errs.Invalid, "name", "must not be empty")
	}
	b, one, err := oneBucket(v, o.Volume, o.Bucket)
	if err != nil {
		return r, err
	}
	s := search{v: v, o: o, r: &r, n: newNames(v), left: o.rows(), want: o.Name}
	if o.IgnoreCase {
		s.want = strings.ToLower(o.Name)
	}
	var from []byte
	if o.After != "" {
		k, err := entryCursor("cursor", o.After)
		if err != nil {
			return r, err
		}
		s.last = k
		from = append(schema.Entries.Key(k), 0)
	}
	switch {
	case one:
		lower, upper := schema.EntriesOf(b.ID())
		_, err = s.scan(lower, upper, from)
	case o.Volume == "":
		lower, upper := schema.Entries.All()
		_, err = s.scan(lower, upper, from)
	default:
		if _, err = v.Volume(o.Volume); err == nil {
			err = s.volume(from)
		}
	}
	return r, err
}

// search is a call of Search.
type search struct {
	v    *generation.View
	o    SearchOptions
	r    *SearchResponse
	n    *names
	want string
	left int
	last schema.EntryKey
}

// volume looks at the buckets of a volume, in the order of their ids. Those of
// other volumes are passed over, which counts as rows looked at.
func (s *search) volume(from []byte) error {
	paid := s.last.Bucket // by the page before
	for at, some := paid, []sqltables.BucketName(nil); ; at = some[len(some)-1].ID + 1 {
		some = some[:0]
		most := min(manyBuckets, max(s.left, 0)+2) // the one that is paid for, and the first that is not
		err := s.v.SQL.Buckets(at, func(b sqltables.BucketName) (bool, error) {
			some = append(some, b)
			return len(some) < most, nil
		})
		if err != nil {
			return err
		}
		for _, b := range some {
			if more, err := s.bucket(b, from, b.ID == paid); err != nil || !more {
				return err
			}
		}
		if len(some) < most {
			return nil
		}
	}
}

// bucket looks at a bucket, if it is of the volume; more is false when the page
// has ended.
func (s *search) bucket(b sqltables.BucketName, from []byte, paid bool) (more bool, err error) {
	if !paid {
		if s.left <= 0 {
			s.r.Cursor = entryKey(s.last)
			return false, nil
		}
		s.left--
		s.last = schema.EntryKey{Bucket: b.ID} // before all that is in it
	}
	more = true
	if b.Volume == s.o.Volume {
		s.n.buckets[b.ID] = b
		lower, upper := schema.EntriesOf(b.ID)
		more, err = s.scan(lower, upper, from)
	}
	if more {
		s.last = schema.EntryKey{Bucket: b.ID, Parent: math.MaxUint64} // after all that is in it
	}
	return more, err
}

// scan looks at the rows of a range from a key on; more is false when the page
// has ended.
func (s *search) scan(lower, upper, from []byte) (more bool, err error) {
	if bytes.Compare(from, lower) > 0 {
		lower = from
	}
	if bytes.Compare(lower, upper) >= 0 {
		return true, nil
	}
	more = true
	err = scanListed(s.v.Rows, lower, upper, func(k schema.EntryKey, e *schemapb.Entry) (bool, error) {
		if more = len(s.r.Entries) < s.o.limit() && s.left > 0; !more {
			s.r.Cursor = entryKey(s.last)
			return false, nil
		}
		s.left--
		s.r.Looked++
		s.last = k
		return true, s.look(k, e)
	})
	return more, err
}

func (s *search) look(k schema.EntryKey, e *schemapb.Entry) error {
	name := strings.TrimSuffix(k.Name, "/")
	name = name[strings.LastIndexByte(name, '/')+1:]
	if s.o.IgnoreCase {
		name = strings.ToLower(name)
	}
	if !strings.Contains(name, s.want) {
		return nil
	}
	path, deleted, err := s.n.path(k)
	if err != nil || deleted {
		return err
	}
	f := Found{path, e.Kind == o3v1.EntryKind_ENTRY_KIND_KEY, int64(e.Size), e.ModifiedMs, e.Owner}
	if !f.IsKey {
		t, err := task.Total(s.v.Derived, k.Bucket, ns.ObjectID(e.ObjectId))
		if err != nil {
			return err
		}
		f.Size = t.Bytes
	}
	s.r.Entries = append(s.r.Entries, f)
	return nil
}

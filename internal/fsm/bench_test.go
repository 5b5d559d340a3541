package fsm_test

import (
	"fmt"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/kv"
	"o3/internal/kv/memkv"
	"o3/internal/pebblekv"
	"o3/internal/schema"
	"o3/internal/view"
)

// benchStore opens a store as the node does: Pebble without a write-ahead log.
func benchStore(b *testing.B, engine string) kv.Store {
	b.Helper()
	if engine == "mem" {
		return new(memkv.Store)
	}
	s, err := pebblekv.Open(pebblekv.Options{Dir: b.TempDir(), DisableWAL: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// commitKey makes the i-th request: 4 KiB of data, or an extent.
func commitKey(layout string, i int, data []byte, stamp bool) []byte {
	name := fmt.Sprintf("dir%03d/sub%02d/object-%09d", i%200, i%7, i)
	r := &o3v1.CommitKeyRequest{Volume: "s3v", Bucket: layout, Key: name, Etag: "d41d8cd98f00b204e9800998ecf8427e", DeadlineMs: 1 << 60}
	if r.Size = 4096; data != nil {
		r.Data = data
	} else {
		r.Extents = []*o3v1.Extent{{Container: uint64(1 + i/10000), Local: uint64(i), Length: 4096}}
	}
	req := fsmtest.Request{Body: r, TimeMs: fsmtest.Start, Principal: "root"}
	if stamp {
		req.Stamp = &o3v1.Stamp{ClientId: uint64(1 + i%8), Sequence: uint64(i + 1), Acked: uint64(max(0, i-64))}
	}
	return req.Encode()
}

func benchMachine(b *testing.B, s kv.Store) *fsm.Machine {
	b.Helper()
	m, err := fsm.Open(s, fsm.Position{})
	if err != nil {
		b.Fatal(err)
	}
	var first [][]byte
	for _, body := range []fsmtest.Request{
		{Body: &o3v1.CreateVolumeRequest{Volume: "s3v"}},
		{Body: &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "obs", Layout: "OBS"}},
		{Body: &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "fso", Layout: "FSO"}},
	} {
		first = append(first, body.Encode())
	}
	if _, err := m.Apply([]fsm.Entry{{Index: 1, Requests: first}}); err != nil {
		b.Fatal(err)
	}
	return m
}

// BenchmarkApply applies new keys, in entries of 1, 100 and 1,000 requests; an
// operation is one request.
func BenchmarkApply(b *testing.B) {
	inline := make([]byte, 4096)
	for _, engine := range []string{"mem", "pebble"} {
		for _, layout := range []string{"obs", "fso"} {
			for _, kind := range []string{"extent", "inline4k"} {
				for _, batch := range []int{1, 100, 1000} {
					b.Run(fmt.Sprintf("%s/%s/%s/%d", engine, layout, kind, batch), func(b *testing.B) {
						data := inline
						if kind == "extent" {
							data = nil
						}
						applyKeys(b, benchStore(b, engine), layout, data, batch)
					})
				}
			}
		}
	}
}

func applyKeys(b *testing.B, s kv.Store, layout string, data []byte, batch int) {
	m := benchMachine(b, s)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		b.StopTimer()
		var requests [][]byte
		for range min(batch, b.N-done) {
			requests = append(requests, commitKey(layout, done, data, true))
			done++
		}
		b.StartTimer()
		if _, err := m.Apply([]fsm.Entry{{Index: m.Position().Index + 1, Requests: requests}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkView reads keys and lists of 1,000 from a bucket of 50,000.
func BenchmarkView(b *testing.B) {
	for _, engine := range []string{"mem", "pebble"} {
		for _, layout := range []string{"obs", "fso"} {
			s := benchStore(b, engine)
			m := benchMachine(b, s)
			const keys = 50_000
			for i := 0; i < keys; i += 1000 {
				var requests [][]byte
				for j := range 1000 {
					requests = append(requests, commitKey(layout, i+j, nil, false))
				}
				if _, err := m.Apply([]fsm.Entry{{Index: m.Position().Index + 1, Requests: requests}}); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Flush(); err != nil {
				b.Fatal(err)
			}
			snap := s.Snapshot()
			v := view.New(snap)
			bucket, err := v.Bucket("s3v", layout)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(engine+"/"+layout+"/Key", func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					n := i * 7919 % keys
					if _, err := v.Key(bucket, fmt.Sprintf("dir%03d/sub%02d/object-%09d", n%200, n%7, n)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(engine+"/"+layout+"/List1000", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					infos, _, err := v.ListInfo(bucket, view.ListOptions{Limit: 1000, StartAfter: "dir100/"})
					if err != nil || len(infos) != 1000 {
						b.Fatal(err)
					}
				}
			})
			b.Run(engine+"/"+layout+"/RawScan", func(b *testing.B) { benchRawScan(b, snap, bucket) })
			b.Run(engine+"/"+layout+"/LifecycleScan", func(b *testing.B) { benchScan(b, v, bucket) })
			if err := snap.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// benchRawScan walks the rows of a bucket's entries; an operation is one row. It
// is what benchScan is compared with.
func benchRawScan(b *testing.B, r kv.Reader, bucket view.Bucket) {
	b.ReportAllocs()
	for n := 0; n < b.N; {
		it, err := r.Iter(schema.EntriesOf(bucket.ID()))
		if err != nil {
			b.Fatal(err)
		}
		for ok := it.First(); ok && n < b.N; ok = it.Next() {
			if value, err := it.Value(); err != nil || len(it.Key())+len(value) == 0 {
				b.Fatal(err)
			}
			n++
		}
		if err := it.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// benchScan walks a bucket for its lifecycle rules; an operation is one key.
func benchScan(b *testing.B, v view.View, bucket view.Bucket) {
	b.ReportAllocs()
	for n := 0; n < b.N; {
		s, err := v.Scan(bucket)
		if err != nil {
			b.Fatal(err)
		}
		for ok := s.Seek(""); ok && n < b.N; ok = s.Next() {
			if s.Path() == "" || s.Row.Size != 4096 {
				b.Fatal(s.Path())
			}
			n++
		}
		if s.Err() != nil || s.Close() != nil {
			b.Fatal(s.Err())
		}
	}
}

package fsm_test

import (
	"fmt"
	"testing"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm"
	"o3/internal/fsm/fsmtest"
	"o3/internal/ns"
	"o3/internal/schema"
	"o3/internal/view"
)

// BenchmarkSnapshotView reads keys and lists of 1,000, live and at the oldest
// and newest snapshot, from a bucket of 50,000 keys of which 2,000 are
// overwritten, and 100 made anew, after each snapshot.
func BenchmarkSnapshotView(b *testing.B) {
	const keys = 50_000
	for _, layout := range []string{"obs", "fso"} {
		for _, snapshots := range []int{1, 100} {
			s := benchStore(b, "pebble")
			m := benchMachine(b, s)
			apply := func(requests [][]byte) ns.Op {
				b.Helper()
				if _, err := m.Apply([]fsm.Entry{{Index: m.Position().Index + 1, Requests: requests}}); err != nil {
					b.Fatal(err)
				}
				return m.Position().Op
			}
			put := func(from, n, step int) {
				for n > 0 {
					var requests [][]byte
					for ; n > 0 && len(requests) < 1000; n-- {
						requests = append(requests, commitKey(layout, from, nil, false))
						from += step
					}
					apply(requests)
				}
			}
			put(0, keys, 1)
			var ops []ns.Op
			for i := range snapshots {
				body := &o3v1.CreateSnapshotRequest{Volume: "s3v", Bucket: layout, Name: fmt.Sprint("s", i)}
				ops = append(ops, apply([][]byte{fsmtest.Request{Body: body, TimeMs: fsmtest.Start}.Encode()}))
				put(i%25, 2000, 25)
				put(keys+100*i, 100, 1)
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
			for _, c := range []struct {
				name string
				at   ns.Op
			}{{"live", schema.Live}, {"oldest", ops[0]}, {"newest", ops[snapshots-1]}} {
				if snapshots == 1 && c.name == "newest" {
					continue
				}
				at := v.At(c.at)
				name := fmt.Sprintf("%s/%d/%s", layout, snapshots, c.name)
				b.Run(name+"/Key", func(b *testing.B) {
					b.ReportAllocs()
					for i := range b.N {
						n := i * 7919 % keys
						if _, err := at.Key(bucket, fmt.Sprintf("dir%03d/sub%02d/object-%09d", n%200, n%7, n)); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run(name+"/List1000", func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						infos, _, err := at.ListInfo(bucket, view.ListOptions{Limit: 1000, StartAfter: "dir100/"})
						if err != nil || len(infos) != 1000 {
							b.Fatal(len(infos), err)
						}
					}
				})
			}
			if err := snap.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

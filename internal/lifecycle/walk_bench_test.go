package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/fsm/fsmtest"
	"o3/internal/lifecycle/rule"
	"o3/internal/pebblekv"
	"o3/internal/view"
)

// nobody is a visitor that does nothing.
type nobody struct{}

func (nobody) found(found) (bool, error) { return true, nil }
func (nobody) tick() (bool, error)       { return true, nil }

// BenchmarkWalk evaluates a rule on 100,000 keys of 1,000 directories that are not
// due, in the store that a node has; an operation is one of them.
func BenchmarkWalk(b *testing.B) {
	for _, layout := range []string{"OBS", "FSO"} {
		const keys = 100_000
		store, err := pebblekv.Open(pebblekv.Options{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = store.Close() })
		d := fsmtest.New(b, store)
		d.Must(b, &o3v1.CreateVolumeRequest{Volume: "s3v"})
		d.Must(b, &o3v1.CreateBucketRequest{Volume: "s3v", Bucket: "bkt", Layout: layout})
		for i := range keys {
			d.Must(b, &o3v1.CommitKeyRequest{
				Volume: "s3v", Bucket: "bkt", Key: fmt.Sprintf("dir%03d/object-%010d", i%1000, i), Etag: fmt.Sprintf("%032d", i), DeadlineMs: 1 << 60,
			})
		}
		if err := store.Flush(); err != nil {
			b.Fatal(err)
		}
		v := view.New(store)
		bucket, err := v.Bucket("s3v", "bkt")
		if err != nil {
			b.Fatal(err)
		}
		set := rule.Compile([]*o3v1.LifecycleRule{{Id: "far off", Enabled: true, Filter: &o3v1.LifecycleFilter{Prefix: proto.String("")}, ExpireDays: proto.Int32(10_000)}}, rule.Options{Day: 24 * time.Hour})
		b.Run(layout, func(b *testing.B) {
			b.ReportAllocs()
			for n := uint64(0); n < uint64(b.N); {
				w := newWalk(set, bucket, time.Now().UnixMilli(), false)
				w.acts = true
				if end, err := w.keys(v, bucket, nobody{}); err != nil || !end || w.rows < keys {
					b.Fatal(w.rows, end, err)
				}
				n += keys
			}
		})
	}
}

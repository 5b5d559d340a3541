package om

import (
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/lifecycle/rule"
	"o3/internal/ns"
	"o3/internal/schema/schemapb"
)

// BenchmarkForetell is what lifecycle adds to each answer about a key: in a
// bucket without rules, and in one with a rule.
func BenchmarkForetell(b *testing.B) {
	s := New(Options{Settings: func() uint64 { return 1 }})
	s.inForce = kept[inForce]{epoch: 1, m: map[string]inForce{"s3v/none": {5, 0}, "s3v/one": {6, 7}}}
	s.compiled.put(inForce{6, 7}, &schemapb.LifecycleConfiguration{UpdateId: 7, Rules: []*o3v1.LifecycleRule{
		{Id: "r", Enabled: true, Prefix: proto.String(""), ExpireDays: proto.Int32(30)},
	}}, rule.Options{})
	for bucket, expires := range map[string]bool{"none": false, "one": true} {
		b.Run(bucket, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k := o3v1.KeyInfo{Name: "photos/2026/11/22/a.jpg", Size: 5 << 20, ModifiedMs: 1_800_000_000_000}
				if s.foretell("s3v", bucket, &k); (k.ExpiresMs != nil) != expires {
					b.Fatal(k.ExpiresMs)
				}
			}
		})
	}
}

// row is a configuration of about a kilobyte whose rule has its update id.
func row(update uint64) *schemapb.LifecycleConfiguration {
	return &schemapb.LifecycleConfiguration{UpdateId: update, Rules: []*o3v1.LifecycleRule{
		{Id: fmt.Sprint(update), Enabled: true, Prefix: proto.String(string(make([]byte, 1024))), ExpireDays: proto.Int32(30)},
	}}
}

// TestCompiledIsBounded: what is kept stays below the bound, and what is put is
// there afterwards.
func TestCompiledIsBounded(t *testing.T) {
	c := compiled{most: 10 << 10}
	kept := 0
	for update := uint64(1); update <= 100; update++ {
		of := inForce{ns.ObjectID(update), update}
		if set := c.put(of, row(update), rule.Options{}); set.ID(0) != fmt.Sprint(update) || c.get(of) != set {
			t.Errorf("%d: %v", update, set)
		}
		kept = max(kept, len(c.sets))
		if c.size > c.most {
			t.Fatalf("%d bytes are kept, at most %d are allowed", c.size, c.most)
		}
	}
	if kept < 5 {
		t.Errorf("at most %d were kept at a time", kept)
	}
	// One that is larger than the bound works all the same.
	c.most = 100
	if of := (inForce{1, 1}); c.get(inForce{1, 1}) != nil || c.put(of, row(1), rule.Options{}) == nil {
		t.Error("a configuration above the bound")
	}
}

// TestCompiledConcurrently: whoever asks for a configuration gets that one or
// none, never an older one, while others keep newer ones.
func TestCompiledConcurrently(t *testing.T) {
	var c compiled
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for update := uint64(1); update < 500; update++ {
				of := inForce{ns.ObjectID(update % 3), update}
				if g%2 == 0 {
					c.put(of, row(update), rule.Options{})
				}
				if set := c.get(of); set != nil && set.ID(0) != fmt.Sprint(update) {
					t.Errorf("asked for %d, got %s", update, set.ID(0))
				}
			}
		})
	}
	all.Wait()
	size := 0
	for _, set := range c.sets {
		size += set.size
	}
	if size != c.size || len(c.sets) != 3 {
		t.Errorf("%d bytes in %d sets, counted %d", size, len(c.sets), c.size)
	}
}

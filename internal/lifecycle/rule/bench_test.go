package rule_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/lifecycle/rule"
)

// compiled is a set of n rules: one for everything, the others by prefix, some
// of them with tags or sizes.
func compiled(n int) *rule.Set {
	rules := []*o3v1.LifecycleRule{filtered(&o3v1.LifecycleFilter{})}
	for i := 1; i < n; i++ {
		f := &o3v1.LifecycleFilter{Prefix: proto.String(fmt.Sprintf("p%d/", i))}
		switch i % 3 {
		case 0:
			f.And, f.Tags = true, []*o3v1.Pair{tag("a", "1"), tag("b", "2")}
		case 1:
			f.And, f.SizeGreaterThan = true, proto.Uint64(1000)
		}
		rules = append(rules, filtered(f))
	}
	return rule.Compile(rules, rule.Options{})
}

// BenchmarkExpiry is what a scan costs a key beside reading it: of a key that is
// too young, one outside of all prefixes, and one that expires by a rule with
// tags.
func BenchmarkExpiry(b *testing.B) {
	const now = 1_800_000_000_000
	run := func(name string, s *rule.Set, o rule.Object, want bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, _ := s.Expiry(&o, now); ok != want {
					b.Fatal(ok)
				}
			}
		})
	}
	const path = "p42/data/2026/11/22/part-00042.parquet"
	tags := rule.Pairs{tag("team", "x"), tag("b", "2"), tag("a", "1")}
	outside := rule.Compile([]*o3v1.LifecycleRule{filtered(&o3v1.LifecycleFilter{Prefix: proto.String("logs/")})}, rule.Options{})
	run("outside", outside, rule.Object{Path: path, ModifiedMs: 0}, false)
	for _, n := range []int{1, 100, 1000} {
		run(fmt.Sprintf("young/rules=%d", n), compiled(n), rule.Object{Path: path, ModifiedMs: now}, false)
		run(fmt.Sprintf("expired/rules=%d", n), compiled(n), rule.Object{Path: path, Tags: tags}, true)
	}
}

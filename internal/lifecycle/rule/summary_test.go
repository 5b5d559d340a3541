package rule_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/lifecycle/rule"
)

func TestSummary(t *testing.T) {
	rules := []*o3v1.LifecycleRule{
		{Id: "logs", Enabled: true, Prefix: proto.String(`a "b"/`), ExpireDays: proto.Int32(30)},
		{Filter: &o3v1.LifecycleFilter{And: true, Tags: []*o3v1.Pair{tag("k", "v")}, SizeGreaterThan: proto.Uint64(0), SizeLessThan: proto.Uint64(9)}, ExpireDateMs: proto.Int64(at("2030-01-01T00:00:00Z"))},
		{Id: "both", Enabled: true, Filter: &o3v1.LifecycleFilter{}, ExpireDays: proto.Int32(1), AbortDays: proto.Int32(7)},
	}
	const want = `logs: prefix="a \"b\"/" expire after 30d; disabled tag="k=v" size>0 size<9 expire from 2030-01-01; both: expire after 1d, abort uploads after 7d`
	if got := rule.Summary(rules); got != want {
		t.Errorf("have %s\nwant %s", got, want)
	}
	long := &o3v1.LifecycleRule{Id: strings.Repeat("ü", 100), Enabled: true, Prefix: proto.String(strings.Repeat("p", 1024)), ExpireDays: proto.Int32(1)}
	var many []*o3v1.LifecycleRule
	for range 1000 {
		many = append(many, long)
	}
	if got := rule.Summary(many); len(got) > 2048 || !strings.HasSuffix(got, " more") || !strings.Contains(got, "ü…: prefix=\"pp") {
		t.Error(got)
	}
}

package rule_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/errs"
	"o3/internal/lifecycle/rule"
)

// filtered is a rule with an id, a filter and 30 days.
func filtered(f *o3v1.LifecycleFilter) *o3v1.LifecycleRule {
	return &o3v1.LifecycleRule{Id: "r", Enabled: true, Filter: f, ExpireDays: proto.Int32(30)}
}

func tag(name, value string) *o3v1.Pair { return &o3v1.Pair{Name: name, Value: value} }

// plain is a configuration of one rule that is right, changed.
func plain(change func(*o3v1.LifecycleRule)) []*o3v1.LifecycleRule {
	r := filtered(&o3v1.LifecycleFilter{Prefix: proto.String("logs/")})
	change(r)
	return []*o3v1.LifecycleRule{r}
}

// many is a configuration of n rules with so many different ids.
func many(n, different int) (out []*o3v1.LifecycleRule) {
	for i := range n {
		r := filtered(&o3v1.LifecycleFilter{})
		r.Id = fmt.Sprint(i % different)
		out = append(out, r)
	}
	return out
}

func tags(n int) (out []*o3v1.Pair) {
	for i := range n {
		out = append(out, tag(fmt.Sprint(i), ""))
	}
	return out
}

func good() [][]*o3v1.LifecycleRule {
	return [][]*o3v1.LifecycleRule{
		plain(func(r *o3v1.LifecycleRule) {}),
		plain(func(r *o3v1.LifecycleRule) { r.Id = strings.Repeat("x", 255) }),
		plain(func(r *o3v1.LifecycleRule) { r.Filter, r.Prefix = nil, proto.String("") }),
		plain(func(r *o3v1.LifecycleRule) { r.Filter = &o3v1.LifecycleFilter{} }),
		plain(func(r *o3v1.LifecycleRule) { r.Filter.Prefix = proto.String(strings.Repeat("x", 1024)) }),
		plain(func(r *o3v1.LifecycleRule) { r.Filter.Prefix = proto.String(".Trash") }),
		plain(func(r *o3v1.LifecycleRule) {
			r.Filter.And, r.Filter.Tags = true, []*o3v1.Pair{tag("a", "1"), tag("b", "")}
			r.Filter.SizeGreaterThan, r.Filter.SizeLessThan = proto.Uint64(0), proto.Uint64(2)
		}),
		plain(func(r *o3v1.LifecycleRule) { r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(0) }),
		plain(func(r *o3v1.LifecycleRule) { r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(-86_400_000) }),
		plain(func(r *o3v1.LifecycleRule) {
			r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(at("9999-12-31T00:00:00Z"))
		}),
		plain(func(r *o3v1.LifecycleRule) {
			r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(at("0000-01-01T00:00:00Z"))
		}),
		plain(func(r *o3v1.LifecycleRule) { r.AbortDays = proto.Int32(1) }),
		plain(func(r *o3v1.LifecycleRule) { r.ExpireDays, r.AbortDays = nil, proto.Int32(1) }),
		many(1000, 1000),
	}
}

// bad are configurations that are right but for one problem, by the problem.
func bad() map[rule.Problem][][]*o3v1.LifecycleRule {
	return map[rule.Problem][][]*o3v1.LifecycleRule{
		rule.NoRules:      {nil},
		rule.TooManyRules: {many(1001, 1001)},
		rule.TooLong: {func() []*o3v1.LifecycleRule {
			rules := many(1000, 1000)
			for _, r := range rules {
				r.Filter.Prefix = proto.String(strings.Repeat("x", 512))
			}
			return rules
		}()},
		rule.LongID:     {plain(func(r *o3v1.LifecycleRule) { r.Id = strings.Repeat("ü", 128) })},
		rule.SameID:     {many(2, 1)},
		rule.NoTarget:   {plain(func(r *o3v1.LifecycleRule) { r.Filter = nil })},
		rule.TwoTargets: {plain(func(r *o3v1.LifecycleRule) { r.Prefix = proto.String("") })},
		rule.ManyConditions: {
			plain(func(r *o3v1.LifecycleRule) { r.Filter.Tags = tags(1) }),
			plain(func(r *o3v1.LifecycleRule) { r.Filter.Prefix, r.Filter.Tags = nil, tags(2) }),
			plain(func(r *o3v1.LifecycleRule) { r.Filter.SizeLessThan = proto.Uint64(1) }),
		},
		rule.FewConditions: {
			plain(func(r *o3v1.LifecycleRule) { r.Filter.And = true }),
			plain(func(r *o3v1.LifecycleRule) { r.Filter = &o3v1.LifecycleFilter{And: true} }),
		},
	}
}

func badConditions() map[rule.Problem][][]*o3v1.LifecycleRule {
	return map[rule.Problem][][]*o3v1.LifecycleRule{
		rule.LongPrefix: {
			plain(func(r *o3v1.LifecycleRule) { r.Filter.Prefix = proto.String(strings.Repeat("x", 1025)) }),
			plain(func(r *o3v1.LifecycleRule) { r.Filter, r.Prefix = nil, proto.String(strings.Repeat("ü", 513)) }),
		},
		rule.TrashPrefix: {
			plain(func(r *o3v1.LifecycleRule) { r.Filter.Prefix = proto.String(".Trash/") }),
			plain(func(r *o3v1.LifecycleRule) { r.Filter, r.Prefix = nil, proto.String(".Trash/bob/") }),
		},
		rule.BadTag: {
			plain(func(r *o3v1.LifecycleRule) { r.Filter = &o3v1.LifecycleFilter{Tags: []*o3v1.Pair{tag("", "x")}} }),
			plain(func(r *o3v1.LifecycleRule) { r.Filter = &o3v1.LifecycleFilter{Tags: []*o3v1.Pair{nil}} }),
			plain(func(r *o3v1.LifecycleRule) {
				r.Filter = &o3v1.LifecycleFilter{Tags: []*o3v1.Pair{tag(strings.Repeat("x", 129), "")}}
			}),
			plain(func(r *o3v1.LifecycleRule) {
				r.Filter = &o3v1.LifecycleFilter{Tags: []*o3v1.Pair{tag("x", strings.Repeat("x", 257))}}
			}),
		},
		rule.SameTag: {plain(func(r *o3v1.LifecycleRule) {
			r.Filter.And, r.Filter.Tags = true, []*o3v1.Pair{tag("a", "1"), tag("b", "1"), tag("a", "2")}
		})},
		rule.TooManyTags: {plain(func(r *o3v1.LifecycleRule) { r.Filter.And, r.Filter.Tags = true, tags(51) })},
		rule.NoSizes: {
			plain(func(r *o3v1.LifecycleRule) { r.Filter = &o3v1.LifecycleFilter{SizeLessThan: proto.Uint64(0)} }),
			plain(func(r *o3v1.LifecycleRule) {
				r.Filter = &o3v1.LifecycleFilter{And: true, SizeGreaterThan: proto.Uint64(5), SizeLessThan: proto.Uint64(5)}
			}),
		},
		rule.NoAction:     {plain(func(r *o3v1.LifecycleRule) { r.ExpireDays = nil })},
		rule.DaysAndDate:  {plain(func(r *o3v1.LifecycleRule) { r.ExpireDateMs = proto.Int64(0) })},
		rule.BadDays:      {plain(func(r *o3v1.LifecycleRule) { r.ExpireDays = proto.Int32(0) }), plain(func(r *o3v1.LifecycleRule) { r.ExpireDays = proto.Int32(-1) })},
		rule.BadAbortDays: {plain(func(r *o3v1.LifecycleRule) { r.AbortDays = proto.Int32(0) })},
		rule.BadDate: {
			plain(func(r *o3v1.LifecycleRule) { r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(1) }),
			plain(func(r *o3v1.LifecycleRule) { r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(-1) }),
			plain(func(r *o3v1.LifecycleRule) {
				r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(at("9999-12-31T00:00:00Z")+86_400_000)
			}),
			plain(func(r *o3v1.LifecycleRule) {
				r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(at("0000-01-01T00:00:00Z")-86_400_000)
			}),
		},
		rule.AbortWithTags: {plain(func(r *o3v1.LifecycleRule) {
			r.Filter, r.AbortDays = &o3v1.LifecycleFilter{Tags: tags(1)}, proto.Int32(1)
		})},
		rule.AbortWithSizes: {plain(func(r *o3v1.LifecycleRule) {
			r.Filter, r.AbortDays = &o3v1.LifecycleFilter{SizeLessThan: proto.Uint64(1)}, proto.Int32(1)
		})},
	}
}

// TestValidate shows each problem with a configuration that is right but for it.
func TestValidate(t *testing.T) {
	for i, rules := range good() {
		if err := rule.Validate(rules); err != nil {
			t.Errorf("good %d: %v", i, err)
		}
	}
	shown := bad()
	maps.Copy(shown, badConditions())
	for p, all := range shown {
		for i, rules := range all {
			wantProblem(t, fmt.Sprintf("problem %d, %d", p, i), rule.Validate(rules), p)
			wantProblem(t, fmt.Sprintf("problem %d, %d, complete", p, i), rule.Complete(rules), p)
		}
	}
	noID := plain(func(r *o3v1.LifecycleRule) { r.Id = "" })
	shown[rule.NoID] = append(shown[rule.NoID], noID)
	if err := rule.Validate(noID); err != nil {
		t.Error(err)
	}
	wantProblem(t, "no id", rule.Complete(noID), rule.NoID)
	for _, p := range rule.Problems() {
		if shown[p] == nil {
			t.Errorf("problem %d is not shown", p)
		}
	}
}

func wantProblem(t *testing.T, name string, err error, want rule.Problem) {
	t.Helper()
	e, ok := errors.AsType[*rule.Error](err)
	if !ok || e.Problem != want || e.Detail == "" || errs.KindOf(err) != errs.Invalid {
		t.Errorf("%s: %v (%+v)", name, err, e)
	}
}

// TestRuleIsNamed says which rule of many is wrong.
func TestRuleIsNamed(t *testing.T) {
	rules := []*o3v1.LifecycleRule{filtered(&o3v1.LifecycleFilter{}), {Enabled: true, Prefix: proto.String(""), ExpireDays: proto.Int32(0)}}
	if got, want := rule.Validate(rules).Error(), "lifecycle rule number 2: the days of its expiration must be positive, not 0"; !strings.Contains(got, want) {
		t.Error(got)
	}
	rules[1].Id = "weekly"
	if got := rule.Validate(rules).Error(); !strings.Contains(got, "lifecycle rule weekly: ") {
		t.Error(got)
	}
}

// TestDisabledRulesAreChecked too: they may be enabled some day.
func TestDisabledRulesAreChecked(t *testing.T) {
	r := filtered(&o3v1.LifecycleFilter{})
	r.Enabled, r.ExpireDays = false, proto.Int32(0)
	wantProblem(t, "disabled", rule.Validate([]*o3v1.LifecycleRule{r}), rule.BadDays)
}

// TestRefusedRulesMatchNothing: a rule that Validate would refuse does no harm,
// however it got into a set.
func TestRefusedRulesMatchNothing(t *testing.T) {
	bad := filtered(&o3v1.LifecycleFilter{})
	bad.ExpireDays = proto.Int32(-5)
	both := filtered(&o3v1.LifecycleFilter{Prefix: proto.String("a"), SizeLessThan: proto.Uint64(10)}) // no And
	s := rule.Compile([]*o3v1.LifecycleRule{bad, both, nil, {Id: "nothing", Enabled: true}}, rule.Options{})
	if e, ok, err := s.Expiry(&rule.Object{Path: "a"}, rule.Never); ok || err != nil {
		t.Error(e, err)
	}
	if !slices.Equal(s.Prefixes(), nil) {
		t.Error(s.Prefixes())
	}
}

// TestWithIDs gives ids to rules that lack one, the same each time, and unlike
// all others.
func TestWithIDs(t *testing.T) {
	unnamed := func() *o3v1.LifecycleRule {
		return &o3v1.LifecycleRule{Enabled: true, Prefix: proto.String("a"), ExpireDays: proto.Int32(1)}
	}
	kept := filtered(&o3v1.LifecycleFilter{})
	given := []*o3v1.LifecycleRule{unnamed(), kept, unnamed(), {Enabled: true, Prefix: proto.String("b"), ExpireDays: proto.Int32(1)}, unnamed()}
	got := rule.WithIDs(given)
	if err := rule.Complete(got); err != nil {
		t.Fatal(err)
	}
	again := rule.WithIDs(given)
	for i := range got {
		if got[i].Id != again[i].Id || i != 1 && (len(got[i].Id) != 32 || given[i].Id != "") {
			t.Errorf("%d: %q, %q, was %q", i, got[i].Id, again[i].Id, given[i].Id)
		}
	}
	if got[1] != kept {
		t.Error("a rule with an id was changed")
	}
	// An id that was given is not given again.
	taken := unnamed()
	taken.Id = got[0].Id
	if next := rule.WithIDs([]*o3v1.LifecycleRule{unnamed(), taken}); next[0].Id == taken.Id || rule.Complete(next) != nil {
		t.Error(next)
	}
}

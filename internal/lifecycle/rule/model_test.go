package rule_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/lifecycle/rule"
)

// naive says what the rules mean in the plainest way: it asks every rule, and
// counts days on a calendar.
func naive(rules []*o3v1.LifecycleRule, day time.Duration, o rule.Object, tags []*o3v1.Pair, cutoff int64) (best rule.Expiry, ok bool) {
	for i, r := range rules {
		prefix := r.GetPrefix() + r.GetFilter().GetPrefix()
		switch {
		case !r.Enabled, r.ExpireDays == nil && r.ExpireDateMs == nil:
			continue
		case !strings.HasPrefix(o.Path, prefix), strings.HasPrefix(o.Path, ".Trash/"):
			continue
		case o.Directory && (r.Filter.GetTags() != nil || r.Filter.GetSizeGreaterThan() != 0 || r.Filter.GetSizeLessThan() != 0 || o.Path == prefix):
			continue
		case r.Filter != nil && r.Filter.SizeGreaterThan != nil && o.Size <= *r.Filter.SizeGreaterThan:
			continue
		case r.Filter != nil && r.Filter.SizeLessThan != nil && o.Size >= *r.Filter.SizeLessThan:
			continue
		}
		all := true
		for _, want := range r.GetFilter().GetTags() {
			all = all && slices.ContainsFunc(tags, func(p *o3v1.Pair) bool { return p.Name == want.Name && p.Value == want.Value })
		}
		if !all {
			continue
		}
		due := ageEnd(o.ModifiedMs, int(r.GetExpireDays()), day)
		if r.ExpireDateMs != nil {
			due = *r.ExpireDateMs
		}
		if due <= cutoff && (!ok || due < best.AtMs) {
			best, ok = rule.Expiry{Rule: i, AtMs: due}, true
		}
	}
	return best, ok
}

// ageEnd adds days to a time and goes on to the next whole day.
func ageEnd(ms int64, days int, day time.Duration) int64 {
	if day == 24*time.Hour {
		t := time.UnixMilli(ms).UTC().AddDate(0, 0, days)
		midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		if midnight.Before(t) {
			midnight = midnight.AddDate(0, 0, 1)
		}
		return midnight.UnixMilli()
	}
	t := time.UnixMilli(ms).UTC().Add(time.Duration(days) * day)
	if whole := t.Truncate(day); whole.Before(t) { // days that divide those since year 1 evenly
		return whole.Add(day).UnixMilli()
	}
	return t.UnixMilli()
}

type random struct{ *rand.Rand }

// path is short and of few letters, so that prefixes match often.
func (r random) path() string {
	const letters = "ab/"
	b := make([]byte, r.IntN(6))
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	if r.IntN(20) == 0 {
		return ".Trash/"[:r.IntN(8)] + string(b)
	}
	return string(b)
}

func (r random) tags() (out []*o3v1.Pair) {
	for _, name := range []string{"x", "y", "z"} {
		if r.IntN(2) == 0 {
			out = append(out, tag(name, "12"[:r.IntN(2)]))
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (r random) rule() *o3v1.LifecycleRule {
	out := &o3v1.LifecycleRule{Enabled: r.IntN(5) > 0}
	if r.IntN(4) == 0 {
		out.Prefix = proto.String(r.path())
	} else {
		f := &o3v1.LifecycleFilter{}
		n := 0
		set := func(one func()) {
			if r.IntN(3) == 0 {
				one()
				n++
			}
		}
		set(func() { f.Prefix = proto.String(r.path()) })
		set(func() { f.SizeGreaterThan = proto.Uint64(1 + r.Uint64N(5)) })
		set(func() { f.SizeLessThan = proto.Uint64(1 + f.GetSizeGreaterThan() + r.Uint64N(5)) })
		set(func() { f.Tags = r.tags() })
		f.And = n > 1 || len(f.Tags) > 1
		out.Filter = f
	}
	if r.IntN(3) == 0 {
		out.ExpireDateMs = proto.Int64(int64(r.IntN(40)) * 86_400_000)
	} else {
		out.ExpireDays = proto.Int32(1 + int32(r.IntN(10)))
	}
	return out
}

func (r random) object() (rule.Object, []*o3v1.Pair) {
	tags := r.tags()
	o := rule.Object{Path: r.path(), Size: r.Uint64N(8), ModifiedMs: int64(r.IntN(30*86_400))*1000 - 5*86_400_000, Tags: rule.Pairs(tags)}
	if r.IntN(4) == 0 {
		o.ModifiedMs -= o.ModifiedMs % 86_400_000
	}
	if r.IntN(3) == 0 && o.Path != "" {
		o.Directory, o.Path = true, strings.TrimRight(o.Path, "/")+"/"
	}
	return o, tags
}

// TestModel compares sets of random rules with the naive evaluator, on random
// objects, and what a scan leaves out with what would have expired.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 0))}
	expired, spared := 0, 0
	for range 2000 {
		day := []time.Duration{24 * time.Hour, time.Hour, time.Minute}[r.IntN(3)]
		var rules []*o3v1.LifecycleRule
		for range 1 + r.IntN(6) {
			one := r.rule()
			if rule.Validate([]*o3v1.LifecycleRule{one}) == nil {
				rules = append(rules, one)
			}
		}
		s := rule.Compile(rules, rule.Options{Day: day})
		for range 50 {
			o, tags := r.object()
			cutoff := int64(r.IntN(40)) * 86_400_000
			if r.IntN(4) == 0 {
				cutoff = rule.Never
			}
			got, ok, err := s.Expiry(&o, cutoff)
			want, wantOK := naive(rules, day, o, tags, cutoff)
			if got != want || ok != wantOK || err != nil {
				t.Fatalf("rules %v\nobject %+v tags %v cutoff %d:\n%+v %v %v, want %+v %v", rules, o, tags, cutoff, got, ok, err, want, wantOK)
			}
			switch young := s.Young(o.ModifiedMs, cutoff); {
			case ok && young:
				t.Fatalf("rules %v\nobject %+v cutoff %d: it has expired and is too young for all of them", rules, o, cutoff)
			case young:
				spared++
			}
			if ok {
				expired++
				checkReached(t, s, o.Path)
			}
		}
		checkSeek(t, r, s)
	}
	if expired < 10_000 || spared < 10_000 {
		t.Errorf("only %d expired, %d were too young: the test shows little", expired, spared)
	}
}

// checkReached: a scan that seeks gets to a path that expires.
func checkReached(t *testing.T, s *rule.Set, path string) {
	t.Helper()
	if next, ok := s.Seek(path); !ok || next != path {
		t.Fatalf("a scan of %q skips %q: %q %v", s.Prefixes(), path, next, ok)
	}
}

// checkSeek: Seek never goes back, and stays where it led.
func checkSeek(t *testing.T, r random, s *rule.Set) {
	t.Helper()
	path := r.path()
	next, ok := s.Seek(path)
	if !ok {
		return
	}
	again, ok := s.Seek(next)
	if next < path || !ok || again != next {
		t.Fatalf("prefixes %q: %q leads to %q, that to %q", s.Prefixes(), path, next, again)
	}
}

// FuzzRules reads anything as rules. What Validate accepts compiles, and
// whatever compiles is asked without harm: an object expires no earlier than
// its rule's age after its change, or than its date.
func FuzzRules(f *testing.F) {
	seed := func(rules ...*o3v1.LifecycleRule) {
		b, err := proto.Marshal(&o3v1.LifecycleConfiguration{Rules: rules})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "a/b", uint64(5), int64(1_700_000_000_000), int64(1_800_000_000_000), false)
	}
	r := random{rand.New(rand.NewPCG(1, 2))}
	for range 20 {
		seed(r.rule(), r.rule(), r.rule())
	}
	f.Fuzz(func(t *testing.T, raw []byte, path string, size uint64, modified, cutoff int64, directory bool) {
		var c o3v1.LifecycleConfiguration
		if proto.Unmarshal(raw, &c) != nil {
			return
		}
		valid := rule.Validate(c.Rules) == nil
		s := rule.Compile(c.Rules, rule.Options{})
		o := rule.Object{Path: path, Size: size, ModifiedMs: modified, Directory: directory, Tags: rule.Pairs{tag("x", "1")}}
		e, ok, err := s.Expiry(&o, cutoff)
		if err != nil || ok && e.AtMs > cutoff {
			t.Fatal(e, err)
		}
		if !ok {
			return
		}
		r := c.Rules[e.Rule]
		if !r.Enabled || r.ExpireDays == nil && e.AtMs != r.GetExpireDateMs() || r.ExpireDays != nil && e.AtMs < modified {
			t.Fatalf("%v at %d: %v", o, e.AtMs, r)
		}
		if valid && s.ID(e.Rule) != r.Id {
			t.Fatal(s.ID(e.Rule))
		}
		checkReached(t, s, path)
	})
}

package rule_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	o3v1 "o3/api/o3/v1"
	"o3/internal/lifecycle/rule"
)

func at(text string) int64 {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t.UnixMilli()
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// one compiles a single rule.
func one(r *o3v1.LifecycleRule) *rule.Set {
	return rule.Compile([]*o3v1.LifecycleRule{r}, rule.Options{})
}

// predict returns when an object expires, "" for never.
func predict(t *testing.T, s *rule.Set, o rule.Object) string {
	t.Helper()
	e, ok, err := s.Expiry(&o, rule.Never)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return ""
	}
	// Expired from that instant on, and not a millisecond before.
	if _, ok, _ := s.Expiry(&o, e.AtMs); !ok {
		t.Errorf("%+v is not expired at %s", o, instant(e.AtMs))
	}
	if _, ok, _ := s.Expiry(&o, e.AtMs-1); ok {
		t.Errorf("%+v is expired before %s", o, instant(e.AtMs))
	}
	return instant(e.AtMs)
}

// TestAge rounds up to the next midnight UTC, as S3's own example does.
func TestAge(t *testing.T) {
	for _, c := range []struct {
		modified string
		days     int32
		want     string
	}{
		{"2020-01-01T10:30:00Z", 3, "2020-01-05T00:00:00Z"},
		{"2020-01-01T10:30:00+11:00", 3, "2020-01-04T00:00:00Z"}, // 23:30 of the day before, in UTC
		{"2020-01-01T00:00:00Z", 3, "2020-01-04T00:00:00Z"},      // sharp: nothing to round
		{"2020-01-01T00:00:01Z", 3, "2020-01-05T00:00:00Z"},
		{"2020-02-28T12:00:00Z", 1, "2020-03-01T00:00:00Z"}, // a leap year
		{"1969-12-30T12:00:00Z", 1, "1970-01-01T00:00:00Z"},
		{"1960-06-01T00:00:00Z", 1, "1960-06-02T00:00:00Z"},
		{"2020-01-01T10:30:00Z", 1 << 30, "2941825-04-08T00:00:00Z"},
	} {
		r := filtered(&o3v1.LifecycleFilter{})
		r.ExpireDays = &c.days
		if got := predict(t, one(r), rule.Object{Path: "k", ModifiedMs: at(c.modified)}); got != c.want {
			t.Errorf("%s + %d: %s, want %s", c.modified, c.days, got, c.want)
		}
	}
}

// TestShortDay counts in days of another length.
func TestShortDay(t *testing.T) {
	r := filtered(&o3v1.LifecycleFilter{})
	r.AbortDays = proto.Int32(2)
	s := rule.Compile([]*o3v1.LifecycleRule{r}, rule.Options{Day: 10 * time.Second})
	modified := at("2026-11-22T10:00:01Z")
	if got := predict(t, s, rule.Object{Path: "k", ModifiedMs: modified}); got != "2026-11-22T10:05:10Z" {
		t.Error(got)
	}
	if e, ok := s.Abort("k", modified, rule.Never); !ok || instant(e.AtMs) != "2026-11-22T10:00:30Z" {
		t.Error(e, ok)
	}
}

// TestTimesWithoutEnd: no sum of a time and an age wraps around into the past.
func TestTimesWithoutEnd(t *testing.T) {
	r := filtered(&o3v1.LifecycleFilter{})
	r.ExpireDays, r.AbortDays = proto.Int32(1<<31-1), proto.Int32(1<<31-1)
	s := one(r)
	for _, modified := range []int64{rule.Never, rule.Never - 1, rule.Never - 86_400_000} {
		e, ok, _ := s.Expiry(&rule.Object{ModifiedMs: modified}, rule.Never)
		if a, _ := s.Abort("", modified, rule.Never); !ok || e.AtMs < modified || a.AtMs < modified {
			t.Errorf("%d expires at %d, is aborted at %d", modified, e.AtMs, a.AtMs)
		}
	}
	if e, ok, _ := s.Expiry(&rule.Object{ModifiedMs: -rule.Never}, 0); !ok || e.AtMs > 0 {
		t.Error(e, ok)
	}
}

// TestDate: nothing expires before the date, whenever it was written, and all
// does from it on, whenever it is written.
func TestDate(t *testing.T) {
	r := filtered(&o3v1.LifecycleFilter{})
	r.ExpireDays, r.ExpireDateMs = nil, proto.Int64(at("2030-01-01T00:00:00Z"))
	s := one(r)
	for _, modified := range []string{"1999-05-05T05:05:05Z", "2029-12-31T23:59:59Z", "2031-07-07T07:07:07Z"} {
		if got := predict(t, s, rule.Object{Path: "k", ModifiedMs: at(modified)}); got != "2030-01-01T00:00:00Z" {
			t.Errorf("%s: %s", modified, got)
		}
	}
}

// TestEarliestWins, and of equals the first in the configuration.
func TestEarliestWins(t *testing.T) {
	days := func(id, prefix string, n int32) *o3v1.LifecycleRule {
		return &o3v1.LifecycleRule{Id: id, Enabled: true, Prefix: &prefix, ExpireDays: &n}
	}
	date := &o3v1.LifecycleRule{Id: "date", Enabled: true, Prefix: proto.String("a/b"), ExpireDateMs: proto.Int64(at("2026-11-25T00:00:00Z"))}
	off := days("off", "", 1)
	off.Enabled = false
	s := rule.Compile([]*o3v1.LifecycleRule{off, days("ten", "a/", 10), days("five", "a/", 5), days("all", "", 7), days("again", "", 5), date}, rule.Options{})
	for _, c := range []struct{ path, id, want string }{
		{"x", "again", "2026-11-27T00:00:00Z"},
		{"a", "again", "2026-11-27T00:00:00Z"},
		{"a/x", "five", "2026-11-27T00:00:00Z"},
		{"a/b/x", "date", "2026-11-25T00:00:00Z"},
	} {
		o := rule.Object{Path: c.path, ModifiedMs: at("2026-11-21T20:00:00Z")}
		e, ok, _ := s.Expiry(&o, rule.Never)
		if !ok || s.ID(e.Rule) != c.id || instant(e.AtMs) != c.want {
			t.Errorf("%s: %s at %s", c.path, s.ID(e.Rule), instant(e.AtMs))
		}
	}
	// The cutoff takes rules out of the contest, not objects.
	e, ok, _ := s.Expiry(&rule.Object{Path: "a/x", ModifiedMs: at("2026-11-21T20:00:00Z")}, at("2026-11-26T23:59:59Z"))
	if ok {
		t.Error(e)
	}
}

// counted counts how often tags are asked for.
type counted struct {
	tags  []*o3v1.Pair
	err   error
	asked int
}

// Tags implements rule.Tagged.
func (c *counted) Tags() ([]*o3v1.Pair, error) {
	c.asked++
	return c.tags, c.err
}

// TestTags: all of a rule's tags must be there, and they are read once, and only
// if nothing else decides.
func TestTags(t *testing.T) {
	both := filtered(&o3v1.LifecycleFilter{And: true, Prefix: proto.String("a"), Tags: []*o3v1.Pair{tag("x", "1"), tag("y", "")}})
	more := filtered(&o3v1.LifecycleFilter{Tags: []*o3v1.Pair{tag("z", "1")}})
	s := rule.Compile([]*o3v1.LifecycleRule{both, more}, rule.Options{})
	old := at("2020-01-01T00:00:00Z")
	now := at("2026-01-01T00:00:00Z")
	for _, c := range []struct {
		path     string
		modified int64
		tags     []*o3v1.Pair
		ok       bool
		asked    int
	}{
		{"a", old, []*o3v1.Pair{tag("w", "w"), tag("y", ""), tag("x", "1")}, true, 1},
		{"a", old, []*o3v1.Pair{tag("x", "1")}, false, 1},
		{"a", old, []*o3v1.Pair{tag("x", "2"), tag("y", "")}, false, 1},
		{"a", old, []*o3v1.Pair{tag("z", "1")}, true, 1},
		{"b", old, []*o3v1.Pair{tag("x", "1"), tag("y", "")}, false, 1},
		{"a", now, []*o3v1.Pair{tag("z", "1")}, false, 0},
		{"a", old, nil, false, 1},
	} {
		tags := &counted{tags: c.tags}
		_, ok, err := s.Expiry(&rule.Object{Path: c.path, ModifiedMs: c.modified, Tags: tags}, now)
		if ok != c.ok || err != nil || tags.asked != c.asked {
			t.Errorf("%s %v: %v %v, asked %d times", c.path, c.tags, ok, err, tags.asked)
		}
	}
	if _, ok, err := s.Expiry(&rule.Object{Path: "a"}, now); ok || err != nil {
		t.Error("without tags:", ok, err)
	}
	broken := &counted{err: errors.New("a bad row")}
	if _, ok, err := s.Expiry(&rule.Object{Path: "a", Tags: broken}, now); ok || err != broken.err {
		t.Error("broken:", ok, err)
	}
}

// TestSizes: the bounds themselves are outside.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		greater, less *uint64
		size          uint64
		want          bool
	}{
		{proto.Uint64(0), nil, 0, false},
		{proto.Uint64(0), nil, 1, true},
		{proto.Uint64(10), nil, 10, false},
		{proto.Uint64(10), nil, 11, true},
		{nil, proto.Uint64(10), 0, true},
		{nil, proto.Uint64(10), 9, true},
		{nil, proto.Uint64(10), 10, false},
		{proto.Uint64(5), proto.Uint64(7), 6, true},
		{proto.Uint64(5), proto.Uint64(7), 7, false},
		{proto.Uint64(1<<64 - 1), nil, 1<<64 - 1, false},
	} {
		f := &o3v1.LifecycleFilter{SizeGreaterThan: c.greater, SizeLessThan: c.less, And: c.greater != nil && c.less != nil}
		got := predict(t, one(filtered(f)), rule.Object{Path: "k", Size: c.size})
		if (got != "") != c.want {
			t.Errorf("%v: %d: %q", f, c.size, got)
		}
	}
}

// TestDirectories are matched by rules that have a prefix alone, and not by the
// rule whose prefix they are.
func TestDirectories(t *testing.T) {
	prefix := filtered(&o3v1.LifecycleFilter{Prefix: proto.String("logs/")})
	everything := filtered(&o3v1.LifecycleFilter{})
	tagged := filtered(&o3v1.LifecycleFilter{Tags: []*o3v1.Pair{tag("a", "b")}})
	small := filtered(&o3v1.LifecycleFilter{SizeLessThan: proto.Uint64(1)})
	for _, c := range []struct {
		rule      *o3v1.LifecycleRule
		path      string
		directory bool
		want      bool
	}{
		{prefix, "logs/", true, false},
		{prefix, "logs/", false, true}, // the key of that name in an object-store bucket
		{prefix, "logs/2020/", true, true},
		{prefix, "logs2/", true, false},
		{everything, "logs/", true, true},
		{tagged, "logs/", true, false},
		{tagged, "logs/", false, true},
		{small, "logs/", true, false},
		{small, "logs/", false, true},
	} {
		got := predict(t, one(c.rule), rule.Object{Path: c.path, Directory: c.directory, Tags: rule.Pairs{tag("a", "b")}})
		if (got != "") != c.want {
			t.Errorf("%v: %s: %q", c.rule.Filter, c.path, got)
		}
	}
}

// TestTrash: what lies there is no rule's business.
func TestTrash(t *testing.T) {
	for _, prefix := range []string{"", ".T", ".Trash"} {
		r := filtered(&o3v1.LifecycleFilter{Prefix: &prefix})
		r.AbortDays = proto.Int32(1)
		s := one(r)
		for path, want := range map[string]bool{".Trash": true, ".Trash/": false, ".Trash/bob/Current/a": false, ".Trash0": true, ".Trashed/a": true} {
			_, aborts := s.Abort(path, 0, rule.Never)
			if got := predict(t, s, rule.Object{Path: path}) != ""; got != want || aborts != want {
				t.Errorf("%q: %s: %v %v", prefix, path, got, aborts)
			}
		}
		if next, ok := s.Seek(".Trash/bob/x"); !ok || next != ".Trash0" {
			t.Error(next, ok)
		}
	}
}

// TestAbort: a rule aborts uploads by its prefix, the earliest first, and one
// that only expires keys never.
func TestAbort(t *testing.T) {
	aborts := func(id, prefix string, days int32) *o3v1.LifecycleRule {
		return &o3v1.LifecycleRule{Id: id, Enabled: true, Prefix: &prefix, AbortDays: &days}
	}
	off := aborts("off", "", 1)
	off.Enabled = false
	s := rule.Compile([]*o3v1.LifecycleRule{filtered(&o3v1.LifecycleFilter{}), off, aborts("a", "a/", 7), aborts("b", "a/b", 3), aborts("c", "a/b", 3)}, rule.Options{})
	begun := at("2026-11-22T12:00:00Z")
	if e, ok := s.Abort("z", begun, rule.Never); ok {
		t.Error(e)
	}
	for path, want := range map[string]rule.Expiry{
		"a/x": {Rule: 2, AtMs: at("2026-11-30T00:00:00Z")},
		"a/b": {Rule: 3, AtMs: at("2026-11-26T00:00:00Z")},
	} {
		if e, ok := s.Abort(path, begun, rule.Never); !ok || e != want {
			t.Errorf("%s: %+v %v", path, e, ok)
		}
		if _, ok := s.Abort(path, begun, want.AtMs-1); ok {
			t.Errorf("%s: too early", path)
		}
	}
	if e, ok, _ := s.Expiry(&rule.Object{Path: "z"}, rule.Never); !ok || e.Rule != 0 {
		t.Error(e, ok)
	}
	if got := s.UploadPrefixes(); !slices.Equal(got, []string{"a/"}) {
		t.Error(got)
	}
	if next, ok := s.SeekUpload("a"); !ok || next != "a/" {
		t.Error(next, ok)
	}
}

// TestSeek leaves out what no rule is about.
func TestSeek(t *testing.T) {
	var rules []*o3v1.LifecycleRule
	for _, p := range []string{"m/", "b/x", "b", "m/n/o", "zz", "b"} {
		rules = append(rules, filtered(&o3v1.LifecycleFilter{Prefix: &p}))
	}
	s := rule.Compile(rules, rule.Options{})
	if got := s.Prefixes(); !slices.Equal(got, []string{"b", "m/", "zz"}) {
		t.Error(got)
	}
	for path, want := range map[string]string{"": "b", "a": "b", "b": "b", "bb": "bb", "c": "m/", "m": "m/", "m/a": "m/a", "m/zz": "m/zz", "m0": "zz", "zz/a": "zz/a", "zzz": "zzz", "zy": "zz"} {
		if got, ok := s.Seek(path); !ok || got != want {
			t.Errorf("%q: %q %v", path, got, ok)
		}
	}
	if got, ok := s.Seek("{"); ok {
		t.Error(got)
	}
}

// TestNoAllocation: a scan asks this of every key.
func TestNoAllocation(t *testing.T) {
	s := compiled(100)
	tags := rule.Tagged(&counted{tags: []*o3v1.Pair{tag("a", "1"), tag("b", "2")}})
	o := &rule.Object{Path: "p42/data/2026/11/22/part-00042.parquet", Size: 1 << 20, Tags: tags}
	for _, cutoff := range []int64{-rule.Never, 0, rule.Never} {
		if n := testing.AllocsPerRun(100, func() { _, _, _ = s.Expiry(o, cutoff) }); n != 0 {
			t.Errorf("cutoff %d: %v allocations", cutoff, n)
		}
	}
}

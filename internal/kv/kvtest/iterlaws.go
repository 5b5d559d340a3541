package kvtest

import (
	"strings"
	"testing"

	"o3/internal/kv"
)

var iterLaws = []law{
	{"Positioning", func(t *testing.T, s kv.Store) {
		commit(t, s, put("b", "1"), put("d", "2"), put("f", "3"))
		for _, flushed := range []bool{false, true} {
			if flushed {
				flush(t, s)
			}
			for _, c := range positioning {
				it := iter(t, s, c.lower, c.upper)
				got := walk(t, it, c.steps)
				closeIter(t, it)
				if got != c.want {
					t.Errorf("[%s,%s) flushed=%v\n%s gave\n\t%s\nwant\n\t%s", c.lower, c.upper, flushed, c.steps, got, c.want)
				}
			}
		}
	}},
	{"StartsUnpositioned", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"))
		for _, step := range []func(kv.Iterator) bool{kv.Iterator.Next, kv.Iterator.Prev, kv.Iterator.Valid} {
			it := iter(t, s, "", "")
			if step(it) || it.Valid() || it.Key() != nil {
				t.Error("a new iterator has a position")
			}
			closeIter(t, it)
		}
	}},
	{"SeesTheStateOfItsOpening", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"), put("c", "1"))
		it := iter(t, s, "", "")
		commit(t, s, put("a", "2"), put("b", "2"), del("c"))
		flush(t, s)
		if got := walk(t, it, "first next next"); got != "a c ." {
			t.Errorf("an open iterator saw %q", got)
		}
		if it.SeekGE([]byte("a")); string(value(t, it)) != "1" {
			t.Errorf("an open iterator saw value %q", value(t, it))
		}
		closeIter(t, it)
		wantScan(t, s, "a=2 b=2")
	}},
	{"DeletedRowsAreSkipped", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1"), put("e", "1"))
		flush(t, s)
		commit(t, s, del("a"), del("c"), del("e"))
		it := iter(t, s, "", "")
		if got := walk(t, it, "first next next last prev prev ge:c lt:c ge:e lt:b"); got != "b d . d b . d b . ." {
			t.Errorf("got %q", got)
		}
		closeIter(t, it)
	}},
	{"KeyAndValueStayUntilTheNextMove", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"), put("b", "2"))
		it := iter(t, s, "", "")
		it.First()
		k, v := it.Key(), value(t, it)
		commit(t, s, put("a", "9"))
		flush(t, s)
		if string(k) != "a" || string(v) != "1" || string(value(t, it)) != "1" {
			t.Errorf("key %q value %q", k, v)
		}
		closeIter(t, it)
	}},
	{"CloseIsIdempotent", func(t *testing.T, s kv.Store) {
		commit(t, s, put("a", "1"))
		it := iter(t, s, "", "")
		it.First()
		closeAll(t, it, it)
		snap := s.Snapshot()
		closeAll(t, snap, snap)
		d := durable(t, s)
		closeAll(t, d, d)
	}},
}

// positioning is every positioning call on the rows b, d, f, in and at the
// edges of bounds. A dot is "not valid".
var positioning = []struct{ lower, upper, steps, want string }{
	{"", "", "first next next next", "b d f ."},
	{"", "", "last prev prev prev", "f d b ."},
	{"", "", "ge:a ge:b ge:c ge:f ge:g", "b b d f ."},
	{"", "", "lt:a lt:b lt:c lt:f lt:g", ". . b d f"},
	{"", "", "ge:d next prev prev prev", "d f d b ."},
	{"", "", "lt:e prev next next next", "d b d f ."},
	{"", "", "first prev next prev", "b . . ."},
	{"", "", "last next prev next", "f . . ."},
	{"", "", "ge:g first", ". b"},
	{"", "", "lt:b last", ". f"},
	{"c", "", "first last lt:d lt:c lt:b", "d f . . ."},
	{"c", "", "ge:a ge:c ge:e", "d d f"},
	{"", "e", "first last ge:e ge:d ge:f", "b d . d ."},
	{"", "e", "lt:z lt:e lt:d", "d d b"},
	{"b", "f", "first next next", "b d ."},
	{"b", "f", "last prev prev", "d b ."},
	{"b", "f", "ge:a ge:z lt:z lt:a", "b . d ."},
	{"c", "e", "first next", "d ."},
	{"c", "e", "last prev", "d ."},
	{"b", "b", "first last ge:b lt:b", ". . . ."},
	{"c", "d", "first last ge:a lt:z", ". . . ."},
	{"f", "b", "first last ge:c lt:e", ". . . ."},
	{"x", "z", "first last ge:a lt:z", ". . . ."},
	{"", "a", "first last ge:a lt:z", ". . . ."},
	{"", "", "ge: lt:", "b ."},
}

// walk makes the steps and returns where each one ended.
func walk(t testing.TB, it kv.Iterator, steps string) string {
	t.Helper()
	var out []string
	for _, step := range strings.Fields(steps) {
		verb, arg, _ := strings.Cut(step, ":")
		var ok bool
		switch verb {
		case "first":
			ok = it.First()
		case "last":
			ok = it.Last()
		case "next":
			ok = it.Next()
		case "prev":
			ok = it.Prev()
		case "ge":
			ok = it.SeekGE([]byte(arg))
		case "lt":
			ok = it.SeekLT([]byte(arg))
		default:
			t.Fatalf("no such step %q", step)
		}
		out = append(out, position(t, it, step, ok))
	}
	return strings.Join(out, " ")
}

// position checks that an iterator agrees with itself, and says where it is.
func position(t testing.TB, it kv.Iterator, step string, ok bool) string {
	t.Helper()
	if ok != it.Valid() {
		t.Fatalf("%s returned %v, Valid says %v", step, ok, it.Valid())
	}
	if err := it.Err(); err != nil {
		t.Fatalf("%s: %v", step, err)
	}
	if !ok {
		if it.Key() != nil {
			t.Fatalf("%s: key %q while not valid", step, it.Key())
		}
		return "."
	}
	return string(it.Key())
}

package query

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"o3/internal/errs"
	"o3/internal/ns"
	"o3/internal/recon/task"
	"o3/internal/schema"
)

// TestPage: what a caller may ask for is bounded.
func TestPage(t *testing.T) {
	for limit, want := range map[int]int{0: DefaultLimit, -1: MaxLimit, 1: 1, MaxLimit: MaxLimit, MaxLimit + 1: MaxLimit, math.MaxInt: MaxLimit} {
		if got := (Page{Limit: limit}).limit(); got != want {
			t.Errorf("limit %d: %d, want %d", limit, got, want)
		}
	}
	for rows, want := range map[int]int{0: MaxRows, -5: MaxRows, 7: 7} {
		if got := (Page{Rows: rows}).rows(); got != want {
			t.Errorf("rows %d: %d, want %d", rows, got, want)
		}
	}
}

// TestRowKey: a row's key survives being a cursor, whatever its name has in it;
// what is read as one is written the same.
func TestRowKey(t *testing.T) {
	check := func(a, b uint64, name, text string) {
		ids, got, ok := parseRowKey(rowKey(name, a, b), 2)
		if !ok || ids[0] != a || ids[1] != b || got != name {
			t.Errorf("%d %d %q: %v %q %v", a, b, name, ids, got, ok)
		}
		if ids, got, ok := parseRowKey(text, 2); ok && rowKey(got, ids...) != text {
			t.Errorf("%q is read as %v %q", text, ids, got)
		}
	}
	check(0, 1, "", "/1/2/x")
	check(math.MaxUint64, 10, "/a//b/", "/01/2/x")
	check(7, 1<<63, "ä/\x00\n/7", "/18446744073709551616/2/x")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	text := func() string {
		b := make([]byte, rng.IntN(12))
		for i := range b {
			b[i] = "/0123456789-+ax\x00\xff"[rng.IntN(17)]
		}
		return string(b)
	}
	for range 20_000 {
		check(rng.Uint64()>>rng.IntN(64), rng.Uint64()>>rng.IntN(64), text(), "/"+text())
	}
}

// TestCursors: what no page ended with is refused, and the error says the form.
func TestCursors(t *testing.T) {
	read := map[string]func(string) error{
		"entry":    func(s string) error { _, err := entryCursor("prevKey", s); return err },
		"open":     func(s string) error { _, err := openCursor(s); return err },
		"queue":    func(s string) error { _, _, err := queue(schema.Deleted.Key, s, schema.Deleted.All); return err },
		"snapshot": func(s string) error { _, _, err := snapshotCursor(s); return err },
		"spot":     func(s string) error { _, err := parseSpot("prevKey", s); return err },
		"count":    func(s string) error { _, err := fileCountCursor(s); return err },
	}
	for name, values := range map[string][]string{
		"entry":    {"x", "/1", "/1/2", "1/2/x", "/1/x/y", "/-1/2/x", "/99999999999999999999/1/x", "//2/x"},
		"open":     {"x", "/1/2", "/a/2/x"},
		"queue":    {"x", "/1", "/1/2/", "/1/2/3", "/1/4294967296", "/1/-2"},
		"snapshot": {"x", "/live", "/live/1", "/live/1/2/3", "/deleted/x/1", "/dead/1/2"},
		"spot":     {"x", "/v", "v/b", "//b", "/v/b/c"},
		"count":    {"x", "/v/b", "/v/b/x", "v/b/1", "/v/b/c/1"},
	} {
		for _, v := range values {
			if err := read[name](v); errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), v) || !strings.Contains(err.Error(), "form /") {
				t.Errorf("%s %q: %v", name, v, err)
			}
		}
	}
	for name, good := range map[string]string{"entry": "/1/2/x/y/", "open": "/1/2/", "queue": "/1/0", "snapshot": "/deleted/0/0", "count": "/v/b/1024"} {
		if err := read[name](good); err != nil {
			t.Errorf("%s %q: %v", name, good, err)
		}
	}
}

// TestFileSizes: the sizes that may be asked for are those that the table of
// counts has.
func TestFileSizes(t *testing.T) {
	all := FileSizes()
	if len(all) != task.SizeBins+1 || all[0] != 1024 || all[task.SizeBins-1] != 1<<50 || all[task.SizeBins] != math.MaxInt64 {
		t.Errorf("%v", all)
	}
	for bin := range task.SizeBins - 1 {
		if limit, ok := task.SizeBinLimit(bin); !ok || int64(limit) != all[bin] {
			t.Errorf("bin %d: %d, want %d", bin, all[bin], limit)
		}
	}
}

// TestKinds: counts and sizes have 64 bits up to the answers.
func TestKinds(t *testing.T) {
	var c counted
	for range 4 {
		c.add(task.Summary{Files: math.MaxInt32, Directories: math.MaxInt32, Bytes: 1 << 60})
	}
	if c.Files != 4*math.MaxInt32 || c.Directories != 4*math.MaxInt32 || c.Bytes != 1<<62 {
		t.Errorf("%+v", c.Summary)
	}
	if id(ns.ObjectID(math.MaxUint64)) != "18446744073709551615" || quota(0) != -1 || quota(5) != 5 {
		t.Error("ids or quotas are not shown as they are")
	}
}

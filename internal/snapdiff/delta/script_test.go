package delta_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	o3v1 "o3/api/o3/v1"
	"o3/internal/snapdiff/render"
)

// TestCases runs the cases of testdata: each makes a small bucket by commands,
// takes snapshots of it, and shows what the diff prints, and what the ordered
// one prints where that is another order. See testdata/README.md.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d cases, want at least 40: %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			var r *rig
			datadriven.RunTest(t, f, func(t *testing.T, td *datadriven.TestData) string {
				switch td.Cmd {
				case "new":
					r = newRig(t)
					r.use("bucket", td.CmdArgs[0].Key)
					r.must("%s", td.Input)
					return ""
				case "run":
					r.t = t
					r.must("%s", td.Input)
					return ""
				case "diff":
					r.t = t
					return r.show(td)
				}
				return "unknown directive " + td.Cmd
			})
		})
	}
}

// show runs a diff in every way and returns what a user sees.
func (r *rig) show(td *datadriven.TestData) string {
	a := ask{from: td.CmdArgs[0].Key, to: td.CmdArgs[1].Key}
	if a.to == "live" {
		a.to = ""
	}
	if a.from == "live" {
		a.from = ""
	}
	plain, ordered := r.diff(a.from, a.to)
	filtered := false
	for _, arg := range td.CmdArgs[2:] {
		filtered = true
		switch arg.Key {
		case "prefix":
			a.prefix = arg.Vals[0]
		case "types":
			a.types = arg.Vals
		default:
			r.t.Fatalf("%s: unknown option %s", td.Pos, arg.Key)
		}
	}
	if filtered {
		plain = r.compute(a)
		a.full = true
		if got := text(r.compute(a)); got != text(plain) {
			r.t.Errorf("%s: the full diff is another\n%s", td.Pos, got)
		}
		a.full, a.ordered = false, true
		ordered = r.compute(a)
	}
	out := r.page(a, plain)
	if text(ordered) != text(plain) {
		out += "ordered:\n" + text(ordered)
	}
	return out
}

func (r *rig) page(a ask, entries []*o3v1.DiffEntry) string {
	var out strings.Builder
	w := render.NewText(&out, a.from, a.to)
	w.Entries(entries...)
	if err := w.End(""); err != nil {
		r.t.Fatal(err)
	}
	return out.String()
}

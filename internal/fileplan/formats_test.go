package fileplan

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"o3/internal/errs"
)

var makeFormat = flag.String("make-format", "", "write the fixtures of a new format, v2 and so on; never one that is there")

const formatsDir = "testdata/formats"

// fixtures are markers with every field, one in each state.
func fixtures() map[string]*marker {
	some := []bool{true, true, false}
	return map[string]*marker{
		"applying.plan":     {State: Applying, Done: 3, Plan: node().plan, Replaces: some},
		"applied.plan":      {State: Applied, Done: 3, Plan: first().plan, Replaces: []bool{false, true}},
		"rolling-back.plan": {State: RollingBack, Done: 5, Plan: node().plan, Replaces: some},
		"forgetting.plan":   {State: Forgetting, Done: 5, Plan: node().plan, Replaces: some},
	}
}

// sample is the marker of a plan that was cut off.
func sample(tb testing.TB) []byte {
	tb.Helper()
	raw, err := fixtures()["applying.plan"].encode()
	check(tb, err)
	return raw
}

// TestFormats: a marker of every format ever released is read by this program;
// the newest is written byte for byte. The fixtures never change; see
// docs/formats/README.md.
func TestFormats(t *testing.T) {
	if *makeFormat != "" {
		check(t, os.Mkdir(filepath.Join(formatsDir, *makeFormat), 0o755))
	}
	for name, want := range fixtures() {
		now, err := want.encode()
		check(t, err)
		if *makeFormat != "" {
			check(t, os.WriteFile(filepath.Join(formatsDir, *makeFormat, name), now, 0o644))
		}
		dirs, err := os.ReadDir(formatsDir)
		if err != nil || len(dirs) != Format {
			t.Fatalf("%d formats have fixtures, want %d: %v", len(dirs), Format, err)
		}
		for _, d := range dirs {
			raw, err := os.ReadFile(filepath.Join(formatsDir, d.Name(), name))
			check(t, err)
			if got, err := decode(raw, name); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s/%s: got %+v, %v", d.Name(), name, got, err)
			}
			if d.Name() == fmt.Sprintf("v%d", Format) && !bytes.Equal(now, raw) {
				t.Errorf("this program writes another marker: undo the change, or make a new format.\ngot\n%s\nwant\n%s", now, raw)
			}
		}
	}
}

// TestEveryByteCounts: a marker with any other byte, or cut anywhere, is refused.
func TestEveryByteCounts(t *testing.T) {
	raw := sample(t)
	for i := range raw {
		for _, bit := range []byte{1, 0x20, 0x80} {
			bad := bytes.Clone(raw)
			bad[i] ^= bit
			if m, err := decode(bad, "plan"); err == nil {
				t.Fatalf("byte %d ^ %x: %+v", i, bit, m)
			}
		}
		if m, err := decode(raw[:i], "plan"); err == nil {
			t.Fatalf("%d bytes: %+v", i, m)
		}
	}
}

// TestRefused: what a marker cannot say is refused by name, and nothing is moved.
func TestRefused(t *testing.T) {
	sealed := func(format int, body string) string {
		return fmt.Sprintf(`{"magic":"o3 plan","format":%d,"body":%s,"xxh3":"%x"}`+"\n", format, body, xxh3.Hash128([]byte(body)).Bytes())
	}
	body := func(state string, done int, to string) string {
		return fmt.Sprintf(`{"state":%q,"done":%d,"plan":{"id":"1","why":"","steps":[{"from":"a","to":%q}],"keep":"k"},"replaces":[false]}`, state, done, to)
	}
	if _, err := decode([]byte(sealed(1, body("applied", 1, "b"))), "plan"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  string
		kind errs.Kind
		says string
	}{
		"newer":    {sealed(2, `{"anything":true}`), errs.FormatTooNew, "has format 2"},
		"empty":    {"", errs.Corrupt, "not the marker"},
		"other":    {`{"magic":"o3 image","format":1}`, errs.Corrupt, "not the marker"},
		"state":    {sealed(1, body("done", 1, "b")), errs.Corrupt, `"done"`},
		"count":    {sealed(1, body("applying", 2, "b")), errs.Corrupt, "what cannot be"},
		"negative": {sealed(1, body("applying", -1, "b")), errs.Corrupt, "what cannot be"},
		"outside":  {sealed(1, body("applying", 0, "../b")), errs.Invalid, `"../b" is no path`},
		"spaces":   {strings.Replace(sealed(1, body("applied", 1, "b")), `,"format"`, `, "format"`, 1), errs.Corrupt, "not in the form"},
	} {
		mem := vfs.NewMem()
		check(t, mem.MkdirAll(root, 0o700))
		put(t, mem, root+"/"+markerName, c.raw)
		put(t, mem, root+"/a", "a")
		r := open(t, mem)
		_, err := r.Recover()
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "plan") {
			t.Errorf("%s: %v", name, err)
		}
		for _, do := range []func() error{r.Rollback, r.Confirm, func() error { return r.Forget(t.Context()) }, func() error { return r.Begin(node().plan) }} {
			if err := do(); errs.KindOf(err) != c.kind {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := read(t, mem); got.String() != `a="a"` {
			t.Errorf("%s: %v", name, got)
		}
		check(t, r.Close())
	}
}

package image

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// TestPrune: the newest images stay whole, what only older ones name goes, and a
// manifest that cannot be read stops it.
func TestPrune(t *testing.T) {
	mem := vfs.NewMem()
	s := newState(t, mem, "/store")
	defer s.store.Close()
	k := keep(t, mem, s, Options{})
	target := Directory{FS: mem, Dir: "/backup"}
	var all []*Manifest
	for range 3 {
		img := create(t, k)
		if _, err := Export(t.Context(), img, target, ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		all = append(all, img.Manifest)
		img.Close()
		s.move()
	}
	write1(t, mem, "/backup/files/store/000001.sst@00-1", []byte("x")) // of an export that was cut off
	bad := target.path(manifestAt("9-9-00000000"))
	write1(t, mem, bad, []byte("x"))
	if out, err := Prune(t.Context(), target, 2); errs.KindOf(err) == errs.OK || !strings.Contains(err.Error(), "9-9-00000000") || out.Files != 0 || len(out.Images) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if err := mem.Remove(bad); err != nil {
		t.Fatal(err)
	}
	out, err := Prune(t.Context(), target, 2)
	if err != nil || len(out.Images) != 1 || out.Images[0] != all[0].ID || out.Files < 2 {
		t.Errorf("%+v, %v", out, err)
	}
	list, err := List(t.Context(), target, nil)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, m := range list {
		if _, err := VerifyTarget(t.Context(), target, m.ID, "", VerifyOptions{FS: mem}); err != nil {
			t.Error(err)
		}
	}
	if out, err := Prune(t.Context(), target, 2); err != nil || out.Files != 0 || len(out.Images) != 0 {
		t.Errorf("again: %+v, %v", out, err)
	}
	if _, err := Prune(t.Context(), target, 0); errs.KindOf(err) != errs.Invalid {
		t.Error(err)
	}
}

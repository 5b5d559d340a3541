package image

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"o3/internal/errs"
	"o3/internal/transfer"
)

// shelfOf opens the shelf of a node.
func (r *rig) shelfOf(fs vfs.FS) *Shelf {
	r.t.Helper()
	s, err := OpenShelf(r.t.Context(), ShelfOptions{
		FS: fs, Dir: fs.PathJoin(r.dir, "blocks", "shelf"), Blocks: fs.PathJoin(r.dir, "blocks"), Reserve: -1,
		Failed: func(err error) { r.t.Error(err) },
	})
	r.check(err)
	return s
}

// same compares what the shelf has of an image with its manifest, byte by byte.
func (r *rig) whole(s *Shelf, id string) {
	r.t.Helper()
	img, err := s.Get(id)
	r.check(err)
	defer img.Close()
	for _, f := range img.Manifest.Files {
		in, err := img.Open(f.Path)
		r.check(err)
		raw, err := io.ReadAll(in)
		r.check(errors.Join(err, in.Close()))
		if sum, _ := transfer.ParseSum(f.XXH3); int64(len(raw)) != f.Size || transfer.SumOf(raw) != sum {
			r.t.Errorf("image %s: %s is not what the manifest says", id, f.Path)
		}
	}
	if _, err := img.Open("blocks/nothere"); errs.KindOf(err) != errs.NoSuchKey {
		r.t.Errorf("a file that is not of the image: %v", err)
	}
}

// TestShelf: images on the shelf stay as they are while the node writes, deletes
// and rewrites; the newest is kept, and those that are read; what a crash left is
// removed.
func TestShelf(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	r := start(t, vfs.Default, data)
	r.fill(0)
	k, s := r.keeper(Options{}), r.shelfOf(vfs.Default)
	if len(s.List()) != 0 {
		t.Error("a shelf that is not there has images")
	}
	first, err := s.Bring(t.Context(), r.create(k), nil)
	r.check(err)
	if !first.Blocks || FetchID(first) != first.ID+BlocksSuffix {
		t.Errorf("%+v", first)
	}
	if again, err := s.Bring(t.Context(), r.create(k), nil); err != nil || again.ID != first.ID || len(s.List()) != 1 {
		t.Errorf("the same image again: %v, %v", again, err)
	}
	r.fill(1)
	r.whole(s, first.ID)
	reading, err := s.Get(first.ID)
	r.check(err)
	second, err := s.Bring(t.Context(), r.create(k), nil)
	r.check(err)
	if got := s.List(); len(got) != 2 || got[0].Manifest.ID != second.ID || got[1].Readers != 1 {
		t.Errorf("%v", got)
	}
	if err := s.Delete(t.Context(), first.ID); errs.KindOf(err) != errs.Conflict {
		t.Errorf("one that is read was removed: %v", err)
	}
	r.whole(s, first.ID)
	reading.Close()
	reading.Close()
	if got := s.List(); len(got) != 1 || got[0].Manifest.ID != second.ID {
		t.Errorf("nobody reads it, there are %v", got)
	}
	if _, err := s.Get(first.ID); errs.KindOf(err) != errs.NoSuchSnapshot {
		t.Error(err)
	}
	r.whole(s, second.ID)
	for _, name := range []string{"files/blocks/c-1.part", tempPrefix + "export-x", "files/blocks/garbage@00-1", "images/half.json.part"} {
		r.check(makeDir(vfs.Default, filepath.Dir(filepath.Join(data, "blocks", "shelf", name))))
		r.check(writeFile(vfs.Default, filepath.Join(data, "blocks", "shelf", name), strings.NewReader("x")))
	}
	s = r.shelfOf(vfs.Default)
	r.whole(s, second.ID)
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		left, _ := filepath.Glob(filepath.Join(data, "blocks", "shelf", pattern))
		for _, f := range left {
			if strings.Contains(f, ".part") || strings.Contains(f, "garbage") || strings.Contains(f, tempPrefix) {
				t.Errorf("%s is left", f)
			}
		}
	}
	r.stop()
	r = start(t, vfs.Default, data) // the block store does not mind the shelf
	r.sound()
	r.check(s.Delete(t.Context(), second.ID))
	if err := s.Delete(t.Context(), second.ID); errs.KindOf(err) != errs.NoSuchSnapshot {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "blocks", "shelf", "files", "*", "*")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestShelfCopies: where there are no links, files are copied; and what the
// receivers get is the same.
func TestShelfCopies(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	none := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLink {
			return errors.New("no links here")
		}
		return nil
	}))
	k, s := r.keeper(Options{}), r.shelfOf(none)
	m, err := s.Bring(t.Context(), r.create(k), nil)
	r.check(err)
	r.whole(s, m.ID)
	raw, err := m.Encode()
	r.check(err)
	spec, err := ParseSpec(raw)
	if err != nil || spec.ID != FetchID(m) || len(spec.Files) != len(m.Files) || spec.Bytes() != m.Bytes || !bytes.Equal(spec.Manifest, raw) {
		t.Errorf("%+v, %v", spec, err)
	}
	if id, blocks := CutFetchID(spec.ID); id != m.ID || !blocks {
		t.Errorf("%s, %v", id, blocks)
	}
	raw[len(raw)/2] ^= 1
	if _, err := ParseSpec(raw); errs.KindOf(err) != errs.Corrupt {
		t.Errorf("a damaged manifest: %v", err)
	}
}

// TestShelfLinksOnlySealed: a container that is written to is never a link on the
// shelf, however long nobody wrote to it.
func TestShelfLinksOnlySealed(t *testing.T) {
	mem := vfs.NewMem()
	r := start(t, mem, "/data")
	r.fill(0)
	k := r.keeper(Options{})
	linked := map[string]bool{}
	watch := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLink {
			linked[mem.PathBase(op.Path)] = true
		}
		return nil
	}))
	s := r.shelfOf(watch)
	m, err := s.Bring(t.Context(), r.create(k), nil)
	r.check(err)
	tables, blocks := 0, 0
	for _, f := range m.Files {
		path := inImage(mem, "").of(f.Path)
		switch base := mem.PathBase(path); {
		case f.Kind == Container && linked[base]:
			t.Errorf("%s is a link, and is younger than two seconds", base)
		case f.Kind == Container:
			blocks++
		case linked[base]:
			tables++
		}
	}
	if tables == 0 || blocks == 0 {
		t.Errorf("%d tables are links, %d files of blocks are copies", tables, blocks)
	}
}

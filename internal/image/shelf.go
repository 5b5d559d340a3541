package image

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// ShelfOptions configures a Shelf. Dir and Blocks are required.
type ShelfOptions struct {
	FS     vfs.FS // nil means the operating system's
	Dir    string // of the shelf, on the disk of Blocks; made when something is put there
	Blocks string // the directory of the node's block store

	Reserve int64 // bytes of the disk left free; 0 means 1 GiB, less than 0 none
	Rate    int64 // bytes per second read for checksums; 0 or less: no bound

	// Removed is told of each image that is removed, Failed of what could not be;
	// both may be nil.
	Removed func(id string)
	Failed  func(err error)
}

// Shelf keeps images with the bytes of objects, for others to fetch: the newest
// one and those that are being read. What nobody writes to any more lies there as
// a hard link, so that an image costs the disk little at first; but it keeps its
// bytes, whatever is deleted or rewritten meanwhile, until it is removed. A Shelf
// is safe for concurrent use.
type Shelf struct {
	o    ShelfOptions
	t    shelfTarget
	turn chan struct{} // held by who brings or removes

	mu     sync.Mutex
	images []*shelved // the oldest first
}

type shelved struct {
	m       *Manifest
	raw     []byte
	readers int
}

// shelfTarget is a directory that takes hard links.
type shelfTarget struct{ Directory }

// Link implements linker.
func (t shelfTarget) Link(_ context.Context, name, path string) (bool, error) {
	fsys, to := t.fs(), t.path(name)
	if err := makeDir(fsys, fsys.PathDir(to)); err != nil {
		return false, diskFault("Export", to, err)
	}
	if err := fsys.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, diskFault("Export", to, err)
	}
	if err := fsys.Link(path, to); err != nil {
		if _, gone := fsys.Stat(path); errors.Is(gone, fs.ErrNotExist) {
			return false, gone
		}
		return false, nil // another disk, or one without links: it is copied
	}
	return true, diskFault("Export", to, syncDir(fsys, fsys.PathDir(to)))
}

// OpenShelf opens the shelf with what it has. What is damaged or was not finished
// is removed.
func OpenShelf(ctx context.Context, o ShelfOptions) (*Shelf, error) {
	if o.Removed == nil {
		o.Removed = func(string) {}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	s := &Shelf{o: o, t: shelfTarget{Directory{FS: o.FS, Dir: o.Dir, Reserve: o.Reserve}}, turn: make(chan struct{}, 1)}
	list, err := List(ctx, s.t, func(_ string, err error) { o.Failed(err) })
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Backward(list) {
		raw, err := m.Encode()
		if err != nil {
			return nil, err
		}
		if err := s.present(m); err != nil {
			o.Failed(err)
			continue
		}
		s.images = append(s.images, &shelved{m: m, raw: raw})
	}
	if _, err := s.t.fs().Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err := s.clear(o.Dir); err != nil {
		return nil, diskFault("OpenShelf", o.Dir, err)
	}
	return s, s.trim(ctx)
}

// clear removes files whose writing was cut off.
func (s *Shelf) clear(dir string) error {
	fsys := s.t.fs()
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := fsys.PathJoin(dir, name)
		st, err := fsys.Stat(path)
		if err != nil {
			return err
		}
		switch {
		case st.IsDir():
			err = s.clear(path)
		case strings.HasSuffix(name, partName) || strings.HasPrefix(name, tempPrefix):
			err = fsys.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// present checks that the files of an image are there.
func (s *Shelf) present(m *Manifest) error {
	for _, f := range m.Files {
		path := s.t.path(fileAt(f))
		st, err := s.t.fs().Stat(path)
		if err != nil || st.Size() != f.Size {
			return &errs.Error{Kind: errs.Corrupt, Op: "image.OpenShelf", Subject: "image " + m.ID, Detail: "the file " + path + " is missing or cut", Err: err}
		}
	}
	return nil
}

// Bring brings an image to the shelf, with the bytes of objects. No block that it
// names may be freed since before it was made, and until Bring returns.
func (s *Shelf) Bring(ctx context.Context, img *Image, p Progress) (*Manifest, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, canceled(ctx)
	}
	defer s.give()
	for _, have := range s.List() {
		if have.Manifest.ID == img.Manifest.ID {
			return have.Manifest, nil
		}
	}
	out, err := Export(ctx, img, s.t, ExportOptions{Blocks: s.o.Blocks, Scratch: s.o.Dir, Rate: s.o.Rate, Progress: p})
	if err != nil {
		return nil, err
	}
	raw, err := out.Manifest.Encode()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.images = append(s.images, &shelved{m: out.Manifest, raw: raw})
	slices.SortStableFunc(s.images, func(a, b *shelved) int {
		switch {
		case a.m.Index < b.m.Index:
			return -1
		case a.m.Index > b.m.Index:
			return 1
		}
		return 0
	})
	s.mu.Unlock()
	return out.Manifest, nil
}

// List returns the images, the newest first.
func (s *Shelf) List() (out []Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range slices.Backward(s.images) {
		out = append(out, Info{Manifest: i.m, Readers: i.readers})
	}
	return out
}

// Shelved is an image on the shelf, open for reading.
type Shelved struct {
	Manifest *Manifest // not to be changed
	Raw      []byte    // the manifest's bytes; not to be changed

	shelf *Shelf
	files map[string]File
	close func()
}

// Get opens an image; it is not removed before the handle is closed. Kind
// NoSuchSnapshot.
func (s *Shelf) Get(id string) (*Shelved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.images {
		if i.m.ID != id {
			continue
		}
		i.readers++
		out := &Shelved{Manifest: i.m, Raw: i.raw, shelf: s, files: make(map[string]File, len(i.m.Files))}
		for _, f := range i.m.Files {
			out.files[f.Path] = f
		}
		out.close = sync.OnceFunc(func() {
			s.mu.Lock()
			i.readers--
			s.mu.Unlock()
			s.tidy()
		})
		return out, nil
	}
	return nil, fault(errs.NoSuchSnapshot, "Get", "image "+id, "there is none of this id on the shelf %s", s.o.Dir)
}

// Open opens a file of the image, by its path in the manifest.
func (i *Shelved) Open(path string) (vfs.File, error) {
	f, ok := i.files[path]
	if !ok {
		return nil, fault(errs.NoSuchKey, "Open", path, "the image has no such file")
	}
	return i.shelf.t.fs().Open(i.shelf.t.path(fileAt(f)))
}

// Close gives the image back. It may be called twice.
func (i *Shelved) Close() { i.close() }

// Delete removes an image. Kinds: NoSuchSnapshot; Conflict (it is being read).
func (s *Shelf) Delete(ctx context.Context, id string) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return canceled(ctx)
	}
	defer s.give()
	s.mu.Lock()
	at := slices.IndexFunc(s.images, func(i *shelved) bool { return i.m.ID == id })
	if at < 0 {
		s.mu.Unlock()
		return fault(errs.NoSuchSnapshot, "Delete", "image "+id, "there is none of this id on the shelf %s", s.o.Dir)
	}
	if n := s.images[at].readers; n > 0 {
		s.mu.Unlock()
		return fault(errs.Conflict, "Delete", "image "+id, "it is being read, by %d", n)
	}
	s.images = slices.Delete(s.images, at, at+1)
	s.mu.Unlock()
	return s.sweep(ctx)
}

// give removes what is spare and gives the turn back.
func (s *Shelf) give() {
	for {
		if err := s.trim(context.Background()); err != nil {
			s.o.Failed(err)
			<-s.turn
			return
		}
		<-s.turn
		if s.spare() < 0 || !s.tryTurn() {
			return
		}
	}
}

// tidy removes what is spare, unless somebody has the turn, who does it then.
func (s *Shelf) tidy() {
	if s.spare() >= 0 && s.tryTurn() {
		s.give()
	}
}

func (s *Shelf) tryTurn() bool {
	select {
	case s.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

// spare returns which image is to be removed, -1 for none.
func (s *Shelf) spare() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.images[:max(0, len(s.images)-1)]
	return slices.IndexFunc(old, func(i *shelved) bool { return i.readers == 0 })
}

// trim removes the images that are spare, and files that no image has.
func (s *Shelf) trim(ctx context.Context) error {
	for at := s.spare(); at >= 0; at = s.spare() {
		s.mu.Lock()
		s.images = slices.Delete(s.images, at, at+1)
		s.mu.Unlock()
	}
	return s.sweep(ctx)
}

// sweep removes manifests of images that are off the list, then the files that
// none is left of.
func (s *Shelf) sweep(ctx context.Context) error {
	keep := map[string]bool{}
	s.mu.Lock()
	for _, i := range s.images {
		keep[manifestAt(i.m.ID)] = true
		for _, f := range i.m.Files {
			keep[fileAt(f)] = true
		}
	}
	s.mu.Unlock()
	for _, at := range []string{imagesAt, filesAt} {
		var garbage []string
		err := s.t.List(ctx, at, func(name string, _ int64) error {
			if !keep[name] {
				garbage = append(garbage, name)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, name := range garbage {
			if err := s.t.Remove(ctx, name); err != nil {
				return err
			}
			if id, ok := strings.CutPrefix(name, imagesAt); ok {
				s.o.Removed(strings.TrimSuffix(id, ".json"))
			}
		}
	}
	return nil
}

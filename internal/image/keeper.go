package image

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// Checkpointer is a store that can be copied: pebblekv.Store.
type Checkpointer interface {
	Checkpoint(dir string) error
}

// Options is the configuration of a Keeper. Dir, Store and Node must be set;
// the zero value of every other field is its default.
type Options struct {
	FS  vfs.FS // nil means the operating system's
	Dir string // of the images, their own; on the disk of the store, or files are copied

	Store      Checkpointer  // the running store
	StoreName  string        // its kind; "" means "om"
	Node       Node          // whose state it is
	FirstIndex func() uint64 // of the Raft log; nil: not known

	Retain   int           // the newest images, which are kept; older ones go when nobody reads them. 0 means 3
	Interval time.Duration // between images made by Run; 0 or less: only those asked for
	Rate     int64         // bytes of files read per second for checksums; 0 means 64 MiB, less than 0 no bound
	Reserve  int64         // bytes of the disk left free; 0 means 1 GiB, less than 0 none

	Listener Listener
}

// Listener hears what a Keeper does. Nil fields are silent. Calls are
// synchronous and must not block or call the Keeper.
type Listener struct {
	Created func(Created)
	// Failed: an image could not be made or removed. reason is of a small set,
	// the words of an errs.Kind.
	Failed func(reason string, err error)
	// Removed: an image went, by retention or Delete.
	Removed func(id string, bytes int64)
	// Damaged: a directory that looks like an image has no good manifest or
	// lacks files. It is left as it is and not listed.
	Damaged func(name string, err error)
}

// Created says what making an image took.
type Created struct {
	Manifest *Manifest
	Hashed   int64 // bytes read for checksums; the other files' were known
	Took     time.Duration
}

// Info is an image in a list.
type Info struct {
	Manifest *Manifest // not to be changed
	Readers  int       // handles that are open
}

// Keeper makes images of a running store and keeps them. It is safe for
// concurrent use.
type Keeper struct {
	o    Options
	turn chan struct{} // held by who makes or removes an image
	wake chan struct{} // somebody wants an image soon

	begun  atomic.Uint64 // images begun
	newest atomic.Pointer[kept]

	mu     sync.Mutex
	images []*kept // the oldest first
	last   struct {
		run uint64 // the last that succeeded
		img *kept
	}
}

// kept is an image that is listed.
type kept struct {
	m       *Manifest
	raw     []byte
	readers int // under Keeper.mu
}

// Open opens the directory of images, which it makes if need be, and removes
// what a crash left of an image being made or removed. Everything else in it is
// left alone.
func Open(o Options) (*Keeper, error) {
	o.FS = dirFS(o.FS)
	if o.StoreName == "" {
		o.StoreName = "om"
	}
	if o.Retain == 0 {
		o.Retain = 3
	}
	if o.FirstIndex == nil {
		o.FirstIndex = func() uint64 { return 0 }
	}
	o.Listener = o.Listener.withDefaults()
	switch {
	case o.Dir == "" || o.Store == nil || o.Node.ID == "" || o.Node.Number == 0:
		return nil, fault(errs.Invalid, "Open", o.Dir, "a directory, a store and a node are needed")
	case o.Retain < 1:
		return nil, fault(errs.Invalid, "Open", o.Dir, "%d images to keep: at least 1", o.Retain)
	}
	k := &Keeper{o: o, turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	if err := k.load(); err != nil {
		return nil, diskFault("Open", o.Dir, err)
	}
	return k, nil
}

func (l Listener) withDefaults() Listener {
	if l.Created == nil {
		l.Created = func(Created) {}
	}
	if l.Failed == nil {
		l.Failed = func(string, error) {}
	}
	if l.Removed == nil {
		l.Removed = func(string, int64) {}
	}
	if l.Damaged == nil {
		l.Damaged = func(string, error) {}
	}
	return l
}

// tempPrefix begins the names of what is being made or removed.
const tempPrefix = "tmp-"

func (k *Keeper) path(parts ...string) string {
	return k.o.FS.PathJoin(append([]string{k.o.Dir}, parts...)...)
}

// load lists the images and clears leftovers away.
func (k *Keeper) load() error {
	if err := makeDir(k.o.FS, k.o.Dir); err != nil {
		return err
	}
	names, err := k.o.FS.List(k.o.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, tempPrefix):
			if err := k.o.FS.RemoveAll(k.path(name)); err != nil {
				return err
			}
		case idForm.MatchString(name):
			img, err := ReadDir(k.o.FS, k.path(name))
			if err == nil {
				err = img.present()
			}
			if err != nil {
				k.o.Listener.Damaged(name, err)
				continue
			}
			k.images = append(k.images, &kept{m: img.Manifest, raw: img.Raw})
		}
	}
	k.sort()
	return syncDir(k.o.FS, k.o.Dir)
}

// sort orders the images by age. The caller holds mu, or is load.
func (k *Keeper) sort() {
	slices.SortFunc(k.images, func(a, b *kept) int {
		return cmp.Or(cmp.Compare(a.m.Index, b.m.Index), cmp.Compare(a.m.CreatedMs, b.m.CreatedMs), cmp.Compare(a.m.ID, b.m.ID))
	})
	k.newest.Store(nil)
	if n := len(k.images); n > 0 {
		k.newest.Store(k.images[n-1])
	}
}

// List returns the images, the newest first.
func (k *Keeper) List() []Info {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []Info
	for _, i := range slices.Backward(k.images) {
		out = append(out, Info{Manifest: i.m, Readers: i.readers})
	}
	return out
}

// Latest returns the newest image's manifest and its bytes, neither of which may
// be changed; ok is false when there is none. It takes no lock.
func (k *Keeper) Latest() (m *Manifest, raw []byte, ok bool) {
	i := k.newest.Load()
	if i == nil {
		return nil, nil, false
	}
	return i.m, i.raw, true
}

// Get opens the image of that id, "" meaning the newest. It is not removed
// before the handle is closed. Kind NoSuchSnapshot.
func (k *Keeper) Get(id string) (*Image, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range slices.Backward(k.images) {
		if id == "" || i.m.ID == id {
			return k.handle(i), nil
		}
	}
	if id == "" {
		return nil, fault(errs.NoSuchSnapshot, "Get", k.o.Dir, "there is no image yet")
	}
	return nil, fault(errs.NoSuchSnapshot, "Get", "image "+id, "there is none of this id in %s", k.o.Dir)
}

// handle opens i; the caller holds mu.
func (k *Keeper) handle(i *kept) *Image {
	i.readers++
	return &Image{FS: k.o.FS, Dir: k.path(i.m.ID), Manifest: i.m, Raw: i.raw, release: func() {
		k.mu.Lock()
		i.readers--
		k.mu.Unlock()
		k.tidy()
	}}
}

// Delete removes an image. Kinds: NoSuchSnapshot; Conflict (it is being read).
func (k *Keeper) Delete(ctx context.Context, id string) error {
	if err := k.take(ctx); err != nil {
		return err
	}
	defer k.give()
	k.mu.Lock()
	at := slices.IndexFunc(k.images, func(i *kept) bool { return i.m.ID == id })
	var img *kept
	readers := 0
	if at >= 0 {
		img = k.images[at]
		readers = img.readers
		if readers == 0 {
			k.drop(at)
		}
	}
	k.mu.Unlock()
	switch {
	case img == nil:
		return fault(errs.NoSuchSnapshot, "Delete", "image "+id, "there is none of this id in %s", k.o.Dir)
	case readers > 0:
		return fault(errs.Conflict, "Delete", "image "+id, "it is being read, by %d", readers)
	}
	return k.remove(img)
}

// drop takes an image off the list; the caller holds mu.
func (k *Keeper) drop(at int) *kept {
	img := k.images[at]
	k.images = slices.Delete(k.images, at, at+1)
	k.sort()
	return img
}

// remove removes the files of an image that is off the list; the caller has the
// turn. From the rename on nobody takes the rest for an image.
func (k *Keeper) remove(img *kept) error {
	temp := k.path(tempPrefix + "remove-" + img.m.ID)
	err := k.o.FS.RemoveAll(temp)
	if err == nil {
		err = k.o.FS.Rename(k.path(img.m.ID), temp)
	}
	if err == nil {
		err = syncDir(k.o.FS, k.o.Dir)
	}
	if err == nil {
		err = k.o.FS.RemoveAll(temp)
	}
	if err != nil {
		err = diskFault("Delete", "image "+img.m.ID, err)
		k.failed(err)
		return err
	}
	k.o.Listener.Removed(img.m.ID, img.m.Bytes)
	return nil
}

func (k *Keeper) failed(err error) { k.o.Listener.Failed(errs.KindOf(err).String(), err) }

// take waits for the turn.
func (k *Keeper) take(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return canceled(ctx)
	}
}

// give removes what retention says and gives the turn back.
func (k *Keeper) give() {
	for {
		k.trim()
		<-k.turn
		if !k.tryTurn() {
			return
		}
	}
}

// tidy removes what retention says, unless an image is being made: then that is
// done at its end.
func (k *Keeper) tidy() {
	if k.tryTurn() {
		k.give()
	}
}

// tryTurn takes the turn if there is something to remove and nobody has it.
func (k *Keeper) tryTurn() bool {
	k.mu.Lock()
	spare := k.spare() >= 0
	k.mu.Unlock()
	if !spare {
		return false
	}
	select {
	case k.turn <- struct{}{}:
		return true
	default:
		return false
	}
}

// spare returns which image retention removes next, -1 for none: the oldest that
// is not one of the newest few and that nobody reads. The caller holds mu.
func (k *Keeper) spare() int {
	old := k.images[:max(0, len(k.images)-k.o.Retain)]
	return slices.IndexFunc(old, func(i *kept) bool { return i.readers == 0 })
}

// trim removes images beyond the count.
func (k *Keeper) trim() {
	for {
		k.mu.Lock()
		at := k.spare()
		if at < 0 {
			k.mu.Unlock()
			return
		}
		img := k.drop(at)
		k.mu.Unlock()
		_ = k.remove(img) // told
	}
}

// Image is an image on disk, open for reading.
type Image struct {
	FS       vfs.FS
	Dir      string
	Manifest *Manifest // not to be changed
	Raw      []byte    // the manifest's bytes; not to be changed

	release func()
	once    sync.Once
}

// ReadDir opens an image by its directory, which nobody may remove meanwhile.
func ReadDir(fsys vfs.FS, dir string) (*Image, error) {
	fsys = dirFS(fsys)
	path := fsys.PathJoin(dir, ManifestFile)
	raw, err := readSmall(fsys, path, MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault(errs.FormatUnknown, "ReadDir", path, "there is no such file: the directory does not hold an image")
	}
	if err != nil {
		return nil, diskFault("ReadDir", path, err)
	}
	m, err := Decode(raw)
	if err != nil {
		return nil, diskFault("ReadDir", path, err)
	}
	return &Image{FS: fsys, Dir: dir, Manifest: m, Raw: raw, release: func() {}}, nil
}

// present checks that the files are there and have their sizes.
func (i *Image) present() error {
	for _, f := range i.Manifest.Files {
		path := inImage(i.FS, i.Dir).of(f.Path)
		st, err := i.FS.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return fault(errs.Corrupt, "Open", path, "the file is missing")
		}
		if err != nil {
			return diskFault("Open", path, err)
		}
		if st.Size() != f.Size {
			return fault(errs.Corrupt, "Open", path, "it has %d bytes, expected %d", st.Size(), f.Size)
		}
	}
	return nil
}

// Open opens a file of the image, by its path in the manifest.
func (i *Image) Open(path string) (vfs.File, error) {
	return i.FS.Open(inImage(i.FS, i.Dir).of(path))
}

// Close gives the image back. It may be called twice.
func (i *Image) Close() { i.once.Do(i.release) }

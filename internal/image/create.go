package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
	"o3/internal/fsm"
	"o3/internal/pebblekv"
	"o3/internal/schema"
)

// checkpointNeeds is the space that making an image takes at once: copies of
// the small files of a store. What its tables hold back later is up to the
// store's size.
const checkpointNeeds = 64 << 20

// Create returns an image of a state not older than the call; the caller closes
// it. Calls that wait while one is made share the next one. When nothing was
// applied since the newest image, that is the image. Kinds: Unavailable (nothing
// was applied ever), ReadOnly (the disk is full or its reserve reached), those of
// the store, Canceled, DeadlineExceeded.
func (k *Keeper) Create(ctx context.Context) (*Image, error) {
	before := k.begun.Load()
	if err := k.take(ctx); err != nil {
		return nil, err
	}
	defer k.give()
	k.mu.Lock()
	if k.last.run > before && slices.Contains(k.images, k.last.img) { // begun after we asked
		defer k.mu.Unlock()
		return k.handle(k.last.img), nil
	}
	k.mu.Unlock()
	run := k.begun.Add(1)
	start := time.Now()
	img, hashed, fresh, err := k.make(ctx)
	if err != nil {
		k.failed(err)
		return nil, err
	}
	k.mu.Lock()
	if fresh {
		k.images = append(k.images, img)
		k.sort()
	}
	k.last.run, k.last.img = run, img
	h := k.handle(img)
	k.mu.Unlock()
	if fresh {
		k.o.Listener.Created(Created{Manifest: img.m, Hashed: hashed, Took: time.Since(start)})
	}
	return h, nil
}

// make makes an image and puts it in its place; fresh is false when the state
// has one. The caller has the turn.
func (k *Keeper) make(ctx context.Context) (img *kept, hashed int64, fresh bool, err error) {
	if err := canceled(ctx); err != nil {
		return nil, 0, false, err
	}
	if err := room(k.o.FS, "Create", k.o.Dir, checkpointNeeds, orReserve(k.o.Reserve)); err != nil {
		return nil, 0, false, err
	}
	first := k.o.FirstIndex()
	temp := k.path(tempPrefix + "create")
	defer func() {
		if !fresh {
			err = errors.Join(err, k.o.FS.RemoveAll(temp))
		}
	}()
	if err := k.o.FS.RemoveAll(temp); err != nil {
		return nil, 0, false, diskFault("Create", temp, err)
	}
	if err := k.o.Store.Checkpoint(k.o.FS.PathJoin(temp, storeDir)); err != nil {
		return nil, 0, false, err
	}
	m, err := k.describe(k.o.FS.PathJoin(temp, storeDir))
	if err != nil {
		return nil, 0, false, err
	}
	m.FirstIndex = first
	if img := k.find(m.ID); img != nil {
		return img, 0, false, nil
	}
	if hashed, err = k.sums(ctx, temp, m); err != nil {
		return nil, 0, false, err
	}
	raw, err := m.Encode()
	if err == nil {
		err = k.place(temp, m.ID, raw)
	}
	if err != nil {
		return nil, 0, false, diskFault("Create", "image "+m.ID, err)
	}
	return &kept{m: m, raw: raw}, hashed, true, nil
}

func (k *Keeper) find(id string) *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at := slices.IndexFunc(k.images, func(i *kept) bool { return i.m.ID == id }); at >= 0 {
		return k.images[at]
	}
	return nil
}

// describe returns the manifest of the state in a checkpoint, without files.
func (k *Keeper) describe(dir string) (*Manifest, error) {
	s, err := openStore(k.o.FS, dir, k.o.StoreName)
	if err != nil {
		return nil, err
	}
	pos, ok, err := fsm.ReadPosition(s)
	format := s.Version()
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, diskFault("Create", dir, err)
	}
	if !ok || pos.Index == 0 || len(pos.Conf) == 0 {
		return nil, fault(errs.Unavailable, "Create", k.o.Dir, "nothing was applied yet: there is no state to make an image of")
	}
	digest := pos.Digest.String()
	return &Manifest{
		ID: imageID(pos.Index, pos.Term, digest), CreatedMs: time.Now().UnixMilli(), Node: k.o.Node,
		Index: pos.Index, Term: pos.Term, Op: uint64(pos.Op), TimeMs: pos.TimeMs, Conf: pos.Conf, Digest: digest,
		StoreName: k.o.StoreName, Format: format,
	}, nil
}

// openStore opens the store of an image to look at it, with little memory.
func openStore(fsys vfs.FS, dir, name string) (*pebblekv.Store, error) {
	return pebblekv.Open(pebblekv.Options{
		FS: fsys, Dir: dir, Name: name, Version: schema.Format, DisableWAL: true, ReadOnly: true, NoLock: true,
		CacheBytes: 8 << 20, MaxOpenFiles: 200, DiskSlowAfter: -1,
	})
}

// sums fills in the files of the checkpoint in temp, and returns how many bytes
// it read for their checksums. A table that is a link to one of an earlier image
// has its checksum.
func (k *Keeper) sums(ctx context.Context, temp string, m *Manifest) (hashed int64, err error) {
	at := inImage(k.o.FS, temp)
	names, err := k.o.FS.List(at.store)
	if err != nil {
		return 0, diskFault("Create", at.store, err)
	}
	slices.Sort(names)
	known := k.known()
	t := newThrottle(k.o.Rate, 64<<20)
	for _, name := range names {
		if name == lockName {
			continue
		}
		f := File{Path: storeDir + "/" + name}
		f.Kind = kindOf(f.Path)
		path := at.of(f.Path)
		st, err := k.o.FS.Stat(path)
		if err != nil {
			return hashed, diskFault("Create", path, err)
		}
		f.Size = st.Size()
		if f.XXH3 = known.sum(f, st); f.XXH3 == "" {
			size, sum, err := sumFile(ctx, k.o.FS, path, t, nil)
			if err == nil && size != f.Size {
				err = fault(errs.Internal, "Create", path, "it had %d bytes and now has %d", f.Size, size)
			}
			if err != nil {
				return hashed, diskFault("Create", path, err)
			}
			f.XXH3 = sum
			hashed += size
		}
		m.Files = append(m.Files, f)
		m.Bytes += f.Size
	}
	return hashed, nil
}

// earlier finds files of earlier images by their path.
type earlier struct {
	k     *Keeper
	files map[string][]earlierFile
}

type earlierFile struct {
	image string
	File
}

// known returns the tables whose checksums are known. The caller has the turn,
// so the images stay.
func (k *Keeper) known() earlier {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := earlier{k, map[string][]earlierFile{}}
	for _, i := range slices.Backward(k.images) {
		for _, f := range i.m.Files {
			if f.Kind == Table {
				e.files[f.Path] = append(e.files[f.Path], earlierFile{i.m.ID, f})
			}
		}
	}
	return e
}

// sum returns the checksum of f if it is known, else "". A name and a size do not
// make the same file: the link must be one.
func (e earlier) sum(f File, st vfs.FileInfo) string {
	for _, old := range e.files[f.Path] {
		if old.Size != f.Size {
			continue
		}
		was, err := e.k.o.FS.Stat(inImage(e.k.o.FS, e.k.path(old.image)).of(f.Path))
		if err == nil && sameFile(was, st) {
			return old.XXH3
		}
	}
	return ""
}

// place writes the manifest and gives the image its name. Before that all of it
// is durable: who finds the name finds the image.
func (k *Keeper) place(temp, id string, raw []byte) error {
	fsys := k.o.FS
	if err := writeFile(fsys, fsys.PathJoin(temp, ManifestFile), bytes.NewReader(raw)); err != nil {
		return err
	}
	if err := errors.Join(syncDir(fsys, fsys.PathJoin(temp, storeDir)), syncDir(fsys, temp)); err != nil {
		return err
	}
	if err := k.aside(id); err != nil {
		return err
	}
	if err := fsys.Rename(temp, k.path(id)); err != nil {
		return err
	}
	if err := syncDir(fsys, k.o.Dir); err != nil {
		return errors.Join(err, fsys.Rename(k.path(id), temp)) // not made, so not there
	}
	return nil
}

// aside moves a damaged directory of that name out of the way.
func (k *Keeper) aside(id string) error {
	if _, err := k.o.FS.Stat(k.path(id)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for n := 1; ; n++ {
		to := k.path(fmt.Sprintf("damaged-%s.%d", id, n))
		if _, err := k.o.FS.Stat(to); errors.Is(err, fs.ErrNotExist) {
			return k.o.FS.Rename(k.path(id), to)
		} else if err != nil {
			return err
		}
	}
}

// Want asks Run for an image soon; it returns at once, and calls coalesce.
func (k *Keeper) Want() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// retryAfter is how long Run waits after an image that could not be made.
const retryAfter = time.Minute

// Run makes images on schedule, and when one is wanted, until ctx ends. The
// interval counts from the newest image, also over restarts. Failures are told
// to the Listener and tried again.
func (k *Keeper) Run(ctx context.Context) error {
	wait := k.due()
	for {
		timer := time.NewTimer(wait)
		if wait < 0 {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-k.wake:
			timer.Stop()
		}
		start := time.Now()
		img, err := k.Create(ctx)
		if err != nil {
			if k.o.Interval > 0 {
				wait = min(retryAfter, k.o.Interval)
			}
			continue
		}
		img.Close()
		if wait = -1; k.o.Interval > 0 { // from now, also where the state has not changed
			wait = max(0, k.o.Interval-time.Since(start))
		}
	}
}

// due returns when the next image is due, less than 0 for never.
func (k *Keeper) due() time.Duration {
	if k.o.Interval <= 0 {
		return -1
	}
	m, _, ok := k.Latest()
	if !ok {
		return 0
	}
	return min(k.o.Interval, max(0, k.o.Interval-time.Since(time.UnixMilli(m.CreatedMs))))
}

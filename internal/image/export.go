package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/block/container"
	"o3/internal/errs"
)

// At a target an image is the file images/ID.json, its manifest, and for each
// file files/PATH@CHECKSUM-SIZE: what two images have in common lies there once.
const (
	imagesAt = "images/"
	filesAt  = "files/"
)

func manifestAt(id string) string { return imagesAt + id + ".json" }
func fileAt(f File) string        { return fmt.Sprintf("%s%s@%s-%d", filesAt, f.Path, f.XXH3, f.Size) }

// ExportOptions is how an image is exported. The zero value of a field is its
// default.
type ExportOptions struct {
	// Blocks is the directory of the node's block store, whose files become
	// part of the image; "" leaves them out. The block store may be in use if no
	// block that a row of the image names is freed meanwhile: its owner must hold
	// frees back since before the image was made.
	Blocks string

	// Scratch is a directory for the copy of a container that changes while it
	// is read, at most one at a time; "" means beside the image.
	Scratch string

	Recheck  bool     // read what is at the target already, and replace what is damaged
	Rate     int64    // bytes read per second; 0 or less: no bound
	Progress Progress // nil: silent
}

// Exported says what Export did.
type Exported struct {
	Manifest *Manifest `json:"-"` // of the image at the target
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Written  int64     `json:"written_bytes"` // the rest was at the target
	Replaced int       `json:"replaced"`      // damaged files at the target, with Recheck
}

// Export brings an image to t, and with it the files of the block store if that
// is asked for. Files that are there already are not written again; the manifest
// is written last, so an export that was cut off has left no image, and the next
// one goes on from the files it finished. Kinds: Corrupt (a file is not what the
// manifest says), Conflict (another export writes to t), ReadOnly (t is full).
func Export(ctx context.Context, img *Image, t Target, o ExportOptions) (Exported, error) {
	if l, ok := t.(locker); ok {
		lock, err := l.Lock(ctx)
		if err != nil {
			return Exported{}, err
		}
		defer lock.Close()
	}
	m := *img.Manifest
	m.Files = slices.Clone(m.Files)
	e := &export{ctx: ctx, img: img, t: t, o: o, m: &m, th: newThrottle(o.Rate, -1), there: map[string]int64{}}
	if o.Scratch == "" {
		o.Scratch = img.FS.PathDir(img.Dir)
	}
	e.scratch = img.FS.PathJoin(o.Scratch, tempPrefix+"export-"+m.ID)
	for _, step := range []func() error{e.look, e.store, e.blocks, e.finish} {
		if err := step(); err != nil {
			return e.out, err
		}
	}
	e.out.Manifest = e.m
	return e.out, nil
}

// export is one run of Export.
type export struct {
	ctx     context.Context
	img     *Image
	t       Target
	o       ExportOptions
	m       *Manifest
	th      throttle
	scratch string
	there   map[string]int64 // files at the target
	earlier *Manifest        // the newest image of this node there
	total   int64
	done    int64
	out     Exported
}

// look learns what the target has, and whether the rest fits.
func (e *export) look() error {
	err := e.t.List(e.ctx, filesAt, func(name string, size int64) error {
		e.there[name] = size
		return nil
	})
	if err != nil {
		return err
	}
	all, err := ids(e.ctx, e.t)
	if err != nil {
		return err
	}
	for _, id := range all[:min(len(all), 20)] {
		m, err := ReadManifest(e.ctx, e.t, id)
		if err == nil && m.Blocks && m.Node == e.m.Node { // a damaged one is no help, and no harm
			e.earlier = m
			break
		}
	}
	need := int64(0)
	for _, f := range e.m.Files {
		if e.there[fileAt(f)] != f.Size {
			need += f.Size
		}
	}
	e.total = e.m.Bytes
	if e.o.Blocks != "" {
		files, err := blockFiles(e.img.FS, e.o.Blocks)
		if err != nil {
			return err
		}
		for _, name := range files {
			st, err := e.img.FS.Stat(e.img.FS.PathJoin(e.o.Blocks, name))
			if err != nil {
				continue // gone meanwhile
			}
			e.total += st.Size()
			if f := e.unchanged(blocksDir+"/"+name, st); f == nil || e.there[fileAt(*f)] != f.Size {
				need += st.Size()
			}
		}
	}
	if r, ok := e.t.(roomy); ok {
		return r.Room(need)
	}
	return nil
}

// store brings the files of the image.
func (e *export) store() error {
	for _, f := range e.m.Files {
		path := inImage(e.img.FS, e.img.Dir).of(f.Path)
		if err := e.bring(f, path, true); err != nil {
			return err
		}
	}
	return nil
}

// bring brings one file whose checksum is known, unless it is there. Nobody
// writes to a fixed one any more.
func (e *export) bring(f File, path string, fixed bool) error {
	name := fileAt(f)
	size, ok := e.there[name]
	if ok && size == f.Size {
		good := true
		if e.o.Recheck {
			var err error
			if good, err = e.recheck(f); err != nil {
				return err
			}
		}
		if good {
			e.progress(f.Size)
			e.out.Files++
			e.out.Bytes += f.Size
			return nil
		}
		e.out.Replaced++
	}
	if l, ok := e.t.(linker); ok && fixed {
		linked, err := l.Link(e.ctx, name, path)
		if errors.Is(err, fs.ErrNotExist) {
			return e.lost(path, err)
		}
		if err != nil {
			return err
		}
		if linked {
			e.there[name] = f.Size
			e.progress(f.Size)
			e.out.Files++
			e.out.Bytes += f.Size
			return nil
		}
	}
	from, err := e.img.FS.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return e.lost(path, err)
	}
	defer from.Close()
	r := checked{reader: newReader(e.ctx, from, e.th, e.progress), want: f, subject: path}
	if err := e.t.Put(e.ctx, name, f.Size, r); err != nil {
		return err
	}
	if err := r.ended(); err != nil {
		return err
	}
	e.there[name] = f.Size
	e.out.Files++
	e.out.Bytes += f.Size
	e.out.Written += f.Size
	return nil
}

func (e *export) lost(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &errs.Error{Kind: errs.Corrupt, Op: "image.Export", Subject: path, Detail: "the file is missing", Err: err}
	}
	return diskFault("Export", path, err)
}

// recheck reads a file at the target.
func (e *export) recheck(f File) (good bool, err error) {
	from, err := e.t.Open(e.ctx, fileAt(f))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, diskFault("Export", e.t.String(), err)
	}
	defer from.Close()
	r := newReader(e.ctx, from, e.th, nil)
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, window))
	if cerr := canceled(e.ctx); cerr != nil {
		return false, cerr
	}
	if isAway(err) {
		return false, err
	}
	return err == nil && r.n == f.Size && r.sum() == f.XXH3, nil
}

func (e *export) progress(n int64) {
	e.done += n
	if e.o.Progress != nil {
		e.o.Progress(min(e.done, e.total), e.total)
	}
}

// The files of a block store that hold blocks, say which are deleted, and which
// ids were given (docs/formats/container.md).
var blockFile = regexp.MustCompile(`^(deletes-\d+|c-[0-9a-f]{16}\.\d+|ids-[0-9a-f]{12})$`)

// blockFiles lists them in the order in which they are read: first what is
// deleted, so that nothing that was there at the start is missed; the ids last.
func blockFiles(fsys vfs.FS, dir string) ([]string, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, diskFault("Export", dir, err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !blockFile.MatchString(n) })
	rank := func(n string) int { return strings.IndexByte("dci", n[0]) }
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return names, nil
}

// blocks brings the block store. A file that goes while it is read was replaced
// by another: the directory is read again until all of one look were there.
func (e *export) blocks() error {
	if e.o.Blocks == "" {
		return nil
	}
	e.m.Blocks = true
	got := map[string]File{}
	for range 20 {
		names, err := blockFiles(e.img.FS, e.o.Blocks)
		if err != nil {
			return err
		}
		gone := false
		for _, name := range names {
			if _, ok := got[name]; ok {
				continue
			}
			f, err := e.block(name)
			if errors.Is(err, fs.ErrNotExist) {
				gone = true
				continue
			}
			if err != nil {
				return err
			}
			got[name] = f
		}
		if gone {
			continue
		}
		for _, f := range got {
			e.m.Files = append(e.m.Files, f)
			e.m.Bytes += f.Size
		}
		slices.SortFunc(e.m.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
		return nil
	}
	return fault(errs.Unavailable, "Export", e.o.Blocks, "its files change faster than they can be read")
}

// racy is how young a change is when another one may have the same time.
const racy = 2 * time.Second

// block brings one file of the block store. Containers that are not sealed are
// written to: one that changes between two reads is copied aside first.
func (e *export) block(name string) (File, error) {
	path := e.img.FS.PathJoin(e.o.Blocks, name)
	start := time.Now()
	st, err := e.img.FS.Stat(path)
	if err != nil {
		return File{}, missingOr(path, err)
	}
	f := File{Path: blocksDir + "/" + name, Kind: Container}
	if old := e.unchanged(f.Path, st); old != nil && !e.o.Recheck {
		if e.there[fileAt(*old)] == old.Size {
			return *old, e.bring(*old, path, false)
		}
	}
	sealed := e.sealed(name, path)
	if f.Size, f.XXH3, err = sumFile(e.ctx, e.img.FS, path, e.th, nil); err != nil {
		return f, missingOr(path, err)
	}
	if again, err := e.img.FS.Stat(path); err == nil && f.Size == st.Size() && again.Size() == st.Size() &&
		again.ModTime().Equal(st.ModTime()) && st.ModTime().Unix() > 0 && start.Sub(st.ModTime()) > racy {
		f.Modified = st.ModTime().UnixNano()
	}
	err = e.bring(f, path, sealed && f.Modified != 0)
	if errs.KindOf(err) != errs.Corrupt {
		return f, err
	}
	f.Modified = 0
	return e.aside(f, path)
}

// sealed reports whether a file of the block store is a container that nobody
// writes to any more. It reads one page, and only for targets that link.
func (e *export) sealed(name, path string) bool {
	if _, ok := e.t.(linker); !ok || name[0] != 'c' {
		return false
	}
	f, err := e.img.FS.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return container.Sealed(f)
}

// missingOr keeps fs.ErrNotExist visible and gives other errors a kind.
func missingOr(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return diskFault("Export", path, err)
}

// unchanged returns the file as the newest image at the target has it, if that is
// known to be its content still.
func (e *export) unchanged(path string, st vfs.FileInfo) *File {
	if e.earlier == nil {
		return nil
	}
	f := e.earlier.file(path)
	if f == nil || f.Modified == 0 || f.Size != st.Size() || f.Modified != st.ModTime().UnixNano() {
		return nil
	}
	return f
}

// aside brings a file by way of a copy. The copy is read from the start to the
// end once, as recovery after a power cut would find it at that time.
func (e *export) aside(f File, path string) (File, error) {
	fsys := e.img.FS
	from, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return f, missingOr(path, err)
	}
	defer from.Close()
	r := newReader(e.ctx, from, e.th, nil)
	err = writeFile(fsys, e.scratch, r)
	if err != nil {
		err = diskFault("Export", e.scratch, err)
	} else {
		f.Size, f.XXH3 = r.n, r.sum()
		err = e.bring(f, e.scratch, false)
	}
	return f, errors.Join(err, fsys.Remove(e.scratch))
}

// finish writes the manifest: from then on the image is there.
func (e *export) finish() error {
	raw, err := e.m.Encode()
	if err != nil {
		return err
	}
	return e.t.Put(e.ctx, manifestAt(e.m.ID), int64(len(raw)), bytes.NewReader(raw))
}

// ReadManifest reads the manifest of an image at t. Kinds: NoSuchSnapshot, those
// of Decode.
func ReadManifest(ctx context.Context, t Target, id string) (*Manifest, error) {
	if !idForm.MatchString(id) {
		return nil, fault(errs.Invalid, "ReadManifest", id, "the id of an image is INDEX-TERM-DIGEST")
	}
	subject := t.String() + ": " + manifestAt(id)
	f, err := t.Open(ctx, manifestAt(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault(errs.NoSuchSnapshot, "ReadManifest", "image "+id, "there is none of this id at %s", t)
	}
	if err != nil {
		return nil, diskFault("ReadManifest", subject, err)
	}
	defer f.Close()
	raw, err := readLimited(f, subject, MaxManifest)
	if err != nil {
		return nil, diskFault("ReadManifest", subject, err)
	}
	m, err := Decode(raw)
	if err == nil && m.ID != id {
		err = errs.New(errs.Corrupt, "image manifest", "it is of image "+m.ID)
	}
	if err != nil {
		return nil, diskFault("ReadManifest", subject, err)
	}
	return m, nil
}

// ids returns the ids of the images at t, the highest index first.
func ids(ctx context.Context, t Target) ([]string, error) {
	type entry struct {
		id    string
		index uint64
	}
	var found []entry
	err := t.List(ctx, imagesAt, func(name string, _ int64) error {
		id := strings.TrimSuffix(strings.TrimPrefix(name, imagesAt), ".json")
		if !idForm.MatchString(id) {
			return nil
		}
		e := entry{id: id}
		_, err := fmt.Sscanf(id, "%d-", &e.index)
		if err == nil {
			found = append(found, e)
		}
		return nil
	})
	slices.SortFunc(found, func(a, b entry) int { return cmp.Or(cmp.Compare(b.index, a.index), cmp.Compare(b.id, a.id)) })
	out := make([]string, len(found))
	for i, e := range found {
		out[i] = e.id
	}
	return out, err
}

// List returns the images at t, the newest first. Those whose manifest cannot be
// read are told to damaged, which may be nil, and left out.
func List(ctx context.Context, t Target, damaged func(id string, err error)) ([]*Manifest, error) {
	all, err := ids(ctx, t)
	if err != nil {
		return nil, err
	}
	var out []*Manifest
	for _, id := range all {
		m, err := ReadManifest(ctx, t, id)
		switch {
		case err == nil:
			out = append(out, m)
		case errs.KindOf(err) == errs.NoSuchSnapshot: // removed meanwhile
		case ctx.Err() != nil:
			return nil, canceled(ctx)
		case isAway(err):
			return nil, err
		case damaged != nil:
			damaged(id, err)
		}
	}
	return out, nil
}

package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"o3/internal/errs"
)

// ImportOptions is how an image is restored. DataDir must be set; the zero value
// of every other field is its default.
type ImportOptions struct {
	FS       vfs.FS // nil means the operating system's
	DataDir  string // of the new node: absent, empty, or of this import cut off before
	BlockDir string // absolute; "" means "blocks" in DataDir. Likewise, when the image has blocks
	NodeID   string // ozone.om.node.id of the new node; "" means the image's

	Strict   bool  // verify strictly what was restored
	Parallel int   // files read at once; 0 means 4
	Rate     int64 // bytes read per second; 0 or less: no bound
	Reserve  int64 // bytes of the disks left free; 0 means 1 GiB, less than 0 none
	Progress Progress
	Defect   func(Defect) // as VerifyOptions.Defect
}

// Imported says what Import did.
type Imported struct {
	Manifest *Manifest `json:"-"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Fetched  int64     `json:"fetched_bytes"` // the rest was there from an import cut off before
	Tables   int       `json:"tables"`        // verified, when strict
	Blocks   int64     `json:"blocks"`        // verified, when strict
}

// importMark is the file in om/ that says that an import is under way. A node
// does not start on such a directory: it has no identity yet, which comes last.
const importMark = "IMPORT"

type mark struct {
	Format int    `json:"format"` // importing or adopting
	Image  string `json:"image"`
	Sum    string `json:"xxh3"` // of the manifest
	Blocks string `json:"blocks"`
	Whole  bool   `json:"whole,omitempty"` // adopting: the files were moved and verified, and may be changed by now
}

// What a mark's format says of how the files come.
const (
	importing1 = 1 // copied, by Import
	adopting2  = 2 // moved, by Adopt
)

// Import makes the image of that id at t the data directory of a node: the
// namespace, the block store if the image has it, a Raft log that begins at the
// image's index with this node as the only member, and the identity, last. Cut
// off at any point it leaves a directory on which no node starts and on which
// Import goes on. Kinds: NotEmpty (a directory holds something else, named),
// NoSuchSnapshot, Corrupt (a file at t is not what the manifest says, named),
// ReadOnly (a disk is too small), FormatTooNew.
func Import(ctx context.Context, t Target, id string, o ImportOptions) (Imported, error) {
	if err := o.check(); err != nil {
		return Imported{}, err
	}
	m, err := ReadManifest(ctx, t, id)
	if err != nil {
		return Imported{}, err
	}
	i := newImporting(ctx, m, o)
	i.t = t
	for _, step := range []func() error{i.claim, i.finished, i.sweep, i.room, i.files, i.verify, i.join, i.log, i.identify, i.release} {
		if err := step(); err != nil {
			return i.out, err
		}
		if i.complete {
			break
		}
	}
	i.out.Manifest = m
	return i.out, nil
}

func (o ImportOptions) check() error {
	if o.DataDir == "" {
		return fault(errs.Invalid, "Import", "", "a data directory is needed")
	}
	if o.BlockDir != "" && !filepath.IsAbs(o.BlockDir) {
		return fault(errs.Invalid, "Import", o.BlockDir, "the block directory must be given as an absolute path")
	}
	return nil
}

// importing is one run of Import, or of Adopt.
type importing struct {
	ctx    context.Context
	t      Target
	m      *Manifest
	o      ImportOptions
	fs     vfs.FS
	th     throttle
	nodeID string
	at     places
	mark   mark // as it is in om/

	complete bool
	mu       sync.Mutex
	done     int64
	out      Imported
}

func newImporting(ctx context.Context, m *Manifest, o ImportOptions) *importing {
	i := &importing{ctx: ctx, m: m, o: o, fs: dirFS(o.FS), th: newThrottle(o.Rate, -1), nodeID: o.NodeID}
	if i.nodeID == "" {
		i.nodeID = m.Node.ID
	}
	blocks := o.BlockDir
	if blocks == "" {
		blocks = i.fs.PathJoin(o.DataDir, blocksDir)
	}
	i.at = places{fs: i.fs, store: i.path("store"), blocks: blocks}
	i.mark = mark{Format: importing1, Image: m.ID, Blocks: blocks}
	return i
}

// path returns a path in om/.
func (i *importing) path(parts ...string) string {
	return i.fs.PathJoin(append([]string{i.o.DataDir, "om"}, parts...)...)
}

// claim takes the directories, or finds that this import has them already.
func (i *importing) claim() error {
	raw, err := i.m.Encode()
	if err != nil {
		return err
	}
	i.mark.Sum = hashOf(raw)
	found, err := readSmall(i.fs, i.path(importMark), 1<<16)
	if err == nil {
		return i.reclaim(found)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return diskFault("Import", i.path(importMark), err)
	}
	dirs := []string{i.o.DataDir}
	if i.m.Blocks {
		dirs = append(dirs, i.at.blocks)
	}
	for _, dir := range dirs {
		if err := i.empty(dir); err != nil {
			return err
		}
	}
	if err := makeDir(i.fs, i.path()); err != nil {
		return diskFault("Import", i.path(), err)
	}
	return i.writeMark()
}

// reclaim checks that the mark found is of this import, cut off.
func (i *importing) reclaim(found []byte) error {
	var was mark
	if json.Unmarshal(found, &was) != nil || was.Format != importing1 && was.Format != adopting2 {
		return fault(errs.FormatUnknown, "Import", i.path(importMark), "it is not the mark of an import; empty the directory")
	}
	whole := was.Whole
	if was.Whole = false; was != i.mark {
		how := map[int]string{importing1: "import", adopting2: "taking over of the files"}[was.Format]
		return fault(errs.NotEmpty, "Import", i.o.DataDir,
			"the %s of image %s with blocks in %s was begun here; finish that, or empty both directories", how, was.Image, was.Blocks)
	}
	i.mark.Whole = whole
	return nil
}

func (i *importing) writeMark() error {
	raw, err := json.Marshal(i.mark)
	if err == nil {
		err = replaceFile(i.fs, i.path(importMark), bytes.NewReader(append(raw, '\n')))
	}
	return diskFault("Import", i.path(importMark), err)
}

// empty refuses a directory that holds something. What a claim cut off has left
// is nothing.
func (i *importing) empty(dir string) error {
	names, err := i.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return diskFault("Import", dir, err)
	}
	for _, name := range names {
		if dir == i.o.DataDir && name == lockName {
			continue
		}
		if dir == i.o.DataDir && name == "om" {
			in, err := i.fs.List(i.path())
			if err == nil && (len(in) == 0 || len(in) == 1 && in[0] == importMark+partName) {
				continue
			}
		}
		return fault(errs.NotEmpty, "Import", dir, "it holds %q; an image is restored into an empty directory", name)
	}
	return nil
}

// finished sees whether all that is left to do is to take the mark away.
func (i *importing) finished() error {
	if _, err := i.fs.Stat(i.fs.PathJoin(i.o.DataDir, identityFile)); err != nil {
		return nil
	}
	i.complete = true
	return i.release()
}

// sweep removes what an import that was cut off has left and this one makes
// anew, or does not want.
func (i *importing) sweep() error {
	if err := i.fs.RemoveAll(i.path("raft")); err != nil {
		return diskFault("Import", i.path("raft"), err)
	}
	dirs := map[string]string{storeDir: i.at.store}
	if i.m.Blocks {
		dirs[blocksDir] = i.at.blocks
	}
	for name, dir := range dirs {
		if err := makeDir(i.fs, dir); err != nil {
			return diskFault("Import", dir, err)
		}
		left, err := i.fs.List(dir)
		if err != nil {
			return diskFault("Import", dir, err)
		}
		for _, base := range left {
			if i.m.file(name+"/"+base) == nil {
				if err := i.fs.RemoveAll(i.fs.PathJoin(dir, base)); err != nil {
					return diskFault("Import", i.fs.PathJoin(dir, base), err)
				}
			}
		}
		if err := syncDir(i.fs, dir); err != nil {
			return diskFault("Import", dir, err)
		}
	}
	return nil
}

// room checks the disks for what is not there yet.
func (i *importing) room() error {
	need := map[string]int64{}
	for _, f := range i.m.Files {
		path := i.at.of(f.Path)
		if st, err := i.fs.Stat(path); err != nil || st.Size() != f.Size {
			need[i.fs.PathDir(path)] += f.Size
		}
	}
	for dir, n := range need {
		if dir == i.at.store && i.o.BlockDir == "" {
			n += need[i.at.blocks]
		}
		if err := room(i.fs, "Import", dir, n, orReserve(i.o.Reserve)); err != nil {
			return err
		}
	}
	return nil
}

// files brings every file.
func (i *importing) files() error {
	g, ctx := errgroup.WithContext(i.ctx)
	g.SetLimit(max(1, cmpOr(i.o.Parallel, 4)))
	for _, f := range i.m.Files {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return i.file(ctx, f) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := canceled(i.ctx); err != nil {
		return err
	}
	dirs := []string{i.at.store}
	if i.m.Blocks {
		dirs = append(dirs, i.at.blocks)
	}
	for _, dir := range dirs {
		if err := syncDir(i.fs, dir); err != nil {
			return diskFault("Import", dir, err)
		}
	}
	return nil
}

func cmpOr(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// file brings one file, unless it is there.
func (i *importing) file(ctx context.Context, f File) error {
	path := i.at.of(f.Path)
	if st, err := i.fs.Stat(path); err == nil && st.Size() == f.Size {
		if _, sum, err := sumFile(ctx, i.fs, path, i.th, nil); err == nil && sum == f.XXH3 {
			i.count(f, false)
			return nil
		}
		if err := canceled(ctx); err != nil {
			return err
		}
	}
	if err := fetch(ctx, i.t, f, i.fs, path, i.th, i.progress); err != nil {
		return err
	}
	i.count(f, true)
	return nil
}

// fetch writes a file of t to path, whole and synced; its directory is not.
func fetch(ctx context.Context, t Target, f File, fsys vfs.FS, path string, th throttle, tell func(int64)) error {
	name := fileAt(f)
	subject := t.String() + ": " + name
	from, err := t.Open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return &errs.Error{Kind: errs.Corrupt, Op: "image.Import", Subject: subject, Detail: "the file is missing", Err: err}
	}
	if err != nil {
		return diskFault("Import", subject, err)
	}
	defer from.Close()
	part := path + partName
	err = writeFile(fsys, part, checked{reader: newReader(ctx, from, th, tell), want: f, subject: subject})
	if err == nil {
		err = fsys.Rename(part, path)
	}
	return diskFault("Import", path, err)
}

func (i *importing) progress(n int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.done += n
	if i.o.Progress != nil {
		i.o.Progress(min(i.done, i.m.Bytes), i.m.Bytes)
	}
}

func (i *importing) count(f File, fetched bool) {
	if !fetched {
		i.progress(f.Size)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.out.Files++
	i.out.Bytes += f.Size
	if fetched {
		i.out.Fetched += f.Size
	}
}

// verify checks what was restored: that the store stands where the manifest
// says, or, when strict, all there is.
func (i *importing) verify() error {
	if i.o.Strict {
		got, err := verifyAt(i.ctx, i.at, i.m, VerifyOptions{Mode: Strict, Defect: i.o.Defect, Rate: i.o.Rate}, false)
		i.out.Tables, i.out.Blocks = got.Tables, got.Blocks
		return err
	}
	return stands(i.at, i.m)
}

// release takes the mark away.
func (i *importing) release() error {
	err := i.fs.Remove(i.path(importMark))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = syncDir(i.fs, i.path())
	}
	return diskFault("Import", i.path(importMark), err)
}

// VerifyTarget compares an image at t with its manifest. In strict mode the
// store's files are copied into scratch, an empty or absent directory that is
// removed afterwards, and verified there; the files of the block store are then
// checked by their checksums only: a strict Import reads their records. Defects
// are told as by Verify.
func VerifyTarget(ctx context.Context, t Target, id, scratch string, o VerifyOptions) (Verified, error) {
	o.FS = dirFS(o.FS)
	m, err := ReadManifest(ctx, t, id)
	if err != nil {
		return Verified{}, err
	}
	v := &verifier{ctx: ctx, m: m, o: o, t: newThrottle(o.Rate, -1)}
	v.out.Mode = o.Mode.String()
	for _, f := range m.Files {
		if err := v.atTarget(t, f); err != nil {
			return v.out, err
		}
		v.out.Files++
	}
	if v.first == nil && o.Mode == Strict {
		if err := v.scratch(t, scratch); err != nil {
			return v.out, err
		}
	}
	if v.first == nil {
		return v.out, nil
	}
	return v.out, fault(errs.Corrupt, "Verify", t.String()+": image "+id, "%s; %d defects in all", v.first, v.out.Defects)
}

// atTarget checks one file at t.
func (v *verifier) atTarget(t Target, f File) error {
	from, err := t.Open(v.ctx, fileAt(f))
	if errors.Is(err, fs.ErrNotExist) {
		v.defect(f.Path, "missing", fmt.Sprintf("%d bytes", f.Size), "no such file")
		return nil
	}
	if err != nil {
		return diskFault("Verify", t.String()+": "+fileAt(f), err)
	}
	defer from.Close()
	r := newReader(v.ctx, from, v.t, v.count)
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(r, f.Size+1), make([]byte, window))
	switch {
	case v.ctx.Err() != nil:
		return canceled(v.ctx)
	case isAway(err):
		return err
	case err != nil:
		v.defect(f.Path, "unreadable", "", err.Error())
	case r.n != f.Size:
		found := fmt.Sprintf("%d bytes", r.n)
		if r.n > f.Size {
			found = "more"
		}
		v.defect(f.Path, "size", fmt.Sprintf("%d bytes", f.Size), found)
	case r.sum() != f.XXH3:
		v.defect(f.Path, "checksum", f.XXH3, r.sum())
	}
	return nil
}

// scratch verifies a copy of the store.
func (v *verifier) scratch(t Target, dir string) (err error) {
	fsys := v.o.FS
	if dir == "" {
		return fault(errs.Invalid, "Verify", t.String(), "strict mode needs a scratch directory")
	}
	if names, err := fsys.List(dir); err == nil && len(names) > 0 {
		return fault(errs.NotEmpty, "Verify", dir, "it holds %q; the scratch directory must be empty", slices.Min(names))
	}
	defer func() { err = errors.Join(err, fsys.RemoveAll(dir)) }()
	v.at = inImage(fsys, dir)
	if err := fsys.MkdirAll(v.at.store, 0o700); err != nil {
		return diskFault("Verify", dir, err)
	}
	for _, f := range v.m.Files {
		if strings.HasPrefix(f.Path, storeDir+"/") {
			if err := fetch(v.ctx, t, f, fsys, v.at.of(f.Path), v.t, nil); err != nil {
				return err
			}
		}
	}
	return v.store()
}

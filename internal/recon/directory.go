package recon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/durable"
	"o3/internal/errs"
	"o3/internal/recon/generation"
)

// directory is Recon's, on whatever file system it is.
type directory struct {
	fs   vfs.FS
	dir  string
	base string // where stages are made; dir, unless it was chosen otherwise
	own  bool   // the file system is the operating system's
}

// FetchSuffix ends the name of the directory, beside that of an image, in which a
// Source may leave what it has of one that is not whole yet.
const FetchSuffix = ".fetch"

// salvageDir has what is left of an image whose stage came to nothing: parts of
// one that was on its way, and one that was whole.
const salvageDir = "image"

// placeFormat is the newest format of a place.
const placeFormat = 1

// place is a file in the stead of a generation's directory that is elsewhere.
type place struct {
	Format int    `json:"format"`
	Path   string `json:"path"`
}

func (d *directory) path(parts ...string) string {
	return d.fs.PathJoin(append([]string{d.dir}, parts...)...)
}

// read returns the content of a small file.
func (d *directory) read(path string) ([]byte, error) {
	f, err := d.fs.Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return raw, errors.Join(err, f.Close())
}

// write puts a file in the place of another: a power cut leaves the old or the
// new one.
func (d *directory) write(path string, content []byte) error {
	part := path + durable.NewSuffix
	f, err := d.fs.Create(part, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if d.own {
		err = os.Chmod(part, 0o600)
	}
	if err == nil {
		_, err = f.Write(content)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = d.fs.Rename(part, path)
	}
	if err != nil {
		_ = d.fs.Remove(part) // the next write or start removes it
		return err
	}
	return d.sync(d.fs.PathDir(path))
}

// sync makes the names in a directory durable.
func (d *directory) sync(dir string) error {
	f, err := d.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// make makes a directory and those above it, durably.
func (d *directory) make(dir string) error {
	if _, err := d.fs.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := d.fs.PathDir(dir)
	if parent != dir && parent != "." {
		if err := d.make(parent); err != nil {
			return err
		}
	}
	if err := d.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return d.sync(parent)
}

// begin makes the directory of a new generation.
func (d *directory) begin(name string) error {
	if d.base == d.dir {
		return d.make(d.path(name))
	}
	at := d.fs.PathJoin(d.base, name)
	raw, err := json.Marshal(place{placeFormat, at})
	if err != nil {
		return err
	}
	if err := d.write(d.path(name), append(raw, '\n')); err != nil { // first: so a start finds what it says
		return err
	}
	return d.make(at)
}

// at returns where the directory of a generation is.
func (d *directory) at(name string) (string, error) {
	path := d.path(name)
	if st, err := d.fs.Stat(path); err != nil || st.IsDir() {
		return path, nil // one that is absent would be here
	}
	raw, err := d.read(path)
	if err != nil {
		return "", errs.Wrap(errs.Internal, path, err)
	}
	var p place
	if err := json.Unmarshal(raw, &p); err != nil {
		return "", errs.New(errs.Corrupt, path, "it does not say where the generation is: "+err.Error())
	}
	if p.Format > placeFormat {
		return "", errs.New(errs.FormatTooNew, path, fmt.Sprintf("it has format %d, this program knows formats up to %d", p.Format, placeFormat))
	}
	if p.Format < 1 || d.fs.PathBase(p.Path) != name {
		return "", errs.New(errs.Corrupt, path, "it does not say where the generation is")
	}
	return p.Path, nil
}

// remove removes a generation.
func (d *directory) remove(name string) error {
	path, err := d.at(name)
	if err != nil {
		path = d.path(name)
	}
	if err := d.removeAll(path); err != nil {
		return err
	}
	if path != d.path(name) {
		return d.removeAll(d.path(name))
	}
	return nil
}

// removeAll removes a directory, also one that was made read-only, or a file.
func (d *directory) removeAll(path string) error {
	d.modes(path, 0o700)
	_ = d.fs.Remove(d.fs.PathJoin(path, reasonFile)) // first: what is left of it is not kept then
	if err := d.fs.RemoveAll(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap(errs.Internal, path, err)
	}
	return nil
}

// modes sets the mode of the directories of a tree, where the file system has
// any. Their files may be those of an OM's store, by other names, and stay as they
// are. It is a help for those who look at it: that it is not possible is no error.
func (d *directory) modes(path string, mode os.FileMode) {
	if !d.own {
		return
	}
	var dirs []string
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o700) // so that what is in it can be seen
			dirs = append(dirs, p)
		}
		return nil
	})
	for _, p := range slices.Backward(dirs) {
		_ = os.Chmod(p, mode)
	}
}

// generations returns the numbers of what is there, by names.
func (d *directory) generations() (map[string]uint64, error) {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, d.dir, err)
	}
	out := map[string]uint64{}
	for _, name := range names {
		if n, ok := generationNumber(d.fs.PathBase(name)); ok {
			out[d.fs.PathBase(name)] = n
		}
	}
	return out, nil
}

// exists reports whether there is something at path.
func (d *directory) exists(path string) bool {
	_, err := d.fs.Stat(path)
	return err == nil
}

// size returns the bytes of the files in a directory and below.
func (d *directory) size(path string) (bytes int64) {
	names, err := d.fs.List(path)
	if err != nil {
		return 0
	}
	for _, name := range names {
		at := d.fs.PathJoin(path, name)
		switch st, err := d.fs.Stat(at); {
		case err != nil:
		case st.IsDir():
			bytes += d.size(at)
		default:
			bytes += st.Size()
		}
	}
	return bytes
}

// salvage moves what is of use of the image of a stage that came to nothing out of
// its directory. whole says whether an image that was whole is of use, too.
func (d *directory) salvage(name string, whole bool) error {
	from, err := d.at(name)
	if err != nil {
		return err
	}
	list := []string{generation.ReplicaDir + FetchSuffix}
	if whole {
		list = append(list, generation.ReplicaDir)
	}
	for _, part := range list {
		if !d.exists(d.fs.PathJoin(from, part)) {
			continue
		}
		to := d.fs.PathJoin(d.base, salvageDir)
		if err := d.make(to); err != nil {
			return err
		}
		if err := d.removeAll(d.fs.PathJoin(to, part)); err != nil {
			return err
		}
		if err := d.fs.Rename(d.fs.PathJoin(from, part), d.fs.PathJoin(to, part)); err != nil {
			return err
		}
		if err := d.sync(to); err != nil {
			return err
		}
	}
	return nil
}

// diskKind is the kind of an error of a file system.
func diskKind(err error) errs.Kind {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errs.ReadOnly
	}
	return errs.Internal
}

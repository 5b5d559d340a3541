package generation

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"o3/internal/errs"
)

// Clone makes dir, which must be there and empty, a generation like this one, at
// one index: of the stores' files no bytes are copied where the file system has
// hard links. Views go on meanwhile, Apply waits. Of one whose stores have failed
// it is what was durable.
func (g *Generation) Clone(ctx context.Context, dir string) error {
	if g.sound() != nil {
		return g.cloneFiles(ctx, dir)
	}
	if err := g.Flush(); err != nil { // little is left to be flushed while Apply waits
		return err
	}
	g.applying.Lock()
	defer g.applying.Unlock()
	if err := g.rows.Checkpoint(filepath.Join(dir, ReplicaDir)); err != nil {
		return err
	}
	if err := g.derived.Checkpoint(filepath.Join(dir, derivedDir)); err != nil {
		return err
	}
	return g.sql.Backup(ctx, filepath.Join(dir, sqlFile))
}

// cloneFiles is Clone of a generation whose stores take no more writes.
func (g *Generation) cloneFiles(ctx context.Context, dir string) error {
	for _, part := range []string{ReplicaDir, derivedDir} {
		if err := g.cloneStore(filepath.Join(g.o.Dir, part), filepath.Join(dir, part)); err != nil {
			return err
		}
	}
	return g.sql.Backup(ctx, filepath.Join(dir, sqlFile))
}

// cloneStore makes a directory a store like one that takes no more writes: nothing
// changes in that one's directory any more.
func (g *Generation) cloneStore(from, to string) error {
	files := g.o.FS
	if files == nil {
		files = vfs.Default
	}
	if err := files.MkdirAll(to, 0o700); err != nil {
		return errs.Wrap(errs.Internal, to, err)
	}
	names, err := files.List(from)
	if err != nil {
		return errs.Wrap(errs.Internal, from, err)
	}
	for _, name := range names {
		put := vfs.Copy
		switch {
		case name == "LOCK":
			continue
		case strings.HasSuffix(name, ".sst"): // never changed
			put = vfs.LinkOrCopy
		}
		if err := put(files, files.PathJoin(from, name), files.PathJoin(to, name)); err != nil {
			return errs.Wrap(errs.Internal, to, err)
		}
	}
	d, err := files.OpenDir(to)
	if err != nil {
		return errs.Wrap(errs.Internal, to, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
